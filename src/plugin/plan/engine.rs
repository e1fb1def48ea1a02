//! Carries a plan out, goes on with one that stopped, takes one back.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::memory::FAILED;
use super::record::{Phase, Record, StepRecord, StepState};
use super::step::{Look, Run, Step};
use super::store::Store;
use crate::event::Event;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::shutdown::Stop;

/// Seconds before each repetition of a step whose failure may pass: enough for an API server that restarts.
const PAUSES: [u64; 6] = [1, 2, 4, 8, 15, 30];

/// An operation with the Lease held: its steps, its record, and what they work with.
pub struct Engine {
    store: Store,
    record: Record,
    steps: Vec<Box<dyn Step>>,
    run: Run,
}

/// What came of an operation.
#[derive(Debug, Clone)]
pub struct Report {
    /// The record as it was last saved.
    pub record: Record,
}

impl Engine {
    /// An engine for steps that were built from the record's spec. A step that the record does not know is added to it.
    #[must_use]
    pub fn new(store: Store, mut record: Record, steps: Vec<Box<dyn Step>>, run: Run) -> Self {
        for (index, step) in steps.iter().enumerate() {
            if record.steps.get(index).is_none_or(|known| known.id != step.id()) {
                record.steps.insert(index, StepRecord::pending(step.id(), step.title()));
            }
        }
        record.steps.truncate(steps.len());
        Self { store, record, steps, run }
    }

    /// Carries out what is not done yet, from the first step on. Every step looks first, so this is `resume` too.
    ///
    /// # Errors
    /// A failure that asks for it has everything taken back, and keeps its exit code. Any other leaves the operation
    /// where it is, with `resume` and `undo` as what to type next.
    pub async fn carry_out(mut self) -> Result<Report> {
        self.record.phase = Phase::Running;
        for index in 0..self.steps.len() {
            if let Err(failure) = self.step(index).await {
                return Err(self.end_early(failure).await);
            }
        }
        match self.run.memory.recall::<Value>(FAILED)? {
            Some(why) => self.finish(Phase::Failed, why["message"].as_str().unwrap_or("failed")).await,
            None => self.finish(Phase::Done, "done").await,
        }
    }

    /// Carries a step out, again and again while what stands in its way may pass.
    async fn step(&mut self, index: usize) -> Result<()> {
        let of = self.steps.len();
        if self.run.stop.requested() {
            let title = self.steps[index].title();
            let stopped = Failure::new(Exit::Incomplete, format!("stopped before step {} of {of}: {title}", index + 1));
            return Err(match self.steps[index].stop_takes_back() {
                true => stopped.exit(Exit::Interrupted).take_back_even_so(),
                false => stopped,
            });
        }
        let (mut told, mut pauses) = (false, PAUSES.into_iter());
        loop {
            let Err(failure) = self.attempt(index, &mut told).await else { return Ok(()) };
            if !self.waits_out(&failure, &mut pauses).await {
                self.run.events.tell(Event::StepFailed { title: self.steps[index].title() });
                return Err(failure);
            }
        }
    }

    /// Waits for what may pass, as long as there are pauses left and the user is patient. False: it stays a failure.
    async fn waits_out(&self, failure: &Failure, pauses: &mut impl Iterator<Item = u64>) -> bool {
        if !failure.passing || self.run.stop.requested() {
            return false;
        }
        let Some(seconds) = pauses.next() else { return false };
        let why = failure.facts.first().map(|fact| format!(" ({fact})")).unwrap_or_default();
        self.run.events.note(format!("{}{why}; trying again", failure.message));
        tokio::select! {
            () = sleep(Duration::from_secs(seconds)) => {}
            () = self.run.stop.wait() => {}
        }
        true
    }

    /// `told`: the step has been announced.
    async fn attempt(&mut self, index: usize, told: &mut bool) -> Result<()> {
        let of = self.steps.len();
        let title = self.steps[index].title();
        match self.steps[index].look(&self.run).await? {
            Look::Todo => {}
            Look::NotNeeded => return self.mark(index, StepState::Done, "not needed").await,
            Look::Done => {
                self.run.events.tell(Event::StepAlready { index: index + 1, of, title });
                return self.mark(index, StepState::Done, "").await;
            }
        }
        self.run.lease.prove().await?;
        self.mark(index, StepState::Started, "").await?;
        if !std::mem::replace(told, true) {
            self.run.events.tell(Event::StepStarted { index: index + 1, of, title: title.clone() });
        }
        let begun = Instant::now();
        let summary = self.steps[index].act(&self.run).await?;
        self.mark(index, StepState::Done, &summary).await?;
        self.run.events.tell(Event::StepDone { title, summary, elapsed: begun.elapsed() });
        Ok(())
    }

    /// Takes everything back that was begun, last step first.
    ///
    /// # Errors
    /// `Refused` with nothing changed when a step says that it can't; otherwise the undoing stopped half-way and can be called again.
    pub async fn take_back(mut self) -> Result<Report> {
        if let Err(failure) = self.can_go_back().await {
            let _ = self.run.lease.release().await;
            return Err(failure);
        }
        self.record.phase = Phase::Undoing;
        match self.undo_steps().await {
            Ok(()) => self.finish(Phase::Undone, "taken back").await,
            Err(failure) => {
                let failure = self.with_way_on(failure);
                self.save_message(&failure.message).await;
                let _ = self.run.lease.release().await;
                Err(failure.exit(Exit::Incomplete))
            }
        }
    }

