//! The work that the helper binary does inside a pod; reads no arguments but through `session` and writes to no terminal.

mod alone;
mod beside;
pub mod data_directory;
pub mod database;
mod die;
mod dispatch;
pub mod dump;
pub mod environment;
pub mod error;
pub mod file;
mod job;
mod journal;
mod output;
pub mod punch;
mod relay;
pub mod replace;
pub mod report;
mod resolve;
pub mod restore;
pub mod session;
pub mod swap;
