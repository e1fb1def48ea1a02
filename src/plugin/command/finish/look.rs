//! What is known before a cut-over: that all is copied and followed, what would stop writers, and what could go wrong.

use std::sync::Arc;

use tokio::time::Instant;

use super::desk::{Desk, copier};
use super::ended::{anew, drop_slot, ended};
use super::preview::Preview;
use super::spec::{Scaled, Service, Spec};
use crate::cli::finish::Args;
use crate::cluster::Cluster;
use crate::cluster::kind::{TargetRef, service_name};
use crate::cluster::service::pointing;
use crate::cluster::setting::{Bound, Setting};
use crate::cluster::target::Target;
use crate::cluster::twin::kept;
use crate::cluster::workload::Workload;
use crate::command::pair::Pair;
use crate::command::session::Session;
use crate::database::postgres::End;
use crate::database::text_of;
use crate::database::url::Location;
use crate::failure::{Failure, Result};
use crate::replication::{
    self, Difference, Freeze, Sentinel, Settling, Slot, Table, Verify, Writer, compare, differences, tables,
};
use crate::ui::human::{bytes, harmless};

/// Where the Job of the db-upgrade component has its SQL.
const READONLY: &str = "/migration/readonly.sql";

/// What was opened for the look.
pub(super) struct Look<'a> {
    session: &'a Session,
    pub(super) target: Target,
    /// What there is to know of this version of pgcopydb.
    caveat: Option<String>,
    open: Pair,
}

/// A comparison that was tried.
pub(super) struct Rehearsal {
    /// Seconds for which writers would wait for it.
    pub(super) seconds: f64,
    /// What is wrong on the target already.
    pub(super) wrong: Vec<Difference>,
}

/// What was found out; nothing of it was changed.
pub(super) struct Facts {
    pub(super) sentinel: Sentinel,
    pub(super) slot: Slot,
    pub(super) freeze: Freeze,
    pub(super) writers: Vec<Writer>,
    /// Roles that could write all the same, with a table each.
    pub(super) still: Vec<(String, String)>,
    /// What there is to know of this version of pgcopydb.
    pub(super) caveat: Option<String>,
    /// What there is to know of settings that are to be changed.
    pub(super) settings: Vec<String>,
    /// Tables whose changes can't be carried over by key.
    pub(super) unidentified: Vec<String>,
    pub(super) tables: usize,
    /// What the comparison would be, measured for a dry run.
    pub(super) rehearsal: Option<Rehearsal>,
}

impl<'a> Look<'a> {
    /// Finds the Job's pod and reaches both servers.
    ///
    /// # Errors
    /// Nothing of that name, it has ended, or a server can't be reached.
    pub(super) async fn begin(session: &'a Session, args: &Args, id: &str) -> Result<Self> {
        let asked = TargetRef::parse(&args.target)?;
        let target = Target::resolve(&session.cluster, &asked, args.container.as_deref()).await?;
        for notice in &target.notices {
            session.ui.say(&harmless(notice));
        }
        if let Some(failure) = ended(session, &target, args, id).await {
            return Err(failure);
        }
        let copier = copier(&target, args.dir.clone());
        let caveat = copier.version(&session.cluster).await?.check()?;
        session.ui.say(&format!("reaching source and target from the network of pod/{}", target.pod_name()));
        let open = session
            .stop
            .interruptible(Pair::reach(&session.cluster, &session.stop, &target.pod, &target.container, id))
            .await??;
        Ok(Self { session, target, caveat, open })
    }

    /// Looks at everything, shows it, and asks; `None` when it was only to be shown.
    ///
    /// # Errors
    /// `Refused` with what stands in the way.
    pub(super) async fn desk(&self, args: &Args) -> Result<Option<Arc<Desk>>> {
        let session = self.session;
        let spec = session.stop.interruptible(self.spec(args)).await??;
        let facts = session.stop.interruptible(self.facts(args, &spec)).await??;
        Preview { spec: &spec, facts: &facts }.show(session, args.dry_run)?;
        if args.dry_run {
            return Ok(None);
        }
        if !args.yes && !session.ui.confirm(&session.stop, "Cut over?").await? {
            return Err(Failure::refused("not confirmed").state("nothing was changed"));
        }
        Ok(Some(Arc::new(Desk::new(spec, false, Some(self.open.clone())))))
    }

    /// What no two operations may work on at once.
    pub(super) fn lock(&self) -> String {
        self.open.shown().0
    }

    /// Removes what the look needed.
    ///
    /// # Errors
    /// When the API server refuses.
    pub(super) async fn leave(&self, cluster: &Cluster) -> Result<()> {
        self.open.leave(cluster).await
    }

