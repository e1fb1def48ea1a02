//! Where a claim for a backup is filled: a pod like the one that migrates, with the tool of its image, or a helper beside the file.

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaimVolumeSource, Pod, PodReadinessGate, PodSpec, PodTemplateSpec, Volume, VolumeMount,
};
use kube::ResourceExt as _;

use super::decide::taken_back;
use super::{Backup, How};
use crate::cluster::MANAGED_BY;
use crate::cluster::agent::Agent;
use crate::cluster::claim::{self, Wanted};
use crate::cluster::exec;
use crate::cluster::helper::{Helper, Identity, LABEL_OPERATION, VOLUMES, WORK};
use crate::cluster::job::{NEVER_READY, OwnJob, is_of_controller, is_over, owned_by, quieten};
use crate::cluster::pods::Wait;
use crate::cluster::seat::Seat;
use crate::cluster::twin::{judge, quiet};
use crate::cluster::volume::{Mount, Source};
use crate::command::run::desk::Desk;
use crate::database::Dialect;
use crate::database::dump::Tool;
use crate::failure::{Failure, Result};
use crate::plan::Run;

/// Name of the claim's volume in the pod that fills it.
pub(super) const VOLUME: &str = "dbmig-backup";
/// Where a tool's pod sees it.
pub(super) const FOLDER: &str = "/dbmig/backup";
/// Bytes of what a tool says of its version.
const VERSION_BYTES: usize = 4096;
/// A group for volumes of a container whose user only its image knows.
const ANY_GROUP: i64 = 65534;

/// Makes the claim, if it is not there.
pub(super) async fn make_claim(run: &Run, backup: &Backup) -> Result<String> {
    let (How::Dump { size, .. } | How::Copy { size, .. }) = &backup.how else { return Ok(String::new()) };
    let wanted =
        Wanted { name: &backup.name, operation: &run.id, class: backup.class.as_deref(), size, backup_of: Some(&backup.of) };
    let made = claim::ensure(&run.cluster, &run.namespace, &wanted).await.map_err(taken_back)?;
    Ok(format!("{}, {}", backup.object(), if made { size } else { "which is there" }))
}

/// The helper beside an SQLite file, with the claim.
pub(super) fn beside(helper: &Helper, backup: &Backup) -> Helper {
    let mut helper = helper.clone();
    helper.volumes.insert(VOLUME.to_owned(), Source::Claim(backup.name.clone()));
    helper
}

/// Our binary in that helper.
pub(super) async fn in_helper(run: &Run, helper: &Helper, mount: &Mount, backup: &Backup) -> Result<Agent> {
    let helper = beside(helper, backup);
    let seat = Seat::in_helper_pod(&run.cluster, &run.stop, helper, std::slice::from_ref(mount)).await;
    Ok(seat.map_err(taken_back)?.agent)
}

/// Lets whoever the helper is write to the claim.
pub(super) async fn hand_over(run: &Run, helper: &Helper, backup: &Backup) -> Result<()> {
    let volumes = [(VOLUME.to_owned(), Source::Claim(backup.name.clone()))].into();
    claim::hand_over(&run.cluster, &run.stop, helper, volumes).await.map_err(taken_back)
}

/// Path in the helper of a file on the claim.
pub(super) fn path_in_helper(file: &str) -> String {
    format!("{VOLUMES}/{VOLUME}/{file}")
}

/// A pod with a tool, and our binary in it.
pub(super) struct ToolPod {
    pub(super) agent: Agent,
    pub(super) tool: Tool,
}

