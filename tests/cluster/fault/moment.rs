//! Moments in the rebuild and the proof of a database that takes its time: the job is halted there. What fails then is in other files.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::place::{Place, STEPS};
use crate::support::{Job, Running};

/// A moment in a job's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Moment {
    /// So many bytes of the new file were written.
    Rebuild(u64),
    /// So many bytes were read for its proof.
    Verify(u64),
}

impl Moment {
    /// The job.
    fn word(self) -> &'static str {
        match self {
            Self::Rebuild(_) => "rebuild",
            Self::Verify(_) => "verify",
        }
    }
}

/// Moments in the order in which they come, the same for the same seed.
pub(super) fn moments(place: &Place, seed: u64, rebuild: usize, verify: usize) -> Vec<Moment> {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut up_to = |bytes: u64| random.random_range(0..bytes);
    let kept = place.kept_bytes();
    let mut moments: Vec<Moment> = (0..rebuild).map(|_| Moment::Rebuild(up_to(kept * 9 / 10))).collect();
    moments.extend((0..verify).map(|_| Moment::Verify(up_to(kept / 2))));
    moments.sort();
    moments
}

/// Lets the running vacuum come to a moment; its job is halted there. One that is halted already is led on from where it is.
pub(super) fn come_to(moment: Moment, place: &Place, running: &mut Running) -> Job {
    let is_there = || !Job::all(moment.word(), place.folder()).is_empty();
    // Until it is found it can't begin, however busy the machine is.
    let hold = (!is_there()).then(|| {
        if let Moment::Verify(_) = moment {
            running.reaches(8, STEPS);
        }
        place.hold(is_there)
    });
    let job = Job::halted(moment.word(), place.folder(), || running.has_ended());
    let job = job.unwrap_or_else(|| panic!("{moment:?}: no job was seen:\n{}", running.said()));
    drop(hold);
    let (counter, bytes) = match moment {
        Moment::Rebuild(bytes) => ("wchar", bytes),
        Moment::Verify(bytes) => ("rchar", bytes),
    };
    assert!(job.advance(counter, bytes), "{moment:?}: the job ended before it:\n{}", running.said());
    job
}

/// Comes to one moment after the other in one and the same work; the job goes on with it, whatever `fail` does to all others.
pub(super) fn at_each(moments: &[Moment], place: &Place, running: &mut Running, mut fail: impl FnMut(Moment, &mut Running)) {
    for of_one_job in moments.chunk_by(|one, next| one.word() == next.word()) {
        let mut job = None;
        for &moment in of_one_job {
            job = Some(come_to(moment, place, running));
            fail(moment, running);
        }
        job.expect("there are moments").go_on();
    }
}
