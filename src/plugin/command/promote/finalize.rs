//! `promote --finalize`: the old release goes, once traffic has been led to the new one for long enough. This is the one step that has
//! no way back, and so it is an operation of its own.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::desk::Desk;
use super::{Args, NAME, Spec, lock};
use crate::cluster::error::Context as _;
use crate::cluster::helm::{INSTANCE, Program, newest_of};
use crate::cluster::workload::Workload;
use crate::command::operation::{self, Start, only_one};
use crate::command::session::Session;
use crate::command::{history, report, route};
use crate::database::Database as _;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::plan::{LockName, Look, Phase, Record, Run, Step, Store};
use crate::replication::standing;

/// The command's name, in records.
pub(in crate::command) const FINALIZE: &str = "finalize";
/// For what is Ready already.
const READY: Duration = Duration::from_secs(10);
/// For helm to remove a release.
const REMOVAL: Duration = Duration::from_secs(300);

/// What is removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Removal {
    /// The old release.
    release: String,
    /// The promotion that it is the old release of.
    promotion: String,
    /// Helm on the computer where this began.
    helm: String,
}

/// Runs the command.
pub(super) async fn run(session: &Session, args: &Args) -> Result<Exit> {
    let record = match &args.operation {
        Some(id) => history::load(session, id).await?,
        None => only_one(session, "finalize", |record| record.command == NAME && record.phase == Phase::Done).await?,
    };
    if record.command != NAME || record.phase != Phase::Done {
        return Err(Failure::refused(format!(
            "operation {} is no promotion that is done: {}, {}",
            record.id,
            record.command,
            record.phase.as_str()
        ))
        .state("nothing was changed"));
    }
    let spec: Spec = record.spec()?;
    let release = args.current_release.clone().or(spec.current.clone()).ok_or_else(|| {
        Failure::usage(format!("{} does not say which release it belongs to", spec.set)).next("name it: --current-release NAME")
    })?;
    let helm = Program::find(&args.helm, &session.cluster, &session.cluster.namespace).await?;
    let old = newest_of(&session.cluster, &release)
        .await?
        .ok_or_else(|| Failure::refused(format!("there is no release {release} any more")).state("nothing was changed"))?;
    session.stop.interruptible(checked(session, args, &record, &spec, &release)).await??;
    session.ui.say(&format!("release {release}, {}, is removed: {}", old.standing(), old.manifest().objects().join(", ")));
    session.ui.say("  its claims stay; this can't be taken back, and neither can the promotion from then on");
    if args.dry_run {
        return Ok(Exit::Done);
    }
    if !args.yes && !session.ui.confirm_by_typing(&session.stop, &format!("Remove release {release}?"), &release).await? {
        return Err(Failure::refused("not confirmed").state("nothing was changed"));
    }
    let (id, namespace, lock) = (operation::new_id(FINALIZE), &session.cluster.namespace, lock(&spec));
    let store = Store::in_namespace(&session.cluster, namespace);
    operation::refuse_if_unfinished(&store, &LockName::new(&lock), namespace, FINALIZE).await?;
    let removal = Removal { release: release.clone(), promotion: record.id.clone(), helm: args.helm.display().to_string() };
    let target = format!("release/{release}");
    let start = Start { id: &id, command: FINALIZE, namespace, target, lock: &lock, spec: &removal, before: None };
    let ended = operation::start(session, start, vec![Box::new(Uninstall(removal.clone()))]).await?;
    session.ui.say(&format!(
        "removed with Helm {}; what is left of it: kubectl get pvc -n {namespace} -l {INSTANCE}={release}",
        helm.version
    ));
    Ok(report::conclude(session, &ended))
}