    async fn spec(&self, args: &Args) -> Result<Spec> {
        let cluster = &self.session.cluster;
        let (script, script_from) = self.script(args).await?;
        let mut scaled = Vec::new();
        for workload in named(cluster, &args.scale_down).await? {
            let replicas = workload.replicas(cluster, &self.target.namespace).await?;
            scaled.push(Scaled { workload, replicas });
        }
        let (source, to) = self.open.shown();
        Ok(Spec {
            target: self.target.asked.to_string(),
            container: self.target.container.clone(),
            pod: kept(&self.target.pod),
            dir: args.dir.clone(),
            slot: args.slot_name.clone(),
            origin: args.origin.clone(),
            source,
            to,
            script,
            script_from,
            scaled,
            verify: args.verify,
            max_downtime: args.max_downtime.as_secs(),
            timeout: args.timeout.as_secs(),
            restart: named(cluster, &args.restart).await?,
            service: self.service(args).await?,
            settings: args.set_secret.clone(),
        })
    }

    /// The SQL that takes the writers' rights, and where it comes from.
    async fn script(&self, args: &Args) -> Result<(String, String)> {
        if !args.revoke.is_empty() {
            let script = replication::revokes(&*self.open.source, &args.revoke).await?;
            return Ok((script, format!("--revoke {}", args.revoke.join(","))));
        }
        if let Some(file) = &args.readonly {
            let text = std::fs::read_to_string(file)
                .map_err(|error| Failure::usage(format!("cannot read {}: {error}", file.display())))?;
            return Ok((text, file.display().to_string()));
        }
        let found = text_of(&self.open.seat().agent, READONLY).await?;
        match found {
            Some(text) => Ok((text, format!("{READONLY} of pod/{}", self.target.pod_name()))),
            None => Ok((String::new(), format!("no {READONLY} in pod/{}", self.target.pod_name()))),
        }
    }

    async fn service(&self, args: &Args) -> Result<Option<Service>> {
        let (Some(from), Some(to)) = (&args.switch_service, &args.to) else { return Ok(None) };
        let (name, to) = (service_name(from)?, service_name(to)?);
        let (cluster, namespace) = (&self.session.cluster, &self.target.namespace);
        let before = pointing(cluster, namespace, &name).await?;
        let after = pointing(cluster, namespace, &to).await?;
        if before == after {
            return Err(Failure::refused(format!("service/{name} points to the pods of service/{to} already"))
                .state("nothing was changed"));
        }
        Ok(Some(Service { name, to, before, after }))
    }

    /// What stands in the way of settings that are to be changed, or is to be said of them. Their values are not told.
    async fn settings(&self, args: &Args) -> Result<Vec<String>> {
        let (cluster, namespace) = (&self.session.cluster, &self.target.namespace);
        let refused = |message: String| Failure::refused(message).state("nothing was changed");
        let mut warnings = Vec::new();
        for Setting { at, from } in &args.set_secret {
            let found = at.look(cluster, namespace).await?;
            let Some(value) = from.look(cluster, namespace).await?.value else {
                return Err(refused(format!("{from} is not there")));
            };
            if found.value.as_ref() == Some(&value) {
                return Err(refused(format!("{at} has the value of {from} already")));
            }
            match found.bound {
                Bound::Immutable => return Err(refused(format!("secret/{} is immutable", at.name))),
                Bound::Owned(owner) => {
                    warnings.push(format!("secret/{} belongs to {owner}, which may set {} back", at.name, at.key));
                }
                Bound::Free => {}
            }
            if found.value.is_none() {
                warnings.push(format!("secret/{} has no key {} yet", at.name, at.key));
            }
            let leads = std::str::from_utf8(&value.0).ok().and_then(|text| Location::parse(text.trim()).ok());
            if let Some(leads) = leads
                && leads.place() == self.open.source_place()
            {
                return Err(refused(format!("{from} leads to the source")).fact(leads.to_string()));
            }
        }
        if !args.set_secret.is_empty() && args.restart.is_empty() {
            warnings.push("what has its settings from a Secret sees new ones when it starts: --restart".to_owned());
        }
        Ok(warnings)
    }

