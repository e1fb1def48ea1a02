//! What a kubelet and a runtime do where ports are forwarded, in SPDY: the ports are this machine's own.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use flate2::{Decompress, FlushDecompress};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::server::Answer;

/// How a connection to a port ends before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The server hangs up.
    Connection,
    /// It resets the stream.
    Stream,
    /// It says what is wrong.
    Trouble,
    /// It ends the stream as if all were well, and the port's side with it.
    End,
}

/// The ports of this machine.
#[derive(Clone)]
pub(crate) struct Ports {
    carried: Arc<AtomicUsize>,
    cuts: watch::Sender<Option<Cut>>,
}

impl Default for Ports {
    fn default() -> Self {
        Self { carried: Arc::default(), cuts: watch::Sender::new(None) }
    }
}

impl Ports {
    /// Bytes that have come through both ways.
    pub(crate) fn carried(&self) -> usize {
        self.carried.load(Ordering::Relaxed)
    }

    /// Ends what is open like this.
    pub(crate) fn cut(&self, cut: Cut) {
        self.cuts.send_replace(Some(cut));
    }

    /// Forwards them.
    pub(crate) fn open(self) -> impl Fn() -> Answer + Send + Sync + 'static {
        move || {
            let ports = self.clone();
            Answer::switch("SPDY/3.1", move |socket| ports.clone().carry(socket))
        }
    }

    /// Says this about each of them.
    pub(crate) fn saying(self, trouble: &'static [u8]) -> impl Fn() -> Answer + Send + Sync + 'static {
        move || {
            Answer::switch("SPDY/3.1", move |mut socket| async move {
                read_port(&mut socket).await.unwrap();
                let _ = socket.write_all(&[data(1, 0, trouble), data(1, 1, b""), data(3, 1, b"")].concat()).await;
                while socket.read(&mut [0; 100]).await.is_ok_and(|count| count > 0) {}
            })
        }
    }

    /// Takes what is said and answers nothing.
    pub(crate) fn silent(self) -> impl Fn() -> Answer + Send + Sync + 'static {
        move || {
            Answer::switch("SPDY/3.1", move |mut socket| async move {
                while socket.read(&mut [0; 100]).await.is_ok_and(|count| count > 0) {}
            })
        }
    }

    async fn carry(self, mut socket: TcpStream) {
        let port = read_port(&mut socket).await.unwrap();
        let served = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let (mut from, mut to) = served.into_split();
        let (mut frames, mut answers) = socket.into_split();
        // Settings and a ping, as servers have them.
        let settings = [0x80, 3, 0, 4, 0, 0, 0, 4, 0, 0, 0, 0];
        answers.write_all(&[settings.as_slice(), &ping(2)].concat()).await.unwrap();
        let mut cuts = self.cuts.subscribe();
        cuts.mark_unchanged();
        let sent = Arc::clone(&self.carried);
        let questions = tokio::spawn(async move {
            while let Ok((control, content)) = read_frame(&mut frames).await {
                sent.fetch_add(content.len(), Ordering::Relaxed);
                if control == 3 && to.write_all(&content).await.is_err() {
                    break;
                }
            }
        });
        let mut piece = vec![0; 32 << 10];
        loop {
            let last = tokio::select! {
                count = from.read(&mut piece) => match count {
                    Ok(count) if count > 0 => {
                        self.carried.fetch_add(count, Ordering::Relaxed);
                        if answers.write_all(&data(3, 0, &piece[..count])).await.is_err() {
                            break;
                        }
                        continue;
                    }
                    _ => data(3, 1, b""),
                },
                _ = cuts.changed() => match cuts.borrow().unwrap() {
                    Cut::Connection => Vec::new(),
                    Cut::Stream => [0x80, 3, 0, 3, 0, 0, 0, 8, 0, 0, 0, 3, 0, 0, 0, 5].to_vec(),
                    Cut::Trouble => data(1, 0, b"lost connection to pod"),
                    Cut::End => data(3, 1, b""),
                },
            };
            let _ = answers.write_all(&last).await;
            break;
        }
        questions.abort();
    }
}

fn ping(number: u8) -> [u8; 12] {
    [0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, number]
}

fn data(stream: u8, flags: u8, content: &[u8]) -> Vec<u8> {
    let [.., a, b, c] = content.len().to_be_bytes();
    [&[0, 0, 0, stream, flags, a, b, c], content].concat()
}

/// A frame's first four bytes as a number, and what is in it.
async fn read_frame(from: &mut (impl tokio::io::AsyncRead + Unpin)) -> io::Result<(u32, Vec<u8>)> {
    let (control, flags_and_length) = (from.read_u32().await?, from.read_u32().await?);
    let mut content = vec![0; flags_and_length as usize & 0xff_ffff];
    from.read_exact(&mut content).await?;
    Ok((control, content))
}

/// The port that both first frames ask for. Headers are unpacked one after the other, as Go's reader does.
async fn read_port(socket: &mut TcpStream) -> io::Result<u16> {
    let (mut unpack, mut found) = (Decompress::new(true), Vec::new());
    while found.len() < 2 {
        let (control, content) = read_frame(socket).await?;
        if control != 0x8003_0001 {
            continue;
        }
        let mut block = Vec::with_capacity(1000);
        unpack.decompress_vec(&content[10..], &mut block, FlushDecompress::Sync).unwrap();
        let text = String::from_utf8_lossy(&block).into_owned();
        let (kind, port) = (text.contains("streamtype\0\0\0\u{4}data"), text.split("port\0\0\0").nth(1).unwrap());
        assert_eq!(kind, content[3] == 3, "{text:?}");
        found.push(port[1..].split('\0').next().unwrap().parse::<u16>().unwrap());
    }
    assert_eq!(found[0], found[1]);
    Ok(found[0])
}
