//! Alembic and Flask-Migrate: a row for the head of each branch, and nothing else. So what is applied is what the revisions'
//! files say comes before the rows.

mod graph;

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;

pub(super) use self::graph::Graph;
use super::available::{file_name, named};
use super::finding::{Finding, Level, REPAIR};
use super::repair::Edit;
use super::table::{Signature, read};
use super::{Applied, Available, Books, Evidence, Framework, Remedy, Repair, Script, State, Table};
use crate::database::Database;
use crate::failure::Result;

pub(super) struct Alembic;

#[async_trait]
impl Books for Alembic {
    fn framework(&self) -> Framework {
        Framework::Alembic
    }

    fn signature(&self) -> Signature {
        Signature::exactly(&["version_num"])
    }

    async fn read(&self, database: &dyn Database, state: &mut State, _found: &[Table]) -> Result<()> {
        let rows = read(database, &state.table, &["version_num"], "ORDER BY 1 LIMIT 1000").await?;
        state.heads = rows.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect();
        state.count = state.heads.len() as u64;
        state.applied = state.heads.iter().map(|id| Applied { id: id.clone(), ..Applied::default() }).collect();
        if state.heads.len() > 1 {
            let what = format!(
                "{} has {} rows ({}): right for branches that are independent, wrong if one comes before another",
                state.table,
                state.heads.len(),
                state.heads.join(", ")
            );
            state.notes.push(Finding::new(Level::Attention, what).next(REPAIR));
        }
        Ok(())
    }

    fn repairs(&self, state: &State, evidence: &Evidence) -> Vec<Repair> {
        let twice = twice(state);
        let Some(graph) = &evidence.graph else {
            return twice.into_iter().chain(unread_graph(state)).collect();
        };
        let unknown = unknown(state, graph).into_iter().map(|id| {
            Repair::elsewhere(
                format!("revision {id} is in {} and in none of the files", state.table),
                "run the image that has it, and go down or on from there",
                "the database is newer than this image, or the files were squashed: writing another revision over it would hide what it did",
                ["kubectl dbmig repair TARGET --stamp REVISION   # only if you know which revision the schema really has"],
            )
        });
        twice.into_iter().chain(overlap(state, graph)).chain(unknown).chain(heads(state, graph)).collect()
    }

    fn stamp(&self, state: &State, id: &str, evidence: &Evidence) -> std::result::Result<Remedy, String> {
        let graph = evidence.graph.as_ref();
        if graph.is_some_and(|graph| graph.get(id).is_none()) {
            return Err(format!("there is no file of a revision {id}"));
        }
        let related = |other: &str| match graph {
            Some(graph) if graph.get(other).is_some() => {
                other == id || graph.ancestors(id).contains(other) || graph.ancestors(other).contains(id)
            }
            _ => true,
        };
        let mut edit = Edit::of(&state.table);
        for (head, rows) in counted(state).into_iter().filter(|(head, _)| related(head)) {
            edit = edit.delete(&is(state, head), rows);
        }
        Ok(insert(state, edit, id).done())
    }

    fn suffixes(&self) -> &'static [&'static str] {
        &[".py"]
    }

    /// By the usual names, `REVISION_title.py`; what counts is the graph.
    fn available(&self, scripts: &[Script]) -> Vec<Available> {
        named(scripts, |name| name.strip_suffix(".py")?.split_once('_').map(|(id, _)| id.to_owned()))
    }
}

/// Takes in the graph: what is pending, and what does not fit.
pub(super) fn compare(state: &mut State, graph: &Graph) {
    let applied: BTreeSet<&str> =
        state.heads.iter().flat_map(|head| graph.ancestors(head).into_iter().chain([head.as_str()])).collect();
    let of = |(id, revision): (&str, &graph::Revision)| Available {
        id: id.to_owned(),
        name: file_name(&revision.path).to_owned(),
        path: revision.path.clone(),
        ..Available::default()
    };
    let pending = graph.in_order().into_iter().filter(|(id, _)| !applied.contains(id)).map(of).collect();
    let overlaps = overlaps(state, graph);
    let mut notes: Vec<Finding> = Vec::new();
    for (ancestor, head) in &overlaps {
        let what =
            format!("{}: {ancestor} comes before {head}, and both are written down as heads: no upgrade runs", state.table);
        notes.push(Finding::new(Level::Broken, what).next(REPAIR));
    }
    for id in unknown(state, graph) {
        let what = format!("{}: revision {id} is in none of the files: no upgrade runs", state.table);
        notes.push(Finding::new(Level::Broken, what).next(REPAIR));
    }
    if graph.heads().len() > 1 && state.heads.len() <= 1 {
        let what = format!(
            "the files have {} heads ({}): `upgrade head` does not know which",
            graph.heads().len(),
            graph.heads().join(", ")
        );
        notes.push(
            Finding::new(Level::Attention, what).next("alembic merge heads, or upgrade heads if the branches are independent"),
        );
    }
    // With the graph the suspicion is a certainty, or none.
    state.notes.retain(|note| !note.what.contains("right for branches that are independent"));
    state.notes.extend(notes);
    state.pending = Some(pending);
}

