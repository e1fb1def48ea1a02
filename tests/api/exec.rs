//! Every way in which a command's stream can begin, go on and end.

use std::time::Duration;

use dbmig::cluster::Cluster;
use dbmig::cluster::exec::{Command, Limits, Line, Outcome, Output, Process};
use dbmig::exit::Exit;
use futures::{SinkExt as _, StreamExt as _};
use tokio_tungstenite::tungstenite::{Bytes, Message};

use super::cluster;
use super::server::{Answer, Server, Socket};

pub(super) const V5: &str = "v5.channel.k8s.io";
pub(super) const V4: &str = "v4.channel.k8s.io";
pub(super) const SUCCESS: &str = r#"{"metadata":{},"status":"Success"}"#;

pub(super) fn frame(channel: u8, data: impl AsRef<[u8]>) -> Message {
    Message::Binary(Bytes::from([&[channel], data.as_ref()].concat()))
}

pub(super) fn exit_status(code: u8) -> String {
    format!(
        r#"{{"status":"Failure","reason":"NonZeroExitCode","message":"x","details":{{"causes":[{{"reason":"ExitCode","message":"{code}"}}]}}}}"#
    )
}

/// The next frame that is not a ping.
pub(super) async fn receive(socket: &mut Socket) -> Option<Vec<u8>> {
    loop {
        match socket.next().await?.ok()? {
            Message::Binary(bytes) => return Some(bytes.to_vec()),
            Message::Close(_) => return None,
            _ => {}
        }
    }
}

fn command(stdin: bool) -> Command {
    Command {
        namespace: "shop".to_owned(),
        pod: "db-0".to_owned(),
        container: "main".to_owned(),
        argv: vec!["tool".to_owned(), "a b&c".to_owned()],
        stdin,
    }
}

pub(super) struct Scene {
    server: Server,
    cluster: Cluster,
}

impl Scene {
    pub(super) async fn play(answer: impl Fn() -> Answer + Send + Sync + 'static) -> Self {
        let server = Server::start(move |_, _| answer()).await;
        let cluster = cluster(&server).await;
        Self { server, cluster }
    }

    /// A server that sends these frames and then closes the stream properly.
    pub(super) async fn says(protocol: &'static str, frames: Vec<Message>) -> Self {
        Self::play(move || {
            let frames = frames.clone();
            Answer::talk(protocol, move |mut socket| {
                let frames = frames.clone();
                async move {
                    for frame in frames {
                        socket.send(frame).await.unwrap();
                    }
                    let _ = socket.close(None).await;
                    while socket.next().await.is_some_and(|message| message.is_ok()) {}
                }
            })
        })
        .await
    }

    pub(super) async fn start(&self) -> Process {
        self.cluster.start(&command(true)).await.unwrap()
    }

    async fn outcome(&self) -> Outcome {
        self.start().await.output(1 << 20).await.outcome
    }
}

#[tokio::test]
async fn a_command_that_ends_well_gives_both_outputs_and_exit_code_0() {
    let frames = vec![frame(1, ""), frame(1, "out"), frame(2, "err"), frame(1, "put"), frame(3, SUCCESS)];
    let scene = Scene::says(V5, frames).await;
    let finished = scene.start().await.output(100).await;
    assert_eq!((finished.stdout, finished.stderr), (b"output".to_vec(), b"err".to_vec()));
    assert_eq!(finished.outcome, Outcome::Exited(0));
    let path = &scene.server.seen()[0].path;
    assert!(path.contains("command=tool&command=a+b%26c") && path.contains("container=main"), "{path}");
}

#[tokio::test]
async fn an_exit_code_is_told_as_it_is() {
    assert_eq!(Scene::says(V4, vec![frame(3, exit_status(42))]).await.outcome().await, Outcome::Exited(42));
}

#[tokio::test]
async fn output_that_comes_after_the_exit_status_is_not_lost() {
    let scene = Scene::says(V5, vec![frame(3, SUCCESS), frame(1, "late")]).await;
    let finished = scene.start().await.output(100).await;
    assert_eq!((finished.stdout.as_slice(), finished.outcome), (b"late".as_slice(), Outcome::Exited(0)));
}

