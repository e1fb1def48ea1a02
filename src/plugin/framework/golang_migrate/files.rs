//! What a migration has done, judged by its files: they are applied to an empty database, and the schemas compared.

use dbmig_wire::{ReplayedSchema, SchemaObject, TextFile};
use serde::{Deserialize, Serialize};

use super::Effect;

/// How golang-migrate names the files it applies (`source.Regex`: version, title, direction, extension).
pub const SUFFIX: &str = ".up.sql";

/// A migration file of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// Number at the start of its name.
    pub version: i64,
    /// Its SQL.
    pub sql: String,
}

/// The migrations among some files, in the order in which they are applied.
///
/// # Errors
/// Two files with one number: golang-migrate refuses to start with them.
pub fn migrations(files: &[TextFile]) -> std::result::Result<Vec<Migration>, String> {
    let numbered = files.iter().filter_map(|file| {
        let (version, _) = file.name.split_once('_')?;
        Some(Migration { version: version.parse().ok()?, sql: file.text.clone() })
    });
    let mut migrations: Vec<Migration> = numbered.collect();
    migrations.sort_by_key(|migration| migration.version);
    match migrations.windows(2).find(|pair| pair[0].version == pair[1].version) {
        Some(pair) => {
            Err(format!("the image has two migrations numbered {}, and golang-migrate starts with neither", pair[0].version))
        }
        None => Ok(migrations),
    }
}

/// The schemas on both sides of the migration that was running, as the image's files make them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    version: i64,
    /// The version before; `None` when it is the first.
    before: Option<i64>,
    schema_before: Normal,
    /// Absent when the file itself fails on an empty database.
    schema_after: Option<Normal>,
}

/// Objects with their SQL, reduced to what carries meaning.
type Normal = Vec<(String, String)>;

impl Evidence {
    /// From the image's migrations and the schemas after each of them.
    ///
    /// # Errors
    /// Why the files prove nothing, as a sentence.
    pub fn new(
        table: &str,
        version: i64,
        migrations: &[Migration],
        replayed: &[ReplayedSchema],
    ) -> std::result::Result<Self, String> {
        let at = migrations
            .iter()
            .position(|migration| migration.version == version)
            .ok_or_else(|| format!("the image has no migration {version}: it is not the image that was migrating"))?;
        if let Some(error) = replayed.iter().take(at).find_map(|schema| schema.error.as_ref()) {
            return Err(format!("the image's migrations can't be replayed to compare: {error}"));
        }
        let before = at.checked_sub(1);
        Ok(Self {
            version,
            before: before.map(|index| migrations[index].version),
            schema_before: before
                .and_then(|index| replayed.get(index))
                .map(|schema| normal(&schema.schema, table))
                .unwrap_or_default(),
            schema_after: replayed.get(at).filter(|schema| schema.error.is_none()).map(|schema| normal(&schema.schema, table)),
        })
    }

    /// What the migration has done to a schema.
    pub(super) fn effect(&self, found: &[SchemaObject], table: &str) -> Effect {
        let (found, version) = (normal(found, table), self.version);
        match (found == self.schema_before, self.schema_after.as_ref() == Some(&found)) {
            (true, false) => Effect::At {
                version: self.before,
                because: format!("migration {version} did not take effect: the schema is exactly that of {}", name(self.before)),
            },
            (false, true) => Effect::At {
                version: Some(version),
                because: format!("migration {version} took effect: the schema is exactly that after it"),
            },
            (true, true) => Effect::Unclear(format!(
                "migration {version} changes data only, so the schema does not tell whether it took effect"
            )),
            (false, false) => Effect::Unclear(format!(
                "migration {version} took effect in part: {}",
                differences(&found, &self.schema_before, self.schema_after.as_deref())
            )),
        }
    }

    /// The migration that it is about.
    #[must_use]
    pub fn version(&self) -> i64 {
        self.version
    }
}

fn name(version: Option<i64>) -> String {
    version.map_or_else(|| "an empty database".to_owned(), |version| format!("version {version}"))
}

/// Without bookkeeping, white space and quotes.
fn normal(schema: &[SchemaObject], table: &str) -> Normal {
    let mut objects: Vec<(String, String)> = schema
        .iter()
        .filter(|object| object.table != table && !object.name.starts_with("sqlite_"))
        .map(|object| {
            let sql = object.sql.as_deref().unwrap_or_default().to_lowercase();
            let sql: String = sql
                .replace("if not exists", "")
                .chars()
                .filter(|c| !c.is_whitespace() && !matches!(c, '"' | '`' | '[' | ']' | ';'))
                .collect();
            (format!("{} {}", object.kind, object.name), sql)
        })
        .collect();
    objects.sort();
    objects
}

