//! Files between the pod and this machine: in pieces that can be taken up again, proven by digest at the end.

use std::path::Path;
use std::time::Duration;

use dbmig_wire::{Progress, Proof, Stat, Unit, hex};
use sha2::{Digest, Sha256};
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt, SeekFrom};
use tokio::time::{sleep, timeout};

use super::agent::{Agent, AskError};
use super::exec::Output;
use crate::event::{Event, Events};
use crate::failure::{Failure, Result};

/// Bytes sent at once; a cut connection costs no more than one such piece.
const PIECE: u64 = 8 << 20;
const SILENCE: Duration = Duration::from_secs(45);
/// Connections that may break without a single byte in between.
const TRIES: u32 = 3;

/// Brings a file of the pod to this machine.
///
/// # Errors
/// When the connection breaks over and over, the disk is full, or the bytes do not prove equal; the part that came stays
/// and is taken up by the next call.
pub async fn download(agent: &Agent, from: &str, to: &Path, proof: &Proof, events: &Events) -> Result<()> {
    let failed = |error: std::io::Error| local(to, &error);
    let mut file = OpenOptions::new().create(true).append(true).open(to).await.map_err(failed)?;
    let (mut have, mut idle) = (file.metadata().await.map_err(failed)?.len(), 0);
    while have < proof.bytes {
        let before = have;
        let mut process = agent.run(&["send", from, &have.to_string()]).await?;
        while let Ok(Output::Stdout(bytes)) = timeout(SILENCE, process.next()).await {
            file.write_all(&bytes).await.map_err(failed)?;
            have += bytes.len() as u64;
            tell(events, "copying to this machine", have, proof.bytes);
        }
        idle = if have > before { 0 } else { idle + 1 };
        give_up_after(idle, from).await?;
    }
    file.sync_all().await.map_err(failed)?;
    let sha256 = digest(to).await?;
    if have == proof.bytes && sha256 == proof.sha256 {
        return Ok(());
    }
    let failure = Failure::failed(format!("the copy in {} is not equal to what the pod has", to.display()));
    let failure =
        failure.fact(format!("expected {} bytes, {}", proof.bytes, proof.sha256)).fact(format!("found {have} bytes, {sha256}"));
    tokio::fs::remove_file(to).await.map_err(failed)?;
    Err(failure)
}

/// Brings a file of this machine into the pod. The target's name must contain `.dbmig-`.
///
/// # Errors
/// As [`download`].
pub async fn upload(agent: &Agent, from: &Path, to: &str, proof: &Proof, events: &Events) -> Result<()> {
    let failed = |error: std::io::Error| local(from, &error);
    let mut file = File::open(from).await.map_err(failed)?;
    let mut idle = 0;
    loop {
        let have = length(agent, to).await?;
        if have >= proof.bytes {
            break;
        }
        file.seek(SeekFrom::Start(have)).await.map_err(failed)?;
        let piece = PIECE.min(proof.bytes - have);
        let mut bytes = vec![0; usize::try_from(piece).unwrap_or(usize::MAX)];
        file.read_exact(&mut bytes).await.map_err(failed)?;
        let process = agent.run(&["receive", to, &have.to_string(), &piece.to_string()]).await?;
        let finished = process.finish(&bytes, 4096).await;
        tell(events, "copying into the pod", have + piece, proof.bytes);
        idle = if length(agent, to).await? > have { 0 } else { idle + 1 };
        give_up_after(idle, to).await.map_err(|failure| failure.facts(finished.facts()))?;
    }
    let there = stat(agent, to, true).await?;
    if there.as_ref().and_then(|file| file.sha256.as_ref()) == Some(&proof.sha256) {
        return Ok(());
    }
    Err(Failure::failed(format!("the copy in the pod is not equal to {}", from.display()))
        .fact(format!("expected {}", proof.sha256)))
}

async fn give_up_after(idle: u32, path: &str) -> Result<()> {
    if idle == 0 {
        return Ok(());
    }
    if idle > TRIES {
        return Err(Failure::failed(format!("cannot copy {path}: {TRIES} connections broke before a byte came through")));
    }
    sleep(Duration::from_secs(1)).await;
    Ok(())
}

async fn length(agent: &Agent, path: &str) -> Result<u64> {
    Ok(stat(agent, path, false).await?.map_or(0, |file| file.bytes))
}

async fn stat(agent: &Agent, path: &str, hash: bool) -> Result<Option<dbmig_wire::FileFacts>> {
    let call = Stat { paths: vec![path.to_owned()], hash };
    let reply = agent.ask(call, None).await.map_err(|error: AskError| error.into_failure(&format!("look at {path}")))?;
    Ok(reply.files.into_iter().next().flatten())
}

/// SHA-256 of a file of this machine, lower-case hex.
async fn digest(path: &Path) -> Result<String> {
    let failed = |error: std::io::Error| local(path, &error);
    let mut file = File::open(path).await.map_err(failed)?;
    let (mut sha256, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        let read = file.read(&mut buffer).await.map_err(failed)?;
        if read == 0 {
            break;
        }
        sha256.update(&buffer[..read]);
    }
    Ok(hex(&sha256.finalize()))
}

fn local(path: &Path, error: &std::io::Error) -> Failure {
    Failure::failed(format!("cannot use {} on this machine", path.display())).fact(error.to_string())
}

fn tell(events: &Events, phase: &str, done: u64, total: u64) {
    events.tell(Event::Progress(Progress { phase: phase.to_owned(), done, total, unit: Unit::Bytes }));
}
