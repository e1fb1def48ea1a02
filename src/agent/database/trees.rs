//! Copies all b-trees of a database, two at a time, and writes the schema that leads to them. Applies no changes.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use dbmig_wire::{AgentError, ErrorKind, KeptRows, Progress, Rule, Unit};
use rusqlite::Connection;

use super::copy::{Answer, Choice, Copied, Copier};
use super::header::WRITE_VERSION;
use super::kept::Kept;
use super::open::unchanging;
use super::output::Output;
use super::pages::{Cell, Pages};
use super::record::{Fields, Value, put_record};
use super::rules;
use super::schema::{Object, objects};
use super::tree::Tree;
use super::walk::{Walk, entry_rowid, payload};
use crate::error::{Result, fail};
use crate::report::Report;

/// More threads would take more memory and wait for the same disk.
const THREADS: usize = 2;
/// How often the work tells how far it is.
const BEAT: Duration = Duration::from_millis(200);

/// Something that a thread does in one go.
enum Job<'o> {
    /// A tree that is copied whole.
    Whole(&'o Object),
    /// A table that loses rows, and then the indexes that must be told which.
    Thinned(&'o Object, &'o Rule, Vec<&'o Object>),
    /// An index that holds all that the rule asks for.
    Deciding(&'o Object, &'o Rule),
}

/// What all threads share.
struct Work<'o> {
    path: &'o str,
    pages: &'o Pages,
    output: &'o Output,
    roots: &'o HashMap<u32, u32>,
    done: AtomicU64,
    jobs: Mutex<VecDeque<Job<'o>>>,
}

/// Rows copied per tree, by its root in the old file.
type Counts = HashMap<u32, Copied>;

/// Copies every tree of `from` into the new file `to`.
pub(super) fn copy_all(
    from: &str,
    old: &Connection,
    to: &str,
    rules: &[Rule],
    leave_free: u64,
    report: &dyn Report,
) -> Result<Vec<KeptRows>> {
    let pages = Pages::open(from)?.reading_all();
    let objects = objects(old, from)?;
    refuse_orphans(&pages, &objects)?;
    let output = Output::create(Path::new(to), &pages.header, leave_free)?;
    let mut roots = HashMap::new();
    for object in objects.iter().filter(|object| object.root > 0) {
        if roots.insert(object.root, output.root()?).is_some() {
            return Err(pages.damage(format!("two objects start at page {}, one is {}", object.root, object.seen.name)));
        }
    }
    let jobs = Mutex::new(jobs(old, &pages, &objects, rules)?);
    let work = Work { path: from, pages: &pages, output: &output, roots: &roots, done: AtomicU64::new(0), jobs };
    copy_schema(&mut Copier::new(&pages, &output, &work.done), &output, &roots)?;
    let counts = run(&work, report)?;
    let tables = compare_counts(&pages, &objects, &counts)?;
    let last_root = roots.values().copied().max().unwrap_or(1);
    let header = new_header(&pages, output.pages(), last_root);
    output.finish(&header)?;
    Ok(tables)
}

/// Thinned tables first, because they take longest and others can wait for them beside.
fn jobs<'o>(old: &Connection, pages: &Pages, objects: &'o [Object], rules: &'o [Rule]) -> Result<VecDeque<Job<'o>>> {
    let mut jobs = VecDeque::new();
    for table in objects.iter().filter(|object| object.is_table()) {
        let indexes = objects.iter().filter(|object| object.is_index_of(&table.seen.name));
        let Some(rule) = rules.iter().find(|rule| rule.table().eq_ignore_ascii_case(&table.seen.name)) else {
            jobs.push_back(Job::Whole(table));
            jobs.extend(indexes.map(Job::Whole));
            continue;
        };
        let mut told = Vec::new();
        for index in indexes {
            match rules::decides(old, pages, rule, &index.seen.name)? {
                true => jobs.push_front(Job::Deciding(index, rule)),
                false => told.push(index),
            }
        }
        jobs.push_front(Job::Thinned(table, rule, told));
    }
    Ok(jobs)
}

/// Lets the threads work until all is copied, or one fails, or the work is to stop.
fn run(work: &Work<'_>, report: &dyn Report) -> Result<Counts> {
    thread::scope(|scope| {
        let (sender, receiver) = channel();
        for _ in 0..THREADS {
            let sender = sender.clone();
            scope.spawn(move || work.until_done(&sender));
        }
        drop(sender);
        let counts = watch(work, &receiver, report);
        if counts.is_err() {
            work.output.stop();
        }
        counts
    })
}