    /// Asks every step that was begun, before the first one is taken back.
    async fn can_go_back(&self) -> Result<()> {
        for index in self.begun() {
            let mut pauses = PAUSES.into_iter();
            while let Err(failure) = self.steps[index].can_go_back(&self.run).await {
                if !self.waits_out(&failure, &mut pauses).await {
                    return Err(failure);
                }
            }
        }
        Ok(())
    }

    async fn undo_steps(&mut self) -> Result<()> {
        let begun = self.begun();
        let of = begun.len();
        for (count, index) in begun.into_iter().enumerate() {
            let title = format!("take back: {}", self.steps[index].title());
            if self.run.stop.requested() {
                return Err(Failure::new(Exit::Incomplete, format!("stopped before step {} of {of}: {title}", count + 1)));
            }
            self.run.events.tell(Event::StepStarted { index: count + 1, of, title: title.clone() });
            let mut pauses = PAUSES.into_iter();
            while let Err(failure) = self.undo_step(index, &title).await {
                if !self.waits_out(&failure, &mut pauses).await {
                    self.run.events.tell(Event::StepFailed { title });
                    return Err(failure);
                }
            }
        }
        Ok(())
    }

    async fn undo_step(&mut self, index: usize, title: &str) -> Result<()> {
        self.run.lease.prove().await?;
        let started = Instant::now();
        let summary = self.steps[index].back(&self.run).await?;
        self.mark(index, StepState::Undone, &summary).await?;
        self.run.events.tell(Event::StepDone { title: title.to_owned(), summary, elapsed: started.elapsed() });
        Ok(())
    }

    /// Steps that were begun and not taken back, last first. The first one counts as begun as soon as there is a record:
    /// a command may have prepared it while it looked.
    fn begun(&self) -> Vec<usize> {
        let begun = |step: &StepRecord| matches!(step.state, StepState::Started | StepState::Done);
        (0..self.steps.len()).rev().filter(|&index| index == 0 || begun(&self.record.steps[index])).collect()
    }

    async fn end_early(mut self, failure: Failure) -> Failure {
        if failure.exit == Exit::Held {
            return failure; // The record and the Lease belong to somebody else now.
        }
        let stays = if failure.take_back { self.can_go_back().await.err() } else { None };
        if failure.take_back && stays.is_none() {
            self.record.phase = Phase::Undoing;
            self.run.events.note(format!("{}; taking everything back", failure.message));
            // Whoever asked to stop has been heard; a second request leaves at once.
            self.run.stop = Stop::default();
            return match self.undo_steps().await {
                Ok(()) => match self.finish(Phase::Undone, &failure.message).await {
                    Ok(_) => failure.state("everything was taken back: the application runs as before"),
                    Err(second) => second,
                },
                Err(second) => {
                    let failure = self
                        .with_way_on(failure.fact(format!("taking it back failed too: {}", second.message)).facts(second.facts));
                    self.save_message(&failure.message).await;
                    let _ = self.run.lease.release().await;
                    failure.exit(Exit::Incomplete)
                }
            };
        }
        self.record.phase = Phase::Stopped;
        let failure = failure.facts(stays.map(|why| format!("it was not taken back: {}", why.message)));
        let failure = self.with_way_on(failure);
        self.save_message(&failure.message).await;
        let _ = self.run.lease.release().await;
        failure.exit(Exit::Incomplete)
    }

    fn with_way_on(&self, failure: Failure) -> Failure {
        let Record { id, namespace, .. } = &self.record;
        let failure = failure.next(format!("kubectl dbmig undo {id} -n {namespace}      # back to how it was"));
        if self.record.phase == Phase::Undoing {
            return failure;
        }
        let mut failure = failure;
        failure.next.insert(0, format!("kubectl dbmig resume {id} -n {namespace}    # go on from here"));
        failure
    }

    async fn finish(mut self, phase: Phase, message: &str) -> Result<Report> {
        self.record.phase = phase;
        message.clone_into(&mut self.record.message);
        self.save().await?;
        self.run.lease.release().await?;
        Ok(Report { record: self.record })
    }

    async fn mark(&mut self, index: usize, state: StepState, summary: &str) -> Result<()> {
        let now = Timestamp::now();
        let step = &mut self.record.steps[index];
        step.state = state;
        if state == StepState::Started {
            step.started = Some(now);
        } else {
            step.ended = Some(now);
        }
        if !summary.is_empty() {
            summary.clone_into(&mut step.summary);
        }
        self.save().await
    }

    async fn save(&mut self) -> Result<()> {
        self.record.memory = self.run.memory.all();
        self.store.save(&mut self.record).await
    }

    /// The failure that is being reported matters more than one while writing it down.
    async fn save_message(&mut self, message: &str) {
        message.clone_into(&mut self.record.message);
        if let Err(failure) = self.save().await {
            self.run.events.note(format!("the record could not be written: {}", failure.message));
        }
    }
}
