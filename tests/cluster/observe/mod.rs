//! `watch`, `logs`, `status` and `events` in front of real kubelets: fast and odd writers, bad networks, crashes, Jobs, screens.

pub(crate) mod connection;
mod events;
mod kept;
mod lines;
mod rotation;
mod screen;
mod states;
mod story;
mod targets;
mod until;
mod volume;
mod watching;

use serde_json::{Value, json};

use crate::support::{Namespace, Run, Running};

/// A container that runs a shell script.
pub(crate) fn container(name: &str, script: &str) -> Value {
    json!({"name": name, "image": "busybox:1", "command": ["sh", "-c", script]})
}

/// The spec of a pod that is not started anew.
pub(crate) fn spec(containers: &[Value]) -> Value {
    json!({"containers": containers, "restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "automountServiceAccountToken": false})
}

/// The same with a claim at /data in each container.
fn spec_with_claim(claim: &str, containers: &[Value]) -> Value {
    let mut containers = containers.to_vec();
    for container in &mut containers {
        container["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    }
    let mut spec = spec(&containers);
    spec["volumes"] = json!([{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]);
    spec
}

/// Creates a pod; does not wait for anything.
fn create_pod(space: &Namespace, name: &str, spec: &Value) {
    space.has_account();
    space.apply(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}).to_string());
}

/// Creates a Job; does not wait for anything.
pub(crate) fn create_job(space: &Namespace, name: &str, mut job: Value, pod: &Value) {
    space.has_account();
    job["template"] = json!({"spec": pod});
    space.apply(&json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": job}).to_string());
}

/// Waits until a pod has this phase.
fn wait_for_phase(space: &Namespace, pod: &str, phase: &str) {
    space.wait_for(&format!("pod {pod} is {phase}"), || {
        space.try_kubectl(&["get", "pod", pod, "-o", "jsonpath={.status.phase}"]).stdout == phase
    });
}

/// Starts the plugin and lets it go on.
fn follow(space: &Namespace, words: &[&str]) -> Running {
    Running::start(space.dbmig_command(words))
}

/// The JSON object that a command printed.
fn object(run: &Run) -> Value {
    serde_json::from_str(&run.stdout).unwrap_or_else(|e| panic!("{e}: {}{}", run.stdout, run.stderr))
}

/// Compares logs too long to be shown whole.
fn assert_same(what: &str, got: &[u8], expected: &[u8]) {
    if got == expected {
        return;
    }
    let lines = |bytes: &[u8]| bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>();
    let (got, expected) = (lines(got), lines(expected));
    let first = got.iter().zip(&expected).take_while(|(got, expected)| got == expected).count();
    let shown = |lines: &[Vec<u8>]| {
        let line = lines.get(first).map(Vec::as_slice).unwrap_or_default();
        format!("{} bytes, {:?}", line.len(), String::from_utf8_lossy(&line[..line.len().min(200)]))
    };
    panic!(
        "{what}: {} lines in place of {}; line {} is {} in place of {}",
        got.len(),
        expected.len(),
        first + 1,
        shown(&got),
        shown(&expected)
    );
}
