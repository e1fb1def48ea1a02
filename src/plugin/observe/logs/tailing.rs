//! Which containers are followed: one tail for each, begun and ended as pods come, change and go.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt as _};
use regex::Regex;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::Heard;
use super::cursor::Cursor;
use super::instance::{Instance, Role, Source, containers};
use super::tail::{Start, Tail};

/// Which containers' logs are wanted.
#[derive(Debug, Clone)]
pub struct Choice {
    /// Their names must match.
    pub include: Option<Regex>,
    /// Their names must not match.
    pub exclude: Option<Regex>,
    /// Init containers too.
    pub init: bool,
}

impl Choice {
    /// Every container.
    #[must_use]
    pub fn all() -> Self {
        Self { include: None, exclude: None, init: true }
    }

    /// How many containers of a pod are wanted.
    #[must_use]
    pub fn count(&self, pod: &Pod) -> usize {
        containers(pod).iter().filter(|(role, name, _)| self.takes(*role, name)).count()
    }

    /// This container is wanted.
    #[must_use]
    pub fn takes(&self, role: Role, name: &str) -> bool {
        (self.init || role != Role::Init)
            && self.include.as_ref().is_none_or(|wanted| wanted.is_match(name))
            && !self.exclude.as_ref().is_some_and(|unwanted| unwanted.is_match(name))
    }
}

/// All tails. Dropping it ends them.
pub(in crate::observe) struct Tailing {
    client: kube::Client,
    choice: Choice,
    start: Start,
    heard: mpsc::Sender<Heard>,
    newest: HashMap<Source, watch::Sender<Option<Instance>>>,
    tails: JoinSet<()>,
}

impl Tailing {
    /// Follows nothing yet; what is heard goes to `heard`.
    #[must_use]
    pub(in crate::observe) fn new(client: kube::Client, choice: Choice, start: Start, heard: mpsc::Sender<Heard>) -> Self {
        Self { client, choice, start, heard, newest: HashMap::new(), tails: JoinSet::new() }
    }

    /// Takes a pod as it is now.
    pub(in crate::observe) fn pod(&mut self, pod: &Pod) {
        for (role, name, status) in containers(pod) {
            if !self.choice.takes(role, &name) {
                continue;
            }
            let instance = status.and_then(Instance::newest);
            let source = Source::new(pod, &name, role);
            match self.newest.get(&source) {
                Some(newest) => {
                    newest.send_if_modified(|newest| {
                        let changes = instance.is_some() && *newest != instance;
                        if changes {
                            newest.clone_from(&instance);
                        }
                        changes
                    });
                }
                None => self.begin(source, instance),
            }
        }
    }

    /// Takes the end of a pod: what its containers still have to say is read, then their tails end.
    pub(in crate::observe) fn gone(&mut self, pod: &Pod) {
        let uid = pod.uid().unwrap_or_default();
        self.newest.retain(|source, _| source.uid() != uid);
    }

    fn begin(&mut self, source: Source, instance: Option<Instance>) {
        let (newest_tx, newest) = watch::channel(instance);
        let api = Api::namespaced(self.client.clone(), source.namespace());
        // What begins from now on is heard from its first line, however late its stream opens.
        let start = if newest.borrow().is_some() { self.start } else { Start { tail: None, ..self.start } };
        let tail = Tail { api, source: source.clone(), start, heard: self.heard.clone(), newest, cursor: Cursor::default() };
        self.tails.spawn(tail.run());
        self.newest.insert(source, newest_tx);
        while self.tails.try_join_next().is_some() {}
    }
}
