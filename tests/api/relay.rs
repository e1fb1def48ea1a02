//! The relay from end to end: the real helper as a process, its streams carried by a scripted API server; and helpers that are none.

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use dbmig::cluster::agent::Agent;
use dbmig::cluster::payload::Payload;
use dbmig::cluster::relay::{Endpoint, Relay};
use dbmig_wire::relay::{CONTENT_BYTES, Packer};
use dbmig_wire::{Connected, Hello, Message as Said};
use futures::{SinkExt as _, StreamExt as _};
use rand::RngExt as _;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio_tungstenite::tungstenite::Message;

use super::cluster;
use super::exec::{SUCCESS, V4, V5, exit_status, frame};
use super::kubelet::{Cut, Ports};
use super::server::{Answer, Seen, Server, Socket};

/// A pod in which the helper is.
struct Pod {
    server: Server,
    agent: Agent,
    _dir: TempDir,
}

impl Pod {
    /// Its helper is the real one, and no port can be forwarded.
    async fn real(protocol: &'static str) -> Self {
        Self::forwarding(protocol, || Answer::status(403, "Forbidden", "pods \"app\" is forbidden")).await
    }

    /// Its helper is the real one, and its ports are forwarded like this.
    async fn forwarding(protocol: &'static str, forward: impl Fn() -> Answer + Send + Sync + 'static) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let helper = dir.path().join("dbmig-agent");
        std::fs::write(&helper, payload().unpack().unwrap()).unwrap();
        std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o700)).unwrap();
        let run = move |argv: Vec<String>| {
            let helper = helper.clone();
            Answer::talk(protocol, move |socket| carry(socket, helper.clone(), argv.clone()))
        };
        Self::new(dir, run, forward).await
    }

    /// Its helper says this when it is to connect.
    async fn saying(frames: Vec<Message>) -> Self {
        let says = move |argv: Vec<String>| {
            let hello = Hello { sha256: payload().sha256.to_owned(), bytes: payload().bytes, uid: 0, gid: 0 };
            let hello = vec![frame(1, serde_json::to_vec(&hello).unwrap()), frame(3, SUCCESS)];
            let frames = if argv.first().is_some_and(|word| word == "relay") { frames.clone() } else { hello };
            Answer::talk(V4, move |mut socket| {
                let frames = frames.clone();
                async move {
                    for frame in frames {
                        socket.send(frame).await.unwrap();
                    }
                    while socket.next().await.is_some_and(|message| message.is_ok()) {}
                }
            })
        };
        Self::new(tempfile::tempdir().unwrap(), says, || Answer::HangUp).await
    }

    async fn new(
        dir: TempDir,
        exec: impl Fn(Vec<String>) -> Answer + Send + Sync + 'static,
        forward: impl Fn() -> Answer + Send + Sync + 'static,
    ) -> Self {
        let pod = serde_json::json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "app", "uid": "1"}});
        let server = Server::start(move |_, seen| match seen.path.rsplit('/').next().unwrap_or_default() {
            exec_of if exec_of.starts_with("exec?") => exec(argv(seen)),
            "portforward" => forward(),
            _ => Answer::json(&pod),
        })
        .await;
        let agent = Agent::install(&cluster(&server).await, "shop", "app", "main", &["/tmp".to_owned()], "amd64").await.unwrap();
        Self { server, agent, _dir: dir }
    }

    async fn connect(&self, listener: &TcpListener) -> (Relay, TcpStream) {
        let to = Endpoint::Tcp("127.0.0.1".to_owned(), listener.local_addr().unwrap().port());
        let (relay, served) = tokio::join!(Relay::open(&self.agent, &to), listener.accept());
        (relay.unwrap_or_else(|error| panic!("{error:?}")), served.unwrap().0)
    }
}

fn payload() -> &'static Payload {
    Payload::for_arch("amd64").unwrap()
}

/// What the helper is to do, without its own name.
fn argv(seen: &Seen) -> Vec<String> {
    let query = seen.path.split_once('?').unwrap().1;
    let words = query.split('&').filter_map(|pair| pair.strip_prefix("command="));
    words.skip(1).map(|word| percent_encoding::percent_decode_str(word).decode_utf8().unwrap().into_owned()).collect()
}