#[tokio::test]
async fn a_program_that_is_not_there_was_not_started() {
    let status = r#"{"status":"Failure","reason":"InternalError","code":500,"message":"error executing command in container: failed to exec in container: failed to start exec \"1a\": OCI runtime exec failed: exec failed: container_linux.go:367: starting container process caused: exec: \"tool\": executable file not found in $PATH: unknown"}"#;
    let outcome = Scene::says(V4, vec![frame(3, status)]).await.outcome().await;
    assert_eq!(outcome, Outcome::NotStarted("\"tool\": executable file not found in $PATH".to_owned()));
}

#[tokio::test]
async fn a_container_that_is_not_running_is_an_outcome_and_no_error() {
    let scene = Scene::play(|| Answer::status(500, "", "unable to upgrade connection: container not found (\"main\")")).await;
    assert_eq!(scene.outcome().await, Outcome::NotStarted("container not found (\"main\")".to_owned()));
    let scene = Scene::play(|| Answer::status(400, "BadRequest", "container x is not valid for pod db-0")).await;
    assert!(matches!(scene.outcome().await, Outcome::NotStarted(_)));
}

#[tokio::test]
async fn a_connection_reset_in_the_middle_is_unknown() {
    let scene = Scene::play(|| {
        Answer::talk(V5, |mut socket| async move {
            socket.send(frame(1, "half")).await.unwrap();
            // With unread bytes in its buffer the socket is reset, not closed.
            socket.get_mut().readable().await.unwrap();
        })
    })
    .await;
    let mut process = scene.start().await;
    process.write(b"unread").await.unwrap();
    let finished = process.output(100).await;
    assert_eq!(finished.stdout, b"half");
    assert!(matches!(finished.outcome, Outcome::Unknown(_)), "{:?}", finished.outcome);
}

#[tokio::test]
async fn a_stream_closed_properly_but_without_an_exit_status_is_unknown() {
    let scene = Scene::says(V5, vec![frame(1, "half")]).await;
    let finished = scene.start().await.output(100).await;
    assert_eq!(finished.stdout, b"half");
    assert!(matches!(finished.outcome, Outcome::Unknown(_)), "{:?}", finished.outcome);
    assert!(!finished.outcome.success());
}

#[tokio::test]
async fn output_larger_than_all_buffers_waits_for_its_reader_and_comes_whole() {
    let scene = Scene::says(V4, [vec![frame(1, vec![7; 50_000]); 400], vec![frame(3, SUCCESS)]].concat()).await;
    let mut process = scene.start().await;
    // Nobody drains yet; writing and pinging must go on meanwhile.
    process.write(b"still open").await.unwrap();
    let mut bytes = 0;
    loop {
        match process.next().await {
            Output::Stdout(data) => bytes += data.len(),
            Output::Stderr(_) => {}
            Output::Ended(outcome) => break assert_eq!(outcome, Outcome::Exited(0)),
        }
    }
    assert_eq!(bytes, 400 * 50_000);
    assert_eq!(process.next().await, Output::Ended(Outcome::Exited(0)), "the end is told again");
}

#[tokio::test]
async fn output_beyond_the_bound_is_drained_and_said_to_be_cut() {
    let scene = Scene::says(V4, [vec![frame(2, vec![7; 50_000]); 100], vec![frame(3, SUCCESS)]].concat()).await;
    let finished = scene.start().await.output(10).await;
    assert!(finished.truncated && finished.stderr.len() == 10 && finished.outcome.success());
}

#[tokio::test]
async fn a_connection_that_goes_silent_is_given_up() {
    let scene = Scene::play(|| {
        Answer::talk(V5, |socket| async move {
            // Never read: pings stay without an answer.
            std::future::pending::<()>().await;
            drop(socket);
        })
    })
    .await;
    let limits = Limits { ping: Duration::from_millis(20), silence: Duration::from_millis(200), ..Limits::default() };
    let process = scene.cluster.start_within(&command(false), limits).await.unwrap();
    let outcome = process.output(100).await.outcome;
    assert!(matches!(&outcome, Outcome::Unknown(why) if why.contains("ping")), "{outcome:?}");
}

