//! How a server's own tool is told to write a database out, and to read it in again. Pure; a password is only ever a variable of
//! the tool's process.

use std::collections::BTreeMap;

use super::Dialect;
use super::url::{Server, TlsMode};
use crate::cluster::relay::Endpoint;

/// A tool that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// PostgreSQL's, of this major version.
    PgDump(u32),
    /// MySQL's.
    MysqlDump,
    /// MariaDB's, under its own name.
    MariaDbDump,
    /// MariaDB's, under MySQL's name.
    OldMariaDbDump,
}

/// What mysqldump and mariadb-dump write last.
const COMPLETE: &str = "-- Dump completed";

impl Tool {
    /// The programs that may be it, the better first. Each says its version when asked with `--version`.
    #[must_use]
    pub fn candidates(dialect: Dialect) -> &'static [&'static str] {
        match dialect {
            Dialect::Postgres => &["pg_dump"],
            Dialect::Mysql => &["mysqldump", "mariadb-dump"],
            Dialect::MariaDb => &["mariadb-dump", "mysqldump"],
            Dialect::Sqlite => &[],
        }
    }

    /// What a program is by what it says of its version: `pg_dump (PostgreSQL) 15.8 (Debian 15.8-0+deb12u1)`.
    #[must_use]
    pub fn of(program: &str, version: &str) -> Option<Self> {
        match program {
            "pg_dump" => {
                let number = version.split_once(") ")?.1;
                let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
                Some(Self::PgDump(digits.parse().ok()?))
            }
            "mariadb-dump" => Some(Self::MariaDbDump),
            _ if version.contains("MariaDB") => Some(Self::OldMariaDbDump),
            _ if version.contains("Ver") => Some(Self::MysqlDump),
            _ => None,
        }
    }

    /// Its program.
    #[must_use]
    pub fn program(self) -> &'static str {
        match self {
            Self::PgDump(_) => "pg_dump",
            Self::MariaDbDump => "mariadb-dump",
            Self::MysqlDump | Self::OldMariaDbDump => "mysqldump",
        }
    }

    /// How its files' names end.
    #[must_use]
    pub fn suffix(self) -> &'static str {
        if matches!(self, Self::PgDump(_)) { "dump" } else { "sql" }
    }

    /// How it is called, and how its result is proven to be whole.
    #[must_use]
    pub fn dump(self, server: &Server, to: &str) -> dbmig_wire::Dump {
        let (options, environment) = self.login(server);
        let mut command = vec![self.program().to_owned()];
        command.extend(match self {
            Self::PgDump(_) => words(&["--format=custom", "--no-password"]),
            // As of one moment, without keeping anybody from writing; with all that is not a table.
            _ => words(&["--single-transaction", "--quick", "--routines", "--triggers", "--events", "--hex-blob"]),
        });
        if self == Self::MysqlDump {
            command.push("--no-tablespaces".to_owned()); // It would need a right over the whole server.
        }
        command.extend(options);
        // Reads all of the file, unlike `--list`.
        let check = if matches!(self, Self::PgDump(_)) { words(&["pg_restore", "--file=/dev/null"]) } else { Vec::new() };
        let last_line = (!matches!(self, Self::PgDump(_))).then(|| COMPLETE.to_owned());
        dbmig_wire::Dump { command, environment, to: to.to_owned(), last_line, check }
    }

    /// The command that reads such a file in again, as a person types it: it asks for the password.
    #[must_use]
    pub fn restore(self, server: &Server, file: &str) -> Vec<String> {
        let (options, environment) = self.login(&Server { password: None, ..server.clone() });
        let mut command: Vec<String> = Vec::new();
        if !environment.is_empty() {
            command.push("env".to_owned());
            command.extend(environment.into_iter().map(|(name, value)| format!("{name}={value}")));
        }
        if let Self::PgDump(_) = self {
            command.extend(words(&["pg_restore", "--clean", "--if-exists", "--single-transaction", "--password"]));
            command.extend(options);
            command.push(file.to_owned());
            return command;
        }
        let client = if self == Self::MariaDbDump { "mariadb" } else { "mysql" };
        let options: Vec<String> = options.iter().map(|option| shell(option)).collect();
        command.extend(words(&["sh", "-c"]));
        command.push(format!("{client} --password {} <{}", options.join(" "), shell(file)));
        command
    }

    /// Options and variables that say where the database is and who logs in.
    fn login(self, server: &Server) -> (Vec<String>, BTreeMap<String, String>) {
        let mut environment = BTreeMap::new();
        let mut options = Vec::new();
        let database = server.database.clone();
        match self {
            Self::PgDump(_) => {
                let all = server.endpoints.iter().map(postgres_host);
                let (hosts, ports): (Vec<String>, Vec<String>) = all.unzip();
                options.extend([format!("--host={}", hosts.join(",")), format!("--port={}", ports.join(","))]);
                options.extend(server.user.iter().map(|user| format!("--username={user}")));
                options.extend(database.map(|database| format!("--dbname={database}")));
                let tls = &server.tls;
                environment.insert("PGSSLMODE".to_owned(), mode(tls.mode).to_owned());
                for (name, value) in [("PGSSLROOTCERT", &tls.roots), ("PGSSLCERT", &tls.certificate), ("PGSSLKEY", &tls.key)] {
                    environment.extend(value.iter().map(|value| (name.to_owned(), value.clone())));
                }
                environment
                    .extend(server.password.iter().map(|password| ("PGPASSWORD".to_owned(), password.reveal().to_owned())));
            }
            Self::MysqlDump | Self::MariaDbDump | Self::OldMariaDbDump => {
                match server.endpoints.first() {
                    Some(Endpoint::Tcp(host, port)) => {
                        options.extend([format!("--host={host}"), format!("--port={port}"), "--protocol=tcp".to_owned()]);
                    }
                    Some(Endpoint::Socket(path)) => options.push(format!("--socket={path}")),
                    None => {}
                }
                options.extend(server.user.iter().map(|user| format!("--user={user}")));
                options.extend(self.tls(server));
                options.extend(database);
                environment.extend(server.password.iter().map(|password| ("MYSQL_PWD".to_owned(), password.reveal().to_owned())));
            }
        }
        (options, environment)
    }

    /// The two have gone different ways here.
    fn tls(self, server: &Server) -> Vec<String> {
        let tls = &server.tls;
        let is_checked = matches!(tls.mode, TlsMode::VerifyCa | TlsMode::VerifyFull);
        let mut options = match (self, tls.mode) {
            (Self::MysqlDump, TlsMode::Disable) => words(&["--ssl-mode=DISABLED"]),
            (Self::MysqlDump, TlsMode::Prefer) => Vec::new(),
            (Self::MysqlDump, TlsMode::Require) => words(&["--ssl-mode=REQUIRED"]),
            (Self::MysqlDump, TlsMode::VerifyCa) => words(&["--ssl-mode=VERIFY_CA"]),
            (Self::MysqlDump, TlsMode::VerifyFull) => words(&["--ssl-mode=VERIFY_IDENTITY"]),
            (_, TlsMode::Disable) => words(&["--skip-ssl"]),
            (_, TlsMode::Prefer) => Vec::new(),
            (_, TlsMode::Require) => words(&["--ssl"]),
            (_, TlsMode::VerifyCa | TlsMode::VerifyFull) => words(&["--ssl", "--ssl-verify-server-cert"]),
        };
        options.extend(tls.roots.iter().filter(|_| is_checked).map(|path| format!("--ssl-ca={path}")));
        options.extend(tls.certificate.iter().map(|path| format!("--ssl-cert={path}")));
        options.extend(tls.key.iter().map(|path| format!("--ssl-key={path}")));
        options
    }
}