/// What an API server, a kubelet and a runtime do together.
async fn carry(mut socket: Socket, helper: PathBuf, argv: Vec<String>) {
    let mut command = Command::new(helper);
    command.args(argv).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take();
    let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let (mut out, mut err) = (vec![0; 32 << 10], [0; 1024]);
    let (mut out_open, mut err_open) = (true, true);
    while out_open || err_open {
        tokio::select! {
            count = stdout.read(&mut out), if out_open => match count.unwrap() {
                0 => out_open = false,
                count => if socket.send(frame(1, &out[..count])).await.is_err() { return },
            },
            count = stderr.read(&mut err), if err_open => match count.unwrap() {
                0 => err_open = false,
                count => if socket.send(frame(2, &err[..count])).await.is_err() { return },
            },
            message = socket.next() => match message {
                Some(Ok(Message::Binary(bytes))) => match (bytes.split_first().unwrap(), &mut stdin) {
                    // One that has ended takes nothing.
                    ((0, data), Some(stdin)) => drop(stdin.write_all(data).await),
                    ((255, _), _) => stdin = None,
                    _ => {}
                },
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            },
        }
    }
    let status = match child.wait().await.unwrap().code() {
        Some(0) => SUCCESS.to_owned(),
        code => exit_status(code.unwrap_or(255) as u8),
    };
    let _ = socket.send(frame(3, status)).await;
    let _ = socket.close(None).await;
    while socket.next().await.is_some_and(|message| message.is_ok()) {}
}

/// Rows, then noise, then rows.
fn content(bytes: usize) -> Vec<u8> {
    let mut content = vec![0; bytes];
    rand::rng().fill(content.as_mut_slice());
    for (number, piece) in content.chunks_mut(200_000).enumerate().filter(|(number, _)| number % 3 != 1) {
        let text = format!("{number}\tpaid\t2026-01-01 00:00:00\tEUR\t\\N\n");
        piece.iter_mut().zip(text.bytes().cycle()).for_each(|(to, from)| *to = from);
    }
    content
}

/// Every byte gets through both ways at once, and either end is passed on.
async fn carries(pod: &Pod, way: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (relay, served) = pod.connect(&listener).await;
    let (mut from, mut to) = tokio::io::split(relay);
    let (mut asked, mut answers) = served.into_split();
    let (question, answer) = (content(5_000_000), content(7_000_000));
    let sending = async {
        to.write_all(&question).await.unwrap();
        to.shutdown().await.unwrap();
    };
    let serving = async {
        let mut all = Vec::new();
        asked.read_to_end(&mut all).await.unwrap();
        all
    };
    let answering = async {
        answers.write_all(&answer).await.unwrap();
    };
    let mut received = vec![0; answer.len()];
    let (seen, (), (), read) = tokio::join!(serving, sending, answering, from.read_exact(&mut received));
    read.unwrap();
    assert!(seen == question && received == answer, "{way}");
    // The server has heard that nothing follows, in v4 too, and has the last word.
    answers.write_all(b"bye").await.unwrap();
    drop(answers);
    let mut rest = Vec::new();
    from.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"bye", "{way}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_byte_gets_through_both_ways_at_once_and_either_end_is_passed_on() {
    for protocol in [V5, V4] {
        carries(&Pod::real(protocol).await, protocol).await;
        let ports = Ports::default();
        carries(&Pod::forwarding(protocol, ports.clone().open()).await, "by port").await;
        // All but what was said to get in went there.
        assert!(ports.carried() > 1_000_000, "{}", ports.carried());
    }
}

