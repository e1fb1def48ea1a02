//! What the user asked to be run: from `run` or `rollback` to a spec.

use std::path::PathBuf;

use super::desk::{Around, Desk};
use super::spec::{Spec, Way};
use super::{NAME, ROLLBACK, offline};
use crate::cli::run::JobArgs;
use crate::cluster::Cluster;
use crate::cluster::job::{Hook, Order, Origin, Template, build, name, of_file, of_hook, of_object};
use crate::cluster::kind::{Kind, TargetRef};
use crate::failure::{Failure, Result};
use crate::framework::State;
use crate::framework::down::{Down, Extent, down};
use crate::framework::limits::{Limits, Told};
use crate::plan::Store;

/// What was typed.
pub(super) struct Asked {
    pub(super) what: What,
    /// While nothing else uses the database.
    pub(super) offline: bool,
    pub(super) job: JobArgs,
    /// How far down; `None` goes up.
    pub(super) down: Option<Extent>,
}

/// What the Job is made from, as it was typed.
pub(super) enum What {
    Object(Vec<String>),
    File(PathBuf),
}

/// A way down.
pub(super) struct WayDown {
    pub(super) down: Down,
    /// Migrations that have no way back, and why, a line each.
    pub(super) stuck: Vec<String>,
    /// What was seen of their files, for people.
    pub(super) notes: Vec<String>,
}

/// Where the books were found and what they say, or why they could not be asked.
pub(super) type Books = std::result::Result<(String, Vec<State>), String>;

