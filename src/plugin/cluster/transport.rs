//! What every request to the API server passes through: credentials renewed, reads repeated, one time limit.
//!
//! Only GET is ever sent twice. Whatever changes something is sent once, whatever happens to it.

use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use kube::client::Body;
use kube::config::ExecConfig;
use kube::{Client, Config};
use tokio::sync::Mutex;

use super::config::Settings;
use super::credential;
use super::error::{TimedOut, Unreachable, is_connection_lost};
use crate::failure::{Failure, Result};

/// A server that asks for more patience than this gets the error shown instead.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Tries of a read beyond the first.
const REPEATS: usize = 4;

/// Opens the connection settings' client, and wraps it so that nobody can send past this file.
pub(super) async fn open(settings: &Settings) -> Result<Client> {
    // Fails only when a provider is installed already, which is what we want.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let link = connect(&settings.config, settings.plugin.as_ref()).await?;
    let transport = Arc::new(Transport {
        server: settings.config.cluster_url.clone(),
        config: settings.config.clone(),
        plugin: settings.plugin.clone(),
        link: Mutex::new(link),
        limit: settings.request_timeout,
    });
    let service = tower::service_fn(move |request: Request<Body>| {
        let transport = Arc::clone(&transport);
        async move { transport.send(request).await }
    });
    Ok(Client::new(service, settings.namespace.clone()))
}

struct Transport {
    config: Config,
    server: http::Uri,
    plugin: Option<ExecConfig>,
    link: Mutex<Link>,
    limit: Option<Duration>,
}

/// A client together with the life of its credential.
struct Link {
    client: Client,
    renew_at: Option<Timestamp>,
    /// The server refused the credential (401); the next request gets a new one.
    rejected: bool,
}

async fn connect(config: &Config, plugin: Option<&ExecConfig>) -> Result<Link> {
    let mut config = config.clone();
    let mut renew_at = None;
    if let Some(plugin) = plugin {
        let credential = credential::obtain(plugin).await?;
        credential.apply(&mut config.auth_info);
        renew_at = credential.renew_at;
    }
    let client = Client::try_from(config).map_err(|error| super::error::translate(&error, "set up the connection"))?;
    Ok(Link { client, renew_at, rejected: false })
}

/// Why a read is tried again.
enum Again {
    /// The server said so; this is its answer, should it be the last.
    Answered(Box<Response<Body>>),
    Failed(kube::Error),
}

impl Transport {
    async fn send(&self, request: Request<Body>) -> kube::Result<Response<Body>> {
        let outcome = if is_stream(&request) {
            self.pass(request).await
        } else if request.method() == Method::GET {
            self.read(request).await
        } else {
            self.once(request).await
        };
        outcome.map_err(|error| Unreachable::wrap(error, &self.server))
    }

    async fn read(&self, request: Request<Body>) -> kube::Result<Response<Body>> {
        let (parts, _) = request.into_parts();
        let attempt = || async {
            let request = || Request::from_parts(parts.clone(), Body::empty());
            let mut answer = self.once(request()).await;
            let refused = matches!(&answer, Ok(response) if response.status() == StatusCode::UNAUTHORIZED);
            if refused && self.plugin.is_some() {
                answer = self.once(request()).await;
            }
            match answer {
                Ok(response) if is_overloaded(response.status()) => Err(Again::Answered(Box::new(response))),
                Ok(response) => Ok(response),
                Err(error) => Err(Again::Failed(error)),
            }
        };
        let pace = ExponentialBuilder::default().with_min_delay(Duration::from_millis(200)).with_max_times(REPEATS).with_jitter();
        let last = attempt
            .retry(pace)
            .when(|again| match again {
                Again::Answered(response) => retry_after(response).is_none_or(|wait| wait <= LONGEST_WAIT),
                Again::Failed(error) => is_connection_lost(error),
            })
            .adjust(|again, planned| {
                let asked = if let Again::Answered(response) = again { retry_after(response) } else { None };
                planned.map(|planned| asked.unwrap_or_default().max(planned))
            })
            .await;
        match last {
            Ok(response) => Ok(response),
            Err(Again::Answered(response)) => Ok(*response),
            Err(Again::Failed(error)) => Err(error),
        }
    }

    /// One request and its whole answer, within `--request-timeout`.
    async fn once(&self, request: Request<Body>) -> kube::Result<Response<Body>> {
        let whole = async {
            let (parts, body) = self.pass(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok(Response::from_parts(parts, Body::from(body.to_vec())))
        };
        let Some(limit) = self.limit else { return whole.await };
        tokio::time::timeout(limit, whole).await.unwrap_or_else(|_| Err(kube::Error::Service(Box::new(TimedOut(limit)))))
    }

    /// One request; the answer's body is left to flow.
    async fn pass(&self, request: Request<Body>) -> kube::Result<Response<Body>> {
        let client = self.client().await.map_err(|failure| kube::Error::Service(Box::new(failure)))?;
        let response = client.send(request).await?;
        if response.status() == StatusCode::UNAUTHORIZED && self.plugin.is_some() {
            self.link.lock().await.rejected = true;
        }
        Ok(response)
    }

    async fn client(&self) -> Result<Client, Failure> {
        let mut link = self.link.lock().await;
        let expired = link.renew_at.is_some_and(|at| Timestamp::now() >= at);
        if link.rejected || expired {
            *link = connect(&self.config, self.plugin.as_ref()).await?;
        }
        Ok(link.client.clone())
    }
}

/// Answers that go on for as long as they like: exec, watch, logs.
fn is_stream(request: &Request<Body>) -> bool {
    let query = request.uri().query().unwrap_or_default();
    request.headers().contains_key(header::UPGRADE)
        || request.uri().path().ends_with("/log")
        || query.split('&').any(|pair| pair == "watch=true" || pair == "follow=true")
}

fn is_overloaded(status: StatusCode) -> bool {
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT)
}

fn retry_after(response: &Response<Body>) -> Option<Duration> {
    let value = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    value.trim().parse().ok().map(Duration::from_secs)
}
