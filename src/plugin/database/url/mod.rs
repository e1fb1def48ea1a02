//! Where a database is and how one logs in. Connects to nothing, and never shows a password.

mod parse;
#[cfg(test)]
mod tests;

use std::fmt;

pub(super) use self::parse::{engine, ini, mode, parts};
use crate::cluster::relay::Endpoint;
use crate::failure::{Failure, Result};

/// A text that is never shown: not by `Debug`, and there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Keeps a text to itself.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the one place that logs in with it.
    #[must_use]
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(password)")
    }
}

/// The protocol that a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Engine {
    /// PostgreSQL and what speaks its protocol.
    Postgres,
    /// MySQL and MariaDB.
    Mysql,
}

impl Engine {
    /// The port that it listens on by default.
    #[must_use]
    pub fn port(self) -> u16 {
        match self {
            Self::Postgres => 5432,
            Self::Mysql => 3306,
        }
    }

    fn scheme(self) -> &'static str {
        match self {
            Self::Postgres => "postgresql",
            Self::Mysql => "mysql",
        }
    }
}

/// How much TLS is wanted, as libpq's `sslmode` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TlsMode {
    /// None.
    Disable,
    /// If the server has it; whoever it is.
    #[default]
    Prefer,
    /// Yes; whoever the server is, unless root certificates are named, which must have signed its own then.
    Require,
    /// Yes, and its certificate must be signed by a root certificate.
    VerifyCa,
    /// Yes, and its certificate must also be for the host's name.
    VerifyFull,
}

/// TLS and its files, which are paths in the pod.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Tls {
    /// How much.
    pub mode: TlsMode,
    /// Root certificates, PEM.
    pub roots: Option<String>,
    /// The client's certificate, PEM.
    pub certificate: Option<String>,
    /// The client's private key, PEM.
    pub key: Option<String>,
}

/// A server, and how one logs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// What it speaks.
    pub engine: Engine,
    /// Where it listens: at least one, tried in this order.
    pub endpoints: Vec<Endpoint>,
    /// User; `None` lets the driver's default stand.
    pub user: Option<String>,
    /// Password.
    pub password: Option<Password>,
    /// Database on the server.
    pub database: Option<String>,
    /// TLS.
    pub tls: Tls,
}

/// Where a database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// On a server.
    Server(Server),
    /// In an SQLite file: its path as the application sees it.
    File(String),
}

impl Location {
    /// Understands what applications are given: `postgres://`, `postgresql://`, `mysql://` and `mariadb://` URLs with the
    /// suffixes of SQLAlchemy's drivers, `jdbc:` before them, libpq's `key=value`, ADO.NET's `Key=Value;`, Go's
    /// `user:password@tcp(host:port)/database`, `sqlite:` and `file:` paths, and absolute paths of files.
    ///
    /// # Errors
    /// It is none of these, or incomplete. The text is not repeated: it may contain a password.
    pub fn parse(text: &str) -> Result<Self> {
        parts(text)?.finish()
    }
}

impl fmt::Display for Location {
    /// As a URL without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let server = match self {
            Self::File(path) => return write!(f, "sqlite:{path}"),
            Self::Server(server) => server,
        };
        write!(f, "{}://", server.engine.scheme())?;
        if let Some(user) = &server.user {
            write!(f, "{user}@")?;
        }
        let endpoints: Vec<String> = server.endpoints.iter().map(ToString::to_string).collect();
        f.write_str(&endpoints.join(","))?;
        server.database.as_ref().map_or(Ok(()), |database| write!(f, "/{database}"))
    }
}

/// What one source says of a database; another one may say the rest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) engine: Option<Engine>,
    /// Names, addresses, or folders of sockets.
    pub(super) hosts: Vec<String>,
    /// One for each host, or one for all.
    pub(super) ports: Vec<u16>,
    /// Path of a MySQL socket.
    pub(super) socket: Option<String>,
    pub(super) user: Option<String>,
    pub(super) password: Option<Password>,
    pub(super) database: Option<String>,
    pub(super) mode: Option<TlsMode>,
    pub(super) roots: Option<String>,
    pub(super) certificate: Option<String>,
    pub(super) key: Option<String>,
    /// A section of libpq's service file.
    pub(super) service: Option<String>,
    /// Path of an SQLite file; nothing else counts then.
    pub(super) file: Option<String>,
}

impl Parts {
    /// What is not said here, taken from there.
    #[must_use]
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            engine: self.engine.or(other.engine),
            // A host without its port would pair with another host's.
            ports: if self.ports.is_empty() && self.hosts.is_empty() { other.ports } else { self.ports },
            hosts: if self.hosts.is_empty() { other.hosts } else { self.hosts },
            socket: self.socket.or(other.socket),
            user: self.user.or(other.user),
            password: self.password.or(other.password),
            database: self.database.or(other.database),
            mode: self.mode.or(other.mode),
            roots: self.roots.or(other.roots),
            certificate: self.certificate.or(other.certificate),
            key: self.key.or(other.key),
            service: self.service.or(other.service),
            file: self.file.or(other.file),
        }
    }

    /// The whole, with the defaults of the drivers for what nobody said.
    ///
    /// # Errors
    /// No word about what kind of server it is, a service that nobody looked up, or ports that do not fit the hosts.
    pub(super) fn finish(self) -> Result<Location> {
        if let Some(path) = self.file {
            return Ok(Location::File(path));
        }
        if let Some(service) = &self.service {
            return Err(Failure::usage(format!("service {service} is not in the pod's service file (PGSERVICEFILE)")));
        }
        let engine = self.engine.or_else(|| by_port(&self.ports)).ok_or_else(|| {
            Failure::usage("nothing says whether the database is PostgreSQL or MySQL")
                .next("name it as a URL: --database postgres://… or mysql://…")
        })?;
        let endpoints = endpoints(engine, &self.hosts, &self.ports, self.socket)?;
        let tls = Tls { mode: self.mode.unwrap_or_default(), roots: self.roots, certificate: self.certificate, key: self.key };
        let (user, password, database) = (self.user, self.password, self.database.filter(|name| !name.is_empty()));
        Ok(Location::Server(Server { engine, endpoints, user, password, database, tls }))
    }
}

fn by_port(ports: &[u16]) -> Option<Engine> {
    let port = ports.first()?;
    [Engine::Postgres, Engine::Mysql].into_iter().find(|engine| engine.port() == *port)
}

fn endpoints(engine: Engine, hosts: &[String], ports: &[u16], socket: Option<String>) -> Result<Vec<Endpoint>> {
    if let Some(path) = socket {
        return Ok(vec![Endpoint::Socket(path)]);
    }
    if hosts.is_empty() {
        return Ok(vec![Endpoint::Tcp("localhost".to_owned(), ports.first().copied().unwrap_or(engine.port()))]);
    }
    if ports.len() > 1 && ports.len() != hosts.len() {
        return Err(Failure::usage(format!("the database's {} hosts do not fit its {} ports", hosts.len(), ports.len())));
    }
    let port = |at: usize| ports.get(at).or(ports.first()).copied().unwrap_or(engine.port());
    let endpoint = |(at, host): (usize, &String)| match (host.starts_with('/'), engine) {
        // libpq's name for the socket in a folder.
        (true, Engine::Postgres) => Endpoint::Socket(format!("{}/.s.PGSQL.{}", host.trim_end_matches('/'), port(at))),
        (true, Engine::Mysql) => Endpoint::Socket(host.clone()),
        (false, _) => Endpoint::Tcp(host.clone(), port(at)),
    };
    Ok(hosts.iter().enumerate().map(endpoint).collect())
}
