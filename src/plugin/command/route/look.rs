//! What is known before traffic is led elsewhere. Reads only.

use k8s_openapi::api::networking::v1::Ingress;
use kube::Api;
use serde_json::{Value, json};

use super::Args;
use super::spec::{Spec, What};
use crate::cluster::Cluster;
use crate::cluster::error::Context as _;
use crate::cluster::helm::{Chart, Program, newest, newest_of};
use crate::cluster::kind::service_name;
use crate::cluster::service::{pointing, ready_addresses};
use crate::command::promote::package::Package;
use crate::command::promote::{self, parted::Gap, values};
use crate::command::session::Session;
use crate::failure::{Failure, Result};
use crate::plan::Record;

/// What was found out.
pub(super) struct Found {
    pub(super) spec: Spec,
    pub(super) package: Option<Package>,
    /// What the old primary has written that the new one lacks, and its name.
    pub(super) gap: Option<(Gap, String)>,
}

/// Looks at everything.
///
/// # Errors
/// What stands in the way.
pub(super) async fn look(session: &Session, args: &Args) -> Result<Found> {
    let cluster = &session.cluster;
    let namespace = args.admin_namespace.clone().unwrap_or_else(|| cluster.namespace.clone());
    let there = session.within(&namespace).cluster;
    let promotion = promote::newest_to(session, &args.to).await?;
    let of = promotion.as_ref().map(Record::spec::<promote::Spec>).transpose()?;
    let known = args.from_release.clone().or_else(|| of.as_ref().and_then(|spec| spec.current.clone()));
    let (what, package, serves) = what(args, cluster, &there, known.as_deref()).await?;
    let from = known.or(serves);
    let services = match newest_of(cluster, &args.to).await? {
        Some(release) => counterparts(cluster, &release.manifest().services(), from.as_deref(), &args.to).await?,
        None if promotion.is_none() && args.admin_release.is_none() => Vec::new(),
        None => {
            return Err(Failure::refused(format!("there is no release {} in namespace {}", args.to, cluster.namespace))
                .state("nothing was changed")
                .next(format!("helm list -n {}", cluster.namespace)));
        }
    };
    let own: Vec<_> = args.probe.iter().filter(|probe| services.contains(&probe.service)).cloned().collect();
    let gap = match (&promotion, &of) {
        (Some(record), Some(of)) => Some((promote::gap(cluster, &session.stop, record).await?, of.primary.target.to_string())),
        _ => None,
    };
    let spec = Spec {
        to: args.to.clone(),
        from,
        what,
        namespace,
        services,
        before: own,
        after: args.probe.clone(),
        count: args.probes,
        timeout: args.timeout.as_secs(),
        promotion: promotion.map(|record| record.id),
        accept_divergence: args.accept_divergence,
    };
    Ok(Found { spec, package, gap })
}

/// Services of the new release that must be ready: their namesakes in the old one are.
async fn counterparts(cluster: &Cluster, services: &[String], from: Option<&str>, to: &str) -> Result<Vec<String>> {
    let Some(from) = from else { return Ok(services.to_vec()) };
    let mut needed = Vec::new();
    for service in services {
        let old = renamed(service, to, from).unwrap_or_else(|| service.clone());
        if ready_addresses(cluster, &cluster.namespace, &old).await?.unwrap_or_default() > 0 {
            needed.push(service.clone());
        }
    }
    Ok(needed)
}

/// A name that begins with a release's, with another one's in its place.
fn renamed(name: &str, from: &str, to: &str) -> Option<String> {
    let rest = name.strip_prefix(from)?;
    (rest.is_empty() || rest.starts_with('-')).then(|| format!("{to}{rest}"))
}