#[tokio::test]
async fn a_quiet_command_lives_on_as_long_as_pings_are_answered() {
    let scene = Scene::play(|| {
        Answer::talk(V5, |mut socket| async move {
            let mut pings = 0;
            while pings < 30 {
                pings += usize::from(matches!(socket.next().await, Some(Ok(Message::Ping(_)))));
            }
            socket.send(frame(3, SUCCESS)).await.unwrap();
        })
    })
    .await;
    // 30 pings take longer than the server may be silent.
    let limits = Limits { ping: Duration::from_millis(50), silence: Duration::from_millis(1000), ..Limits::default() };
    let process = scene.cluster.start_within(&command(false), limits).await.unwrap();
    assert_eq!(process.output(100).await.outcome, Outcome::Exited(0));
}

#[tokio::test]
async fn a_server_that_does_not_open_the_stream_is_given_up_and_the_doubt_is_told() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let cluster = super::cluster_at(format!("http://{}", listener.local_addr().unwrap())).await;
    let limits = Limits { open: Duration::from_millis(100), ..Limits::default() };
    let failure = cluster.start_within(&command(false), limits).await.err().unwrap();
    assert!(failure.state.unwrap().contains("not known"));
}

#[tokio::test]
async fn a_busy_server_is_told_as_it_is_and_the_command_is_never_sent_twice() {
    for code in [429, 503] {
        let scene = Scene::play(move || Answer::status(code, "TooManyRequests", "please wait")).await;
        let failure = scene.cluster.start(&command(false)).await.err().unwrap();
        assert!(failure.facts[0].contains("please wait"), "{failure:?}");
        assert_eq!((failure.exit, scene.server.seen().len()), (Exit::Failed, 1));
    }
}

#[tokio::test]
async fn a_refusal_shows_the_servers_own_words() {
    let text =
        "pods \"db-0\" is forbidden: User \"eve\" cannot get resource \"pods/exec\" in API group \"\" in the namespace \"shop\"";
    let scene = Scene::play(move || Answer::status(403, "Forbidden", text)).await;
    let failure = scene.cluster.start(&command(false)).await.err().unwrap();
    assert_eq!(failure.facts, [format!("Error from server (Forbidden): {text}")]);
    assert_eq!(failure.message, "cannot run tool in container main of pod shop/db-0");
}

#[tokio::test]
async fn a_pod_that_is_not_there_is_an_error() {
    let scene = Scene::play(|| Answer::status(404, "NotFound", "pods \"db-0\" not found")).await;
    let failure = scene.cluster.start(&command(false)).await.err().unwrap();
    assert_eq!(failure.facts, ["Error from server (NotFound): pods \"db-0\" not found"]);
}

#[tokio::test]
async fn a_proxy_that_strips_the_upgrade_is_named_as_the_cause() {
    let scene = Scene::play(|| Answer::Http(200, "", "{}".to_owned())).await;
    let failure = scene.cluster.start(&command(false)).await.err().unwrap();
    assert!(failure.next.iter().any(|next| next.contains("proxy")), "{failure:?}");
    let scene = Scene::play(|| Answer::Http(400, "", "Upgrade header required".to_owned())).await;
    let failure = scene.cluster.start(&command(false)).await.err().unwrap();
    assert!(failure.facts[0].contains("Upgrade header required"), "{failure:?}");
}

/// A remote program that reads stdin until it is closed, and tells how much it got.
fn counts_until_eof(protocol: &'static str) -> Answer {
    Answer::talk(protocol, |mut socket| async move {
        let mut bytes = 0;
        while let Some(frame) = receive(&mut socket).await {
            match frame.as_slice() {
                [255, 0] => break,
                [0, data @ ..] => bytes += data.len(),
                other => panic!("unexpected frame {other:?}"),
            }
        }
        socket.send(frame(1, bytes.to_string())).await.unwrap();
        socket.send(frame(3, SUCCESS)).await.unwrap();
    })
}

#[tokio::test]
async fn with_v5_stdin_is_closed_and_the_outcome_still_comes() {
    let scene = Scene::play(|| counts_until_eof(V5)).await;
    let process = scene.start().await;
    assert!(process.half_close());
    let finished = process.finish(&vec![1; 1_000_000], 100).await;
    assert_eq!((finished.stdout.as_slice(), finished.outcome), (b"1000000".as_slice(), Outcome::Exited(0)));
}

