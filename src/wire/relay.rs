//! The frames in which a relay's bytes go through the API server: smaller where that is faster, for each byte is copied many times on
//! its way.
//!
//! A frame is two lengths of three bytes each, little end first, and a body: how long that is, and of how many bytes of content. A
//! body that is as long as its content is the content; a shorter one is its LZ4 block. Two zeros say that nothing follows: what ends
//! without them was cut off, and an exec whose stdin can't be closed can carry them too.

use std::time::Duration;

use lz4_flex::block::{CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size};

/// The most content of a frame: what LZ4's small table is for, and about what a pipe holds.
pub const CONTENT_BYTES: usize = 60 << 10;

/// What a frame has before its body.
const HEADER_BYTES: usize = 6;
/// What is shorter is not tried: there is nothing to gain, and its answer is waited for.
const SHORTEST: usize = 256;

/// The first byte on the stdin of `dbmig-agent relay`: frames follow there, and on its stdout.
pub const BY_EXEC: u8 = b'e';
/// The same: frames go through the connection that its [`crate::Listener`] has admitted, and nothing follows on its stdin.
pub const BY_PORT: u8 = b'p';
/// What the listener says to whom it has admitted.
pub const ADMITTED: u8 = b'\n';

/// Makes frames.
pub struct Packer {
    table: CompressTable,
    untried: Pause,
    pace: Pace,
}

impl Default for Packer {
    fn default() -> Self {
        Self { table: CompressTable::small(), untried: Pause::default(), pace: Pace::default() }
    }
}

/// How often what did not pay is left alone before it is tried again: twice as often each time.
#[derive(Default)]
struct Pause {
    next: u32,
    left: u32,
}

impl Pause {
    const LONGEST: u32 = 32;

    /// Whether it is still left alone, this time.
    fn goes_on(&mut self) -> bool {
        let goes_on = self.left > 0;
        self.left = self.left.saturating_sub(1);
        goes_on
    }

    fn begin(&mut self) {
        self.left = self.next.max(1);
        self.next = (self.left * 2).min(Self::LONGEST);
    }

    fn forget(&mut self) {
        self.next = 0;
    }
}

/// How fast frames are taken off our hands: where that is fast, packing only holds them up, and takes the time of the processor from
/// whoever carries them.
#[derive(Default)]
struct Pace {
    content: usize,
    waited: Duration,
    is_slow: bool,
    /// How long it stays slow whatever is waited: packed, less has to be.
    slow: Pause,
}

impl Pace {
    /// Content that is judged together: more than what pipes and sockets on the way hold.
    const JUDGED: usize = 4 << 20;
    /// Bytes a second: half of what LZ4 packs on a slow core.
    const FAST: usize = 64 << 20;

    fn took(&mut self, content: usize, waited: Duration) {
        self.content += content;
        self.waited += waited;
        if self.content < Self::JUDGED {
            return;
        }
        let is_slow = self.waited.as_secs_f64() * Self::FAST as f64 > self.content as f64;
        (self.content, self.waited) = Default::default();
        match (self.is_slow, is_slow) {
            (false, false) => self.slow.forget(),
            (false, true) => {
                self.is_slow = true;
                self.slow.begin();
            }
            (true, _) => self.is_slow = is_slow || self.slow.goes_on(),
        }
    }
}

impl Packer {
    /// Bytes that the frame of so much content can take, so that room for it is made once.
    #[must_use]
    pub fn room(content: usize) -> usize {
        HEADER_BYTES + get_maximum_output_size(content.min(CONTENT_BYTES))
    }

    /// Appends the frame of the first bytes of `content`, [`CONTENT_BYTES`] at the most; how many they are. Nothing has no frame.
    pub fn pack(&mut self, content: &[u8], frames: &mut Vec<u8>) -> usize {
        let content = &content[..content.len().min(CONTENT_BYTES)];
        if !content.is_empty() && !self.smaller(content, frames) {
            frames.extend_from_slice(&header(content.len(), content.len()));
            frames.extend_from_slice(content);
        }
        content.len()
    }

