//! `dbmig-agent relay` against real sockets: what it says when it can't connect, and that it carries every byte and never stays.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::process::{Child, ChildStdin, ChildStdout, ExitStatus};
use std::thread;
use std::time::Duration;

use dbmig_wire::relay::{ADMITTED, BY_EXEC, BY_PORT, CONTENT_BYTES, Packer, Piece, Unpacker};
use dbmig_wire::{AgentError, Connected, ErrorKind, Message};
use rand::RngExt as _;
use sha2::{Digest, Sha256};

use crate::process::agent;

/// A relay that is connected, by its stdin and stdout or by its port.
struct Relay<I = ChildStdin, O = ChildStdout> {
    child: Child,
    to: Packed<I>,
    from: Unpacked<O>,
    connected: Connected,
}

/// What goes to it, in frames.
struct Packed<I>(I, Packer);

impl<I: Write> Packed<I> {
    fn end(&mut self) {
        let mut frame = Vec::new();
        Packer::end(&mut frame);
        self.0.write_all(&frame).unwrap();
    }
}

impl<I: Write> Write for Packed<I> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut frame = Vec::new();
        let taken = self.1.pack(bytes, &mut frame);
        self.0.write_all(&frame).map(|()| taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// What is in the frames that come from it.
struct Unpacked<O>(BufReader<O>, Unpacker);

impl<O: Read> Read for Unpacked<O> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut unread: &[u8] = &[];
        loop {
            let given = unread.len();
            let (taken, count) = match self.1.next(&mut unread, bytes.len()).unwrap() {
                Piece::Content(content) => {
                    bytes[..content.len()].copy_from_slice(content);
                    (given - unread.len(), Some(content.len()))
                }
                Piece::More => (given, None),
                Piece::End => return Ok(0),
            };
            self.0.consume(taken);
            if let Some(count) = count {
                return Ok(count);
            }
            unread = self.0.fill_buf()?;
            if unread.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

fn start(address: &str) -> (Child, BufReader<ChildStdout>, Message) {
    let mut child = agent(&["relay", address]).spawn().unwrap();
    let mut from = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    from.read_line(&mut line).unwrap();
    let said = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line:?}: {e}"));
    (child, from, said)
}

fn relay(address: &str) -> Relay {
    let (mut child, from, said) = start(address);
    let Message::Done(connected) = said else { panic!("{said:?}") };
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&[BY_EXEC]).unwrap();
    // Of both kinds, frames as they come by a slow way.
    let mut packer = Packer::default();
    packer.took(CONTENT_BYTES << 10, Duration::from_secs(60));
    let (to, from) = (Packed(stdin, packer), Unpacked(from, Unpacker::default()));
    Relay { to, child, from, connected: serde_json::from_value(connected).unwrap() }
}

/// One that has said where it listens.
fn listening(address: &str) -> (Child, Connected) {
    let (child, _, said) = start(address);
    let Message::Done(connected) = said else { panic!("{said:?}") };
    (child, serde_json::from_value(connected).unwrap())
}

/// What comes back when this is said to its port.
fn knock(connected: &Connected, token: &str) -> (TcpStream, Option<u8>) {
    let mut visitor = TcpStream::connect(("127.0.0.1", connected.listener.as_ref().unwrap().port)).unwrap();
    visitor.write_all(token.as_bytes()).unwrap();
    let mut said = [0];
    let said = visitor.read_exact(&mut said).ok().map(|()| said[0]);
    (visitor, said)
}

/// A relay that goes by its port, and the server at its other end.
fn by_port() -> (Relay<TcpStream, TcpStream>, TcpStream) {
    let (listener, address) = server();
    let (mut child, connected) = listening(&address);
    let (visitor, said) = knock(&connected, &connected.listener.as_ref().unwrap().token);
    assert_eq!(said, Some(ADMITTED));
    child.stdin.as_mut().unwrap().write_all(&[BY_PORT]).unwrap();
    let from = Unpacked(BufReader::new(visitor.try_clone().unwrap()), Unpacker::default());
    (Relay { child, to: Packed(visitor, Packer::default()), from, connected }, listener.accept().unwrap().0)
}

