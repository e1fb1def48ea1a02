//! Why a database can't be reached: told apart, so that a diagnosis can name the cause, and in words.

use std::fmt;
use std::time::Duration;

use dbmig_wire::ErrorKind;

use crate::cluster::agent::AskError;
use crate::cluster::relay::Endpoint;
use crate::failure::{Failure, Result};

/// What stands between us and the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// The pod's name service does not know the host.
    UnknownHost,
    /// Nothing listens there, or the socket is not there.
    Refused,
    /// No way there from the pod.
    NoRoute,
    /// No answer.
    TimedOut,
    /// TLS: not offered, or a certificate that does not prove the server.
    Tls,
    /// User or password.
    Login,
    /// The server has no such database.
    NoDatabase,
    /// The server has no connection left.
    TooMany,
    /// The server is starting, stopping or recovering.
    NotReady,
    /// The connection to the pod was lost, or the helper can't run: nothing is known of the database.
    Lost,
    /// Something else that the server says.
    Other,
}

impl Trouble {
    /// In words, as a sentence without a full stop; empty where the server's own words have to do.
    #[must_use]
    pub fn in_words(self) -> &'static str {
        match self {
            Self::UnknownHost => "the pod's name service does not know its host",
            Self::Refused => "nothing listens there",
            Self::NoRoute => "there is no way to it from the pod",
            Self::TimedOut => "it does not answer; a NetworkPolicy or a firewall may be in the way",
            Self::Tls => "TLS does not come about as the URL wants it",
            Self::Login => "it refuses the user or the password",
            Self::NoDatabase => "the server has no such database, or not for this user",
            Self::TooMany => "the server has no connection left",
            Self::NotReady => "the server is starting, stopping or recovering",
            Self::Lost => "the connection broke before anything could be learnt",
            Self::Other => "",
        }
    }
}

/// A database that could not be reached, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreached {
    /// The cause.
    pub trouble: Trouble,
    /// The same in words.
    pub failure: Failure,
}

impl Unreached {
    pub(super) fn new(trouble: Trouble, name: &str, why: impl Into<String>) -> Self {
        let failure = Failure::failed(format!("cannot connect to {name}")).fact(why);
        let passing = matches!(trouble, Trouble::TooMany | Trouble::NotReady | Trouble::TimedOut | Trouble::Lost);
        Self { trouble, failure: if passing { failure.passing() } else { failure } }
    }

    /// A server that has accepted the connection and says nothing more.
    pub(super) fn silent(name: &str, patience: Duration) -> Self {
        Self::new(Trouble::TimedOut, name, format!("the server said nothing for {} s", patience.as_secs()))
    }

    /// What the agent says of a connection that it was to make.
    pub(super) fn network(error: AskError, name: &str, endpoint: &Endpoint) -> Self {
        let AskError::Agent(said) = error else {
            return Self { trouble: Trouble::Lost, failure: error.into_failure(&format!("connect to {name}")) };
        };
        let trouble = match said.kind {
            ErrorKind::UnknownHost => Trouble::UnknownHost,
            ErrorKind::Refused | ErrorKind::NotFound => Trouble::Refused,
            ErrorKind::Unreachable => Trouble::NoRoute,
            ErrorKind::TimedOut => Trouble::TimedOut,
            _ => Trouble::Other,
        };
        let unreached = Self::new(trouble, name, format!("from inside the pod: {}", said.message));
        let next = match (trouble, endpoint) {
            (Trouble::UnknownHost, Endpoint::Tcp(host, _)) => format!("kubectl get services -A | grep {}", first_label(host)),
            (Trouble::TimedOut | Trouble::NoRoute, _) => "kubectl get networkpolicies -A".to_owned(),
            _ => return unreached,
        };
        Self { failure: unreached.failure.next(next), ..unreached }
    }

    /// The same for a failure that names its own cause.
    pub(super) fn of(trouble: Trouble, failure: Failure) -> Self {
        Self { trouble, failure }
    }
}

fn first_label(host: &str) -> &str {
    host.split('.').next().unwrap_or(host)
}

impl From<Unreached> for Failure {
    fn from(unreached: Unreached) -> Self {
        unreached.failure
    }
}

impl fmt::Display for Unreached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.failure.fmt(f)
    }
}

/// What a server says of a statement, in the order in which a person wants to read it.
pub(super) struct Said {
    pub(super) message: String,
    pub(super) details: Vec<String>,
}

impl Said {
    /// The failure of `doing` (`ask postgresql://…`), nothing changed.
    pub(super) fn failure(self, doing: &str) -> Failure {
        Failure::failed(format!("cannot {doing}: {}", self.message)).facts(self.details)
    }
}

/// Says that a change met another number of rows than it should have.
pub(super) fn other_rows(sql: &str, found: u64, expected: u64) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Failure::failed(format!("the database is not as it was seen: a change would hit {found} rows instead of {expected}"))
        .fact(sql)
        .state("nothing was changed")
        .take_back())
}

/// Says what a connection that broke while a transaction was made permanent leaves behind.
pub(super) fn in_doubt(failure: Failure) -> Failure {
    Failure { state: None, ..failure }.passing().state("whether the changes were made is not known: look before doing them again")
}
