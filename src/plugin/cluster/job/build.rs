//! One Job out of the pod template of something that runs already. Pure.

use std::collections::BTreeMap;

use dbmig_wire::hex;
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{Container, EnvVar, PodReadinessGate, PodSpec, PodTemplateSpec};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::cluster::MANAGED_BY;
use crate::cluster::helper::LABEL_OPERATION;
use crate::cluster::pods::command_line;
use crate::failure::{Failure, Result};

/// Label by which charts mark what migrates, and so do we.
pub const COMPONENT: (&str, &str) = ("app.kubernetes.io/component", "migration");
/// Annotation with what a Job was made from: `cronjob/manual-migrate`.
const MADE_FROM: &str = "dbmig.dev/made-from";
/// A condition that nobody ever sets, so that no Service sends requests to a pod that only migrates.
pub const NEVER_READY: &str = "dbmig.dev/serves-nobody";
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";
/// Labels that a controller gives to its own pods.
const OF_CONTROLLERS: [&str; 5] =
    ["pod-template-hash", "controller-revision-hash", "controller-uid", "job-name", "pod-template-generation"];
/// Beginnings of the names of such labels.
const PREFIXES_OF_CONTROLLERS: [&str; 3] = ["batch.kubernetes.io/", "statefulset.kubernetes.io/", "apps.kubernetes.io/"];
/// Longest name of a Job: its pods carry it in a label.
const LONGEST_NAME: usize = 63;

/// What a Job is to run.
#[derive(Debug, Clone, Copy)]
pub struct Order<'a> {
    /// What it is made from, kubectl style.
    pub from: &'a str,
    /// What it is made from runs for good: a Deployment and the like, as opposed to a Job.
    pub serves: bool,
    /// Operation that it belongs to.
    pub operation: &'a str,
    /// The container that migrates, if it was named.
    pub container: Option<&'a str>,
    /// Another image for that container.
    pub image: Option<&'a str>,
    /// Another command for that container; empty for its own.
    pub command: &'a [String],
    /// How limits on locks and statements are told to that container.
    pub limits: Option<&'a Variable>,
    /// How often it is tried again after a try that failed.
    pub tries_again: i32,
    /// The server knows sidecars that end with the pod's own work.
    pub native_sidecars: bool,
}

/// A variable of the container that migrates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// What it is to say, behind what it says already.
    pub value: String,
    /// What comes between the two.
    pub between: String,
}

/// A Job that is not created yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Built {
    /// As it goes to the server.
    pub job: Job,
    /// The container that migrates.
    pub container: String,
    /// Its image.
    pub image: String,
    /// What it runs; empty where only the image knows.
    pub command: Vec<String>,
}

/// The name of the Job for whatever is run from this: always the same, so that a second one can't be created beside it.
#[must_use]
pub fn name(from: &str) -> String {
    let readable = from.rsplit('/').next().unwrap_or(from);
    let digest = hex(&Sha256::digest(from.as_bytes())[..3]);
    let room = readable.len().min(LONGEST_NAME - "-dbmig-".len() - digest.len());
    format!("{}-dbmig-{digest}", readable[..room].trim_end_matches(['-', '.', ':']).replace(['.', ':'], "-"))
}

/// Builds the Job: one pod, one try, the template's own volumes, variables, accounts and sidecars; no probes, no ports, and
/// nothing that sends it requests or keeps it off the application's nodes.
///
/// # Errors
/// `Usage` when the template has no container of that name.
pub fn build(template: PodTemplateSpec, order: &Order<'_>) -> Result<Built> {
    let metadata = template.metadata.unwrap_or_default();
    let mut pod = template.spec.unwrap_or_default();
    let annotations = metadata.annotations.unwrap_or_default();
    let container = chosen(&pod, order, annotations.get(DEFAULT_CONTAINER).map(String::as_str))?;
    let (image, command) = prepare(&mut pod, &container, order);
    if let (Some(limits), Some(container)) = (order.limits, pod.containers.first_mut()) {
        tell(container, limits)?;
    }
    let mut labels = metadata.labels.unwrap_or_default();
    labels.retain(|label, _| !is_of_controller(label));
    labels.entry(COMPONENT.0.to_owned()).or_insert_with(|| COMPONENT.1.to_owned());
    labels.insert(LABEL_OPERATION.to_owned(), order.operation.to_owned());
    let mut annotations = annotations;
    annotations.insert(DEFAULT_CONTAINER.to_owned(), container.clone());
    let mut of_pod = k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta::default();
    (of_pod.labels, of_pod.annotations) = (Some(labels), Some(annotations));
    let mut job = Job::default();
    job.metadata.name = Some(name(order.from));
    job.metadata.labels = Some(own_labels(order.operation));
    job.metadata.annotations = Some([(MADE_FROM.to_owned(), order.from.to_owned())].into());
    job.spec = Some(JobSpec {
        backoff_limit: Some(order.tries_again),
        parallelism: Some(1),
        completions: Some(1),
        // Servers that don't know it leave it out.
        pod_replacement_policy: order.native_sidecars.then(|| "Failed".to_owned()),
        template: PodTemplateSpec { metadata: Some(of_pod), spec: Some(pod) },
        ..JobSpec::default()
    });
    Ok(Built { job, container, image, command })
}

