//! A server that says what its script says: plain HTTP answers, or a WebSocket. Knows no Kubernetes.

use std::pin::Pin;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

/// The first byte of a TLS connection.
const TLS_HANDSHAKE: u8 = 0x16;

/// A request as it came over the wire.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Every value of a header that comes more than once.
    pub(crate) fn headers(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect()
    }
}

pub(crate) type Socket = WebSocketStream<TcpStream>;
type Conversation<S> = Box<dyn Fn(S) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// How the server answers one request.
pub(crate) enum Answer {
    /// An HTTP answer: status, further header lines, body.
    Http(u16, &'static str, String),
    /// Switches to WebSocket with this subprotocol and goes on as the function says.
    Talk(&'static str, Conversation<Socket>),
    /// Switches to this protocol and goes on as the function says.
    Switch(&'static str, Conversation<TcpStream>),
    /// Closes the connection without a word.
    HangUp,
}

impl Answer {
    pub(crate) fn json(value: &serde_json::Value) -> Self {
        Self::Http(200, "", value.to_string())
    }

    pub(crate) fn status(code: u16, reason: &str, message: &str) -> Self {
        let status = serde_json::json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "reason": reason, "message": message, "code": code});
        Self::Http(code, "", status.to_string())
    }

    pub(crate) fn talk<F, R>(protocol: &'static str, conversation: F) -> Self
    where
        F: Fn(Socket) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        Self::Talk(protocol, Box::new(move |socket| Box::pin(conversation(socket))))
    }

    pub(crate) fn switch<F, R>(protocol: &'static str, conversation: F) -> Self
    where
        F: Fn(TcpStream) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        Self::Switch(protocol, Box::new(move |socket| Box::pin(conversation(socket))))
    }
}

/// A running scripted server. Ends when dropped.
pub(crate) struct Server {
    port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Answers each request as `script` says; its first argument counts requests from 0.
    pub(crate) async fn start(script: impl Fn(usize, &Seen) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (script, log) = (Arc::new(script), Arc::clone(&seen));
        let task = tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let (script, log) = (Arc::clone(&script), Arc::clone(&log));
                tokio::spawn(async move {
                    let answer = |request: Seen| {
                        let mut log = log.lock().unwrap();
                        let answer = script(log.len(), &request);
                        log.push(request);
                        answer
                    };
                    // A client that goes away in the middle ends its own connection only.
                    let _ = serve(socket, answer).await;
                });
            }
        });
        Self { port, seen, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// All requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(mut socket: TcpStream, answer: impl Fn(Seen) -> Answer) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let Some(request) = read_request(&mut socket, &mut buffer).await? else { return Ok(()) };
        let key = request.header("sec-websocket-key").unwrap_or_default().to_owned();
        match answer(request) {
            Answer::HangUp => return Ok(()),
            Answer::Http(code, headers, body) => {
                let length = body.len();
                let text = format!(
                    "HTTP/1.1 {code} X\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
                );
                socket.write_all(text.as_bytes()).await?;
            }
            Answer::Switch(protocol, conversation) => {
                let text = format!("HTTP/1.1 101 X\r\nupgrade: {protocol}\r\nconnection: Upgrade\r\n\r\n");
                socket.write_all(text.as_bytes()).await?;
                conversation(socket).await;
                return Ok(());
            }
            Answer::Talk(protocol, conversation) => {
                let accept = derive_accept_key(key.as_bytes());
                let text = format!(
                    "HTTP/1.1 101 X\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: {accept}\r\nsec-websocket-protocol: {protocol}\r\n\r\n"
                );
                socket.write_all(text.as_bytes()).await?;
                conversation(WebSocketStream::from_raw_socket(socket, Role::Server, None).await).await;
                return Ok(());
            }
        }
    }
}

async fn read_request(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<Option<Seen>> {
    loop {
        if buffer.first() == Some(&TLS_HANDSHAKE) {
            // As real servers do when they are spoken to in TLS and know none.
            socket.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTPS request to an HTTP server.\n").await?;
            return Ok(None);
        }
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
            let mut lines = head.split("\r\n");
            let mut first = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
            let headers: Vec<(String, String)> = lines
                .filter_map(|line| line.split_once(':'))
                .map(|(key, value)| (key.to_owned(), value.trim().to_owned()))
                .collect();
            let mut seen = Seen {
                method: first.next().unwrap_or_default(),
                path: first.next().unwrap_or_default(),
                headers,
                body: String::new(),
            };
            let length = seen.header("content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
            while buffer.len() < end + 4 + length {
                if socket.read_buf(buffer).await? == 0 {
                    return Ok(None);
                }
            }
            seen.body = String::from_utf8_lossy(&buffer[end + 4..end + 4 + length]).into_owned();
            buffer.drain(..end + 4 + length);
            return Ok(Some(seen));
        }
        if socket.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}
