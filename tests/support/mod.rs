//! What the tests on a real cluster share: a namespace each, the upmeter-like application, users, the plugin as kubectl finds it.
//! Must not assert anything about the product.
#![allow(dead_code, reason = "each test uses a part of it")]

mod fixture;
mod job;
mod moving;
mod namespace;
mod proxy;
mod running;
mod tmux;
mod user;

pub(crate) use fixture::{Shape, Upmeter};
pub(crate) use job::Job;
pub(crate) use moving::{Moving, Side};
pub(crate) use namespace::{Namespace, Run, kubectl};
pub(crate) use proxy::{Harm, Proxy, Weather};
pub(crate) use running::Running;
pub(crate) use tmux::Tmux;
