//! What a move is made of in the cluster: a volume, a ConfigMap and a Job, all of one name.

use serde_json::{Value, json};

use super::spec::Spec;
use crate::cluster::job::own_labels;
use crate::failure::Result;
use crate::replication::{SOURCE, TARGET};

/// The Job's container.
pub(super) const CONTAINER: &str = "pgcopydb";
/// Where its work lies; pgcopydb's own folders are below by its own rules, also for whoever is let in by exec.
const WORK: &str = "/copy";
/// Nobody's user, whom the volume is given to.
const USER: i64 = 1000;

/// Begins, or goes on where an earlier pod was; applying changes is only enabled once everything is copied. It drops its slot where
/// `finish` has told it to end, which is after all has been proven, and nowhere else: a signal to all its processes ends it with
/// success, too.
const SCRIPT: &str = "\
#!/bin/sh
set -eu
is() {
  pgcopydb stream sentinel get 2>/dev/null | grep -q \"^$1\"
}
if is 'apply *enabled'; then
  pgcopydb follow --resume --not-consistent
elif [ -e /copy/pgcopydb ]; then
  echo 'an earlier copy was cut off before it was whole: take the move back and start again' >&2
  exit 1
else
  pgcopydb clone --follow \"$@\"
fi
if is 'endpos *0/0$'; then
  echo 'following ended before it was told where: its slot stays, and it can go on from there' >&2
  exit 1
fi
pgcopydb stream cleanup
";

/// The volume for pgcopydb's work.
pub(super) fn claim(spec: &Spec, id: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": spec.name, "labels": own_labels(id)},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": spec.storage_class,
            "resources": {"requests": {"storage": spec.volume_size}},
        },
    })
}

/// Its script.
pub(super) fn config(spec: &Spec, id: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": spec.name, "labels": own_labels(id)},
        "data": {"start.sh": SCRIPT},
    })
}

/// The Job.
///
/// # Errors
/// A URI's place names no key.
pub(super) fn job(spec: &Spec, id: &str) -> Result<Value> {
    let jobs = spec.jobs.to_string();
    let command = [&["sh", "/migration/start.sh", "--table-jobs", &jobs, "--index-jobs", &jobs], spec.decoding.words()].concat();
    let from = |reference: &str| reference.parse::<crate::database::find::Reference>()?.value_from();
    let container = json!({
        "name": CONTAINER,
        "image": spec.image,
        "command": command,
        "env": [
            {"name": SOURCE, "valueFrom": from(&spec.source)?},
            {"name": TARGET, "valueFrom": from(&spec.target)?},
            {"name": "TMPDIR", "value": WORK},
            {"name": "XDG_DATA_HOME", "value": format!("{WORK}/changes")},
        ],
        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "work", "mountPath": WORK}, {"name": "migration", "mountPath": "/migration", "readOnly": true}],
    });
    let pod = json!({
        "restartPolicy": "Never",
        "automountServiceAccountToken": false,
        "securityContext": {
            "runAsNonRoot": true, "runAsUser": USER, "runAsGroup": USER, "fsGroup": USER, "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [
            {"name": "work", "persistentVolumeClaim": {"claimName": spec.name}},
            {"name": "migration", "configMap": {"name": spec.name}},
        ],
    });
    Ok(json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": spec.name, "labels": own_labels(id)},
        "spec": {"backoffLimit": 0, "template": {"metadata": {"labels": own_labels(id)}, "spec": pod}},
    }))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::batch::v1::Job;

    use super::*;
    use crate::replication::Decoding;

    #[test]
    fn a_job_has_the_uris_from_their_secrets_and_its_work_on_a_volume() {
        let spec = Spec {
            name: "db-upgrade".to_owned(),
            source: "secret/db:uri".to_owned(),
            target: "configmap/pg17:uri".to_owned(),
            image: "pgcopydb:1".to_owned(),
            volume_size: "1Gi".to_owned(),
            storage_class: None,
            jobs: 2,
            decoding: Decoding::ExactJson,
            shown: (String::new(), String::new()),
        };
        let job: Job = serde_json::from_value(job(&spec, "start-bcdfgh").unwrap()).unwrap();
        let pod = job.spec.unwrap().template.spec.unwrap();
        let env = pod.containers[0].env.as_ref().unwrap();
        let from = |name: &str| env.iter().find(|one| one.name == name).unwrap().value_from.clone().unwrap();
        assert_eq!(from(SOURCE).secret_key_ref.unwrap().name, "db");
        assert_eq!(from(TARGET).config_map_key_ref.unwrap().key, "uri");
        assert_eq!(pod.volumes.unwrap()[0].persistent_volume_claim.as_ref().unwrap().claim_name, "db-upgrade");
        assert!(super::job(&Spec { source: "secret/db".to_owned(), ..spec }, "x").is_err());
    }
}
