//! What the switch changes besides Services: settings that applications have from Secrets. Values of before and after are kept in the Secret of
//! ours until the operation's record goes, since the record itself holds none; so `undo` works from any machine, also when the
//! Secret that the new value came from has changed.

use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::ByteString;
use serde::{Deserialize, Serialize};

use super::super::Desk;
use super::switch::WRITTEN;
use crate::cluster::Cluster;
use crate::cluster::setting::Setting;
use crate::cluster::vault::Entry;
use crate::failure::{Failure, Result};
use crate::plan::{ATTENTION, Look, Run, Step};
use crate::replication::{Written, written};

/// What is kept, as its entry in the Secret is named.
pub(in crate::command) const KEPT: &str = "settings";

/// Values of a setting. No `Debug`: they are secret.
#[derive(Serialize, Deserialize)]
struct Values {
    before: Option<ByteString>,
    after: ByteString,
}

/// Keeps what was there before the switch: settings, and how much had been written to the target.
pub(super) struct Keep(pub(super) Arc<Desk>);

/// Where an operation keeps them.
pub(in crate::command) fn entry_of(cluster: &Cluster, namespace: &str, id: &str) -> Entry {
    Entry::of(cluster, namespace, id, KEPT)
}

fn entry(run: &Run) -> Entry {
    entry_of(&run.cluster, &run.namespace, &run.id)
}

#[async_trait]
impl Step for Keep {
    fn id(&self) -> &'static str {
        "keep-switch"
    }

    fn title(&self) -> String {
        "keep what is there before the switch".to_owned()
    }

    fn stop_takes_back(&self) -> bool {
        true
    }

    async fn look(&self, run: &Run) -> Result<Look> {
        Ok(if run.memory.recall::<Written>(WRITTEN)?.is_some() { Look::Done } else { Look::Todo })
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let settings = &self.0.spec.settings;
        if !settings.is_empty() {
            let mut values = Vec::new();
            for Setting { at, from } in settings {
                let before = at.look(&run.cluster, &run.namespace).await?.value;
                let after = from.look(&run.cluster, &run.namespace).await?.value;
                let after = after.ok_or_else(|| Failure::failed(format!("{from} is not there any more")))?;
                values.push(Values { before, after });
            }
            entry(run).keep(&values).await?;
            // For `cleanup`, which removes them with the record.
            run.memory.keep(KEPT, &true)?;
        }
        let open = self.0.open(run).await?;
        run.memory.keep(WRITTEN, &written(&*open.target).await?)?;
        Ok(String::new())
    }

    async fn back(&self, run: &Run) -> Result<String> {
        run.memory.forget(WRITTEN);
        if !self.0.spec.settings.is_empty() {
            entry(run).forget().await?;
            run.memory.forget(KEPT);
        }
        Ok(String::new())
    }
}

/// Gives settings their new values.
pub(super) async fn set(desk: &Desk, run: &Run) -> Result<()> {
    let settings = &desk.spec.settings;
    if settings.is_empty() {
        return Ok(());
    }
    let values = kept(run).await?.ok_or_else(|| Failure::failed("the values for the switch are not kept any more"))?;
    for (setting, values) in settings.iter().zip(values) {
        setting.at.set(&run.cluster, &run.namespace, values.before.as_ref(), Some(&values.after)).await?;
    }
    Ok(())
}

/// Gives settings their old values, but for those that somebody has changed since.
pub(super) async fn reset(desk: &Desk, run: &Run) -> Result<()> {
    let settings = &desk.spec.settings;
    if settings.is_empty() {
        return Ok(());
    }
    let Some(values) = kept(run).await? else {
        let names: Vec<String> = settings.iter().map(|setting| setting.at.to_string()).collect();
        let what = format!("what {} was before the switch is not kept any more: set it by hand", names.join(", "));
        return run.memory.keep(ATTENTION, &what);
    };
    for (setting, values) in settings.iter().zip(values) {
        let now = setting.at.look(&run.cluster, &run.namespace).await?.value;
        if now.as_ref() != Some(&values.after) && now != values.before {
            let what = format!("{} was changed by somebody since the switch, and stays as it is", setting.at);
            run.memory.keep(ATTENTION, &what)?;
            continue;
        }
        setting.at.set(&run.cluster, &run.namespace, Some(&values.after), values.before.as_ref()).await?;
    }
    Ok(())
}

async fn kept(run: &Run) -> Result<Option<Vec<Values>>> {
    entry(run).kept().await
}
