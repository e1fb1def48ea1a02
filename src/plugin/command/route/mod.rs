//! `route`: leads traffic to another release, and back.

mod look;
mod spec;
mod step;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;

use self::look::{Found, look};
use self::spec::Spec;
use self::step::Desk;
use super::operation::{self, Start};
use super::promote::parted::Gap;
use super::session::{self, Session};
use super::vacuum::needs::Rule;
use super::{Context, report};
use crate::cli::route::Args;
use crate::cluster::access::{self, Need};
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::plan::{LockName, Phase, Record, Step, Store};
use crate::ui::human::harmless;
use crate::ui::{Report, Table};

/// The command's name, in records.
pub const NAME: &str = "route";

const LOOK: &[Rule] = &[("", "endpoints", &["get"]), ("", "secrets", &["get", "list"])];
const CHANGE: &[Rule] = &[
    ("", "configmaps", &["get", "list", "create", "update"]),
    ("", "secrets", &["get", "list", "create", "delete"]),
    ("coordination.k8s.io", "leases", &["get", "create", "update", "delete"]),
];

/// Runs the command.
///
/// # Errors
/// `Refused` with nothing changed, or what the engine says.
pub async fn run(ctx: &Context, args: Args) -> Result<Exit> {
    session::refuse_unasked(&ctx.ui, args.dry_run || args.yes, "what would be done")?;
    let session = Session::begin(ctx).await?;
    let session = &match &args.core_namespace {
        Some(namespace) => session.within(namespace),
        None => session,
    };
    access::require(&session.cluster, &needs(&session.cluster.namespace, &args), "dbmig-route").await?;
    let found = session.stop.interruptible(look(session, &args)).await?.map_err(Failure::unchanged)?;
    show(session, &found, args.dry_run)?;
    let Found { spec, package, gap } = found;
    if let Some((gap, old)) = &gap
        && gap.differs
        && !spec.accept_divergence
    {
        return Err(diverged(gap, old, &spec).state("nothing was changed"));
    }
    if args.dry_run {
        return Ok(Exit::Done);
    }
    if !args.yes && !session.ui.confirm(&session.stop, &format!("Lead traffic to {}?", spec.to)).await? {
        return Err(Failure::refused("not confirmed").state("nothing was changed"));
    }
    let (id, namespace) = (operation::new_id(NAME), &session.cluster.namespace);
    let (target, lock) = (spec.what.shown(), format!("{} in {}", spec.what.shown(), spec.namespace));
    let store = Store::in_namespace(&session.cluster, namespace);
    operation::refuse_if_unfinished(&store, &LockName::new(&lock), namespace, NAME).await?;
    let desk = Arc::new(Desk { spec, accept_data_loss: false, package });
    let start = Start { id: &id, command: NAME, namespace, target, lock: &lock, spec: &desk.spec, before: None };
    let ended = operation::start(session, start, step::steps(&desk)).await?;
    session.ui.say(&format!("traffic is led to {}; to lead it back: kubectl dbmig undo {id} -n {namespace}", desk.spec.to));
    Ok(report::conclude(session, &ended))
}

/// The rights that it uses; `plugin-manifest/promote.yaml` grants the same ones. What helm needs, the chart says.
fn needs(namespace: &str, args: &Args) -> Vec<Need> {
    let there = args.admin_namespace.as_deref().unwrap_or(namespace);
    let rules = LOOK.iter().chain(if args.dry_run { &[] } else { CHANGE });
    let mut needs = Need::each(namespace, rules.copied());
    if !args.probe.is_empty() {
        // A probe's Service may be the new release's, or the way in.
        let namespaces = BTreeSet::from([namespace, there]);
        needs.extend(namespaces.into_iter().map(|namespace| Need::new(namespace, "", "services/proxy", "get")));
    }
    if args.admin_release.is_some() && there != namespace {
        needs.extend(Need::all(there, "", "secrets", &["get", "list"]));
    }
    let change: &[&str] = if args.dry_run { &["get"] } else { &["get", "patch"] };
    if args.service.is_some() {
        needs.extend(Need::all(namespace, "", "services", change));
    }
    if args.ingress.is_some() {
        needs.extend(Need::all(there, "networking.k8s.io", "ingresses", change));
    }
    needs
}

