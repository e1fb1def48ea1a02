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
}

impl Places {
    /// Every folder in which they may be, the likelier first.
    #[must_use]
    pub fn folders(&self) -> Vec<String> {
        HOMES.iter().flat_map(|home| self.within.iter().map(move |within| format!("{home}{within}"))).collect()
    }
}

impl Framework {
    /// Where its files are; `None` where images don't hold them: they are compiled in, or lie in many packages.
    #[must_use]
    pub fn places(self) -> Option<Places> {
        let of = |within, suffixes, depth| Some(Places { within, suffixes, depth });
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
            Self::Django | Self::Liquibase | Self::EfCore => None,
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
}