/// What a Job of ours and its pods are marked with.
#[must_use]
pub fn own_labels(operation: &str) -> BTreeMap<String, String> {
    let labels = [("app.kubernetes.io/managed-by", MANAGED_BY), COMPONENT, (LABEL_OPERATION, operation)];
    labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// A label by which a controller takes a pod for its own.
#[must_use]
pub fn is_of_controller(label: &str) -> bool {
    OF_CONTROLLERS.contains(&label) || PREFIXES_OF_CONTROLLERS.iter().any(|prefix| label.starts_with(prefix))
}

/// The container that migrates: named, annotated, the only one, called so, or the first that is no known sidecar.
fn chosen(pod: &PodSpec, order: &Order<'_>, annotated: Option<&str>) -> Result<String> {
    let names = || pod.containers.iter().map(|container| container.name.as_str());
    let all = || names().collect::<Vec<_>>().join(", ");
    if let Some(asked) = order.container {
        return names().find(|name| *name == asked).map(str::to_owned).ok_or_else(|| {
            Failure::usage(format!("{} has no container {asked}", order.from)).fact(format!("it has: {}", all()))
        });
    }
    let named = annotated.and_then(|annotated| names().find(|name| *name == annotated));
    let migrates = || names().find(|name| name.contains("migrat"));
    let works = || names().find(|name| !is_sidecar(name));
    let chosen = named.or_else(migrates).or_else(works).or_else(|| names().next());
    chosen.map(str::to_owned).ok_or_else(|| Failure::failed(format!("{} has no containers", order.from)))
}

/// Sidecars that never end, by the names that their makers give them.
#[must_use]
pub fn is_sidecar(name: &str) -> bool {
    ["proxy", "sidecar", "envoy", "istio", "linkerd", "vault-agent", "pgbouncer", "fluent", "exporter"]
        .iter()
        .any(|word| name.contains(word))
}

/// Turns the pod of an application into one that migrates and ends; image and command of the container that does so.
fn prepare(pod: &mut PodSpec, migrating: &str, order: &Order<'_>) -> (String, Vec<String>) {
    pod.restart_policy = Some("Never".to_owned());
    (pod.node_name, pod.hostname, pod.subdomain) = (None, None, None);
    if order.serves {
        // Rules that keep the application's own pods apart would keep this one away from them, or from everywhere.
        pod.topology_spread_constraints = None;
        if let Some(affinity) = &mut pod.affinity {
            affinity.pod_anti_affinity = None;
        }
        pod.active_deadline_seconds = None;
        pod.readiness_gates = Some(vec![PodReadinessGate { condition_type: NEVER_READY.to_owned() }]);
    }
    pod.containers.iter_mut().for_each(quieten);
    let (mut own, mut beside): (Vec<Container>, Vec<Container>) =
        std::mem::take(&mut pod.containers).into_iter().partition(|container| container.name == migrating);
    let (mut image, mut command) = (String::new(), Vec::new());
    if let Some(container) = own.first_mut() {
        container.lifecycle = None;
        container.image = order.image.map(str::to_owned).or(container.image.take());
        if !order.command.is_empty() {
            (container.command, container.args) = (Some(order.command.to_vec()), None);
        }
        image = container.image.clone().unwrap_or_default();
        command = command_line(container).cloned().collect();
    }
    if order.native_sidecars {
        let sidecars = beside.drain(..).map(|container| Container { restart_policy: Some("Always".to_owned()), ..container });
        pod.init_containers.get_or_insert_default().extend(sidecars);
    }
    own.append(&mut beside);
    pod.containers = own;
    (image, command)
}

/// Sets a variable of a container, behind what it says already.
fn tell(container: &mut Container, variable: &Variable) -> Result<()> {
    let Variable { name, value, between } = variable;
    let all = container.env.get_or_insert_default();
    let Some(known) = all.iter_mut().find(|known| known.name == *name) else {
        all.push(EnvVar { name: name.clone(), value: Some(value.clone()), value_from: None });
        return Ok(());
    };
    if known.value_from.is_some() {
        return Err(Failure::refused(format!(
            "limits can't be told: {name} of container {} comes from elsewhere",
            container.name
        ))
        .state("nothing was changed")
        .next("set them there, and leave --lock-timeout and --statement-timeout out"));
    }
    let before = known.value.take().filter(|text| !text.is_empty()).map(|text| text + between).unwrap_or_default();
    known.value = Some(before + value);
    Ok(())
}

/// Nobody asks such a container whether it is well, nor anything else.
pub fn quieten(container: &mut Container) {
    (container.liveness_probe, container.readiness_probe, container.startup_probe) = (None, None, None);
    (container.ports, container.stdin, container.stdin_once, container.tty) = (None, None, None, None);
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const PROBE: &str = r#"{"exec": {"command": ["true"]}}"#;

    fn template() -> PodTemplateSpec {
        let probe: Value = serde_json::from_str(PROBE).unwrap();
        serde_json::from_value(json!({
            "metadata": {"labels": {"app": "keeper", "app.kubernetes.io/component": "web", "pod-template-hash": "x",
                "batch.kubernetes.io/job-name": "y"}, "annotations": {"vault": "yes"}},
            "spec": {
                "serviceAccountName": "keeper", "restartPolicy": "Always", "nodeName": "n",
                "tolerations": [{"operator": "Exists"}], "imagePullSecrets": [{"name": "pull"}],
                "affinity": {"podAntiAffinity": {}, "nodeAffinity": {}}, "topologySpreadConstraints": [],
                "volumes": [{"name": "sock", "emptyDir": {}}],
                "initContainers": [{"name": "render", "image": "r:1"}],
                "containers": [
                    {"name": "cloudsql-proxy", "image": "p:1", "livenessProbe": probe, "ports": [{"containerPort": 5432, "hostPort": 5432}]},
                    {"name": "uwsgi", "image": "k:1", "command": ["serve"], "args": ["--all"], "readinessProbe": probe, "startupProbe": probe,
                     "lifecycle": {"preStop": probe}, "env": [{"name": "A", "value": "b"}], "ports": [{"containerPort": 3031}],
                     "volumeMounts": [{"name": "sock", "mountPath": "/cloudsql"}]},
                ],
            },
        }))
        .unwrap()
    }

    fn order() -> Order<'static> {
        let from = "deployment/keeper";
        let operation = "run-bcdfgh";
        Order {
            from,
            serves: true,
            operation,
            container: None,
            image: None,
            command: &[],
            limits: None,
            tries_again: 0,
            native_sidecars: false,
        }
    }

    fn pod(built: &Built) -> &PodSpec {
        built.job.spec.as_ref().unwrap().template.spec.as_ref().unwrap()
    }

    #[test]
    fn an_application_becomes_a_job_that_runs_once_and_serves_nobody() {
        let command = ["flask", "db", "upgrade"].map(str::to_owned);
        let built = build(template(), &Order { image: Some("k:2"), command: &command, ..order() }).unwrap();
        assert_eq!((built.container.as_str(), built.image.as_str(), &built.command[..]), ("uwsgi", "k:2", &command[..]));
        let spec = built.job.spec.as_ref().unwrap();
        assert_eq!((spec.backoff_limit, spec.parallelism, spec.completions), (Some(0), Some(1), Some(1)));
        assert_eq!((spec.ttl_seconds_after_finished, spec.suspend), (None, None));
        let pod = pod(&built);
        assert_eq!(pod.restart_policy.as_deref(), Some("Never"));
        assert_eq!((pod.service_account_name.as_deref(), &pod.node_name), (Some("keeper"), &None));
        assert!(pod.tolerations.is_some() && pod.image_pull_secrets.is_some() && pod.volumes.is_some());
        assert!(pod.affinity.as_ref().unwrap().pod_anti_affinity.is_none());
        assert!(pod.affinity.as_ref().unwrap().node_affinity.is_some() && pod.topology_spread_constraints.is_none());
        assert_eq!(pod.readiness_gates.as_ref().unwrap().len(), 1, "no Service may send it requests");
        let [migrates, proxy] = &pod.containers[..] else { panic!("{:?}", pod.containers) };
        assert_eq!((migrates.name.as_str(), proxy.name.as_str()), ("uwsgi", "cloudsql-proxy"));
        assert_eq!((migrates.command.as_deref(), &migrates.args), (Some(&command[..]), &None));
        assert!(migrates.env.is_some() && migrates.volume_mounts.is_some() && migrates.lifecycle.is_none());
        for container in &pod.containers {
            let probes = [&container.liveness_probe, &container.readiness_probe, &container.startup_probe];
            assert!(probes.iter().all(|probe| probe.is_none()) && container.ports.is_none(), "{container:?}");
        }
        let labels = built.job.spec.as_ref().unwrap().template.metadata.as_ref().unwrap().labels.as_ref().unwrap();
        // What NetworkPolicies and accounts go by stays; what controllers go by does not.
        assert_eq!(labels["app.kubernetes.io/component"], "web");
        assert_eq!(
            labels.keys().map(String::as_str).collect::<Vec<_>>(),
            ["app", "app.kubernetes.io/component", "dbmig.dev/operation"]
        );
        assert_eq!(built.job.metadata.labels.as_ref().unwrap()["app.kubernetes.io/component"], "migration");
    }

    #[test]
    fn a_job_keeps_what_its_author_wrote_but_gets_one_try() {
        let built = build(template(), &Order { from: "cronjob/migrate", serves: false, ..order() }).unwrap();
        assert_eq!(built.command, ["serve", "--all"]);
        assert!(pod(&built).readiness_gates.is_none() && pod(&built).topology_spread_constraints.is_some());
    }

    #[test]
    fn limits_come_behind_what_a_variable_says_already() {
        let limits = Variable { name: "A".to_owned(), value: "c".to_owned(), between: " ".to_owned() };
        let of = |template| build(template, &Order { limits: Some(&limits), ..order() });
        let env = |built: &Built| pod(built).containers[0].env.clone().unwrap();
        assert_eq!(env(&of(template()).unwrap())[0].value.as_deref(), Some("b c"));
        let mut bare = template();
        bare.spec.as_mut().unwrap().containers[1].env = None;
        assert_eq!(env(&of(bare).unwrap())[0].value.as_deref(), Some("c"));
        let mut from = template();
        from.spec.as_mut().unwrap().containers[1].env.as_mut().unwrap()[0].value_from = Some(Default::default());
        assert_eq!(of(from).unwrap_err().message, "limits can't be told: A of container uwsgi comes from elsewhere");
    }

    #[test]
    fn sidecars_end_with_the_migration_where_the_server_sees_to_that() {
        let built = build(template(), &Order { native_sidecars: true, ..order() }).unwrap();
        let pod = pod(&built);
        assert_eq!(pod.containers.len(), 1);
        let init = pod.init_containers.as_ref().unwrap();
        let shown: Vec<_> = init.iter().map(|one| (one.name.as_str(), one.restart_policy.as_deref())).collect();
        assert_eq!(shown, [("render", None), ("cloudsql-proxy", Some("Always"))]);
        assert_eq!(built.job.spec.unwrap().pod_replacement_policy.as_deref(), Some("Failed"));
    }

    #[test]
    fn the_container_that_migrates_is_the_named_one_else_the_likeliest() {
        let with = |names: &[&str], annotated: Option<&str>, asked: Option<&str>| {
            let containers: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
            let pod: PodSpec = serde_json::from_value(json!({"containers": containers})).unwrap();
            chosen(&pod, &Order { container: asked, ..order() }, annotated)
        };
        assert_eq!(with(&["a", "b"], None, Some("b")).unwrap(), "b");
        assert_eq!(with(&["a", "b"], Some("b"), None).unwrap(), "b");
        assert_eq!(with(&["a", "migrate"], Some("gone"), None).unwrap(), "migrate");
        assert_eq!(with(&["istio-proxy", "web"], None, None).unwrap(), "web");
        assert_eq!(with(&["cloud-sql-proxy"], None, None).unwrap(), "cloud-sql-proxy");
        let failure = with(&["a", "b"], None, Some("c")).unwrap_err();
        assert_eq!(failure.facts, ["it has: a, b"]);
    }

    #[test]
    fn the_same_source_has_the_same_name_and_another_one_another() {
        assert_eq!(name("deployment/app"), name("deployment/app"));
        assert_ne!(name("deployment/app"), name("cronjob/app"));
        assert!(name("deployment/app").starts_with("app-dbmig-"));
        assert!(name("helm-hook/shop:up").starts_with("shop-up-dbmig-"));
        let long = name(&format!("job/{}", "a.".repeat(100)));
        assert!(long.len() <= LONGEST_NAME && !long.contains('.') && !long.contains("--"), "{long}");
    }
}
