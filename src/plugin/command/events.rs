//! `events`: what the cluster says happened, with what explains a failure first.

use jiff::Timestamp;
use serde::Serialize;

use super::Context;
use super::scope;
use super::session::Session;
use super::status::tell_denied;
use crate::cli::events::Args;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::observe::{Incident, News, Observer, Subject};
use crate::ui::human::age;
use crate::ui::{Report, Table};

/// Lists the events, then follows them if asked to.
///
/// # Errors
/// Nothing of that name, or the user may not see events.
pub async fn run(ctx: &Context, args: Args) -> Result<Exit> {
    let session = &Session::begin(ctx).await?;
    let scope = scope::find(session, &args.scope).await?;
    let mut observer = Observer::begin(&session.cluster, scope, None).await?;
    session.stop.interruptible(observer.complete()).await?;
    if observer.denied().contains(&Subject::Events) {
        return Err(Failure::refused("you may not list and watch events in this namespace")
            .next("kubectl auth can-i list events")
            .next("the rest without them: kubectl dbmig status"));
    }
    tell_denied(session, &observer);
    let mut items: Vec<Incident> = observer.facts().incidents().into_iter().cloned().collect();
    // Stable: within each half the order of time stays.
    items.sort_by_key(|incident| !incident.explains);
    if items.is_empty() {
        session.ui.say("No events found. The cluster keeps them for an hour, if nobody has set it otherwise.");
    }
    session.ui.print(&EventList { items })?;
    if args.watch { follow(session, &mut observer).await } else { Ok(Exit::Done) }
}

async fn follow(session: &Session, observer: &mut Observer) -> Result<Exit> {
    while let Ok(news) = session.stop.interruptible(observer.next()).await {
        for one in news {
            if let News::Happened(incident) = one {
                session.ui.print(&EventList { items: vec![incident] })?;
            }
        }
    }
    Ok(Exit::Done)
}

/// Events in the order in which they are shown.
#[derive(Debug, Serialize)]
struct EventList {
    items: Vec<Incident>,
}

impl Report for EventList {
    fn kind(&self) -> &'static str {
        "EventList"
    }

    fn table(&self, wide: bool) -> Table {
        let now = Timestamp::now();
        let head = ["LAST SEEN", "TYPE", "REASON", "OBJECT", "COUNT", "MESSAGE"];
        Table::new(head).rows(self.items.iter().map(|incident| {
            let short: String = incident.message.chars().take(if wide { usize::MAX } else { 160 }).collect();
            vec![
                age(incident.last, now),
                if incident.warning { "Warning" } else { "Normal" }.to_owned(),
                incident.reason.clone(),
                incident.object.clone(),
                incident.count.to_string(),
                short,
            ]
        }))
    }

    fn names(&self) -> Vec<String> {
        self.items.iter().map(|incident| incident.object.clone()).collect()
    }
}
