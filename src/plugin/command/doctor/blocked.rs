//! Changes of tables that wait for a lock, as findings: who waits, since when, for whom, in which pod. Reads only.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use crate::cluster::Cluster;
use crate::command::neighbours::{Neighbours, Sighting};
use crate::database::blocked::{self, Blocked, Party};
use crate::database::{Database, Dialect};
use crate::failure::Result;
use crate::framework::{Finding, Level};

/// A finding for each statement that waits.
///
/// # Errors
/// When the database can't be asked.
pub(super) async fn findings(cluster: &Cluster, namespace: &str, database: &dyn Database) -> Result<Vec<Finding>> {
    let all = blocked::find(database).await?;
    if all.is_empty() {
        return Ok(Vec::new());
    }
    let pods = Neighbours::of(cluster, namespace).await;
    let mut findings = Vec::new();
    for one in &all {
        findings.push(finding(one, pods.as_ref(), namespace, database.dialect()).await);
    }
    Ok(findings)
}

async fn finding(blocked: &Blocked, pods: Option<&Neighbours<'_>>, namespace: &str, dialect: Dialect) -> Finding {
    let waiter = seen(&blocked.waiter, pods).await;
    let table = blocked.table.as_ref().map_or_else(String::new, |table| format!(" for {table}"));
    let doing = blocked.waiter.statement.as_deref().unwrap_or("a change of a table");
    let mut finding = Finding::new(Level::Broken, format!("{doing}: {} waits{table}", waiter.words));
    let mut evidence = Vec::new();
    for holder in &blocked.by {
        let holder = seen(holder, pods).await;
        let holds = if blocked.is_certain { "in its way" } else { "may be in its way" };
        evidence.push(format!("{holds}: {}", holder.words));
        if let Some(pod) = holder.pod {
            finding = finding.next(format!(
                "kubectl dbmig logs {} -n {}",
                pod.name_any(),
                pod.namespace().as_deref().unwrap_or(namespace)
            ));
        }
    }
    if blocked.by.is_empty() {
        evidence.push("who is in its way can't be seen with this role's rights".to_owned());
    }
    if blocked.others > 0 {
        evidence.push(format!("{} more wait for the same table", blocked.others));
    }
    if let Some(first) = blocked.by.first() {
        finding = finding.next(format!("{}   # once nobody needs what that session does", end(first.id, dialect)));
    }
    finding.evidence(evidence.join("; "))
}

/// A session in words, and its pod.
struct Seen {
    words: String,
    pod: Option<Box<Pod>>,
}

async fn seen(party: &Party, pods: Option<&Neighbours<'_>>) -> Seen {
    let user = party.user.as_ref().map(|user| format!(" of {user}"));
    let address = party.address.as_ref().map(|address| format!(" from {address}"));
    let doing = party.doing.as_ref().map(|doing| format!(", {doing}"));
    let since = party.since.as_ref().map(|since| format!(", since {since}"));
    let (place, pod) = match (pods, &party.address) {
        (Some(pods), Some(address)) => match pods.by_address(address).await {
            Sighting::Pod(pod) => (Some(format!(" ({})", pods.name(&pod))), Some(pod)),
            Sighting::Nowhere => (Some(" (no pod of this cluster)".to_owned()), None),
            Sighting::Unseen(why) => (Some(format!(" ({why})")), None),
        },
        _ => (None, None),
    };
    let session = Some(format!("session {}", party.id));
    Seen { words: [session, user, address, place, doing, since].into_iter().flatten().collect(), pod }
}

fn end(id: i64, dialect: Dialect) -> String {
    match dialect {
        Dialect::Postgres => format!("SELECT pg_terminate_backend({id});"),
        Dialect::Mysql | Dialect::MariaDb | Dialect::Sqlite => format!("KILL {id};"),
    }
}
