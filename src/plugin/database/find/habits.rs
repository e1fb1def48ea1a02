//! The names that applications and frameworks give to the variables with their database. Guesses nothing from values alone.

use super::environment::{Variable, Variables};
use crate::database::url::{Engine, Location, Parts, Password, engine, mode, parts};
use crate::failure::Result;

/// Variables with a whole URL, the ones that say most first.
const URLS: [&str; 24] = [
    "DATABASE_URL",
    "DIRECT_URL",
    "DIRECT_DATABASE_URL",
    "DB_URL",
    "DB_URI",
    "DATABASE_URI",
    "SQLALCHEMY_DATABASE_URI",
    "SQLALCHEMY_DATABASE_URL",
    "POSTGRES_URL",
    "POSTGRESQL_URL",
    "POSTGRES_URI",
    "PG_URL",
    "PG_CONNECTION_STRING",
    "MYSQL_URL",
    "MARIADB_URL",
    "DATABASE_DSN",
    "DB_DSN",
    "DB_CONNECTION_STRING",
    "JDBC_DATABASE_URL",
    "SPRING_DATASOURCE_URL",
    "FLYWAY_URL",
    "LIQUIBASE_COMMAND_URL",
    "GOOSE_DBSTRING",
    "SQLITE_URL",
];

/// Ends of names of such variables, as in `KEEPER_DB_URL`.
const URL_ENDS: [&str; 8] =
    ["_DATABASE_URL", "_DB_URL", "_DATABASE_URI", "_DB_URI", "_DATABASE_DSN", "_DB_DSN", "_POSTGRES_URL", "_MYSQL_URL"];

/// Beginnings of the names of variables with the parts, as in `DB_HOST`, and what the beginning says of the server.
const PREFIXES: [(&str, Option<Engine>); 12] = [
    ("PG", Some(Engine::Postgres)),
    ("DB_", None),
    ("DATABASE_", None),
    ("POSTGRES_", Some(Engine::Postgres)),
    ("POSTGRESQL_", Some(Engine::Postgres)),
    ("PG_", Some(Engine::Postgres)),
    ("MYSQL_", Some(Engine::Mysql)),
    ("MARIADB_", Some(Engine::Mysql)),
    ("RDS_", None),
    ("TYPEORM_", None),
    ("SQL_", None),
    ("DJANGO_DB_", None),
];

const HOST: &[&str] = &["HOST", "HOSTNAME", "SERVER", "ADDRESS", "ADDR", "HOSTADDR"];
const PORT: &[&str] = &["PORT", "TCP_PORT"];
const USER: &[&str] = &["USER", "USERNAME", "LOGIN"];
const PASSWORD: &[&str] = &["PASSWORD", "PASS", "PASSWD", "PWD"];
const DATABASE: &[&str] = &["NAME", "DATABASE", "DB", "DBNAME", "DB_NAME", "SCHEMA"];
const KIND: &[&str] = &["ENGINE", "CONNECTION", "DRIVER", "DIALECT", "TYPE", "CLIENT", "ADAPTER", "VENDOR"];
const TLS: &[&str] = &["SSLMODE", "SSL_MODE", "SSL"];
const ROOTS: &[&str] = &["SSLROOTCERT", "SSL_ROOT_CERT", "SSL_CA", "CA_CERT"];

/// What the agent is asked for: nothing else leaves the pod. The names above contain one of these, and their siblings.
pub(super) const ABOUT: [&str; 12] =
    ["DATABASE", "DB", "PG", "POSTGRES", "MYSQL", "MARIADB", "SQL", "RDS", "TYPEORM", "DATASOURCE", "FLYWAY", "DIRECT_URL"];

/// What some variables say, and which in words: `DATABASE_URL of secret/app`.
pub(super) struct Habit {
    pub(super) parts: Parts,
    pub(super) from: String,
}

/// Everything that looks like a database, the surest first.
pub(super) fn habits(variables: &Variables) -> Vec<Habit> {
    let named = URLS.iter().filter_map(|name| Some((*name, variables.get(name)?)));
    let ending = variables
        .known
        .iter()
        .filter(|(name, _)| !URLS.contains(&name.as_str()) && URL_ENDS.iter().any(|end| name.to_uppercase().ends_with(end)));
    let ending = ending.map(|(name, variable)| (name.as_str(), variable));
    let of_urls = named.chain(ending).filter_map(|(name, variable)| of_url(name, variable, variables));
    of_urls.chain(PREFIXES.iter().filter_map(|(prefix, engine)| of_parts(prefix, *engine, variables))).collect()
}

fn in_words(name: &str, variable: &Variable) -> String {
    format!("{name} of {}", variable.from)
}

fn of_url(name: &str, variable: &Variable, variables: &Variables) -> Option<Habit> {
    let own = parts(&variable.value).ok()?;
    // Flyway, Spring, Liquibase and goose have the rest beside it.
    let prefix = name.strip_suffix("URL").or_else(|| name.strip_suffix("DBSTRING")).filter(|prefix| !prefix.is_empty());
    let beside = prefix.map(|prefix| beside(prefix, variables)).unwrap_or_default();
    let is_postgres = own.engine == Some(Engine::Postgres);
    let defaults = if is_postgres { libpq(variables) } else { Parts::default() };
    // A URL says where; who may come from beside it. The host of another variable is another server's.
    let own = Parts { user: own.user.or(beside.user), password: own.password.or(beside.password), ..own };
    Some(Habit { parts: fill(own, defaults), from: in_words(name, variable) })
}

