//! `dbmig-agent` in a container: put it there, prove it, ask it, follow its jobs.

mod answer;

use std::sync::atomic::Ordering;
use std::time::Duration;

use dbmig_wire::{AgentError, Call, ErrorKind, Hello};
use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use tokio::time::{Instant, sleep, timeout};

pub use self::answer::AskError;
use self::answer::{SILENCE, STDERR_BYTES, SoFar, converse, converse_counting, decode, ended, line};
use super::Cluster;
use super::error::translate;
use super::exec::{Command, Limits, Process};
use super::forward::Forward;
use super::helper::{CONTAINER, Helper};
use super::payload::Payload;
use super::upload::{ANY_SERVER, Upload, Way, upload, ways};
use super::volume::is_finished;
use crate::event::{Event, Events};
use crate::failure::{Failure, Result};
use crate::shutdown::Stop;

/// How long a job may be out of reach before the command gives up; the job itself goes on.
const OUT_OF_REACH: Duration = Duration::from_secs(150);
/// Time for the API server to forward ports: without that there is another way.
const FORWARDED: Duration = Duration::from_secs(5);

/// A container that our binary is to get into.
struct Place<'a> {
    cluster: &'a Cluster,
    namespace: &'a str,
    pod: &'a str,
    uid: String,
    container: &'a str,
    payload: &'static Payload,
}

impl<'a> Place<'a> {
    async fn of(cluster: &'a Cluster, namespace: &'a str, pod: &'a str, container: &'a str, arch: &str) -> Result<Self> {
        let payload = Payload::for_arch(arch)?;
        let pods = Api::<Pod>::namespaced(cluster.client.clone(), namespace);
        let found = pods.get(pod).await.map_err(|error| translate(&error, &format!("read pod/{pod}")))?;
        Ok(Self { cluster, namespace, pod, uid: found.metadata.uid.unwrap_or_default(), container, payload })
    }

    /// The agent there, which has not said anything yet.
    fn agent(&self, path: String) -> Agent {
        Agent {
            cluster: self.cluster.clone(),
            namespace: self.namespace.to_owned(),
            pod: self.pod.to_owned(),
            uid: self.uid.clone(),
            container: self.container.to_owned(),
            dir: path.rsplit_once('/').map_or_else(String::new, |(dir, _)| dir.to_owned()),
            path,
            hello: Hello { sha256: String::new(), bytes: 0, uid: 0, gid: 0 },
            arrival: None,
        }
    }

    fn is_right(&self, hello: &Hello) -> bool {
        hello.sha256 == self.payload.sha256
    }

    async fn bring(&self, dirs: &[String], ways: &[Way]) -> Result<Agent> {
        let Self { namespace, pod, container, payload, .. } = *self;
        let (folder, file) = payload.names();
        let bytes = payload.unpack()?;
        let name = (folder.as_str(), file.as_str());
        let what = Upload { namespace, pod, container, dirs, name, bytes: &bytes, mode: 0o700, proof: &["hash"], ways };
        let begun = Instant::now();
        let read = |said: &[u8]| serde_json::from_slice(said).ok().filter(|hello| self.is_right(hello));
        let uploaded = upload(self.cluster, &what, read).await?;
        let arrival = Event::Payload {
            pod: pod.to_owned(),
            container: container.to_owned(),
            way: uploaded.way.to_string(),
            bytes: payload.bytes,
            elapsed: begun.elapsed(),
        };
        Ok(Agent { hello: uploaded.proof, arrival: Some(arrival), ..self.agent(uploaded.path) })
    }
}

/// Our binary in a container, proven by its digest.
#[derive(Clone)]
pub struct Agent {
    cluster: Cluster,
    namespace: String,
    pod: String,
    /// Uid of the pod: another one of that name has neither our binary nor our jobs.
    uid: String,
    container: String,
    /// Folder for the binary and its journals.
    dir: String,
    path: String,
    /// As whom it runs there.
    pub hello: Hello,
    /// How it was copied there, if it was not there already.
    pub arrival: Option<Event>,
}