#[tokio::test]
async fn with_v4_closing_stdin_sends_nothing_and_a_counting_program_ends_by_itself() {
    let scene = Scene::play(|| {
        Answer::talk(V4, |mut socket| async move {
            assert_eq!(receive(&mut socket).await.unwrap(), b"\0five!");
            // Whatever closing stdin sends, it would arrive before this program answers.
            let more = tokio::time::timeout(Duration::from_millis(200), receive(&mut socket)).await;
            socket.send(frame(1, if more.is_err() { "nothing more" } else { "more" })).await.unwrap();
            socket.send(frame(3, SUCCESS)).await.unwrap();
        })
    })
    .await;
    let process = scene.start().await;
    assert!(!process.half_close());
    let finished = process.finish(b"five!", 100).await;
    assert_eq!((finished.stdout.as_slice(), finished.outcome), (b"nothing more".as_slice(), Outcome::Exited(0)));
}

#[tokio::test]
async fn stdin_travels_in_frames_of_at_most_32_kib() {
    let scene = Scene::play(|| {
        Answer::talk(V4, |mut socket| async move {
            let (mut bytes, mut longest) = (0, 0);
            while bytes < 100_000 {
                let data = receive(&mut socket).await.unwrap().len() - 1;
                (bytes, longest) = (bytes + data, longest.max(data));
            }
            socket.send(frame(1, longest.to_string())).await.unwrap();
            socket.send(frame(3, SUCCESS)).await.unwrap();
        })
    })
    .await;
    assert_eq!(scene.start().await.finish(&[0; 100_000], 100).await.stdout, b"32768");
}

#[tokio::test]
async fn a_program_that_echoes_a_large_input_does_not_block() {
    const BYTES: usize = 20_000_000;
    let scene = Scene::play(|| {
        Answer::talk(V5, |mut socket| async move {
            let mut bytes = 0;
            while bytes < BYTES {
                let data = receive(&mut socket).await.unwrap();
                bytes += data.len() - 1;
                socket.send(frame(1, &data[1..])).await.unwrap();
            }
            socket.send(frame(3, SUCCESS)).await.unwrap();
        })
    })
    .await;
    let finished = scene.start().await.finish(&vec![9; BYTES], BYTES).await;
    assert_eq!((finished.stdout.len(), finished.outcome), (BYTES, Outcome::Exited(0)));
}

#[tokio::test]
async fn whoever_waits_to_write_learns_that_the_command_has_ended() {
    let scene = Scene::play(|| {
        Answer::talk(V5, |mut socket| async move {
            socket.send(frame(3, exit_status(1))).await.unwrap();
        })
    })
    .await;
    let finished = scene.start().await.finish(&vec![0; 50_000_000], 100).await;
    assert_eq!(finished.outcome, Outcome::Exited(1));
}

#[tokio::test]
async fn lines_come_whole_and_a_line_that_was_cut_does_not_come_at_all() {
    let cut = vec![frame(1, "{\"a\":"), frame(2, "noise"), frame(1, "1}\n\nla"), frame(1, "st")];
    let mut lines = Scene::says(V5, cut.clone()).await.start().await.lines(3);
    assert_eq!(lines.next().await, Line::Text(b"{\"a\":1}".to_vec()));
    assert_eq!(lines.next().await, Line::Text(Vec::new()));
    assert!(matches!(lines.next().await, Line::Ended(Outcome::Unknown(_))));
    assert_eq!(lines.stderr(), b"ise");
    let mut lines = Scene::says(V5, [cut, vec![frame(3, SUCCESS)]].concat()).await.start().await.lines(3);
    let (_, _, last) = (lines.next().await, lines.next().await, lines.next().await);
    assert_eq!(last, Line::Text(b"last".to_vec()));
    assert_eq!(lines.next().await, Line::Ended(Outcome::Exited(0)));
}

#[tokio::test]
async fn dropping_the_process_closes_our_side_of_the_connection() {
    let (gone_tx, mut gone_rx) = tokio::sync::mpsc::unbounded_channel();
    let scene = Scene::play(move || {
        let gone_tx = gone_tx.clone();
        Answer::talk(V5, move |mut socket| {
            let gone_tx = gone_tx.clone();
            async move {
                while socket.next().await.is_some_and(|message| message.is_ok()) {}
                gone_tx.send(()).unwrap();
            }
        })
    })
    .await;
    drop(scene.start().await);
    assert_eq!(gone_rx.recv().await, Some(()));
}
