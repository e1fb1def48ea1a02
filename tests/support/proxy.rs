//! A bad network: a TCP proxy in front of the API server whose connections can be cut, stalled, silenced and refused. TLS passes through.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Namespace;

/// What is done to the connections that are open. New ones pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Harm {
    /// Both sides are told at once (RST), in the middle of whatever is carried.
    Reset,
    /// Nothing passes any more, and nobody is told.
    Silence,
}

/// How the network is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weather {
    /// Bytes pass.
    Fair,
    /// Connections stay, and nothing passes.
    Still,
    /// New connections are refused, and nothing passes.
    Away,
}

/// The proxy. Dropping it ends it.
pub(crate) struct Proxy {
    dir: tempfile::TempDir,
    inside: Arc<Inside>,
    accepting: JoinHandle<()>,
}

struct Inside {
    server: String,
    weather: watch::Sender<Weather>,
    /// A connection that sees it change is harmed so.
    harm: watch::Sender<Harm>,
    open: AtomicUsize,
    harmed: AtomicUsize,
}

impl Proxy {
    /// Listens on this machine, in front of the API server of the namespace.
    pub(crate) async fn new(space: &Namespace) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it listens");
        let admin = space.kubectl(&["config", "view", "--raw", "--minify", "--flatten", "-o", "json"]);
        let mut config: Value = serde_json::from_str(&admin).expect("kubectl writes JSON");
        let server = point_at(&mut config, address);
        let dir = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(dir.path().join("config"), config.to_string()).expect("a temporary folder takes a file");
        let (weather, harm) = (watch::Sender::new(Weather::Fair), watch::Sender::new(Harm::Reset));
        let inside = Arc::new(Inside { server, weather, harm, open: AtomicUsize::default(), harmed: AtomicUsize::default() });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&inside)));
        Self { dir, inside, accepting }
    }

    /// The kubeconfig of the cluster's admin that goes through it.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("config")
    }

    /// Sets how the network is from now on.
    pub(crate) fn weather(&self, weather: Weather) {
        self.inside.weather.send_replace(weather);
    }

    /// Harms every open connection; how many there were.
    pub(crate) fn harm(&self, harm: Harm) -> usize {
        let open = self.inside.open.load(Ordering::SeqCst);
        self.inside.harm.send_replace(harm);
        open
    }

    /// Connections that were harmed so far.
    pub(crate) fn harmed(&self) -> usize {
        self.inside.harmed.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.harm(Harm::Reset);
    }
}

/// Puts the proxy's address in place of the server's, whose name stays the one in its certificate; host and port of the server.
fn point_at(config: &mut Value, proxy: SocketAddr) -> String {
    let cluster = &mut config["clusters"][0]["cluster"];
    let url = cluster["server"].as_str().expect("a kubeconfig has a server").to_owned();
    let rest = url.strip_prefix("https://").expect("the server has TLS").trim_end_matches('/');
    let (host, port) = rest.rsplit_once(':').unwrap_or((rest, "443"));
    cluster["tls-server-name"] = host.into();
    cluster["server"] = format!("https://{proxy}").into();
    format!("{host}:{port}")
}

async fn accept(listener: TcpListener, inside: Arc<Inside>) {
    while let Ok((client, _)) = listener.accept().await {
        if *inside.weather.borrow() == Weather::Away {
            reset(&client);
            continue;
        }
        tokio::spawn(carry(client, Arc::clone(&inside)));
    }
}

/// RST in place of FIN: whoever reads gets an error, not an end.
fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}

async fn carry(mut client: TcpStream, inside: Arc<Inside>) {
    let mut harm = inside.harm.subscribe();
    let Ok(mut server) = TcpStream::connect(&inside.server).await else { return reset(&client) };
    inside.open.fetch_add(1, Ordering::SeqCst);
    let was_harmed = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        tokio::select! {
            () = pump(from_client, to_server, &inside) => false,
            () = pump(from_server, to_client, &inside) => false,
            _ = harm.changed() => true,
        }
    };
    inside.open.fetch_sub(1, Ordering::SeqCst);
    if !was_harmed {
        return;
    }
    inside.harmed.fetch_add(1, Ordering::SeqCst);
    // Who is silenced stays so until everybody is told.
    let _ = harm.wait_for(|harm| *harm == Harm::Reset).await;
    reset(&client);
    reset(&server);
}

async fn pump(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, inside: &Inside) {
    let mut weather = inside.weather.subscribe();
    let mut buffer = vec![0; 16 << 10];
    loop {
        if weather.wait_for(|weather| *weather == Weather::Fair).await.is_err() {
            return;
        }
        let count = match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(count) => count,
        };
        if weather.wait_for(|weather| *weather == Weather::Fair).await.is_err() || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
