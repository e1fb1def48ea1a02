//! Kills a call at seeded moments of its work, and makes sure that the kills really hit it.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Output};
use std::thread::sleep;
use std::time::{Duration, Instant};

use dbmig_wire::Message;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::process::last;

/// Of the kills, in percent, those that must find the process at work.
const MUST_HIT: u32 = 60;
/// On a fast machine a call may be over before it is killed: so many times the kills are tried until enough have hit.
const PATIENCE: u32 = 4;
/// A moment that comes too late tells that the work takes less time than was thought.
const SHORTER: f64 = 0.8;

/// How often a call is killed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kills {
    /// At least.
    pub(super) times: u32,
    /// Of these, how many must leave something unfinished, so that the series shows what it is for.
    pub(super) must_leave: u32,
    /// Of the moments.
    pub(super) seed: u64,
}

/// Makes a fresh case, starts the call on it, kills it and lets `judge` look, time and again. `judge` repeats the call and
/// tells whether the killed one had left something unfinished.
pub(super) fn kill<C>(kills: Kills, make: impl Fn() -> C, start: impl Fn(&C) -> Child, judge: impl Fn(&C) -> bool) {
    let Kills { times, must_leave, seed } = kills;
    let measured = || (0..2).map(|_| undisturbed(&make(), &start)).min().unwrap();
    let mut limit = measured();
    let mut random = SmallRng::seed_from_u64(seed);
    let (mut hits, mut left) = (0, 0);
    for round in 1..=times * PATIENCE {
        let case = make();
        let moment = limit.mul_f64(random.random_range(0.02..0.98));
        let begun = Instant::now();
        let mut child = start(&case);
        sleep(moment.saturating_sub(begun.elapsed()));
        child.kill().unwrap();
        match child.wait_with_output().unwrap().status.signal() {
            Some(9) => hits += 1,
            _ => limit = limit.mul_f64(SHORTER),
        }
        left += u32::from(judge(&case));
        if round >= times && hits >= times * MUST_HIT / 100 && left >= must_leave {
            return;
        }
        if round % times == 0 {
            // The machine may be busier, or less busy, than it was.
            limit = measured();
        }
    }
    panic!("{hits} kills hit a call that took {limit:?}, {left} of them left something unfinished; {kills:?}");
}

fn undisturbed<C>(case: &C, start: &impl Fn(&C) -> Child) -> Duration {
    let begun = Instant::now();
    let output = start(case).wait_with_output().unwrap();
    let taken = begun.elapsed();
    assert!(output.status.success(), "{}", failure(&output));
    taken
}

fn failure(output: &Output) -> String {
    match last(output) {
        Message::Failed(error) => format!("{error:?}"),
        other => format!("{other:?}"),
    }
}
