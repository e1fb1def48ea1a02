//! The plugin against a scripted API server: every way a stream or a request can go wrong. Needs no cluster.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod access;
mod beside;
mod duplex;
mod exec;
mod kubelet;
mod relay;
mod requests;
mod server;

use dbmig::cluster::{Cluster, ConnectionFlags, Environment, connect_in};

/// A cluster behind the address of a scripted server.
async fn cluster(server: &server::Server) -> Cluster {
    cluster_at(server.url()).await
}

async fn cluster_at(url: String) -> Cluster {
    let flags = ConnectionFlags { server: Some(url), ..ConnectionFlags::default() };
    connect_in(&flags, &Environment::default()).await.unwrap()
}
