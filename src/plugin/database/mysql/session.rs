//! A session with MySQL or MariaDB on any stream: log in, send a statement, read its answer. Knows no transactions.
//!
//! The packets and the ways to prove a password come from `mysql_common`. A whole driver is not used: those there are
//! connect by themselves and need a port on the workstation to be led here, and they know no `verify-ca`.

use std::io;

use mysql_common::auth::plugins::{AuthProc, ChallengeResponsePlugin as _, Context, Response};
use mysql_common::constants::CapabilityFlags as Can;
use mysql_common::io::ParseBuf;
use mysql_common::packets::{AuthPlugin, AuthSwitchRequest, Column, ErrPacket, HandshakePacket, HandshakeResponse, SslRequest};
use mysql_common::proto::{MyDeserialize as _, MySerialize};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio_rustls::TlsConnector;

use crate::cluster::relay::Relay;
use crate::database::APPLICATION;

/// Longest payload of one packet; a longer one goes on in the next.
const WHOLE: usize = 0xff_ff_ff;
/// Longest answer row that is taken, in bytes.
const LONGEST: usize = 64 << 20;
/// `utf8mb4_general_ci`, which all servers since 5.5 know.
const UTF8: u8 = 45;

const OK: u8 = 0x00;
const MORE: u8 = 0x01;
const QUERY: u8 = 0x03;
const LOCAL_FILE: u8 = 0xfb;
const NULL: u8 = 0xfb;
const EOF: u8 = 0xfe;
const ERROR: u8 = 0xff;

/// What goes wrong in a session.
#[derive(Debug)]
pub(super) enum Error {
    /// The server says no; the session goes on.
    Server {
        /// Its number for it.
        code: u16,
        /// SQLSTATE.
        state: String,
        /// Its words.
        message: String,
    },
    /// TLS is impossible, or does not prove the server.
    Tls(String),
    /// A password can't be proven in a way that we know, or that is safe.
    Login(String),
    /// The stream broke, or what comes makes no sense: the session is over.
    Broken(String),
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

type Result<T> = std::result::Result<T, Error>;

/// Who logs in.
pub(super) struct Login<'a> {
    pub(super) user: &'a str,
    pub(super) password: &'a str,
    pub(super) database: Option<&'a str>,
}

/// TLS for a session.
pub(super) struct Secure<'a> {
    pub(super) settings: ClientConfig,
    pub(super) host: &'a str,
    /// Without TLS there is to be no session.
    pub(super) required: bool,
}

/// The answer to a statement.
pub(super) enum Answer {
    /// It gives no rows.
    Done {
        /// Rows that it found to change.
        rows: u64,
        /// Warnings that it left.
        warnings: u16,
    },
    /// Its columns, and its rows with the server's text for each value.
    Rows(Vec<Column>, Vec<Vec<Option<Vec<u8>>>>),
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// An open session.
pub(super) struct Session {
    stream: BufReader<Box<dyn Stream>>,
    sequence: u8,
    /// How the server calls its version.
    pub(super) version: String,
}

impl Session {
    /// Greets, turns TLS on, and logs in.
    ///
    /// # Errors
    /// [`Error`]; the stream is of no more use.
    pub(super) async fn open(relay: Relay, login: &Login<'_>, secure: Option<Secure<'_>>) -> Result<Self> {
        let mut session = Self { stream: BufReader::new(Box::new(relay)), sequence: 0, version: String::new() };
        let greeting = session.packet().await?;
        let greeting = HandshakePacket::deserialize((), &mut ParseBuf(&greeting))?;
        session.version = greeting.server_version_str().into_owned();
        let mut can = greeting.capabilities()
            & (Can::CLIENT_PROTOCOL_41
                | Can::CLIENT_LONG_PASSWORD
                | Can::CLIENT_LONG_FLAG
                | Can::CLIENT_FOUND_ROWS
                | Can::CLIENT_SECURE_CONNECTION
                | Can::CLIENT_PLUGIN_AUTH
                | Can::CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA
                | Can::CLIENT_CONNECT_WITH_DB
                | Can::CLIENT_CONNECT_ATTRS
                | Can::CLIENT_TRANSACTIONS);
        let is_secure = match secure {
            Some(secure) if greeting.capabilities().contains(Can::CLIENT_SSL) => {
                can |= Can::CLIENT_SSL;
                session.send(&SslRequest::new(can, LONGEST as u32, UTF8)).await?;
                session.encrypt(secure).await?
            }
            Some(Secure { required: true, .. }) => return Err(Error::Tls("the server does not offer TLS".to_owned())),
            _ => false,
        };
        // A server may greet with a way that only it knows; it asks for another one when that does not do for this user.
        let plugin = greeting.auth_plugin().unwrap_or(AuthPlugin::MysqlNativePassword);
        let plugin = if plugin.init().is_ok() { plugin } else { AuthPlugin::MysqlNativePassword };
        let nonce = greeting.nonce();
        let mut proof = Proof::new(&plugin, login.password, is_secure, nonce.clone())?;
        let first = proof.step(&nonce)?.unwrap_or_default();
        let attributes = can
            .contains(Can::CLIENT_CONNECT_ATTRS)
            .then(|| [("program_name".to_owned(), APPLICATION.to_owned())].into_iter().collect());
        let database = login.database.map(str::as_bytes);
        let hello = HandshakeResponse::new(
            Some(first),
            (8, 0, 0),
            Some(login.user.as_bytes()),
            database,
            Some(plugin),
            can,
            attributes,
            LONGEST as u32,
        );
        session.send(&hello).await?;
        session.prove(proof, login.password, is_secure).await?;
        Ok(session)
    }

