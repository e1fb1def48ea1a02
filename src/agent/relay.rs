//! A connection from inside the pod, carried over stdin and stdout. Must not know what is said on it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use dbmig_wire::{ABANDONED_SECONDS, AgentError, BEAT_SECONDS, Connected, ErrorKind, Message};

use crate::error::{Result, fail};
use crate::output::line;
use crate::resolve::resolve;

/// Time for one address to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Addresses of one name that are tried.
const MOST_ADDRESSES: usize = 4;
/// Time for the other side to say what it still has to say once stdin has ended.
const LINGER: Duration = Duration::from_secs(5);
/// Bytes carried at once.
const PIECE: usize = 64 << 10;

/// Connects, tells so, and carries bytes until either side ends. Ends itself, too, when nothing was carried for
/// [`ABANDONED_SECONDS`]: an exec whose other end went away without a word must not stay.
pub(crate) fn run(address: &str) -> ExitCode {
    match connect(address) {
        Ok((connection, to)) => {
            let greeting = serde_json::to_value(Connected { to }).map(Message::Done);
            if greeting.is_ok_and(|greeting| say(&greeting)) { carry(connection) } else { ExitCode::FAILURE }
        }
        Err(error) => {
            // Whoever does not read it learns by the exit code.
            say(&Message::Failed(error));
            ExitCode::FAILURE
        }
    }
}

fn say(message: &Message) -> bool {
    let mut stdout = io::stdout().lock();
    line(message).is_some_and(|line| stdout.write_all(&line).and_then(|()| stdout.flush()).is_ok())
}

/// Both directions of a connection, to be used by two threads.
struct Connection {
    from: Box<dyn Read + Send>,
    to: Box<dyn Half>,
}

/// The direction towards the other side.
trait Half: Write + Send {
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

fn connect(address: &str) -> Result<(Connection, String)> {
    if address.starts_with('/') {
        let failed = |error: io::Error| because(&error, address);
        let to = UnixStream::connect(address).map_err(failed)?;
        let from = to.try_clone().map_err(failed)?;
        return Ok((Connection { from: Box::new(from), to: Box::new(to) }, address.to_owned()));
    }
    let mut last = fail(ErrorKind::UnknownHost, format!("{address}: no address has this name"));
    for candidate in candidates(address)?.into_iter().take(MOST_ADDRESSES) {
        match TcpStream::connect_timeout(&candidate, PATIENCE) {
            Ok(to) => {
                // Questions and answers are small: each goes at once. Without it they are only slower.
                let _ = to.set_nodelay(true);
                let from = to.try_clone().map_err(|error| because(&error, address))?;
                return Ok((Connection { from: Box::new(from), to: Box::new(to) }, candidate.to_string()));
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

/// Which direction has ended.
enum Ended {
    /// Nothing comes from the other side any more.
    Answers,
    /// Stdin has ended, or the other side takes nothing more.
    Questions,
}

fn carry(connection: Connection) -> ExitCode {
    let clock = Arc::new(Clock { begun: Instant::now(), last_ms: AtomicU64::new(0) });
    let (ended_tx, ended_rx) = channel();
    let Connection { mut from, mut to } = connection;
    spawn(&clock, &ended_tx, Ended::Answers, move |clock| copy(&mut from, &mut io::stdout().lock(), clock));
    spawn(&clock, &ended_tx, Ended::Questions, move |clock| {
        copy(&mut io::stdin().lock(), &mut to, clock);
        to.end();
    });
    let mut wait = Duration::from_secs(BEAT_SECONDS);
    loop {
        match ended_rx.recv_timeout(wait) {
            Ok(Ended::Answers) => return ExitCode::SUCCESS,
            Ok(Ended::Questions) => wait = LINGER,
            Err(RecvTimeoutError::Disconnected) => return ExitCode::SUCCESS,
            // Nobody asks any more, and the other side does not end either.
            Err(RecvTimeoutError::Timeout) if wait == LINGER => return ExitCode::SUCCESS,
            Err(RecvTimeoutError::Timeout) if clock.quiet() >= Duration::from_secs(ABANDONED_SECONDS) => {
                return ExitCode::FAILURE;
            }
            // A proxy on the way to the plugin cuts what is quiet; stderr is not part of the connection. A plugin that is
            // gone shows by stdin's end, so it does not matter when nobody reads this.
            Err(RecvTimeoutError::Timeout) => drop(io::stderr().write_all(b"\n")),
        }
    }
}

fn spawn(clock: &Arc<Clock>, ended_tx: &Sender<Ended>, end: Ended, work: impl FnOnce(&Clock) + Send + 'static) {
    let (clock, ended_tx) = (Arc::clone(clock), ended_tx.clone());
    thread::spawn(move || {
        work(&clock);
        // The process is on its way out when nobody listens.
        let _ = ended_tx.send(end);
    });
}

/// When bytes were carried last.
struct Clock {
    begun: Instant,
    last_ms: AtomicU64,
}

impl Clock {
    fn tick(&self) {
        // Milliseconds of a process's life fit.
        self.last_ms.store(u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn quiet(&self) -> Duration {
        self.begun.elapsed().saturating_sub(Duration::from_millis(self.last_ms.load(Ordering::Relaxed)))
    }
}

/// Until either side ends or breaks, which the plugin's own protocol notices.
fn copy(from: &mut impl Read, to: &mut impl Write, clock: &Clock) {
    let mut piece = vec![0; PIECE];
    loop {
        let count = match from.read(&mut piece) {
            Ok(0) => return,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        if to.write_all(&piece[..count]).and_then(|()| to.flush()).is_err() {
            return;
        }
        clock.tick();
    }
}
