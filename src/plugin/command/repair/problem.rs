//! What is wrong with the books and the ways out of it; of these, the one that is taken. Decides and asks; changes nothing.

use serde::Serialize;

use super::spec::Aim;
use crate::cli::repair::HowArgs;
use crate::command::books::Book;
use crate::command::session::Session;
use crate::failure::{Failure, Result};
use crate::framework::{Fate, LockKind, Remedy, Repair, Safety, Wish, repairs, wanted};

/// Something that is wrong with one bookkeeping table.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Problem {
    /// The table.
    pub(super) table: String,
    /// What is wrong.
    pub(super) problem: String,
    /// The ways out, the likelier first; at least one.
    pub(super) repairs: Vec<Repair>,
    /// What tells that it was repaired.
    #[serde(skip)]
    pub(super) aim: Aim,
}

impl Problem {
    fn new(book: &Book, repair: Repair, aim: Aim) -> Self {
        Self { table: book.state.table.to_string(), problem: repair.problem.clone(), repairs: vec![repair], aim }
    }

    /// Nothing but a person's decision, or work elsewhere, comes first.
    pub(super) fn is_elsewhere(&self) -> bool {
        matches!(self.repairs.first().map(|repair| &repair.remedy), Some(Remedy::Elsewhere { .. }))
    }
}

/// Everything that is wrong: locks first, for nothing else may be done while one is held; last, what can't be done here.
pub(super) fn all(books: &[Book]) -> Vec<Problem> {
    let mut problems: Vec<Problem> = books.iter().flat_map(of_book).collect();
    problems.sort_by_key(|problem| (!problem.aim.is_about_a_lock(), problem.is_elsewhere()));
    problems
}

fn of_book(book: &Book) -> Vec<Problem> {
    let mut problems: Vec<Problem> = Vec::new();
    // Locks come first, one repair each.
    let locks = book.state.locks.iter().map(|lock| Some(&lock.kind)).chain(std::iter::repeat(None));
    for (repair, lock) in repairs(&book.state, &book.evidence).into_iter().zip(locks) {
        let aim = lock.map_or(Aim::Gone, Aim::of_lock);
        let same = |known: &&mut Problem| aim == Aim::Gone && known.aim == Aim::Gone && known.problem == repair.problem;
        match problems.iter_mut().find(same) {
            Some(known) => known.repairs.push(repair),
            None => problems.push(Problem::new(book, repair, aim)),
        }
    }
    problems
}

/// What the user asked for by name: the first of the wishes that can be had.
///
/// # Errors
/// `Refused`: no table has any, or several have.
pub(super) fn wished(books: &[Book], wishes: &[Wish]) -> Result<Vec<Problem>> {
    let (last, others) = wishes.split_last().ok_or_else(|| Failure::failed("nothing was asked for"))?;
    let one = others.iter().find_map(|wish| had(books, wish).ok());
    one.map_or_else(|| had(books, last), Ok)
}

fn had(books: &[Book], wish: &Wish) -> Result<Vec<Problem>> {
    let (mut found, mut tables, mut why_not) = (Vec::new(), Vec::new(), Vec::new());
    for book in books {
        match wanted(&book.state, &book.evidence, wish) {
            Ok(repairs) => {
                tables.push(book.state.table.to_string());
                found.extend(repairs.into_iter().enumerate().map(|(index, repair)| {
                    let aim = aim(wish, book.state.locks.get(index).map(|lock| &lock.kind), &repair);
                    Problem::new(book, repair, aim)
                }));
            }
            Err(why) => why_not.push(why),
        }
    }
    match (tables.as_slice(), wish) {
        ([], _) => Err(Failure::refused("there is nothing of what you asked for").facts(why_not).state("nothing was changed")),
        ([_], _) | (_, Wish::Unlock) => Ok(found),
        (several, _) => Err(Failure::refused("several bookkeeping tables are there: say which one is meant")
            .facts(several.iter().cloned())
            .state("nothing was changed")
            .next("pass --table NAME")),
    }
}