/// Brings that pod up, and finds the tool in it.
pub(super) async fn with_tool(run: &Run, desk: &Desk, backup: &Backup, image: &str) -> Result<ToolPod> {
    let container = &desk.spec.container;
    let own = OwnJob::new(&run.cluster, &run.namespace, &backup.name);
    let job = match own.of(&run.id).await? {
        Some(over) if is_over(&over) => {
            own.remove(&run.cluster, &run.stop, &over).await?;
            None
        }
        found => found,
    };
    let job = match job {
        Some(job) => job,
        None => {
            let template = desk.template(&run.cluster).await?;
            own.create(&job_of(template, container, image, backup, &run.id), &run.id).await.map_err(taken_back)?
        }
    };
    let uid = job.uid().unwrap_or_default();
    let what = format!("a pod of image {image} to run");
    let wait = Wait { namespace: &run.namespace, fields: "", limit: desk.spec.patience(), what: &what };
    let runs = |pods: &[Pod]| judge(pods.iter().find(|pod| owned_by(pod, &uid)), container);
    let pod = wait.until(&run.cluster, &run.stop, runs).await.map_err(taken_back)?;
    let seat = Seat::within(&run.cluster, &pod, container, WORK).await.map_err(taken_back)?;
    let tool = tool(run, desk, &pod, image).await.map_err(taken_back)?;
    Ok(ToolPod { agent: seat.agent, tool })
}

/// Removes what has filled the claim.
pub(super) async fn remove(run: &Run, backup: &Backup) -> Result<()> {
    match &backup.how {
        How::Dump { .. } => {
            let own = OwnJob::new(&run.cluster, &run.namespace, &backup.name);
            match own.of(&run.id).await? {
                Some(job) => own.delete(&job).await,
                None => Ok(()),
            }
        }
        How::Copy { helper, .. } => {
            claim::usher(helper).delete(&run.cluster).await?;
            helper.delete(&run.cluster).await
        }
        How::Snapshot { .. } => Ok(()),
    }
}

