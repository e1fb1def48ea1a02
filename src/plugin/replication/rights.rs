//! Who may write: what a script takes away, and the exact way back.
//!
//! Rights are read from the catalogs before and after, in one transaction; what differs is what the script did, whatever
//! it says. Each right comes with the SQL that gives and that takes it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{json, text};
use crate::database::postgres::{End, Postgres};
use crate::database::words::statements;
use crate::database::{Database, Dialect};
use crate::failure::{Failure, Result};

/// Schemas whose rights nobody takes away to stop an application.
const SYSTEM: &str = "nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'pgcopydb')";

/// Something that holds between an object and a role, or a setting: lost by its `take`, had by its `give`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Right {
    /// The object, quoted as SQL needs it.
    name: String,
    /// What comes before and after it to have it.
    give: (String, String),
    /// The same to lose it; empty where that is another right's `give`.
    take: (String, String),
}

/// What a script changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freeze {
    /// Rights that are gone after it.
    pub lost: BTreeSet<Right>,
    /// Rights that are there after it, and were not before.
    pub gained: BTreeSet<Right>,
}

impl Freeze {
    /// It changes nothing that is a right.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lost.is_empty() && self.gained.is_empty()
    }

    /// The statements that bring back what was.
    #[must_use]
    pub fn back(&self) -> Vec<String> {
        let taken = joined(&self.gained, |right| &right.take);
        taken.into_iter().chain(joined(&self.lost, |right| &right.give)).collect()
    }

    /// The statements that give what is lost, and nothing else.
    #[must_use]
    pub fn given_back(&self) -> Vec<String> {
        joined(&self.lost, |right| &right.give)
    }

    /// Whose rights it takes, quoted as SQL needs it.
    #[must_use]
    pub fn roles(&self) -> BTreeSet<&str> {
        self.lost.iter().filter_map(|right| right.take.1.strip_prefix(" FROM ")).collect()
    }

    /// How many rights of whom it takes, in words.
    #[must_use]
    pub fn in_words(&self) -> String {
        let roles = self.roles();
        let count = self.lost.len() + self.gained.len();
        let of =
            if roles.is_empty() { String::new() } else { format!(" of {}", roles.into_iter().collect::<Vec<_>>().join(", ")) };
        format!("{count} {}{of}", if count == 1 { "right" } else { "rights" })
    }
}

/// One statement for all objects that are treated alike. The name of a role or a setting stands alone.
fn joined(rights: &BTreeSet<Right>, part: impl Fn(&Right) -> &(String, String)) -> Vec<String> {
    let mut alike: BTreeMap<&(String, String), Vec<&str>> = BTreeMap::new();
    for right in rights.iter().filter(|right| *part(right) != (String::new(), String::new())) {
        alike.entry(part(right)).or_default().push(&right.name);
    }
    let sql = |((before, after), names): (&(String, String), Vec<&str>)| -> Vec<String> {
        let together = before.contains(" ON ");
        let names = if together { vec![names.join(", ")] } else { names.into_iter().map(str::to_owned).collect() };
        names.into_iter().map(|name| format!("{before}{name}{after}")).collect()
    };
    alike.into_iter().flat_map(sql).collect()
}

