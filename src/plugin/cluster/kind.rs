//! Words for kinds of objects, as kubectl takes them, and targets made of them. Asks no cluster.

use std::fmt;

use crate::failure::{Failure, Result};

/// The kinds that a command can be aimed at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Kind {
    Pod,
    StatefulSet,
    Deployment,
    ReplicaSet,
    DaemonSet,
    Job,
    CronJob,
    PersistentVolumeClaim,
}

/// The words for a kind, as in kubectl's `api-resources`.
struct Words {
    kind: Kind,
    singular: &'static str,
    plural: &'static str,
    short: &'static [&'static str],
    group: &'static str,
    camel: &'static str,
}

const WORDS: [Words; 8] = [
    Words { kind: Kind::Pod, singular: "pod", plural: "pods", short: &["po"], group: "", camel: "Pod" },
    Words {
        kind: Kind::StatefulSet,
        singular: "statefulset",
        plural: "statefulsets",
        short: &["sts"],
        group: "apps",
        camel: "StatefulSet",
    },
    Words {
        kind: Kind::Deployment,
        singular: "deployment",
        plural: "deployments",
        short: &["deploy"],
        group: "apps",
        camel: "Deployment",
    },
    Words {
        kind: Kind::ReplicaSet,
        singular: "replicaset",
        plural: "replicasets",
        short: &["rs"],
        group: "apps",
        camel: "ReplicaSet",
    },
    Words {
        kind: Kind::DaemonSet,
        singular: "daemonset",
        plural: "daemonsets",
        short: &["ds"],
        group: "apps",
        camel: "DaemonSet",
    },
    Words { kind: Kind::Job, singular: "job", plural: "jobs", short: &[], group: "batch", camel: "Job" },
    Words { kind: Kind::CronJob, singular: "cronjob", plural: "cronjobs", short: &["cj"], group: "batch", camel: "CronJob" },
    Words {
        kind: Kind::PersistentVolumeClaim,
        singular: "persistentvolumeclaim",
        plural: "persistentvolumeclaims",
        short: &["pvc"],
        group: "",
        camel: "PersistentVolumeClaim",
    },
];

impl Kind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Pod,
        Self::StatefulSet,
        Self::Deployment,
        Self::ReplicaSet,
        Self::DaemonSet,
        Self::Job,
        Self::CronJob,
        Self::PersistentVolumeClaim,
    ];

    fn words(self) -> &'static Words {
        // The table has a row for each kind, in the order of the kinds: a test holds it to that.
        &WORDS[self as usize]
    }

    /// `statefulset`: the word for messages and for `TYPE/NAME`.
    #[must_use]
    pub fn singular(self) -> &'static str {
        self.words().singular
    }

    /// `statefulsets`: the word in URLs and access rules.
    #[must_use]
    pub fn plural(self) -> &'static str {
        self.words().plural
    }

    /// `StatefulSet`: the word in `kind:`.
    #[must_use]
    pub fn camel(self) -> &'static str {
        self.words().camel
    }

    /// API group, empty for the core.
    #[must_use]
    pub fn group(self) -> &'static str {
        self.words().group
    }

    /// The kind that an object's `kind:` names.
    #[must_use]
    pub fn of_camel(camel: &str) -> Option<Self> {
        WORDS.iter().find(|words| words.camel == camel).map(|words| words.kind)
    }

    /// Understands what a person typed: short, singular, plural, in any case, with `.GROUP` or `.VERSION.GROUP` behind.
    ///
    /// # Errors
    /// Not one of the known kinds; they are listed.
    pub fn parse(typed: &str) -> Result<Self> {
        let lower = typed.to_lowercase();
        let (word, rest) = lower.split_once('.').unwrap_or((&lower, ""));
        let found = WORDS.iter().find(|words| words.singular == word || words.plural == word || words.short.contains(&word));
        found.filter(|words| group_fits(words.group, rest)).map(|words| words.kind).ok_or_else(|| unknown(typed))
    }
}

/// `apps`, `v1.apps`, and for the core `v1`, or nothing at all.
fn group_fits(group: &str, rest: &str) -> bool {
    let is_version = |text: &str| text.strip_prefix('v').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    match rest.split_once('.') {
        _ if rest.is_empty() || (rest == group && !group.is_empty()) => true,
        Some((version, behind)) => is_version(version) && behind == group,
        None => group.is_empty() && is_version(rest),
    }
}

fn unknown(typed: &str) -> Failure {
    let known = WORDS.iter().map(|words| match words.short.first() {
        Some(short) => format!("{} ({short})", words.singular),
        None => words.singular.to_owned(),
    });
    Failure::usage(format!("the server doesn't have a resource type {typed:?} that this command can be aimed at"))
        .fact(format!("known types: {}", known.collect::<Vec<_>>().join(", ")))
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.singular())
    }
}

/// What a person named: a kind and a name, not looked up yet.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct TargetRef {
    /// Kind.
    pub kind: Kind,
    /// Name.
    pub name: String,
}