/// Rows that come before another row, with that one.
fn overlaps<'a>(state: &'a State, graph: &Graph) -> Vec<(&'a str, &'a str)> {
    let heads: BTreeSet<&str> = state.heads.iter().map(String::as_str).collect();
    let of = |ancestor: &'a str| {
        let head = heads.iter().find(|head| **head != ancestor && graph.ancestors(head).contains(ancestor))?;
        Some((ancestor, *head))
    };
    heads.iter().filter_map(|head| of(head)).collect()
}

fn unknown<'a>(state: &'a State, graph: &Graph) -> Vec<&'a str> {
    state.heads.iter().map(String::as_str).filter(|id| graph.get(id).is_none()).collect()
}

/// One repair for all rows that come before others.
fn overlap(state: &State, graph: &Graph) -> Option<Repair> {
    let overlaps = overlaps(state, graph);
    let counts = counted(state);
    let (first, head) = overlaps.first()?;
    let ancestors: Vec<&str> = overlaps.iter().map(|(ancestor, _)| *ancestor).collect();
    let left: Vec<&str> = counts.keys().copied().filter(|id| !ancestors.contains(id)).collect();
    let edit = ancestors.iter().fold(Edit::of(&state.table), |edit, id| edit.delete(&is(state, id), counts[id]));
    let because = format!(
        "by the files' down_revision {first} comes before {head}, which is there too, so the row says nothing new; \
         right unless {head} was only stamped and never ran"
    );
    let problem = format!("revisions overlap: {}", state.heads.join(", "));
    let what = format!("delete the row {}; {} stays", ancestors.join(" and the row "), left.join(", "));
    Some(Repair::proven(problem, what, because, edit.done()).to(left.join(",")))
}

/// The same revision in several rows, in a table that lost its primary key.
fn twice(state: &State) -> Vec<Repair> {
    let of = |(id, rows): (&str, u64)| {
        let edit = insert(state, Edit::of(&state.table).delete(&is(state, id), rows), id);
        let because = "the table lost its primary key, and Alembic expects each row once";
        Repair::proven(format!("revision {id} is in {rows} rows"), format!("keep one row {id}"), because, edit.done())
    };
    counted(state).into_iter().filter(|(_, rows)| *rows > 1).map(of).collect()
}

/// Several rows, and nobody knows how the revisions follow each other.
fn unread_graph(state: &State) -> Option<Repair> {
    (counted(state).len() > 1).then(|| {
        Repair::elsewhere(
            format!("{} has several rows: {}", state.table, state.heads.join(", ")),
            "show which revision follows which",
            "only the files in versions/ tell whether one of them comes before another",
            ["kubectl dbmig repair TARGET --migrations PATH"],
        )
    })
}

/// Several heads in the files are a matter of the code, not of the database.
fn heads(state: &State, graph: &Graph) -> Option<Repair> {
    let heads = graph.heads();
    (heads.len() > 1 && state.heads.len() <= 1).then(|| {
        Repair::elsewhere(
            format!("the files have several heads: {}", heads.join(", ")),
            "join them in the code, or upgrade each",
            "the database is right as it is: two people have added a revision after the same one",
            [
                format!("alembic merge {}", heads.join(" ")),
                "alembic upgrade heads   # if the branches are independent".to_owned(),
            ],
        )
    })
}

fn counted(state: &State) -> BTreeMap<&str, u64> {
    let mut counts = BTreeMap::new();
    state.heads.iter().for_each(|head| *counts.entry(head.as_str()).or_default() += 1);
    counts
}

fn is(state: &State, id: &str) -> String {
    format!("{} = {}", state.table.named("version_num"), state.table.dialect.text(id))
}

fn insert<'a>(state: &'a State, edit: Edit<'a>, id: &str) -> Edit<'a> {
    edit.insert(&[("version_num", state.table.dialect.text(id))], &is(state, id))
}