/// The question that answers with all rights of this database, as one JSON list.
fn question() -> String {
    // Of a privilege: kind of object, its name, the privilege with its column, and an entry of its access list.
    let lists = [
        format!(
            "SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, format('%I.%I', nspname, relname), '', \
             aclexplode(coalesce(relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::\"char\", relowner))) \
             FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND {SYSTEM}"
        ),
        format!(
            "SELECT 'TABLE', format('%I.%I', nspname, relname), format('(%I)', attname), aclexplode(attacl) \
             FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid JOIN pg_namespace n ON n.oid = relnamespace \
             WHERE attacl IS NOT NULL AND NOT attisdropped AND {SYSTEM}"
        ),
        format!(
            "SELECT 'SCHEMA', format('%I', nspname), '', aclexplode(coalesce(nspacl, acldefault('n', nspowner))) \
             FROM pg_namespace WHERE {SYSTEM}"
        ),
        "SELECT 'DATABASE', format('%I', datname), '', aclexplode(coalesce(datacl, acldefault('d', datdba))) \
         FROM pg_database WHERE datname = current_database()"
            .to_owned(),
        format!(
            "SELECT 'FUNCTION', format('%I.%I(%s)', nspname, proname, pg_get_function_identity_arguments(p.oid)), '', \
             aclexplode(coalesce(proacl, acldefault('f', proowner))) \
             FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace WHERE to_jsonb(p)->>'prokind' = 'f' AND {SYSTEM}"
        ),
    ];
    let role = "CASE (entry).grantee WHEN 0 THEN 'PUBLIC' ELSE format('%I', pg_get_userbyid((entry).grantee)) END";
    let setting = |prefix: &str, object: &str| {
        format!(
            "SELECT json_build_array({object}, json_build_array('ALTER {prefix} ', format(' SET %I TO %L', split_part(one, '=', 1), \
             substr(one, strpos(one, '=') + 1))), json_build_array('ALTER {prefix} ', format(' RESET %I', split_part(one, '=', 1))))"
        )
    };
    let of_role = setting("ROLE", "format('%I', pg_get_userbyid(setrole))");
    let of_database = setting("DATABASE", "format('%I', current_database())");
    let of_both = setting("ROLE", "format('%I IN DATABASE %I', pg_get_userbyid(setrole), current_database())");
    let settings = "FROM pg_db_role_setting, unnest(setconfig) one";
    let here = "setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let attribute = |prefix: &str, name: &str, value: &str, from: &str| {
        format!(
            "SELECT json_build_array(format('%I', {name}), json_build_array('ALTER {prefix} ', {value}), json_build_array('', '')) {from}"
        )
    };
    let facts = [
        format!(
            "SELECT json_build_array(name, json_build_array(format('GRANT %s %s ON %s ', (entry).privilege_type, part, kind), \
             format(' TO %s%s', {role}, CASE WHEN (entry).is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)), \
             json_build_array(format('REVOKE %s %s ON %s ', (entry).privilege_type, part, kind), format(' FROM %s', {role}))) \
             FROM ({}) AS all_lists (kind, name, part, entry)",
            lists.join(" UNION ALL ")
        ),
        "SELECT json_build_array(format('%I', pg_get_userbyid(roleid)), json_build_array('GRANT ', format(' TO %I%s', \
         pg_get_userbyid(member), CASE WHEN admin_option THEN ' WITH ADMIN OPTION' ELSE '' END)), \
         json_build_array('REVOKE ', format(' FROM %I', pg_get_userbyid(member)))) FROM pg_auth_members"
            .to_owned(),
        format!("{of_role} {settings} WHERE setrole <> 0 AND setdatabase = 0"),
        format!("{of_database} {settings} WHERE setrole = 0 AND {here}"),
        format!("{of_both} {settings} WHERE setrole <> 0 AND {here}"),
        attribute("ROLE", "rolname", "CASE WHEN rolcanlogin THEN ' LOGIN' ELSE ' NOLOGIN' END", "FROM pg_roles"),
        attribute("ROLE", "rolname", "format(' CONNECTION LIMIT %s', rolconnlimit)", "FROM pg_roles"),
        attribute(
            "DATABASE",
            "datname",
            "format(' CONNECTION LIMIT %s', datconnlimit)",
            "FROM pg_database WHERE datname = current_database()",
        ),
    ];
    format!("SELECT coalesce(json_agg(fact), '[]') FROM ({}) AS facts (fact)", facts.join(" UNION ALL "))
}

/// Everything that gives somebody a right in this database.
///
/// # Errors
/// As [`Database::query`].
pub async fn rights(database: &dyn Database) -> Result<BTreeSet<Right>> {
    json(&database.query(&question()).await?, "rights")
}

/// What a script does to rights, in a transaction that is made permanent or not.
///
/// # Errors
/// `Refused` for statements whose way back is not known; or a statement of it fails: nothing was changed then.
pub async fn differences(database: &Postgres, script: &str, end: End) -> Result<Freeze> {
    refuse_others(script)?;
    let before = rights(database).await?;
    let after: BTreeSet<Right> = json(&database.transact(script, &question(), end).await?, "rights")?;
    let freeze =
        Freeze { lost: before.difference(&after).cloned().collect(), gained: after.difference(&before).cloned().collect() };
    let lists = ["search_path", "session_preload_libraries", "local_preload_libraries", "temp_tablespaces"];
    let odd = freeze.lost.iter().find(|right| lists.iter().any(|list| right.give.1.contains(&format!(" SET {list} "))));
    match odd {
        Some(right) => {
            Err(Failure::refused(format!("the script changes a setting whose way back is not known: {}", right.give.1.trim())))
        }
        None => Ok(freeze),
    }
}

