//! Send and receive that are killed at random moments and go on from the length that is there.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle, sleep};
use std::time::Duration;

use dbmig_wire::{Message, Stat};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use tempfile::TempDir;

use super::content::names;
use super::series::{self, Kills};
use crate::process::{agent, ask, last, run, text};

/// Bytes that go through the pipe at once, and the time between: a network that is slower than the disk.
const PIECE: usize = 64 << 10;
const PAUSE: Duration = Duration::from_millis(3);

fn data() -> Vec<u8> {
    let mut bytes = vec![0; 5 << 20];
    SmallRng::seed_from_u64(9).fill_bytes(&mut bytes);
    bytes
}

struct Place {
    _dir: TempDir,
    path: PathBuf,
    sent: Arc<Mutex<Vec<u8>>>,
    reader: Mutex<Option<JoinHandle<()>>>,
}

fn place() -> Place {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("app.dbmig-new");
    Place { _dir: dir, path, sent: Arc::default(), reader: Mutex::default() }
}

fn length(path: &Path) -> u64 {
    ask(Stat { paths: vec![text(path)], hash: false }).unwrap().files.remove(0).map_or(0, |file| file.bytes)
}

#[test]
fn a_killed_receive_goes_on_from_what_came() {
    let bytes = data();
    let all = bytes.len().to_string();
    let start = |place: &Place| -> Child {
        let mut child = agent(&["receive", &text(&place.path), "0", &all]).spawn().unwrap();
        let (mut stdin, bytes) = (child.stdin.take().unwrap(), bytes.clone());
        thread::spawn(move || {
            for piece in bytes.chunks(PIECE) {
                if stdin.write_all(piece).is_err() {
                    return;
                }
                sleep(PAUSE);
            }
        });
        child
    };
    let judge = |place: &Place| {
        let have = length(&place.path);
        let rest = &bytes[have as usize..];
        assert!(fs::read(&place.path).unwrap_or_default() == bytes[..have as usize]);
        let args = ["receive", &text(&place.path), &have.to_string(), &rest.len().to_string()];
        assert_eq!(last(&run(&mut agent(&args), rest)), Message::Done(Value::from(bytes.len())));
        assert!(fs::read(&place.path).unwrap() == bytes);
        assert_eq!(names(place.path.parent().unwrap()), ["app.dbmig-new"]);
        have > 0 && !rest.is_empty()
    };
    series::kill(Kills { times: 20, must_leave: 8, seed: 1 }, place, start, judge);
}

#[test]
fn a_killed_send_goes_on_from_what_came() {
    let bytes = data();
    let make = || {
        let place = place();
        fs::write(&place.path, &bytes).unwrap();
        place
    };
    let start = |place: &Place| -> Child {
        let mut child = agent(&["send", &text(&place.path), "0"]).spawn().unwrap();
        let (mut stdout, sent) = (child.stdout.take().unwrap(), Arc::clone(&place.sent));
        let reader = thread::spawn(move || {
            let mut piece = vec![0; PIECE];
            while let Ok(read @ 1..) = stdout.read(&mut piece) {
                sent.lock().unwrap().extend_from_slice(&piece[..read]);
                sleep(PAUSE);
            }
        });
        *place.reader.lock().unwrap() = Some(reader);
        child
    };
    let judge = |place: &Place| {
        place.reader.lock().unwrap().take().unwrap().join().unwrap();
        let mut sent = place.sent.lock().unwrap();
        let have = sent.len();
        assert!(*sent == bytes[..have]);
        sent.extend(run(&mut agent(&["send", &text(&place.path), &have.to_string()]), b"").stdout);
        assert!(*sent == bytes && fs::read(&place.path).unwrap() == bytes);
        have < bytes.len()
    };
    series::kill(Kills { times: 20, must_leave: 8, seed: 2 }, make, start, judge);
}
