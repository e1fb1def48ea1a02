//! The API of VolumeSnapshots, which the throwaway cluster has not: its definitions alone, and what a test says as its driver.

use serde_json::{Value, json};

use super::{Namespace, Run, kubectl};

/// The driver whose work a test does.
pub(crate) const DRIVER: &str = "stand-in.dbmig.dev";
const KINDS: [(&str, &str, &str); 2] =
    [("VolumeSnapshot", "volumesnapshots", "Namespaced"), ("VolumeSnapshotClass", "volumesnapshotclasses", "Cluster")];

/// The API; gone when dropped. It is the whole cluster's: those who use it take turns.
pub(crate) struct Snapshots<'a>(&'a Namespace);

impl<'a> Snapshots<'a> {
    /// Has it served, without a class.
    pub(crate) fn served(space: &'a Namespace) -> Self {
        let of = |(kind, plural, scope): (&str, &str, &str)| {
            let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
            json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                "metadata": {"name": format!("{plural}.snapshot.storage.k8s.io"),
                    "annotations": {"api-approved.kubernetes.io": "https://github.com/kubernetes-csi/external-snapshotter/pull/665"}},
                "spec": {"group": "snapshot.storage.k8s.io", "scope": scope, "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase()},
                    "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema, "subresources": {"status": {}}}]}})
        };
        space.apply(&json!({"apiVersion": "v1", "kind": "List", "items": KINDS.map(of)}).to_string());
        let all = || space.try_kubectl(&["get", "volumesnapshots,volumesnapshotclasses"]);
        space.wait_for("the API of snapshots is served", || all().code == 0);
        Self(space)
    }

    /// Adds a class of [`DRIVER`].
    pub(crate) fn class(&self) -> &Self {
        let class = json!({"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotClass", "metadata": {"name": "stand-in"},
            "driver": DRIVER, "deletionPolicy": "Delete"});
        self.0.apply(&class.to_string());
        self
    }

    /// The snapshots of the namespace, as `kubectl get -o name` has them.
    pub(crate) fn names(&self) -> Vec<String> {
        self.0.kubectl(&["get", "volumesnapshots", "-o", "name"]).lines().map(str::to_owned).collect()
    }
}

impl Drop for Snapshots<'_> {
    fn drop(&mut self) {
        let names = KINDS.map(|(_, plural, _)| format!("{plural}.snapshot.storage.k8s.io"));
        self.0.try_kubectl(&["delete", "customresourcedefinition", "--ignore-not-found", &names[0], &names[1]]);
    }
}

/// Writes the status of a snapshot, as its controller does. Fails where the snapshot is gone or has changed meanwhile.
pub(crate) fn say(snapshot: &Value, status: &Value) -> Run {
    let of = |field: &str| snapshot["metadata"][field].as_str().unwrap_or_default();
    let url = format!("/apis/snapshot.storage.k8s.io/v1/namespaces/{}/volumesnapshots/{}/status", of("namespace"), of("name"));
    let mut object = snapshot.clone();
    object["status"] = status.clone();
    Run::with_input(kubectl().args(["replace", "--raw", &url, "-f", "-"]), &object.to_string())
}