fn refused(address: &str) -> AgentError {
    let (mut child, mut from, said) = start(address);
    let mut rest = Vec::new();
    from.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"", "nothing follows what it could not do");
    assert_eq!(child.wait().unwrap().code(), Some(1));
    match said {
        Message::Failed(error) => error,
        other => panic!("{address}: {other:?}"),
    }
}

/// A server for one connection, and its address.
fn server() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

fn connected() -> (Relay, TcpStream) {
    let (listener, address) = server();
    let relay = relay(&address);
    (relay, listener.accept().unwrap().0)
}

fn ended(mut relay: Relay) -> ExitStatus {
    let mut rest = Vec::new();
    relay.from.read_to_end(&mut rest).unwrap();
    relay.child.wait().unwrap()
}

#[test]
fn what_keeps_it_from_connecting_is_told_apart() {
    let (listener, free) = server();
    drop(listener);
    let error = refused(&free);
    assert_eq!((error.kind, error.message), (ErrorKind::Refused, format!("{free}: connection refused")));
    let error = refused("no-such-name.invalid:5432");
    assert_eq!(error.kind, ErrorKind::UnknownHost, "{error:?}");
    assert!(error.message.starts_with("no-such-name.invalid: "), "{error:?}");
    for nonsense in ["db", "db:port", "db:70000", ""] {
        assert_eq!(refused(nonsense).kind, ErrorKind::BadRequest, "{nonsense:?}");
    }
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s").to_str().unwrap().to_owned();
    assert_eq!(refused(&socket).kind, ErrorKind::NotFound);
    drop(UnixListener::bind(&socket).unwrap());
    assert_eq!(refused(&socket).kind, ErrorKind::Refused);
}

#[test]
fn a_name_of_the_hosts_file_and_a_socket_lead_there() {
    let (listener, address) = server();
    let port = address.rsplit_once(':').unwrap().1;
    let by_name = relay(&format!("localhost:{port}"));
    assert_eq!(by_name.connected.to, address);
    drop(listener);
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s").to_str().unwrap().to_owned();
    let listener = UnixListener::bind(&socket).unwrap();
    let mut by_socket = relay(&socket);
    let mut served = listener.accept().unwrap().0;
    by_socket.to.write_all(b"ping").unwrap();
    let mut said = [0; 4];
    served.read_exact(&mut said).unwrap();
    served.write_all(b"pong").unwrap();
    drop(served);
    let mut answer = Vec::new();
    by_socket.from.read_to_end(&mut answer).unwrap();
    assert_eq!((&said, answer.as_slice()), (b"ping", b"pong".as_slice()));
    assert!(by_socket.child.wait().unwrap().success());
}

/// Bytes of all kinds, those that get smaller and those that don't.
fn content(bytes: usize) -> Vec<u8> {
    let mut content = vec![0; bytes];
    rand::rng().fill(content.as_mut_slice());
    for (number, piece) in content.chunks_mut(300_000).enumerate() {
        let rows = piece.len() / 3 * (number % 4);
        let text = format!("{number}\tpaid\t2026-01-01 00:00:00\tEUR\t\\N\n");
        piece[..rows].iter_mut().zip(text.bytes().cycle()).for_each(|(to, from)| *to = from);
    }
    content
}

#[test]
fn every_byte_gets_through_both_ways_at_once() {
    let (relay, served) = connected();
    assert!(every_byte_gets_through(relay, served).success());
    let (relay, served) = by_port();
    // How it ends when all was said and the plugin is gone is for nobody.
    every_byte_gets_through(relay, served);
}

fn every_byte_gets_through<I: Write + Send + 'static, O: Read>(mut relay: Relay<I, O>, served: TcpStream) -> ExitStatus {
    const BYTES: usize = 24 << 20;
    let content = content(BYTES);
    let expected = Sha256::digest(&content);
    let (mut reader, mut writer) = (served.try_clone().unwrap(), served);
    let back = content.clone();
    let answering = thread::spawn(move || writer.write_all(&back).map(|()| writer));
    let receiving = thread::spawn(move || {
        let mut received = vec![0; BYTES];
        reader.read_exact(&mut received).map(|()| Sha256::digest(&received))
    });
    let sending = thread::spawn(move || relay.to.write_all(&content).map(|()| relay.to));
    let mut answered = vec![0; BYTES];
    relay.from.read_exact(&mut answered).unwrap();
    assert_eq!(Sha256::digest(&answered), expected);
    assert_eq!(receiving.join().unwrap().unwrap(), expected);
    let to = sending.join().unwrap().unwrap();
    // A server that ends its side ends the whole: not before it has got everything.
    answering.join().unwrap().unwrap().shutdown(Shutdown::Write).unwrap();
    assert_eq!(relay.from.read(&mut [0]).unwrap(), 0);
    let status = relay.child.wait().unwrap();
    drop(to);
    status
}

