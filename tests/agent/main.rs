//! Tests of the helper binary and its library.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "a test may panic, and nobody else calls it")]

mod data_directory;
mod database;
mod dump;
mod faults;
mod file;
mod mount;
mod process;
mod relay;
mod session;
#[allow(dead_code, reason = "other users of the generator take more of it")]
#[path = "../support/upmeter.rs"]
mod upmeter;