fn differences(found: &[(String, String)], before: &[(String, String)], after: Option<&[(String, String)]>) -> String {
    let only = |left: &[(String, String)], right: &[(String, String)]| {
        left.iter().filter(|object| !right.contains(object)).map(|(name, _)| name.clone()).collect::<Vec<_>>().join(", ")
    };
    let new = only(found, before);
    let missing = after.map(|after| only(after, found)).unwrap_or_default();
    match (new.as_str(), missing.as_str()) {
        ("", missing) => format!("missing or different: {missing}"),
        (new, "") => format!("new or different: {new}"),
        (new, missing) => format!("new or different: {new}; still missing: {missing}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(objects: &[(&str, &str)]) -> Vec<SchemaObject> {
        let object = |(name, sql): &(&str, &str)| SchemaObject {
            kind: "table".into(),
            name: (*name).into(),
            table: (*name).into(),
            sql: Some((*sql).into()),
        };
        objects.iter().map(object).collect()
    }

    fn replayed(schemas: &[&[(&str, &str)]]) -> Vec<ReplayedSchema> {
        schemas.iter().map(|objects| ReplayedSchema { schema: schema(objects), error: None }).collect()
    }

    fn three() -> (Vec<Migration>, Vec<ReplayedSchema>) {
        let file = |name: &str| TextFile { name: name.into(), text: String::new() };
        let files = [file("10_c.up.sql"), file("2_b.up.sql"), file("1_a.up.sql"), file("readme.up.sql")];
        let a = ("a", "CREATE TABLE a (x)");
        let schemas = replayed(&[
            &[a],
            &[a, ("b", "CREATE TABLE b (x)")],
            &[a, ("b", "CREATE TABLE b (x)"), ("c", "CREATE TABLE c (x)"), ("d", "CREATE TABLE d (x)")],
        ]);
        (migrations(&files).expect("no doubles"), schemas)
    }

    fn judged(
        found: &[SchemaObject],
        version: i64,
        migrations: &[Migration],
        replayed: &[ReplayedSchema],
    ) -> std::result::Result<Option<i64>, String> {
        match Evidence::new("schema_migrations", version, migrations, replayed)?.effect(found, "schema_migrations") {
            Effect::At { version, .. } => Ok(version),
            Effect::Unclear(because) => Err(because),
        }
    }

    #[test]
    fn the_version_before_is_the_one_that_exists_and_not_one_less() {
        let (migrations, replayed) = three();
        let found = schema(&[("a", "create table \"a\"(x)"), ("b", "CREATE TABLE b (x)")]);
        assert_eq!(judged(&found, 10, &migrations, &replayed), Ok(Some(2)));
    }

    #[test]
    fn the_first_migration_goes_back_to_nothing() {
        let (migrations, replayed) = three();
        assert_eq!(judged(&[], 1, &migrations, &replayed), Ok(None));
    }

    #[test]
    fn half_a_migration_is_named_and_refused() {
        let (migrations, replayed) = three();
        let found = schema(&[("a", "CREATE TABLE a (x)"), ("b", "CREATE TABLE b (x)"), ("c", "CREATE TABLE c (x)")]);
        let refusal = judged(&found, 10, &migrations, &replayed).expect_err("half");
        assert!(refusal.contains("table c") && refusal.contains("still missing: table d"), "{refusal}");
    }

    #[test]
    fn a_migration_of_data_only_can_not_be_judged_by_the_schema() {
        let a: &[(&str, &str)] = &[("a", "CREATE TABLE a (x)")];
        let (migrations, _) = three();
        let refusal = judged(&schema(a), 2, &migrations, &replayed(&[a, a])).expect_err("unclear");
        assert!(refusal.contains("data only"), "{refusal}");
    }

    #[test]
    fn an_image_without_the_file_proves_nothing() {
        let (migrations, replayed) = three();
        let refusal = judged(&[], 7, &migrations, &replayed).expect_err("no file 7");
        assert!(refusal.contains("no migration 7"), "{refusal}");
    }

    #[test]
    fn two_files_of_one_number_are_refused() {
        let file = |name: &str| TextFile { name: name.into(), text: String::new() };
        assert!(migrations(&[file("9_a.up.sql"), file("9_b.up.sql")]).is_err());
    }
}
