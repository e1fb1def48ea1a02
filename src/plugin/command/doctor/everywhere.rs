//! What `-A` looks into: all namespaces at once; for who may not do that, those in which they may look, one by one.

use k8s_openapi::api::core::v1::Namespace;
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use crate::cli::scope::ScopeArgs;
use crate::cluster::access::{Need, missing};
use crate::cluster::error::{is_forbidden, translate};
use crate::command::scope;
use crate::command::session::Session;
use crate::failure::{Failure, Result};
use crate::framework::{Finding, Level};
use crate::observe::Scope;

/// Questions that are asked at the same time.
const AT_ONCE: usize = 50;
/// Namespaces that are named where they are left out.
const NAMED: usize = 5;

/// What is meant, and what of it is not looked into.
///
/// # Errors
/// As [`scope::find_all`]; there is no namespace in which this user may look.
pub(super) async fn scopes(session: &Session, typed: &ScopeArgs) -> Result<(Vec<Scope>, Option<Finding>)> {
    let whole = scope::find_all(session, typed).await?;
    if whole.namespace.is_some() || session.stop.interruptible(may_look_everywhere(session)).await?? {
        return Ok((vec![whole], None));
    }
    let all = session.stop.interruptible(namespaces(session)).await??;
    let (open, closed) = session.stop.interruptible(apart(session, all)).await??;
    if open.is_empty() {
        return Err(refused().fact(format!("nor in any of the {} namespaces that there are", closed.len())));
    }
    let within = |namespace: String| Scope { namespace: Some(namespace), ..whole.clone() };
    Ok((open.into_iter().map(within).collect(), left_out(&closed)))
}

async fn may_look_everywhere(session: &Session) -> Result<bool> {
    Ok(missing(&session.cluster, &[Need::cluster_wide("", "pods", "list")]).await?.is_empty())
}

async fn namespaces(session: &Session) -> Result<Vec<String>> {
    let api: Api<Namespace> = Api::all(session.cluster.client.clone());
    match api.list_metadata(&ListParams::default()).await {
        Ok(list) => Ok(list.items.iter().map(ResourceExt::name_any).collect()),
        Err(error) if is_forbidden(&error) => Err(refused().fact("which namespaces there are, you may not list either")),
        Err(error) => Err(translate(&error, "list the namespaces")),
    }
}

/// Those in which this user may look, and the others.
async fn apart(session: &Session, all: Vec<String>) -> Result<(Vec<String>, Vec<String>)> {
    let mut closed = Vec::new();
    for some in all.chunks(AT_ONCE) {
        let needs: Vec<Need> = some.iter().map(|namespace| Need::new(namespace, "", "pods", "list")).collect();
        closed.extend(missing(&session.cluster, &needs).await?.into_iter().filter_map(|need| need.namespace));
    }
    let open = all.into_iter().filter(|namespace| !closed.contains(namespace)).collect();
    Ok((open, closed))
}

fn refused() -> Failure {
    Failure::refused("you may not list the pods of all namespaces")
        .state("nothing was looked at")
        .next("look into one of yours: kubectl dbmig doctor -n NAMESPACE")
        .next("an administrator can let you: plugin-manifest/observe.yaml and look.yaml, as ClusterRoles or in each namespace")
}

fn left_out(closed: &[String]) -> Option<Finding> {
    let (named, rest) = closed.split_at(closed.len().min(NAMED));
    let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
    let what =
        format!("{} namespaces were not looked into, for you may not list their pods: {}{more}", closed.len(), named.join(", "));
    (!closed.is_empty()).then(|| Finding::new(Level::Note, what))
}
