//! Logs as they are now, without following: one container after the other, each opened before its turn.

use futures::stream::{self, StreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use tokio::sync::{mpsc, watch};

use super::cursor::Cursor;
use super::instance::{Source, containers};
use super::tail::{Start, Tail};
use super::{Choice, Heard};

/// Containers whose logs are asked for at the same time.
const AT_ONCE: usize = 8;
/// Batches of lines of a container that wait for those before it; then its kubelet is read no faster.
const WAITING: usize = 16;

/// Reads the logs of the chosen containers of `pods`, in their order, and gives each batch to `take`. The result names
/// the containers whose logs the server does not give, with its words.
pub async fn read(
    client: &kube::Client,
    pods: &[Pod],
    choice: &Choice,
    (start, previous): (Start, bool),
    mut take: impl FnMut(Heard),
) -> Vec<(Source, String)> {
    let mut sources = Vec::new();
    for pod in pods {
        let chosen = containers(pod).into_iter().filter(|(role, name, _)| choice.takes(*role, name));
        let placed = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
        sources.extend(chosen.map(|(role, name, _)| (Source::new(pod, &name, role), placed)));
    }
    let reading = stream::iter(sources).map(|(source, placed)| {
        let (heard_tx, heard) = mpsc::channel(WAITING);
        let api: Api<Pod> = Api::namespaced(client.clone(), source.namespace());
        let mut tail = Tail {
            api,
            source: source.clone(),
            start,
            heard: heard_tx,
            newest: watch::channel(None).1,
            cursor: Cursor::default(),
        };
        let task = tokio::spawn(async move {
            // The server answers with an empty log then.
            let nowhere = || "its pod is not on a node yet, so there is no log".to_owned();
            if placed { tail.once(previous).await } else { Err(nowhere()) }
        });
        async move { (source, heard, task) }
    });
    let mut reading = std::pin::pin!(reading.buffered(AT_ONCE));
    let mut refused = Vec::new();
    while let Some((source, mut heard, task)) = reading.next().await {
        while let Some(heard) = heard.recv().await {
            take(heard);
        }
        match task.await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => refused.push((source, why)),
            Err(error) => refused.push((source, error.to_string())),
        }
    }
    refused
}
