//! Following the Job's pod until the container that migrates has ended: its log as it comes, and why it does not start.

use std::collections::VecDeque;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt as _;
use tokio::time::{Instant, sleep_until};

use super::ENDED;
use crate::cluster::kind::{Kind, TargetRef};
use crate::cluster::pods::{Obstacle, is_running, statuses, why_not_ready};
use crate::command::kept_logs;
use crate::command::run::desk::Shared;
use crate::command::run::outcome::Ended;
use crate::command::run::spec::Spec;
use crate::event::Event;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::framework::log::explain;
use crate::observe::{Choice, Facts, Heard, JobState, News, Observer, Scope, Start};
use crate::plan::{Look, Run, Step};
use crate::ui::human::log_text;

/// Lines in which a known complaint is looked for, the newest.
const SEARCHED: usize = 200;
/// Lines that a failure shows.
const SHOWN: usize = 8;
/// How long the rest of a log may take to come after its container has ended.
const REST_OF_LOG: Duration = Duration::from_secs(10);

/// Follows the Job.
pub(super) struct Follow(pub(super) Shared);

#[async_trait]
impl Step for Follow {
    fn id(&self) -> &'static str {
        "follow"
    }

    fn title(&self) -> String {
        let spec = &self.0.spec;
        match spec.command.is_empty() {
            true => format!("run container {} to its end", spec.container),
            false => format!("run in container {}: {}", spec.container, spec.command.join(" ")),
        }
    }

    async fn look(&self, run: &Run) -> Result<Look> {
        Ok(if run.memory.recall::<Ended>(ENDED)?.is_some() { Look::Done } else { Look::Todo })
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let spec = &self.0.spec;
        let job = TargetRef { kind: Kind::Job, name: spec.job.clone() };
        let scope = Scope::of_target(&run.cluster, &job).await?;
        let everything = (Choice::all(), Start { since: None, tail: None });
        let observer = Observer::begin(&run.cluster, scope, Some(everything)).await?;
        let ended = Following::new(run, spec, observer).until_it_ends().await?;
        kept_logs::keep(run, &self.0.pods(run).await?).await;
        run.memory.keep(ENDED, &ended)?;
        Ok(ended.in_words())
    }
}

/// What has been seen of the Job so far.
struct Following<'a> {
    run: &'a Run,
    spec: &'a Spec,
    observer: Observer,
    lines: VecDeque<String>,
    /// Everything was listed once.
    complete: bool,
    /// The container that migrates has started.
    begun: bool,
    /// Its log was read to the end.
    heard_all: bool,
    /// What was said last of why it does not start.
    told: String,
    /// Name of the newest pod: of another try than the one before.
    pod: String,
}

/// How things stand.
enum Standing {
    Waiting,
    Ended(Ended),
    /// It can't start any more; why.
    Hopeless(String),
    /// There is no such Job any more.
    Gone,
}

impl<'a> Following<'a> {
    fn new(run: &'a Run, spec: &'a Spec, observer: Observer) -> Self {
        let (complete, begun, heard_all) = (false, false, false);
        let (told, pod) = (String::new(), String::new());
        Self { run, spec, observer, lines: VecDeque::new(), complete, begun, heard_all, told, pod }
    }