fn watch(work: &Work<'_>, receiver: &Receiver<Result<(u32, Copied)>>, report: &dyn Report) -> Result<Counts> {
    let mut counts = Counts::new();
    loop {
        report.check()?;
        let (done, total) = (work.done.load(Ordering::Relaxed), work.pages.header.pages);
        report.progress(Progress { phase: "copying tables and indexes".to_owned(), done, total, unit: Unit::Pages });
        match receiver.recv_timeout(BEAT) {
            Ok(counted) => {
                let (root, copied) = counted?;
                counts.insert(root, copied);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(counts),
        }
    }
}

impl Work<'_> {
    fn until_done(&self, counted: &Sender<Result<(u32, Copied)>>) {
        loop {
            let job = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some(job) = job else { return };
            let result = self.job(job, counted);
            let failed = result.is_err();
            // Nobody receives any more only after another thread failed.
            if let Err(error) = result {
                let _ = counted.send(Err(error));
            }
            if failed {
                return;
            }
        }
    }

    fn job(&self, job: Job<'_>, counted: &Sender<Result<(u32, Copied)>>) -> Result<()> {
        let tell = |object: &Object, copied: Copied| {
            let _ = counted.send(Ok((object.root, copied)));
        };
        match job {
            Job::Whole(tree) => tell(tree, self.tree(tree, |_| Ok(true))?),
            Job::Deciding(index, rule) => {
                let old = unchanging(self.path)?;
                let mut ask = rules::ask_index(&old, self.pages, self.path, rule, &index.seen.name)?;
                tell(index, self.tree(index, &mut ask)?);
            }
            Job::Thinned(table, rule, indexes) => {
                let old = unchanging(self.path)?;
                let (copied, kept) =
                    self.thinned(table, rules::choice(&old, self.pages, self.path, rule)?, !indexes.is_empty())?;
                tell(table, copied);
                for index in indexes {
                    tell(index, self.tree(index, |cell| Ok(kept.has(entry_rowid(self.pages, cell)?)?))?);
                }
            }
        }
        Ok(())
    }

    fn thinned(&self, table: &Object, choice: Choice<'_>, remember: bool) -> Result<(Copied, Kept)> {
        match choice {
            Choice::Of(kept) => Ok((self.tree(table, |cell| Ok(kept.has(cell.rowid)?))?, kept)),
            Choice::Ask(mut ask) => {
                let mut kept = Kept::new();
                let copied = self.tree(table, |cell| {
                    let keep = ask(cell)?;
                    if keep && remember {
                        kept.add(cell.rowid)?;
                    }
                    Ok(keep)
                })?;
                Ok((copied, kept))
            }
        }
    }

    fn tree(&self, object: &Object, keep: impl FnMut(&Cell<'_>) -> Answer) -> Result<Copied> {
        let root = self.roots.get(&object.root).copied().unwrap_or(0);
        Copier::new(self.pages, self.output, &self.done).tree(&object.seen.name, (object.root, root), keep)
    }
}

/// Every index must have an entry for each row, before and after; a partial one may have fewer.
fn compare_counts(pages: &Pages, objects: &[Object], counts: &Counts) -> Result<Vec<KeptRows>> {
    let count = |object: &Object| -> Result<Copied, AgentError> {
        let missing = || fail(ErrorKind::Other, format!("{} {} was not copied", object.seen.kind, object.seen.name));
        counts.get(&object.root).copied().ok_or_else(missing)
    };
    let mut tables = Vec::new();
    for table in objects.iter().filter(|object| object.is_table()) {
        let Copied { rows, kept } = count(table)?;
        for index in objects.iter().filter(|object| object.is_index_of(&table.seen.name) && object.partial().is_none()) {
            let entries = count(index)?;
            if (entries.rows, entries.kept) != (rows, kept) {
                return Err(pages.damage(format!("index {} has {} entries for {rows} rows", index.seen.name, entries.rows)));
            }
        }
        tables.push(KeptRows { name: table.seen.name.clone(), rows, kept });
    }
    Ok(tables)
}

fn refuse_orphans(pages: &Pages, objects: &[Object]) -> Result<()> {
    let has_table = |index: &Object| objects.iter().any(|table| table.is_table() && index.is_index_of(&table.seen.name));
    match objects.iter().find(|object| object.root > 0 && !object.is_table() && !has_table(object)) {
        Some(orphan) => Err(pages.damage(format!("{} {} belongs to no table", orphan.seen.kind, orphan.seen.name))),
        None => Ok(()),
    }
}

/// Copies the schema table row by row, each as it is except for the root page it names.
fn copy_schema(copier: &mut Copier<'_>, output: &Output, roots: &HashMap<u32, u32>) -> Result<()> {
    let pages = copier.from;
    let mut walk = Walk::new(pages, 1)?;
    let mut tree = Tree::new(output, 1, false);
    while let Some(cell) = walk.next()? {
        let record = payload(pages, &cell)?;
        let mut fields = Fields::new(&record);
        let mut values: Vec<Value<'_>> = fields.by_ref().collect();
        if fields.broken() {
            return Err(pages.damage(format!("row {} of the schema is broken", cell.rowid)));
        }
        if let Some(Value::Integer(root)) = values.get_mut(3)
            && let Some(new) = u32::try_from(*root).ok().and_then(|root| roots.get(&root))
        {
            *root = i64::from(*new);
        }
        let mut moved = Vec::with_capacity(record.len() + 8);
        put_record(&mut moved, &values);
        copier.row(&mut tree, cell.rowid, &moved)?;
    }
    tree.finish(output)
}

/// The old header with what differs; as a rollback database, until everything is in place.
fn new_header(pages: &Pages, count: u64, last_root: u32) -> Vec<u8> {
    let mut header = pages.header.bytes.to_vec();
    let mut put = |at: usize, value: u32| header[at..at + 4].copy_from_slice(&value.to_be_bytes());
    put(28, count as u32);
    put(32, 0);
    put(36, 0);
    if pages.header.auto_vacuum() {
        put(52, last_root);
    }
    // The count of pages holds only while these two agree.
    put(92, pages.header.word(24));
    header[WRITE_VERSION..WRITE_VERSION + 2].fill(1);
    header
}
