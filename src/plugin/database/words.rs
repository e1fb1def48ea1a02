//! SQL cut into statements and words, as far as it has to be understood here.

/// Statements as words: names without their quotes, brackets and commas apart, strings and comments left out.
#[must_use]
pub fn statements(sql: &str) -> Vec<Vec<String>> {
    let (mut all, mut words, mut word) = (Vec::new(), Vec::new(), String::new());
    let mut rest = sql;
    while let Some(c) = rest.chars().next() {
        if let Some(skipped) = skipped(rest) {
            flush(&mut word, &mut words);
            if rest.starts_with('\'') || rest.starts_with('$') {
                words.push("''".to_owned());
            }
            rest = &rest[skipped..];
            continue;
        }
        if let Some((name, length)) = quoted(rest) {
            word.push_str(name);
            rest = &rest[length..];
            continue;
        }
        match c {
            ';' => {
                flush(&mut word, &mut words);
                all.push(std::mem::take(&mut words));
            }
            '(' | ')' | ',' => {
                flush(&mut word, &mut words);
                words.push(c.to_string());
            }
            _ if c.is_whitespace() => flush(&mut word, &mut words),
            _ => word.push(c),
        }
        rest = &rest[c.len_utf8()..];
    }
    flush(&mut word, &mut words);
    all.push(words);
    all.retain(|words| !words.is_empty());
    all
}

fn flush(word: &mut String, words: &mut Vec<String>) {
    if !word.is_empty() {
        words.push(std::mem::take(word));
    }
}

/// Length of the comment or string that a text begins with.
fn skipped(text: &str) -> Option<usize> {
    let to =
        |end: &str, from: usize| text.get(from..).and_then(|rest| rest.find(end)).map_or(text.len(), |at| from + at + end.len());
    if text.starts_with("--") {
        return Some(to("\n", 2));
    }
    if text.starts_with("/*") {
        return Some(to("*/", 2));
    }
    if text.starts_with('\'') {
        return Some(to("'", 1));
    }
    // PostgreSQL's bodies of functions: $$ … $$ or $name$ … $name$.
    let tag = text.strip_prefix('$')?.split_once('$')?.0;
    let is_tag = tag.chars().all(|c| c.is_alphanumeric() || c == '_') && !tag.starts_with(|c: char| c.is_ascii_digit());
    is_tag.then(|| to(&format!("${tag}$"), tag.len() + 2))
}

/// The quoted name that a text begins with, and its length.
fn quoted(text: &str) -> Option<(&str, usize)> {
    let end = match text.chars().next()? {
        '"' => '"',
        '`' => '`',
        '[' => ']',
        _ => return None,
    };
    let name = text[1..].split_once(end)?.0;
    Some((name, name.len() + 2))
}
