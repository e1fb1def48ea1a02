//! What the tests on a real cluster share: a namespace each, the upmeter-like application, users, the plugin as kubectl finds it.
//! Must not assert anything about the product.
#![allow(dead_code, reason = "each test uses a part of it")]

mod acks;
mod fixture;
pub(crate) mod helm;
mod job;
mod moving;
mod namespace;
mod proxy;
mod running;
pub(crate) mod snapshots;
pub(crate) mod steady;
mod tmux;
mod user;

pub(crate) use acks::Acks;
pub(crate) use fixture::{Shape, Upmeter};
pub(crate) use job::Job;
pub(crate) use moving::{Moving, Side};
pub(crate) use namespace::{Namespace, Run, ends, kubectl};
pub(crate) use proxy::{Harm, Proxy, Weather};
pub(crate) use running::Running;
pub(crate) use steady::Steady;
pub(crate) use tmux::Tmux;