    async fn facts(&self, args: &Args, spec: &Spec) -> Result<Facts> {
        let (cluster, source) = (&self.session.cluster, &*self.open.source);
        let copier = copier(&self.target, args.dir.clone());
        let sentinel = copier.sentinel(cluster).await?;
        let pod = self.target.pod_name();
        let refused = |message: String| Failure::refused(message).state("nothing was changed");
        if let Some(end) = sentinel.end {
            let clear = format!(
                "kubectl exec {pod} -n {} -c {} -- pgcopydb stream sentinel set endpos 0/0",
                self.target.namespace, self.target.container
            );
            return Err(refused(format!("pgcopydb has been told to end at {end} already"))
                .fact("by somebody else, or left over from a rehearsal: changes after it would be lost")
                .next(clear));
        }
        if !sentinel.applies {
            return Err(refused("the first copy is not over: no change has been applied yet".to_owned())
                .fact("whoever stops writers now keeps them stopped until it is")
                .next(format!("kubectl dbmig watch {}", spec.target)));
        }
        let Some(slot) = replication::settled_slot(source, &spec.slot).await? else {
            return Err(refused(format!("the source has no replication slot {}", spec.slot)).next("name it: --slot-name NAME"));
        };
        let begin_again = |failure: Failure| failure.next(drop_slot(&spec.slot)).next(anew(&self.target));
        if slot.lost {
            return Err(begin_again(refused(format!("the source has thrown away what slot {} still needs", slot.name))));
        }
        if !slot.active {
            let stopped = refused(format!("nobody reads slot {}: following has stopped", slot.name))
                .fact(format!("it keeps {} of write-ahead log on the source's disk", bytes(slot.retained.unwrap_or_default())));
            return Err(begin_again(stopped.next(format!("kubectl dbmig logs {}", spec.target))));
        }
        let applied = replication::applied(&*self.open.target, &spec.origin).await?;
        if applied.is_none() {
            return Err(refused(format!("the target has no replication origin {}", spec.origin)).next("name it: --origin NAME"));
        }
        let lag = slot.lag.unwrap_or_default();
        if lag > args.max_lag << 20 {
            return Err(refused(format!("the target is {} behind, more than {} MiB (--max-lag)", bytes(lag), args.max_lag))
                .next(format!("kubectl dbmig watch {}", spec.target)));
        }
        let freeze = differences(source, &spec.script, End::Rollback).await?;
        if freeze.is_empty() && spec.scaled.is_empty() {
            return Err(refused("nothing would stop writers".to_owned())
                .fact(format!("{} changes no right", spec.script_from))
                .next("--revoke ROLE[,ROLE], --readonly FILE, or --scale-down deploy/NAME"));
        }
        let writers = replication::writers(source).await?;
        if let Some(prepared) = writers.iter().find(|writer| writer.prepared.is_some()) {
            return Err(refused("a prepared transaction would never end by itself".to_owned()).fact(prepared.in_words()));
        }
        let tables = tables(source).await?;
        let unidentified = tables.iter().filter(|table| table.logged && !table.identified);
        let seconds = comparison(&tables, args.verify);
        if seconds > spec.max_downtime && !args.dry_run {
            return Err(refused(format!(
                "to compare the tables that have no key would take about {seconds} s, longer than writes may be refused (--max-downtime)"
            ))
            .next("kubectl dbmig finish … --dry-run measures it")
            .next("--verify sample, or a longer --max-downtime"));
        }
        let still = replication::still_allowed(source, &spec.script).await?;
        Ok(Facts {
            unidentified: unidentified.map(|table| table.name.clone()).collect(),
            rehearsal: if args.dry_run { Some(self.rehearse(args).await?) } else { None },
            tables: tables.len(),
            sentinel,
            slot,
            freeze,
            writers,
            still,
            caveat: self.caveat.clone(),
            settings: self.settings(args).await?,
        })
    }

    /// How many seconds the comparison takes. What it finds then means nothing while writers write.
    async fn rehearse(&self, args: &Args) -> Result<Rehearsal> {
        let (source, target) = self.open.patient().await?;
        let (baseline, wrong) = if args.verify == Verify::Full {
            Settling { source: &source, target: &target, origin: &args.origin, canary: None }.take(|_, _, _| ()).await?
        } else {
            (None, Vec::new())
        };
        let begun = Instant::now();
        compare(&source, &target, args.verify, baseline.as_ref(), |_, _, _| ()).await?;
        Ok(Rehearsal { seconds: begun.elapsed().as_secs_f64(), wrong })
    }
}

/// Bytes of a table that are compared in a second, on the safe side.
const COMPARED_A_SECOND: u64 = 50 << 20;

/// Seconds that a comparison takes at least: of what can't be compared before writers are stopped.
fn comparison(tables: &[Table], verify: Verify) -> u64 {
    match verify {
        Verify::Full => tables.iter().filter(|table| !table.settles()).map(|table| table.bytes).sum::<u64>() / COMPARED_A_SECOND,
        Verify::None | Verify::Counts | Verify::Sample => 0,
    }
}

async fn named(cluster: &Cluster, typed: &[String]) -> Result<Vec<Workload>> {
    let mut found = Vec::new();
    for name in typed {
        found.push(Workload::find(cluster, &TargetRef::parse(&[name])?).await?);
    }
    Ok(found)
}
