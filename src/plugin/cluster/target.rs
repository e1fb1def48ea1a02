//! From what the user named to a pod, its container and its owner. Reads only.

use k8s_openapi::api::core::v1::Pod;
use kube::core::{Expression, Selector};
use kube::{Api, ResourceExt as _};

use super::Cluster;
use super::at_rest;
use super::error::{Context as _, found};
use super::kind::{Kind, TargetRef};
use super::names::{self, Name};
use super::owner::{Owner, owner_of};
use super::pods::is_ready;
use super::workload_pods;
use crate::failure::{Failure, Result};

/// A pod to work on, looked up.
#[derive(Debug, Clone)]
pub struct Target {
    /// What the user named.
    pub asked: TargetRef,
    /// Namespace of all of it.
    pub namespace: String,
    /// The pod as it was when looked up. It need not be running.
    pub pod: Pod,
    /// There is no such pod now: it is what a workload at 0 replicas would run.
    pub at_rest: bool,
    /// The container that counts.
    pub container: String,
    /// The topmost controller of the pod.
    pub owner: Owner,
    /// What was decided without being told to; one line each, for stderr.
    pub notices: Vec<String>,
}

impl Target {
    /// Looks the target up in the cluster's namespace. A workload stands for one of its pods: a ready one, else the newest;
    /// at 0 replicas, for the one that it would run.
    ///
    /// # Errors
    /// Nothing of that name (similar names are shown), no pods, no such container, or not allowed to read.
    pub async fn resolve(cluster: &Cluster, asked: &TargetRef, container: Option<&str>) -> Result<Self> {
        let namespace = cluster.namespace.clone();
        let mut notices = Vec::new();
        let pods = match asked.kind {
            Kind::Pod => pod(cluster, asked).await?.into_iter().collect(),
            _ => workload_pods::of(cluster, asked).await?,
        };
        let at_rest = if pods.is_empty() { at_rest::pod(cluster, asked).await? } else { None };
        let (pod, at_rest) = match at_rest {
            Some(pod) => (pod, true),
            None if asked.kind == Kind::Pod && pods.is_empty() => return Err(not_found(cluster, asked).await),
            None => (choose(pods, asked, &mut notices)?, false),
        };
        let container = choose_container(&pod, container, &mut notices)?;
        let owner = owner_of(cluster, &namespace, &pod.metadata).await?;
        Ok(Self { asked: asked.clone(), namespace, pod, at_rest, container, owner, notices })
    }

    /// Name of the pod.
    #[must_use]
    pub fn pod_name(&self) -> String {
        self.pod.name_any()
    }
}

async fn pod(cluster: &Cluster, asked: &TargetRef) -> Result<Option<Pod>> {
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    found(pods.get(&asked.name).await).doing(format!("read {asked} in namespace {}", cluster.namespace))
}

fn choose(mut pods: Vec<Pod>, asked: &TargetRef, notices: &mut Vec<String>) -> Result<Pod> {
    let count = pods.len();
    // Not on its way out, ready, newest: in this order.
    pods.sort_by_key(|pod| {
        (pod.metadata.deletion_timestamp.is_none(), is_ready(pod), pod.creation_timestamp().map(|time| time.0))
    });
    let pod = pods.pop().ok_or_else(|| {
        Failure::failed(format!("{asked} has 0 pods"))
            .fact("it is finished and cleaned up, or its pods cannot be created")
            .next(format!("kubectl describe {asked}"))
    })?;
    if count > 1 {
        notices.push(format!("Found {count} pods, using pod/{}", pod.name_any()));
    }
    Ok(pod)
}

const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

