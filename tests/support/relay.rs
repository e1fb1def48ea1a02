//! A relay between the plugin and the API server whose connections a test can break. TLS passes through unread.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::Namespace;

/// What happens to the connections that are open. New ones always pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Harm {
    /// Both sides are told at once (RST).
    Reset,
    /// Nothing passes any more, and nobody is told.
    Silence,
}

/// A relay that runs until it is dropped.
pub(crate) struct Relay {
    dir: tempfile::TempDir,
    harm: watch::Sender<Option<Harm>>,
    open: Arc<AtomicUsize>,
}

impl Relay {
    /// Listens on a port of its own, in front of the API server of the namespace.
    pub(crate) async fn new(space: &Namespace) -> Self {
        let admin = space.kubectl(&["config", "view", "--raw", "--minify", "--flatten", "-o", "json"]);
        let mut config: Value = serde_json::from_str(&admin).expect("kubectl writes JSON");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let port = listener.local_addr().expect("it listens").port();
        let cluster = &mut config["clusters"][0]["cluster"];
        let server = cluster["server"].as_str().expect("a cluster has a server").trim_start_matches("https://").to_owned();
        let (host, _) = server.rsplit_once(':').expect("this server's address has a port");
        cluster["tls-server-name"] = host.into();
        cluster["server"] = format!("https://127.0.0.1:{port}").into();
        let dir = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(dir.path().join("config"), config.to_string()).expect("a temporary folder takes a file");
        let relay = Self { dir, harm: watch::Sender::new(None), open: Arc::default() };
        tokio::spawn(accept(listener, server, relay.harm.subscribe(), Arc::clone(&relay.open)));
        relay
    }

    /// The kubeconfig of the cluster's admin, through here.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("config")
    }

    /// Harms every open connection; how many there were.
    pub(crate) fn harm(&self, harm: Harm) -> usize {
        let open = self.open.load(Ordering::SeqCst);
        self.harm.send_replace(Some(harm));
        open
    }
}

async fn accept(listener: TcpListener, server: String, harm: watch::Receiver<Option<Harm>>, open: Arc<AtomicUsize>) {
    while let Ok((near, _)) = listener.accept().await {
        let (mut harm, open, server) = (harm.clone(), Arc::clone(&open), server.clone());
        harm.mark_unchanged();
        tokio::spawn(async move {
            let Ok(far) = TcpStream::connect(server).await else { return };
            open.fetch_add(1, Ordering::SeqCst);
            let ended = pass(near, far, &mut harm).await;
            open.fetch_sub(1, Ordering::SeqCst);
            if let Some(silenced) = ended {
                // Held until the relay is gone.
                while harm.changed().await.is_ok() {}
                drop(silenced);
            }
        });
    }
}

/// Passes bytes on until one side ends or harm is done; the two ends if they are to stay open.
async fn pass(
    mut near: TcpStream,
    mut far: TcpStream,
    harm: &mut watch::Receiver<Option<Harm>>,
) -> Option<(TcpStream, TcpStream)> {
    tokio::select! {
        _ = copy_bidirectional(&mut near, &mut far) => return None,
        changed = harm.changed() => changed.ok()?,
    }
    if *harm.borrow() == Some(Harm::Silence) {
        return Some((near, far));
    }
    for end in [&near, &far] {
        // A socket that is closed without lingering resets its connection.
        let _ = end.set_zero_linger();
    }
    None
}

impl Namespace {
    /// `kubectl dbmig …` through a relay, not started yet.
    pub(crate) fn dbmig_through(&self, kubeconfig: &Path, words: &[&str]) -> std::process::Command {
        let mut command = self.plugin(words);
        command.env("KUBECONFIG", kubeconfig);
        command
    }
}
