//! Connections that the pod can make: to a name, an address or a Unix socket. Must not know what is said on them.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use dbmig_wire::{AgentError, Connected, ErrorKind};

use crate::error::{Result, fail};
use crate::resolve::resolve;

/// Time for one address to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Addresses of one name that are tried.
const MOST_ADDRESSES: usize = 4;

/// Both directions of a connection, to be used by two threads.
pub(super) struct Connection {
    pub(super) from: Box<dyn Read + Send>,
    pub(super) to: Box<dyn Half>,
}

/// The direction towards the other side.
pub(super) trait Half: Write + Send {
    /// Says that nothing follows.
    fn end(&self);
}

impl Half for TcpStream {
    fn end(&self) {
        // Gone already: there is nobody left to tell.
        let _ = self.shutdown(Shutdown::Write);
    }
}

impl Half for UnixStream {
    fn end(&self) {
        let _ = self.shutdown(Shutdown::Write);
    }
}

pub(super) fn connect(address: &str) -> Result<(Connection, Connected)> {
    if address.starts_with('/') {
        let failed = |error: io::Error| because(&error, address);
        let to = UnixStream::connect(address).map_err(failed)?;
        let from = to.try_clone().map_err(failed)?;
        let connected = Connected { to: address.to_owned(), from: None, listener: None };
        return Ok((Connection { from: Box::new(from), to: Box::new(to) }, connected));
    }
    let mut last = fail(ErrorKind::UnknownHost, format!("{address}: no address has this name"));
    for candidate in candidates(address)?.into_iter().take(MOST_ADDRESSES) {
        match TcpStream::connect_timeout(&candidate, PATIENCE) {
            Ok(to) => {
                // Questions and answers are small: each goes at once. Without it they are only slower.
                let _ = to.set_nodelay(true);
                let from = to.try_clone().map_err(|error| because(&error, address))?;
                let connected = Connected { to: candidate.to_string(), from: to.local_addr().ok(), listener: None };
                return Ok((Connection { from: Box::new(from), to: Box::new(to) }, connected));
            }
            Err(error) => last = because(&error, &spelled(address, candidate)),
        }
    }
    Err(last)
}

/// `HOST:PORT`, an IPv6 address in brackets.
fn candidates(address: &str) -> Result<Vec<SocketAddr>> {
    let parts = address.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    let Some((host, port)) = parts else {
        return Err(fail(ErrorKind::BadRequest, format!("{address} is not HOST:PORT and not the absolute path of a socket")));
    };
    let found = resolve(host.trim_start_matches('[').trim_end_matches(']'))?;
    Ok(found.into_iter().map(|address| SocketAddr::new(address, port)).collect())
}

fn spelled(address: &str, resolved: SocketAddr) -> String {
    let resolved = resolved.to_string();
    if resolved == address { resolved } else { format!("{address} ({resolved})") }
}

fn because(error: &io::Error, address: &str) -> AgentError {
    use io::ErrorKind as Io;
    let (kind, why) = match error.kind() {
        Io::ConnectionRefused => (ErrorKind::Refused, "connection refused".to_owned()),
        Io::TimedOut | Io::WouldBlock => (ErrorKind::TimedOut, format!("no answer within {} s", PATIENCE.as_secs())),
        Io::HostUnreachable | Io::NetworkUnreachable | Io::NetworkDown | Io::AddrNotAvailable => {
            (ErrorKind::Unreachable, "no route to it".to_owned())
        }
        Io::NotFound => (ErrorKind::NotFound, "no such socket".to_owned()),
        Io::PermissionDenied => (ErrorKind::Permission, "permission denied".to_owned()),
        _ => (ErrorKind::Other, error.to_string().to_lowercase()),
    };
    fail(kind, format!("{address}: {why}"))
}
