//! From what was typed to what an observer looks at. Reads only.

use super::operation::looks_like_id;
use super::run;
use super::session::Session;
use crate::cli::scope::ScopeArgs;
use crate::cluster::kind::{Kind, TargetRef};
use crate::failure::{Failure, Result};
use crate::observe::{MIGRATION, Scope, migrations};
use crate::plan::{Record, Store};

/// What is meant where nothing was named and several things migrate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Several {
    /// One of them: which, a person says.
    Ask,
    /// All of them.
    Take,
}

/// Finds what is meant. Without a target: what dbmig works on now, else what migrates; asks where there are several.
///
/// # Errors
/// Nothing of that name; nothing to look at; several things and nobody to ask.
pub(super) async fn find(session: &Session, typed: &ScopeArgs) -> Result<Scope> {
    found(session, typed, Several::Ask).await
}

/// The same, and all that migrates where nothing was named.
///
/// # Errors
/// As [`find`], but nobody is asked.
pub(super) async fn find_all(session: &Session, typed: &ScopeArgs) -> Result<Scope> {
    found(session, typed, Several::Take).await
}

async fn found(session: &Session, typed: &ScopeArgs, several: Several) -> Result<Scope> {
    let cluster = &session.cluster;
    let namespace = (!typed.all_namespaces).then(|| cluster.namespace.clone());
    if let Some(selector) = &typed.selector {
        return Ok(Scope::matching(selector, namespace));
    }
    if !typed.target.is_empty() {
        return of_target(session, &typed.target).await;
    }
    match namespace {
        None => Ok(Scope::migrations(None)),
        Some(namespace) => session.stop.interruptible(unnamed(session, &namespace, several)).await?,
    }
}

/// The operation that was named in place of a target, if it was.
pub(super) async fn operation(session: &Session, typed: &ScopeArgs) -> Option<Record> {
    let [name] = typed.target.as_slice() else { return None };
    match looks_like_id(name) {
        true => store(session).load(name).await.ok(),
        false => None,
    }
}

async fn of_target(session: &Session, words: &[String]) -> Result<Scope> {
    let asked = TargetRef::parse(words)?;
    let scope = Scope::of_target(&session.cluster, &asked).await;
    let Err(failure) = scope else { return scope };
    if words.len() > 1 || asked.kind != Kind::Pod {
        return Err(failure);
    }
    // Not a pod: perhaps an operation.
    match store(session).load(&asked.name).await {
        Ok(record) => Scope::of_target(&session.cluster, &watched(&record)?).await,
        Err(_) => Err(failure),
    }
}

async fn unnamed(session: &Session, namespace: &str, many: Several) -> Result<Scope> {
    let cluster = &session.cluster;
    // Who may not read records may still look at Jobs.
    let unfinished = store(session).unfinished(None).await.unwrap_or_default();
    let mut choices: Vec<(String, TargetRef)> = Vec::new();
    for record in &unfinished {
        choices.push((format!("{} (operation {})", record.target, record.id), watched(record)?));
    }
    if choices.is_empty() {
        let found = migrations(cluster, Some(namespace)).await?;
        choices.extend(found.into_iter().map(|(_, target)| (target.to_string(), target)));
    }
    match choices.as_slice() {
        [] => Err(Failure::usage(format!("nothing to look at in namespace {namespace}"))
            .fact(format!("no operation is at work, and no Job has {MIGRATION} or is a Helm hook that migrates"))
            .next("name a pod or a workload: kubectl dbmig status TYPE/NAME")
            .next("look everywhere: kubectl dbmig status -A")),
        [(_, only)] => {
            session.ui.say(&format!("looking at {only}"));
            Scope::of_target(cluster, only).await
        }
        _ if many == Several::Take && unfinished.is_empty() => Ok(Scope::migrations(Some(namespace.to_owned()))),
        several => {
            let shown: Vec<String> = several.iter().map(|(shown, _)| shown.clone()).collect();
            let index = session.ui.choose(&session.stop, "Which one?", &shown, "TYPE/NAME").await?;
            Scope::of_target(cluster, &several[index].1).await
        }
    }
}

/// What an operation works on, or the Job that it has made.
fn watched(record: &Record) -> Result<TargetRef> {
    run::watched(record).map_or_else(|| TargetRef::parse(&[&record.target]), Ok)
}

fn store(session: &Session) -> Store {
    Store::in_namespace(&session.cluster, &session.cluster.namespace)
}