impl Agent {
    /// The agent in a container: copied into the first folder where it runs, unless the right bytes are there already.
    ///
    /// # Errors
    /// When it can't be put anywhere or can't run; says each way that was tried.
    pub async fn install(
        cluster: &Cluster,
        namespace: &str,
        pod: &str,
        container: &str,
        dirs: &[String],
        arch: &str,
    ) -> Result<Self> {
        let place = Place::of(cluster, namespace, pod, container, arch).await?;
        let look = async |dir: &String| {
            let agent = place.agent(place.payload.path(dir));
            let hello = agent.hello().await.ok().filter(|hello| place.is_right(hello))?;
            Some(Self { hello, ..agent })
        };
        // Most often it is in the first folder or nowhere: how it could get there is asked meanwhile.
        let (first, others) = dirs.split_at(dirs.len().min(1));
        let (ways, first) = tokio::join!(ways(cluster, namespace, pod, container), join_all(first.iter().map(look)));
        if let Some(agent) = first.into_iter().flatten().next() {
            return Ok(agent);
        }
        let ways = ways?;
        if let Some(agent) = join_all(others.iter().map(look)).await.into_iter().flatten().next() {
            return Ok(agent);
        }
        place.bring(dirs, ways).await
    }

    /// The same in a folder of a helper pod that has just been made: nothing of ours can be there, and its image has what the surest
    /// way needs.
    ///
    /// # Errors
    /// As [`Agent::install`].
    pub async fn install_anew(cluster: &Cluster, helper: &Helper, work: &str, arch: &str) -> Result<Self> {
        let place = Place::of(cluster, &helper.namespace, &helper.name, CONTAINER, arch).await?;
        place.bring(&[work.to_owned()], ANY_SERVER).await
    }

    async fn hello(&self) -> std::result::Result<Hello, AskError> {
        let finished = timeout(SILENCE, self.run(&["hash"]).await?.output(STDERR_BYTES)).await;
        let finished = finished.map_err(|_| AskError::Lost(format!("nothing heard for {} s", SILENCE.as_secs())))?;
        serde_json::from_slice(&finished.stdout).map_err(|_| ended(finished.outcome, &finished.stderr))
    }

    /// Whether the pod is still the one that our binary was put into, and not on its way out.
    ///
    /// # Errors
    /// When the API server can't be asked.
    pub async fn is_there(&self) -> Result<bool> {
        let pods: Api<Pod> = Api::namespaced(self.cluster.client.clone(), &self.namespace);
        let found = pods.get_opt(&self.pod).await.map_err(|error| translate(&error, &format!("read pod/{}", self.pod)))?;
        Ok(found.is_some_and(|pod| {
            pod.metadata.uid.as_ref() == Some(&self.uid) && pod.metadata.deletion_timestamp.is_none() && !is_finished(&pod)
        }))
    }

    /// Says so where an error has no other reason than that the pod is gone.
    async fn or_gone(&self, error: AskError) -> AskError {
        match error {
            AskError::Lost(how) if matches!(self.is_there().await, Ok(false)) => self.gone(how),
            AskError::Failure(failure) if matches!(self.is_there().await, Ok(false)) => self.gone(failure.cause().to_owned()),
            other => other,
        }
    }

    fn gone(&self, how: String) -> AskError {
        AskError::Gone(
            Failure::failed(format!("pod/{}, where the helper binary ran, is gone", self.pod))
                .passing()
                .fact(how)
                .state("what came of its work is not known yet; resume looks before it acts"),
        )
    }

    /// Asks and waits for the answer, telling progress as it comes.
    ///
    /// # Errors
    /// See [`AskError`].
    pub async fn ask<C: Call>(&self, call: C, events: Option<&Events>) -> std::result::Result<C::Reply, AskError> {
        let request = line(&call.into())?;
        match self.ask_once(&request, events).await {
            Ok(value) => decode::<C>(value),
            Err(error) => Err(self.or_gone(error).await),
        }
    }

    async fn ask_once(&self, request: &[u8], events: Option<&Events>) -> std::result::Result<serde_json::Value, AskError> {
        let mut process = self.run(&["ask"]).await?;
        process.write(request).await?;
        converse(process, events).await
    }

    /// Has a job done that goes on without us, and follows it. A job of that name that ended well is not done again.
    ///
    /// # Errors
    /// See [`AskError`]; `Lost` when it stays out of reach, while the job itself goes on.
    pub async fn job<C: Call + Clone>(
        &self,
        name: &str,
        call: C,
        events: &Events,
        stop: &Stop,
    ) -> std::result::Result<C::Reply, AskError> {
        for attempt in 1_u32.. {
            let job = format!("{name}-{attempt}");
            match self.follow(&job, events, stop).await {
                Err(AskError::Agent(error)) if error.kind == ErrorKind::NotFound => {
                    if let Err(error) = self.start(&job, &line(&call.clone().into())?).await {
                        return Err(self.or_gone(error).await);
                    }
                    return decode::<C>(self.follow(&job, events, stop).await?);
                }
                Err(AskError::Agent(_)) => {} // An earlier attempt ended badly: the next one has a name of its own.
                other => return decode::<C>(other?),
            }
        }
        Err(AskError::Lost("no attempt is left".to_owned()))
    }

