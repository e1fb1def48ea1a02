//! Which pods are told of the same database: by the same key of a Secret or ConfigMap, the same URL, or the same claim. Pure.

use std::collections::BTreeSet;
use std::fmt;

use k8s_openapi::api::core::v1::{Container, PodSpec};

use crate::database::find::is_about_a_database;

/// Something that tells a pod where its database is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Clue {
    /// A key of a Secret or ConfigMap: `secret/app:url`.
    Key(String),
    /// All of a Secret or ConfigMap: `secret/app`.
    Whole(String),
    /// A URL, which is never shown: it may hold a password.
    Url(String),
    /// A claim that is mounted.
    Claim(String),
}

impl fmt::Display for Clue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(text) | Self::Whole(text) => f.write_str(text),
            Self::Url(_) => f.write_str("the same URL in its variables"),
            Self::Claim(name) => write!(f, "persistentvolumeclaim/{name}"),
        }
    }
}

/// Everything in a pod that tells of a database.
pub(super) fn clues(pod: &PodSpec) -> BTreeSet<Clue> {
    let containers = pod.containers.iter().chain(pod.init_containers.iter().flatten());
    let claims = pod.volumes.iter().flatten().filter_map(|volume| volume.persistent_volume_claim.as_ref());
    let claims = claims.map(|claim| Clue::Claim(claim.claim_name.clone()));
    containers.flat_map(of_container).chain(claims).collect()
}

fn of_container(container: &Container) -> Vec<Clue> {
    let mut clues = Vec::new();
    for variable in container.env.iter().flatten().filter(|variable| is_about_a_database(&variable.name)) {
        if let Some(url) = variable.value.as_ref().filter(|value| value.contains("://") || value.starts_with("sqlite:")) {
            clues.push(Clue::Url(url.clone()));
        }
        let Some(from) = &variable.value_from else { continue };
        let secret = from.secret_key_ref.as_ref().map(|key| format!("secret/{}:{}", key.name, key.key));
        let map = from.config_map_key_ref.as_ref().map(|key| format!("configmap/{}:{}", key.name, key.key));
        clues.extend(secret.or(map).map(Clue::Key));
    }
    for from in container.env_from.iter().flatten() {
        let secret = from.secret_ref.as_ref().map(|secret| format!("secret/{}", secret.name));
        let map = from.config_map_ref.as_ref().map(|map| format!("configmap/{}", map.name));
        clues.extend(secret.or(map).map(Clue::Whole));
    }
    clues
}

/// Why two pods use the same database; `None` where nothing says that they do.
pub(super) fn shared(one: &BTreeSet<Clue>, other: &BTreeSet<Clue>) -> Option<Clue> {
    let same = one.iter().find(|clue| other.contains(clue));
    let within = |keys: &BTreeSet<Clue>, wholes: &BTreeSet<Clue>| -> Option<Clue> {
        let is_of = |clue: &&Clue| match clue {
            Clue::Key(key) => key.split_once(':').is_some_and(|(source, _)| wholes.contains(&Clue::Whole(source.to_owned()))),
            Clue::Whole(_) | Clue::Url(_) | Clue::Claim(_) => false,
        };
        keys.iter().find(is_of).cloned()
    };
    same.cloned().or_else(|| within(one, other)).or_else(|| within(other, one))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(env: &Value, env_from: &Value) -> BTreeSet<Clue> {
        clues(&serde_json::from_value(json!({"containers": [{"name": "a", "env": env, "envFrom": env_from}]})).unwrap())
    }

    fn key(variable: &str, name: &str, key: &str) -> BTreeSet<Clue> {
        of(&json!([{"name": variable, "valueFrom": {"secretKeyRef": {"name": name, "key": key}}}]), &json!([]))
    }

    #[test]
    fn the_same_key_url_or_claim_is_the_same_database() {
        let web = key("LTD_KEEPER_DB_URL", "keeper", "db-url");
        assert_eq!(shared(&web, &key("DATABASE_URL", "keeper", "db-url")), Some(Clue::Key("secret/keeper:db-url".into())));
        assert_eq!(shared(&web, &key("DATABASE_URL", "keeper", "other-url")), None);
        assert_eq!(shared(&web, &key("AWS_KEY", "keeper", "db-url")), None, "it is not about a database");
        let all = of(&json!([]), &json!([{"secretRef": {"name": "keeper"}}]));
        assert_eq!(shared(&web, &all), shared(&all, &web));
        assert!(shared(&web, &all).is_some());
        let url = |url: &str| of(&json!([{"name": "DATABASE_URL", "value": url}]), &json!([]));
        let same = shared(&url("postgres://u:p@db/a"), &url("postgres://u:p@db/a")).unwrap();
        assert!(!same.to_string().contains("p@db"), "{same}");
        assert_eq!(shared(&url("postgres://u:p@db/a"), &url("postgres://u:p@db/b")), None);
        let plain = |value: &str| of(&json!([{"name": "DB_PORT", "value": value}]), &json!([]));
        assert_eq!(shared(&plain("5432"), &plain("5432")), None);
    }
}
