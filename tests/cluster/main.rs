//! The plugin on a real cluster; `cargo xtask test` brings one up.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../support/mod.rs"]
mod support;

mod broken;
mod crash;
mod database;
mod engine;
mod exec;
mod fault;
mod finish;
mod fixtures;
mod krew;
mod moving;
mod observe;
mod place;
mod promote;
mod repair;
mod roles;
mod run;
mod steady;
mod story;
mod vacuum;