/// What is switched, the chart for that, and the release that is served now, where that tells.
async fn what(
    args: &Args,
    cluster: &Cluster,
    there: &Cluster,
    from: Option<&str>,
) -> Result<(What, Option<Package>, Option<String>)> {
    let refused = |text: String| Failure::refused(text).state("nothing was changed");
    if let Some(name) = &args.admin_release {
        let helm = Program::find(&args.helm, there, &there.namespace).await?;
        let release = newest(there, name).await?;
        if release.status() != "deployed" {
            return Err(refused(format!("release {name} is {}", release.standing()))
                .next(format!("kubectl dbmig doctor -n {}", there.namespace)));
        }
        let serves = release.value(&args.value).and_then(|value| value.as_str().map(str::to_owned));
        if serves.as_deref() == Some(args.to.as_str()) {
            return Err(refused(format!("release {name} leads to {} already: {}={}", args.to, args.value, args.to)));
        }
        if serves.is_none() {
            return Err(refused(format!("release {name} has no value {}", args.value))
                .next("name the value that says which release it serves: --value PATH"));
        }
        let chart = Chart { place: args.chart.clone().unwrap_or_default(), version: args.chart_version.clone() };
        let mut last = json!({});
        values::set(&mut last, &args.value, json!(args.to));
        let package = Package::of(&helm, &chart, &[]).await?.with(&last);
        package.check()?;
        let helm = args.helm.display().to_string();
        let what = What::Release { name: name.clone(), chart, helm, path: args.value.clone(), revision: release.revision };
        return Ok((what, Some(package), serves));
    }
    if let (Some(name), Some(like)) = (&args.service, &args.to_service) {
        let (name, like) = (service_name(name)?, service_name(like)?);
        let (before, after) =
            (pointing(cluster, &cluster.namespace, &name).await?, pointing(cluster, &cluster.namespace, &like).await?);
        if before == after {
            return Err(refused(format!("service/{name} points to the pods of service/{like} already")));
        }
        return Ok((What::Service { name, like, before, after }, None, None));
    }
    let typed = args.ingress.as_deref().unwrap_or_default();
    let name = typed.split_once('/').map_or(typed, |(_, name)| name).to_owned();
    let api: Api<Ingress> = Api::namespaced(there.client.clone(), &there.namespace);
    let object = api.get(&name).await.doing(format!("read ingress/{name}")).map_err(Failure::unchanged)?;
    let spec = serde_json::to_value(object.spec.unwrap_or_default()).unwrap_or_default();
    let before = json!({"rules": spec["rules"], "defaultBackend": spec["defaultBackend"]});
    let mut after = before.clone();
    switch(&mut after, from.unwrap_or_default(), &args.to);
    if before == after {
        return Err(refused(format!("no backend of ingress/{name} is a Service of release {}", from.unwrap_or_default())));
    }
    let uid = object.metadata.uid.unwrap_or_default();
    Ok((What::Ingress { name, uid, before, after }, None, None))
}

/// Puts the Services of one release in the place of another one's, wherever a backend names one.
fn switch(value: &mut Value, from: &str, to: &str) {
    match value {
        Value::Object(fields) => {
            if let Some(name) = fields.get_mut("service").and_then(|service| service.get_mut("name"))
                && let Some(new) = name.as_str().and_then(|name| renamed(name, from, to))
            {
                *name = Value::String(new);
            }
            fields.values_mut().for_each(|value| switch(value, from, to));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| switch(value, from, to)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_services_of_the_old_release_are_replaced() {
        let backend = |name: &str| json!({"path": "/", "backend": {"service": {"name": name, "port": {"number": 80}}}});
        let mut value = json!({"rules": [{"http": {"paths": [backend("alpha-web"), backend("alphabet"), backend("alpha")]}}],
            "defaultBackend": {"service": {"name": "alpha-x"}}});
        switch(&mut value, "alpha", "beta");
        let names = |index: usize| value["rules"][0]["http"]["paths"][index]["backend"]["service"]["name"].clone();
        assert_eq!([names(0), names(1), names(2)], ["beta-web", "alphabet", "beta"]);
        assert_eq!(value["defaultBackend"]["service"]["name"], "beta-x");
    }
}