/// Refuses while the old release may still be needed.
async fn checked(session: &Session, args: &Args, record: &Record, spec: &Spec, release: &str) -> Result<()> {
    let refused = |what: String| Failure::refused(what).state("nothing was changed");
    if !args.grace.is_zero() {
        let routed = route::newest_to(session, &spec.release).await?;
        let routed = routed.filter(|routed| routed.created > record.created).ok_or_else(|| {
            refused(format!("traffic was not led to release {} by kubectl dbmig route", spec.release))
                .next(format!("kubectl dbmig route --to {} -n {} …", spec.release, session.cluster.namespace))
                .next("if it was led there by other means: --grace 0s")
        })?;
        let since = Timestamp::now().duration_since(routed.updated).unsigned_abs();
        if since < args.grace {
            return Err(refused(format!(
                "traffic has been led to release {} for {} only, and not for {} (--grace)",
                spec.release,
                crate::ui::human::duration(since),
                crate::ui::human::duration(args.grace)
            )));
        }
    }
    let (cluster, desk) = (&session.cluster, Desk::new(spec.clone(), false, None, None));
    for workload in &spec.workloads {
        let workload = Workload::find(cluster, workload).await?;
        workload
            .rolled_out(cluster, &cluster.namespace, &session.stop, READY)
            .await
            .map_err(|failure| failure.exit(Exit::Refused).unchanged())?;
    }
    if standing(&desk.new_primary(cluster).await?).await?.in_recovery {
        return Err(refused(format!("the server of release {} is no primary", spec.release)));
    }
    let strangers = strangers(session, &desk, release).await?;
    if strangers.is_empty() {
        return Ok(());
    }
    Err(refused(format!("somebody else than release {release} still uses {}", spec.primary.target)).facts(strangers))
}

/// Sessions on the old primary of whoever does not belong to the old release.
async fn strangers(session: &Session, desk: &Desk, release: &str) -> Result<Vec<String>> {
    let cluster = &session.cluster;
    let Ok(old) = desk.primary(cluster).await else { return Ok(Vec::new()) };
    let sql = "SELECT DISTINCT coalesce(usename, '?'), coalesce(host(client_addr), '') FROM pg_stat_activity \
               WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND application_name NOT LIKE 'kubectl-dbmig%'";
    let sessions = old.query(sql).await?;
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let own = pods
        .list(&ListParams::default().labels(&format!("{INSTANCE}={release}")))
        .await
        .doing("list the pods of the old release")?;
    let addresses: Vec<&str> = own.items.iter().filter_map(|pod| pod.status.as_ref()?.pod_ip.as_deref()).collect();
    let text = |row: &[Value], at: usize| row.get(at).and_then(Value::as_str).unwrap_or_default().to_owned();
    let others = sessions.iter().map(|row| (text(row, 0), text(row, 1)));
    let others = others
        .filter(|(_, address)| !address.is_empty() && !address.starts_with("127.") && !addresses.contains(&address.as_str()));
    Ok(others.map(|(user, address)| format!("sessions of {user} from {address}")).collect())
}

/// The steps of such an operation, from its record.
///
/// # Errors
/// The record comes from another version.
pub(in crate::command) fn steps(record: &Record) -> Result<Vec<Box<dyn Step>>> {
    Ok(vec![Box::new(Uninstall(record.spec()?))])
}

/// Removes the old release.
struct Uninstall(Removal);

#[async_trait]
impl Step for Uninstall {
    fn id(&self) -> &'static str {
        "uninstall"
    }

    fn title(&self) -> String {
        format!("remove release {}", self.0.release)
    }

    async fn look(&self, run: &Run) -> Result<Look> {
        Ok(if newest_of(&run.cluster, &self.0.release).await?.is_none() { Look::Done } else { Look::Todo })
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let helm = Program::find(Path::new(&self.0.helm), &run.cluster, &run.namespace).await?;
        helm.uninstall(&self.0.release, REMOVAL).await.map(|()| String::new())
    }

    async fn can_go_back(&self, run: &Run) -> Result<()> {
        Err(Failure::refused(format!("release {} was removed, and there is no way back from that", self.0.release))
            .fact("its claims are still there, unless somebody has deleted them")
            .state("nothing was changed")
            .next(format!("kubectl get pvc -n {} -l {INSTANCE}={}", run.namespace, self.0.release)))
    }
}
