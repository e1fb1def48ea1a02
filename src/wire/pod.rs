//! What the agent tells of the pod that it is in: its network and the environment of its programs.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// The first line of `dbmig-agent relay` is [`crate::Message::Done`] with this, or [`crate::Message::Failed`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connected {
    /// The address that answered, as the pod resolved it: `10.0.3.7:5432`, or the path of a socket.
    pub to: String,
    /// The pod's own address and port on this connection; `None` for a socket.
    pub from: Option<SocketAddr>,
    /// Where the relay's frames can go instead of through its stdin and stdout; `None` where nothing can listen.
    pub listener: Option<Listener>,
}

/// A port of the pod's own 127.0.0.1, for one connection: what forwards ports is faster than an exec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// The port.
    pub port: u16,
    /// What has to be said first, for every container of the pod, and of the node where the pod shares its network, can connect.
    pub token: String,
}

/// Read the environment of the container that the agent is in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// Only variables whose name contains one of these, in upper case: nothing else leaves the pod.
    pub about: Vec<String>,
}

/// The answer to [`Environment`]. Its values may be secrets.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variables {
    /// What a process of the container was started with: what the image and the pod's spec say.
    pub container: BTreeMap<String, String>,
    /// What its first process runs with, where that can be read: an entrypoint may have set more.
    pub first_process: Option<BTreeMap<String, String>>,
}

impl std::fmt::Debug for Variables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = |all: &BTreeMap<String, String>| all.keys().cloned().collect::<Vec<_>>();
        f.debug_struct("Variables")
            .field("container", &names(&self.container))
            .field("first_process", &self.first_process.as_ref().map(names))
            .finish()
    }
}
