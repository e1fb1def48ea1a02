//! Sizes, times and foreign text as a person reads them. Pure; prints nothing.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

use dbmig_wire::Unit;
use jiff::Timestamp;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const YEAR: u64 = 365 * DAY;

/// Bytes in binary units: `512 B`, `1.5 KiB`, `640 MiB`, `2.1 GiB`. One digit after the point below 10, none above.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    // 1023.5 would be shown as 1024 of the smaller unit.
    while value >= 1023.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = usize::from(value < 9.95);
    format!("{value:.digits$} {}", UNITS[unit])
}

/// A whole number with a comma every three digits: `1,234,567`.
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of bytes, rows or pages.
#[must_use]
pub fn amount(unit: Unit, number: u64) -> String {
    match unit {
        Unit::Bytes => bytes(number),
        Unit::Rows => format!("{} rows", count(number)),
        Unit::Pages => format!("{} pages", count(number)),
        Unit::Tables => format!("{} tables", count(number)),
    }
}

/// A duration with the precision that kubectl's ages have (apimachinery, `duration.HumanDuration`): `90s`, `2m10s`, `5h`, `3d4h`, `45d`.
#[must_use]
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let two = |large: u64, large_unit: char, small: u64, small_unit: char| match small {
        0 => format!("{large}{large_unit}"),
        _ => format!("{large}{large_unit}{small}{small_unit}"),
    };
    match seconds {
        _ if seconds < 2 * MINUTE => format!("{seconds}s"),
        _ if seconds < 10 * MINUTE => two(seconds / MINUTE, 'm', seconds % MINUTE, 's'),
        _ if seconds < 3 * HOUR => format!("{}m", seconds / MINUTE),
        _ if seconds < 8 * HOUR => two(seconds / HOUR, 'h', seconds % HOUR / MINUTE, 'm'),
        _ if seconds < 2 * DAY => format!("{}h", seconds / HOUR),
        _ if seconds < 8 * DAY => two(seconds / DAY, 'd', seconds % DAY / HOUR, 'h'),
        _ if seconds < 2 * YEAR => format!("{}d", seconds / DAY),
        _ if seconds < 8 * YEAR => two(seconds / YEAR, 'y', seconds % YEAR / DAY, 'd'),
        _ => format!("{}y", seconds / YEAR),
    }
}

/// How long something took, finer than [`duration`] where that matters: `120ms`, `3.2s`, `2m10s`.
#[must_use]
pub fn elapsed(elapsed: Duration) -> String {
    match elapsed.as_millis() {
        millis if millis < 1000 => format!("{millis}ms"),
        millis if millis < 60_000 => format!("{}.{}s", millis / 1000, millis % 1000 / 100),
        _ => duration(elapsed),
    }
}

/// How long ago something was, as kubectl's AGE: `5m`. A moment in the future counts as now; none is `<unknown>`.
#[must_use]
pub fn age(since: Option<Timestamp>, now: Timestamp) -> String {
    since.map_or_else(
        || "<unknown>".to_owned(),
        |since| duration(Duration::try_from(now.duration_since(since)).unwrap_or_default()),
    )
}

/// Text from outside (a pod, the API server, a file name) made harmless for a terminal and kept on one line: control
/// characters and those that turn the writing direction are shown as an escape.
#[must_use]
pub fn harmless(text: &str) -> Cow<'_, str> {
    if !text.contains(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character {
            '\n' => safe.push_str("\\n"),
            '\t' => safe.push(' '),
            '\r' => safe.push_str("\\r"),
            harmful if is_harmful(harmful) => {
                // Writing to a string cannot fail.
                let _ = write!(safe, "\\u{{{:x}}}", u32::from(harmful));
            }
            fine => safe.push(fine),
        }
    }
    Cow::Owned(safe)
}

/// A line of a log made fit for a terminal: colours and other sequences are taken out, other control characters shown.
#[must_use]
pub fn log_text(bytes: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(bytes);
    if !text.contains(|c| is_harmful(c) && c != '\t') {
        return text;
    }
    let plain = console::strip_ansi_codes(&text);
    Cow::Owned(plain.split('\t').map(harmless).collect::<Vec<_>>().join("\t"))
}

fn is_harmful(character: char) -> bool {
    // Unicode's Bidi_Control property: these reorder what a person sees.
    let turns = matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    character.is_control() || turns || matches!(character, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_binary_units_and_two_significant_digits() {
        let shown: Vec<_> =
            [0, 1023, 1024, 1536, 10_189, 1_048_063, 1_048_064, 3 << 30, u64::MAX].into_iter().map(super::bytes).collect();
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "10 KiB", "1023 KiB", "1.0 MiB", "3.0 GiB", "16 EiB"]);
    }

    #[test]
    fn numbers_are_grouped_by_three() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn durations_are_those_of_kubectl() {
        for (seconds, shown) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (130, "2m10s"),
            (600, "10m"),
            (179 * 60, "179m"),
            (5 * HOUR, "5h"),
            (5 * HOUR + 60, "5h1m"),
            (9 * HOUR + 60, "9h"),
            (3 * DAY + 4 * HOUR, "3d4h"),
            (45 * DAY, "45d"),
            (3 * YEAR + 2 * DAY, "3y2d"),
            (9 * YEAR + DAY, "9y"),
        ] {
            assert_eq!(duration(Duration::from_secs(seconds)), shown);
        }
    }

    #[test]
    fn elapsed_times_are_finer_below_a_minute() {
        assert_eq!(
            [7, 3_270, 59_999, 60_000].map(|millis| elapsed(Duration::from_millis(millis))),
            ["7ms", "3.2s", "59.9s", "60s"]
        );
    }

    #[test]
    fn an_age_in_the_future_is_zero_and_an_absent_one_unknown() {
        let now = Timestamp::UNIX_EPOCH;
        let later = Timestamp::from_second(60).expect("a valid moment");
        assert_eq!(age(Some(now), later), "60s");
        assert_eq!(age(Some(later), now), "0s");
        assert_eq!(age(None, now), "<unknown>");
    }

    #[test]
    fn control_and_direction_characters_are_shown_not_sent() {
        assert_eq!(harmless("a\x1b[31mb\r\n\tc\u{202e}d\u{9b}"), "a\\u{1b}[31mb\\r\\n c\\u{202e}d\\u{9b}");
        assert!(matches!(harmless("übersicht ✓"), Cow::Borrowed(_)));
    }
}