impl TargetRef {
    /// Understands `NAME` (a pod), `TYPE/NAME` and `TYPE NAME`.
    ///
    /// # Errors
    /// Anything else, in kubectl's words where it has some.
    pub fn parse<S: AsRef<str>>(args: &[S]) -> Result<Self> {
        let args: Vec<&str> = args.iter().map(AsRef::as_ref).collect();
        match args.as_slice() {
            [] => Err(Failure::usage("no target: name a pod, or a workload as TYPE/NAME").next("kubectl get pods")),
            [one] if one.contains('/') => Self::with_slash(one),
            [name] => Self::new(Kind::Pod, name),
            many if many.iter().any(|arg| arg.contains('/')) => Err(mixed_forms(many)),
            [kind, name] => Self::new(Kind::parse(kind)?, name),
            [_, rest @ ..] => {
                Err(Failure::usage("only one target can be given").fact(format!("there are {}: {}", rest.len(), rest.join(", "))))
            }
        }
    }

    fn with_slash(arg: &str) -> Result<Self> {
        match arg.split('/').collect::<Vec<_>>().as_slice() {
            [kind, name] if !kind.is_empty() && !name.is_empty() => Self::new(Kind::parse(kind)?, name),
            [_, _] => {
                Err(Failure::usage(format!("arguments in resource/name form must have a single resource and name: {arg:?}")))
            }
            _ => {
                Err(Failure::usage("arguments in resource/name form may not have more than one slash")
                    .fact(format!("seen: {arg:?}")))
            }
        }
    }

    fn new(kind: Kind, name: &str) -> Result<Self> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
        let edges = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        if name.len() > 253 || !name.chars().all(fits) || !name.starts_with(edges) || !name.ends_with(edges) {
            return Err(Failure::usage(format!("{name:?} cannot be the name of a {kind}"))
                .fact("names consist of lower case letters, digits, '-' and '.', and start and end with a letter or digit"));
        }
        Ok(Self { kind, name: name.to_owned() })
    }
}

fn mixed_forms(args: &[&str]) -> Failure {
    let failure = Failure::usage(
        "there is no need to specify a resource type as a separate argument when passing arguments in resource/name form",
    );
    match args {
        [kind, name, ..] if name.contains('/') => failure.next(format!("write {name:?} instead of '{kind} {name}'")),
        _ => failure,
    }
}

impl fmt::Display for TargetRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

/// The name of a Service that was typed as `svc/NAME` or `NAME`.
///
/// # Errors
/// `Usage` for another kind.
pub fn service_name(typed: &str) -> Result<String> {
    let name = match typed.split_once('/') {
        None => typed,
        Some(("svc" | "service" | "services", name)) => name,
        Some(_) => return Err(Failure::usage(format!("{typed} is no Service: write svc/NAME"))),
    };
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    fn parse(args: &[&str]) -> Result<String> {
        TargetRef::parse(args).map(|target| target.to_string())
    }

    #[test]
    fn every_kind_has_its_own_row_of_words() {
        for kind in Kind::ALL {
            assert_eq!(kind.words().kind, kind);
            assert_eq!(Kind::of_camel(kind.camel()), Some(kind));
        }
    }

    #[test]
    fn the_forms_of_kubectl_are_understood() {
        for (args, meant) in [
            (&["upmeter-0"][..], "pod/upmeter-0"),
            (&["po/a"], "pod/a"),
            (&["pods", "a"], "pod/a"),
            (&["STS/upmeter"], "statefulset/upmeter"),
            (&["statefulsets.apps", "upmeter"], "statefulset/upmeter"),
            (&["statefulset.v1.apps/upmeter"], "statefulset/upmeter"),
            (&["deploy", "keeper"], "deployment/keeper"),
            (&["rs/a.b-c"], "replicaset/a.b-c"),
            (&["ds/a"], "daemonset/a"),
            (&["job", "db-upgrade"], "job/db-upgrade"),
            (&["cj/a"], "cronjob/a"),
            (&["pvc/data"], "persistentvolumeclaim/data"),
            (&["pods.v1/a"], "pod/a"),
        ] {
            assert_eq!(parse(args).unwrap(), meant, "{args:?}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_wrong_usage_and_says_what() {
        for (args, said) in [
            (&[][..], "no target"),
            (&["a/b/c"], "more than one slash"),
            (&["pods/"], "single resource and name"),
            (&["/a"], "single resource and name"),
            (&["sts", "sts/a"], "no need to specify a resource type"),
            (&["sts/a", "sts/b"], "no need to specify a resource type"),
            (&["secret/a"], "resource type \"secret\""),
            (&["sts.batch/a"], "resource type \"sts.batch\""),
            (&["pod.apps/a"], "resource type"),
            (&["sts", "a", "b"], "only one target"),
            (&["Upmeter-0"], "cannot be the name"),
            (&["--x"], "cannot be the name"),
            (&["pod", ""], "cannot be the name"),
        ] {
            let failure = parse(args).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage, "{args:?}");
            assert!(failure.message.contains(said), "{args:?}: {failure}");
        }
        assert!(parse(&["secret/a"]).unwrap_err().facts[0].contains("statefulset (sts)"));
    }
}