/// Why traffic is not led there: rows would be out of use.
fn diverged(gap: &Gap, old: &str, spec: &Spec) -> Failure {
    let from = spec.from.as_deref().unwrap_or("the old release");
    Failure::refused(format!("{old} has written what release {} does not have", spec.to))
        .fact(gap.in_words(old))
        .fact(format!("both have the same up to {}; {old} is at {} now", gap.fork, gap.now))
        .next(format!(
            "take the promotion back, and keep writers of {from} out in the next one: kubectl dbmig promote … --revoke ROLE"
        ))
        .next("lead traffic there all the same, and leave those rows behind: --accept-divergence")
}

fn show(session: &Session, found: &Found, is_all: bool) -> Result<()> {
    let Found { spec, gap, .. } = found;
    if session.ui.is_machine() {
        return if is_all { session.ui.print(&Plan { spec, gap: gap.as_ref().map(|(gap, _)| gap) }) } else { Ok(()) };
    }
    let from = spec.from.as_ref().map(|from| format!("{from}  →  ")).unwrap_or_default();
    let mut lines = vec![format!("{from}{}  ({} in namespace {})", spec.to, spec.what.shown(), spec.namespace)];
    lines.push(format!("  switch     {}", spec.what.in_words(&spec.to)));
    if !spec.services.is_empty() {
        lines.push(format!(
            "  before     {} must have ready addresses",
            spec.services.iter().map(|name| format!("service/{name}")).collect::<Vec<_>>().join(", ")
        ));
    }
    lines.extend(spec.before.iter().map(|probe| format!("  before     {probe} must answer {} times in a row", spec.count)));
    lines.extend(spec.after.iter().map(|probe| {
        format!("  after      {probe} must answer {} times in a row within {} s, else all is led back", spec.count, spec.timeout)
    }));
    lines.push(match gap {
        Some((gap, old)) => format!("  data       {}", gap.in_words(old)),
        None => format!("  data       whether release {} lacks anything is not known: no promotion of ours made it", spec.to),
    });
    for line in lines {
        session.ui.say(&harmless(&line));
    }
    if spec.after.is_empty() {
        session.ui.warn("nothing is asked after the switch: --probe svc/NAME:PORT/PATH proves that clients are answered");
    }
    Ok(())
}

/// The steps of such an operation, from its record.
///
/// # Errors
/// The record comes from another version.
pub(super) fn steps(record: &Record, accept_data_loss: bool) -> Result<Vec<Box<dyn Step>>> {
    let spec: Spec = record.spec()?;
    Ok(step::steps(&Arc::new(Desk { spec, accept_data_loss, package: None })))
}

/// The newest operation that led traffic to a release, where it is over and was not taken back.
///
/// # Errors
/// When the API server refuses.
pub(super) async fn newest_to(session: &Session, release: &str) -> Result<Option<Record>> {
    let store = Store::in_namespace(&session.cluster, &session.cluster.namespace);
    let mut all = store.list(None).await?;
    all.retain(|record| record.command == NAME && record.phase == Phase::Done);
    all.retain(|record| record.spec::<Spec>().is_ok_and(|spec| spec.to == release));
    Ok(all.into_iter().max_by_key(|record| record.created))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Plan<'a> {
    #[serde(flatten)]
    spec: &'a Spec,
    gap: Option<&'a Gap>,
}

impl Report for Plan<'_> {
    fn kind(&self) -> &'static str {
        "RoutePlan"
    }

    fn table(&self, _wide: bool) -> Table {
        Table::new(["WHAT", "TO"]).row([self.spec.what.shown(), self.spec.to.clone()])
    }

    fn names(&self) -> Vec<String> {
        vec![self.spec.what.shown()]
    }
}
