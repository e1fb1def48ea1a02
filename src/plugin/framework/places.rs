//! Where applications keep the files of their migrations, by framework. Names only; reads nothing.

use super::Framework;

/// Folders that an application's own folder may be: its working directory first.
const HOMES: [&str; 12] =
    ["", "/app/", "/", "/usr/src/app/", "/srv/", "/srv/app/", "/opt/app/", "/code/", "/src/", "/workspace/", "/data/", "/etc/"];

/// Where the files of a framework are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Places {
    /// Folders below that of the application, the likelier first.
    within: &'static [&'static str],
    /// How the names of the files end; some that are no migrations of their own belong to them: golang-migrate's ways down.
    pub suffixes: &'static [&'static str],
    /// Folders within folders that have to be read too.
    pub depth: u32,
    /// Name of the folders in which they are, where other files lie beside those.
    pub parent: Option<&'static str>,
    /// A file of the application by which its folder is known.
    pub sign: Option<&'static str>,
}

impl Places {
    /// Every folder in which they may be, the likelier first.
    #[must_use]
    pub fn folders(&self) -> Vec<String> {
        let folder = |home: &str, within: &str| match format!("{home}{within}") {
            working if working.is_empty() => ".".to_owned(),
            folder if folder == "/" => folder,
            folder => folder.trim_end_matches('/').to_owned(),
        };
        HOMES.iter().flat_map(|home| self.within.iter().map(move |within| folder(home, within))).collect()
    }

    /// What has to be there where such a folder is one.
    #[must_use]
    pub fn sign(&self, folder: &str) -> String {
        match self.sign {
            Some(sign) => format!("{}/{sign}", folder.trim_end_matches('/')),
            None => folder.to_owned(),
        }
    }
}

impl Framework {
    /// Where its files are; `None` where images don't hold them: they are compiled into the application.
    #[must_use]
    pub fn places(self) -> Option<Places> {
        let of = |within, suffixes, depth| Some(Places { within, suffixes, depth, parent: None, sign: None });
        match self {
            Self::GolangMigrate | Self::Goose | Self::Dbmate | Self::Sqlx | Self::Atlas => {
                of(&["migrations", "db/migrations", "database/migrations", "sql/migrations", "schema/migrations"], &[".sql"], 0)
            }
            Self::Alembic => of(&["migrations/versions", "alembic/versions", "db/migrations/versions"], &[".py"], 2),
            Self::Knex | Self::Sequelize => {
                let within = &["migrations", "db/migrations", "src/migrations", "dist/migrations", "database/migrations"];
                of(within, &[".js", ".cjs", ".mjs", ".ts"], 0)
            }
            Self::TypeOrm => {
                let within = &["dist/migrations", "dist/migration", "src/migrations", "src/migration", "migrations"];
                of(within, &[".js", ".ts"], 0)
            }
            Self::Prisma => of(&["prisma/migrations", "migrations", "db/migrations"], &["migration.sql"], 1),
            Self::Drizzle => of(&["drizzle", "drizzle/migrations", "migrations", "src/db/migrations"], &[".sql"], 0),
            Self::Flyway => of(&["flyway/sql", "sql", "db/migration", "migrations", "db/migrations"], &[".sql"], 3),
            Self::Rails => of(&["db/migrate"], &[".rb"], 1),
            Self::Laravel => of(&["database/migrations"], &[".php"], 0),
            Self::Ecto => of(&["priv/repo/migrations"], &[".exs"], 0),
            // Each app of the project has a folder of its own; those of packages are not the application's.
            Self::Django => {
                let project =
                    Places { within: &[""], suffixes: &[".py"], depth: 4, parent: Some("migrations"), sign: Some("manage.py") };
                Some(project)
            }
            Self::Liquibase => {
                let within =
                    &["db/changelog", "changelog", "liquibase/changelog", "liquibase", "db/liquibase", "resources/db/changelog"];
                of(within, &[".xml", ".yaml", ".yml", ".json", ".sql"], 3)
            }
            Self::EfCore => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_working_directory_is_looked_at_first() {
        let folders = Framework::Prisma.places().expect("it has files").folders();
        assert_eq!(folders[0], "prisma/migrations");
        assert!(folders.contains(&"/app/prisma/migrations".to_owned()), "{folders:?}");
    }

    #[test]
    fn djangos_project_is_known_by_its_own_program() {
        let places = Framework::Django.places().expect("it has files");
        assert_eq!(places.folders()[..2], [".", "/app"]);
        assert_eq!([places.sign("."), places.sign("/srv/shop/")], ["./manage.py", "/srv/shop/manage.py"]);
    }
}
