//! Durations as kubectl's flags take them. Parsing only; how a duration is shown is decided in [`crate::ui::human`].

use std::time::Duration;

/// What is accepted, for error texts.
const FORMS: &str = "write it like 30s, 5m, 1h30m or 500ms; a bare number counts seconds";

/// Units of Go's `time.ParseDuration` that make sense for a person, longest name first.
const UNITS: [(&str, f64); 4] = [("ms", 0.001), ("h", 3600.0), ("m", 60.0), ("s", 1.0)];

/// Parses `30s`, `5m`, `1h30m`, `1.5h`, `500ms`; a bare number counts seconds, as in kubectl's `--request-timeout`.
///
/// # Errors
/// The text is anything else, negative, or larger than a duration can be; the error says what is accepted.
pub fn parse(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    let seconds = sum_of_parts(text).ok_or_else(|| format!("not a duration: {FORMS}"))?;
    Duration::try_from_secs_f64(seconds).map_err(|_| format!("longer than any clock can count: {FORMS}"))
}

/// Parses as [`parse`] does and takes "no limit", written `0`, as `None`.
///
/// # Errors
/// As [`parse`].
pub fn parse_limit(text: &str) -> Result<Limit, String> {
    let limit = parse(text)?;
    Ok(Limit((!limit.is_zero()).then_some(limit)))
}

/// A time limit; `None` means that there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit(pub Option<Duration>);

fn sum_of_parts(text: &str) -> Option<f64> {
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let (name, factor) = UNITS.iter().find(|(name, _)| rest.starts_with(name))?;
        rest = &rest[name.len()..];
        seconds += number * factor;
    }
    (!text.is_empty()).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_kubectl_takes() {
        for (text, millis) in [
            ("0", 0),
            ("30", 30_000),
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("1.5h", 5_400_000),
            ("500ms", 500),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest_without_a_panic() {
        for text in ["", "-1", "-5m", "5 m", "5x", "m", ".", "1.2.3s", "5m3", "ä", "99999999999999999999h", "NaNs", "infs"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn zero_is_no_limit() {
        assert_eq!(parse_limit("0"), Ok(Limit(None)));
        assert_eq!(parse_limit("0s"), Ok(Limit(None)));
        assert_eq!(parse_limit("5s"), Ok(Limit(Some(Duration::from_secs(5)))));
    }
}
