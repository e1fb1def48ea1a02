//! Bytes of a log stream to lines with their time stamps. Pure; knows nothing of containers.

use bytes::{Bytes, BytesMut};
use jiff::Timestamp;

/// Longest line that is held in memory, in bytes. A longer one comes in pieces.
const LONGEST: usize = 4 << 20;

/// Where container runtimes cut a line into pieces, each of which the kubelet gives a time stamp of its own:
/// conmon at 8 KiB, containerd (`max_container_log_line_size`) and Docker at 16 KiB.
const CUTS: [usize; 2] = [8 << 10, 16 << 10];

/// A line as the container wrote it, without its line feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When the runtime saw it, as it came: RFC 3339 with nanoseconds. Empty if the server gave none.
    pub stamp: Bytes,
    /// What was written; any bytes.
    pub text: Bytes,
}

impl Line {
    /// Reads a line that was asked for with `timestamps=true`.
    #[must_use]
    pub fn parse(raw: Bytes) -> Self {
        let Some(space) = stamp_length(&raw) else { return Self { stamp: Bytes::new(), text: raw } };
        let stamp = raw.slice(..space);
        let text = raw.slice(space + 1..);
        Self { stamp, text: joined(text) }
    }

    /// The time stamp as a moment.
    #[must_use]
    pub fn time(&self) -> Option<Timestamp> {
        std::str::from_utf8(&self.stamp).ok()?.parse().ok()
    }
}

/// Length of the time stamp that the bytes begin with, if one does and a space follows.
fn stamp_length(bytes: &[u8]) -> Option<usize> {
    let space = memchr::memchr(b' ', &bytes[..bytes.len().min(40)])?;
    let looks =
        space >= 20 && bytes[4] == b'-' && bytes[10] == b'T' && bytes[13] == b':' && bytes[..4].iter().all(u8::is_ascii_digit);
    looks.then_some(space)
}

/// Takes out the time stamps that the kubelet writes into the middle of a line whose pieces it puts together.
fn joined(text: Bytes) -> Bytes {
    if text.len() <= CUTS[0] {
        return text;
    }
    let mut whole = BytesMut::with_capacity(text.len());
    let mut rest = &text[..];
    while let Some((cut, stamp)) = cut_of(rest) {
        whole.extend_from_slice(&rest[..cut]);
        rest = &rest[cut + stamp + 1..];
    }
    if whole.is_empty() {
        return text;
    }
    whole.extend_from_slice(rest);
    whole.freeze()
}

fn cut_of(rest: &[u8]) -> Option<(usize, usize)> {
    let at = |cut: usize| stamp_length(rest.get(cut..)?).map(|stamp| (cut, stamp));
    CUTS.into_iter().find_map(at)
}

/// Puts chunks together and takes lines out.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    held: BytesMut,
    /// How much of `held` has no line feed for certain.
    searched: usize,
}

impl Splitter {
    /// Takes a chunk in.
    pub(super) fn feed(&mut self, chunk: &[u8]) {
        self.held.extend_from_slice(chunk);
    }

    /// The next whole line, without its line feed; or a piece of one that is longer than can be held.
    pub(super) fn next_line(&mut self) -> Option<Bytes> {
        match memchr::memchr(b'\n', &self.held[self.searched..]) {
            Some(offset) => {
                let line = self.held.split_to(self.searched + offset + 1).freeze();
                self.searched = 0;
                Some(line.slice(..line.len() - 1))
            }
            None if self.held.len() > LONGEST => {
                self.searched = 0;
                Some(self.held.split().freeze())
            }
            None => {
                self.searched = self.held.len();
                None
            }
        }
    }

    /// What is left at the end of the stream: a line that its writer did not end.
    pub(super) fn rest(&mut self) -> Option<Bytes> {
        self.searched = 0;
        (!self.held.is_empty()).then(|| self.held.split().freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: &str = "2026-11-21T14:40:00.123456789Z";

    fn parsed(raw: &str) -> (String, String) {
        let line = Line::parse(Bytes::copy_from_slice(raw.as_bytes()));
        (String::from_utf8(line.stamp.to_vec()).unwrap(), String::from_utf8(line.text.to_vec()).unwrap())
    }

    #[test]
    fn the_stamp_is_taken_off_and_nothing_else() {
        assert_eq!(parsed(&format!("{STAMP}  two spaces")), (STAMP.to_owned(), " two spaces".to_owned()));
        assert_eq!(parsed(&format!("{STAMP} ")), (STAMP.to_owned(), String::new()));
        assert_eq!(parsed("2026-11-21T14:40:00.5+05:30 x").0, "2026-11-21T14:40:00.5+05:30");
        for foreign in ["", "no stamp here", "failed to watch file \"/var/log\": no space left on device"] {
            assert_eq!(parsed(foreign), (String::new(), foreign.to_owned()));
        }
        assert!(Line::parse(Bytes::from_static(b"2026-11-21T14:40:00.5+05:30 x")).time().is_some());
    }

    #[test]
    fn a_line_that_the_runtime_cut_is_whole_again() {
        for cut in CUTS {
            let text: String = (0..100_000_u32).map(|n| char::from(b'a' + (n % 26) as u8)).collect();
            let pieces: Vec<String> =
                text.as_bytes().chunks(cut).map(|piece| format!("{STAMP} {}", std::str::from_utf8(piece).unwrap())).collect();
            assert_eq!(parsed(&pieces.concat()).1, text, "cut at {cut}");
        }
    }

    #[test]
    fn chunks_of_any_size_give_the_same_lines() {
        let text = b"one\n\nthree\xff\0\nlast";
        for size in 1..text.len() {
            let mut splitter = Splitter::default();
            let mut lines = Vec::new();
            for chunk in text.chunks(size) {
                splitter.feed(chunk);
                while let Some(line) = splitter.next_line() {
                    lines.push(line.to_vec());
                }
            }
            lines.extend(splitter.rest().map(|rest| rest.to_vec()));
            assert_eq!(lines, [&b"one"[..], b"", b"three\xff\0", b"last"], "chunks of {size}");
        }
    }

    #[test]
    fn an_endless_line_comes_in_pieces() {
        let mut splitter = Splitter::default();
        splitter.feed(&vec![b'x'; LONGEST + 1]);
        assert_eq!(splitter.next_line().unwrap().len(), LONGEST + 1);
        assert_eq!(splitter.next_line(), None);
    }
}
