//! Takes a baseline while writers write: whatever is in order is found to be so, at once or a few seconds later.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::try_join;
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use super::baseline::{Baseline, Known, eligible, moment, old};
use super::compare::Sides;
use super::digest::{Key, ask, count, half};
use super::narrow::range;
use super::{Difference, Table, What, tables};
use crate::database::postgres::Postgres;
use crate::failure::Result;
use crate::replication::{Canary, Lsn, applied};

/// Bytes of a table that one question reads.
const CHUNK: u64 = 4 << 20;
/// Questions for one table.
const MOST_CHUNKS: u64 = 4096;
/// Kinds of keys in one answer.
const KINDS: i64 = 64;
/// Rows of a table in one bucket, about.
const BUCKET: u64 = 256;
/// Buckets in doubt from which on a table is compared as a whole: they go into a record.
const MOST_DOUBTFUL: usize = 500;
/// Keys in one question.
pub(super) const KEYS: usize = 5000;
/// Rows in doubt from which on a table is not looked at again.
const MOST_KEYS: usize = 100_000;
/// Looks at what is in doubt, and the time between two.
const LOOKS: usize = 4;
const PAUSE: Duration = Duration::from_secs(1);
/// How long it is waited for what is on its way.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a baseline is taken.
pub struct Settling<'a> {
    /// The server that is written to.
    pub source: &'a Postgres,
    /// The server that follows.
    pub target: &'a Postgres,
    /// The name under which it follows.
    pub origin: &'a str,
    /// Rows of ours that push what was written along, and that make the baseline last through crashes; without it nothing is changed, and it must not be kept.
    pub canary: Option<Canary<'a>>,
}

/// A table while it is looked at.
struct Looked<'a> {
    sides: Sides<'a>,
    known: Known,
    /// The source's log when the marks were set.
    since: Lsn,
    /// Keys of old rows of the source that were not the same on the target, and their buckets.
    doubtful: BTreeMap<Key, i64>,
    /// Those of them that nothing on its way explains.
    wrong: BTreeSet<Key>,
}

/// A row, without its values.
#[derive(Debug, Clone, Deserialize)]
struct Row {
    key: Key,
    digest: String,
    old: bool,
    bucket: i64,
}

/// Rows of one kind: its number, how many, and both halves of their digest.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
struct Kind(i64, u64, String, String);

impl Settling<'_> {
    /// Takes it; `None` where that is not possible. Rows that are wrong on the target, whatever is still on its way, are told besides. `told` is called before each table with its
    /// place, their number, and its name.
    ///
    /// # Errors
    /// A question fails: then nothing is known.
    pub async fn take(&self, mut told: impl FnMut(usize, usize, &str)) -> Result<(Option<Baseline>, Vec<Difference>)> {
        let &Self { source, target, .. } = self;
        let moments = match try_join!(moment(source), moment(target)) {
            // Not everybody may ask a server who it is, and an old one can't be asked for digests of keys.
            Err(failure) if !failure.passing => None,
            asked => Some(asked?),
        };
        let Some(mut baseline) = moments.and_then(|(ours, theirs)| Baseline::begin(ours, theirs)) else {
            return Ok((None, Vec::new()));
        };
        let (here, there) = try_join!(tables(source), tables(target))?;
        let pairs = eligible(&here, &there);
        let (mut looked, of) = (Vec::new(), pairs.len());
        for (at, (here, there)) in pairs.into_iter().enumerate() {
            told(at + 1, of, &here.name);
            looked.extend(self.once(Sides { source, target, here, there }).await?);
        }
        let (begun, mut looks) = (Instant::now(), 1);
        while looks < LOOKS && looked.iter().any(|table| !table.doubtful.is_empty()) {
            if let Some(canary) = &self.canary {
                canary.push(source).await?;
            }
            sleep(PAUSE).await;
            // A look counts when what it looks for can have come.
            let applied = applied(target, self.origin).await?;
            let has_come = looked.iter().all(|table| applied >= Some(table.since));
            looks += usize::from(has_come || begun.elapsed() > PATIENCE);
            for table in &mut looked {
                self.again(table).await?;
            }
        }
        let wrong = looked.iter().filter_map(Looked::difference).collect();
        for Looked { sides, mut known, doubtful, .. } in looked {
            known.doubtful = doubtful.into_values().collect::<BTreeSet<_>>().into_iter().collect();
            if known.doubtful.len() <= MOST_DOUBTFUL {
                baseline.tables.insert(sides.here.name.clone(), known);
            }
        }
        if let Some(canary) = &self.canary {
            canary.seal(source, target).await?;
        }
        Ok((Some(baseline), wrong))
    }

    /// Looks at all rows of a table; `None` when there is too much in doubt.
    async fn once<'a>(&self, sides: Sides<'a>) -> Result<Option<Looked<'a>>> {
        let Sides { source, target, here, there } = sides;
        // Before anything of it is read.
        let (ours, theirs) = try_join!(moment(source), moment(target))?;
        let rows = count(source, here).await?.rows;
        let buckets = i64::try_from((rows / BUCKET).next_power_of_two()).unwrap_or(1);
        let known = Known::new(here, there, (ours.oldest, theirs.oldest), buckets);
        let mut table = Looked { sides, known, since: ours.at, doubtful: BTreeMap::new(), wrong: BTreeSet::new() };
        let edges = edges(source, here, rows).await?;
        let mut from = None;
        for to in edges.iter().map(Some).chain([None]) {
            let (ours, theirs) = (here.kinds(from, to), there.kinds(from, to));
            let (ours, theirs): (BTreeSet<Kind>, BTreeSet<Kind>) =
                try_join!(ask(source, here, &ours), ask(target, there, &theirs))?;
            let odd: BTreeSet<i64> = ours.symmetric_difference(&theirs).map(|kind| kind.0).collect();
            if !odd.is_empty() {
                self.rows(&mut table, &here.of_kinds(from, to, &odd), &there.of_kinds(from, to, &odd)).await?;
            }
            if table.doubtful.len() > MOST_KEYS {
                return Ok(None);
            }
            from = to;
        }
        // Servers that sort texts in different ways have different rows between two keys.
        table.wrong.clear();
        Ok(Some(table))
    }

    /// Looks at what is in doubt once more.
    async fn again(&self, table: &mut Looked<'_>) -> Result<()> {
        let keys: Vec<Key> = std::mem::take(&mut table.doubtful).into_keys().collect();
        table.wrong.clear();
        for keys in keys.chunks(KEYS) {
            let (here, there) = (table.sides.here.listed(keys), table.sides.there.listed(keys));
            self.rows(table, &here, &there).await?;
        }
        Ok(())
    }

    /// Compares rows one by one. What differs may be on its way; but where the source's row is older than the mark, and everything up to
    /// the mark had been applied before the target was read, it is not.
    async fn rows(&self, table: &mut Looked<'_>, here: &str, there: &str) -> Result<()> {
        let Sides { source, target, here: ours, there: theirs } = table.sides;
        let (marks, buckets) = (table.known.marks, table.known.buckets);
        let is_settled = applied(target, self.origin).await?.is_some_and(|applied| applied >= table.since);
        // In this order: what is old when the source is read has not changed since the target was.
        let theirs: Vec<Row> = ask(target, theirs, &theirs.each(there, marks.1, buckets)).await?;
        let ours: Vec<Row> = ask(source, ours, &ours.each(here, marks.0, buckets)).await?;
        let mut theirs: BTreeMap<Key, String> = theirs.into_iter().map(|row| (row.key, row.digest)).collect();
        // A row that is not on the source, or is not old there, needs no doubt: whatever the source has of it later is compared then.
        for row in ours.into_iter().filter(|row| row.old) {
            if theirs.remove(&row.key).is_some_and(|other| other == row.digest) {
                continue;
            }
            if is_settled {
                table.wrong.insert(row.key.clone());
            }
            table.doubtful.insert(row.key, row.bucket);
        }
        Ok(())
    }
}

