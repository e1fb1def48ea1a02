//! The steps of a cut-over, in order. Until pgcopydb is told where to end, taking them back leaves it following as before;
//! until the application is switched, the source stays the one that is written to.

mod arrive;
mod clean;
mod compare;
mod end;
mod freeze;
mod scale;
pub(in crate::command) mod setting;
mod settle;
mod still;
mod switch;

use std::sync::Arc;
use std::time::Duration;

use super::Desk;
use crate::failure::{Failure, Result};
use crate::plan::{Run, Step};

/// Time between two looks at a server: there is nothing to watch.
const PAUSE: Duration = Duration::from_millis(200);

/// All steps in order.
pub(in crate::command) fn steps(desk: &Arc<Desk>) -> Vec<Box<dyn Step>> {
    let mut steps: Vec<Box<dyn Step>> = vec![Box::new(settle::Settle(desk.clone())), Box::new(freeze::Keep(desk.clone()))];
    if !desk.spec.scaled.is_empty() {
        steps.push(Box::new(scale::Down(desk.clone())));
    }
    steps.push(Box::new(freeze::Freeze(desk.clone())));
    steps.push(Box::new(freeze::Drain(desk.clone())));
    steps.push(Box::new(arrive::Arrive(desk.clone())));
    steps.push(Box::new(compare::Compare(desk.clone())));
    steps.push(Box::new(end::End(desk.clone())));
    steps.push(Box::new(end::Ended(desk.clone())));
    steps.push(Box::new(still::Sequences(desk.clone())));
    steps.push(Box::new(still::Still(desk.clone())));
    steps.push(Box::new(still::Rights(desk.clone())));
    if desk.spec.switches() {
        steps.push(Box::new(setting::Keep(desk.clone())));
        steps.push(Box::new(switch::Switch(desk.clone())));
    }
    if !desk.spec.scaled.is_empty() {
        steps.push(Box::new(scale::Up(desk.clone())));
    }
    steps.push(Box::new(clean::Clean(desk.clone())));
    steps
}

/// Before the switch nothing that goes wrong is worth refused writes.
trait OrBack<T> {
    fn or_back(self) -> Result<T>;
}

impl<T> OrBack<T> for Result<T> {
    fn or_back(self) -> Self {
        self.map_err(Failure::take_back_even_so)
    }
}

/// Waits a moment before the next look, as long as writes may be refused. `waiting` is what was seen.
async fn pause(desk: &Desk, run: &Run, waiting: String) -> Result<()> {
    desk.left(run).map_err(|failure| failure.fact(waiting))?;
    run.stop.interruptible(tokio::time::sleep(PAUSE)).await.or_back()
}