    /// How long the frame of so much content had to wait until it was taken: what goes on as it is depends on that.
    pub fn took(&mut self, content: usize, waited: Duration) {
        self.pace.took(content, waited);
    }

    /// Appends the frame that says that nothing follows.
    pub fn end(frames: &mut Vec<u8>) {
        frames.extend_from_slice(&header(0, 0));
    }

    /// Appends an LZ4 block, if that is worth it.
    fn smaller(&mut self, content: &[u8], frames: &mut Vec<u8>) -> bool {
        // What is encrypted or packed already mostly stays so.
        if content.len() < SHORTEST || !self.pace.is_slow || self.untried.goes_on() {
            return false;
        }
        let begin = frames.len();
        frames.resize(begin + HEADER_BYTES + get_maximum_output_size(content.len()), 0);
        let packed = compress_into_with_table(content, &mut frames[begin + HEADER_BYTES..], &mut self.table);
        // An eighth is what it costs to make and to undo it.
        match packed.ok().filter(|packed| *packed < content.len() - content.len() / 8) {
            Some(packed) => {
                frames[begin..begin + HEADER_BYTES].copy_from_slice(&header(packed, content.len()));
                frames.truncate(begin + HEADER_BYTES + packed);
                self.untried.forget();
                true
            }
            None => {
                frames.truncate(begin);
                self.untried.begin();
                false
            }
        }
    }
}

fn header(body: usize, content: usize) -> [u8; HEADER_BYTES] {
    let ([b0, b1, b2, ..], [c0, c1, c2, ..]) = (body.to_le_bytes(), content.to_le_bytes());
    [b0, b1, b2, c0, c1, c2]
}

/// What came out of frames.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Bytes of content.
    Content(&'a [u8]),
    /// Everything given was taken in, and more is needed.
    More,
    /// The other side has said that nothing follows.
    End,
}

/// What came is no frame: it can't be known what was meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("what came through the relay is not what its other end sends")
    }
}

impl std::error::Error for Broken {}

/// Takes frames apart, in whatever pieces they come.
#[derive(Default)]
pub struct Unpacker {
    at: At,
    /// What came of a header or of a body that is not there as a whole yet.
    part: Vec<u8>,
    /// The content of the last packed frame.
    content: Vec<u8>,
}

/// What comes next.
#[derive(Debug, Clone, Copy, Default)]
enum At {
    #[default]
    Header,
    /// So many bytes of content as it is.
    Content(usize),
    /// A body of so many bytes, out of which so many come.
    Packed(usize, usize),
    /// Unpacked content from there on.
    Unpacked(usize),
    End,
}

impl Unpacker {
    /// Takes from the front of `input` what is needed for the next piece, which is of `most` bytes at the most. `most` is not 0.
    ///
    /// # Errors
    /// [`Broken`], and again whenever it is asked.
    pub fn next<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8], most: usize) -> Result<Piece<'a>, Broken> {
        loop {
            match self.at {
                At::Header => {
                    if !self.gather(input, HEADER_BYTES) {
                        return Ok(Piece::More);
                    }
                    self.at = after(&self.part)?;
                    self.part.clear();
                }
                At::Content(left) => {
                    let (piece, rest) = input.split_at(input.len().min(left).min(most));
                    if piece.is_empty() {
                        return Ok(Piece::More);
                    }
                    *input = rest;
                    self.at = if piece.len() == left { At::Header } else { At::Content(left - piece.len()) };
                    return Ok(Piece::Content(piece));
                }
                At::Packed(body, content) => {
                    if !self.gather(input, body) {
                        return Ok(Piece::More);
                    }
                    self.content.resize(content, 0);
                    let unpacked = decompress_into(&self.part, &mut self.content).map_err(|_| Broken)?;
                    if unpacked != content {
                        return Err(Broken);
                    }
                    self.part.clear();
                    self.at = At::Unpacked(0);
                }
                At::Unpacked(from) => {
                    let upto = self.content.len().min(from.saturating_add(most));
                    self.at = if upto == self.content.len() { At::Header } else { At::Unpacked(upto) };
                    return Ok(Piece::Content(&self.content[from..upto]));
                }
                At::End => return Ok(Piece::End),
            }
        }
    }

    /// Adds to what came of a part of so many bytes; whether that is there as a whole.
    fn gather(&mut self, input: &mut &[u8], size: usize) -> bool {
        let (piece, rest) = input.split_at(input.len().min(size - self.part.len()));
        self.part.extend_from_slice(piece);
        *input = rest;
        self.part.len() == size
    }
}