/// libpq lets its variables stand in for whatever a URL leaves out, but a service comes before them.
fn fill(own: Parts, defaults: Parts) -> Parts {
    if own.service.is_some() { own } else { own.or(defaults) }
}

fn of_parts(prefix: &str, engine: Option<Engine>, variables: &Variables) -> Option<Habit> {
    let (mut parts, from) = if prefix == "PG" { with_source_of_libpq(variables)? } else { with_source(prefix, variables)? };
    parts.engine = parts.engine.or(engine);
    Some(Habit { parts, from })
}

fn value<'a>(prefix: &str, names: &[&str], variables: &'a Variables) -> Option<(String, &'a Variable)> {
    names.iter().map(|name| format!("{prefix}{name}")).find_map(|name| Some((name.clone(), variables.get(&name)?)))
}

fn text(prefix: &str, names: &[&str], variables: &Variables) -> Option<String> {
    value(prefix, names, variables).map(|(_, variable)| variable.value.trim().to_owned())
}

fn beside(prefix: &str, variables: &Variables) -> Parts {
    let kind = text(prefix, KIND, variables).unwrap_or_default();
    Parts {
        engine: kind_of(&kind),
        hosts: text(prefix, HOST, variables).into_iter().collect(),
        ports: text(prefix, PORT, variables).and_then(|port| port.parse().ok()).into_iter().collect(),
        user: text(prefix, USER, variables),
        // A password may begin or end with a blank.
        password: value(prefix, PASSWORD, variables).map(|(_, variable)| Password::new(&variable.value)),
        database: text(prefix, DATABASE, variables),
        mode: text(prefix, TLS, variables).as_deref().and_then(mode),
        roots: text(prefix, ROOTS, variables),
        file: None,
        ..Parts::default()
    }
}

/// Django's `django.db.backends.postgresql`, TypeORM's `postgres`, Knex's `pg`, Laravel's `pgsql`, JDBC's class names.
fn kind_of(word: &str) -> Option<Engine> {
    let word = word.trim().to_ascii_lowercase();
    let last = word.rsplit('.').next().unwrap_or_default();
    engine(last).or_else(|| match () {
        () if word.contains("postgres") || word.contains("postgis") => Some(Engine::Postgres),
        () if word.contains("mysql") || word.contains("mariadb") => Some(Engine::Mysql),
        () => None,
    })
}

fn with_source(prefix: &str, variables: &Variables) -> Option<(Parts, String)> {
    let mut parts = beside(prefix, variables);
    let kind = text(prefix, KIND, variables).unwrap_or_default().to_ascii_lowercase();
    if kind.contains("sqlite") {
        let (name, variable) = value(prefix, DATABASE, variables)?;
        parts = Parts { file: Some(variable.value.clone()), ..Parts::default() };
        return Some((parts, in_words(&name, variable)));
    }
    let (name, variable) = value(prefix, HOST, variables)?;
    // `POSTGRES_PORT=tcp://10.0.0.1:5432` is what kubelet sets for a Service; its host is no word for a database then.
    let host = variable.value.trim();
    if let Some((host, port)) = host.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)))
        && !host.contains(':')
    {
        (parts.hosts, parts.ports) = (vec![host.to_owned()], vec![port]);
    }
    // A host alone may be anything's.
    (parts.user.is_some() || parts.database.is_some() || parts.password.is_some()).then(|| (parts, in_words(&name, variable)))
}

fn libpq(variables: &Variables) -> Parts {
    let own = |name: &str| variables.get(name).map(|variable| variable.value.trim().to_owned());
    let list = |name: &str| own(name).map(|list| list.split(',').map(str::to_owned).collect::<Vec<_>>()).unwrap_or_default();
    let hosts = list("PGHOST");
    Parts {
        engine: Some(Engine::Postgres),
        hosts: if hosts.is_empty() { list("PGHOSTADDR") } else { hosts },
        ports: list("PGPORT").iter().filter_map(|port| port.trim().parse().ok()).collect(),
        user: own("PGUSER"),
        password: variables.get("PGPASSWORD").map(|variable| Password::new(&variable.value)),
        database: own("PGDATABASE"),
        mode: own("PGSSLMODE").as_deref().and_then(mode),
        roots: own("PGSSLROOTCERT"),
        certificate: own("PGSSLCERT"),
        key: own("PGSSLKEY"),
        service: own("PGSERVICE"),
        ..Parts::default()
    }
}

fn with_source_of_libpq(variables: &Variables) -> Option<(Parts, String)> {
    let names = ["PGSERVICE", "PGHOST", "PGHOSTADDR", "PGDATABASE"];
    let (name, variable) = names.iter().find_map(|name| Some((*name, variables.get(name)?)))?;
    Some((libpq(variables), in_words(name, variable)))
}

/// The whole, with libpq's variables for what is still missing once a service was looked up.
pub(super) fn completed(parts: Parts, variables: &Variables) -> Result<Location> {
    let rest = Parts { service: None, ..libpq(variables) };
    let parts = if parts.engine == Some(Engine::Postgres) { fill(parts, rest) } else { parts };
    parts.finish()
}
