//! The steps of a promotion, in order. Until the new release is installed, taking them back gives the replica its volume again; from
//! then on the volume is the new release's, and the replica clones the primary anew.

mod claim;
mod detach;
mod freeze;
mod install;
mod mark;
mod primary;
mod prove;
mod tidy;

use std::sync::Arc;

pub(in crate::command) use self::mark::{MARK, Mark};
pub(in crate::command) use self::prove::{PROOF, Proof};
use super::Desk;
use crate::plan::Step;

/// All steps in order.
pub(in crate::command) fn steps(desk: &Arc<Desk>) -> Vec<Box<dyn Step>> {
    let mut steps: Vec<Box<dyn Step>> = vec![Box::new(tidy::KeepPackage(desk.clone()))];
    if desk.spec.freezes() {
        steps.push(Box::new(freeze::KeepRights(desk.clone())));
        steps.push(Box::new(freeze::Freeze(desk.clone())));
    }
    steps.push(Box::new(mark::TakeMark(desk.clone())));
    if desk.spec.copy.leaves_replica() {
        steps.push(Box::new(claim::CopyClaim(desk.clone())));
    } else {
        steps.push(Box::new(detach::Retain(desk.clone())));
        steps.push(Box::new(detach::Detach(desk.clone())));
        steps.push(Box::new(claim::GiveVolume(desk.clone())));
    }
    steps.push(Box::new(primary::MakePrimary(desk.clone())));
    steps.push(Box::new(install::Install(desk.clone())));
    steps.push(Box::new(prove::Prove(desk.clone())));
    steps.push(Box::new(tidy::Tidy(desk.clone())));
    steps
}
