//! From what was typed to what is meant.

use super::Options;
use super::space::{KeepOld, Place};
use super::spec::{Keep, Wishes};
use crate::cli::vacuum as typed;

impl From<typed::Args> for Options {
    fn from(args: typed::Args) -> Self {
        let keep = args.keep.into_iter().map(|keep| Keep { table: keep.table, condition: keep.condition }).collect();
        Self {
            target: args.target.target,
            container: args.target.container,
            database: args.database,
            wishes: Wishes {
                keep,
                allow_empty: args.allow_empty,
                profile: args.profile,
                repair: args.repair,
                scratch: args.scratch.map(Place::from),
                keep_old: args.keep_old.map(KeepOld::from),
                full_check: args.check == Some(typed::Check::Full),
                timeout_seconds: args.timeout.as_secs(),
            },
            punch: args.punch,
            helper_image: args.helper_image,
            dry_run: args.dry_run,
            yes: args.yes,
        }
    }
}

impl From<typed::Scratch> for Place {
    fn from(scratch: typed::Scratch) -> Self {
        match scratch {
            typed::Scratch::Pvc(pvc) => Self::Claim { class: pvc.class },
            typed::Scratch::Node => Self::Node,
            typed::Scratch::Local => Self::Local,
        }
    }
}

impl From<typed::KeepOld> for KeepOld {
    fn from(keep: typed::KeepOld) -> Self {
        match keep {
            typed::KeepOld::Pvc(pvc) => Self::At(Place::Claim { class: pvc.class }),
            typed::KeepOld::Local => Self::At(Place::Local),
            typed::KeepOld::None => Self::No,
        }
    }
}