impl Asked {
    /// The command's name, in records.
    pub(super) fn name(&self) -> &'static str {
        if self.down.is_some() { ROLLBACK } else { NAME }
    }

    /// What the Job is made from.
    pub(super) async fn template(&self, cluster: &Cluster) -> Result<Template> {
        let asked = match &self.what {
            What::File(path) => return of_file(path),
            What::Object(words) => match Hook::parse(words) {
                Some(hook) => return of_hook(cluster, &hook).await,
                None => TargetRef::parse(words)?,
            },
        };
        let serves = !matches!(asked.kind, Kind::Job | Kind::CronJob);
        if serves && self.job.command.is_empty() && self.down.is_none() {
            return Err(Failure::usage(format!("{asked} serves: say what is to be run in a pod like its own"))
                .next(format!("kubectl dbmig run --from {asked} -- COMMAND")));
        }
        of_object(cluster, &asked).await
    }

    /// What is to be run, before the database is looked at.
    pub(super) async fn spec(&self, cluster: &Cluster, id: &str, template: &Template) -> Result<Spec> {
        let (from, args) = (template.origin.shown(), &self.job);
        // Only the image that has brought a migration is sure to know its way down.
        let earlier = if self.down.is_some() { last_run(cluster, &template.origin).await? } else { None };
        let image = args.image.clone().or(earlier.as_ref().and_then(|spec| spec.image.clone()));
        let container = args.container.clone().or(earlier.as_ref().map(|spec| spec.container.clone()));
        let earlier = earlier.map(|spec| spec.command).unwrap_or_default();
        let command = if args.command.is_empty() { earlier } else { args.command.clone() };
        if template.origin.serves() && command.is_empty() {
            return Err(Failure::usage(format!(
                "{from} serves, and no earlier `run` from it is recorded that tells how it migrates"
            ))
            .state("nothing was changed")
            .next(format!("kubectl dbmig rollback {from} -- COMMAND")));
        }
        let order = Order {
            from: &from,
            serves: template.origin.serves(),
            operation: id,
            container: container.as_deref(),
            image: image.as_deref(),
            command: &command,
            limits: None,
            tries_again: args.backoff_limit,
            native_sidecars: cluster.features().await?.native_sidecars,
        };
        let built = build(template.pod.clone(), &order)?;
        Ok(Spec {
            origin: template.origin.clone(),
            job: name(&from),
            container: built.container,
            image,
            command,
            limits: None,
            tries_again: args.backoff_limit,
            backup: None,
            stuck: Vec::new(),
            way: if self.down.is_some() { Way::Down(None) } else { Way::Up },
            books: None,
            helper_image: args.helper_image.clone(),
            offline: None,
            force: args.force,
            patience_seconds: args.timeout.as_secs(),
        })
    }

    /// What uses the same database, and the image that it has now.
    pub(super) async fn stopped_around(&self, cluster: &Cluster, template: &Template, container: &str) -> Result<offline::Found> {
        let pod = template.pod.spec.clone().unwrap_or_default();
        let old = pod.containers.iter().find(|one| one.name == container).and_then(|one| one.image.clone()).unwrap_or_default();
        let mut found = offline::find(cluster, &pod, (&old, self.job.image.as_deref())).await?;
        if !found.unstoppable.is_empty() && !self.job.force {
            return Err(Failure::refused("something that uses the same database can't be stopped for a while")
                .facts(found.unstoppable)
                .state("nothing was changed")
                .next("end it, or wait until it has ended")
                .next("let it run beside the migration: --force"));
        }
        found.offline.left = std::mem::take(&mut found.unstoppable);
        Ok(found)
    }

    /// How the limits that were asked for are told to what migrates, and why they may have no effect.
    pub(super) async fn limits(&self, desk: &Desk, books: &Books) -> Result<Option<Told>> {
        let limits = Limits { lock: self.job.lock_timeout, statement: self.job.statement_timeout };
        if limits.is_empty() {
            return Ok(None);
        }
        let framework = books.as_ref().ok().and_then(|(_, states)| states.first()).map(|state| state.framework);
        limits.told(framework, desk.dialect().await).map(Some).map_err(|why| {
            Failure::refused(format!("--lock-timeout and --statement-timeout would have no effect: {why}"))
                .state("nothing was changed")
                .next("leave them out")
        })
    }

    /// The command that goes down, what it takes back, and what of that has no way back; `None` where the way is up.
    pub(super) async fn way_down(&self, around: Around<'_>, desk: &Desk, books: &Books) -> Result<Option<WayDown>> {
        let Some(extent) = &self.down else { return Ok(None) };
        let named = desk.spec.origin.shown();
        let refused = |why: String| {
            Failure::refused(format!("it is not known how to take migrations back: {why}")).state("nothing was changed")
        };
        let with_command = || format!("say the command yourself: kubectl dbmig rollback {named} -- COMMAND");
        let state = match books {
            Ok((_, states)) => states.iter().find(|state| !state.applied.is_empty()).or(states.first()),
            Err(_) => None,
        };
        if !self.job.command.is_empty() {
            let down = Down { command: self.job.command.clone(), going: None };
            let notes = vec!["whether the migrations have a way back is not looked at: the command is yours".to_owned()];
            return Ok(Some(WayDown { down, stuck: Vec::new(), notes }));
        }
        let Some(state) = state else {
            let why = books.as_ref().err().cloned().unwrap_or_else(|| "no bookkeeping table was recognised".to_owned());
            return Err(refused(why).next(with_command()));
        };
        let up = desk.built(around).await?.command;
        let down = down(state, &up, extent).map_err(|why| refused(why).next(with_command()))?;
        let (stuck, notes) = desk.stuck(around, state, extent, down.going.as_deref()).await;
        Ok(Some(WayDown { down, stuck, notes }))
    }
}

/// What was run last from the same, and went well or not.
async fn last_run(cluster: &Cluster, origin: &Origin) -> Result<Option<Spec>> {
    let records = Store::in_namespace(cluster, &cluster.namespace).list(None).await?;
    let runs = records.iter().rev().filter(|record| record.command == NAME);
    Ok(runs.filter_map(|record| record.spec::<Spec>().ok()).find(|spec| spec.origin.shown() == origin.shown()))
}
