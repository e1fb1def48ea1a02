//! Whether the cluster has room for a second release, as far as this user may know. Reads only; nothing of it is a reason to refuse.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, Pod, ResourceQuota};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::{Api, ListParams};
use serde_json::Value;

use crate::cluster::Cluster;
use crate::cluster::helm::Manifest;
use crate::cluster::volume::is_finished;

/// What is counted.
const RESOURCES: [&str; 2] = ["cpu", "memory"];

/// What the release would lack, a line each.
pub(super) async fn lacking(cluster: &Cluster, manifest: &Manifest) -> Vec<String> {
    let needs = needs(manifest);
    let mut lines = Vec::new();
    if let Some(free) = free(cluster).await {
        for (resource, need) in &needs {
            let free = free.get(resource).copied().unwrap_or_default();
            if *need > free {
                lines.push(format!(
                    "its pods request {} of {resource}, and all nodes together have {} left",
                    shown(*need),
                    shown(free)
                ));
            }
        }
    }
    let quotas: Api<ResourceQuota> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    for quota in quotas.list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default() {
        let status = quota.status.unwrap_or_default();
        let (hard, used) = (status.hard.unwrap_or_default(), status.used.unwrap_or_default());
        for (resource, need) in &needs {
            let of = |all: &BTreeMap<String, Quantity>| {
                all.get(&format!("requests.{resource}")).or_else(|| all.get(resource)).and_then(|quantity| number(&quantity.0))
            };
            if let (Some(hard), Some(used)) = (of(&hard), of(&used))
                && hard - used < *need
            {
                let name = quota.metadata.name.clone().unwrap_or_default();
                lines.push(format!(
                    "its pods request {} of {resource}, and resourcequota/{name} leaves {}",
                    shown(*need),
                    shown(hard - used)
                ));
            }
        }
    }
    lines
}

/// What the pods of a release request in all.
fn needs(manifest: &Manifest) -> BTreeMap<String, f64> {
    let mut needs: BTreeMap<String, f64> = BTreeMap::new();
    for (pod, count) in manifest.pods() {
        for container in pod["containers"].as_array().into_iter().flatten() {
            for resource in RESOURCES {
                let text = match &container["resources"]["requests"][resource] {
                    Value::String(text) => text.clone(),
                    Value::Number(number) => number.to_string(),
                    _ => continue,
                };
                // Exact up to 2^53.
                #[allow(clippy::cast_precision_loss, reason = "a number of pods")]
                let all = number(&text).unwrap_or_default() * count as f64;
                *needs.entry(resource.to_owned()).or_default() += all;
            }
        }
    }
    needs
}

/// What nodes that take pods have left; `None` for who may not know.
async fn free(cluster: &Cluster) -> Option<BTreeMap<String, f64>> {
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let pods: Api<Pod> = Api::all(cluster.client.clone());
    let everything = ListParams::default();
    let (nodes, pods) = tokio::join!(nodes.list(&everything), pods.list(&everything));
    let mut free: BTreeMap<String, f64> = BTreeMap::new();
    for node in nodes.ok()?.items {
        if node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or_default() {
            continue;
        }
        let allocatable = node.status.and_then(|status| status.allocatable).unwrap_or_default();
        for resource in RESOURCES {
            *free.entry(resource.to_owned()).or_default() +=
                allocatable.get(resource).and_then(|all| number(&all.0)).unwrap_or_default();
        }
    }
    for pod in pods.ok()?.items.iter().filter(|pod| !is_finished(pod)) {
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        for requests in containers.filter_map(|container| container.resources.as_ref()?.requests.as_ref()) {
            for resource in RESOURCES {
                *free.entry(resource.to_owned()).or_default() -=
                    requests.get(resource).and_then(|one| number(&one.0)).unwrap_or_default();
            }
        }
    }
    Some(free)
}

/// A quantity as Kubernetes writes it (apimachinery, "resource.Quantity"): `100m`, `1.5`, `512Mi`, `2G`.
fn number(text: &str) -> Option<f64> {
    const UNITS: [(&str, f64); 14] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("n", 1e-9),
        ("u", 1e-6),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
        ("", 1.0),
    ];
    let (unit, factor) = UNITS.iter().find(|(unit, _)| text.ends_with(unit))?;
    text.strip_suffix(unit)?.parse::<f64>().ok().map(|number| number * factor)
}

fn shown(number: f64) -> String {
    if number < 1000.0 { format!("{number:.2}") } else { format!("{:.0} MiB", number / 1_048_576.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_writes_them() {
        for (text, value) in [("100m", 0.1), ("2", 2.0), ("1.5", 1.5), ("512Mi", 536_870_912.0), ("1e3", 1000.0), ("2G", 2e9)] {
            assert!((number(text).unwrap() - value).abs() < 1e-9, "{text}");
        }
        assert_eq!(number("x"), None);
        let text = "kind: Deployment\nmetadata: {name: a}\nspec: {replicas: 3, template: {spec: {containers: [{resources: {requests: {cpu: 100m}}}, {}]}}}\n";
        assert!((needs(&Manifest::of(text))["cpu"] - 0.3).abs() < 1e-9);
    }
}
