//! What those who write and read all the time know of what came of it.

use std::collections::BTreeSet;

/// Numbers by what came of them.
#[derive(Debug, Default)]
pub(crate) struct Acks {
    /// Written for good, as the server said.
    pub written: BTreeSet<i64>,
    /// Surely not written.
    pub refused: BTreeSet<i64>,
    /// Nobody knows: the connection broke before the answer.
    pub unknown: BTreeSet<i64>,
    /// Milliseconds between the last acknowledgement before the first failure and the first one after the last failure, if there were failures
    /// and writing goes on again.
    pub outage: Option<u64>,
    /// The same for each failure or row of failures that nothing was acknowledged in between.
    pub gaps: Vec<u64>,
}

impl Acks {
    /// From the writers' logs, one after the other.
    pub(super) fn parse(logs: &str) -> Self {
        let mut acks = Self::default();
        let (mut last, mut since, mut failing) = (None, None, false);
        // The writer may be in the middle of the last line.
        for line in logs.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            let mut words = line.split(' ');
            let (time, word, number) = (words.next(), words.next(), words.next());
            let time: u64 = number_of(time, line);
            let number = number_of(number.map(str::trim_end), line);
            match word {
                Some("ack") => {
                    acks.written.insert(number);
                    if failing {
                        acks.outage = since.map(|since| time.saturating_sub(since));
                        acks.gaps.extend(last.map(|last| time.saturating_sub(last)));
                    }
                    (last, failing) = (Some(time), false);
                    continue;
                }
                Some("refused") => acks.refused.insert(number),
                _ => acks.unknown.insert(number),
            };
            (since, failing) = (since.or(last), true);
        }
        acks
    }

    /// How many were not acknowledged.
    pub(crate) fn failed(&self) -> usize {
        self.refused.len() + self.unknown.len()
    }

    /// Seconds of the longest time without an acknowledgement in which something failed.
    pub(crate) fn longest_gap(&self) -> f64 {
        self.gaps.iter().max().map_or(0.0, |gap| std::time::Duration::from_millis(*gap).as_secs_f64())
    }

    /// Seconds of all such times together.
    pub(crate) fn all_gaps(&self) -> f64 {
        std::time::Duration::from_millis(self.gaps.iter().sum()).as_secs_f64()
    }
}

fn number_of<T: std::str::FromStr>(word: Option<&str>, line: &str) -> T {
    word.and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("not a writer's line: {line}"))
}
