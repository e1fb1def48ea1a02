//! The databases of a pod: reached or why not, and what their frameworks' books say.

use serde::Serialize;

use super::{blocked, volumes};
use crate::cli::doctor::LookArgs;
use crate::cluster::kind::TargetRef;
use crate::command::books;
use crate::command::migrations::Files;
use crate::command::operation;
use crate::command::reach::Reach;
use crate::command::session::Session;
use crate::database::find::Found;
use crate::database::{Database, Unreached};
use crate::failure::{Failure, Result};
use crate::framework::{Finding, Level, State};

/// A database that was looked at.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::command) struct Looked {
    /// As a URL without its password.
    pub(in crate::command) location: String,
    /// Where it was found.
    pub(in crate::command) from: String,
    /// It answered.
    pub(in crate::command) reached: bool,
    /// What its frameworks' books say.
    pub(in crate::command) states: Vec<State>,
    /// Where files of migrations were found in the image, or why they could not be read.
    pub(in crate::command) files: Vec<String>,
}

/// Looks at every database of a pod, and at its volumes; what stands in the way becomes a finding. `told` is what has been said of
/// the pod already.
///
/// # Errors
/// The user asked to stop, or named migrations that can't be read.
pub(in crate::command) async fn look(
    session: &Session,
    asked: &TargetRef,
    look: &LookArgs,
    told: &str,
    findings: &mut Vec<Finding>,
) -> Result<Vec<Looked>> {
    let files = Files::of(look.migrations.as_deref())?;
    session.ui.say(&format!("looking for the database of {asked}"));
    let reach = match Reach::of(session, asked, look, &operation::new_id("look")).await {
        Ok(reach) => reach,
        Err(failure) if session.stop.requested() => return Err(failure),
        Err(failure) => {
            findings.push(unseen(&failure));
            return Ok(Vec::new());
        }
    };
    let looked = session.stop.interruptible(async {
        findings.extend(volumes::findings(&reach, told).await);
        all(session, &reach, look, &files, findings).await
    });
    let looked = looked.await;
    reach.leave(&session.cluster).await?;
    looked
}

async fn all(session: &Session, reach: &Reach, look: &LookArgs, files: &Files, findings: &mut Vec<Finding>) -> Vec<Looked> {
    let found = match reach.find(&session.cluster, look.database.clone().named().as_ref()).await {
        Ok(found) => found,
        Err(failure) => {
            findings.push(unseen(&failure));
            return Vec::new();
        }
    };
    if found.is_empty() {
        let nothing = Finding::new(Level::Note, format!("no database of pod/{} was found", reach.target.pod_name()))
            .evidence("looked at the variables of its containers, their Secrets and ConfigMaps, and its volumes")
            .next("kubectl dbmig doctor TARGET --database URL");
        findings.push(nothing);
    }
    let mut looked = Vec::new();
    for one in found {
        looked.push(of_one(session, reach, one, files, findings).await);
    }
    looked
}

async fn of_one(session: &Session, reach: &Reach, found: Found, files: &Files, findings: &mut Vec<Finding>) -> Looked {
    let (location, from) = (reach.shown(&found), found.from.clone());
    let (cluster, stop) = (&session.cluster, &session.stop);
    let asked = match reach.connect(cluster, stop, &found).await {
        Ok(database) => asked(session, reach, &*database, files).await,
        Err(Unreached { trouble, failure }) => Err(match trouble.in_words() {
            "" => failure,
            words => Failure { message: format!("{}: {words}", failure.message), ..failure },
        }),
    };
    match asked {
        Ok((states, blocked)) => {
            findings.extend(states.iter().flat_map(State::findings).chain(blocked));
            Looked { location, from, reached: true, states, files: files.notes().to_vec() }
        }
        Err(failure) => {
            findings.push(hindrance(Level::Broken, &failure));
            Looked { location, from, reached: false, states: Vec::new(), files: Vec::new() }
        }
    }
}

/// What its books say, and who waits for whom.
async fn asked(session: &Session, reach: &Reach, database: &dyn Database, files: &Files) -> Result<(Vec<State>, Vec<Finding>)> {
    let (cluster, namespace) = (&session.cluster, &reach.target.namespace);
    let books = books::read(cluster, &session.stop, reach, database, files).await?;
    let blocked = blocked::findings(cluster, namespace, database).await?;
    Ok((books.into_iter().map(|book| book.state).collect(), blocked))
}

/// What keeps us from looking is no illness of the database.
fn unseen(failure: &Failure) -> Finding {
    let mut finding = hindrance(Level::Attention, failure);
    finding.what = format!("the database was not looked at: {}", finding.what);
    finding
}

fn hindrance(level: Level, failure: &Failure) -> Finding {
    let finding = Finding::new(level, failure.message.clone());
    let finding = match failure.facts.is_empty() {
        true => finding,
        false => finding.evidence(failure.facts.join("; ")),
    };
    failure.next.iter().fold(finding, Finding::next)
}
