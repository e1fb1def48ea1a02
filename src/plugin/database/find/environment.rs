//! The environment that a pod's spec gives to a container: values, and what Secrets and ConfigMaps say. Reads only these.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVarSource, Pod, Secret};
use kube::Api;

use crate::cluster::Cluster;
use crate::cluster::error::{found, is_forbidden, translate};
use crate::failure::Result;

/// A variable, and where its value comes from.
#[derive(Clone)]
pub(super) struct Variable {
    pub(super) value: String,
    /// In words: `secret/app`, `container web`.
    pub(super) from: String,
}

/// The variables of one container.
#[derive(Clone, Default)]
pub(super) struct Variables {
    pub(super) known: BTreeMap<String, Variable>,
    /// What this user may not read, in words: `secret/app`.
    pub(super) hidden: Vec<String>,
}

impl Variables {
    pub(super) fn get(&self, name: &str) -> Option<&Variable> {
        self.known.get(name).filter(|variable| !variable.value.trim().is_empty())
    }

    fn set(&mut self, name: &str, value: String, from: String) {
        self.known.insert(name.to_owned(), Variable { value, from });
    }
}

/// What a Secret or a ConfigMap holds.
type Data = BTreeMap<String, String>;

/// Reads each Secret and ConfigMap once.
pub(super) struct Sources<'a> {
    cluster: &'a Cluster,
    namespace: &'a str,
    /// `None`: not there, or not for this user.
    read: BTreeMap<String, Option<Data>>,
    hidden: Vec<String>,
}

impl<'a> Sources<'a> {
    pub(super) fn new(cluster: &'a Cluster, namespace: &'a str) -> Self {
        Self { cluster, namespace, read: BTreeMap::new(), hidden: Vec::new() }
    }

    /// The data of `secret/NAME` or `configmap/NAME`; `None` when it is not there or can't be read.
    ///
    /// # Errors
    /// The API server can't be asked.
    pub(super) async fn data(&mut self, source: &str) -> Result<Option<&Data>> {
        let data = match self.read.entry(source.to_owned()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => match read(self.cluster, self.namespace, source).await {
                Ok(data) => place.insert(data),
                Err(error) if is_forbidden(&error) => {
                    self.hidden.push(source.to_owned());
                    place.insert(None)
                }
                Err(error) => return Err(translate(&error, &format!("read {source} in namespace {}", self.namespace))),
            },
        };
        Ok(data.as_ref())
    }

    /// The variables of a container, as kubelet would put them together: `envFrom` first, then `env` in its order.
    ///
    /// # Errors
    /// As [`Sources::data`].
    pub(super) async fn of(&mut self, pod: &Pod, container: &Container) -> Result<Variables> {
        self.hidden.clear();
        let mut variables = Variables::default();
        for from in container.env_from.iter().flatten() {
            let secret = from.secret_ref.as_ref().map(|secret| format!("secret/{}", secret.name));
            let map = from.config_map_ref.as_ref().map(|map| format!("configmap/{}", map.name));
            let Some(source) = secret.or(map) else { continue };
            let prefix = from.prefix.as_deref().unwrap_or_default();
            for (key, value) in self.data(&source).await?.into_iter().flatten() {
                variables.set(&format!("{prefix}{key}"), value.clone(), source.clone());
            }
        }
        let here = format!("container {}", container.name);
        for variable in container.env.iter().flatten() {
            match (&variable.value, &variable.value_from) {
                (Some(value), _) => {
                    let expanded = expand(value, &variables);
                    if expanded.is_whole {
                        variables.set(&variable.name, expanded.value, expanded.from.unwrap_or_else(|| here.clone()));
                    } else {
                        // With what is hidden from this user, or what kubelet sets for Services: the pod itself knows it.
                        self.hidden.push(format!("variable {}", variable.name));
                    }
                }
                (None, Some(from)) => {
                    if let Some((value, source)) = self.referred(pod, from).await? {
                        variables.set(&variable.name, value, source.unwrap_or_else(|| here.clone()));
                    }
                }
                (None, None) => variables.set(&variable.name, String::new(), here.clone()),
            }
        }
        variables.hidden = std::mem::take(&mut self.hidden);
        Ok(variables)
    }

