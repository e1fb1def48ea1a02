//! The commands by which a backup is brought back, as a person types them: kubectl's own, without any secret. Pure.

use dbmig_wire::Proof;
use k8s_openapi::api::core::v1::PodSpec;
use serde_json::{Value, json};

use super::Backup;
use super::place::{FOLDER, VOLUME, path_in_helper};
use crate::cluster::helper::{CONTAINER, Helper};
use crate::cluster::snapshot::{GROUP, Ready};
use crate::cluster::volume::Mount;
use crate::database::dump::shell;

/// The pod in which a person restores.
const POD: &str = "dbmig-restore";
/// Before anything is brought back.
const STOPPED: &str = "# stop what uses the database, then";

/// A file on a claim of ours.
pub(super) struct Kept<'a> {
    pub(super) backup: &'a Backup,
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    pub(super) proof: &'a Proof,
}

impl Kept<'_> {
    /// Of a server: `command` reads the file in; `like` is what migrates.
    pub(super) fn of_server(&self, image: &str, like: &PodSpec, container: &str, command: &[String]) -> Vec<String> {
        let spec = pod_like(like, container, image, &self.backup.name);
        let words: Vec<String> = command.iter().map(|word| shell(word)).collect();
        self.in_pod(image, POD, &spec, &format!("{FOLDER}/{}", self.name), &format!("-it {POD} -- {}", words.join(" ")))
    }

    /// Of an SQLite file.
    pub(super) fn of_file(&self, helper: &Helper, mount: &Mount, inside: &str) -> Vec<String> {
        let spec = Helper { node: None, ..helper.clone() }.spec();
        let (from, to) = (path_in_helper(self.name), Helper::path(&mount.volume, inside));
        let (quoted, new) = (shell(&to), shell(&format!("{to}.dbmig-restored")));
        let old: Vec<String> = ["-wal", "-shm", "-journal"].iter().map(|suffix| shell(&format!("{to}{suffix}"))).collect();
        let script = format!("cp -p {} {new} && rm -f {} && mv {new} {quoted} && sync", shell(&from), old.join(" "));
        let run = format!("{POD} -c {CONTAINER} -- sh -c {}", shell(&script));
        self.in_pod(&helper.image, CONTAINER, &spec, &from, &run)
    }

    fn in_pod(&self, image: &str, container: &str, spec: &Value, file: &str, run: &str) -> Vec<String> {
        let Self { namespace, proof, .. } = self;
        let overrides = shell(&json!({"spec": spec}).to_string());
        vec![
            STOPPED.to_owned(),
            format!("kubectl run {POD} -n {namespace} --restart=Never --image={image} --overrides={overrides}"),
            format!("kubectl wait pod {POD} -n {namespace} --for=condition=Ready --timeout=5m"),
            format!("kubectl exec -n {namespace} {POD} -c {container} -- sha256sum {}    # {}", shell(file), proof.sha256),
            format!("kubectl exec -n {namespace} {run}"),
            format!("kubectl delete pod {POD} -n {namespace}"),
        ]
    }
}

/// A pod that sleeps, with what of another one's surroundings holds no data and tells no secret.
fn pod_like(like: &PodSpec, container: &str, image: &str, claim: &str) -> Value {
    let ours = like.containers.iter().find(|one| one.name == container);
    let volumes = like.volumes.iter().flatten().filter(|volume| volume.secret.is_some() || volume.config_map.is_some());
    let mut volumes: Vec<Value> = volumes.map(|volume| json!(volume)).collect();
    let mut mounts: Vec<Value> = ours
        .iter()
        .flat_map(|one| one.volume_mounts.iter().flatten())
        .filter(|mount| volumes.iter().any(|volume| volume["name"] == *mount.name))
        .map(|mount| json!(mount))
        .collect();
    volumes.push(json!({"name": VOLUME, "persistentVolumeClaim": {"claimName": claim}}));
    mounts.push(json!({"name": VOLUME, "mountPath": FOLDER}));
    let mut spec = json!({
        "securityContext": like.security_context, "imagePullSecrets": like.image_pull_secrets, "tolerations": like.tolerations,
        "nodeSelector": like.node_selector, "automountServiceAccountToken": false, "volumes": volumes,
        "containers": [{"name": POD, "image": image, "command": ["sleep", "86400"], "volumeMounts": mounts,
            "securityContext": ours.and_then(|one| one.security_context.clone())}],
    });
    without_nothing(&mut spec);
    spec
}

/// Leaves out what is not said.
fn without_nothing(value: &mut Value) {
    match value {
        Value::Object(all) => {
            all.retain(|_, value| !value.is_null());
            all.values_mut().for_each(without_nothing);
        }
        Value::Array(all) => all.iter_mut().for_each(without_nothing),
        _ => {}
    }
}

/// Of a snapshot: a new claim out of it, which takes the place of the old one.
pub(super) fn of_snapshot(backup: &Backup, namespace: &str, claim: &str, ready: &Ready) -> Vec<String> {
    let size = ready.size.as_deref().unwrap_or("SIZE");
    let restored = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": format!("{claim}-restored")},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}},
            "dataSource": {"apiGroup": GROUP, "kind": "VolumeSnapshot", "name": backup.name}}});
    vec![
        format!("echo {} | kubectl apply -n {namespace} -f -", shell(&restored.to_string())),
        format!("# then let what mounts persistentvolumeclaim/{claim} mount persistentvolumeclaim/{claim}-restored"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::run::backup::How;

    #[test]
    fn nothing_that_is_printed_tells_a_variable() {
        let spec: PodSpec = serde_json::from_value(json!({
            "securityContext": {"runAsUser": 7}, "tolerations": [{"operator": "Exists"}],
            "containers": [{"name": "m", "image": "i", "env": [{"name": "URL", "value": "postgres://u:s3cret@db/x"}],
                "volumeMounts": [{"name": "ca", "mountPath": "/ca"}, {"name": "data", "mountPath": "/data"}]}],
            "volumes": [{"name": "ca", "secret": {"secretName": "ca"}}, {"name": "data", "persistentVolumeClaim": {"claimName": "d"}}],
        }))
        .unwrap();
        let how = How::Dump { image: "pg:15".to_owned(), size: "1Gi".to_owned() };
        let backup = Backup { name: "b".to_owned(), class: None, of: "db".to_owned(), how };
        let proof = Proof { bytes: 1, sha256: "abc".to_owned() };
        let kept = Kept { backup: &backup, namespace: "shop", name: "x.dump", proof: &proof };
        let lines = kept.of_server("pg:15", &spec, "m", &["pg_restore".to_owned(), "it's".to_owned()]);
        let text = lines.join("\n");
        assert!(!text.contains("s3cret") && !text.contains("null") && !text.contains("/data"), "{text}");
        assert!(text.contains(r#""mountPath":"/ca""#) && text.contains("# abc"), "{text}");
        assert_eq!(lines[4], r"kubectl exec -n shop -it dbmig-restore -- pg_restore 'it'\''s'");
    }
}
