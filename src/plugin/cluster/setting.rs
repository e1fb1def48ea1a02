//! A connection setting that applications have from a Secret: one key of it, read and set. Its value is never shown.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, Patch};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::error::translate;
use super::{Cluster, as_ours};
use crate::failure::{Failure, Result};

/// One key of a Secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretKey {
    /// Name of the Secret.
    pub name: String,
    /// The key.
    pub key: String,
}

impl fmt::Display for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "secret/{}:{}", self.name, self.key)
    }
}

impl FromStr for SecretKey {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self> {
        let parts = text.split_once('/').and_then(|(kind, rest)| Some((kind, rest.split_once(':')?)));
        match parts {
            Some(("secret" | "secrets", (name, key))) if !name.is_empty() && !key.is_empty() && !name.contains('/') => {
                Ok(Self { name: name.to_owned(), key: key.to_owned() })
            }
            // What was typed may be the value itself, so it is not repeated.
            _ => Err(Failure::usage("it must be secret/NAME:KEY")),
        }
    }
}

/// A setting that is to be what another one is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// The one that is set.
    pub at: SecretKey,
    /// Where its new value is taken from.
    pub from: SecretKey,
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} gets the value of {}", self.at, self.from)
    }
}

impl FromStr for Setting {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self> {
        let sides = text.split_once('=').map(|(at, from)| (at.parse(), from.parse()));
        match sides {
            Some((Ok(at), Ok(from))) => Ok(Self { at, from }),
            _ => Err(Failure::usage("it must be secret/NAME:KEY=secret/NAME:KEY; the value itself is never typed")),
        }
    }
}

/// A setting as it was found.
pub struct Found {
    /// Its value, if the key is there.
    pub value: Option<ByteString>,
    /// Why it can't be set, or will not stay so, in words.
    pub bound: Bound,
}

/// Who else has a say in a Secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bound {
    /// Nobody.
    Free,
    /// It can't be changed any more.
    Immutable,
    /// Something writes it, and will write it again.
    Owned(String),
}

impl SecretKey {
    /// Looks at it.
    ///
    /// # Errors
    /// There is no such Secret, or it can't be read.
    pub async fn look(&self, cluster: &Cluster, namespace: &str) -> Result<Found> {
        let secret = secrets(cluster, namespace)
            .get(&self.name)
            .await
            .map_err(|error| translate(&error, &format!("read secret/{}", self.name)))?;
        let owner = secret.metadata.owner_references.iter().flatten().next();
        let bound = match (secret.immutable, owner) {
            (Some(true), _) => Bound::Immutable,
            (_, Some(owner)) => Bound::Owned(format!("{} {}", owner.kind, owner.name)),
            _ => Bound::Free,
        };
        Ok(Found { value: secret.data.and_then(|mut data| data.remove(&self.key)), bound })
    }

    /// Sets it, or removes the key for `None`, if it still is what was seen.
    ///
    /// # Errors
    /// Somebody has changed it, or the API server refuses.
    pub async fn set(
        &self,
        cluster: &Cluster,
        namespace: &str,
        seen: Option<&ByteString>,
        value: Option<&ByteString>,
    ) -> Result<()> {
        let doing = format!("set {self}");
        let secrets = secrets(cluster, namespace);
        let now: Secret = secrets.get(&self.name).await.map_err(|error| translate(&error, &doing))?;
        let there = now.data.as_ref().and_then(|data: &BTreeMap<_, _>| data.get(&self.key));
        if there == value {
            return Ok(());
        }
        if there != seen {
            return Err(Failure::failed(format!("{self} is not what it was: somebody has changed it")));
        }
        let patch = json!({"metadata": {"resourceVersion": now.metadata.resource_version}, "data": {&self.key: value}});
        secrets.patch(&self.name, &as_ours(), &Patch::Merge(&patch)).await.map_err(|error| translate(&error, &doing))?;
        Ok(())
    }
}

fn secrets(cluster: &Cluster, namespace: &str) -> Api<Secret> {
    Api::namespaced(cluster.client.clone(), namespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_taken_from_another_secret_and_never_typed() {
        let setting: Setting = "secret/app:DATABASE_URL=secret/pg17:uri".parse().unwrap();
        assert_eq!(setting.to_string(), "secret/app:DATABASE_URL gets the value of secret/pg17:uri");
        for odd in ["secret/app:URL=postgres://a:hunter2@b/c", "secret/app=secret/b:c", "app:URL=secret/b:c", "secret/a:b", ""] {
            let failure = odd.parse::<Setting>().unwrap_err();
            assert!(failure.exit == crate::exit::Exit::Usage && !format!("{failure:?}").contains("hunter2"), "{odd}");
        }
    }
}
