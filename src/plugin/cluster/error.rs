//! Errors of kube in kubectl's words. No error of kube's reaches a person except through here.

use std::fmt;
use std::io::ErrorKind;
use std::time::Duration;

use http::Uri;
use kube::core::Status;

use crate::failure::{Failure, Result};

/// Adds what was being done to an error of kube's.
pub trait Context<T> {
    /// `what` completes "cannot …": `pods.get(name).await.doing("read pod shop/db-0")?`.
    ///
    /// # Errors
    /// The error, translated.
    fn doing(self, what: impl Into<String>) -> Result<T>;
}

impl<T> Context<T> for kube::Result<T> {
    fn doing(self, what: impl Into<String>) -> Result<T> {
        self.map_err(|error| translate(&error, &what.into()))
    }
}

/// Turns "not found" into `None` and leaves every other error alone.
///
/// # Errors
/// Every error but "not found".
pub fn found<T>(result: kube::Result<T>) -> kube::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_not_found(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The object is not there (404 `NotFound`).
#[must_use]
pub fn is_not_found(error: &kube::Error) -> bool {
    status(error).is_some_and(|status| status.code == 404)
}

/// Somebody else changed the object meanwhile, or it exists already (409).
#[must_use]
pub fn is_conflict(error: &kube::Error) -> bool {
    status(error).is_some_and(|status| status.code == 409)
}

/// The user may not do that (403).
#[must_use]
pub fn is_forbidden(error: &kube::Error) -> bool {
    status(error).is_some_and(|status| status.code == 403)
}

/// An admission webhook could not be asked, and so the server has done nothing (500 `InternalError`).
#[must_use]
pub fn is_webhook_that_fails(error: &kube::Error) -> bool {
    status(error).is_some_and(|status| status.code == 500 && status.message.contains("failed calling webhook"))
}

fn status(error: &kube::Error) -> Option<&Status> {
    match error {
        kube::Error::Api(status) => Some(status),
        _ => None,
    }
}

/// The failure that says it was impossible to do `what`, and why.
#[must_use]
pub fn translate(error: &kube::Error, what: &str) -> Failure {
    if let Some(own) = own_failure(error) {
        return own;
    }
    let failure = Failure::failed(format!("cannot {what}"));
    match error {
        kube::Error::Api(status) => from_status(failure, status),
        kube::Error::UpgradeConnection(kube::client::UpgradeConnectionError::ProtocolSwitch(code)) => {
            passing_if(failure, is_passing(code.as_u16()))
                .fact(format!("the API server was asked to switch to WebSocket and answered {code} instead of 101"))
                .next("a proxy on the way strips the Upgrade header: connect past it, or allow WebSocket on it")
        }
        kube::Error::UpgradeConnection(cause @ kube::client::UpgradeConnectionError::GetPendingUpgrade(_)) => {
            failure.passing().fact(format!("the connection broke while it switched to WebSocket: {}", words(cause)))
        }
        kube::Error::UpgradeConnection(cause) => failure
            .fact(format!("the switch to WebSocket failed: {}", words(cause)))
            .next("a proxy on the way may not pass WebSocket: connect past it"),
        kube::Error::SerdeError(cause) => failure.fact(format!("the server's answer was not understood: {cause}")),
        kube::Error::Service(_) | kube::Error::HyperError(_) => connection(failure, error),
        other => failure.fact(words(other)),
    }
}

/// Failures that travelled through kube from our own transport: a credential plugin that failed.
fn own_failure(error: &kube::Error) -> Option<Failure> {
    let kube::Error::Service(cause) = error else { return None };
    if let Some(failure) = cause.downcast_ref::<Failure>() {
        return Some(failure.clone());
    }
    cause.downcast_ref::<Unreachable>().and_then(|unreachable| own_failure(&unreachable.cause))
}

/// A status that a busy or restarting server answers with, or a proxy before it.
fn is_passing(code: u16) -> bool {
    matches!(code, 429 | 500 | 502..=504)
}

fn passing_if(failure: Failure, passing: bool) -> Failure {
    if passing { failure.passing() } else { failure }
}

fn from_status(failure: Failure, status: &Status) -> Failure {
    let failure = passing_if(failure, is_passing(status.code));
    let reason = if status.reason.is_empty() { reason_of(status.code).to_owned() } else { status.reason.clone() };
    let text = status.message.trim();
    match status.code {
        401 => {
            return failure
                .fact("You must be logged in to the server (Unauthorized)")
                .next("log in again with the tool that wrote your kubeconfig")
                .next("kubectl config view --minify");
        }
        403 => return failure.fact(format!("Error from server ({reason}): {text}")).next("kubectl auth can-i --list"),
        _ => {}
    }
    let failure = if text.is_empty() {
        failure.fact(format!("Error from server ({reason}): HTTP status {}", status.code))
    } else {
        failure.fact(format!("Error from server ({reason}): {text}"))
    };
    let causes = status
        .details
        .iter()
        .flat_map(|details| &details.causes)
        .filter(|cause| !cause.message.is_empty() && !text.contains(&cause.message));
    failure.facts(
        causes.map(
            |cause| if cause.field.is_empty() { cause.message.clone() } else { format!("{}: {}", cause.field, cause.message) },
        ),
    )
}

fn reason_of(code: u16) -> &'static str {
    http::StatusCode::from_u16(code).ok().and_then(|code| code.canonical_reason()).unwrap_or("Unknown")
}

