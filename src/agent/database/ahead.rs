//! Asks the kernel for the parts of a file that will be read soon. Reads nothing itself.
//!
//! The trees of a database lie interleaved, and several are read at once: to the kernel that is jumping about, and it reads little
//! ahead. What is read lies close together all the same, since rows of one time were mostly written together.

use std::fs::File;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{Advice, fadvise};

/// Bytes that are asked for at once: more than a disk takes as one request, little for the page cache.
const PART: u64 = 1 << 20;

/// Which parts of a file have been asked for. Threads share it.
pub(super) struct Ahead {
    /// A bit per part.
    asked: Vec<AtomicU64>,
}

impl Ahead {
    /// For a file of this many bytes, of which nothing has been asked for.
    pub(super) fn new(bytes: u64) -> Self {
        let words = bytes / PART / 64 + 1;
        Self { asked: (0..words).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Asks for the part around `offset` and the one after it, each once.
    #[inline]
    pub(super) fn reading(&self, file: &File, offset: u64) {
        let part = offset / PART;
        self.ask(file, part);
        self.ask(file, part + 1);
    }

    #[inline]
    fn ask(&self, file: &File, part: u64) {
        let (word, bit) = ((part / 64) as usize, 1 << (part % 64));
        let Some(word) = self.asked.get(word) else { return };
        if word.load(Ordering::Relaxed) & bit == 0 && word.fetch_or(bit, Ordering::Relaxed) & bit == 0 {
            // Where a file system cannot do so, reading takes longer and nothing else.
            let _ = fadvise(file, part * PART, NonZeroU64::new(PART), Advice::WillNeed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_is_asked_for_once_and_none_beyond_the_end() {
        let file = File::open("/dev/null").expect("is there");
        let ahead = Ahead::new(100 << 20);
        let asked = |ahead: &Ahead| ahead.asked.iter().map(|word| word.load(Ordering::Relaxed).count_ones()).sum::<u32>();
        ahead.reading(&file, 0);
        ahead.reading(&file, (1 << 20) - 1);
        assert_eq!(asked(&ahead), 2);
        ahead.reading(&file, (63 << 20) + 5);
        assert_eq!(asked(&ahead), 4);
        ahead.reading(&file, 1 << 40);
        assert_eq!(asked(&ahead), 4);
    }
}
