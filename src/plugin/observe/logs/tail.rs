//! The log of one container from its first line to its last, through broken connections, restarts and rotations.

use std::pin::pin;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use super::batch::Batches;
use super::cursor::{Cursor, Novelty};
use super::line::Line;
use super::{Heard, Instance, Source};
use crate::cluster::error::{is_forbidden, translate};

/// The kubelet tells of a container's end by closing the stream, the API server a little later: on a busy node seconds later. Who asks
/// anew meanwhile gets the log of the next start and takes it for this one's.
const UNTIL_STATUS_FOLLOWS: Duration = Duration::from_secs(20);
/// The same after a stream that broke, which tells nothing of the container.
const UNTIL_ASKED_ANEW: Duration = Duration::from_secs(3);
/// A running container that says nothing for so long is asked anew: a log that was rotated may have lost its follower
/// (kubernetes#115701).
const QUIET: Duration = Duration::from_secs(300);
/// Between two tries to open a stream.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// The kubelet's own words are shorter, in bytes.
const LONGEST_COMPLAINT: usize = 4 << 10;

/// Where in the log to begin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Start {
    /// Not before this.
    pub since: Option<Timestamp>,
    /// At most this many lines of what is there already.
    pub tail: Option<i64>,
}

/// Why a stream ended.
enum End {
    /// The server closed it after the last line.
    Closed,
    /// It broke, or was quiet for so long that it was given up.
    Broken,
    /// The server does not give this log (any more), in its words.
    Refused(String),
    /// Nobody listens.
    Unheard,
}

/// Follows one container.
pub(super) struct Tail {
    pub(super) api: Api<Pod>,
    pub(super) source: Source,
    pub(super) start: Start,
    pub(super) heard: mpsc::Sender<Heard>,
    /// The newest start of the container; closed when its pod is gone.
    pub(super) newest: watch::Receiver<Option<Instance>>,
    pub(super) cursor: Cursor,
}

impl Tail {
    /// Until the pod is gone or nobody listens.
    pub(super) async fn run(mut self) {
        let mut over: Option<Instance> = None;
        loop {
            let Some(instance) = self.next(over.as_ref()).await else { return };
            if self.missed(over.as_ref(), &instance).await.is_err()
                || self.heard.send(Heard::Opened(self.source.clone(), instance.clone())).await.is_err()
            {
                return;
            }
            self.cursor.next_log();
            let Some(ended) = self.read(instance).await else { return };
            if self.heard.send(Heard::Ended(self.source.clone(), ended.clone())).await.is_err() {
                return;
            }
            over = Some(ended);
        }
    }

    /// The next start that was not read yet.
    async fn next(&mut self, over: Option<&Instance>) -> Option<Instance> {
        let is_next =
            |newest: &Option<Instance>| newest.as_ref().is_some_and(|newest| over.is_none_or(|over| over.id != newest.id));
        let newest = self.newest.wait_for(is_next).await.ok()?;
        newest.clone()
    }

    /// Starts between two that were seen have no log any more: the kubelet keeps one.
    async fn missed(&self, over: Option<&Instance>, instance: &Instance) -> Result<(), ()> {
        let between = over.map_or(0, |over| instance.restarts - over.restarts - 1);
        if between <= 0 {
            return Ok(());
        }
        let text = format!("{between} starts in between came and went; their logs are gone");
        self.heard.send(Heard::Gap(self.source.clone(), text)).await.map_err(|_| ())
    }

