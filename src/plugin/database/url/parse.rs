//! The ways in which people write down a database. An error never repeats what was written.

use percent_encoding::percent_decode_str;

use super::{Engine, Parts, Password, TlsMode};
use crate::failure::{Failure, Result};

/// What a text says of a database.
///
/// # Errors
/// It is in none of the known forms, or broken.
pub(in crate::database) fn parts(text: &str) -> Result<Parts> {
    let text = text.trim();
    let text = strip(text, "jdbc:").unwrap_or(text);
    let path = if text.starts_with('/') { Some(text.to_owned()) } else { sqlite(text) };
    if let Some(path) = path {
        return Ok(Parts { file: Some(path), ..Parts::default() });
    }
    if is_pairs(text) {
        return of_pairs(text);
    }
    if let Some((user, address)) = ["@tcp(", "@unix("].iter().find_map(|mark| split_last(text, mark)) {
        return go(strip(user, "mysql://").unwrap_or(user), address, text.contains("@unix("));
    }
    match text.split_once("://") {
        Some((scheme, rest)) => url(engine(scheme).ok_or_else(unknown)?, rest),
        None => Err(unknown()),
    }
}

/// It begins with a key and `=`. What comes behind may look like anything: a password.
fn is_pairs(text: &str) -> bool {
    let is_key = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '_' | '-');
    text.trim_start_matches(is_key).starts_with('=')
}

fn of_pairs(text: &str) -> Result<Parts> {
    if is_ado(text) {
        let pairs = ado(text)?;
        let engine = ado_engine(&pairs);
        return Ok(Parts { engine, ..pairs_into_parts(pairs)? });
    }
    let mut parts = pairs_into_parts(conninfo(text)?)?;
    parts.engine = Some(Engine::Postgres);
    Ok(parts)
}

fn unknown() -> Failure {
    Failure::usage("this is no database URL that is understood").fact(
        "understood: postgres://, postgresql://, mysql://, mariadb://, sqlite:, jdbc:…, and key=value as libpq and ADO.NET take it",
    )
}

fn broken(what: &str) -> Failure {
    Failure::usage(format!("the database URL is broken: {what}"))
}

fn strip<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let head = text.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then(|| &text[prefix.len()..])
}

fn split_last<'a>(text: &'a str, mark: &str) -> Option<(&'a str, &'a str)> {
    text.rsplit_once(mark)
}

/// `postgresql+psycopg2`, `postgres`, `mysql+pymysql`, `mariadb`.
pub(in crate::database) fn engine(scheme: &str) -> Option<Engine> {
    let name = scheme.split_once('+').map_or(scheme, |(name, _)| name).to_ascii_lowercase();
    match name.as_str() {
        "postgres" | "postgresql" | "pgsql" | "psql" | "pg" | "pgx" | "pgx5" | "postgis" | "postgresql_psycopg2" => {
            Some(Engine::Postgres)
        }
        "mysql" | "mysql2" | "mariadb" => Some(Engine::Mysql),
        _ => None,
    }
}

/// `sqlite:a.db`, `sqlite:///a.db`, `sqlite3:…`, `sqlite+aiosqlite:…`, `file:a.db`; the path is what is left of it.
fn sqlite(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once(':')?;
    let name = scheme.split_once('+').map_or(scheme, |(name, _)| name).to_ascii_lowercase();
    if !matches!(name.as_str(), "sqlite" | "sqlite3" | "file") {
        return None;
    }
    let path = rest.split_once('?').map_or(rest, |(path, _)| path);
    let path = path.strip_prefix("//").unwrap_or(path);
    // SQLAlchemy has four slashes before an absolute path.
    let path = path.strip_prefix("//").map_or_else(|| path.to_owned(), |rest| format!("/{rest}"));
    decoded(&path).ok()
}

fn url(engine: Engine, rest: &str) -> Result<Parts> {
    let (login, rest) = login_of(rest);
    let (rest, query) = rest.split_once('?').map_or((rest, ""), |(rest, query)| (rest, query));
    let (hosts, database) = rest.split_once('/').map_or((rest, ""), |(hosts, database)| (hosts, database));
    if !is_hosts(hosts) {
        return Err(broken("its host has signs that no host has: a password must be percent-encoded"));
    }
    let mut own = Parts { engine: Some(engine), ..Parts::default() };
    if let Some(login) = login {
        let (user, password) = login.split_once(':').map_or((login, None), |(user, password)| (user, Some(password)));
        own.user = some(decoded(user)?);
        own.password = password.map(decoded).transpose()?.map(Password::new);
    }
    let hosts: Vec<_> = hosts.split(',').filter(|host| !host.is_empty()).map(host_and_port).collect::<Result<_>>()?;
    own.hosts = hosts.iter().map(|(host, _)| decoded(host)).collect::<Result<_>>()?;
    if hosts.iter().any(|(_, port)| port.is_some()) {
        own.ports = hosts.iter().map(|(_, port)| port.unwrap_or(engine.port())).collect();
    }
    own.database = some(decoded(database.split_once('#').map_or(database, |(name, _)| name))?);
    let mut pairs = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        pairs.push((decoded(key)?, decoded(value)?));
    }
    // A host in the query stands for the one before the path: `postgresql:///app?host=/run/sql`.
    Ok(pairs_into_parts(pairs)?.or(own))
}

