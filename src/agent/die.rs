//! Points at which a test lets the process die or pause, to look at what it holds then. Not in release builds.

/// Dies here when the environment says `DBMIG_DIE_AT=PLACE`, pauses when it says `DBMIG_PAUSE_AT=PLACE`.
#[cfg(debug_assertions)]
pub(crate) fn point(place: &str) {
    let is_here = |variable| std::env::var(variable).is_ok_and(|at| at == place);
    if is_here("DBMIG_DIE_AT") {
        std::process::abort();
    }
    if is_here("DBMIG_PAUSE_AT") {
        // A test that does not see the pause fails by itself.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP);
    }
}

/// Nothing.
#[cfg(not(debug_assertions))]
pub(crate) const fn point(_: &str) {}
