//! Every line of a log once, in order and as it was written, whatever it is made of.

use std::process::Command;

use rand::Rng as _;

use super::{assert_same, container, create_pod, follow, spec_with_claim, wait_for_phase};
use crate::support::Namespace;

/// Waits for the file /data/go, then says a lot as fast as it can, into a file too.
const FAST: &str = "echo ready; until [ -e /data/go ]; do sleep 0.1; done
    awk 'BEGIN { for (i = 1; i <= 100000; i++) printf \"line %06d of a lot that is said at once\\n\", i }' | tee /data/said";

fn stdout(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_at_full_speed_is_heard_completely_and_in_order() {
    let space = Namespace::new("fast").await;
    space.volume("data", "64Mi");
    let folder = space.folder("data");
    create_pod(&space, "fast", &spec_with_claim("data", &[container("main", FAST)]));
    let mut running = follow(&space, &["logs", "fast", "-f", "-o", "raw"]);
    running.prints("ready\n");
    std::fs::write(folder.join("go"), "").unwrap();
    assert_eq!(running.ends().code, 0, "{}", running.said());
    let said = [b"ready\n".to_vec(), std::fs::read(folder.join("said")).unwrap()].concat();
    assert_eq!(said.iter().filter(|byte| **byte == b'\n').count(), 100_001);
    assert_same("while it spoke", &running.printed_bytes(), &said);
    assert!(running.said().contains("exit code 0"), "{}", running.said());

    assert_same("afterwards", &stdout(&mut space.dbmig_command(&["logs", "fast", "-o", "raw"])), &said);
    let last = stdout(&mut space.dbmig_command(&["logs", "fast", "-o", "raw", "--tail", "3"]));
    assert_eq!(String::from_utf8(last).unwrap().lines().next(), Some("line 099998 of a lot that is said at once"));
}

/// What a log may be made of: long lines, one at and around where runtimes cut, any byte, and no line feed at the end.
fn odd() -> Vec<u8> {
    let mut odd = Vec::new();
    for length in [16_383, 16_384, 16_385, 32_768, 50_000, 1 << 20] {
        odd.extend((0..length).map(|n: usize| b'a' + (n % 26) as u8));
        odd.push(b'\n');
    }
    let mut random = vec![0_u8; 1 << 20];
    rand::rng().fill_bytes(&mut random);
    odd.extend(random.into_iter().filter(|byte| !b"\r\n".contains(byte)));
    odd.extend(b"\n\n \n\t\n\x1b[2J\x1b]0;owned\x07\x1b[31mred\x1b[0m\n\0\0\n\xff\xfe\xc3\x28\n");
    odd.extend("2026-01-01T00:00:00Z is not when it was written\nnaïve 漢字 🦀\n".as_bytes());
    odd.extend(b"no line feed at the end");
    odd
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_bytes_come_through_as_they_were_written() {
    let space = Namespace::new("odd").await;
    space.volume("data", "64Mi");
    let odd = odd();
    std::fs::write(space.folder("data").join("odd"), &odd).unwrap();
    create_pod(&space, "odd", &spec_with_claim("data", &[container("main", "cat /data/odd")]));
    let mut running = follow(&space, &["logs", "odd", "-f", "-o", "raw"]);
    assert_eq!(running.ends().code, 0, "{}", running.said());
    wait_for_phase(&space, "odd", "Succeeded");
    // The runtime ends a last line that its writer did not; kubectl shows that too.
    let expected = [odd.as_slice(), b"\n"].concat();
    assert_same("while it spoke", &running.printed_bytes(), &expected);
    assert_same("afterwards", &stdout(&mut space.dbmig_command(&["logs", "odd", "-o", "raw"])), &expected);
    assert_same("without a terminal", &stdout(&mut space.dbmig_command(&["logs", "odd"])), &expected);

    let objects = stdout(&mut space.dbmig_command(&["logs", "odd", "-o", "json"]));
    let objects: Vec<serde_json::Value> = objects
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    let lines: Vec<String> = odd.split(|byte| *byte == b'\n').map(|line| String::from_utf8_lossy(line).into_owned()).collect();
    let messages: Vec<&str> = objects.iter().map(|object| object["message"].as_str().unwrap()).collect();
    assert!(messages == lines, "the messages differ from the lines: {} and {}", messages.len(), lines.len());
}