#[test]
fn its_port_admits_one_who_says_the_token_and_nobody_else() {
    let (_server, address) = server();
    let (mut child, connected) = listening(&address);
    let token = &connected.listener.as_ref().unwrap().token;
    assert_eq!(token.len(), 64);
    let wrong: String = token.chars().rev().collect();
    assert_eq!(knock(&connected, &wrong).1, None);
    // One who says too little is not waited for long.
    assert_eq!(knock(&connected, &token[..63]).1, None);
    let (visitor, said) = knock(&connected, token);
    assert_eq!(said, Some(ADMITTED));
    let second = TcpStream::connect(("127.0.0.1", connected.listener.as_ref().unwrap().port)).and_then(|mut second| {
        second.write_all(token.as_bytes())?;
        second.read_exact(&mut [0])
    });
    assert!(second.is_err());
    // What was admitted may still not be what is chosen.
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&[BY_EXEC]).unwrap();
    drop((stdin, visitor));
    assert!(child.wait().unwrap().success());
    let (_, other) = listening(&address);
    assert_ne!(&other.listener.unwrap().token, token);
}

#[test]
fn it_ends_when_it_is_not_told_which_way_or_nobody_was_admitted() {
    for said in [b"".as_slice(), b"x", &[BY_PORT]] {
        let (server, address) = server();
        let (mut child, _) = listening(&address);
        let mut served = server.accept().unwrap().0;
        child.stdin.take().unwrap().write_all(said).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(1), "{said:?}");
        assert_eq!(served.read(&mut [0]).unwrap(), 0, "{said:?}");
    }
}

/// By its port it ends with whichever of the two is gone: the exec's stdin, or the connection.
#[test]
fn a_plugin_that_is_gone_ends_what_goes_by_the_port() {
    for is_exec in [true, false] {
        let (mut relay, mut served) = by_port();
        relay.to.write_all(b"half a quest").unwrap();
        served.read_exact(&mut [0; 12]).unwrap();
        match is_exec {
            true => drop(relay.child.stdin.take()),
            false => relay.to.0.shutdown(Shutdown::Both).unwrap(),
        }
        assert_eq!(relay.child.wait().unwrap().code(), Some(1), "{is_exec}");
        assert_eq!(served.read(&mut [0; 8]).unwrap(), 0, "{is_exec}");
    }
}

/// What nobody has taken has the kernel throw away, at the end, what goes the other way: so it does not end at once.
#[test]
fn the_last_answer_comes_though_more_is_asked_and_nobody_takes_it() {
    const ANSWER: usize = 3 << 20;
    let (mut relay, mut served) = by_port();
    let mut to = relay.to;
    let asking = thread::spawn(move || while to.write_all(&[b'x'; 9000]).is_ok() {});
    served.read_exact(&mut [0; 100]).unwrap();
    let answer = content(ANSWER);
    served.write_all(&answer).unwrap();
    served.shutdown(Shutdown::Write).unwrap();
    thread::sleep(Duration::from_secs(1));
    let mut said = Vec::new();
    relay.from.read_to_end(&mut said).unwrap();
    assert!(said == answer);
    relay.from.0.get_ref().shutdown(Shutdown::Both).unwrap();
    assert!(relay.child.wait().unwrap().success());
    asking.join().unwrap();
}

