//! As much of SPDY/3.1 as ports are forwarded with. No I/O.
//!
//! Streams and their headers as in apimachinery's `httpstream` and kubelet's `portforward`, frames as in draft-mbelshe-httpbis-spdy-00.
//! Kubernetes knows no windows: its side stops reading instead. Headers that come say nothing that matters, so that they are not
//! unpacked, and those that go are packed without the draft's dictionary, which zlib leaves to who packs.

use std::io;

use bytes::{Buf as _, Bytes, BytesMut};
use flate2::{Compress, Compression, FlushCompress, Status};
use tokio_util::codec::Decoder;

/// What goes wrong with the port is told there.
pub(super) const TROUBLE: u32 = 1;
/// The connection to the port.
pub(super) const DATA: u32 = 3;

const HEADER_BYTES: usize = 8;
/// Set in the first byte of frames that are no data.
const CONTROL: u8 = 0x80;
const VERSION: u8 = 3;
const SYN_STREAM: u16 = 1;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
/// Nothing follows on this stream.
const FIN: u8 = 1;
/// What stands before the headers in a frame that opens a stream: its number, the one it belongs to, priority and slot.
const SYN_BYTES: usize = 10;

/// A frame that came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    Data {
        stream: u32,
        content: Bytes,
        last: bool,
    },
    Reset {
        stream: u32,
    },
    Ping(u32),
    /// Whatever else the other side says of itself.
    Other,
}

/// Takes frames apart.
pub(super) struct Frames;

impl Decoder for Frames {
    type Item = Frame;
    type Error = io::Error;

    fn decode(&mut self, came: &mut BytesMut) -> io::Result<Option<Frame>> {
        let Some(&[first, second, third, fourth, flags, a, b, c]) = came.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        if came.len() < HEADER_BYTES + length {
            came.reserve(HEADER_BYTES + length - came.len());
            return Ok(None);
        }
        came.advance(HEADER_BYTES);
        let mut content = came.split_to(length).freeze();
        if first & CONTROL == 0 {
            let stream = u32::from_be_bytes([first, second, third, fourth]);
            return Ok(Some(Frame::Data { stream, content, last: flags & FIN != 0 }));
        }
        let mut number = || content.try_get_u32().map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "a frame is too short"));
        Ok(Some(match u16::from_be_bytes([third, fourth]) {
            RST_STREAM => Frame::Reset { stream: number()? },
            PING => Frame::Ping(number()?),
            _ => Frame::Other,
        }))
    }
}

/// Opens both streams for a port. The first frames of a connection, as all headers of one are packed together.
pub(super) fn open(port: u16) -> io::Result<Bytes> {
    let mut pack = Compress::new(Compression::fast(), true);
    let mut frames = Vec::new();
    for (stream, kind, flags) in [(TROUBLE, "error", FIN), (DATA, "data", 0)] {
        let headers = packed(&mut pack, &headers(&[("streamtype", kind), ("port", &port.to_string()), ("requestid", "0")]))?;
        frames.extend_from_slice(&control(SYN_STREAM, flags, SYN_BYTES + headers.len()));
        frames.extend_from_slice(&stream.to_be_bytes());
        frames.extend_from_slice(&[0; SYN_BYTES - size_of::<u32>()]);
        frames.extend_from_slice(&headers);
    }
    Ok(frames.into())
}

/// What `fill` appends, about so many bytes, for the port.
pub(super) fn data(size: usize, fill: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut frame = Vec::with_capacity(HEADER_BYTES + size);
    frame.extend_from_slice(&DATA.to_be_bytes());
    frame.extend_from_slice(&[0; size_of::<u32>()]);
    fill(&mut frame);
    let length = length(frame.len() - HEADER_BYTES);
    frame[HEADER_BYTES - length.len()..HEADER_BYTES].copy_from_slice(&length);
    frame.into()
}

/// A sign of life that the other side repeats. The numbers of ours are odd.
pub(super) fn ping(number: u32) -> Bytes {
    [control(PING, 0, size_of::<u32>()).as_slice(), &number.to_be_bytes()].concat().into()
}

