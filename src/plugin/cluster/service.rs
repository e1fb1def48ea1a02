//! Services: whether anybody stands behind one, and what it answers, asked by way of the API server.

use std::collections::BTreeMap;

use http::Request;
use k8s_openapi::api::core::v1::{Endpoints, Service};
use kube::api::{Api, Patch};
use serde_json::{Value, json};

use super::error::{Context as _, found};
use super::{Cluster, as_ours};
use crate::failure::{Failure, Result};

/// Something to ask a Service for: `svc/front:80/health`, `https:front/health`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Probe {
    /// `https` or nothing.
    scheme: String,
    /// Name of the Service.
    pub service: String,
    /// Its port, by number or name; its first one when empty.
    port: String,
    /// Path with its query.
    path: String,
}

impl std::str::FromStr for Probe {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let form = || "write it like svc/NAME:PORT/PATH, or https:svc/NAME:PORT/PATH".to_owned();
        let (scheme, rest) = match text.split_once(':') {
            Some((scheme @ ("http" | "https"), rest)) => (scheme, rest.trim_start_matches('/')),
            _ => ("http", text),
        };
        let rest = ["svc/", "service/", "services/"].iter().find_map(|kind| rest.strip_prefix(kind)).unwrap_or(rest);
        let (place, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (service, port) = place.split_once(':').unwrap_or((place, ""));
        if service.is_empty() || service.chars().any(|c| !c.is_ascii_alphanumeric() && c != '-') {
            return Err(form());
        }
        let scheme = if scheme == "https" { "https" } else { "" };
        Ok(Self { scheme: scheme.to_owned(), service: service.to_owned(), port: port.to_owned(), path: format!("/{path}") })
    }
}

impl std::fmt::Display for Probe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.scheme.is_empty() { "" } else { "https:" };
        let port = if self.port.is_empty() { String::new() } else { format!(":{}", self.port) };
        write!(f, "{scheme}svc/{}{port}{}", self.service, self.path)
    }
}

impl Probe {
    /// Asks once.
    ///
    /// # Errors
    /// It does not answer, or with a status that is none of success; or the API server may not be asked for it.
    pub async fn ask(&self, cluster: &Cluster, namespace: &str) -> Result<()> {
        let port = if self.port.is_empty() { first_port(cluster, namespace, &self.service).await? } else { self.port.clone() };
        let scheme = if self.scheme.is_empty() { String::new() } else { format!("{}:", self.scheme) };
        let uri = format!("/api/v1/namespaces/{namespace}/services/{scheme}{}:{port}/proxy{}", self.service, self.path);
        let request = Request::get(uri).body(Vec::new());
        let request = request.map_err(|error| Failure::usage(format!("{self} is no address: {error}")))?;
        cluster.client.request_text(request).await.map(drop).doing(format!("get a good answer from {self}"))
    }
}

async fn first_port(cluster: &Cluster, namespace: &str, service: &str) -> Result<String> {
    let api: Api<Service> = Api::namespaced(cluster.client.clone(), namespace);
    let object = api.get(service).await.doing(format!("read service/{service}"))?;
    let port = object.spec.and_then(|spec| spec.ports).and_then(|ports| ports.first().map(|port| port.port));
    port.map(|port| port.to_string()).ok_or_else(|| Failure::failed(format!("service/{service} has no ports")))
}

/// What decides which pods or host a Service leads to.
///
/// # Errors
/// There is no such Service, or its endpoints are somebody else's work.
pub async fn pointing(cluster: &Cluster, namespace: &str, name: &str) -> Result<Value> {
    let api: Api<Service> = Api::namespaced(cluster.client.clone(), namespace);
    let spec = api.get(name).await.doing(format!("read service/{name}")).map_err(Failure::unchanged)?.spec.unwrap_or_default();
    if spec.external_name.is_none() && spec.selector.as_ref().is_none_or(BTreeMap::is_empty) {
        return Err(Failure::refused(format!("service/{name} has no selector: its endpoints are somebody else's work"))
            .state("nothing was changed"));
    }
    Ok(json!({"type": spec.type_, "selector": spec.selector, "externalName": spec.external_name}))
}

/// Points a Service to what [`pointing`] said of one; what of its selector is not named goes.
///
/// # Errors
/// When the API server refuses.
pub async fn point(cluster: &Cluster, namespace: &str, name: &str, to: &Value) -> Result<()> {
    let api: Api<Service> = Api::namespaced(cluster.client.clone(), namespace);
    let doing = format!("point service/{name} elsewhere");
    let mut selector = to["selector"].clone();
    let old = api.get(name).await.doing(doing.clone())?.spec.and_then(|spec| spec.selector).unwrap_or_default();
    if let Some(selector) = selector.as_object_mut() {
        for key in old.keys().filter(|key| to["selector"].get(key.as_str()).is_none()) {
            selector.insert(key.clone(), Value::Null);
        }
    }
    let change = json!({"spec": {"type": to["type"], "selector": selector, "externalName": to["externalName"]}});
    api.patch(name, &as_ours(), &Patch::Merge(&change)).await.map(drop).doing(doing)
}

/// How many addresses of a Service are ready; `None` where there is no such Service.
///
/// # Errors
/// When the API server refuses.
pub async fn ready_addresses(cluster: &Cluster, namespace: &str, service: &str) -> Result<Option<usize>> {
    let api: Api<Endpoints> = Api::namespaced(cluster.client.clone(), namespace);
    let object = found(api.get(service).await).doing(format!("read the endpoints of service/{service}"))?;
    let subsets = |object: Endpoints| object.subsets.into_iter().flatten();
    Ok(object.map(|object| subsets(object).map(|subset| subset.addresses.map_or(0, |all| all.len())).sum()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_is_a_service_with_a_port_and_a_path() {
        for (typed, shown) in [
            ("svc/front:80/health?x=1", "svc/front:80/health?x=1"),
            ("front", "svc/front/"),
            ("https:svc/front/a", "https:svc/front/a"),
            ("http://front:web/", "svc/front:web/"),
        ] {
            assert_eq!(typed.parse::<Probe>().unwrap().to_string(), shown);
        }
        for odd in ["", "svc/", "a b/c", "svc/a_b"] {
            assert!(odd.parse::<Probe>().is_err(), "{odd}");
        }
    }
}
