//! Values for helm, as a file: words on a command line can be seen by everybody on the computer. Pure.

use serde_json::{Map, Value};

use crate::failure::{Failure, Result};

/// Values for which no path was named are tried in this order: as the documents of steady's chart call it, and as its templates do.
pub(super) const CLAIM_VALUES: [&str; 5] = [
    "database.postgres.master.existingClaims",
    "database.postgres.master.existingClaim",
    "global.existingClaim",
    "postgresql.primary.persistence.existingClaim",
    "primary.persistence.existingClaim",
];

/// Sets the value at a path; `[]` behind the path makes it the only one of a list.
pub(in crate::command) fn set(values: &mut Value, path: &str, value: Value) {
    let (path, value) = match path.strip_suffix("[]") {
        Some(path) => (path, Value::Array(vec![value])),
        None => (path, value),
    };
    let mut at = values;
    for key in path.split('.') {
        if !at.is_object() {
            *at = Value::Object(Map::new());
        }
        at = &mut at[key];
    }
    *at = value;
}

/// All that was typed with `--set`.
///
/// # Errors
/// `Usage` for what only helm's own `--set` understands.
pub(super) fn typed(all: &[String]) -> Result<Value> {
    let mut values = Value::Object(Map::new());
    for one in all {
        let odd = |why: &str| {
            Failure::usage(format!("--set {}: {why}", one.split('=').next().unwrap_or_default()))
                .next("put it into a file, and give that: --values FILE")
        };
        let (path, value) = one.split_once('=').ok_or_else(|| odd("it has no value: write PATH=VALUE"))?;
        if path.split('.').any(str::is_empty) || path.contains(['[', '\\', ',']) {
            return Err(odd("only paths like a.b.c are understood here"));
        }
        if value.starts_with('{') || value.contains(',') {
            return Err(odd("lists are not understood here"));
        }
        set(&mut values, path, scalar(value));
    }
    Ok(values)
}

/// As helm reads it: numbers, truth values and null are no texts.
fn scalar(text: &str) -> Value {
    match text {
        "true" | "false" | "null" => serde_json::from_str(text).unwrap_or(Value::Null),
        // 012 is a text, and so is what is too long for a number.
        _ if text == "0" || !text.starts_with('0') => text.parse::<i64>().map_or_else(|_| Value::from(text), Value::from),
        _ => Value::from(text),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_read_as_helm_reads_them() {
        let all = ["a.b=1", "a.c=true", "a.d=x=y", "e=012", "f=", "g=null"].map(str::to_owned);
        assert_eq!(typed(&all).unwrap(), json!({"a": {"b": 1, "c": true, "d": "x=y"}, "e": "012", "f": "", "g": null}));
        for odd in ["a", "a..b=1", "a[0]=1", "a={1,2}", "a=1,b=2", "a\\.b=1"] {
            assert!(typed(&[odd.to_owned()]).is_err(), "{odd}");
        }
        let mut values = json!({"a": 1});
        set(&mut values, "a.b[]", json!("claim"));
        assert_eq!(values, json!({"a": {"b": ["claim"]}}));
    }
}