    async fn until_it_ends(mut self) -> Result<Ended> {
        let start_by = Instant::now() + self.spec.patience();
        let mut over: Option<(Ended, Instant)> = None;
        loop {
            if self.heard_all
                && let Some((ended, _)) = over
            {
                return Ok(self.with_lines(ended));
            }
            let limit = match &over {
                Some((_, at)) => Some(*at + REST_OF_LOG),
                None => (!self.begun).then_some(start_by),
            };
            let late = async {
                match limit {
                    Some(limit) => sleep_until(limit).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.run.stop.wait() => return Err(self.left()),
                news = self.observer.next() => news.into_iter().for_each(|one| self.take(one)),
                () = late => match over {
                    Some((ended, _)) => return Ok(self.with_lines(ended)),
                    None => return Err(self.never_started(None)),
                },
            }
            if over.is_some() {
                continue;
            }
            match self.standing() {
                Standing::Waiting => {}
                Standing::Ended(ended) => over = Some((ended, Instant::now())),
                Standing::Hopeless(why) => return Err(self.never_started(Some(&why))),
                Standing::Gone => return Err(self.gone()),
            }
        }
    }

    fn take(&mut self, news: News) {
        match news {
            News::Heard(Heard::Lines(source, lines)) => {
                let migrates = source.container() == self.spec.container;
                for line in lines {
                    let text = log_text(&line.text).into_owned();
                    if migrates {
                        self.lines.push_back(text.clone());
                        self.lines.drain(..self.lines.len().saturating_sub(SEARCHED));
                    }
                    self.run.events.tell(Event::Said { container: source.container().to_owned(), line: text });
                }
            }
            News::Heard(Heard::Ended(source, _)) => {
                self.heard_all |= source.container() == self.spec.container && [source.pod(), ""].contains(&self.pod.as_str());
            }
            News::Heard(Heard::Gap(source, text)) => self.run.events.note(format!("{}: {text}", source.container())),
            News::Happened(incident) if incident.explains && !self.begun => {
                self.tell(format!("{}: {}: {}", incident.object, incident.reason, incident.message));
            }
            News::Note(_, text) => self.run.events.note(text),
            News::Complete => self.complete = true,
            News::Heard(Heard::Opened(..))
            | News::Happened(_)
            | News::Changed(..)
            | News::Copied(..)
            | News::Progressed
            | News::Measured => {}
        }
    }

    /// Says why it does not start, once.
    fn tell(&mut self, why: String) {
        if self.told != why {
            self.run.events.note(why.clone());
            self.told = why;
        }
    }

    fn standing(&mut self) -> Standing {
        let facts = self.observer.facts();
        let newest = facts.pods().max_by_key(|pod| pod.creation_timestamp().map(|time| time.0)).cloned();
        let Some(pod) = newest else { return self.without_pods() };
        let name = pod.name_any();
        if name != self.pod {
            // What an earlier try has said is no part of how this one ended.
            if !std::mem::replace(&mut self.pod, name).is_empty() {
                (self.heard_all, self.lines) = (false, VecDeque::new());
            }
        }
        let status = statuses(&pod).find(|status| status.name == self.spec.container);
        if let Some(ended) = status.and_then(terminated) {
            return self.unless_tried_again(&pod, ended);
        }
        if is_over(&pod) {
            self.heard_all = true; // Of a container that never ran there is no log.
            return self.unless_tried_again(&pod, Ended { why: why_not_ready(&pod), ..Ended::default() });
        }
        self.begun |= status.is_some_and(is_running);
        if self.begun {
            return Standing::Waiting;
        }
        match statuses(&pod).find_map(hopeless) {
            Some(why) => Standing::Hopeless(why),
            None => Standing::Waiting,
        }
    }

    /// A try that has failed is not the end while its Job may make another pod; that it does not as long as a sidecar runs.
    fn unless_tried_again(&mut self, pod: &Pod, ended: Ended) -> Standing {
        let has_tries = self.spec.tries_again > 0 && ended.exit_code != Some(0) && !statuses(pod).any(is_running);
        let goes_on = |state| !matches!(state, JobState::Complete | JobState::Failed);
        if !has_tries || !self.observer.facts().job_rows().pop().is_some_and(|job| goes_on(job.state)) {
            return Standing::Ended(ended);
        }
        self.tell(format!("pod/{}: {}; its Job tries again", pod.name_any(), ended.in_words()));
        Standing::Waiting
    }

    fn without_pods(&mut self) -> Standing {
        let facts = self.observer.facts();
        if !self.complete {
            return Standing::Waiting;
        }
        let Some(job) = facts.job_rows().pop() else { return Standing::Gone };
        let how = match job.state {
            JobState::Complete => Ended { exit_code: Some(0), ..Ended::default() },
            JobState::Failed => Ended { why: job.message, ..Ended::default() },
            JobState::Waiting | JobState::Running | JobState::Suspended | JobState::Migrated => return Standing::Waiting,
        };
        self.heard_all = true;
        Standing::Ended(how)
    }

    fn with_lines(self, ended: Ended) -> Ended {
        if ended.exit_code == Some(0) {
            return ended;
        }
        let known = self.lines.iter().rev().find_map(|line| Some((line, explain(line)?)));
        let known = known.map(|(line, meaning)| (line.clone(), meaning.means, meaning.next.to_owned()));
        let said: Vec<&String> = self.lines.iter().filter(|line| !line.trim().is_empty()).collect();
        let last_lines = said[said.len().saturating_sub(SHOWN)..].iter().map(|line| (*line).clone()).collect();
        Ended { known, last_lines, ..ended }
    }

    fn left(&self) -> Failure {
        let Spec { job, .. } = self.spec;
        Failure::new(Exit::Incomplete, format!("job/{job} goes on without us"))
            .state("the migration is not stopped: it ends by itself, and `resume` then judges it; `undo` stops it")
            .next(format!("kubectl dbmig watch {} -n {}", self.run.id, self.run.namespace))
    }

    /// Nothing of the migration has run, so all of it can be taken back.
    fn never_started(&self, hopeless: Option<&str>) -> Failure {
        let (facts, job) = (self.observer.facts(), &self.spec.job);
        let failure = match hopeless {
            Some(why) => Failure::failed(format!("job/{job} can't start: {why}")),
            None => {
                let limit = self.spec.patience_seconds;
                Failure::new(
                    Exit::TimedOut,
                    format!("container {} of job/{job} did not start within {limit} s", self.spec.container),
                )
            }
        };
        let pod = facts.pods().last().map(|pod| format!("pod/{}: {}", pod.name_any(), why_not_ready(pod)));
        failure.facts(pod.filter(|_| hopeless.is_none())).facts(explanations(facts)).take_back()
    }

    fn gone(&self) -> Failure {
        let (job, from) = (&self.spec.job, self.spec.origin.target());
        Failure::failed(format!("job/{job} was deleted while it ran"))
            .state("whether its migration has run is not known")
            .next(format!("kubectl dbmig doctor {from} -n {}", self.run.namespace))
    }
}

/// What the cluster says of why pods don't come or don't start, the newest last.
fn explanations(facts: &Facts) -> Vec<String> {
    let mut said: Vec<String> = Vec::new();
    for incident in facts.incidents().into_iter().rev().filter(|incident| incident.explains) {
        let line = format!("{}: {}: {}", incident.object, incident.reason, incident.message);
        if said.len() < 3 && !said.contains(&line) {
            said.push(line);
        }
    }
    said
}

fn is_over(pod: &Pod) -> bool {
    crate::cluster::volume::is_finished(pod)
}

fn terminated(status: &ContainerStatus) -> Option<Ended> {
    let ended = status.state.as_ref()?.terminated.as_ref()?;
    let why = ended.reason.clone().unwrap_or_default();
    Some(Ended { exit_code: Some(ended.exit_code), why, ..Ended::default() })
}

fn hopeless(status: &ContainerStatus) -> Option<String> {
    let waiting = status.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting.reason.as_deref()?;
    let message = waiting.message.as_deref().map(|message| format!(": {message}")).unwrap_or_default();
    let why = format!("container {}: {reason}{message}", status.name);
    Obstacle::of(&why).map(|_| why)
}
