//! What is known of a node.

use k8s_openapi::api::core::v1::Node;
use kube::api::Api;

use super::Cluster;

/// Architecture of a node as Kubernetes names it. Reading nodes is a right that few users have: without it, amd64 is
/// assumed, and a wrong guess shows when the helper binary does not start.
pub async fn arch(cluster: &Cluster, node: Option<&str>) -> String {
    let assumed = "amd64".to_owned();
    let Some(node) = node else { return assumed };
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    match nodes.get(node).await {
        Ok(node) => node.status.and_then(|status| status.node_info).map_or(assumed, |info| info.architecture),
        Err(_) => assumed,
    }
}
