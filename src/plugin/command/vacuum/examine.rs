//! From facts to decisions: what goes, where the new file fits, what is repaired. Asks the database, changes nothing.

use dbmig_wire::{Facts, Inspect, KeptRows, Measure, Rule};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::profile::{self, Profile};
use super::space::{self, Decision, KeepOld, Place, Room, Sizes};
use super::spec::{Spec, Wishes};
use crate::cluster::agent::Agent;
use crate::cluster::claim::Growth;
use crate::database::sqlite::SqliteFile;
use crate::failure::{Failure, Result};
use crate::framework::golang_migrate::verdict::{self, Recognised};
use crate::ui::human::bytes as size;

/// Everything that was decided about one database, and the figures behind it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Examined {
    /// Length of the old file in bytes.
    pub bytes: u64,
    /// Inode of the old file.
    pub inode: u64,
    /// Owner, group and mode of the old file.
    pub like: (u32, u32, u32),
    /// What the new one will take, in bytes, an estimate on the safe side.
    pub expected_bytes: u64,
    /// Free on the volume, in bytes.
    pub free_bytes: u64,
    /// Size of the volume in bytes.
    pub volume_bytes: u64,
    /// Rows per table.
    pub tables: Vec<KeptRows>,
    /// Rules in force.
    pub rules: Vec<Rule>,
    /// The profile they come from, if one was recognised.
    pub profile: Option<Profile>,
    /// The migration framework and its state.
    pub framework: Recognised,
    /// Where the new file is built.
    pub room: Room,
    /// Where the old file is kept.
    pub keep_old: KeepOld,
}

/// Looks at a database and decides. `quiescent`: writers are stopped and the file is settled.
///
/// # Errors
/// `Refused` with what is in the way. With a hot journal in the way of a look, `Ok(None)`: decided after it is settled.
pub(super) async fn examine(agent: &Agent, spec: &Spec, quiescent: bool) -> Result<Option<(Facts, Examined)>> {
    let (path, shown, wishes) = (spec.database(), &spec.shown, &spec.wishes);
    let call = Inspect { database: path.clone(), full_check: wishes.full_check && quiescent, quiescent };
    let facts = agent.ask(call, None).await.map_err(|error| refusal(error.into_failure(&format!("read {shown}"))))?;
    refuse_truncated(&facts, shown)?;
    let Some(content) = &facts.content else {
        if quiescent {
            let why = facts.unreadable.clone().unwrap_or_else(|| "unknown reason".to_owned());
            return Err(refuse(format!("{shown} can't be read: {why}")));
        }
        return Ok(None);
    };
    if !content.damage.is_empty() {
        return Err(refuse(format!("{shown} is damaged"))
            .facts(content.damage.clone())
            .state(if quiescent { "its journal was settled by SQLite; nothing else was done to it" } else { "nothing was changed" })
            .next("copy the file and its -journal/-wal away first, then recover what is readable: sqlite3 COPY .recover | sqlite3 NEW"));
    }
    if !content.obstacles.is_empty() {
        return Err(refuse(format!("{shown} uses what SQLite itself does not have, so it can't be rebuilt"))
            .facts(content.obstacles.clone()));
    }
    let database = SqliteFile { agent: agent.clone(), path: path.clone() };
    let profile = match wishes.profile.as_deref() {
        Some("none") => None,
        wanted => chosen(profile::recognise(&database, &content.schema, Timestamp::now().as_second()).await?, wanted)?,
    };
    let rules = rules(wishes, profile.as_ref());
    let call = Measure { database: path.clone(), rules: rules.clone(), quiescent };
    let measured =
        agent.ask(call, None).await.map_err(|error| refusal(error.into_failure(&format!("count the rows of {shown}"))))?;
    refuse_emptying(&rules, &measured.tables)?;
    let framework = verdict::recognise(&database, &content.schema).await?;
    let sizes = Sizes {
        file: facts.file.bytes,
        expected: measured.expected_bytes,
        free: facts.volume.free_bytes,
        side_files: if quiescent { 0 } else { facts.side_files.iter().map(|side| side.bytes).sum() },
        punchable: if facts.can_punch { content.free_leaf_bytes.saturating_sub(content.hole_bytes) } else { 0 },
    };
    let (room, keep_old) = settle_space(&facts, sizes, spec)?;
    let examined = Examined {
        bytes: facts.file.bytes,
        inode: facts.file.inode,
        like: (facts.file.uid, facts.file.gid, facts.file.mode),
        expected_bytes: measured.expected_bytes,
        free_bytes: facts.volume.free_bytes,
        volume_bytes: facts.volume.total_bytes,
        tables: measured.tables,
        rules,
        profile,
        framework,
        room,
        keep_old,
    };
    Ok(Some((facts, examined)))
}

