//! One operation per target at a time: a Lease, renewed while we work and proven again before what can't be taken back.

use std::sync::Arc;
use std::time::Duration;

use dbmig_wire::hex;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease as Object, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, DeleteParams, PostParams, Preconditions};
use sha2::{Digest, Sha256};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::cluster::MANAGED_BY;
use crate::cluster::error::translate;
use crate::exit::Exit;
use crate::failure::{Failure, Result};

const SECONDS: i32 = 30;
const RENEW: Duration = Duration::from_secs(8);

/// Name of the Lease that guards a target. The same target gives the same name, whoever asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockName(String);

impl LockName {
    /// For something named within a namespace: `claim/data-upmeter-0`.
    #[must_use]
    pub fn new(what: &str) -> Self {
        let readable: String = what.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let digest = Sha256::digest(what.as_bytes());
        let tail = hex(&digest[..3]);
        // 63 characters is what a label value may have, and the name is one.
        let room = readable.len().min(63 - "dbmig--".len() - tail.len());
        Self(format!("dbmig-{}-{tail}", readable[..room].trim_matches('-')))
    }

    /// The name as a record keeps it.
    #[must_use]
    pub fn known(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// As the object is named.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Who holds a Lease: written so that a person can go and ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Operation.
    pub id: String,
    /// User, as the API server knows them.
    pub by: String,
    /// Host the plugin runs on.
    pub host: String,
    /// Process on that host.
    pub pid: u32,
}

impl Holder {
    fn identity(&self) -> String {
        format!("{}/{}/{}/{}", self.id, self.host, self.pid, self.by)
    }

    fn parse(identity: &str) -> Option<Self> {
        let mut parts = identity.splitn(4, '/');
        let (id, host, pid, by) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        Some(Self { id: id.to_owned(), host: host.to_owned(), pid: pid.parse().ok()?, by: by.to_owned() })
    }

    /// A process of this very machine that is gone can't hold anything any more.
    fn is_dead_here(&self, me: &Self) -> bool {
        self.host == me.host
            && self.pid != me.pid
            && cfg!(target_os = "linux")
            && !std::path::Path::new(&format!("/proc/{}", self.pid)).exists()
    }
}

/// A Lease that this process holds, and keeps renewing until it is released or dropped.
pub struct Lease {
    api: Api<Object>,
    name: String,
    me: Holder,
    renewing: Arc<JoinHandle<()>>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

impl Lease {
    /// Takes the Lease, waiting out a holder that shows no sign of life if it is the same operation or a dead one.
    ///
    /// `told` hears why it takes long.
    ///
    /// # Errors
    /// `Held` with who, since when and from where.
    pub async fn acquire(
        client: kube::Client,
        namespace: &str,
        name: &LockName,
        me: &Holder,
        told: impl Fn(String),
    ) -> Result<Self> {
        let api: Api<Object> = Api::namespaced(client, namespace);
        let name = name.as_str().to_owned();
        loop {
            match api.create(&PostParams::default(), &object(&name, me, None)).await {
                Ok(_) => break,
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => return Err(translate(&error, &format!("take lease/{name}"))),
            }
            let found = match api.get(&name).await {
                Ok(found) => found,
                Err(kube::Error::Api(status)) if status.code == 404 => continue,
                Err(error) => return Err(translate(&error, &format!("read lease/{name}"))),
            };
            let holder = holder_of(&found);
            if !holder.as_ref().is_none_or(|holder| holder.is_dead_here(me)) {
                wait_for_death(&api, &found, holder.as_ref(), me, &told).await?;
            }
            match api.replace(&name, &PostParams::default(), &object(&name, me, Some(&found))).await {
                Ok(_) => break,
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
                Err(error) => return Err(translate(&error, &format!("take over lease/{name}"))),
            }
        }
        let renewing = Arc::new(tokio::spawn(renew(api.clone(), name.clone(), me.clone())));
        Ok(Self { api, name, me: me.clone(), renewing })
    }

    /// Proves that this process still holds the Lease.
    ///
    /// # Errors
    /// `Held` when somebody took it; otherwise when the API server can't be asked.
    pub async fn prove(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(90);
        loop {
            match self.api.get(&self.name).await {
                Ok(found) if found.spec.as_ref().and_then(|s| s.holder_identity.as_ref()) == Some(&self.me.identity()) => {
                    return Ok(());
                }
                Ok(found) => {
                    return Err(
                        held(&self.name, &found, holder_of(&found).as_ref()).state("this process stopped before its next step")
                    );
                }
                Err(kube::Error::Api(status)) if status.code == 404 => {
                    return Err(Failure::failed(format!("lease/{} was deleted while this operation held it", self.name))
                        .state("this process stopped before its next step"));
                }
                Err(error) if Instant::now() > deadline => {
                    return Err(translate(&error, &format!("prove that lease/{} is held", self.name)));
                }
                Err(_) => sleep(Duration::from_secs(1)).await,
            }
        }
    }