fn words(all: &[&str]) -> Vec<String> {
    all.iter().map(|word| (*word).to_owned()).collect()
}

/// libpq's name of a socket is its folder; its port is the end of the socket's name.
fn postgres_host(endpoint: &Endpoint) -> (String, String) {
    match endpoint {
        Endpoint::Tcp(host, port) => (host.clone(), port.to_string()),
        Endpoint::Socket(path) => match path.rsplit_once("/.s.PGSQL.") {
            Some((folder, port)) => (folder.to_owned(), port.to_owned()),
            None => (path.clone(), "5432".to_owned()),
        },
    }
}

fn mode(mode: TlsMode) -> &'static str {
    match mode {
        TlsMode::Disable => "disable",
        TlsMode::Prefer => "prefer",
        TlsMode::Require => "require",
        TlsMode::VerifyCa => "verify-ca",
        TlsMode::VerifyFull => "verify-full",
    }
}

/// A word as a shell takes it.
#[must_use]
pub fn shell(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./:=,@%+".contains(letter);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::url::Location;
    use super::*;

    fn server(url: &str) -> Server {
        let Ok(Location::Server(server)) = Location::parse(url) else { panic!("{url}") };
        server
    }

    #[test]
    fn a_tool_is_known_by_what_it_says() {
        assert_eq!(Tool::of("pg_dump", "pg_dump (PostgreSQL) 15.8 (Debian 15.8-0+deb12u1)"), Some(Tool::PgDump(15)));
        assert_eq!(Tool::of("pg_dump", "pg_dump (PostgreSQL) 17beta1"), Some(Tool::PgDump(17)));
        let maria = "mysqldump  Ver 10.19 Distrib 10.11.6-MariaDB, for debian-linux-gnu (x86_64)";
        assert_eq!(Tool::of("mysqldump", maria), Some(Tool::OldMariaDbDump));
        assert_eq!(Tool::of("mysqldump", "mysqldump  Ver 8.0.36 for Linux on x86_64"), Some(Tool::MysqlDump));
        assert_eq!(Tool::of("mysqldump", "sh: not found"), None);
    }

    #[test]
    fn a_password_is_in_no_word_of_a_command() {
        for (tool, url) in [
            (Tool::PgDump(15), "postgresql+psycopg2://app:s3cr%20et@db/shop?sslmode=verify-full&sslrootcert=/c/ca.pem"),
            (Tool::MariaDbDump, "mysql://app:s3cr%20et@db/shop?ssl-mode=REQUIRED"),
            (Tool::MysqlDump, "mysql://app:s3cr%20et@db/shop"),
        ] {
            let server = server(url);
            let dump = tool.dump(&server, "/b/x");
            assert!(!dump.command.iter().any(|word| word.contains("s3cr")), "{dump:?}");
            assert!(dump.environment.values().any(|value| value == "s3cr et") && !format!("{dump:?}").contains("s3cr"));
            assert!(!tool.restore(&server, "/b/x").join(" ").contains("s3cr"));
        }
    }

    #[test]
    fn each_tool_is_told_where_the_database_is_in_its_own_words() {
        let pg = server("postgres://app:x@one:5433,two:5434/shop?sslmode=require");
        let dump = Tool::PgDump(15).dump(&pg, "/b/x");
        let wanted = [
            "pg_dump",
            "--format=custom",
            "--no-password",
            "--host=one,two",
            "--port=5433,5434",
            "--username=app",
            "--dbname=shop",
        ];
        assert_eq!(dump.command, wanted);
        assert_eq!((dump.check.join(" ").as_str(), dump.last_line), ("pg_restore --file=/dev/null", None));
        assert_eq!(dump.environment["PGSSLMODE"], "require");
        let socket = server("postgres://app@/shop?host=/cloudsql/p:r:i");
        assert!(Tool::PgDump(15).dump(&socket, "/b/x").command.contains(&"--host=/cloudsql/p:r:i".to_owned()));
        let my = server("mysql://app:x@db/shop?ssl-mode=DISABLED");
        let dump = Tool::MariaDbDump.dump(&my, "/b/x");
        assert!(dump.command.ends_with(&words(&["--user=app", "--skip-ssl", "shop"])), "{:?}", dump.command);
        assert!(Tool::MysqlDump.dump(&my, "/b/x").command.contains(&"--ssl-mode=DISABLED".to_owned()));
        assert_eq!(dump.last_line.as_deref(), Some(COMPLETE));
        let restore = Tool::MariaDbDump.restore(&my, "/b/it's.sql").join(" ");
        assert_eq!(
            restore,
            r"sh -c mariadb --password --host=db --port=3306 --protocol=tcp --user=app --skip-ssl shop <'/b/it'\''s.sql'"
        );
    }
}
