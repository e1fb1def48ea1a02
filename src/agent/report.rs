//! Where work tells how far it is; must not know who listens.

use dbmig_wire::Progress;

use crate::error::Result;

/// Where work tells how far it is; the session turns it into wire messages.
pub trait Report {
    /// How far the work is.
    fn progress(&self, progress: Progress);

    /// Something a person should read, as one line.
    fn note(&self, text: &str);

    /// Asked at every safe point.
    ///
    /// # Errors
    /// `Stopped` when the work should end here.
    fn check(&self) -> Result<()>;
}