    /// Gives the Lease up. One that somebody else took stays.
    ///
    /// # Errors
    /// When the API server refuses; the Lease runs out by itself then.
    pub async fn release(&self) -> Result<()> {
        self.renewing.abort();
        let Ok(found) = self.api.get(&self.name).await else { return Ok(()) };
        if found.spec.as_ref().and_then(|s| s.holder_identity.as_ref()) != Some(&self.me.identity()) {
            return Ok(());
        }
        let only_this = Preconditions { resource_version: found.metadata.resource_version, uid: found.metadata.uid };
        let _ = self.api.delete(&self.name, &DeleteParams { preconditions: Some(only_this), ..DeleteParams::default() }).await;
        Ok(())
    }
}

/// Watches whether the holder renews: by our own clock, since clocks of two machines differ.
async fn wait_for_death(
    api: &Api<Object>,
    first: &Object,
    holder: Option<&Holder>,
    me: &Holder,
    told: &impl Fn(String),
) -> Result<()> {
    let name = first.metadata.name.clone().unwrap_or_default();
    if holder.is_none_or(|holder| holder.id != me.id) && !looks_stale(first) {
        return Err(held(&name, first, holder));
    }
    let who = holder.map_or_else(|| "somebody".to_owned(), |h| format!("{} on {}", h.by, h.host));
    told(format!("waiting up to {SECONDS} s to see whether {who} still works on this"));
    let end = Instant::now() + Duration::from_secs(SECONDS.unsigned_abs().into());
    while Instant::now() < end {
        sleep(Duration::from_secs(1)).await;
        match api.get(&name).await {
            Ok(now) if renewed(&now) != renewed(first) => return Err(held(&name, &now, holder_of(&now).as_ref())),
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
            Ok(_) | Err(_) => {}
        }
    }
    Ok(())
}

fn looks_stale(lease: &Object) -> bool {
    renewed(lease).is_none_or(|at| Timestamp::now().duration_since(at).as_secs() > i64::from(SECONDS))
}

async fn renew(api: Api<Object>, name: String, me: Holder) {
    loop {
        sleep(RENEW).await;
        let Ok(found) = api.get(&name).await else { continue };
        if found.spec.as_ref().and_then(|s| s.holder_identity.as_ref()) != Some(&me.identity()) {
            return; // Somebody took it: `prove` tells before the next step.
        }
        let _ = api.replace(&name, &PostParams::default(), &object(&name, &me, Some(&found))).await;
    }
}

fn object(name: &str, me: &Holder, over: Option<&Object>) -> Object {
    let now = MicroTime(Timestamp::now());
    let mine = over.and_then(|o| o.spec.as_ref()).filter(|spec| spec.holder_identity.as_ref() == Some(&me.identity()));
    let mut object = Object::default();
    object.metadata.name = Some(name.to_owned());
    object.metadata.labels = Some([("app.kubernetes.io/managed-by".to_owned(), MANAGED_BY.to_owned())].into());
    object.metadata.resource_version = over.and_then(|o| o.metadata.resource_version.clone());
    object.spec = Some(LeaseSpec {
        holder_identity: Some(me.identity()),
        lease_duration_seconds: Some(SECONDS),
        acquire_time: mine.and_then(|spec| spec.acquire_time.clone()).or_else(|| Some(now.clone())),
        renew_time: Some(now),
        ..LeaseSpec::default()
    });
    object
}

fn renewed(lease: &Object) -> Option<Timestamp> {
    lease.spec.as_ref()?.renew_time.as_ref().map(|time| time.0)
}

fn holder_of(lease: &Object) -> Option<Holder> {
    Holder::parse(lease.spec.as_ref()?.holder_identity.as_deref()?)
}

fn held(name: &str, lease: &Object, holder: Option<&Holder>) -> Failure {
    let since = lease
        .spec
        .as_ref()
        .and_then(|s| s.acquire_time.as_ref())
        .map_or_else(|| "an unknown time".to_owned(), |t| t.0.to_string());
    let failure = Failure::new(Exit::Held, format!("another operation works on this target (lease/{name})"));
    match holder {
        Some(holder) => failure
            .fact(format!("{} by {} from {} (process {}), since {since}", holder.id, holder.by, holder.host, holder.pid))
            .state("nothing was changed")
            .next("kubectl dbmig history"),
        None => failure.fact(format!("holder unknown, since {since}")).state("nothing was changed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_names_are_valid_labels_and_differ_where_targets_differ() {
        let long = LockName::new(&format!("claim/{}", "a".repeat(253)));
        assert!(long.as_str().len() <= 63, "{}", long.as_str());
        assert_ne!(LockName::new("claim/a.b"), LockName::new("claim/a-b"));
        assert!(!LockName::new("claim/---").as_str().contains("--dbmig"));
    }

    #[test]
    fn holders_survive_their_way_through_the_lease() {
        let holder = Holder { id: "vacuum-x".into(), by: "system:serviceaccount:a/b".into(), host: "h".into(), pid: 7 };
        assert_eq!(Holder::parse(&holder.identity()), Some(holder));
    }
}