/// What is before the `@`. A password is often not encoded as it should be, so the last `@` counts that a host can follow.
fn login_of(rest: &str) -> (Option<&str>, &str) {
    let behind = |at: usize| authority(&rest[at + 1..]);
    let in_authority = authority(rest).rfind('@').filter(|at| is_hosts(behind(*at)));
    let beyond = || {
        let mut all = rest.match_indices('@').map(|(at, _)| at);
        all.find(|at| !behind(*at).is_empty() && is_hosts(behind(*at)) && rest[..*at].contains(':'))
    };
    match in_authority.or_else(beyond) {
        Some(at) => (Some(&rest[..at]), &rest[at + 1..]),
        None => (None, rest),
    }
}

fn authority(rest: &str) -> &str {
    rest.find(['/', '?', '#']).map_or(rest, |end| &rest[..end])
}

/// Only what hosts and ports are made of.
fn is_hosts(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || ".-_:,[]%".contains(c))
}

fn host_and_port(text: &str) -> Result<(&str, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let port = port.filter(|port| !port.is_empty()).map(number).transpose()?;
    Ok((host, port))
}

fn number(port: &str) -> Result<u16> {
    port.trim().parse().map_err(|_| broken("its port is no number from 1 to 65535"))
}

fn decoded(text: &str) -> Result<String> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(std::borrow::Cow::into_owned).map_err(|_| broken("it is not UTF-8 once it is percent-decoded"))
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// `user:password@tcp(host:3306)/app?tls=true`, with the text cut at `@tcp(`.
fn go(login: &str, rest: &str, is_socket: bool) -> Result<Parts> {
    let (address, rest) = rest.split_once(')').ok_or_else(|| broken("a bracket is not closed"))?;
    let (user, password) = login.split_once(':').map_or((login, None), |(user, password)| (user, Some(password)));
    let mut own = Parts {
        engine: Some(Engine::Mysql),
        user: some(user.to_owned()),
        password: password.map(Password::new),
        ..Parts::default()
    };
    if is_socket {
        own.socket = Some(address.to_owned());
    } else {
        let (host, port) = host_and_port(address)?;
        (own.hosts, own.ports) = (vec![host.to_owned()], port.into_iter().collect());
    }
    let rest = rest.strip_prefix('/').unwrap_or(rest);
    let (database, query) = rest.split_once('?').unwrap_or((rest, ""));
    own.database = some(decoded(database)?);
    let tls = query.split('&').find_map(|pair| pair.strip_prefix("tls="));
    own.mode = tls.and_then(mode);
    Ok(own)
}

type Pairs = Vec<(String, String)>;

/// libpq's `key = 'value'`, values with backslashes and in quotes.
fn conninfo(text: &str) -> Result<Pairs> {
    let mut pairs = Vec::new();
    let mut rest = text.chars().peekable();
    loop {
        while rest.next_if(|c| c.is_whitespace()).is_some() {}
        if rest.peek().is_none() {
            return Ok(pairs);
        }
        let mut key = String::new();
        while let Some(c) = rest.next_if(|c| *c != '=') {
            key.push(c);
        }
        if rest.next().is_none() {
            return Err(broken("a word has no ="));
        }
        while rest.next_if(|c| c.is_whitespace()).is_some() {}
        let quoted = rest.next_if_eq(&'\'').is_some();
        let mut value = String::new();
        loop {
            match rest.next() {
                Some('\\') => value.extend(rest.next()),
                Some('\'') if quoted => break,
                Some(c) if c.is_whitespace() && !quoted => break,
                Some(c) => value.push(c),
                None if quoted => return Err(broken("a quote is not closed")),
                None => break,
            }
        }
        pairs.push((key.trim().to_owned(), value));
    }
}

/// Pairs end at `;`: with libpq's blanks between them, the first `;` outside of quotes would have several of them before it.
fn is_ado(text: &str) -> bool {
    let Some((_, value)) = text.split_once('=') else { return false };
    let value = value.trim_start();
    match value.chars().next().filter(|first| matches!(first, '"' | '\'')) {
        Some(quote) => behind_quotes(&value[1..], quote).trim_start().starts_with(';'),
        None => value.split_once(';').is_some_and(|(first, _)| !first.contains('=')),
    }
}

/// What follows the closing quote; one that is doubled (ADO.NET) or has a backslash before it (libpq, which has `'` only) closes nothing.
fn behind_quotes(text: &str, quote: char) -> &str {
    let mut signs = text.char_indices().peekable();
    while let Some((at, sign)) = signs.next() {
        let is_double = sign == quote && signs.peek().is_some_and(|(_, next)| *next == quote);
        if is_double || (sign == '\\' && quote == '\'') {
            signs.next();
        } else if sign == quote {
            return &text[at + 1..];
        }
    }
    ""
}

