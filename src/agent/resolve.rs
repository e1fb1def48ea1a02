//! Names to addresses as the pod's own programs see them: `/etc/hosts`, then the servers of `/etc/resolv.conf`.
//!
//! Not by the C library: a static one loads modules of the container's C library at run time, whatever that is.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant, SystemTime};

use dbmig_wire::ErrorKind;

use crate::error::{Result, fail};

/// Time for one server to answer once.
const PATIENCE: Duration = Duration::from_secs(3);
/// Times that each server is asked: a packet may be lost, and one that restarts misses some.
const ATTEMPTS: usize = 4;
/// Longest answer by UDP that servers give to whom has not asked for more (RFC 1035, 4.2.1).
const LONGEST: usize = 512;

/// Record types (RFC 1035, RFC 3596).
const A: u16 = 1;
const AAAA: u16 = 28;

/// Addresses of a name, or the address that it is.
///
/// # Errors
/// `UnknownHost`, with what the name service says, or that it says nothing.
pub(crate) fn resolve(host: &str) -> Result<Vec<IpAddr>> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    let hosts = in_hosts(&read("/etc/hosts"), host);
    if !hosts.is_empty() {
        return Ok(hosts);
    }
    let settings = Settings::of(&read("/etc/resolv.conf"));
    for name in settings.candidates(host) {
        // IPv6 where there is nothing else: a cluster with both reaches its own Services by both.
        for kind in [A, AAAA] {
            let found =
                ask(&settings.servers, &name, kind).map_err(|why| fail(ErrorKind::UnknownHost, format!("{host}: {why}")))?;
            if !found.is_empty() {
                return Ok(found);
            }
        }
    }
    Err(fail(ErrorKind::UnknownHost, format!("{host}: no such name")))
}

fn read(path: &str) -> String {
    // A container without it has none of what it says.
    fs::read_to_string(path).unwrap_or_default()
}

/// Lines without their comments, as words.
fn words(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().map(|line| line.split(['#', ';']).next().unwrap_or_default().split_whitespace().collect())
}

fn in_hosts(text: &str, host: &str) -> Vec<IpAddr> {
    let host = host.trim_end_matches('.');
    let of_line = |line: Vec<&str>| {
        let (address, names) = line.split_first()?;
        names.iter().any(|name| name.eq_ignore_ascii_case(host)).then(|| address.parse().ok())?
    };
    words(text).filter_map(of_line).collect()
}

/// What `/etc/resolv.conf` says (resolv.conf(5)).
struct Settings {
    servers: Vec<IpAddr>,
    search: Vec<String>,
    dots: usize,
}

impl Settings {
    fn of(text: &str) -> Self {
        let mut settings = Self { servers: Vec::new(), search: Vec::new(), dots: 1 };
        for line in words(text) {
            match line.as_slice() {
                ["nameserver", server, ..] => settings.servers.extend(server.parse::<IpAddr>().ok()),
                ["search" | "domain", names @ ..] => settings.search = names.iter().map(|name| (*name).to_owned()).collect(),
                ["options", options @ ..] => {
                    let dots = options.iter().find_map(|option| option.strip_prefix("ndots:")?.parse().ok());
                    settings.dots = dots.unwrap_or(settings.dots);
                }
                _ => {}
            }
        }
        if settings.servers.is_empty() {
            settings.servers.push(Ipv4Addr::LOCALHOST.into());
        }
        settings
    }

    /// The names to ask for, in their order.
    fn candidates(&self, host: &str) -> Vec<String> {
        if let Some(whole) = host.strip_suffix('.') {
            return vec![whole.to_owned()];
        }
        let longer = self.search.iter().map(|domain| format!("{host}.{}", domain.trim_matches('.')));
        if host.matches('.').count() >= self.dots {
            return [host.to_owned()].into_iter().chain(longer).collect();
        }
        longer.chain([host.to_owned()]).collect()
    }
}

/// Asks each server; an empty answer for a name that is not there. `Err` says why nobody answers.
fn ask(servers: &[IpAddr], name: &str, kind: u16) -> Result<Vec<IpAddr>, String> {
    let Some(question) = question(name, kind) else { return Ok(Vec::new()) };
    let mut why = String::new();
    for _ in 0..ATTEMPTS {
        for server in servers {
            match ask_one(*server, &question) {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => why = format!("the name service {server} has an error"),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock || error.kind() == io::ErrorKind::TimedOut => {
                    why = format!("the name service {server} does not answer");
                }
                Err(error) => why = format!("the name service {server} can't be asked: {}", error.kind()),
            }
        }
    }
    Err(why)
}