    async fn referred(&mut self, pod: &Pod, from: &EnvVarSource) -> Result<Option<(String, Option<String>)>> {
        if let Some(field) = &from.field_ref {
            return Ok(field_of(pod, &field.field_path).map(|value| (value, None)));
        }
        let secret = from.secret_key_ref.as_ref().map(|key| (format!("secret/{}", key.name), &key.key));
        let map = from.config_map_key_ref.as_ref().map(|key| (format!("configmap/{}", key.name), &key.key));
        let Some((source, key)) = secret.or(map) else { return Ok(None) };
        let value = self.data(&source).await?.and_then(|data| data.get(key)).cloned();
        Ok(value.map(|value| (value, Some(source))))
    }
}

async fn read(cluster: &Cluster, namespace: &str, source: &str) -> kube::Result<Option<Data>> {
    let (kind, name) = source.split_once('/').unwrap_or(("", source));
    if kind == "configmap" {
        let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), namespace);
        return Ok(found(maps.get(name).await)?.map(|map| map.data.unwrap_or_default()));
    }
    let secrets: Api<Secret> = Api::namespaced(cluster.client.clone(), namespace);
    let text = |(key, bytes): (String, k8s_openapi::ByteString)| Some((key, String::from_utf8(bytes.0).ok()?));
    Ok(found(secrets.get(name).await)?.map(|secret| secret.data.unwrap_or_default().into_iter().filter_map(text).collect()))
}

fn field_of(pod: &Pod, path: &str) -> Option<String> {
    match path {
        "metadata.name" => pod.metadata.name.clone(),
        "metadata.namespace" => pod.metadata.namespace.clone(),
        "status.podIP" => pod.status.as_ref()?.pod_ip.clone(),
        "status.hostIP" => pod.status.as_ref()?.host_ip.clone(),
        "spec.nodeName" => pod.spec.as_ref()?.node_name.clone(),
        _ => None,
    }
}

/// A value with its references put in.
struct Expanded {
    value: String,
    /// Where the first value that was put in comes from.
    from: Option<String>,
    /// Every reference is known.
    is_whole: bool,
}

/// `$(NAME)` of what was set before, `$$` for a dollar sign; what is not known stays as it is.
fn expand(text: &str, variables: &Variables) -> Expanded {
    let mut expanded = Expanded { value: String::new(), from: None, is_whole: true };
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('$') {
        expanded.value.push_str(before);
        if let Some(behind) = behind.strip_prefix('$') {
            expanded.value.push('$');
            rest = behind;
            continue;
        }
        let reference = behind.strip_prefix('(').and_then(|inner| inner.split_once(')'));
        match reference.and_then(|(name, behind)| Some((variables.known.get(name)?, behind))) {
            Some((known, behind)) => {
                expanded.value.push_str(&known.value);
                expanded.from.get_or_insert_with(|| known.from.clone());
                rest = behind;
            }
            None => {
                expanded.is_whole &= reference.is_none();
                expanded.value.push('$');
                rest = behind;
            }
        }
    }
    expanded.value.push_str(rest);
    expanded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_put_in_as_kubelet_does_it() {
        let mut variables = Variables::default();
        variables.set("USER", "app".to_owned(), "secret/db".to_owned());
        variables.set("ODD", "a$(USER)".to_owned(), "container web".to_owned());
        let expanded = |text: &str| expand(text, &variables);
        let twice = expanded("x-$(USER)-$(USER)");
        assert_eq!((twice.value.as_str(), twice.from.as_deref()), ("x-app-app", Some("secret/db")));
        let unknown = expanded("$(NONE)$(USER");
        assert_eq!((unknown.value.as_str(), unknown.is_whole), ("$(NONE)$(USER", false));
        let dollars = expanded("$$(USER) 5$ $");
        assert_eq!((dollars.value.as_str(), dollars.is_whole), ("$(USER) 5$ $", true));
        assert_eq!(expanded("$(ODD)").value, "a$(USER)", "what was put in is not looked at again");
    }
}
