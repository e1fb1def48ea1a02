//! The little that must be read from SQL text itself: where a condition ends, what it calls. Understands tokens, no grammar.

/// A token of SQL text, with where it lies in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'a> {
    /// What it is.
    pub(super) kind: Kind,
    /// Its text, quotes included.
    pub(super) text: &'a str,
    /// First byte after it.
    pub(super) end: usize,
    /// How many parentheses are open before it (negative when more were closed than opened).
    pub(super) depth: i32,
}

/// The kinds of token that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A bare word or number.
    Word,
    /// A name in double quotes, back quotes or brackets.
    Name,
    /// A string.
    Text,
    Open,
    Close,
    Semicolon,
    Other,
    /// A quote or comment that does not end.
    Unfinished,
}

impl Token<'_> {
    /// Is this keyword.
    pub(super) fn is(&self, keyword: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(keyword)
    }

    /// The name without its quotes.
    pub(super) fn name(&self) -> String {
        let inner = || &self.text[1..self.text.len() - 1];
        match self.text.as_bytes() {
            [b'"', ..] if self.kind == Kind::Name => inner().replace("\"\"", "\""),
            [b'`', ..] if self.kind == Kind::Name => inner().replace("``", "`"),
            [b'[', ..] if self.kind == Kind::Name => inner().to_owned(),
            [b'\'', ..] if self.kind == Kind::Text => inner().replace("''", "'"),
            _ => self.text.to_owned(),
        }
    }
}

/// Splits SQL text; white space and comments are left out.
pub(super) fn tokens(sql: &str) -> Vec<Token<'_>> {
    let bytes = sql.as_bytes();
    let (mut found, mut at, mut depth) = (Vec::new(), 0, 0);
    while at < bytes.len() {
        let (kind, length) = token(&bytes[at..]);
        let length = length.min(bytes.len() - at);
        if let Some(kind) = kind {
            found.push(Token { kind, text: &sql[at..at + length], end: at + length, depth });
            depth += i32::from(kind == Kind::Open) - i32::from(kind == Kind::Close);
        }
        at += length;
    }
    found
}

fn token(rest: &[u8]) -> (Option<Kind>, usize) {
    match rest {
        [b'-', b'-', ..] => (None, rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len())),
        [b'/', b'*', ..] => match rest[2..].windows(2).position(|pair| pair == b"*/") {
            Some(end) => (None, end + 4),
            None => (Some(Kind::Unfinished), rest.len()),
        },
        [b'\'', ..] => quoted(rest, b'\'', Kind::Text),
        [quote @ (b'"' | b'`'), ..] => quoted(rest, *quote, Kind::Name),
        [b'[', ..] => match rest.iter().position(|&byte| byte == b']') {
            Some(end) => (Some(Kind::Name), end + 1),
            None => (Some(Kind::Unfinished), rest.len()),
        },
        [b'(', ..] => (Some(Kind::Open), 1),
        [b')', ..] => (Some(Kind::Close), 1),
        [b';', ..] => (Some(Kind::Semicolon), 1),
        [byte, ..] if byte.is_ascii_whitespace() => (None, 1),
        [byte, ..] if word(*byte) => (Some(Kind::Word), rest.iter().position(|&byte| !word(byte)).unwrap_or(rest.len())),
        _ => (Some(Kind::Other), 1),
    }
}

fn word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

fn quoted(rest: &[u8], quote: u8, kind: Kind) -> (Option<Kind>, usize) {
    let mut at = 1;
    while let Some(end) = rest[at..].iter().position(|&byte| byte == quote) {
        at += end + 1;
        if rest.get(at) != Some(&quote) {
            return (Some(kind), at);
        }
        at += 1;
    }
    (Some(Kind::Unfinished), rest.len())
}

/// Why a text cannot be one expression; `None` if nothing speaks against it (SQLite has the last word).
pub(super) fn not_an_expression(text: &str) -> Option<&'static str> {
    let tokens = tokens(text);
    let balance: i32 =
        tokens.iter().map(|token| i32::from(token.kind == Kind::Open) - i32::from(token.kind == Kind::Close)).sum();
    if tokens.is_empty() {
        return Some("it is empty");
    }
    if tokens.iter().any(|token| token.kind == Kind::Close && token.depth <= 0) || balance != 0 {
        return Some("its parentheses do not match");
    }
    if tokens.iter().any(|token| token.kind == Kind::Semicolon) {
        return Some("it holds a semicolon");
    }
    tokens.iter().any(|token| token.kind == Kind::Unfinished).then_some("a quote or a comment does not end")
}

