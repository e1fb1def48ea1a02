//! How fast bytes go to servers in a pod, by way of our relay and of ports of this machine in turns: `relay NAMESPACE POD FILE ECHO
//! SOURCE SINK ECHO SOURCE SINK`, the pod's ports and then this machine's. One echoes, one sends what FILE has, one takes as much and
//! answers. Prints two JSON objects in one list.

use std::error::Error;
use std::io::Write as _;
use std::time::{Duration, Instant};

use dbmig::cluster::agent::Agent;
use dbmig::cluster::relay::{Endpoint, Relay};
use dbmig::cluster::{ConnectionFlags, connect};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Bytes that are sent there and back, one after the other.
const TRIPS: usize = 400;
/// Transfers each way; the middle one counts.
const TRANSFERS: usize = 9;
const BLOCK: usize = 64 << 10;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// A connection, whichever way it goes.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

enum Way {
    Relay(Box<Agent>),
    Tcp,
}

impl Way {
    async fn open(&self, port: u16) -> Outcome<Box<dyn Stream>> {
        match self {
            Self::Relay(agent) => {
                let to = Endpoint::Tcp("127.0.0.1".to_owned(), port);
                Ok(Box::new(Relay::open(agent, &to).await.map_err(|error| error.into_failure("connect"))?))
            }
            Self::Tcp => {
                let stream = TcpStream::connect(("127.0.0.1", port)).await?;
                stream.set_nodelay(true)?;
                Ok(Box::new(stream))
            }
        }
    }

    /// The median time of one byte there and back.
    async fn trip(&self, port: u16) -> Outcome<Duration> {
        let mut stream = self.open(port).await?;
        let mut times = Vec::new();
        for _ in 0..TRIPS {
            let begin = Instant::now();
            stream.write_all(b"x").await?;
            stream.flush().await?;
            stream.read_u8().await?;
            times.push(begin.elapsed());
        }
        times.sort_unstable();
        Ok(times[TRIPS / 2])
    }

    async fn down(&self, port: u16, content: &[u8]) -> Outcome<Duration> {
        let mut stream = self.open(port).await?;
        let mut got = vec![0; content.len()];
        let begin = Instant::now();
        for block in got.chunks_mut(BLOCK) {
            stream.read_exact(block).await?;
        }
        let time = begin.elapsed();
        if got == content { Ok(time) } else { Err("other bytes came than were sent".into()) }
    }

    async fn up(&self, port: u16, content: &[u8]) -> Outcome<Duration> {
        let mut stream = self.open(port).await?;
        let begin = Instant::now();
        for block in content.chunks(BLOCK) {
            stream.write_all(block).await?;
        }
        stream.flush().await?;
        // The answer says that all has come.
        stream.read_u8().await?;
        Ok(begin.elapsed())
    }
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [namespace, pod, file, ports @ ..] = words.as_slice() else { return Err("which pod, and which file?".into()) };
    let cluster = connect(&ConnectionFlags::default()).await?;
    let agent = Agent::install(&cluster, namespace, pod, pod, &["/tmp".to_owned()], "amd64").await?;
    let ports = ports.iter().map(|port| port.parse()).collect::<Result<Vec<u16>, _>>()?;
    let (&[of_pod, of_machine], []) = ports.as_chunks() else { return Err("it takes three ports of each way".into()) };
    let ways = [(Way::Relay(Box::new(agent)), of_pod), (Way::Tcp, of_machine)];
    let content = std::fs::read(file)?;
    let mut times = [[vec![], vec![], vec![]], [vec![], vec![], vec![]]];
    for _ in 0..TRANSFERS {
        for ((way, [echo, source, sink]), [trips, downs, ups]) in ways.iter().zip(&mut times) {
            downs.push(way.down(*source, &content).await?);
            ups.push(way.up(*sink, &content).await?);
            trips.push(way.trip(*echo).await?);
        }
    }
    let mib = f64::from(u32::try_from(content.len() >> 20)?);
    let told = times.map(|times| {
        let [trip, down, up] = times.map(|mut times| {
            times.sort_unstable();
            times[TRANSFERS / 2].as_secs_f64()
        });
        serde_json::json!({"trip": trip * 1e3, "down": mib / down, "up": mib / up})
    });
    writeln!(std::io::stdout(), "{}", serde_json::json!(told))?;
    Ok(())
}
