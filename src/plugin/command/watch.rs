//! `watch`: logs and states side by side, on a screen or as lines.

use std::time::Duration;

use tokio::time::Instant;

use super::Context;
use super::logs::{choice, start, style};
use super::scope;
use super::session::Session;
use super::status::tell_denied;
use crate::cli::logs::LineArgs;
use crate::cli::watch::Args;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::observe::{News, Observer, Reached, Until, Verdict};
use crate::ui::LineFormat;

/// Lines of each container that are there already, on the screen and as lines.
const TAIL: (i64, i64) = (500, 10);

/// Watches until Ctrl-C, `q`, or what `--until` names.
///
/// # Errors
/// Nothing of that name; `--until` was not reached in time, or cannot be any more.
pub async fn run(ctx: &Context, args: Args) -> Result<Exit> {
    let session = &Session::begin(ctx).await?;
    let scope = scope::find(session, &args.scope).await?;
    let terminals = session.ui.terminals();
    let full_screen = !args.plain && args.format.is_none() && terminals.stdout && terminals.stdin && terminals.moves;
    let tail = args.lines.tail.unwrap_or(if full_screen { TAIL.0 } else { TAIL.1 });
    let lines = LineArgs { tail: Some(tail), ..args.lines.clone() };
    let format = if args.format.is_some() { LineFormat::Json } else { LineFormat::Text };
    let mut style = style(session, &lines, format);
    (style.changes, style.prefix, style.namespaces) = (true, true, scope.namespace.is_none());
    let observer = Observer::begin(&session.cluster, scope, Some((choice(&lines), start(&lines)))).await?;
    let observer = observer.with_copies(&session.cluster);
    let goal = Goal { until: args.until, deadline: args.timeout.map(|limit| (Instant::now() + limit, limit)) };
    if full_screen {
        return super::watch_screen::run(session, observer, style, &goal).await;
    }
    plain(session, observer, &style, &goal).await
}

/// What ends a watch.
pub(super) struct Goal {
    until: Option<Until>,
    deadline: Option<(Instant, Duration)>,
}

impl Goal {
    /// Whether it is reached.
    ///
    /// # Errors
    /// It cannot be reached any more.
    pub(super) fn check(&self, observer: &Observer) -> Result<bool> {
        let Some(until) = &self.until else { return Ok(false) };
        match until.reached(observer.facts()) {
            Reached::Yes => Ok(true),
            Reached::NotYet => Ok(false),
            Reached::Never(why) => Err(Failure::failed(format!("{until} cannot be reached any more")).fact(why)),
        }
    }

    /// Waits until the time is over; for ever without a limit.
    ///
    /// # Errors
    /// Always: the time is over.
    pub(super) async fn timeout(&self) -> Failure {
        let (Some((deadline, limit)), Some(until)) = (self.deadline, &self.until) else { return std::future::pending().await };
        tokio::time::sleep_until(deadline).await;
        Failure::failed(format!("not {until} after {} s", limit.as_secs()))
    }
}

async fn plain(session: &Session, mut observer: Observer, style: &crate::ui::TimelineStyle, goal: &Goal) -> Result<Exit> {
    let mut out = Vec::new();
    let mut complete = false;
    while !session.ui.is_unread() {
        let news = tokio::select! {
            news = session.stop.interruptible(observer.next()) => news,
            late = goal.timeout() => return Err(late.fact(Verdict::of(observer.facts()).text)),
        };
        let Ok(news) = news else { break };
        out.clear();
        for one in &news {
            if matches!(one, News::Complete) {
                complete = true;
                tell_denied(session, &observer);
            }
            style.render(one, &mut out);
        }
        session.ui.print_bytes(&out)?;
        if complete && goal.check(&observer)? {
            break;
        }
    }
    Ok(Exit::Done)
}