fn choose_container(pod: &Pod, asked: Option<&str>, notices: &mut Vec<String>) -> Result<String> {
    let spec = pod.spec.clone().unwrap_or_default();
    let main: Vec<String> = spec.containers.into_iter().map(|container| container.name).collect();
    let init: Vec<String> = spec.init_containers.into_iter().flatten().map(|container| container.name).collect();
    let ephemeral: Vec<String> = spec.ephemeral_containers.into_iter().flatten().map(|container| container.name).collect();
    let is_one = |name: &str| [&main, &init, &ephemeral].iter().any(|names| names.iter().any(|one| one == name));
    let described = || {
        let marked =
            |names: &[String], mark: &'static str| names.iter().map(move |name| format!("{name}{mark}")).collect::<Vec<_>>();
        [marked(&main, ""), marked(&ephemeral, " (ephem)"), marked(&init, " (init)")].concat().join(", ")
    };
    let annotated = pod.annotations().get(DEFAULT_CONTAINER).map(String::as_str);
    match asked {
        Some(name) if is_one(name) => return Ok(name.to_owned()),
        Some(name) => {
            return Err(Failure::usage(format!("container {name} is not valid for pod {}", pod.name_any()))
                .fact(format!("it has: {}", described()))
                .next("give one of them with -c"));
        }
        None => {}
    }
    if let Some(name) = annotated {
        if is_one(name) {
            return Ok(name.to_owned());
        }
        notices.push(format!(
            "Default container name {name:?} in annotation {DEFAULT_CONTAINER} not found in pod {}",
            pod.name_any()
        ));
    }
    let first = main.first().cloned().ok_or_else(|| Failure::failed(format!("pod {} has no containers", pod.name_any())))?;
    if main.len() + init.len() + ephemeral.len() > 1 {
        notices.push(format!("Defaulted container {first:?} out of: {}", described()));
    }
    Ok(first)
}

/// The failure that says what is not there, and what was perhaps meant.
pub async fn not_found(cluster: &Cluster, asked: &TargetRef) -> Failure {
    let failure = Failure::failed(format!("{} {:?} not found in namespace {}", asked.kind, asked.name, cluster.namespace));
    let mut meant: Vec<String> = Vec::new();
    if asked.kind == Kind::Pod {
        meant.extend(workloads_called(cluster, &asked.name).await);
    }
    let everywhere = match names::list(cluster, asked.kind, None).await {
        Some(everywhere) => everywhere,
        None => names::list(cluster, asked.kind, Some(&cluster.namespace)).await.unwrap_or_default(),
    };
    meant.extend(similar(asked, &cluster.namespace, everywhere));
    if meant.is_empty() {
        return failure.next(format!("kubectl get {} -n {}", asked.kind.plural(), cluster.namespace));
    }
    meant.truncate(5);
    meant.into_iter().fold(failure, |failure, one| failure.next(format!("did you mean {one}?")))
}

async fn workloads_called(cluster: &Cluster, name: &str) -> Vec<String> {
    let kinds = [Kind::StatefulSet, Kind::Deployment, Kind::DaemonSet, Kind::Job, Kind::CronJob];
    let lists =
        kinds.map(|kind| async move { (kind, names::list(cluster, kind, Some(&cluster.namespace)).await.unwrap_or_default()) });
    let lists = futures::future::join_all(lists).await;
    let called = |(kind, list): (Kind, Vec<Name>)| list.iter().any(|one| one.name == name).then(|| format!("{kind}/{name}"));
    lists.into_iter().filter_map(called).collect()
}

/// Names of this namespace that look alike, then those of other namespaces, best first.
fn similar(asked: &TargetRef, namespace: &str, names: Vec<Name>) -> Vec<String> {
    let mut scored: Vec<(bool, u32, Name)> =
        names.into_iter().map(|name| (name.namespace != namespace, unlikeness(&asked.name, &name.name), name)).collect();
    // Far away only what is very much alike.
    scored.retain(|(elsewhere, unlikeness, _)| *unlikeness <= if *elsewhere { 20 } else { 40 });
    scored.sort();
    let written = |(elsewhere, _, name): (bool, u32, Name)| match elsewhere {
        true => format!("{}/{} -n {}", asked.kind, name.name, name.namespace),
        false => format!("{}/{}", asked.kind, name.name),
    };
    scored.into_iter().map(written).collect()
}

/// 0 for the same name, 100 for nothing in common. A name that begins with what was typed is close.
fn unlikeness(typed: &str, name: &str) -> u32 {
    if typed == name {
        return 0;
    }
    if name.strip_prefix(typed).is_some_and(|rest| rest.starts_with('-')) {
        return 5;
    }
    if name.starts_with(typed) && typed.len() > 2 {
        return 15;
    }
    // Between 0 and 1, so the rounded figure fits.
    let likeness = strsim::normalized_damerau_levenshtein(typed, name);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 100")]
    let percent = (100.0 * (1.0 - likeness)) as u32;
    percent.max(6)
}

