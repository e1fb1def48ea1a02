//! Asking sidecars to end, by the endpoints that their makers have for it.

use std::io;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod};
use kube::ResourceExt as _;
use tokio::time::timeout;

use super::Cluster;
use super::exec::Limits;
use super::pods::command_line;
use crate::failure::{Failure, Result};

/// How long a sidecar may take to answer.
const ANSWER: Duration = Duration::from_secs(10);
/// The first bytes of an answer tell how it went.
const STATUS: usize = 64;

/// Where a sidecar listens for being asked to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Door {
    /// The container.
    pub container: String,
    port: u16,
    path: &'static str,
}

/// The sidecars of a pod that can be asked: Istio's and Linkerd's proxies, and Cloud SQL's where that was switched on.
#[must_use]
pub fn doors(pod: &Pod) -> Vec<Door> {
    let spec = pod.spec.as_ref();
    let all = spec.into_iter().flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()));
    all.filter_map(door).collect()
}

fn door(container: &Container) -> Option<Door> {
    let (port, path) = match container.name.as_str() {
        "istio-proxy" => (15020, "/quitquitquit"),
        "linkerd-proxy" => (4191, "/shutdown"),
        name if name.replace('-', "").contains("cloudsqlproxy") && wants_quitquitquit(container) => {
            (admin_port(container), "/quitquitquit")
        }
        _ => return None,
    };
    Some(Door { container: container.name.clone(), port, path })
}

/// Cloud SQL's proxy listens only if it is told to.
fn wants_quitquitquit(container: &Container) -> bool {
    let told = command_line(container).any(|word| word.contains("--quitquitquit"));
    let variable = |name: &str| name == "CSQL_PROXY_QUIT_QUIT_QUIT" || name == "CSQL_PROXY_QUITQUITQUIT";
    let by_variable = container.env.iter().flatten().any(|one| variable(&one.name) && one.value.as_deref() != Some("false"));
    told || by_variable
}

fn admin_port(container: &Container) -> u16 {
    command_line(container).find_map(|word| word.strip_prefix("--admin-port=")?.parse().ok()).unwrap_or(9091)
}

/// Asks a sidecar to end, by a port that is forwarded to its pod.
///
/// # Errors
/// The user may not forward ports; nobody answers; the answer is no.
pub async fn ask(cluster: &Cluster, pod: &Pod, door: &Door) -> Result<()> {
    let asked = timeout(ANSWER, request(cluster, pod, door)).await;
    asked.unwrap_or_else(|_| Err(Failure::failed(format!("container {} does not answer on port {}", door.container, door.port))))
}

async fn request(cluster: &Cluster, pod: &Pod, door: &Door) -> Result<()> {
    let Door { container, port, path } = door;
    let forward = cluster.forward(&pod.namespace().unwrap_or_default(), &pod.name_any(), Limits::default()).await?;
    let broken = |why: String| Failure::failed(format!("container {container} can't be asked to end on port {port}")).fact(why);
    let words = format!("POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let asked = async {
        let mut opened = forward.port(*port)?;
        opened.send(words.as_bytes()).await?;
        let mut answer = Vec::new();
        while answer.len() < STATUS && opened.wait().await? {
            answer.extend_from_slice(opened.unread());
            opened.consume(opened.unread().len());
        }
        Ok::<_, io::Error>(answer)
    };
    let answer = asked.await.map_err(|error| broken(error.to_string()))?;
    let status = String::from_utf8_lossy(&answer).split_whitespace().nth(1).unwrap_or_default().to_owned();
    if status.starts_with('2') { Ok(()) } else { Err(broken(format!("it answered {status:?}"))) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn only_those_are_asked_that_listen() {
        let pod = |containers: Value| -> Pod { serde_json::from_value(json!({"spec": {"containers": containers}})).unwrap() };
        let shown = |containers: Value| -> Vec<(String, u16, &str)> {
            doors(&pod(containers)).into_iter().map(|door| (door.container, door.port, door.path)).collect()
        };
        let all = shown(json!([{"name": "migrate"}, {"name": "istio-proxy"}, {"name": "linkerd-proxy"}]));
        assert_eq!(all, [("istio-proxy".to_owned(), 15020, "/quitquitquit"), ("linkerd-proxy".to_owned(), 4191, "/shutdown")]);
        assert!(shown(json!([{"name": "cloud-sql-proxy", "args": ["--port=5432"]}])).is_empty());
        let told = shown(json!([{"name": "cloudsql-proxy", "args": ["--quitquitquit", "--admin-port=9999"]}]));
        assert_eq!(told, [("cloudsql-proxy".to_owned(), 9999, "/quitquitquit")]);
        let env = json!([{"name": "CSQL_PROXY_QUITQUITQUIT", "value": "true"}]);
        assert_eq!(shown(json!([{"name": "cloud-sql-proxy", "env": env}]))[0].1, 9091);
    }
}