fn connection(failure: Failure, error: &kube::Error) -> Failure {
    let unreachable = match error {
        kube::Error::Service(cause) => cause.downcast_ref::<Unreachable>(),
        _ => None,
    };
    let server = unreachable.map_or_else(|| "the server".to_owned(), |unreachable| unreachable.server.clone());
    let cause = unreachable.map_or(error, |unreachable| &unreachable.cause);
    if let Some(TimedOut(limit)) = find::<TimedOut>(cause) {
        return failure
            .passing()
            .fact(format!("no answer from {server} within {} s (--request-timeout)", limit.as_secs_f64()))
            .state("whether the server acted on it is not known");
    }
    if let Some(tls) = find::<rustls::Error>(cause) {
        return failure.fact(format!("Unable to connect to the server: tls: {}", tls_words(tls))).next(
            "check certificate-authority and tls-server-name of the cluster in your kubeconfig: kubectl config view --minify",
        );
    }
    let failure = failure.passing();
    if io_kinds(cause).contains(&ErrorKind::ConnectionRefused) {
        return failure
            .fact(format!("The connection to the server {server} was refused - did you specify the right host or port?"));
    }
    failure.fact(format!("Unable to connect to the server: {server}: {}", words(cause)))
}

fn tls_words(error: &rustls::Error) -> String {
    use rustls::CertificateError as Certificate;
    match error {
        rustls::Error::InvalidCertificate(Certificate::UnknownIssuer) => {
            "failed to verify certificate: signed by unknown authority".to_owned()
        }
        rustls::Error::InvalidCertificate(Certificate::Expired | Certificate::ExpiredContext { .. }) => {
            "failed to verify certificate: it has expired, or this machine's clock is wrong".to_owned()
        }
        rustls::Error::InvalidCertificate(Certificate::NotValidForName) => {
            "failed to verify certificate: it is for another name".to_owned()
        }
        rustls::Error::InvalidMessage(_) => "first record does not look like a TLS handshake".to_owned(),
        other => other.to_string(),
    }
}

/// A one-shot request took longer than `--request-timeout`.
#[derive(Debug)]
pub(super) struct TimedOut(pub(super) Duration);

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no answer within {} s", self.0.as_secs_f64())
    }
}

impl std::error::Error for TimedOut {}