fn aim(wish: &Wish, lock: Option<&LockKind>, repair: &Repair) -> Aim {
    match (wish, lock) {
        (Wish::Unlock, Some(lock)) => Aim::of_lock(lock),
        (Wish::Stamp(id), _) => Aim::Stamped(id.clone()),
        // The version before a lock's is none.
        (Wish::To(_), Some(lock)) if repair.to.is_none() => Aim::of_lock(lock),
        (Wish::To(_) | Wish::Unlock, _) => Aim::Gone,
    }
}

/// Refuses to write while a migration may be running: it would read what is half-written, or write over it.
///
/// # Errors
/// `Refused`, with who holds the lock.
pub(super) fn refuse_beside_a_migration(books: &[Book], force: bool, named: &str) -> Result<()> {
    let locks = books.iter().flat_map(|book| &book.state.locks);
    // Who insists may know better than what nothing proves, but not better than what is seen.
    let mut held = locks.filter(|lock| match &lock.fate {
        Fate::Dead(_) => false,
        Fate::Alive(_) => true,
        Fate::Unknown(_) => !force,
    });
    let Some(lock) = held.next() else { return Ok(()) };
    let because = match &lock.fate {
        Fate::Alive(because) | Fate::Dead(because) | Fate::Unknown(Some(because)) => because.clone(),
        Fate::Unknown(None) => "nothing proves that it is gone".to_owned(),
    };
    Err(Failure::refused("a migration may be running now")
        .fact(format!("{} holds the migration lock: {because}", lock.holder_in_words()))
        .state("nothing was changed")
        .next(format!("kubectl dbmig repair {named} --unlock   # once you know that it is gone")))
}

/// The way out that is taken: the only one, the only proven one, or the one that a person chooses.
///
/// # Errors
/// `Refused`: nothing should be written; or nobody can be asked, or nobody insisted on what is not proven.
pub(super) async fn choose(session: &Session, how: &HowArgs, wishes: &[Wish], problem: &Problem, named: &str) -> Result<Repair> {
    if let Some(Repair { what, because, remedy: Remedy::Elsewhere { next }, .. }) = problem.repairs.first() {
        let next = next.iter().map(|next| next.replace("TARGET", named));
        return Err(next.fold(
            Failure::refused(format!("{}: {what}", problem.problem)).fact(because).state("nothing was changed"),
            Failure::next,
        ));
    }
    let ways: Vec<&Repair> = problem.repairs.iter().filter(|way| !matches!(way.remedy, Remedy::Elsewhere { .. })).collect();
    let proven: Vec<&Repair> = ways.iter().copied().filter(|way| way.safety == Safety::Proven).collect();
    let chosen = match (ways.as_slice(), proven.as_slice()) {
        ([one], _) | (_, [one]) => *one,
        _ => ways[ask(session, how, problem, &ways, named).await?],
    };
    match &chosen.safety {
        Safety::Force(risk) if !how.force => Err(Failure::refused(format!("nothing proves that it is right to {}", chosen.what))
            .fact(risk)
            .fact(&chosen.because)
            .state("nothing was changed")
            .next(format!("{} --force   # if you know that it is", typed(wishes, chosen, named)))),
        Safety::Force(_) | Safety::Proven => Ok(chosen.clone()),
    }
}

async fn ask(session: &Session, how: &HowArgs, problem: &Problem, ways: &[&Repair], named: &str) -> Result<usize> {
    let listed: Vec<String> = ways.iter().map(|way| format!("{}: {}", way.what, way.because)).collect();
    if session.ui.can_ask() && !session.ui.is_machine() && !how.yes {
        return session.ui.choose(&session.stop, &format!("{}: what is right?", problem.problem), &listed, "--to VERSION").await;
    }
    let failure = Failure::refused(format!("{}, and there are {} ways out of it: say which", problem.problem, ways.len()))
        .facts(listed)
        .state("nothing was changed");
    Err(ways.iter().map(|way| typed(&[], way, named)).fold(failure, Failure::next))
}

/// The command that asks for this way.
fn typed(wishes: &[Wish], way: &Repair, named: &str) -> String {
    let how = match (wishes, &way.to) {
        ([Wish::Stamp(id)], _) => format!(" --stamp {id}"),
        ([Wish::Unlock], _) => " --unlock".to_owned(),
        (_, Some(to)) => format!(" --to {to}"),
        (_, None) => String::new(),
    };
    format!("kubectl dbmig repair {named}{how}")
}
