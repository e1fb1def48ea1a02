//! A port of the pod's own for one connection, whose other end has to know a secret. Must not know what is said on it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use dbmig_wire::relay::ADMITTED;
use dbmig_wire::{Listener, hex};

/// Random bytes of a token.
const TOKEN_BYTES: usize = 32;
/// Time for who has connected to say the token: the next one waits meanwhile.
const PATIENCE: Duration = Duration::from_secs(2);

/// Listens, and admits the first one who says the token. What comes out of it is that connection; it listens for as long as the process
/// lives, or until it has admitted one.
pub(super) fn listen() -> io::Result<(Listener, Receiver<TcpStream>)> {
    let mut random = [0; TOKEN_BYTES];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    let token = hex(&random);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let told = Listener { port: listener.local_addr()?.port(), token: token.clone() };
    let (admitted_tx, admitted_rx) = channel();
    thread::spawn(move || {
        // Where nobody wants it any more, the process is on its way out.
        let admitted = listener.incoming().flatten().find_map(|visitor| admit(visitor, &token).ok());
        admitted.map(|visitor| admitted_tx.send(visitor))
    });
    Ok((told, admitted_rx))
}

fn admit(mut visitor: TcpStream, token: &str) -> io::Result<TcpStream> {
    visitor.set_read_timeout(Some(PATIENCE))?;
    let mut said = vec![0; token.len()];
    visitor.read_exact(&mut said)?;
    if said != token.as_bytes() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    visitor.set_read_timeout(None)?;
    // Questions and answers are small: each goes at once.
    visitor.set_nodelay(true)?;
    visitor.write_all(&[ADMITTED])?;
    Ok(visitor)
}
