//! A connection from inside the pod, carried in frames over stdin and stdout or over a port of the pod's own. Must not know what is said on it.

mod connect;
mod listener;

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use dbmig_wire::relay::{BY_EXEC, BY_PORT, CONTENT_BYTES, Packer, Piece, Unpacker};
use dbmig_wire::{ABANDONED_SECONDS, BEAT_SECONDS, Connected, Message};

use self::connect::{Connection, connect};
use crate::output::line;

/// Time for the plugin to say which way the frames go.
const UNDECIDED: Duration = Duration::from_secs(60);
/// Time for the other side to say what it still has to say once stdin has ended.
const LINGER: Duration = Duration::from_secs(5);

/// Connects, tells so, and carries bytes until either side ends. Ends itself, too, when nothing was carried for
/// [`ABANDONED_SECONDS`]: an exec whose other end went away without a word must not stay.
pub(crate) fn run(address: &str) -> ExitCode {
    match connect(address) {
        Ok((connection, connected)) => {
            let (listener, admitted) = listener::listen().ok().unzip();
            let greeting = serde_json::to_value(Connected { listener, ..connected }).map(Message::Done);
            let way = if greeting.is_ok_and(|greeting| say(&greeting)) { Way::said(admitted) } else { None };
            way.map_or(ExitCode::FAILURE, |way| carry(connection, way))
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

/// How frames come and go.
enum Way {
    Exec,
    Port(TcpStream),
}

impl Way {
    /// What the plugin says; `None`: nothing, or what can't be.
    fn said(admitted: Option<Receiver<TcpStream>>) -> Option<Self> {
        let (said_tx, said_rx) = channel();
        thread::spawn(move || {
            let mut said = [0];
            // Nothing more than this: frames may follow.
            let read = unbuffered(io::stdin()).and_then(|mut stdin| stdin.read_exact(&mut said));
            read.map(|()| said_tx.send(said[0]))
        });
        match said_rx.recv_timeout(UNDECIDED).ok()? {
            BY_EXEC => Some(Self::Exec),
            // Who says so has been admitted.
            BY_PORT => admitted?.recv_timeout(LINGER).ok().map(Self::Port),
            _ => None,
        }
    }

    /// What frames are read from and written to.
    fn ends(self) -> io::Result<(Box<dyn Read + Send>, Box<dyn Write + Send>)> {
        match self {
            Self::Exec => Ok((Box::new(unbuffered(io::stdin())?), Box::new(unbuffered(io::stdout())?))),
            Self::Port(stream) => Ok((Box::new(stream.try_clone()?), Box::new(stream))),
        }
    }
}

/// Which direction has ended.
enum Ended {
    /// Nothing comes from the other side any more.
    Answers,
    /// Nothing comes from the plugin any more, or the other side takes nothing more.
    Questions,
    /// What comes from the plugin are no frames; why.
    Nonsense(String),
    /// The plugin is gone.
    Alone,
}

fn carry(connection: Connection, way: Way) -> ExitCode {
    let is_exec = matches!(way, Way::Exec);
    let Ok((mut questions, answers)) = way.ends() else { return ExitCode::FAILURE };
    let clock = Arc::new(Clock { begun: Instant::now(), last_ms: AtomicU64::new(0) });
    let (ended_tx, ended_rx) = channel();
    let Connection { mut from, mut to } = connection;
    spawn(&clock, &ended_tx, move |clock, tell| {
        // Whichever of the two broke: the plugin's own protocol notices.
        let _ = carry_answers(&mut from, answers, clock);
        tell(Ended::Answers);
    });
    spawn(&clock, &ended_tx, move |clock, tell| {
        let carried = carry_questions(&mut questions, &mut to, clock);
        to.end();
        tell(match carried {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Ended::Nonsense(error.to_string()),
            _ => Ended::Questions,
        });
        if !is_exec {
            // Left unread, it would have the end of this connection throw away what was answered and not taken yet.
            let _ = io::copy(&mut questions, &mut io::sink());
            tell(Ended::Alone);
        }
    });
    if !is_exec {
        spawn(&clock, &ended_tx, |_, tell| {
            // Nothing comes there: it ends with the exec.
            let _ = unbuffered(io::stdin()).and_then(|mut stdin| io::copy(&mut stdin, &mut io::sink()));
            tell(Ended::Alone);
        });
    }
    let (mut wait, mut answered) = (Duration::from_secs(BEAT_SECONDS), false);
    loop {
        match ended_rx.recv_timeout(wait) {
            Ok(Ended::Answers) if is_exec => return ExitCode::SUCCESS,
            Ok(Ended::Answers) => (wait, answered) = (LINGER, true),
            Ok(Ended::Questions) => wait = LINGER,
            Ok(Ended::Nonsense(why)) => {
                // Where nobody reads it, the exit code says enough.
                let _ = writeln!(io::stderr(), "{why}");
                return ExitCode::FAILURE;
            }
            Ok(Ended::Alone) if !answered => return ExitCode::FAILURE,
            Ok(Ended::Alone) | Err(RecvTimeoutError::Disconnected) => return ExitCode::SUCCESS,
            Err(RecvTimeoutError::Timeout) if answered => return ExitCode::SUCCESS,
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

fn spawn(clock: &Arc<Clock>, ended_tx: &Sender<Ended>, work: impl FnOnce(&Clock, &dyn Fn(Ended)) + Send + 'static) {
    let (clock, ended_tx) = (Arc::clone(clock), ended_tx.clone());
    // The process is on its way out when nobody listens.
    thread::spawn(move || work(&clock, &|ended| drop(ended_tx.send(ended))));
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

/// Until the other side ends, and that it has: as it comes, what waits together goes together.
fn carry_answers(from: &mut impl Read, mut to: impl Write, clock: &Clock) -> io::Result<()> {
    let (mut packer, mut content, mut frame) = (Packer::default(), vec![0; CONTENT_BYTES], Vec::new());
    loop {
        // One that was reset has ended, too.
        let count = read(from, &mut content).unwrap_or_default();
        frame.clear();
        if count == 0 {
            Packer::end(&mut frame);
            return to.write_all(&frame);
        }
        packer.pack(&content[..count], &mut frame);
        let begun = Instant::now();
        to.write_all(&frame)?;
        packer.took(count, begun.elapsed());
        clock.tick();
    }
}

/// Until nothing comes any more, or it says that nothing follows.
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
