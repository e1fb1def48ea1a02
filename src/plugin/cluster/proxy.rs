//! Which proxy, if any, stands between us and the API server. Decides only; connects nowhere.
//!
//! Rules as in Go's `httpproxy` package, which kubectl uses: `NO_PROXY` is held against the API server's address
//! (kube holds it against the proxy's), and a `proxy-url` of the kubeconfig is never overruled by `NO_PROXY`.

use std::net::IpAddr;

use http::Uri;

use super::flags::Environment;
use crate::failure::{Failure, Result};

/// The proxy to use for `server`; `configured` is the kubeconfig's `proxy-url`.
///
/// # Errors
/// A proxy that cannot be understood, or of a kind that is not supported.
pub(super) fn proxy_for(server: &Uri, configured: Option<&str>, environment: &Environment) -> Result<Option<Uri>> {
    if let Some(proxy) = configured.filter(|proxy| !proxy.is_empty()) {
        return parse(proxy, "proxy-url of the kubeconfig").map(Some);
    }
    let (from_environment, name) = match server.scheme_str() {
        Some("http") => (&environment.http_proxy, "HTTP_PROXY"),
        _ => (&environment.https_proxy, "HTTPS_PROXY"),
    };
    match from_environment {
        Some(proxy) if !bypasses(server, environment.no_proxy.as_deref().unwrap_or_default()) => parse(proxy, name).map(Some),
        _ => Ok(None),
    }
}

fn parse(proxy: &str, origin: &str) -> Result<Uri> {
    let with_scheme = if proxy.contains("://") { proxy.to_owned() } else { format!("http://{proxy}") };
    let scheme = with_scheme.split("://").next().unwrap_or_default();
    if !matches!(scheme, "http" | "https" | "socks5") {
        return Err(Failure::usage(format!("{origin} names a proxy of kind {scheme:?}, which is not supported"))
            .fact("supported kinds: http, https, socks5")
            .next("write socks5:// instead of socks5h:// if your machine can resolve the API server's name itself"));
    }
    // The value may hold a password: it is not repeated.
    with_scheme.parse().map_err(|_| Failure::usage(format!("{origin} is not a valid proxy address")))
}

fn bypasses(server: &Uri, no_proxy: &str) -> bool {
    let Some(host) = server.host() else { return false };
    let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_lowercase();
    let port = server.port_u16().unwrap_or(if server.scheme_str() == Some("http") { 80 } else { 443 });
    let address: Option<IpAddr> = host.parse().ok();
    if host == "localhost" || address.is_some_and(|ip| ip.is_loopback()) {
        return true;
    }
    no_proxy.split(',').map(|entry| entry.trim().to_lowercase()).any(|entry| matches(&entry, &host, address, port))
}

fn matches(entry: &str, host: &str, address: Option<IpAddr>, port: u16) -> bool {
    if entry == "*" {
        return true;
    }
    if let Some((network, bits)) = entry.split_once('/') {
        return in_network(address, network, bits);
    }
    let (name, wanted_port) = split_port(entry);
    if name.is_empty() || wanted_port.is_some_and(|wanted| wanted != port) {
        return false;
    }
    if let (Some(address), Ok(wanted)) = (address, name.parse::<IpAddr>()) {
        return address == wanted;
    }
    let suffix = name.trim_start_matches('*').trim_start_matches('.');
    let subdomain = host.strip_suffix(suffix).is_some_and(|rest| rest.ends_with('.'));
    subdomain || (host == suffix && !name.starts_with(['.', '*']))
}

/// Splits `host:port`, `[v6]:port`, `v6` and `host`.
fn split_port(entry: &str) -> (&str, Option<u16>) {
    if let Some((host, rest)) = entry.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        return (host, rest.strip_prefix(':').and_then(|port| port.parse().ok()));
    }
    match entry.split_once(':') {
        Some((host, port)) if !port.contains(':') => (host, port.parse().ok()),
        _ => (entry, None),
    }
}

fn in_network(address: Option<IpAddr>, network: &str, bits: &str) -> bool {
    let (Some(address), Ok(network), Ok(bits)) = (address, network.parse::<IpAddr>(), bits.parse::<u32>()) else {
        return false;
    };
    let (left, right, width) = match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u128::from(a.to_bits()), u128::from(b.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits(), b.to_bits(), 128),
        _ => return false,
    };
    bits <= width && (left ^ right).checked_shr(width - bits).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(server: &str, no_proxy: &str) -> bool {
        let environment = Environment {
            https_proxy: Some("http://proxy:3128".to_owned()),
            no_proxy: Some(no_proxy.to_owned()),
            ..Environment::default()
        };
        proxy_for(&server.parse().unwrap(), None, &environment).unwrap().is_some()
    }

    #[test]
    fn no_proxy_is_held_against_the_api_server_and_not_against_the_proxy() {
        assert!(through("https://10.1.2.3:6443", "proxy,10.9.0.0/16"));
        assert!(!through("https://10.1.2.3:6443", "10.1.2.3"));
        assert!(!through("https://10.1.2.3:6443", " 10.1.0.0/16 , "));
        assert!(!through("https://api.example.com", "example.com"));
        assert!(!through("https://api.example.com", ".example.com"));
        assert!(through("https://example.com", ".example.com"));
        assert!(through("https://badexample.com", "example.com"));
        assert!(!through("https://api.example.com:6443", "api.example.com:6443"));
        assert!(through("https://api.example.com", "api.example.com:6443"));
        assert!(!through("https://[fd00::1]:6443", "fd00::/8"));
        assert!(!through("https://anything", "*"));
        assert!(!through("https://127.0.0.1:6443", ""));
    }

    #[test]
    fn an_entry_that_makes_no_sense_is_no_error_and_matches_nothing() {
        assert!(through("https://10.1.2.3:6443", "10.1.2.3/99,/,:,[,not a host,"));
    }

    #[test]
    fn a_kind_of_proxy_that_is_not_supported_is_named() {
        let failure = proxy_for(&"https://a".parse().unwrap(), Some("socks5h://p:1"), &Environment::default()).unwrap_err();
        assert!(failure.message.contains("socks5h"), "{failure}");
    }

    #[test]
    fn the_proxy_of_the_kubeconfig_stands_above_no_proxy() {
        let environment = Environment { no_proxy: Some("*".to_owned()), ..Environment::default() };
        assert!(proxy_for(&"https://a".parse().unwrap(), Some("http://p:1"), &environment).unwrap().is_some());
    }
}
