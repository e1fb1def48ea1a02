//! What belongs to an operation and is too much for its record: a second ConfigMap, removed by the cluster when the record goes.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::PostParams;

use super::store::{Store, cannot, name_of};
use crate::cluster::MANAGED_BY;
use crate::cluster::error::is_not_found;
use crate::failure::Result;

/// What a ConfigMap holds at most is 1 MiB; names and labels need some of it.
pub const MOST_BYTES: usize = 1_000_000;
/// Label with the operation that an object belongs to.
const LABEL_OPERATION: &str = "dbmig.dev/operation";

impl Store {
    /// Attaches named parts of at most [`MOST_BYTES`] in all to an operation, in place of those that were attached before.
    ///
    /// # Errors
    /// When the API server refuses; the record must be there.
    pub async fn attach(&self, id: &str, what: &str, parts: BTreeMap<String, Vec<u8>>) -> Result<()> {
        let doing = format!("attach {what} to");
        let record = self.api.get(&name_of(id)).await.map_err(|error| cannot(&doing, id, &error))?;
        let name = attachment(id, what);
        let mut map = ConfigMap::default();
        map.metadata.name = Some(name.clone());
        let labels = [("app.kubernetes.io/managed-by", MANAGED_BY), (LABEL_OPERATION, id)];
        map.metadata.labels = Some(labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect());
        map.metadata.owner_references = Some(vec![OwnerReference {
            api_version: "v1".to_owned(),
            kind: "ConfigMap".to_owned(),
            name: name_of(id),
            uid: record.metadata.uid.unwrap_or_default(),
            ..OwnerReference::default()
        }]);
        map.binary_data = Some(parts.into_iter().map(|(name, bytes)| (name, ByteString(bytes))).collect());
        let written = match self.api.replace(&name, &PostParams::default(), &map).await {
            Err(error) if is_not_found(&error) => self.api.create(&PostParams::default(), &map).await,
            written => written,
        };
        written.map(|_| ()).map_err(|error| cannot(&doing, id, &error))
    }

    /// What was attached to an operation; `None` if nothing was.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn attached(&self, id: &str, what: &str) -> Result<Option<BTreeMap<String, Vec<u8>>>> {
        let found = self.api.get_opt(&attachment(id, what)).await;
        let found = found.map_err(|error| cannot(&format!("read {what} of"), id, &error))?;
        let parts = found.and_then(|map| map.binary_data);
        Ok(parts.map(|parts| parts.into_iter().map(|(name, bytes)| (name, bytes.0)).collect()))
    }
}

fn attachment(id: &str, what: &str) -> String {
    format!("{}-{what}", name_of(id))
}
