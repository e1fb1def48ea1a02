//! `logs`: the logs of everything a target stands for.

use jiff::Timestamp;

use super::Context;
use super::kept_logs;
use super::scope;
use super::session::Session;
use super::status::tell_denied;
use crate::cli::logs::{Args, LineArgs, LogFormat};
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::observe::{Choice, Heard, News, Observer, Start, read};
use crate::plan::Record;
use crate::ui::{LineFormat, TimelineStyle};

/// What kubectl shows of each container when a selector finds several and nobody says how much.
const TAIL_OF_SELECTED: i64 = 10;

/// Prints what is there, and with `-f` what comes.
///
/// # Errors
/// Nothing of that name; a server that does not give the log.
pub async fn run(ctx: &Context, args: Args) -> Result<Exit> {
    let session = &Session::begin(ctx).await?;
    let tail = args.lines.tail.or(args.scope.selector.as_ref().map(|_| TAIL_OF_SELECTED));
    let start = start(&LineArgs { tail, ..args.lines.clone() });
    let format = match args.format {
        LogFormat::Text => LineFormat::Text,
        LogFormat::Raw => LineFormat::Raw,
        LogFormat::Json => LineFormat::Json,
        LogFormat::Template => LineFormat::Template(args.template.clone().unwrap_or_default()),
    };
    let mut style = style(session, &args.lines, format);
    let choice = choice(&args.lines);
    let kept = match scope::operation(session, &args.scope).await {
        Some(record) => show_kept(session, &record, &style, &choice, &start).await?,
        None => false,
    };
    let scope = match scope::find(session, &args.scope).await {
        Err(_) if kept => return Ok(Exit::Done), // Its target is gone too.
        scope => scope?,
    };
    style.namespaces = scope.namespace.is_none();
    if args.follow {
        let observer = Observer::begin(&session.cluster, scope, Some((choice, start))).await?;
        return follow(session, observer, style).await;
    }
    let mut observer = Observer::begin(&session.cluster, scope, None).await?;
    session.stop.interruptible(observer.complete()).await?;
    // Those that are on their way out have been told of.
    if kept && observer.facts().pods().all(|pod| pod.metadata.deletion_timestamp.is_some()) {
        return Ok(Exit::Done);
    }
    once(session, &observer, style, &choice, (start, args.previous)).await
}

/// Prints what an operation has kept of pods that are gone. Whether there was anything.
async fn show_kept(session: &Session, record: &Record, style: &TimelineStyle, choice: &Choice, start: &Start) -> Result<bool> {
    let mut logs = kept_logs::of_gone(&session.cluster, record).await?;
    logs.retain(|log| choice.takes(log.source.role(), log.source.container()));
    let style = TimelineStyle { prefix: true, ..style.clone() };
    let mut out = Vec::new();
    for mut log in logs.iter().cloned() {
        log.narrow(start);
        if log.dropped > 0 {
            session.ui.warn(&format!("{}: its first {} lines were too many to be kept", log.source, log.dropped));
        }
        style.render(&News::Heard(Heard::Lines(log.source, log.lines.into())), &mut out);
    }
    session.ui.print_bytes(&out)?;
    Ok(!logs.is_empty())
}

/// Which containers are meant.
pub(super) fn choice(typed: &LineArgs) -> Choice {
    Choice { include: typed.container.clone(), exclude: typed.exclude_container.clone(), ..Choice::all() }
}

/// Where to begin.
pub(super) fn start(typed: &LineArgs) -> Start {
    let ago = typed.since.and_then(|since| Timestamp::now().checked_sub(since).ok());
    Start { since: ago.or(typed.since_time), tail: typed.tail.filter(|tail| *tail >= 0) }
}

/// How lines look.
pub(super) fn style(session: &Session, typed: &LineArgs, format: LineFormat) -> TimelineStyle {
    let terminals = session.ui.terminals();
    TimelineStyle {
        format,
        colour: terminals.stdout_colour,
        terminal: terminals.stdout,
        prefix: typed.prefix,
        namespaces: false,
        timestamps: typed.timestamps,
        changes: false,
        include: typed.include.clone(),
        exclude: typed.exclude.clone(),
        highlight: typed.highlight.clone(),
    }
}

async fn once(
    session: &Session,
    observer: &Observer,
    mut style: TimelineStyle,
    choice: &Choice,
    from: (Start, bool),
) -> Result<Exit> {
    tell_denied(session, observer);
    let pods: Vec<_> = observer.facts().pods().cloned().collect();
    if pods.is_empty() {
        return Err(Failure::failed(format!("{} has no pods", observer.facts().scope().title))
            .next("kubectl dbmig status, with the same target")
            .next("wait for its pods: kubectl dbmig logs -f, with the same target"));
    }
    let containers = observer.facts().container_count(choice);
    if containers == 0 {
        return Err(Failure::usage("no container of that name").next("kubectl dbmig logs without -c shows them all"));
    }
    style.prefix |= containers > 1;
    let mut out = Vec::new();
    let mut printed = Ok(());
    let print = |heard: Heard| {
        out.clear();
        style.render(&News::Heard(heard), &mut out);
        if printed.is_ok() {
            printed = session.ui.print_bytes(&out);
        }
    };
    let refused = session.stop.interruptible(read(&session.cluster.client, &pods, choice, from, print)).await?;
    printed?;
    for (source, why) in &refused {
        session.ui.warn(&format!("{source}: {why}"));
    }
    // Of several containers some may not have begun; of one the person wanted to see the log.
    Ok(if refused.len() == containers { Exit::Failed } else { Exit::Done })
}

async fn follow(session: &Session, mut observer: Observer, mut style: TimelineStyle) -> Result<Exit> {
    let mut open = 0_usize;
    let mut heard_of = std::collections::BTreeSet::new();
    let mut out = Vec::new();
    let always = style.prefix;
    while !session.ui.is_unread() {
        let Ok(news) = session.stop.interruptible(observer.next()).await else { break };
        out.clear();
        for one in &news {
            match one {
                News::Heard(Heard::Opened(source, instance)) => {
                    open += 1;
                    heard_of.insert(source.clone());
                    style.prefix = always || observer.facts().container_count(&Choice::all()) > 1 || heard_of.len() > 1;
                    if instance.restarts > 0 {
                        session.ui.say(&format!("+ {source}: start {}", instance.restarts + 1));
                    }
                }
                News::Heard(Heard::Ended(source, instance)) => {
                    open = open.saturating_sub(1);
                    let how = instance.ending.as_ref().map_or_else(|| "ended".to_owned(), ToString::to_string);
                    session.ui.say(&format!("- {source}: {how}"));
                }
                News::Heard(Heard::Gap(source, text)) => session.ui.warn(&format!("{source}: {text}")),
                News::Note(_, text) => session.ui.warn(text),
                News::Complete if observer.facts().pods().next().is_none() => session.ui.say("waiting for its pods"),
                _ => {}
            }
            style.render(one, &mut out);
        }
        session.ui.print_bytes(&out)?;
        if open == 0 && observer.facts().is_over() && !heard_of.is_empty() {
            break;
        }
    }
    Ok(Exit::Done)
}
