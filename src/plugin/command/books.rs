//! What the migration frameworks' books in a database say, with what the files and the cluster know of it. Reads only.

use super::holders;
use crate::cluster::Cluster;
use crate::cluster::target::Target;
use crate::database::Database;
use crate::failure::Result;
use crate::framework::{Evidence, Script, State, recognise, weigh};

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
pub(super) async fn read(cluster: &Cluster, target: &Target, database: &dyn Database, scripts: &[Script]) -> Result<Vec<Book>> {
    let mut books = Vec::new();
    for mut state in recognise(database).await? {
        let evidence = Evidence::of(state.framework, scripts);
        state.compare(&evidence);
        weigh(database, &mut state, &evidence, scripts).await?;
        books.push(Book { state, evidence });
    }
    holders::judge(cluster, target, books.iter_mut().flat_map(|book| &mut book.state.locks)).await;
    Ok(books)
}
