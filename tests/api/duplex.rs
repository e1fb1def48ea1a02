//! A command's stdin and stdout as one stream, for every way in which it can end.

use std::io::ErrorKind;

use dbmig::cluster::exec::Duplex;
use futures::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::exec::{SUCCESS, Scene, V4, V5, exit_status, frame, receive};
use super::server::Answer;

async fn stream(scene: &Scene) -> Duplex {
    scene.start().await.duplex()
}

/// Sends everything back until it is told the end of stdin, and says then that it ended well.
async fn echo(protocol: &'static str) -> Scene {
    Scene::play(move || {
        Answer::talk(protocol, |mut socket| async move {
            while let Some(bytes) = receive(&mut socket).await {
                match bytes.split_first() {
                    Some((0, data)) => socket.send(frame(1, data)).await.unwrap(),
                    Some((255, [0])) => break,
                    other => panic!("{other:?}"),
                }
            }
            let _ = socket.send(frame(3, SUCCESS)).await;
            let _ = socket.close(None).await;
            while socket.next().await.is_some_and(|message| message.is_ok()) {}
        })
    })
    .await
}

#[tokio::test]
async fn bytes_go_both_ways_and_its_end_is_passed_on_where_that_is_possible() {
    let content: Vec<u8> = (0..300_000_u32).map(|number| (number % 251) as u8).collect();
    for protocol in [V5, V4] {
        let scene = echo(protocol).await;
        let (mut from, mut to) = tokio::io::split(stream(&scene).await);
        let sending = async {
            to.write_all(&content).await.unwrap();
            to.shutdown().await.unwrap();
        };
        let mut back = vec![0; content.len()];
        let (received, ()) = tokio::join!(from.read_exact(&mut back), sending);
        assert_eq!(received.unwrap(), content.len());
        assert!(back == content);
        if protocol == V5 {
            assert_eq!(from.read(&mut back).await.unwrap(), 0, "a command that ended well ends the stream");
        }
    }
}

#[tokio::test]
async fn every_other_end_is_an_error_with_its_reason() {
    let ending = |frames: Vec<tokio_tungstenite::tungstenite::Message>| async {
        let scene = Scene::says(V4, frames).await;
        let mut said = Vec::new();
        let error = stream(&scene).await.read_to_end(&mut said).await.unwrap_err();
        (error.kind(), error.to_string(), said)
    };
    let (kind, words, said) = ending(vec![frame(1, "half"), frame(2, "no route"), frame(3, exit_status(7))]).await;
    assert_eq!(
        (kind, words.as_str(), said.as_slice()),
        (ErrorKind::ConnectionAborted, "exit code 7: no route", b"half".as_slice())
    );
    let (kind, words, _) = ending(vec![frame(1, "half")]).await;
    assert_eq!(kind, ErrorKind::ConnectionReset);
    assert!(words.contains("closed the stream"), "{words}");
}

#[tokio::test]
async fn writing_to_a_command_that_is_gone_is_an_error() {
    let scene = Scene::says(V5, vec![frame(3, exit_status(1))]).await;
    let mut stream = stream(&scene).await;
    assert!(stream.read(&mut [0; 8]).await.is_err());
    assert_eq!(stream.write_all(&[0; 1 << 20]).await.unwrap_err().kind(), ErrorKind::BrokenPipe);
}
