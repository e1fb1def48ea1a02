//! `promote` and `route`: a release on a replica's volume, traffic that is led there, and the way back, whoever dies meanwhile.

mod copies;
mod faults;
mod refusals;
mod server;
mod ways;
mod whole;

use serde_json::Value;

use crate::support::{Namespace, Run, Running, Steady, steady};

/// What is promoted.
const FROM: &str = "sts/alpha-postgresql-slave";

/// Steps of a promotion that takes the replica's own volume.
const STEPS: usize = 9;

/// The words of a promotion to beta.
fn promote<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let words = [
        "promote",
        "--from",
        FROM,
        "--release",
        "beta",
        "--chart",
        steady::CORE,
        "--set",
        "restbackend.schemaVersion=2",
        "--yes",
    ];
    [&words[..], more].concat()
}

/// The words that lead traffic to a release.
fn route<'a>(to: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let words =
        ["route", "--admin-release", "admin", "--chart", steady::ADMIN, "--to", to, "--probe", "svc/front:80/ready", "--yes"];
    [&words[..], more].concat()
}

/// Fails unless the command ended so and said these, and no secret.
#[track_caller]
fn ends(run: &Run, code: i32, texts: &[&str]) {
    crate::support::ends(run, code, texts);
    let leaked = steady::SECRETS.iter().find(|secret| run.stderr.contains(**secret) || run.stdout.contains(**secret));
    assert_eq!(leaked, None, "a secret is told");
}

/// A promotion of so many steps that dies when it has come to one of them.
fn killed_at(steady: &Steady<'_>, step: usize, of: usize, more: &[&str]) {
    let mut running = Running::start(steady.dbmig_command(&promote(more)));
    running.reaches(step, of);
    running.kill();
}

/// One that dies at each step, and is resumed by another process each time, to its end. `between` is told of each step meanwhile.
fn killed_at_every_step(steady: &Steady<'_>, of: usize, between: impl Fn(usize)) -> Run {
    let mut running = Running::start(steady.dbmig_command(&promote(&[])));
    // Before the chart is kept there is nothing to go on with.
    let mut step = 1;
    while step < of {
        step = running.reaches(step + 1, of);
        running.kill();
        between(step);
        running = Running::start(steady.dbmig_command(&["resume", "--yes"]));
    }
    running.ends()
}

/// The id of the newest operation of a command.
fn newest(space: &Namespace, command: &str) -> String {
    let history: Value = serde_json::from_str(&space.dbmig(&["history", "-o", "json"]).stdout).unwrap();
    let mut of = history["items"].as_array().into_iter().flatten().filter(|record| record["command"] == command);
    of.next_back().map(|record| record["id"].as_str().unwrap().to_owned()).unwrap_or_default()
}

/// Alpha is what it was: two replicas that stream, and nobody ever shared a data directory.
#[track_caller]
fn alpha_is_as_before(steady: &Steady<'_>, what: &str) {
    assert_eq!(steady.role("alpha", "master"), "f|1", "{what}");
    steady.streams("alpha", 0).streams("alpha", 1);
    assert_eq!(steady.role("alpha", "slave-1"), "t|1", "{what}");
    assert_eq!(steady.violations(), Vec::<String>::new(), "{what}");
}

/// The same, where nobody writes: every row is on the replica too.
#[track_caller]
fn alpha_is_whole(steady: &Steady<'_>, what: &str) {
    alpha_is_as_before(steady, what);
    assert_eq!(steady.content("alpha", "slave-1"), steady.content("alpha", "master"), "{what}");
}

/// Nothing of ours is left but records.
fn is_tidy(space: &Namespace) {
    space.wait_for("no helper, no Lease and no Secret of ours is left", || {
        let names = space.kubectl(&["get", "pods,leases,secrets", "-o", "jsonpath={.items[*].metadata.name}"]);
        !names.split(' ').any(|name| name.starts_with("dbmig-"))
    });
}

/// Whoever needs nothing of beta any more removes its claims.
fn forget_beta(space: &Namespace) {
    let names = space.kubectl(&["get", "pvc", "-o", "jsonpath={.items[*].metadata.name}"]);
    let of_beta: Vec<&str> = names.split(' ').filter(|name| name.starts_with("data-beta")).collect();
    space.kubectl(&[&["delete", "pvc", "--ignore-not-found", "data-beta"], of_beta.as_slice()].concat());
}

/// There is no release beta.
fn beta_is_gone(space: &Namespace) {
    assert!(!space.helm(&["list", "--short", "--all"]).lines().any(|name| name == "beta"));
}
