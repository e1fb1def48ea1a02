//! What this user may do, asked before anything is done. Changes nothing; grants nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;

use futures::future::try_join_all;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::Api;
use kube::api::PostParams;

use super::Cluster;
use super::error::{Context as _, found};
use crate::exit::Exit;
use crate::failure::{Failure, Result};

/// One thing that must be allowed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Need {
    /// API group; empty for the core.
    pub group: String,
    /// Resource, in the plural.
    pub resource: String,
    /// Subresource, if it is about one.
    pub subresource: Option<String>,
    /// Verb.
    pub verb: String,
    /// Namespace; `None` for what belongs to the whole cluster.
    pub namespace: Option<String>,
    /// The one object it is about; `None` for all.
    pub name: Option<String>,
}

impl Need {
    /// A need in a namespace; `resource` may be `pods/exec`.
    #[must_use]
    pub fn new(namespace: &str, group: &str, resource: &str, verb: &str) -> Self {
        let (resource, subresource) =
            resource.split_once('/').map_or((resource, None), |(resource, sub)| (resource, Some(sub.to_owned())));
        let (group, resource, verb) = (group.to_owned(), resource.to_owned(), verb.to_owned());
        Self { group, resource, subresource, verb, namespace: Some(namespace.to_owned()), name: None }
    }

    /// Several verbs on one resource.
    #[must_use]
    pub fn all(namespace: &str, group: &str, resource: &str, verbs: &[&str]) -> Vec<Self> {
        verbs.iter().map(|verb| Self::new(namespace, group, resource, verb)).collect()
    }

    /// Several verbs on each of several resources: API group, resource, verbs.
    #[must_use]
    pub fn each<'a>(namespace: &str, rules: impl IntoIterator<Item = (&'a str, &'a str, &'a [&'a str])>) -> Vec<Self> {
        rules.into_iter().flat_map(|(group, resource, verbs)| Self::all(namespace, group, resource, verbs)).collect()
    }

    /// What exec needs: servers before 1.35 ask for `get` on a WebSocket, later ones for `create` as well.
    #[must_use]
    pub fn exec(namespace: &str) -> Vec<Self> {
        Self::all(namespace, "", "pods/exec", &["get", "create"])
    }

    /// A need for what belongs to the whole cluster.
    #[must_use]
    pub fn cluster_wide(group: &str, resource: &str, verb: &str) -> Self {
        Self { namespace: None, ..Self::new("", group, resource, verb) }
    }

    /// The same for one object alone.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    fn path(&self) -> String {
        self.subresource.as_ref().map_or_else(|| self.resource.clone(), |sub| format!("{}/{sub}", self.resource))
    }

    fn review(&self) -> SelfSubjectAccessReview {
        let attributes = ResourceAttributes {
            group: Some(self.group.clone()),
            resource: Some(self.resource.clone()),
            subresource: self.subresource.clone(),
            verb: Some(self.verb.clone()),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            ..ResourceAttributes::default()
        };
        let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), non_resource_attributes: None };
        SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() }
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.path())?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        if let Some(name) = &self.name {
            write!(f, " {name:?}")?;
        }
        self.namespace.as_ref().map_or(Ok(()), |namespace| write!(f, " in namespace {namespace}"))
    }
}

/// Those of `needs` that this user may not do, in their order, each once. All are asked at the same time.
///
/// # Errors
/// The API server does not answer the question.
pub async fn missing(cluster: &Cluster, needs: &[Need]) -> Result<Vec<Need>> {
    let mut asked: Vec<&Need> = Vec::new();
    for need in needs {
        if !asked.contains(&need) {
            asked.push(need);
        }
    }
    let reviews: Api<SelfSubjectAccessReview> = Api::all(cluster.client.clone());
    let ask = |need: &Need| {
        let (reviews, review) = (reviews.clone(), need.review());
        async move { reviews.create(&PostParams::default(), &review).await }
    };
    let answers = try_join_all(asked.iter().copied().map(ask)).await.doing("ask the API server what you may do")?;
    let denied = |answer: &SelfSubjectAccessReview| !answer.status.as_ref().is_some_and(|status| status.allowed);
    Ok(asked.into_iter().zip(answers).filter(|(_, answer)| denied(answer)).map(|(need, _)| need.clone()).collect())
}

/// Refuses when something of `needs` is missing, and shows the Role to hand to an admin. `role` names it.
///
/// # Errors
/// As [`missing`], and [`Exit::Refused`] when something is.
pub async fn require(cluster: &Cluster, needs: &[Need], role: &str) -> Result<()> {
    let missing = missing(cluster, needs).await?;
    if missing.is_empty() {
        return Ok(());
    }
    let who = who_am_i(cluster).await;
    let failure = Failure::new(Exit::Refused, format!("{who} may not do all that is needed"));
    Err(failure.facts(missing.iter().map(|need| format!("missing: {need}"))).state("nothing was changed").next(format!(
        "hand this to an admin of the cluster, who applies it with kubectl apply -f:\n{}",
        role_yaml(&missing, role)
    )))
}

