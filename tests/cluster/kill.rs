//! What a vacuum works with goes away while it runs: its helper pod, or the user's patience. Must not kill the plugin itself (`crash`).

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::crash::{KEEP, Place, STEPS, content, fill};
use crate::support::Run;

/// Starts a vacuum; does `harm` as soon as the step is announced; the exit code and stderr.
fn vacuum(place: &Place, step: usize, harm: impl FnOnce(&Child)) -> (i32, String) {
    let mut command = place.space.dbmig_command(&["vacuum", "box-0", "--keep", KEEP, "--yes"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let announced = format!("[{step}/{STEPS}]");
    let reached = lines.any(|line| line.starts_with(&announced));
    if reached {
        harm(&child);
    }
    let rest: Vec<String> = lines.collect();
    let code = child.wait().unwrap().code().unwrap_or(-1);
    assert!(reached, "step {step} was never announced");
    (code, rest.join("\n"))
}

fn helper(place: &Place) -> String {
    let pods = place.space.kubectl(&["get", "pods", "-o", "name"]);
    pods.lines().find(|pod| pod.contains("dbmig-")).expect("a helper pod").to_owned()
}

/// Goes on if the vacuum did not get over the harm by itself; then everything is as it has to be.
fn ends_well(place: &Place, code: i32, said: &str) {
    if code != 0 {
        assert_eq!(code, 8, "{said}");
        assert!(said.contains("resume") && said.contains("undo"), "{said}");
        let run = place.space.dbmig(&["resume", "--yes"]);
        assert_eq!(run.code, 0, "{}", run.stderr);
    }
    place.is_tidy();
    let reference = place.file.with_file_name("reference");
    fill(&reference);
    assert_eq!(content(&place.file, "true"), content(&reference, "id % 4 = 0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_interrupted_while_it_rebuilds_names_the_ways_on_and_is_resumed_after_this_kill() {
    let place = Place::new().await;
    let (code, said) = vacuum(&place, 7, |child| {
        assert_eq!(Run::of(Command::new("kill").args(["-INT", &child.id().to_string()])).code, 0);
    });
    assert_eq!(code, 8, "{said}");
    ends_well(&place, code, &said);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_gets_over_the_kill_of_its_helper_pod() {
    let place = Place::new().await;
    let (code, said) = vacuum(&place, 7, |_| {
        place.space.kubectl(&["delete", &helper(&place), "--grace-period=0", "--force", "--wait=false"]);
    });
    ends_well(&place, code, &said);
}
