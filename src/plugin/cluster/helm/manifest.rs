//! The objects of a release, as helm renders them. Pure.

use serde_json::Value;

use crate::cluster::kind::{Kind, TargetRef};

/// What a release consists of, hooks left out.
#[derive(Debug, Clone, Default)]
pub struct Manifest(Vec<Value>);

impl Manifest {
    /// Reads what helm renders; documents that are no objects are left out.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let objects: Vec<Value> = serde_saphyr::from_multiple(text).unwrap_or_default();
        let is_hook = |object: &Value| object.pointer("/metadata/annotations/helm.sh~1hook").is_some();
        Self(objects.into_iter().filter(|object| object["kind"].is_string() && !is_hook(object)).collect())
    }

    /// Deployments and StatefulSets.
    #[must_use]
    pub fn workloads(&self) -> Vec<TargetRef> {
        self.0.iter().filter_map(workload).collect()
    }

    /// Deployments and StatefulSets whose pods mount a claim by its name.
    #[must_use]
    pub fn users(&self, claim: &str) -> Vec<TargetRef> {
        let mounts = |object: &&Value| {
            let volumes = object.pointer("/spec/template/spec/volumes").and_then(Value::as_array);
            let name = |volume: &Value| volume.pointer("/persistentVolumeClaim/claimName").and_then(Value::as_str) == Some(claim);
            volumes.is_some_and(|volumes| volumes.iter().any(name))
        };
        self.0.iter().filter(mounts).filter_map(workload).collect()
    }

    /// The image of a container of such a workload; of its only one where none of that name is there.
    #[must_use]
    pub fn image(&self, of: &TargetRef, container: &str) -> Option<&str> {
        let object = self.0.iter().find(|object| workload(object).as_ref() == Some(of))?;
        let all = object.pointer("/spec/template/spec/containers")?.as_array()?;
        let named = all.iter().find(|one| one["name"] == container);
        named.or(all.first().filter(|_| all.len() == 1))?["image"].as_str()
    }

    /// Objects that say which namespace they are for, and it is another one.
    #[must_use]
    pub fn elsewhere(&self, namespace: &str) -> Vec<String> {
        let other = |object: &&Value| object.pointer("/metadata/namespace").is_some_and(|there| there != namespace);
        self.0.iter().filter(other).map(shown).collect()
    }

    /// Names of its Services.
    #[must_use]
    pub fn services(&self) -> Vec<String> {
        let of = |object: &Value| Some(object.pointer("/metadata/name")?.as_str()?.to_owned());
        self.0.iter().filter(|object| object["kind"] == "Service").filter_map(of).collect()
    }

    /// Beginnings of the names of the claims that its StatefulSets would make or take: `data-db-`, with a number behind it.
    #[must_use]
    pub fn claims(&self) -> Vec<String> {
        let sets = self.0.iter().filter(|object| object["kind"] == "StatefulSet");
        let of = |set: &Value| {
            let name = set.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
            let templates = set.pointer("/spec/volumeClaimTemplates").and_then(Value::as_array).cloned().unwrap_or_default();
            let template =
                |one: &Value| one.pointer("/metadata/name").and_then(Value::as_str).map(|one| format!("{one}-{name}-"));
            templates.iter().filter_map(template).collect::<Vec<_>>()
        };
        sets.flat_map(of).collect()
    }

    /// The pods that it would have: what each requests, and how many there are of it.
    pub fn pods(&self) -> impl Iterator<Item = (&Value, u64)> {
        self.0.iter().filter_map(|object| {
            let pod = object.pointer("/spec/template/spec")?;
            Some((pod, object.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(1)))
        })
    }

    /// Every object in a line: `statefulset/beta-db`.
    #[must_use]
    pub fn objects(&self) -> Vec<String> {
        self.0.iter().map(shown).collect()
    }
}

fn workload(object: &Value) -> Option<TargetRef> {
    let kind = Kind::of_camel(object["kind"].as_str()?)?;
    let name = object.pointer("/metadata/name")?.as_str()?.to_owned();
    matches!(kind, Kind::Deployment | Kind::StatefulSet).then_some(TargetRef { kind, name })
}

fn shown(object: &Value) -> String {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default();
    format!("{}/{}", text("/kind").to_lowercase(), text("/metadata/name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "---\n# nothing\n---\nkind: Service\nmetadata: {name: db, namespace: there}\n---\nkind: StatefulSet\nmetadata: {name: db}\nspec: \
         {volumeClaimTemplates: [{metadata: {name: log}}], replicas: 2, template: {spec: {containers: [{name: db, image: pg}], volumes: [{name: d, persistentVolumeClaim: {claimName: data-beta}}]}}}\n---\n\
         kind: Job\nmetadata: {name: hook, annotations: {helm.sh/hook: pre-install}}\n";

    #[test]
    fn it_is_known_who_mounts_a_claim_and_what_lies_elsewhere() {
        let manifest = Manifest::of(TEXT);
        let names = |found: Vec<TargetRef>| found.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(names(manifest.users("data-beta")), ["statefulset/db"]);
        assert_eq!(manifest.image(&manifest.workloads()[0], "other"), Some("pg"));
        assert!(manifest.users("data-alpha").is_empty());
        assert_eq!(names(manifest.workloads()), ["statefulset/db"]);
        assert_eq!(manifest.elsewhere("here"), ["service/db"]);
        assert_eq!(manifest.objects(), ["service/db", "statefulset/db"]);
        assert_eq!((manifest.services(), manifest.claims()), (vec!["db".to_owned()], vec!["log-db-".to_owned()]));
        assert_eq!(manifest.pods().map(|(_, count)| count).collect::<Vec<_>>(), [2]);
    }
}