/// Pods that a selector finds, of one controller if its uid is given.
pub(super) async fn selected(
    cluster: &Cluster,
    selector: Selector,
    controller: Option<&str>,
    what: &TargetRef,
) -> Result<Vec<Pod>> {
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let params = kube::api::ListParams::default().labels_from(&selector);
    let list = pods.list(&params).await.doing(format!("list the pods of {what} in namespace {}", cluster.namespace))?;
    let is_its = |pod: &Pod| {
        let mut owners = pod.owner_references().iter().filter(|owner| owner.controller == Some(true));
        controller.is_none_or(|uid| owners.any(|owner| owner.uid == uid))
    };
    Ok(list.items.into_iter().filter(is_its).collect())
}

/// A selector for one label.
pub(super) fn label(key: &str, value: &str) -> Selector {
    Selector::from(Expression::Equal(key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(value: serde_json::Value) -> Pod {
        serde_json::from_value(value).unwrap()
    }

    fn at(name: &str, ready: &str, second: u32, deleted: bool) -> Pod {
        let deletion = deleted.then_some("2026-01-01T00:00:00Z");
        pod(serde_json::json!({"metadata": {"name": name, "creationTimestamp": format!("2026-01-01T00:00:{second:02}Z"),
            "deletionTimestamp": deletion}, "status": {"conditions": [{"type": "Ready", "status": ready}]}}))
    }

    #[test]
    fn a_ready_pod_goes_before_a_newer_one_and_one_on_its_way_out_comes_last() {
        let asked = TargetRef { kind: Kind::Deployment, name: "a".to_owned() };
        let mut notices = Vec::new();
        let pods = vec![
            at("old", "True", 1, false),
            at("ready", "True", 2, false),
            at("new", "False", 3, false),
            at("gone", "True", 4, true),
        ];
        assert_eq!(choose(pods, &asked, &mut notices).unwrap().name_any(), "ready");
        assert_eq!(notices, ["Found 4 pods, using pod/ready"]);
        assert_eq!(choose(vec![at("only", "False", 1, false)], &asked, &mut notices).unwrap().name_any(), "only");
        assert_eq!(choose(Vec::new(), &asked, &mut notices).unwrap_err().message, "deployment/a has 0 pods");
    }

    #[test]
    fn the_container_is_the_one_asked_for_then_the_annotated_then_the_first() {
        let spec =
            serde_json::json!({"containers": [{"name": "main"}, {"name": "side"}], "initContainers": [{"name": "migrate"}]});
        let plain = pod(serde_json::json!({"metadata": {"name": "p"}, "spec": spec}));
        let annotated =
            pod(serde_json::json!({"metadata": {"name": "p", "annotations": {DEFAULT_CONTAINER: "side"}}, "spec": spec}));
        let mut notices = Vec::new();
        assert_eq!(choose_container(&annotated, Some("migrate"), &mut notices).unwrap(), "migrate");
        assert_eq!(choose_container(&annotated, None, &mut notices).unwrap(), "side");
        assert!(notices.is_empty());
        assert_eq!(choose_container(&plain, None, &mut notices).unwrap(), "main");
        assert_eq!(notices, ["Defaulted container \"main\" out of: main, side, migrate (init)"]);
        let failure = choose_container(&plain, Some("nope"), &mut notices).unwrap_err();
        assert_eq!(failure.message, "container nope is not valid for pod p");
    }

    #[test]
    fn similar_names_are_offered_nearest_first_and_other_ones_are_not() {
        let asked = TargetRef { kind: Kind::Pod, name: "upmeter".to_owned() };
        let name = |namespace: &str, name: &str| Name { namespace: namespace.to_owned(), name: name.to_owned() };
        let names = vec![
            name("d8", "upmeter-0"),
            name("here", "upmetre"),
            name("here", "upmeter-1"),
            name("here", "postgres"),
            name("d8", "upmaster"),
        ];
        assert_eq!(similar(&asked, "here", names), ["pod/upmeter-1", "pod/upmetre", "pod/upmeter-0 -n d8"]);
    }
}
