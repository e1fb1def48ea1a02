//! What the migration frameworks' books in a database say, with what the files and the cluster know of it. Reads only.

use super::holders;
use super::migrations::Files;
use super::reach::Reach;
use crate::cluster::Cluster;
use crate::database::Database;
use crate::failure::Result;
use crate::framework::{Evidence, State, recognise, weigh};
use crate::shutdown::Stop;

/// One bookkeeping table, and what is known beside it.
pub(super) struct Book {
    /// What it says.
    pub(super) state: State,
    /// What the files say.
    pub(super) evidence: Evidence,
}

/// Reads every bookkeeping table, compares it with the files, and looks for whoever holds its locks.
///
/// # Errors
/// The database can't be asked.
pub(super) async fn read(
    cluster: &Cluster,
    stop: &Stop,
    reach: &Reach,
    database: &dyn Database,
    files: &Files,
) -> Result<Vec<Book>> {
    let mut books = Vec::new();
    let states = recognise(database).await?;
    files.fetch(cluster, stop, reach, &states).await;
    for mut state in states {
        let scripts = files.scripts(state.framework);
        let evidence = Evidence::of(state.framework, scripts);
        state.compare(&evidence);
        weigh(database, &mut state, &evidence, scripts).await?;
        books.push(Book { state, evidence });
    }
    holders::judge(cluster, &reach.target, books.iter_mut().flat_map(|book| &mut book.state.locks)).await;
    Ok(books)
}