    async fn encrypt(&mut self, secure: Secure<'_>) -> Result<bool> {
        let name = ServerName::try_from(secure.host.to_owned());
        let name = name.map_err(|_| Error::Tls(format!("{} can't be the name in a certificate", secure.host)))?;
        let closed: Box<dyn Stream> = Box::new(tokio::io::empty());
        // The server says nothing between its greeting and TLS, so the buffer is empty.
        let plain = std::mem::replace(&mut self.stream, BufReader::new(closed)).into_inner();
        let connector = TlsConnector::from(std::sync::Arc::new(secure.settings));
        let encrypted = connector.connect(name, plain).await.map_err(|error| Error::Tls(error.to_string()))?;
        self.stream = BufReader::new(Box::new(encrypted));
        Ok(true)
    }

    async fn prove(&mut self, mut proof: Proof<'_>, password: &str, is_secure: bool) -> Result<()> {
        loop {
            let packet = self.packet().await?;
            let answer = match packet.first() {
                Some(&OK) => return Ok(()),
                Some(&EOF) => {
                    let switch = AuthSwitchRequest::deserialize((), &mut ParseBuf(&packet))
                        .map_err(|_| Error::Login("the server wants the password in a way of before 2005".to_owned()))?;
                    proof = Proof::new(&switch.auth_plugin(), password, is_secure, switch.plugin_data().to_vec())?;
                    proof.step(switch.plugin_data())?
                }
                Some(&MORE) => proof.step(&packet[1..])?,
                _ => return Err(Error::Broken("the server's answer to the login makes no sense".to_owned())),
            };
            if let Some(answer) = answer {
                self.write(&answer).await?;
            }
        }
    }

    /// Sends one statement and reads its whole answer; rows beyond `most` make it an error, once they are read.
    ///
    /// # Errors
    /// [`Error::Server`] when the statement fails.
    pub(super) async fn statement(&mut self, sql: &str, most: usize) -> Result<Answer> {
        self.sequence = 0;
        let mut packet = Vec::with_capacity(sql.len() + 1);
        packet.push(QUERY);
        packet.extend_from_slice(sql.as_bytes());
        self.write(&packet).await?;
        let head = self.packet().await?;
        let mut buffer = ParseBuf(&head);
        match head.first() {
            Some(&OK) => {
                let makes_sense = || Error::Broken("the server's answer makes no sense".to_owned());
                buffer.skip(1);
                let rows = buffer.checked_eat_lenenc_int().ok_or_else(makes_sense)?;
                buffer.checked_eat_lenenc_int().ok_or_else(makes_sense)?;
                let warnings = buffer.checked_eat(4).map_or(0, |tail| u16::from_le_bytes([tail[2], tail[3]]));
                return Ok(Answer::Done { rows, warnings });
            }
            Some(&LOCAL_FILE) | None => return Err(Error::Broken("the server asks for a file of this machine".to_owned())),
            Some(_) => {}
        }
        let count = buffer.checked_eat_lenenc_int().unwrap_or_default();
        let mut columns = Vec::new();
        for _ in 0..count {
            columns.push(Column::deserialize((), &mut ParseBuf(&self.packet().await?))?);
        }
        self.packet().await?; // The end of the columns.
        let (mut rows, mut surplus) = (Vec::new(), 0_u64);
        loop {
            let packet = self.packet().await?;
            if packet.first() == Some(&EOF) && packet.len() < 9 {
                break;
            }
            if rows.len() < most {
                rows.push(values(&packet, columns.len())?);
            } else {
                surplus += 1;
            }
        }
        if surplus > 0 {
            let message = format!("{} rows, more than {most}", rows.len() as u64 + surplus);
            return Err(Error::Server { code: 0, state: String::new(), message });
        }
        Ok(Answer::Rows(columns, rows))
    }