/// `None`: this server can't tell, another one may.
fn ask_one(server: IpAddr, question: &[u8]) -> io::Result<Option<Vec<IpAddr>>> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
    socket.connect(SocketAddr::new(server, 53))?;
    let id = number();
    let mut message = id.to_be_bytes().to_vec();
    message.extend_from_slice(question);
    socket.send(&message)?;
    let deadline = Instant::now() + PATIENCE;
    let mut answer = [0; LONGEST];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        let length = socket.recv(&mut answer)?;
        // A late answer to an earlier question is none to this one.
        if answer[..length].starts_with(&id.to_be_bytes()) {
            return Ok(addresses(&answer[..length]));
        }
    }
}

/// Hard enough to guess for whom is in the way of one question of a tool.
fn number() -> u16 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    // The lowest bits are the ones that differ.
    (now.subsec_nanos() ^ std::process::id()) as u16
}

/// A question without its number; `None` for what can't be a name.
fn question(name: &str, kind: u16) -> Option<Vec<u8>> {
    // Recursion wanted; one question.
    let mut message = vec![1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..64).contains(length))?;
        message.push(length);
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    message.extend_from_slice(&kind.to_be_bytes());
    message.extend_from_slice(&[0, 1]);
    Some(message)
}

/// The addresses in an answer, those behind aliases included; empty when the name is not there. `None` for a failure or
/// for what is no answer.
fn addresses(message: &[u8]) -> Option<Vec<IpAddr>> {
    const NO_SUCH_NAME: u8 = 3;
    let is_answer = message.get(2)? & 0x80 != 0;
    let code = message.get(3)? & 0x0f;
    if !is_answer || (code != 0 && code != NO_SUCH_NAME) {
        return None;
    }
    let (questions, answers) = (number_at(message, 4)?, number_at(message, 6)?);
    let mut at = 12;
    for _ in 0..questions {
        at = behind_name(message, at)? + 4;
    }
    let mut found = Vec::new();
    for _ in 0..answers {
        // An answer that did not fit is cut off; what is there is good.
        let Some(record) = behind_name(message, at) else { break };
        let (Some(kind), Some(length)) = (number_at(message, record), number_at(message, record + 8)) else { break };
        let data = record + 10;
        at = data + usize::from(length);
        let Some(data) = message.get(data..at) else { break };
        match kind {
            A => found.extend(<[u8; 4]>::try_from(data).ok().map(IpAddr::from)),
            AAAA => found.extend(<[u8; 16]>::try_from(data).ok().map(IpAddr::from)),
            _ => {}
        }
    }
    Some(found)
}

fn number_at(message: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]))
}

/// Where a name ends: at an empty label, or at a pointer to where it goes on.
fn behind_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            pointer if pointer & 0xc0 == 0xc0 => return Some(at + 2),
            length => at += 1 + usize::from(length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_names_are_searched_in_its_own_order() {
        let settings =
            Settings::of("nameserver 10.96.0.10\nsearch a.svc.cluster.local svc.cluster.local\noptions ndots:5 edns0\n");
        assert_eq!(settings.servers, [IpAddr::from([10, 96, 0, 10])]);
        assert_eq!(settings.candidates("db"), ["db.a.svc.cluster.local", "db.svc.cluster.local", "db"]);
        assert_eq!(settings.candidates("db.example.org."), ["db.example.org"]);
        let plain = Settings::of("# nothing\n");
        assert_eq!(plain.candidates("db.example.org"), ["db.example.org"]);
        assert_eq!(plain.servers, [IpAddr::from([127, 0, 0, 1])]);
    }

    #[test]
    fn hosts_are_found_by_any_of_their_names() {
        let text = "127.0.0.1 localhost\n::1 localhost ip6-localhost # here\n10.0.0.7 db DB.shop\nnonsense db\n";
        assert_eq!(in_hosts(text, "db.shop"), [IpAddr::from([10, 0, 0, 7])]);
        assert_eq!(in_hosts(text, "localhost").len(), 2);
        assert!(in_hosts(text, "d").is_empty());
    }

    #[test]
    fn an_answer_is_read_behind_aliases_and_compressed_names() {
        let mut message = vec![0, 7, 0x81, 0x80, 0, 1, 0, 2, 0, 0, 0, 0];
        message.extend(&question("db.x", A).unwrap()[10..]);
        message.extend([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 9, 0, 4, 1, b'y', 0xc0, 15]);
        message.extend([1, b'y', 0xc0, 15, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 10, 1, 2, 3]);
        assert_eq!(addresses(&message), Some(vec![IpAddr::from([10, 1, 2, 3])]));
        for cut in 0..message.len() {
            // No answer makes it fall over, however short.
            assert!(addresses(&message[..cut]).unwrap_or_default().is_empty());
        }
        message[3] = 0x83;
        assert!(addresses(&message).is_some());
        message[3] = 0x82;
        assert_eq!(addresses(&message), None);
        assert_eq!(question(&"x".repeat(64), A), None);
        assert_eq!(question("a..b", A), None);
    }
}
