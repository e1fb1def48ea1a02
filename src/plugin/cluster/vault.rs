//! The one Secret of ours in a namespace: what an operation has to keep and must not write into its record.
//!
//! One name for all operations, an entry for each thing: a Role can allow `get` on this one name.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::error::translate;
use super::{Cluster, MANAGED_BY};
use crate::failure::{Failure, Result};

/// Its name.
pub const SECRET: &str = "kubectl-dbmig";

/// One thing that an operation keeps there.
pub struct Entry {
    secrets: Api<Secret>,
    key: String,
}

impl Entry {
    /// `what` is the same for all operations that keep the like.
    #[must_use]
    pub fn of(cluster: &Cluster, namespace: &str, id: &str, what: &str) -> Self {
        Self { secrets: Api::namespaced(cluster.client.clone(), namespace), key: format!("{id}.{what}.json") }
    }

    /// What is kept there, if anything.
    ///
    /// # Errors
    /// When it can't be read.
    pub async fn kept<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        let secret = self.secrets.get_opt(SECRET).await.map_err(|error| translate(&error, &format!("read secret/{SECRET}")))?;
        let data = secret.and_then(|secret| secret.data);
        let Some(bytes) = data.and_then(|mut data| data.remove(&self.key)) else { return Ok(None) };
        // The parser's own text is left out: it could show what is secret.
        serde_json::from_slice(&bytes.0)
            .map(Some)
            .map_err(|_| Failure::failed(format!("{} in secret/{SECRET} can't be read", self.key)))
    }

    /// Keeps something there, in place of what was.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn keep(&self, value: &impl Serialize) -> Result<()> {
        let bytes =
            serde_json::to_vec(value).map_err(|_| Failure::failed(format!("cannot write {} for secret/{SECRET}", self.key)))?;
        let data = BTreeMap::from([(self.key.clone(), ByteString(bytes))]);
        let mut secret = Secret { data: Some(data.clone()), ..Secret::default() };
        secret.metadata.name = Some(SECRET.to_owned());
        secret.metadata.labels = Some([("app.kubernetes.io/managed-by".to_owned(), MANAGED_BY.to_owned())].into());
        let outcome = match self.secrets.create(&PostParams::default(), &secret).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {
                let patch = Secret { data: Some(data), ..Secret::default() };
                self.secrets.patch(SECRET, &PatchParams::default(), &Patch::Merge(&patch)).await
            }
            outcome => outcome,
        };
        outcome.map(drop).map_err(|error| translate(&error, &format!("write to secret/{SECRET}")))
    }

    /// Forgets it; the Secret goes with its last entry.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn forget(&self) -> Result<()> {
        let patch = json!({"data": {&self.key: null}});
        match self.secrets.patch(SECRET, &PatchParams::default(), &Patch::Merge(&patch)).await {
            Ok(left) if left.data.as_ref().is_none_or(BTreeMap::is_empty) => {
                let only_this = Preconditions { uid: left.metadata.uid, resource_version: left.metadata.resource_version };
                let params = DeleteParams { preconditions: Some(only_this), ..DeleteParams::default() };
                let _ = self.secrets.delete(SECRET, &params).await;
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(translate(&error, &format!("tidy up secret/{SECRET}"))),
        }
    }
}