/// The user's name as the API server knows it, where it tells (1.28 and later), else as the kubeconfig calls it.
pub async fn who_am_i(cluster: &Cluster) -> String {
    let known = || cluster.impersonating.clone().or_else(|| cluster.user.clone()).unwrap_or_else(|| "this user".to_owned());
    let reviews: Api<SelfSubjectReview> = Api::all(cluster.client.clone());
    // Only a name for messages and records: whatever goes wrong, the local one does.
    let Ok(Some(review)) = found(reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await) else {
        return known();
    };
    review.status.and_then(|status| status.user_info).and_then(|user| user.username).unwrap_or_else(known)
}

/// Roles that allow `needs`, as YAML: one Role for each namespace, one ClusterRole for the rest.
#[must_use]
pub fn role_yaml(needs: &[Need], name: &str) -> String {
    let mut roles: BTreeMap<Option<&str>, Vec<&Need>> = BTreeMap::new();
    for need in needs {
        roles.entry(need.namespace.as_deref()).or_default().push(need);
    }
    let documents: Vec<String> = roles.into_iter().map(|(namespace, needs)| role(namespace, &needs, name)).collect();
    documents.join("---\n")
}

fn role(namespace: Option<&str>, needs: &[&Need], name: &str) -> String {
    let (kind, place) =
        namespace.map_or(("ClusterRole", String::new()), |namespace| ("Role", format!("\n  namespace: {}", quoted(namespace))));
    let mut yaml =
        format!("apiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}\nmetadata:\n  name: {}{place}\nrules:\n", quoted(name));
    // One rule for each resource and object, with all of its verbs.
    let mut rules: BTreeMap<(&str, String, Option<&str>), Vec<&str>> = BTreeMap::new();
    for need in needs {
        let verbs = rules.entry((&need.group, need.path(), need.name.as_deref())).or_default();
        if !verbs.contains(&need.verb.as_str()) {
            verbs.push(&need.verb);
        }
    }
    for ((group, path, object), verbs) in rules {
        // Writing into a string cannot fail.
        let _ = writeln!(yaml, "- apiGroups: [{}]\n  resources: [{}]", quoted(group), quoted(&path));
        if let Some(object) = object {
            let _ = writeln!(yaml, "  resourceNames: [{}]", quoted(object));
        }
        let _ = writeln!(yaml, "  verbs: [{}]", verbs.iter().map(|verb| quoted(verb)).collect::<Vec<_>>().join(", "));
    }
    let binding = match namespace {
        Some(namespace) => format!("kubectl create rolebinding {name} -n {namespace} --role={name} --user=USER"),
        None => format!("kubectl create clusterrolebinding {name} --clusterrole={name} --user=USER"),
    };
    let _ = writeln!(yaml, "# bind it: {binding}");
    yaml
}

fn quoted(text: &str) -> String {
    // JSON strings are YAML strings.
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_ready_to_apply() {
        let mut needs = Need::exec("shop");
        needs.extend(Need::all("shop", "apps", "statefulsets/scale", &["get", "patch"]).into_iter().map(|need| need.named("db")));
        needs.push(Need::cluster_wide("", "nodes", "get"));
        assert_eq!(
            role_yaml(&needs, "dbmig-vacuum"),
            r#"apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: "dbmig-vacuum"
rules:
- apiGroups: [""]
  resources: ["nodes"]
  verbs: ["get"]
# bind it: kubectl create clusterrolebinding dbmig-vacuum --clusterrole=dbmig-vacuum --user=USER
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: "dbmig-vacuum"
  namespace: "shop"
rules:
- apiGroups: [""]
  resources: ["pods/exec"]
  verbs: ["get", "create"]
- apiGroups: ["apps"]
  resources: ["statefulsets/scale"]
  resourceNames: ["db"]
  verbs: ["get", "patch"]
# bind it: kubectl create rolebinding dbmig-vacuum -n shop --role=dbmig-vacuum --user=USER
"#
        );
    }

    #[test]
    fn a_need_reads_as_a_sentence() {
        assert_eq!(
            Need::new("shop", "apps", "statefulsets/scale", "patch").named("db").to_string(),
            "patch statefulsets/scale.apps \"db\" in namespace shop"
        );
        assert_eq!(Need::cluster_wide("", "nodes", "get").to_string(), "get nodes");
    }
}
