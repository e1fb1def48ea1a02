//! What the tests on a real cluster share: a namespace each, the upmeter-like application, users, the plugin as kubectl finds it.
//! Must not assert anything about the product.
#![allow(dead_code, reason = "each test uses a part of it")]

mod fixture;
mod follow;
mod namespace;
mod proxy;
mod tmux;
mod user;

pub(crate) use fixture::{Shape, Upmeter};
pub(crate) use follow::Following;
pub(crate) use namespace::{Namespace, Run};
pub(crate) use proxy::{Proxy, Weather};
pub(crate) use tmux::Tmux;