    async fn send(&mut self, message: &impl MySerialize) -> Result<()> {
        let mut packet = Vec::new();
        message.serialize(&mut packet);
        self.write(&packet).await
    }

    async fn write(&mut self, payload: &[u8]) -> Result<()> {
        let mut framed = Vec::with_capacity(payload.len() + 4);
        let mut rest = payload;
        loop {
            let (piece, behind) = rest.split_at(rest.len().min(WHOLE));
            // Three bytes of its length, as `WHOLE` fits into them.
            framed.extend_from_slice(&(piece.len() as u32).to_le_bytes()[..3]);
            framed.push(self.sequence);
            framed.extend_from_slice(piece);
            self.sequence = self.sequence.wrapping_add(1);
            rest = behind;
            if piece.len() < WHOLE {
                break;
            }
        }
        self.stream.write_all(&framed).await?;
        Ok(self.stream.flush().await?)
    }

    /// One whole packet; the server's errors come as such.
    async fn packet(&mut self) -> Result<Vec<u8>> {
        let mut payload = Vec::new();
        loop {
            let mut head = [0; 4];
            self.stream.read_exact(&mut head).await.map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => Error::Broken("the server closed the connection".to_owned()),
                _ => error.into(),
            })?;
            let length = usize::from(head[0]) | usize::from(head[1]) << 8 | usize::from(head[2]) << 16;
            self.sequence = head[3].wrapping_add(1);
            let from = payload.len();
            if from + length > LONGEST {
                return Err(Error::Broken(format!("an answer is longer than {} MiB", LONGEST >> 20)));
            }
            payload.resize(from + length, 0);
            self.stream.read_exact(&mut payload[from..]).await?;
            if length < WHOLE {
                break;
            }
        }
        if payload.first() != Some(&ERROR) {
            return Ok(payload);
        }
        match ErrPacket::deserialize(Can::CLIENT_PROTOCOL_41, &mut ParseBuf(&payload))? {
            ErrPacket::Error(error) => Err(Error::Server {
                code: error.error_code(),
                state: error.sql_state_ref().map(|state| state.as_str().into_owned()).unwrap_or_default(),
                message: error.message_str().into_owned(),
            }),
            ErrPacket::Progress(_) => Err(Error::Broken("the server's answer makes no sense".to_owned())),
        }
    }
}

fn values(packet: &[u8], count: usize) -> Result<Vec<Option<Vec<u8>>>> {
    let mut buffer = ParseBuf(packet);
    let mut value = || {
        if buffer.0.first() == Some(&NULL) {
            buffer.skip(1);
            return Ok(None);
        }
        let text = buffer.checked_eat_lenenc_str().ok_or_else(|| Error::Broken("a row is cut off".to_owned()))?;
        Ok(Some(text.to_vec()))
    };
    (0..count).map(|_| value()).collect()
}

/// A password being proven.
struct Proof<'a> {
    way: AuthProc,
    known: Known<'a>,
}

struct Known<'a> {
    password: &'a str,
    is_secure: bool,
    nonce: Vec<u8>,
}

impl Context for &Known<'_> {
    fn pass(&self) -> &[u8] {
        self.password.as_bytes()
    }

    fn is_ipc_transport(&self) -> bool {
        // A socket in the pod is one, the way to the pod is not.
        false
    }

    fn is_tls_transport(&self) -> bool {
        self.is_secure
    }

    fn scramble(&self) -> &[u8] {
        &self.nonce
    }

    fn server_key_pem(&self) -> Option<&[u8]> {
        None
    }
}

impl<'a> Proof<'a> {
    fn new(plugin: &AuthPlugin<'_>, password: &'a str, is_secure: bool, nonce: Vec<u8>) -> Result<Self> {
        let name = String::from_utf8_lossy(plugin.as_bytes()).into_owned();
        if *plugin == AuthPlugin::MysqlClearPassword && !is_secure {
            return Err(Error::Login("the server wants the password in clear, and there is no TLS".to_owned()));
        }
        let way = plugin.init().map_err(|_| Error::Login(format!("the server wants {name}, which is not supported")))?;
        Ok(Self { way, known: Known { password, is_secure, nonce } })
    }

    fn step(&mut self, challenge: &[u8]) -> Result<Option<Vec<u8>>> {
        match self.way.run(&self.known, challenge) {
            Ok(Response::Next { packet } | Response::Last { packet }) => Ok(packet),
            Err(error) => Err(Error::Login(format!("the password can't be proven as the server wants it: {error}"))),
        }
    }
}
