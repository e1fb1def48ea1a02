//! `--keep 'TABLE: CONDITION'`. Splits the two; whether table and condition make sense is SQLite's to say.

use std::fmt;
use std::str::FromStr;

/// Rows of one table that stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeepArg {
    /// Name of the table, without the quotes around it.
    pub table: String,
    /// SQL expression that is true for the rows to keep.
    pub condition: String,
}

const FORM: &str = "write it as 'TABLE: CONDITION', for example 'events: created_at > 1700000000'";

impl FromStr for KeepArg {
    type Err = String;

    /// A name with a colon or a space in it is quoted as SQL does: `"a:b"`, `` `a:b` `` or `[a:b]`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (table, rest) = split_name(text.trim_start())?;
        let condition =
            rest.trim_start().strip_prefix(':').ok_or_else(|| format!("no colon after the table's name; {FORM}"))?.trim();
        if table.is_empty() {
            return Err(format!("no table before the colon; {FORM}"));
        }
        if condition.is_empty() {
            return Err(format!("no condition after the colon; {FORM}"));
        }
        if text.contains('\0') {
            return Err(format!("it contains a NUL character; {FORM}"));
        }
        Ok(Self { table, condition: condition.to_owned() })
    }
}

impl fmt::Display for KeepArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.table, self.condition)
    }
}

/// The name that `text` begins with, and what follows it.
fn split_name(text: &str) -> Result<(String, &str), String> {
    let close = match text.chars().next() {
        Some(quote @ ('"' | '`' | '\'')) => quote,
        Some('[') => ']',
        _ => {
            let end = text.find(':').unwrap_or(text.len());
            return Ok((text[..end].trim_end().to_owned(), &text[end..]));
        }
    };
    let mut name = String::new();
    let mut rest = &text[1..];
    loop {
        let end = rest.find(close).ok_or_else(|| format!("the quote around the table's name is not closed; {FORM}"))?;
        name.push_str(&rest[..end]);
        rest = &rest[end + close.len_utf8()..];
        let doubled = if close == ']' { None } else { rest.strip_prefix(close) };
        let Some(after) = doubled else { return Ok((name, rest)) };
        name.push(close);
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (String, String) {
        let keep: KeepArg = text.parse().expect("a valid rule");
        (keep.table, keep.condition)
    }

    #[test]
    fn splits_at_the_first_colon_outside_quotes() {
        for (text, table, condition) in [
            ("t: a > 1", "t", "a > 1"),
            ("t:a = 'x:y'", "t", "a = 'x:y'"),
            (" \"a:b\" : c", "a:b", "c"),
            ("\"say \"\"hi\"\"\": c", "say \"hi\"", "c"),
            ("[a:b]: c", "a:b", "c"),
            ("`a b`: c", "a b", "c"),
            ("episodes 30s: c", "episodes 30s", "c"),
        ] {
            assert_eq!(parsed(text), (table.to_owned(), condition.to_owned()), "{text}");
        }
    }

    #[test]
    fn refuses_what_has_no_table_or_no_condition() {
        for text in ["", ":", "t", "t:", "t:  ", ": x", "\"t: x", "\"\": x", "\"t\" x", "[", "t: x\0"] {
            assert!(text.parse::<KeepArg>().is_err(), "{text}");
        }
    }
}