/// The condition of a `CREATE INDEX` text.
pub(super) fn index_condition(sql: &str) -> Option<&str> {
    let all = tokens(sql);
    let place = all.iter().position(|token| token.depth == 0 && token.is("WHERE"))?;
    // The keyword counts only after the list of columns: before it, a bare word could be a name.
    let list = all.iter().position(|token| token.kind == Kind::Open)?;
    (place > list).then(|| &sql[all[place].end..])
}

/// The parts of a schema text that SQLite computes with: index columns and conditions, checks and computed columns.
fn computed<'t, 'a>(tokens: &'t [Token<'a>], index: bool) -> Vec<&'t Token<'a>> {
    if index {
        let list = tokens.iter().position(|token| token.kind == Kind::Open).unwrap_or(tokens.len());
        return tokens[list..].iter().collect();
    }
    let mut parts = Vec::new();
    let mut at = 0;
    while at + 1 < tokens.len() {
        let starts =
            tokens[at].depth == 1 && (tokens[at].is("CHECK") || tokens[at].is("AS")) && tokens[at + 1].kind == Kind::Open;
        at += 1;
        if !starts {
            continue;
        }
        let depth = tokens[at].depth;
        let end = tokens[at + 1..].iter().position(|token| token.kind == Kind::Close && token.depth == depth + 1);
        let end = end.map_or(tokens.len(), |end| at + 1 + end);
        parts.extend(&tokens[at..end]);
        at = end;
    }
    parts
}

/// Names of collations that a `CREATE TABLE` or `CREATE INDEX` text uses.
pub(super) fn collations(sql: &str) -> Vec<String> {
    let all = tokens(sql);
    all.windows(2).filter(|pair| pair[0].is("COLLATE") && pair[0].depth > 0).map(|pair| pair[1].name()).collect()
}

/// Names of functions that a `CREATE TABLE` or `CREATE INDEX` text computes with.
pub(super) fn functions(sql: &str, index: bool) -> Vec<String> {
    let all = tokens(sql);
    let parts = computed(&all, index);
    let calls = parts.windows(3).filter(|three| {
        let called = matches!(three[1].kind, Kind::Word | Kind::Name) && three[2].kind == Kind::Open;
        // After AS comes the type of a cast.
        called && !three[0].is("AS") && !(three[1].kind == Kind::Word && keyword(three[1].text))
    });
    calls.map(|three| three[1].name()).collect()
}

/// Keywords that a parenthesis may follow without a call, and functions that the parser itself knows.
fn keyword(word: &str) -> bool {
    const KEYWORDS: [&str; 28] = [
        "AND", "OR", "NOT", "IN", "IS", "LIKE", "GLOB", "REGEXP", "MATCH", "BETWEEN", "ESCAPE", "CASE", "WHEN", "THEN", "ELSE",
        "WHERE", "CAST", "AS", "CHECK", "COLLATE", "ON", "NULL", "ISNULL", "NOTNULL", "FROM", "DISTINCT", "EXISTS", "RAISE",
    ];
    KEYWORDS.iter().any(|keyword| word.eq_ignore_ascii_case(keyword))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_leaves_its_parentheses_is_no_expression() {
        for bad in ["1); DROP TABLE t --", "1) OR (1", "a = 'x", "/* a", "", "a = 1; b", "(a"] {
            assert!(not_an_expression(bad).is_some(), "{bad}");
        }
        for good in ["a > ')'", "(a) and [b)] = \"c)\"", "a in (select 1) -- )\n"] {
            assert_eq!(not_an_expression(good), None, "{good}");
        }
    }

    #[test]
    fn a_partial_index_tells_its_condition() {
        assert_eq!(index_condition("CREATE INDEX \"where\" ON t(a) WHERE a > 1"), Some(" a > 1"));
        assert_eq!(index_condition("CREATE INDEX i ON t(a, 'where')"), None);
    }

    #[test]
    fn only_calls_in_computed_places_are_named() {
        let table =
            "CREATE TABLE t(a varchar(20) CHECK (length(a) < 3 AND a IN (1)), b AS (nope(a)), c DEFAULT (x()), PRIMARY KEY (a))";
        assert_eq!(functions(table, false), ["length", "nope"]);
        assert_eq!(functions("CREATE INDEX i ON t(lower(a)) WHERE far(b) AND (c)", true), ["lower", "far"]);
        assert_eq!(collations("CREATE TABLE t(a COLLATE nocase, b COLLATE \"My Own\")"), ["nocase", "My Own"]);
    }
}