fn asked_for_ports(pod: &Pod) -> usize {
    pod.server.seen().iter().filter(|seen| seen.path.ends_with("/portforward")).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn where_no_port_can_be_forwarded_it_goes_by_exec_and_nobody_asks_again() {
    let answers: [fn() -> Answer; 4] = [
        || Answer::status(403, "Forbidden", "pods \"app\" is forbidden"),
        || Answer::status(500, "InternalError", "error dialing backend"),
        || Answer::Http(200, "", "a proxy's page".to_owned()),
        || Answer::HangUp,
    ];
    for answer in answers {
        let pod = Pod::forwarding(V4, answer).await;
        carries(&pod, "refused").await;
        carries(&pod, "refused before").await;
        assert_eq!(asked_for_ports(&pod), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn where_the_port_leads_nowhere_it_goes_by_exec() {
    let ports = Ports::default();
    let dead: [Box<dyn Fn() -> Answer + Send + Sync>; 3] = [
        Box::new(ports.clone().saying(b"failed to connect to localhost:1 inside namespace: connection refused")),
        Box::new(ports.clone().silent()),
        Box::new(|| {
            Answer::switch("SPDY/3.1", |mut socket| async move { drop(socket.write_all(b"no frame of any kind").await) })
        }),
    ];
    for forward in dead {
        carries(&Pod::forwarding(V5, forward).await, "nowhere").await;
    }
    assert_eq!(ports.carried(), 0);
}

/// What breaks in the middle is an error with a reason, never an end.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_forwarded_port_that_is_cut_off_is_no_end() {
    let ports = Ports::default();
    let pod = Pod::forwarding(V4, ports.clone().open()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for (cut, expected) in [
        (Cut::Connection, "the API server has closed the connection to the port"),
        (Cut::Stream, "the connection to the port was reset"),
        (Cut::Trouble, "lost connection to pod"),
        (Cut::End, "exit code 1"),
    ] {
        let (mut relay, mut served) = pod.connect(&listener).await;
        relay.write_all(b"question").await.unwrap();
        served.read_exact(&mut [0; 8]).await.unwrap();
        served.write_all(b"half an ans").await.unwrap();
        relay.read_exact(&mut [0; 11]).await.unwrap();
        ports.cut(cut);
        let error = relay.read(&mut [0; 8]).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{expected}: {error}");
        // The helper has ended with it.
        assert_eq!(served.read(&mut [0; 8]).await.unwrap_or_default(), 0, "{expected}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_connection_that_is_dropped_is_closed_at_its_other_end() {
    for pod in [Pod::real(V4).await, Pod::forwarding(V4, Ports::default().open()).await] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (mut relay, mut served) = pod.connect(&listener).await;
        relay.write_all(b"half a quest").await.unwrap();
        served.read_exact(&mut [0; 12]).await.unwrap();
        drop(relay);
        assert_eq!(served.read(&mut [0; 8]).await.unwrap_or_default(), 0);
    }
}

/// What a helper's relay says at first.
fn greeting() -> Vec<u8> {
    let connected = serde_json::to_value(Connected { to: "10.0.0.1:5432".to_owned(), from: None, listener: None }).unwrap();
    [serde_json::to_vec(&Said::Done(connected)).unwrap(), b"\n".to_vec()].concat()
}

/// How reading ends where the helper says this after its greeting, and what came before.
async fn reading(frames: Vec<Message>) -> (ErrorKind, String, Vec<u8>) {
    let pod = Pod::saying([vec![frame(1, greeting())], frames].concat()).await;
    let to = Endpoint::Tcp("db".to_owned(), 5432);
    let mut relay = Relay::open(&pod.agent, &to).await.unwrap_or_else(|error| panic!("{error:?}"));
    let mut said = Vec::new();
    let error = relay.read_to_end(&mut said).await.unwrap_err();
    (error.kind(), error.to_string(), said)
}

#[tokio::test]
async fn frames_that_are_none_or_cut_off_are_errors_with_a_reason() {
    let mut rows = Vec::new();
    let mut packer = Packer::default();
    packer.took(CONTENT_BYTES << 10, Duration::from_secs(60));
    packer.pack(&[b'x'; 5000], &mut rows);
    let (kind, words, said) = reading(vec![frame(1, &rows), frame(1, "no frame")]).await;
    assert_eq!((kind, said), (ErrorKind::InvalidData, vec![b'x'; 5000]));
    assert_eq!(words, "what came through the relay is not what its other end sends");
    // The same in one piece, and a damaged block.
    let (kind, _, said) = reading(vec![frame(1, [rows.as_slice(), b"no frame"].concat())]).await;
    assert_eq!((kind, said), (ErrorKind::InvalidData, vec![b'x'; 5000]));
    let damaged: Vec<u8> = rows.iter().enumerate().map(|(at, byte)| if at < 6 { *byte } else { 0xff }).collect();
    let (kind, _, said) = reading(vec![frame(1, damaged)]).await;
    assert_eq!((kind, said), (ErrorKind::InvalidData, Vec::new()));
    // The helper ends in the middle, and says that all went well.
    let (kind, words, said) = reading(vec![frame(1, &rows[..rows.len() - 1]), frame(3, SUCCESS)]).await;
    assert_eq!((kind, said), (ErrorKind::UnexpectedEof, Vec::new()));
    assert!(words.contains("without a word about the end"), "{words}");
    // The same between two of them.
    assert_eq!(reading(vec![frame(1, &rows), frame(3, SUCCESS)]).await.0, ErrorKind::UnexpectedEof);
    // Or it says what went wrong.
    let (kind, words, said) = reading(vec![frame(1, &rows), frame(2, "no route"), frame(3, exit_status(1))]).await;
    assert_eq!((kind, words.as_str(), said.len()), (ErrorKind::ConnectionAborted, "exit code 1: no route", 5000));
}
