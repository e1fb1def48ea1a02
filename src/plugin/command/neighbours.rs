//! Who is behind a host name or an address that a database tells: a pod of this namespace, of another one where those may be
//! listed, or nobody that can be seen. Reads only.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};

use crate::cluster::Cluster;
use crate::cluster::error::is_forbidden;

/// A pod's host name is its name, as far as Linux lets host names be (`HOST_NAME_MAX`).
const HOST_NAME: usize = 63;

/// The pods of a namespace, and a way to those of others.
pub(super) struct Neighbours<'a> {
    cluster: &'a Cluster,
    namespace: &'a str,
    own: Vec<Pod>,
}

/// What is known of a name or an address.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Sighting {
    /// A pod has it, and no pod that still runs has it besides.
    Pod(Box<Pod>),
    /// No pod of the cluster has it.
    Nowhere,
    /// It can't be told; why, as a sentence without a full stop.
    Unseen(String),
}

impl<'a> Neighbours<'a> {
    /// Asks for the pods of a namespace; `None` where they can't be listed.
    pub(super) async fn of(cluster: &'a Cluster, namespace: &'a str) -> Option<Self> {
        let api: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
        let own = api.list(&ListParams::default()).await.ok()?.items;
        Some(Self { cluster, namespace, own })
    }

    /// The pod that a client of this address runs in.
    pub(super) async fn by_address(&self, address: &str) -> Sighting {
        if address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()) {
            return Sighting::Unseen("it comes from where the server itself runs, by way of a proxy perhaps".to_owned());
        }
        if let Some(pod) = self.own.iter().find(|pod| has_address(pod, address) && !is_over(pod)) {
            return Sighting::Pod(Box::new(pod.clone()));
        }
        match self.elsewhere(&format!("status.podIP={address}")).await {
            Ok(pods) => among(pods, address),
            Err(why) => Sighting::Unseen(why),
        }
    }

    /// The pod of this host name.
    pub(super) async fn by_host(&self, host: &str) -> Sighting {
        let own = self.own.iter().find(|pod| has_host(pod, host));
        if let Some(pod) = own.filter(|pod| !is_over(pod)) {
            return Sighting::Pod(Box::new(pod.clone()));
        }
        match (self.elsewhere(&format!("metadata.name={host}")).await, own) {
            (Ok(pods), own) => namesakes(own.cloned().into_iter().chain(pods).collect()),
            (Err(_), Some(own)) => Sighting::Pod(Box::new(own.clone())),
            (Err(why), None) => Sighting::Unseen(why),
        }
    }

    /// A pod's name, with its namespace where that is another one.
    pub(super) fn name(&self, pod: &Pod) -> String {
        match pod.namespace() {
            Some(namespace) if namespace != self.namespace => format!("pod/{} -n {namespace}", pod.name_any()),
            _ => format!("pod/{}", pod.name_any()),
        }
    }

    async fn elsewhere(&self, fields: &str) -> Result<Vec<Pod>, String> {
        let api: Api<Pod> = Api::all(self.cluster.client.clone());
        match api.list(&ListParams::default().fields(fields)).await {
            Ok(pods) => Ok(pods.items),
            Err(error) if is_forbidden(&error) => {
                Err(format!("it is not seen in namespace {}, and you may not list the pods of others", self.namespace))
            }
            Err(error) => Err(format!("the pods of other namespaces can't be listed: {error}")),
        }
    }
}

/// Of all pods of the cluster with a name: the one that runs; a host name does not tell which of several is meant.
fn namesakes(mut pods: Vec<Pod>) -> Sighting {
    pods.sort_by_key(is_over);
    let running: Vec<String> = pods.iter().filter(|pod| !is_over(pod)).filter_map(Pod::namespace).collect();
    if running.len() > 1 {
        return Sighting::Unseen(format!("pods of that name run in the namespaces {}", running.join(", ")));
    }
    pods.into_iter().next().map_or(Sighting::Nowhere, |pod| Sighting::Pod(Box::new(pod)))
}

/// Of all pods of the cluster with an address: those that run go first, for addresses are used again.
fn among(mut pods: Vec<Pod>, address: &str) -> Sighting {
    pods.sort_by_key(is_over);
    if let Some(pod) = pods.iter().find(|pod| has_address(pod, address)) {
        return Sighting::Pod(Box::new(pod.clone()));
    }
    match pods.first() {
        Some(pod) => {
            let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or("a node");
            Sighting::Unseen(format!("{address} is {node} itself: a process of it, or a pod in its network"))
        }
        None => Sighting::Nowhere,
    }
}

/// A pod in its node's network shares the address with all others there.
fn has_address(pod: &Pod, address: &str) -> bool {
    let on_host = pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true);
    let Some(status) = pod.status.as_ref().filter(|_| !on_host) else { return false };
    let more = status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str());
    status.pod_ip.as_deref().into_iter().chain(more).any(|ip| ip == address)
}

fn has_host(pod: &Pod, host: &str) -> bool {
    let name = pod.name_any();
    name == host || (host.len() == HOST_NAME && name.starts_with(host))
}

/// No process of it is left.
pub(super) fn is_over(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, phase: &str, host_network: bool) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": name, "namespace": "shop"},
            "spec": {"nodeName": "n1", "hostNetwork": host_network, "containers": []},
            "status": {"phase": phase, "podIP": "10.1.2.3"}}))
        .unwrap()
    }

    fn named(sighting: Sighting) -> String {
        match sighting {
            Sighting::Pod(pod) => pod.name_any(),
            Sighting::Nowhere => "nowhere".to_owned(),
            Sighting::Unseen(why) => why,
        }
    }

    #[test]
    fn an_address_that_was_used_again_belongs_to_the_pod_that_runs() {
        let (old, new) = (pod("old", "Succeeded", false), pod("new", "Running", false));
        assert_eq!(named(among(vec![old.clone(), new], "10.1.2.3")), "new");
        assert_eq!(named(among(vec![old], "10.1.2.3")), "old");
        assert_eq!(named(among(Vec::new(), "10.1.2.3")), "nowhere");
    }

    #[test]
    fn a_name_that_several_pods_have_is_that_of_the_one_that_runs() {
        let (over, runs) = (pod("job", "Failed", false), pod("job", "Running", false));
        let phase = |sighting| match sighting {
            Sighting::Pod(pod) => pod.status.and_then(|status| status.phase).unwrap_or_default(),
            other => named(other),
        };
        assert_eq!(phase(namesakes(vec![over.clone(), runs.clone()])), "Running");
        assert_eq!(phase(namesakes(vec![over])), "Failed");
        assert_eq!(phase(namesakes(vec![runs.clone(), runs])), "pods of that name run in the namespaces shop, shop");
        assert_eq!(phase(namesakes(Vec::new())), "nowhere");
    }

    #[test]
    fn the_address_of_a_node_is_no_pods() {
        let said = named(among(vec![pod("proxy", "Running", true), pod("agent", "Running", true)], "10.1.2.3"));
        assert!(said.contains("10.1.2.3 is n1 itself"), "{said}");
    }

    #[test]
    fn long_names_are_cut_off_as_host_names() {
        let long = format!("keeper-{}", "x".repeat(70));
        assert!(has_host(&pod(&long, "Running", false), &long[..HOST_NAME]));
        assert!(!has_host(&pod(&long, "Running", false), "keeper-x"));
    }
}
