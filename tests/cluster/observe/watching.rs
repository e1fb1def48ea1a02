//! `watch` as lines: pods that come and go, for people and for programs.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{container, follow, spec};
use crate::support::Namespace;

/// The fields of a timeline entry beside those that all have; a trailing `?` marks one that may be missing.
const SCHEMA: [(&str, &[&str]); 7] = [
    ("log", &["namespace", "pod", "container", "message"]),
    ("log-opened", &["namespace", "pod", "container", "restarts"]),
    ("log-ended", &["namespace", "pod", "container", "restarts", "ending?"]),
    ("log-gap", &["namespace", "pod", "container", "text"]),
    ("change", &["object", "text", "bad"]),
    ("event", &["object", "reason", "message", "count", "warning", "explains"]),
    ("note", &["text"]),
];

/// Holds a line against the documented schema; its type.
fn checked(line: &str) -> String {
    let object: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    assert_eq!((object["apiVersion"].as_str(), object["kind"].as_str()), (Some("dbmig.dev/v1alpha1"), Some("TimelineEntry")));
    assert!(object["time"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{line}");
    let kind = object["type"].as_str().unwrap().to_owned();
    let (_, fields) = SCHEMA.iter().find(|(name, _)| *name == kind).unwrap_or_else(|| panic!("unknown type: {line}"));
    let common = ["apiVersion", "kind", "time", "type"];
    let known: BTreeSet<&str> = fields.iter().map(|field| field.trim_end_matches('?')).chain(common).collect();
    let there: BTreeSet<&str> = object.as_object().unwrap().keys().map(String::as_str).collect();
    assert!(there.is_subset(&known), "unknown fields: {line}");
    let missing: Vec<_> = fields.iter().filter(|field| !field.ends_with('?') && !there.contains(**field)).collect();
    assert!(missing.is_empty(), "{missing:?} missing: {line}");
    kind
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_appear_and_vanish_are_told_in_words_and_in_objects() {
    let space = Namespace::new("watching").await;
    space.has_account();
    let mut pod = spec(&[container("main", "echo \"hello from $HOSTNAME\"; sleep 600")]);
    pod["restartPolicy"] = "Always".into();
    let labels = json!({"app": "x"});
    let workload = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}}});
    space.apply(&workload.to_string());
    let mut plain = follow(&space, &["watch", "deploy/x", "--plain"]);
    let mut objects = follow(&space, &["watch", "-l", "app=x", "-o", "json"]);
    plain.prints("hello from x-");
    objects.prints("hello from x-");
    let old = space.kubectl(&["get", "pods", "-o", "name"]).trim().to_owned();
    space.kubectl(&["rollout", "restart", "deploy/x"]);
    plain.prints_so_that("both pods have spoken and the old one is gone", |text| {
        text.matches("hello from x-").count() == 2 && text.contains(&format!("* {old}: gone\n"))
    });
    plain.prints("* deployment/x: 1/1 ready");
    objects.prints_so_that("both pods have spoken and the old one is gone", |text| {
        let gone = format!(r#""object":"{old}","text":"gone""#);
        text.matches("hello from x-").count() == 2
            && text.lines().any(|line| line.contains(r#""text":"gone""#) && line.contains(&old))
            || text.contains(&gone)
    });

    // A namespace that goes takes everything with it, and that is told.
    space.kubectl(&["delete", "namespace", space.name(), "--wait=false"]);
    plain.prints("* deployment/x: gone\n");
    plain.prints_so_that("both pods are gone", |text| text.matches(": gone\n").count() >= 3);
    plain.interrupt();
    objects.interrupt();
    assert_eq!((plain.ends().code, objects.ends().code), (0, 0), "{}{}", plain.said(), objects.said());
    let text = objects.printed();
    let kinds: BTreeSet<String> = text.lines().map(checked).collect();
    for kind in ["log", "log-opened", "log-ended", "change", "event"] {
        assert!(kinds.contains(kind), "no {kind} among {kinds:?}");
    }
    assert!(!plain.printed().contains('\u{1b}'), "colours went into a file: {}", plain.printed());
}