fn refuse(message: String) -> Failure {
    Failure::refused(message).state("nothing was changed").take_back()
}

/// A rule of the user's own that keeps no row at all is rather a slip than a wish.
fn refuse_emptying(rules: &[Rule], tables: &[KeptRows]) -> Result<()> {
    let is_slip = |table: &&KeptRows| {
        let named = |rule: &Rule| matches!(rule, Rule::Where { table: name, allow_empty: false, .. } if name.eq_ignore_ascii_case(&table.name));
        table.rows > 0 && table.kept == 0 && rules.iter().any(named)
    };
    let Some(table) = tables.iter().find(is_slip) else { return Ok(()) };
    Err(refuse(format!("the rule for table {} keeps none of its {} rows", table.name, table.rows))
        .next("--allow-empty, if that is meant"))
}

/// With a WAL or a journal still to be settled, the first page of the file may say something that is not true yet.
fn refuse_truncated(facts: &Facts, shown: &str) -> Result<()> {
    let promised = facts.header.page_count * u64::from(facts.header.page_size);
    if facts.file.bytes >= promised || facts.side_files.iter().any(|side| side.hot) {
        return Ok(());
    }
    Err(refuse(format!("{shown} is damaged: it has {} bytes where its first page promises {promised}", facts.file.bytes))
        .next("the file was cut off: restore it from a backup, or recover what is readable: sqlite3 COPY .recover | sqlite3 NEW"))
}

fn refusal(failure: Failure) -> Failure {
    if failure.state.is_some() { failure } else { failure.state("nothing was changed") }
}

fn chosen(recognised: Option<Profile>, wanted: Option<&str>) -> Result<Option<Profile>> {
    match (recognised, wanted) {
        (Some(profile), Some(name)) if profile.name != name => {
            Err(refuse(format!("the tables are those of profile {}, not {name}", profile.name)))
        }
        (None, Some(name)) => Err(refuse(format!("the tables are not those of profile {name}"))
            .next("leave --profile out to shrink without dropping rows")),
        (recognised, _) => Ok(recognised),
    }
}

/// A rule of the user's own replaces the profile's for the same table.
fn rules(wishes: &Wishes, profile: Option<&Profile>) -> Vec<Rule> {
    let mut rules: Vec<Rule> = wishes
        .keep
        .iter()
        .map(|keep| Rule::Where { table: keep.table.clone(), condition: keep.condition.clone(), allow_empty: wishes.allow_empty })
        .collect();
    let own: Vec<String> = rules.iter().map(|rule| rule.table().to_lowercase()).collect();
    let built_in = profile.map(|profile| profile.rules.clone()).unwrap_or_default();
    rules.extend(built_in.into_iter().filter(|rule| !own.contains(&rule.table().to_lowercase())));
    rules
}

fn settle_space(facts: &Facts, sizes: Sizes, spec: &Spec) -> Result<(Room, KeepOld)> {
    if facts.volume.read_only {
        return Err(refuse("the database's volume is mounted read-only".to_owned()));
    }
    match space::decide(sizes, spec.wishes.scratch.as_ref(), spec.wishes.keep_old.as_ref()) {
        Decision::Go { room, keep_old } => Ok((room, keep_old)),
        Decision::NoRoom { missing } => {
            Err(refuse(format!("the new file does not fit on the volume: {} are missing", size(missing)))
                .fact(format!(
                    "needed {}, free {}, and {} in free-list pages could be given back",
                    size(sizes.expected),
                    size(sizes.free),
                    size(sizes.punchable)
                ))
                .next("build it elsewhere first: --scratch pvc (a PersistentVolumeClaim, made and removed by us)")
                .next("or --scratch node (the node's own disk) or --scratch local (this machine's disk)")
                .next(spec.growth.as_ref().map_or_else(|| "or make the volume larger".to_owned(), Growth::advice)))
        }
        Decision::WhereIsTheOldKept { left, wanted } => Err(refuse(
            "the old file can't stay beside the new one until the application is well".to_owned(),
        )
        .fact(format!(
            "{} would stay free, and the application's own migration may need {} (twice the new file)",
            size(left),
            size(wanted)
        ))
        .next(format!(
            "--keep-old pvc     keep it on a PersistentVolumeClaim of our own ({})",
            Place::Claim { class: None }.survives()
        ))
        .next(format!("--keep-old local   keep it on this machine ({})", Place::Local.survives()))
        .next("--keep-old none    don't keep it: the new file is proven before the old one goes, but undo is not possible then")),
    }
}
