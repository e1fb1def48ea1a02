//! What variables say of a database, without a cluster.

use super::*;
use crate::database::url::Server;

fn variables(all: &[(&str, &str)]) -> Variables {
    let variable = |value: &str| Variable { value: value.to_owned(), from: "secret/app".to_owned() };
    Variables { known: all.iter().map(|(name, value)| ((*name).to_owned(), variable(value))).collect(), hidden: Vec::new() }
}

/// Each as `URL with its password (where)`.
fn said(all: &[(&str, &str)]) -> Vec<String> {
    let variables = variables(all);
    let all = habits(&variables).into_iter();
    let whole = all.filter_map(|habit| Some((completed(habit.parts, &variables).ok()?, habit.from)));
    whole.map(|(location, from)| format!("{location} {} ({from})", password(&location))).collect()
}

fn password(location: &Location) -> &str {
    match location {
        Location::Server(Server { password: Some(password), .. }) => password.reveal(),
        _ => "-",
    }
}

#[test]
fn the_habits_of_frameworks_are_known() {
    for (all, expected) in [
        (vec![("DATABASE_URL", "postgres://app:pw@db/shop")], "postgresql://app@db:5432/shop pw (DATABASE_URL of secret/app)"),
        (
            vec![("LTD_KEEPER_DB_URL", "mysql+pymysql://app:pw@db/keeper")],
            "mysql://app@db:3306/keeper pw (LTD_KEEPER_DB_URL of secret/app)",
        ),
        (
            vec![("PGHOST", "db"), ("PGUSER", "app"), ("PGPASSWORD", "pw"), ("PGDATABASE", "shop"), ("PGPORT", "5433")],
            "postgresql://app@db:5433/shop pw (PGHOST of secret/app)",
        ),
        (
            vec![("DATABASE_URL", "postgresql://db/shop"), ("PGUSER", "app"), ("PGPASSWORD", "pw"), ("DATABASE_HOST", "x")],
            "postgresql://app@db:5432/shop pw (DATABASE_URL of secret/app)",
        ),
        (
            vec![("DB_HOST", "127.0.0.1"), ("DB_PORT", "5432"), ("DB_NAME", "shop"), ("DB_USER", "app"), ("DB_PASSWORD", " pw")],
            "postgresql://app@127.0.0.1:5432/shop  pw (DB_HOST of secret/app)",
        ),
        (
            vec![("DB_CONNECTION", "mysql"), ("DB_HOST", "db"), ("DB_DATABASE", "shop"), ("DB_USERNAME", "app")],
            "mysql://app@db:3306/shop - (DB_HOST of secret/app)",
        ),
        (
            vec![("DB_ENGINE", "django.db.backends.postgresql"), ("DB_HOST", "db"), ("DB_USER", "app")],
            "postgresql://app@db:5432 - (DB_HOST of secret/app)",
        ),
        (
            vec![("MYSQL_HOST", "db:3307"), ("MYSQL_USER", "app"), ("MYSQL_PASSWORD", "pw"), ("MYSQL_DATABASE", "shop")],
            "mysql://app@db:3307/shop pw (MYSQL_HOST of secret/app)",
        ),
        (
            vec![
                ("SPRING_DATASOURCE_URL", "jdbc:postgresql://db/shop"),
                ("SPRING_DATASOURCE_USERNAME", "app"),
                ("SPRING_DATASOURCE_PASSWORD", "pw"),
            ],
            "postgresql://app@db:5432/shop pw (SPRING_DATASOURCE_URL of secret/app)",
        ),
        (vec![("DB_CONNECTION", "sqlite"), ("DB_DATABASE", "/data/a.db")], "sqlite:/data/a.db - (DB_DATABASE of secret/app)"),
    ] {
        assert_eq!(said(&all).first().map(String::as_str), Some(expected), "{all:?}");
    }
}

#[test]
fn what_is_no_database_or_not_enough_is_none() {
    for all in [
        vec![("REDIS_URL", "redis://db"), ("DATABASE_URL", " ")],
        vec![("DB_HOST", "db"), ("DB_USER", "app")],
        vec![("POSTGRES_PORT", "tcp://10.0.0.1:5432"), ("POSTGRES_SERVICE_HOST", "10.0.0.1")],
        vec![("POSTGRES_PASSWORD", "pw"), ("POSTGRES_USER", "app")],
        vec![("DATABASE_URL", "PLACEHOLDER")],
    ] {
        assert_eq!(said(&all), Vec::<String>::new(), "{all:?}");
    }
}

#[test]
fn several_names_of_one_database_are_one_and_a_file_is_named_by_its_variable() {
    let found =
        |url: &str, from: &str| Found { location: Location::parse(url).unwrap_or_else(|e| panic!("{e}")), from: from.to_owned() };
    let all = vec![
        found("postgres://app:a@db/shop", "DATABASE_URL of secret/app"),
        found("host=db user=app dbname=shop password=a", "PGHOST of container web"),
        found("file:./app.db", "DB_URL of container web"),
        found("sqlite:////data/app.db", "volume data"),
        found("postgres://app:a@replica/shop", "REPLICA_DB_URL of secret/app"),
    ];
    let once: Vec<String> = each_once(all).into_iter().map(|one| format!("{} ({})", one.location, one.from)).collect();
    assert_eq!(
        once,
        [
            "postgresql://app@db:5432/shop (DATABASE_URL of secret/app)",
            "sqlite:/data/app.db (DB_URL of container web)",
            "postgresql://app@replica:5432/shop (REPLICA_DB_URL of secret/app)",
        ]
    );
}

#[test]
fn with_none_or_several_it_says_how_to_name_one() {
    let one =
        |url: &str| Found { location: Location::parse(url).unwrap_or_else(|e| panic!("{e}")), from: "X of secret/a".to_owned() };
    assert_eq!(the_one(vec![one("postgres://a:hunter2@db")], "web-0").map(|one| one.from), Ok("X of secret/a".to_owned()));
    assert_eq!(the_one(Vec::new(), "web-0").unwrap_err().message, "no database of pod/web-0 was found");
    let failure = the_one(vec![one("postgres://a:hunter2@db"), one("mysql://a:hunter2@db")], "web-0").unwrap_err();
    assert_eq!(failure.facts, ["postgresql://a@db:5432 (X of secret/a)", "mysql://a@db:3306 (X of secret/a)"]);
}

#[test]
fn a_reference_is_an_object_and_perhaps_a_key() {
    let shown = |text: &str| text.parse::<Reference>().map(|reference| reference.to_string());
    assert_eq!(shown("secret/app:url"), Ok("secret/app:url".to_owned()));
    assert_eq!(shown("CM/app"), Ok("configmap/app".to_owned()));
    for wrong in ["app", "secret/", "secret/app:", "pod/app:url", "secret/a/b"] {
        assert!(shown(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_service_file_is_read_by_its_sections() {
    let text =
        "# all\n[other]\nhost=x\n\n[db]\nhost=db\nport=5433\nuser=app\npassword=p=w\nsslmode=verify-full\n[more]\nhost=y\n";
    let parts = ini(text, "db").unwrap_or_else(|e| panic!("{e}")).expect("it is there");
    let location = parts.finish().unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((location.to_string().as_str(), password(&location)), ("postgresql://app@db:5433", "p=w"));
    assert!(ini(text, "none").is_ok_and(|parts| parts.is_none()));
}