/// A question and its answer wait for nothing, and a frame that comes byte by byte is one all the same.
#[test]
fn what_is_said_goes_at_once_in_whatever_pieces_it_comes() {
    let (mut relay, mut served) = connected();
    for question in [vec![7; 1], content(100), vec![b'x'; 5000]] {
        let mut frame = Vec::new();
        relay.to.1.pack(&question, &mut frame);
        for byte in frame {
            relay.to.0.write_all(&[byte]).unwrap();
        }
        let mut asked = vec![0; question.len()];
        served.read_exact(&mut asked).unwrap();
        served.write_all(&asked).unwrap();
        relay.from.read_exact(&mut asked).unwrap();
        assert!(asked == question);
    }
    drop(served);
    assert!(ended(relay).success());
}

#[test]
fn nonsense_on_stdin_ends_it_with_a_reason_and_the_server_gets_none_of_it() {
    // Lengths that can't be, and a block that is none.
    for nonsense in [b"SELECT 1; SELECT 2".as_slice(), &[3, 0, 0, 9, 0, 0, 0xff, 0xff, 0xff]] {
        let (mut relay, mut served) = connected();
        relay.to.0.write_all(nonsense).unwrap();
        let mut asked = Vec::new();
        served.read_to_end(&mut asked).unwrap();
        assert_eq!(asked, b"");
        let (mut said, mut rest) = (String::new(), Vec::new());
        assert_eq!(relay.from.read_to_end(&mut rest).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        relay.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(relay.child.wait().unwrap().code(), Some(1));
        assert_eq!((rest, said.trim()), (Vec::new(), "what came through the relay is not what its other end sends"));
    }
}

/// Where stdin can't be closed, a frame says it. What still comes is not cut off, however long it takes.
#[test]
fn the_end_of_what_is_said_is_passed_on_while_stdin_stays_open() {
    let (mut relay, mut served) = connected();
    relay.to.write_all(b"bye").unwrap();
    relay.to.end();
    let mut asked = Vec::new();
    served.read_to_end(&mut asked).unwrap();
    assert_eq!(asked, b"bye");
    for _ in 0..4 {
        thread::sleep(Duration::from_secs(2));
        served.write_all(b"still").unwrap();
    }
    drop(served);
    let mut answer = Vec::new();
    relay.from.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"still".repeat(4));
    assert!(relay.child.wait().unwrap().success());
}

#[test]
fn the_end_of_stdin_is_passed_on_and_the_last_answer_still_comes() {
    let (relay, mut served) = connected();
    let Relay { to, mut from, mut child, .. } = relay;
    drop(to);
    let mut asked = Vec::new();
    served.read_to_end(&mut asked).unwrap();
    served.write_all(b"bye").unwrap();
    drop(served);
    let mut answer = Vec::new();
    from.read_to_end(&mut answer).unwrap();
    assert_eq!((asked.as_slice(), answer.as_slice()), (b"".as_slice(), b"bye".as_slice()));
    assert!(child.wait().unwrap().success());
}

#[test]
fn it_does_not_stay_for_a_server_that_never_ends() {
    let (relay, served) = connected();
    let Relay { to, from, mut child, .. } = relay;
    drop(to);
    // The server keeps its side open and says nothing.
    assert!(child.wait().unwrap().success());
    drop((served, from));
}

#[test]
fn it_ends_with_its_server_though_stdin_stays_open() {
    let (relay, served) = connected();
    drop(served);
    assert!(ended(relay).success());
    let (relay, served) = connected();
    // A reset in place of an end.
    rustix::net::sockopt::set_socket_linger(&served, Some(Duration::ZERO)).unwrap();
    drop(served);
    assert!(ended(relay).success());
}

#[test]
fn it_ends_when_nobody_reads_it_any_more() {
    let (relay, mut served) = connected();
    let Relay { to, from, mut child, .. } = relay;
    drop(from);
    // It notices with the first bytes that it can't pass on.
    let talking = thread::spawn(move || while served.write_all(&[7; 4096]).is_ok() {});
    child.wait().unwrap();
    talking.join().unwrap();
    drop(to);
}

#[test]
fn a_hang_up_ends_it_and_its_connection() {
    let (mut relay, mut served) = connected();
    let pid = rustix::process::Pid::from_child(&relay.child);
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    assert!(!relay.child.wait().unwrap().success());
    assert_eq!(served.read(&mut [0; 8]).unwrap(), 0);
}
