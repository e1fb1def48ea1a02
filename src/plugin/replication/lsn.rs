//! Positions in a server's write-ahead log.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// A byte's position in the write-ahead log. Ordered by number: the text `9/0` comes before `10/0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Lsn(u64);

impl Lsn {
    /// Bytes from an earlier position to this one; 0 when it is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// A position that has been set: pgcopydb writes `0/0` for none.
    #[must_use]
    pub fn known(self) -> Option<Self> {
        (self.0 > 0).then_some(self)
    }
}

impl FromStr for Lsn {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let halves = text.trim().split_once('/');
        let number = |half: &str| u32::from_str_radix(half, 16).ok().map(u64::from);
        let position = halves.and_then(|(high, low)| Some(number(high)? << 32 | number(low)?));
        position.map(Self).ok_or_else(|| Failure::failed(format!("{text:?} is no position in a write-ahead log")))
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & u64::from(u32::MAX))
    }
}

impl TryFrom<String> for Lsn {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map_err(|failure: Failure| failure.message)
    }
}

impl From<Lsn> for String {
    fn from(lsn: Lsn) -> Self {
        lsn.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_numbers_and_not_texts() {
        let lsn = |text: &str| text.parse::<Lsn>().unwrap();
        assert!(lsn("9/0") < lsn("10/0") && lsn("0/9000000") < lsn("0/A000000"));
        assert_eq!(lsn("1/0").since(lsn("0/FFFFFFF0")), 16);
        assert_eq!(lsn("0/1").since(lsn("0/2")), 0);
        assert_eq!(lsn("16/b374d848").to_string(), "16/B374D848");
        assert_eq!(lsn("0/0").known(), None);
        for odd in ["", "0", "0/", "/0", "x/0", "0/123456789", "-1/0"] {
            assert!(odd.parse::<Lsn>().is_err(), "{odd}");
        }
    }
}