/// ADO.NET's `Host=…;Username=…`; a value may be in quotes, and doubled quotes stand for one.
fn ado(text: &str) -> Result<Pairs> {
    let mut pairs = Vec::new();
    let mut rest = text;
    while !rest.trim_matches([';', ' ']).is_empty() {
        rest = rest.trim_start_matches([';', ' ']);
        let (key, behind) = rest.split_once('=').ok_or_else(|| broken("a word has no ="))?;
        let quote = behind.chars().next().filter(|c| matches!(c, '"' | '\''));
        let value = match quote {
            None => behind.split(';').next().unwrap_or_default(),
            Some(quote) => {
                let end = closing(&behind[1..], quote).ok_or_else(|| broken("a quote is not closed"))?;
                &behind[..end + 2]
            }
        };
        rest = &behind[value.len()..];
        let value = match quote {
            None => value.trim().to_owned(),
            Some(quote) => value[1..value.len() - 1].replace(&format!("{quote}{quote}"), &quote.to_string()),
        };
        pairs.push((key.trim().to_owned(), value));
    }
    Ok(pairs)
}

/// Npgsql has `Host` and `Username`, the drivers of MySQL have `Server` and `Uid` or `User`.
fn ado_engine(pairs: &Pairs) -> Option<Engine> {
    let has = |names: &[&str]| pairs.iter().any(|(key, _)| names.iter().any(|name| key.eq_ignore_ascii_case(name)));
    match (has(&["username", "user id"]) && has(&["host"]), has(&["uid", "user"]) && has(&["server"])) {
        (true, false) => Some(Engine::Postgres),
        (false, true) => Some(Engine::Mysql),
        _ => None,
    }
}

fn closing(text: &str, quote: char) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + text[from..].find(quote)?;
        if !text[at + 1..].starts_with(quote) {
            return Some(at);
        }
        from = at + 2;
    }
}

/// The first section of that name in an INI file such as libpq's service file.
pub(in crate::database) fn ini(text: &str, section: &str) -> Result<Option<Parts>> {
    let heading = format!("[{section}]");
    let mut lines = text.lines().map(str::trim).skip_while(|line| *line != heading);
    if lines.next().is_none() {
        return Ok(None);
    }
    let own = lines.take_while(|line| !line.starts_with('[')).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let pairs = own.filter_map(|line| line.split_once('=')).map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()));
    let mut parts = pairs_into_parts(pairs.collect())?;
    parts.engine = Some(Engine::Postgres);
    Ok(Some(parts))
}

/// Settings by their names in libpq, JDBC, ADO.NET and the drivers of MySQL. Others are no business of ours.
fn pairs_into_parts(pairs: Pairs) -> Result<Parts> {
    let mut parts = Parts::default();
    for (key, value) in pairs {
        if value.is_empty() {
            continue;
        }
        let key: String = key.chars().filter(|c| !matches!(c, ' ' | '_' | '-')).collect::<String>().to_ascii_lowercase();
        match key.as_str() {
            "host" | "hostaddr" | "server" | "datasource" if value.starts_with("tcp:") => {
                parts.hosts = vec![value[4..].to_owned()];
            }
            // hostaddr only spares the look-up of host, which also names the server in its certificate.
            "hostaddr" if !parts.hosts.is_empty() => {}
            "host" | "hostaddr" | "server" | "datasource" => parts.hosts = value.split(',').map(str::to_owned).collect(),
            "port" => parts.ports = value.split(',').map(number).collect::<Result<_>>()?,
            "user" | "username" | "userid" | "uid" => parts.user = Some(value),
            "password" | "pwd" => parts.password = Some(Password::new(value)),
            "dbname" | "database" | "initialcatalog" => parts.database = Some(value),
            // These only say that there is to be TLS.
            "usessl" | "requiressl" | "ssl" if value.eq_ignore_ascii_case("true") => parts.mode = Some(TlsMode::Require),
            "sslmode" | "tls" | "usessl" | "requiressl" | "ssl" => parts.mode = mode(&value).or(parts.mode),
            "sslrootcert" | "rootcertificate" | "sslca" => parts.roots = Some(value),
            "sslcert" | "sslcertificate" => parts.certificate = Some(value),
            "sslkey" => parts.key = Some(value),
            "service" => parts.service = Some(value),
            "socket" | "unixsocket" | "socketpath" => parts.socket = Some(value),
            _ => {}
        }
    }
    Ok(parts)
}

/// The words for TLS in libpq, MySQL's own drivers, JDBC, ADO.NET and Go.
pub(in crate::database) fn mode(word: &str) -> Option<TlsMode> {
    let word: String = word.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    Some(match word.as_str() {
        "disable" | "disabled" | "none" | "false" | "0" => TlsMode::Disable,
        "allow" | "prefer" | "preferred" => TlsMode::Prefer,
        "require" | "required" | "skipverify" | "trust" | "1" => TlsMode::Require,
        "verifyca" => TlsMode::VerifyCa,
        "verifyfull" | "verifyidentity" | "true" => TlsMode::VerifyFull,
        _ => return None,
    })
}