impl Looked<'_> {
    /// What is wrong with it, whatever is still on its way.
    fn difference(&self) -> Option<Difference> {
        let wrong = &self.wrong;
        let here = self.sides.here;
        (!wrong.is_empty()).then(|| self.sides.differ(What::Rows(wrong.len()), range(here, wrong.iter())))
    }
}

/// Keys that cut a table into chunks.
async fn edges(source: &Postgres, table: &Table, rows: u64) -> Result<Vec<Key>> {
    let chunks = (table.bytes / CHUNK).clamp(1, MOST_CHUNKS);
    if chunks == 1 {
        return Ok(Vec::new());
    }
    let (columns, list) = (table.key.join(", "), table.key_list());
    let sql = format!(
        "SELECT coalesce(json_agg({list} ORDER BY \"number of dbmig\"), '[]') FROM (\
         SELECT {columns}, row_number() OVER (ORDER BY {columns}) AS \"number of dbmig\" FROM ONLY {}) AS rows \
         WHERE \"number of dbmig\" % {} = 0",
        table.name,
        rows.div_ceil(chunks).max(1)
    );
    ask(source, table, &sql).await
}

impl Table {
    /// The question for the digests of the rows between two keys, by kind.
    fn kinds(&self, from: Option<&Key>, to: Option<&Key>) -> String {
        format!(
            "SELECT coalesce(json_agg(json_build_array(kind, rows, high, low)), '[]') FROM (\
             SELECT kind, count(*) AS rows, {}::text AS high, {}::text AS low FROM (\
             SELECT {} AS kind, md5({}) AS digest FROM ONLY {} WHERE {}) AS digests GROUP BY kind) AS kinds",
            half("digest", 1),
            half("digest", 17),
            self.bucket(KINDS),
            self.row,
            self.name,
            self.between(from, to)
        )
    }

    /// The condition for the rows between two keys that are of these kinds.
    fn of_kinds(&self, from: Option<&Key>, to: Option<&Key>, kinds: &BTreeSet<i64>) -> String {
        let kinds: Vec<String> = kinds.iter().map(i64::to_string).collect();
        format!("{} AND {} IN ({})", self.between(from, to), self.bucket(KINDS), kinds.join(", "))
    }

    /// The question for each of the rows for which a condition is true.
    fn each(&self, condition: &str, mark: i64, buckets: i64) -> String {
        format!(
            "SELECT coalesce(json_agg(json_build_object('key', {}, 'digest', md5({}), 'old', {}, 'bucket', {})), '[]') \
             FROM ONLY {} WHERE {condition}",
            self.key_list(),
            self.row,
            old(mark),
            self.bucket(buckets),
            self.name
        )
    }
}