/// An error of the connection, with the address that kube leaves out.
#[derive(Debug)]
pub(super) struct Unreachable {
    server: String,
    cause: kube::Error,
}

impl Unreachable {
    /// Adds the address to errors of the connection; leaves every other error alone.
    pub(super) fn wrap(cause: kube::Error, server: &Uri) -> kube::Error {
        if !matches!(cause, kube::Error::Service(_) | kube::Error::HyperError(_)) {
            return cause;
        }
        let server = server.authority().map_or_else(|| server.to_string(), ToString::to_string);
        kube::Error::Service(Box::new(Self { server, cause }))
    }
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unable to connect to {}", self.server)
    }
}

impl std::error::Error for Unreachable {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}

/// The connection failed or broke, so that a read may be tried again on a new one.
pub(super) fn is_connection_lost(error: &kube::Error) -> bool {
    // Not timed out: after 30 s without a connection more of the same does not help.
    const LOST: [ErrorKind; 5] = [
        ErrorKind::ConnectionRefused,
        ErrorKind::ConnectionReset,
        ErrorKind::ConnectionAborted,
        ErrorKind::BrokenPipe,
        ErrorKind::UnexpectedEof,
    ];
    // hyper's own "connection closed before message completed" is no I/O error.
    let incomplete = || chain(error).any(|cause| cause.to_string().contains("connection closed before message completed"));
    find::<Failure>(error).is_none() && (io_kinds(error).iter().any(|kind| LOST.contains(kind)) || incomplete())
}

fn io_kinds(error: &kube::Error) -> Vec<ErrorKind> {
    chain(error).filter_map(|cause| cause.downcast_ref::<std::io::Error>()).map(std::io::Error::kind).collect()
}

fn find<T: std::error::Error + 'static>(error: &kube::Error) -> Option<&T> {
    chain(error).find_map(|cause| cause.downcast_ref::<T>())
}

/// The error and all its causes, those included that `io::Error` leaves out of its chain.
fn chain<'a>(error: &'a (dyn std::error::Error + 'static)) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |&error: &&'a (dyn std::error::Error + 'static)| {
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        inner.map_or_else(|| error.source(), |inner| Some(inner as &(dyn std::error::Error + 'static)))
    })
}

/// An error with all its causes as one line, TLS errors in the words that people know.
pub(crate) fn chain_in_words(error: &(dyn std::error::Error + 'static)) -> String {
    let tls = chain(error).find_map(|cause| cause.downcast_ref::<rustls::Error>());
    tls.map_or_else(|| words(error), |tls| format!("TLS: {}", tls_words(tls)))
}

/// The innermost causes as one line, without the wrappers' names and without saying anything twice.
fn words(error: &(dyn std::error::Error + 'static)) -> String {
    let mut texts: Vec<String> = Vec::new();
    for text in chain(error).map(ToString::to_string) {
        // A wrapper's text often repeats its cause's.
        texts.retain(|earlier| {
            !earlier.contains(&text) && !earlier.starts_with("ServiceError") && !earlier.starts_with("client error")
        });
        texts.push(text);
    }
    texts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forbidden_request_reads_as_kubectl_says_it() {
        let status = Status {
            code: 403,
            reason: "Forbidden".to_owned(),
            message: "pods \"a\" is forbidden".to_owned(),
            ..Status::default()
        };
        let failure = translate(&kube::Error::Api(Box::new(status)), "read pod x/a");
        assert_eq!(failure.message, "cannot read pod x/a");
        assert_eq!(failure.facts, ["Error from server (Forbidden): pods \"a\" is forbidden"]);
    }

    #[test]
    fn the_cause_inside_an_io_error_is_found() {
        let inner = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let error = kube::Error::Service(Box::new(std::io::Error::new(ErrorKind::InvalidData, inner)));
        let failure = translate(&error, "read pod x/a");
        assert!(failure.facts[0].contains("signed by unknown authority"), "{failure:?}");
        assert!(!is_connection_lost(&error));
    }
}
