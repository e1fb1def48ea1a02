//! A connection from inside the pod, carried over stdin and stdout in frames. Must not know what is said on it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use dbmig_wire::relay::{CONTENT_BYTES, Packer, Piece, Unpacker};
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

/// Connects, tells so, and carries bytes until either side ends. Ends itself, too, when nothing was carried for
/// [`ABANDONED_SECONDS`]: an exec whose other end went away without a word must not stay.
pub(crate) fn run(address: &str) -> ExitCode {
    match connect(address) {
        Ok((connection, connected)) => {
            let greeting = serde_json::to_value(connected).map(Message::Done);
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

fn connect(address: &str) -> Result<(Connection, Connected)> {
    if address.starts_with('/') {
        let failed = |error: io::Error| because(&error, address);
        let to = UnixStream::connect(address).map_err(failed)?;
        let from = to.try_clone().map_err(failed)?;
        let connected = Connected { to: address.to_owned(), from: None };
        return Ok((Connection { from: Box::new(from), to: Box::new(to) }, connected));
    }
    let mut last = fail(ErrorKind::UnknownHost, format!("{address}: no address has this name"));
    for candidate in candidates(address)?.into_iter().take(MOST_ADDRESSES) {
        match TcpStream::connect_timeout(&candidate, PATIENCE) {
            Ok(to) => {
                // Questions and answers are small: each goes at once. Without it they are only slower.
                let _ = to.set_nodelay(true);
                let from = to.try_clone().map_err(|error| because(&error, address))?;
                let connected = Connected { to: candidate.to_string(), from: to.local_addr().ok() };
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

/// Which direction has ended.
enum Ended {
    /// Nothing comes from the other side any more.
    Answers,
    /// Nothing comes on stdin any more, or the other side takes nothing more.
    Questions,
    /// What comes on stdin are no frames; why.
    Nonsense(String),
}

fn carry(connection: Connection) -> ExitCode {
    let clock = Arc::new(Clock { begun: Instant::now(), last_ms: AtomicU64::new(0) });
    let (ended_tx, ended_rx) = channel();
    let Connection { mut from, mut to } = connection;
    let (Ok(stdin), Ok(stdout)) = (unbuffered(io::stdin()), unbuffered(io::stdout())) else { return ExitCode::FAILURE };
    spawn(&clock, &ended_tx, move |clock| {
        // Whichever of the two broke: the plugin's own protocol notices.
        let _ = carry_answers(&mut from, stdout, clock);
        Ended::Answers
    });
    spawn(&clock, &ended_tx, move |clock| {
        let carried = carry_questions(stdin, &mut to, clock);
        to.end();
        match carried {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Ended::Nonsense(error.to_string()),
            _ => Ended::Questions,
        }
    });
    let mut wait = Duration::from_secs(BEAT_SECONDS);
    loop {
        match ended_rx.recv_timeout(wait) {
            Ok(Ended::Answers) => return ExitCode::SUCCESS,
            Ok(Ended::Questions) => wait = LINGER,
            Ok(Ended::Nonsense(why)) => {
                // Where nobody reads it, the exit code says enough.
                let _ = writeln!(io::stderr(), "{why}");
                return ExitCode::FAILURE;
            }
            Err(RecvTimeoutError::Disconnected) => return ExitCode::SUCCESS,
            // Nobody asks any more, and the other side has nothing to say and does not end either.
            Err(RecvTimeoutError::Timeout) if wait == LINGER && clock.quiet() >= LINGER => return ExitCode::SUCCESS,
            Err(RecvTimeoutError::Timeout) if clock.quiet() >= Duration::from_secs(ABANDONED_SECONDS) => {
                return ExitCode::FAILURE;
            }
            // A proxy on the way to the plugin cuts what is quiet; stderr is not part of the connection. A plugin that is
            // gone shows by stdin's end, so it does not matter when nobody reads this.
            Err(RecvTimeoutError::Timeout) => drop(io::stderr().write_all(b"\n")),
        }
    }
}

fn spawn(clock: &Arc<Clock>, ended_tx: &Sender<Ended>, work: impl FnOnce(&Clock) -> Ended + Send + 'static) {
    let (clock, ended_tx) = (Arc::clone(clock), ended_tx.clone());
    // The process is on its way out when nobody listens.
    thread::spawn(move || drop(ended_tx.send(work(&clock))));
}

/// The standard library's own would write what follows the last line feed for itself.
fn unbuffered(stream: impl AsFd) -> io::Result<File> {
    Ok(stream.as_fd().try_clone_to_owned()?.into())
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

/// Until the other side ends, as it comes: what waits together goes together.
fn carry_answers(from: &mut impl Read, mut to: impl Write, clock: &Clock) -> io::Result<()> {
    let (mut packer, mut content, mut frame) = (Packer::default(), vec![0; CONTENT_BYTES], Vec::new());
    let mut pace = Pace::default();
    loop {
        let count = read(from, &mut content)?;
        if count == 0 {
            return Ok(());
        }
        frame.clear();
        match pace.is_fast {
            true => Packer::copy(&content[..count], &mut frame),
            false => packer.pack(&content[..count], &mut frame),
        };
        let begun = Instant::now();
        to.write_all(&frame)?;
        pace.took(count, begun.elapsed());
        clock.tick();
    }
}

/// How fast content is taken off our hands: where that is faster than it could be packed, packing would only hold it up.
#[derive(Default)]
struct Pace {
    bytes: usize,
    time: Duration,
    is_fast: bool,
}

impl Pace {
    /// Content that is judged together: more than what pipes and sockets on the way hold.
    const JUDGED: usize = 4 << 20;
    /// Bytes a second that LZ4 makes nothing faster of, on a slow core.
    const FAST: usize = 100 << 20;

    fn took(&mut self, bytes: usize, time: Duration) {
        self.bytes += bytes;
        self.time += time;
        if self.bytes >= Self::JUDGED {
            let is_fast = self.time.as_secs_f64() * Self::FAST as f64 <= self.bytes as f64;
            *self = Self { is_fast, ..Self::default() };
        }
    }
}

/// Until stdin ends, or says that nothing follows.
fn carry_questions(mut from: impl Read, to: &mut impl Write, clock: &Clock) -> io::Result<()> {
    let (mut unpacker, mut came) = (Unpacker::default(), vec![0; CONTENT_BYTES]);
    loop {
        let count = read(&mut from, &mut came)?;
        if count == 0 {
            return Ok(());
        }
        let mut input = &came[..count];
        loop {
            match unpacker.next(&mut input, usize::MAX).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))? {
                Piece::Content(bytes) => to.write_all(bytes)?,
                Piece::More => break,
                Piece::End => return Ok(()),
            }
        }
        clock.tick();
    }
}

/// How many bytes came, whatever interrupts it; 0 at the end.
fn read(from: &mut impl Read, bytes: &mut [u8]) -> io::Result<usize> {
    loop {
        match from.read(bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