    /// Ends a job that an earlier process of the plugin may have left running, at its next safe point.
    ///
    /// # Errors
    /// See [`AskError`].
    pub async fn end_job(&self, name: &str) -> std::result::Result<(), AskError> {
        for attempt in 1_u32.. {
            match self.ask_to_stop(&format!("{name}-{attempt}")).await {
                Ok(()) => {}
                Err(AskError::Agent(error)) if error.kind == ErrorKind::NotFound => break,
                Err(error) => return Err(self.or_gone(error).await),
            }
        }
        Ok(())
    }

    async fn start(&self, job: &str, request: &[u8]) -> std::result::Result<(), AskError> {
        let mut process = self.run(&["start", &self.dir, job]).await?;
        process.write(request).await?;
        converse(process, None).await.map(drop)
    }

    /// Follows a job to its end, over as many connections as that takes.
    async fn follow(&self, job: &str, events: &Events, stop: &Stop) -> std::result::Result<serde_json::Value, AskError> {
        let (mut so_far, mut heard) = (SoFar::default(), Instant::now());
        loop {
            let before = so_far.seen;
            let outcome = tokio::select! {
                outcome = self.follow_once(job, &mut so_far, events) => outcome,
                () = stop.wait() => return Err(self.stop(job).await),
            };
            let error = match outcome {
                Err(error) => self.or_gone(error).await,
                value => return value,
            };
            if so_far.seen > before {
                heard = Instant::now();
            }
            let why = match &error {
                AskError::Lost(how) => format!("connection lost ({how})"),
                AskError::Failure(failure) if failure.passing => failure.message.clone(),
                AskError::Agent(_) | AskError::Gone(_) | AskError::Failure(_) => return Err(error),
            };
            if heard.elapsed() > OUT_OF_REACH {
                return Err(error);
            }
            events.note(format!("{why}, trying again"));
            so_far.lost = true;
            tokio::select! {
                () = sleep(Duration::from_secs(2)) => {}
                () = stop.wait() => {}
            }
        }
    }

    async fn follow_once(
        &self,
        job: &str,
        so_far: &mut SoFar,
        events: &Events,
    ) -> std::result::Result<serde_json::Value, AskError> {
        let process = self.run(&["follow", &self.dir, job, &so_far.seen.to_string()]).await?;
        converse_counting(process, Some(events), so_far).await
    }

    async fn stop(&self, job: &str) -> AskError {
        match timeout(SILENCE, self.ask_to_stop(job)).await {
            Ok(Ok(())) => AskError::Agent(AgentError {
                kind: ErrorKind::Stopped,
                message: "stopped at your request".to_owned(),
                details: Vec::new(),
            }),
            Ok(Err(error)) => error,
            Err(_) => AskError::Lost("the job did not say that it stopped".to_owned()),
        }
    }

    async fn ask_to_stop(&self, job: &str) -> std::result::Result<(), AskError> {
        converse(self.run(&["stop", &self.dir, job]).await?, None).await.map(drop)
    }

    /// A way to ports of its pod; `None`: there is none, which is not asked twice.
    pub(super) async fn forward(&self) -> Option<Forward> {
        if self.cluster.forwards_nothing.load(Ordering::Relaxed) {
            return None;
        }
        let opened = self.cluster.forward(&self.namespace, &self.pod, Limits { open: FORWARDED, ..Limits::default() }).await;
        let refused = |failure: &Failure| {
            tracing::debug!(?failure, "no port can be forwarded");
            self.cluster.forwards_nothing.store(true, Ordering::Relaxed);
        };
        opened.inspect_err(refused).ok()
    }

    /// Runs the agent with arguments of its own, for raw bytes.
    ///
    /// # Errors
    /// When it can't be started.
    pub async fn run(&self, arguments: &[&str]) -> Result<Process> {
        let argv = std::iter::once(self.path.as_str()).chain(arguments.iter().copied()).map(str::to_owned).collect();
        let command = Command {
            namespace: self.namespace.clone(),
            pod: self.pod.clone(),
            container: self.container.clone(),
            argv,
            stdin: true,
        };
        self.cluster.start(&command).await
    }
}