/// A Job whose pod has the surroundings of the one that migrates, none of its work, and the claim. A bare pod with the labels of an
/// application could be taken over by a controller of that.
fn job_of(template: PodTemplateSpec, container: &str, image: &str, backup: &Backup, operation: &str) -> Job {
    let mut metadata = template.metadata.unwrap_or_default();
    let identity = {
        let pod = Pod { metadata: metadata.clone(), spec: template.spec.clone(), status: None };
        Identity::of(&pod, container)
    };
    let mut spec: PodSpec = quiet(template.spec.unwrap_or_default(), container);
    spec.containers.iter_mut().for_each(quieten);
    spec.readiness_gates = Some(vec![PodReadinessGate { condition_type: NEVER_READY.to_owned() }]);
    if identity.uid != Some(0) {
        // A new volume belongs to root; there is no other one whose files this group would be given.
        let group = identity.group_of_new_volumes().unwrap_or(ANY_GROUP);
        spec.security_context.get_or_insert_default().fs_group.get_or_insert(group);
    }
    let source = PersistentVolumeClaimVolumeSource { claim_name: backup.name.clone(), read_only: None };
    let volume = Volume { name: VOLUME.to_owned(), persistent_volume_claim: Some(source), ..Volume::default() };
    spec.volumes.get_or_insert_default().push(volume);
    if let Some(ours) = spec.containers.iter_mut().find(|one| one.name == container) {
        ours.image = Some(image.to_owned());
        let mount = VolumeMount { name: VOLUME.to_owned(), mount_path: FOLDER.to_owned(), ..VolumeMount::default() };
        ours.volume_mounts.get_or_insert_default().push(mount);
    }
    let labels = metadata.labels.get_or_insert_default();
    labels.retain(|label, _| !is_of_controller(label));
    let own = [("app.kubernetes.io/managed-by", MANAGED_BY), (LABEL_OPERATION, operation)];
    labels.extend(own.map(|(key, value)| (key.to_owned(), value.to_owned())));
    let mut job = Job::default();
    job.metadata.name = Some(backup.name.clone());
    job.metadata.labels = Some(own.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
    let template = PodTemplateSpec { metadata: Some(metadata), spec: Some(spec) };
    job.spec = Some(JobSpec { backoff_limit: Some(0), template, ..JobSpec::default() });
    job
}

/// The tool in a pod's image that fits the server.
async fn tool(run: &Run, desk: &Desk, pod: &Pod, image: &str) -> Result<Tool> {
    let (dialect, server) = desk.server_version(run).await?;
    let mut seen = Vec::new();
    for program in Tool::candidates(dialect) {
        let found = version(run, desk, pod, program).await?.and_then(|said| Tool::of(program, &said));
        match found {
            Some(Tool::PgDump(own)) if server.is_some_and(|server| own < server) => {
                seen.push(format!("its pg_dump is of version {own}, and the server of {}", server.unwrap_or_default()));
            }
            Some(Tool::PgDump(_)) if version(run, desk, pod, "pg_restore").await?.is_none() => {
                seen.push("it has no pg_restore, which proves what pg_dump has written".to_owned());
            }
            Some(tool) => return Ok(tool),
            None => seen.push(format!("it has no {program}")),
        }
    }
    let wanted = match (dialect, server) {
        (Dialect::Postgres, Some(server)) => format!("pg_dump and pg_restore of version {server} or newer"),
        (Dialect::Postgres, None) => "pg_dump and pg_restore".to_owned(),
        _ => Tool::candidates(dialect).join(" or "),
    };
    Err(Failure::refused(format!("image {image} can't back the database up"))
        .facts(seen)
        .next(format!("name an image with {wanted}: --backup-image IMAGE")))
}

/// What a program of the pod's container says of its version, if it is there.
async fn version(run: &Run, desk: &Desk, pod: &Pod, program: &str) -> Result<Option<String>> {
    let command = exec::Command {
        namespace: run.namespace.clone(),
        pod: pod.name_any(),
        container: desk.spec.container.clone(),
        argv: vec![program.to_owned(), "--version".to_owned()],
        stdin: false,
    };
    let finished = run.cluster.run(&command, VERSION_BYTES).await?;
    Ok(finished.outcome.success().then(|| String::from_utf8_lossy(&finished.stdout).into_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_pod_of_a_dump_has_the_surroundings_and_serves_and_migrates_nothing() {
        let template: PodTemplateSpec = serde_json::from_value(json!({
            "metadata": {"labels": {"app": "keeper", "pod-template-hash": "x"}},
            "spec": {"serviceAccountName": "keeper", "securityContext": {"runAsUser": 1000},
                "initContainers": [{"name": "migrate", "image": "k:1", "command": ["flask", "db", "upgrade"]}],
                "containers": [{"name": "web", "image": "k:1", "envFrom": [{"secretRef": {"name": "pg"}}],
                    "volumeMounts": [{"name": "data", "mountPath": "/data"}], "readinessProbe": {"exec": {"command": ["true"]}}},
                    {"name": "proxy", "image": "p:1", "ports": [{"containerPort": 5432, "hostPort": 5432}], "livenessProbe": {"exec": {"command": ["false"]}}}],
                "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]},
        }))
        .unwrap();
        let how = How::Dump { image: "pg:15".to_owned(), size: "1Gi".to_owned() };
        let backup = Backup { name: "dbmig-run-x-backup".to_owned(), class: None, of: "db".to_owned(), how };
        let job = job_of(template, "web", "pg:15", &backup, "run-x");
        let template = job.spec.unwrap().template;
        let labels = template.metadata.unwrap().labels.unwrap();
        assert_eq!((labels.get("app").map(String::as_str), labels.contains_key("pod-template-hash")), (Some("keeper"), false));
        let spec = template.spec.unwrap();
        assert!(spec.init_containers.unwrap_or_default().is_empty() && spec.readiness_gates.is_some());
        assert_eq!(spec.security_context.unwrap().fs_group, Some(1000));
        let proxy = &spec.containers[1];
        assert!(proxy.liveness_probe.is_none() && proxy.ports.is_none(), "it would be ended, or kept from its node");
        let web = &spec.containers[0];
        assert_eq!((web.image.as_deref(), web.env_from.is_some()), (Some("pg:15"), true));
        let mounted: Vec<_> = web.volume_mounts.iter().flatten().map(|mount| mount.mount_path.as_str()).collect();
        assert_eq!(mounted, [WORK, FOLDER]);
        let claims = spec.volumes.unwrap().into_iter().filter_map(|volume| volume.persistent_volume_claim);
        assert_eq!(claims.map(|claim| claim.claim_name).collect::<Vec<_>>(), ["dbmig-run-x-backup"]);
    }
}