fn control(kind: u16, flags: u8, length_of: usize) -> [u8; HEADER_BYTES] {
    let ([k0, k1], [a, b, c]) = (kind.to_be_bytes(), length(length_of));
    [CONTROL, VERSION, k0, k1, flags, a, b, c]
}

/// Three bytes: what is sent is far below 16 MiB.
fn length(bytes: usize) -> [u8; 3] {
    let [.., a, b, c] = bytes.to_be_bytes();
    [a, b, c]
}

fn headers(pairs: &[(&str, &str)]) -> Vec<u8> {
    // Lengths of names and values that are short.
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes();
    let mut block = number(pairs.len()).to_vec();
    for text in pairs.iter().flat_map(|(name, value)| [name, value]) {
        block.extend_from_slice(&number(text.len()));
        block.extend_from_slice(text.as_bytes());
    }
    block
}

/// Packed so that it can be unpacked before more comes.
fn packed(pack: &mut Compress, block: &[u8]) -> io::Result<Vec<u8>> {
    // A block of no more than a hundred bytes, and what zlib puts around it.
    let mut packed = Vec::with_capacity(block.len() + 64);
    match pack.compress_vec(block, &mut packed, FlushCompress::Sync) {
        Ok(Status::Ok) => Ok(packed),
        other => Err(io::Error::other(format!("zlib: {other:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use flate2::{Decompress, FlushDecompress};

    use super::*;

    /// What comes out of bytes that come in pieces of this size.
    fn frames(bytes: &[u8], size: usize) -> io::Result<Vec<Frame>> {
        let (mut came, mut frames) = (BytesMut::new(), Vec::new());
        for piece in bytes.chunks(size) {
            came.extend_from_slice(piece);
            while let Some(frame) = Frames.decode(&mut came)? {
                frames.push(frame);
            }
        }
        assert!(came.is_empty());
        Ok(frames)
    }

    #[test]
    fn frames_come_out_in_whatever_pieces() {
        let settings = [0x80, 3, 0, 4, 0, 0, 0, 4, 0, 0, 0, 0].as_slice();
        let reset = [0x80, 3, 0, 3, 0, 0, 0, 8, 0, 0, 0, 3, 0, 0, 0, 5].as_slice();
        let end = [0, 0, 0, 3, 1, 0, 0, 0].as_slice();
        let said = data(9, |frame| frame.extend_from_slice(b"SELECT 1;"));
        let all = [settings, &said, &ping(7), reset, end].concat();
        let content = |content: &'static [u8], last| Frame::Data { stream: DATA, content: content.into(), last };
        for size in [1, 3, 8, 1000] {
            let expected =
                [Frame::Other, content(b"SELECT 1;", false), Frame::Ping(7), Frame::Reset { stream: DATA }, content(b"", true)];
            assert_eq!(frames(&all, size).unwrap(), expected, "{size}");
        }
        let short = [0x80, 3, 0, 6, 0, 0, 0, 2, 0, 0];
        assert_eq!(frames(&short, 100).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    /// Each stream's headers as who reads them one after the other sees them, without the draft's dictionary.
    #[test]
    fn the_streams_of_a_port_are_opened_by_name() {
        let mut bytes: &[u8] = &open(5432).unwrap();
        let mut unpack = Decompress::new(true);
        for (stream, kind, flags) in [(1_u8, "error", 1), (3, "data", 0)] {
            assert_eq!(bytes[..5], [0x80, 3, 0, 1, flags]);
            let length = usize::from(bytes[6]) * 256 + usize::from(bytes[7]);
            let (frame, rest) = bytes[8..].split_at(length);
            assert_eq!(frame[..10], [0, 0, 0, stream, 0, 0, 0, 0, 0, 0]);
            let mut block = Vec::with_capacity(1000);
            unpack.decompress_vec(&frame[10..], &mut block, FlushDecompress::Sync).unwrap();
            let expected = headers(&[("streamtype", kind), ("port", "5432"), ("requestid", "0")]);
            assert_eq!(block, expected);
            assert!(expected.starts_with(b"\0\0\0\x03\0\0\0\x0astreamtype\0\0\0"));
            bytes = rest;
        }
        assert!(bytes.is_empty());
    }
}
