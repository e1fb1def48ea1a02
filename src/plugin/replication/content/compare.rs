//! Compares tables that rest.

use futures::try_join;

use super::digest::{Rows, count, sum};
use super::narrow::{By, narrow};
use super::{Baseline, Difference, Table, Verify, What, since, tables};
use crate::database::postgres::Postgres;
use crate::failure::Result;

/// What a comparison found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Proof {
    /// Tables that were compared.
    pub tables: usize,
    /// Rows of the source that were counted.
    pub rows: u64,
    /// Those of them that were found the same before, and were not written since.
    pub before: u64,
    /// Tables that differ.
    pub differences: Vec<Difference>,
}

/// Compares tables on both sides. Of what a baseline found to be the same only what was written since is read. `told` is called before
/// each table with its place and name.
///
/// # Errors
/// A question fails: then nothing is known.
pub async fn compare(
    source: &Postgres,
    target: &Postgres,
    verify: Verify,
    baseline: Option<&Baseline>,
    mut told: impl FnMut(usize, usize, &str),
) -> Result<Proof> {
    let mut proof = Proof::default();
    if verify == Verify::None {
        return Ok(proof);
    }
    let (here, there) = try_join!(tables(source), tables(target))?;
    let known = match baseline {
        Some(baseline) if verify == Verify::Full => baseline.valid(source, target).await?,
        _ => None,
    };
    // What is not logged is not carried over: it is what it was when it was copied.
    let logged: Vec<&Table> = here.iter().filter(|table| table.logged).collect();
    for (at, table) in logged.iter().enumerate() {
        told(at + 1, logged.len(), &table.name);
        proof.tables += 1;
        let Some(other) = there.iter().find(|other| other.name == table.name) else {
            let rows = count(source, table).await?.rows;
            proof.rows += rows;
            let what = What::Table(rows, None);
            proof.differences.push(Difference { table: table.name.clone(), what, range: None });
            continue;
        };
        let pair = Sides { source, target, here: table, there: other };
        let found = match known.and_then(|known| known.table(table, other)) {
            Some(known) => since::compare(&pair, known).await?,
            None => None,
        };
        let found = match found {
            Some(found) => found,
            // Changes of rows without a key are not carried over, and the number of rows does not show that.
            None => pair.compare(if table.identified { verify } else { Verify::Full }).await?,
        };
        proof.rows += found.rows;
        proof.before += found.before;
        proof.differences.extend(found.difference);
    }
    Ok(proof)
}

/// A table on both servers. Its columns may have another order, or another type: then it is not the same.
#[derive(Clone, Copy)]
pub(super) struct Sides<'a> {
    pub(super) source: &'a Postgres,
    pub(super) target: &'a Postgres,
    pub(super) here: &'a Table,
    pub(super) there: &'a Table,
}

/// What came of one table.
pub(super) struct Found {
    pub(super) rows: u64,
    pub(super) before: u64,
    pub(super) difference: Option<Difference>,
}

impl Sides<'_> {
    /// They differ in this, in these keys.
    pub(super) fn differ(&self, what: What, range: Option<(i64, i64)>) -> Difference {
        Difference { table: self.here.name.clone(), what, range }
    }

    async fn compare(&self, verify: Verify) -> Result<Found> {
        let &Self { source, target, here, there } = self;
        let rows = match verify {
            Verify::Full => Some(Rows::All),
            Verify::Sample if !here.key.is_empty() => Some(Rows::Newest),
            Verify::None | Verify::Counts | Verify::Sample => None,
        };
        let (ours, theirs) = match rows {
            Some(rows) => try_join!(sum(source, here, rows), sum(target, there, rows))?,
            None => try_join!(count(source, here), count(target, there))?,
        };
        let mut found = Found { rows: ours.rows, before: 0, difference: None };
        if ours != theirs {
            let range = narrow(source, target, here, By::Row).await?;
            found.difference = Some(self.differ(What::Table(ours.rows, Some(theirs.rows)), range));
        }
        Ok(found)
    }
}
