//! The full-screen view: logs on one side, states on the other. Draws what it is given; asks no cluster.

mod draw;
mod keys;
mod log;
mod states;
mod terminal;

pub use self::draw::Panes;
pub use self::keys::Asked;
pub use self::states::{Picture, Progress};
pub use self::terminal::FullScreen;