/// Only what changes rights: the way back of anything else is not known, and a COMMIT would end our transaction.
fn refuse_others(script: &str) -> Result<()> {
    if let Some(line) = script.lines().find(|line| line.trim_start().starts_with('\\')) {
        return Err(Failure::refused(format!("only psql understands this line of the script: {}", line.trim()))
            .fact("it has to be plain SQL"));
    }
    for words in statements(script) {
        let lower: Vec<String> = words.iter().take(2).map(|word| word.to_lowercase()).collect();
        let lower: Vec<&str> = lower.iter().map(String::as_str).collect();
        let known = matches!(lower.as_slice(), ["revoke" | "grant", ..] | ["alter", "role" | "user" | "database"]);
        if !known {
            return Err(Failure::refused(format!("the script has a statement whose way back is not known: {}", words.join(" ")))
                .fact("known are REVOKE, GRANT, ALTER ROLE, ALTER USER and ALTER DATABASE"));
        }
    }
    Ok(())
}

/// The script that takes writing from roles, in every schema.
///
/// # Errors
/// As [`Database::query`].
pub async fn revokes(database: &dyn Database, roles: &[String]) -> Result<String> {
    let asked = format!("SELECT coalesce(string_agg(format('%I', nspname), ', '), '') FROM pg_namespace WHERE {SYSTEM}");
    let answer = database.query(&asked).await?;
    let schemas = text(&answer).unwrap_or_default();
    let quoted = roles
        .iter()
        .map(|role| if role.eq_ignore_ascii_case("public") { "PUBLIC".to_owned() } else { Dialect::Postgres.identifier(role) });
    let roles = quoted.collect::<Vec<_>>().join(", ");
    Ok(format!(
        "REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON ALL TABLES IN SCHEMA {schemas} FROM {roles};\n\
         REVOKE USAGE, UPDATE ON ALL SEQUENCES IN SCHEMA {schemas} FROM {roles};\n"
    ))
}

/// Roles that may log in and could still write after a script, with a table that they may write to. Superusers always may.
///
/// # Errors
/// As [`Database::change`].
pub async fn still_allowed(database: &Postgres, script: &str) -> Result<Vec<(String, String)>> {
    let sql = format!(
        "SELECT coalesce(json_agg(json_build_array(rolname, name)), '[]') FROM (SELECT rolname, min(format('%I.%I', nspname, relname)) AS name \
         FROM pg_roles r, pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE rolcanlogin AND NOT rolsuper \
         AND relkind IN ('r', 'p') AND {SYSTEM} AND rolname !~ '^pg_' \
         AND has_schema_privilege(r.oid, n.oid, 'USAGE') AND has_table_privilege(r.oid, c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE') \
         GROUP BY rolname) AS found"
    );
    json(&database.transact(script, &sql, End::Rollback).await?, "rights")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn right(name: &str, give: (&str, &str), take: (&str, &str)) -> Right {
        let both = |(before, after): (&str, &str)| (before.to_owned(), after.to_owned());
        Right { name: name.to_owned(), give: both(give), take: both(take) }
    }

    #[test]
    fn the_way_back_takes_what_was_gained_first_and_names_alike_objects_together() {
        let insert = |name| right(name, ("GRANT INSERT ON TABLE ", " TO anon"), ("REVOKE INSERT ON TABLE ", " FROM anon"));
        let read_only = right(
            "app",
            ("ALTER ROLE ", " SET default_transaction_read_only TO 'on'"),
            ("ALTER ROLE ", " RESET default_transaction_read_only"),
        );
        let freeze = Freeze { lost: [insert("api.likes"), insert("api.posts")].into(), gained: [read_only].into() };
        assert_eq!(
            freeze.back(),
            ["ALTER ROLE app RESET default_transaction_read_only", "GRANT INSERT ON TABLE api.likes, api.posts TO anon"]
        );
        assert_eq!(freeze.in_words(), "3 rights of anon");
        let kept: Freeze = serde_json::from_str(&serde_json::to_string(&freeze).unwrap()).unwrap();
        assert_eq!(kept, freeze);
    }

    #[test]
    fn only_statements_with_a_known_way_back_are_let_through() {
        for fine in
            ["-- nothing\n", "revoke insert on api.likes from anon;", "ALTER ROLE app NOLOGIN; /* commit; */ GRANT a TO b"]
        {
            assert!(refuse_others(fine).is_ok(), "{fine}");
        }
        for odd in [
            "begin; revoke insert on t from a; commit;",
            "drop table t",
            "\\set x 1",
            "alter table t disable trigger all",
            "select 1",
        ] {
            assert_eq!(refuse_others(odd).unwrap_err().exit, crate::exit::Exit::Refused, "{odd}");
        }
    }
}