fn after(header: &[u8]) -> Result<At, Broken> {
    let length = |bytes: &[u8]| bytes.iter().rev().fold(0, |length, byte| length << 8 | usize::from(*byte));
    match (length(&header[..HEADER_BYTES / 2]), length(&header[HEADER_BYTES / 2..])) {
        (0, 0) => Ok(At::End),
        (body, content) if content > CONTENT_BYTES || body > content || body == 0 => Err(Broken),
        (body, content) if body == content => Ok(At::Content(content)),
        (body, content) => Ok(At::Packed(body, content)),
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng as _, RngExt as _, SeedableRng as _};

    use super::*;

    /// Rows, noise, or one after the other.
    fn content(random: &mut StdRng) -> Vec<u8> {
        let size = match random.random_range(0..4) {
            0 => random.random_range(1..=SHORTEST + 1),
            1 => random.random_range(CONTENT_BYTES - 1..=CONTENT_BYTES + 1),
            _ => random.random_range(1..150_000),
        };
        let mut content = vec![0; size];
        random.fill_bytes(&mut content);
        let rows = match random.random_range(0..3) {
            0 => 0,
            1 => size,
            _ => random.random_range(0..=size),
        };
        for (number, row) in content[..rows].chunks_mut(40).enumerate() {
            let text = format!("{number}\tpaid\t2026-01-01 00:00:{:02}\tEUR\t{}\n", number % 60, random.random::<u32>());
            row.iter_mut().zip(text.bytes().cycle()).for_each(|(to, from)| *to = from);
        }
        content
    }

    fn for_a_slow_way() -> Packer {
        let mut packer = Packer::default();
        packer.took(Pace::JUDGED, Duration::from_secs(60));
        packer
    }

    fn packed(packer: &mut Packer, mut content: &[u8]) -> Vec<u8> {
        let mut frames = Vec::new();
        while !content.is_empty() {
            content = &content[packer.pack(content, &mut frames)..];
        }
        frames
    }

    /// What comes out of frames that come in pieces of random sizes, and whether their end was told.
    fn unpacked(random: &mut StdRng, mut frames: &[u8]) -> Result<(Vec<u8>, bool), Broken> {
        let (mut unpacker, mut content) = (Unpacker::default(), Vec::new());
        while !frames.is_empty() {
            let (mut piece, rest) = frames.split_at(random.random_range(1..=frames.len().min(100_000)));
            frames = rest;
            loop {
                let most = random.random_range(1..100_000);
                match unpacker.next(&mut piece, most)? {
                    Piece::Content(bytes) => {
                        assert!(!bytes.is_empty() && bytes.len() <= most);
                        content.extend_from_slice(bytes);
                    }
                    Piece::More => break assert!(piece.is_empty()),
                    Piece::End => return Ok((content, true)),
                }
            }
        }
        Ok((content, false))
    }

    #[test]
    fn what_goes_in_comes_out_in_whatever_pieces() {
        for seed in 0..30 {
            let random = &mut StdRng::seed_from_u64(seed);
            let mut packer = for_a_slow_way();
            let (mut expected, mut frames) = (Vec::new(), Vec::new());
            for _ in 0..random.random_range(1..6) {
                let content = content(random);
                frames.extend(packed(&mut packer, &content));
                expected.extend(content);
            }
            assert!(unpacked(random, &frames) == Ok((expected.clone(), false)), "seed {seed}");
            Packer::end(&mut frames);
            assert!(unpacked(random, &frames) == Ok((expected, true)), "seed {seed}");
        }
    }

    #[test]
    fn rows_get_smaller_and_noise_costs_next_to_nothing() {
        let rows: String =
            (0..20_000).map(|number| format!("{number}\tpaid\t2026-01-01 00:00:00\tEUR\t{}\n", number * 7919)).collect();
        let mut packer = for_a_slow_way();
        assert!(packed(&mut packer, rows.as_bytes()).len() < rows.len() / 2);
        let mut noise = vec![0; 50 * CONTENT_BYTES];
        StdRng::seed_from_u64(1).fill_bytes(&mut noise);
        assert_eq!(packed(&mut packer, &noise).len(), noise.len() + 50 * HEADER_BYTES);
        // And rows are tried again after it.
        let after = packed(&mut packer, rows.repeat(8).as_bytes());
        assert!(after.len() < rows.len() * 8 * 3 / 4, "{} of {}", after.len(), rows.len() * 8);
    }

    /// Of so many pieces those that are packed, where each takes so many milliseconds as it is, and half the time packed.
    fn packed_of(pieces: u32, carried: u64) -> u32 {
        let mut pace = Pace::default();
        let next = |_: &u32| {
            let is_packed = pace.is_slow;
            pace.took(Pace::JUDGED, Duration::from_millis(if is_packed { carried / 2 } else { carried }));
            is_packed
        };
        u32::try_from((0..pieces).filter(next).count()).unwrap()
    }

    #[test]
    fn only_what_a_slow_way_takes_is_packed() {
        assert_eq!(packed_of(100, 20), 0);
        assert_eq!(packed_of(100, 200), 99);
        // Fast only when packed: as it is, it is tried ever more rarely.
        assert!((90..99).contains(&packed_of(100, 100)), "{}", packed_of(100, 100));
    }

    /// Whatever is broken is told as that, or gives content that is no longer than what its header says; nothing is waited for that was
    /// given, and nothing panics.
    #[test]
    fn frames_that_are_damaged_are_broken_and_never_more_than_they_say() {
        let mut broken = 0;
        for seed in 0..200 {
            let random = &mut StdRng::seed_from_u64(seed);
            let mut frames = packed(&mut for_a_slow_way(), &content(random));
            for _ in 0..random.random_range(1..4) {
                let at = random.random_range(0..frames.len().min(200));
                frames[at] ^= random.random_range(1..=255_u8);
            }
            broken += u32::from(unpacked(random, &frames).is_err());
        }
        assert!(broken > 20, "only {broken} were told");
    }

    #[test]
    fn lengths_that_nobody_sends_are_broken_at_once_and_stay_so() {
        for (body, length) in [(1, 0), (0, 1), (CONTENT_BYTES + 1, CONTENT_BYTES + 1), (5, CONTENT_BYTES + 1), (6, 5)] {
            let (header, mut unpacker) = (header(body, length), Unpacker::default());
            for mut input in [header.as_slice(), &[]] {
                assert_eq!(unpacker.next(&mut input, 9), Err(Broken), "{body} of {length}");
            }
        }
        // A block that has not as much in it as was said, and one that has more.
        for length in [4000, 6000] {
            let mut frames = packed(&mut for_a_slow_way(), &[7; 5000]);
            let body = frames.len() - HEADER_BYTES;
            frames[..HEADER_BYTES].copy_from_slice(&header(body, length));
            let (mut unpacker, mut input) = (Unpacker::default(), frames.as_slice());
            assert_eq!(unpacker.next(&mut input, 9), Err(Broken));
            assert_eq!(unpacker.next(&mut input, 9), Err(Broken));
        }
    }
}