    /// Reads the log of one start to its end and says how it ended. `None`: no more of this container.
    async fn read(&mut self, instance: Instance) -> Option<Instance> {
        let mut pause = PAUSES.0;
        loop {
            let opened = Instant::now();
            let end = self.stream(true, false).await;
            if opened.elapsed() > PAUSES.1 {
                pause = PAUSES.0;
            }
            match &end {
                End::Unheard => return None,
                // What the server says of a container that is about to go is no news.
                End::Refused(_) if self.newest.has_changed().is_err() => return None,
                End::Closed | End::Broken | End::Refused(_) => {}
            }
            let patience = if matches!(end, End::Closed) { UNTIL_STATUS_FOLLOWS } else { UNTIL_ASKED_ANEW };
            if let Some(ended) = self.ending_of(&instance, patience).await? {
                return self.rest_of(ended).await;
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// How the instance ended, if it has or does so within this time. The outer `None`: its pod is gone.
    async fn ending_of(&mut self, instance: &Instance, patience: Duration) -> Option<Option<Instance>> {
        let is_over =
            |newest: &Option<Instance>| newest.as_ref().is_some_and(|newest| newest.id != instance.id || newest.ending.is_some());
        match timeout(patience, self.newest.wait_for(is_over)).await {
            Err(_) => Some(None),
            Ok(Err(_)) => None,
            Ok(Ok(newest)) => {
                let newest = newest.clone()?;
                if newest.id == instance.id {
                    return Some(Some(newest));
                }
                let ending = newest.before.filter(|(id, _)| *id == instance.id).map(|(_, ending)| ending);
                Some(Some(Instance { ending, ..instance.clone() }))
            }
        }
    }

    /// The stream may have broken before its last line: a start that is over is read once more, without following.
    async fn rest_of(&mut self, ended: Instance) -> Option<Instance> {
        let replaced = self.newest.borrow().as_ref().is_some_and(|newest| newest.id != ended.id);
        for pause in [PAUSES.0, PAUSES.0 * 5, PAUSES.1] {
            let why = match self.stream(false, replaced).await {
                End::Unheard => return None,
                End::Closed => return Some(ended),
                End::Refused(_) if self.newest.has_changed().is_err() => return Some(ended),
                End::Broken => "the connection broke".to_owned(),
                End::Refused(why) => why,
            };
            sleep(pause).await;
            if pause == PAUSES.1 {
                let text = format!("the end of its log cannot be read: {why}");
                self.heard.send(Heard::Gap(self.source.clone(), text)).await.ok()?;
            }
        }
        Some(ended)
    }

    /// Reads once what is there.
    ///
    /// # Errors
    /// Why the server does not give it.
    pub(super) async fn once(&mut self, previous: bool) -> Result<(), String> {
        match self.stream(false, previous).await {
            End::Refused(why) => Err(why),
            End::Broken => Err("the connection broke before the end of its log".to_owned()),
            End::Closed | End::Unheard => Ok(()),
        }
    }

    async fn stream(&mut self, follow: bool, previous: bool) -> End {
        let resumed = self.cursor.resume();
        let params = LogParams {
            container: Some(self.source.container().to_owned()),
            follow,
            previous,
            timestamps: true,
            since_time: resumed.or(self.start.since),
            // Together with a resumed stream it would lose lines.
            tail_lines: if resumed.is_some() { None } else { self.start.tail },
            ..LogParams::default()
        };
        let reader = match self.api.log_stream(self.source.pod(), &params).await {
            Ok(reader) => reader,
            Err(error) if is_forbidden(&error) => {
                let failure = translate(&error, "read its log");
                let _ = self.heard.send(Heard::Gap(self.source.clone(), failure.facts.join("; "))).await;
                return End::Unheard;
            }
            Err(error) => return End::Refused(translate(&error, "read its log").facts.join("; ")),
        };
        let mut reader = pin!(reader);
        let mut batches = Batches::new(&mut reader, QUIET);
        while let Some(raw) = batches.next().await {
            if self.pass_on(raw).await.is_err() {
                return End::Unheard;
            }
        }
        let end = if batches.is_complete() { End::Closed } else { End::Broken };
        self.cursor.ended(matches!(end, End::Broken));
        // A stream that broke ends in the middle of a line, which the next one brings whole. That of an ended start does not.
        let rest = if follow { None } else { batches.rest() };
        match self.pass_on(rest.into_iter().collect()).await {
            Ok(()) => end,
            Err(()) => End::Unheard,
        }
    }

    async fn pass_on(&mut self, raw: Vec<bytes::Bytes>) -> Result<(), ()> {
        // What the container wrote has a time stamp, but for the rest of a line that was too long to be held. What else has
        // none is the kubelet's own: that it cannot read the log.
        let written = |line: &Line| !line.stamp.is_empty() || line.text.len() > LONGEST_COMPLAINT;
        let (mut lines, mut foreign) = (Vec::with_capacity(raw.len()), Vec::new());
        for line in raw.into_iter().map(Line::parse) {
            if !written(&line) {
                foreign.push(line);
                continue;
            }
            match self.cursor.take(&line) {
                Novelty::Repeated => continue,
                Novelty::AfterGap => self.moved_away(&line).await?,
                Novelty::New => {}
            }
            lines.push(line);
        }
        for line in foreign.iter().filter(|line| !line.text.is_empty()) {
            let text = String::from_utf8_lossy(&line.text).into_owned();
            self.heard.send(Heard::Gap(self.source.clone(), text)).await.map_err(|_| ())?;
        }
        if lines.is_empty() {
            return Ok(());
        }
        self.heard.send(Heard::Lines(self.source.clone(), lines)).await.map_err(|_| ())
    }

    /// Only a log's newest file can be read.
    async fn moved_away(&self, line: &Line) -> Result<(), ()> {
        let at = String::from_utf8_lossy(&line.stamp);
        let text = format!("its log was rotated while the connection was gone; lines before {at} may be missing");
        self.heard.send(Heard::Gap(self.source.clone(), text)).await.map_err(|_| ())
    }
}
