//! `watch` on a terminal: feeds the full-screen view with news, keys and the time.

use std::time::Duration;

use console::Color as Named;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use ratatui::style::Color;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::session::Session;
use super::watch::Goal;
use crate::exit::Exit;
use crate::failure::Result;
use crate::observe::{Heard, News, Observer, Verdict};
use crate::ui::human::{harmless, log_text};
use crate::ui::{FullScreen, Panes, Picture, TimelineStyle, colour_of};

/// At most so often a frame is drawn.
const FRAME: Duration = Duration::from_millis(50);
/// Ages are drawn anew so often, even if nothing happens.
const AGES: Duration = Duration::from_secs(1);

/// Shows the view until the user leaves it, or the goal is reached.
///
/// # Errors
/// The terminal cannot show it; the goal was not reached.
pub(super) async fn run(session: &Session, mut observer: Observer, style: TimelineStyle, goal: &Goal) -> Result<Exit> {
    let (mut screen, mut keys) = FullScreen::enter()?;
    let mut panes = Panes::default();
    let mut frames = interval(FRAME);
    frames.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut dirty, mut stale, mut drawn) = (true, true, Instant::now());
    let mut complete = false;
    loop {
        tokio::select! {
            biased;
            () = session.stop.wait() => break,
            late = goal.timeout() => return Err(late.fact(Verdict::of(observer.facts()).text)),
            Some(key) = keys.recv() => {
                dirty = true;
                if key.is_some_and(|key| panes.key(key)) {
                    break;
                }
            }
            _ = frames.tick(), if dirty || drawn.elapsed() >= AGES => {
                if stale || drawn.elapsed() >= AGES {
                    panes.picture(Picture::of(observer.facts(), Timestamp::now()));
                    stale = false;
                }
                screen.draw(&mut panes)?;
                (dirty, drawn) = (false, Instant::now());
            }
            news = observer.next() => {
                dirty = true;
                for one in &news {
                    stale |= !matches!(one, News::Heard(_));
                    complete |= matches!(one, News::Complete);
                    show(&mut panes, &style, one);
                }
                if complete && goal.check(&observer)? {
                    break;
                }
            }
            () = tokio::time::sleep(AGES) => dirty = true,
        }
    }
    drop(screen);
    // What the last look was stays on the terminal.
    session.ui.say(&harmless(&Verdict::of(observer.facts()).text));
    Ok(Exit::Done)
}

fn show(panes: &mut Panes, style: &TimelineStyle, news: &News) {
    if let News::Heard(Heard::Lines(source, lines)) = news {
        let who = format!("{} › {}", source.pod(), source.container());
        let colour = if style.colour { colour(colour_of(source)) } else { Color::Reset };
        for line in lines {
            let text = log_text(&line.text);
            if style.takes(&text) {
                panes.line(who.clone(), colour, clock(line.time()), text.into_owned());
            }
        }
        return;
    }
    let (time, bad) = match news {
        // The pane of states has those that only tell that all goes well.
        News::Happened(incident) if !incident.warning => return,
        News::Changed(at, change) | News::Copied(at, _, Some(change)) => (Some(*at), change.bad),
        News::Happened(incident) => (incident.last, incident.explains),
        News::Note(at, _) => (Some(*at), true),
        News::Heard(Heard::Ended(_, instance)) => (None, instance.ending.as_ref().is_some_and(|ending| ending.exit_code != 0)),
        _ => (None, false),
    };
    let mut out = Vec::new();
    TimelineStyle { colour: false, ..style.clone() }.render(news, &mut out);
    let text = String::from_utf8_lossy(&out);
    let colour = if bad { Color::Red } else { Color::Blue };
    for line in text.lines() {
        panes.change(colour, clock(time.or_else(|| Some(Timestamp::now()))), line.to_owned());
    }
}

fn clock(time: Option<Timestamp>) -> String {
    time.map(|time| time.to_zoned(TimeZone::system()).strftime("%H:%M:%S").to_string()).unwrap_or_default()
}

fn colour(named: Named) -> Color {
    match named {
        Named::Green => Color::Green,
        Named::Magenta => Color::Magenta,
        Named::Yellow => Color::Yellow,
        Named::Blue => Color::Blue,
        Named::Red => Color::Red,
        _ => Color::Cyan,
    }
}
