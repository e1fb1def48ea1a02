//! A set of rowids in bounded memory: which rows of a table stay. Knows no rules.

use std::collections::HashMap;

use rusqlite::{Connection, params};

use crate::error::{Explain, Result};

/// Bytes that the set may take in memory before it moves to a temporary file.
const MOST_BYTES: usize = 8 << 20;
/// Runs of a chunk beyond which a bit per row takes less.
const MOST_RUNS: usize = 2048;

/// The rows that stay.
pub(super) struct Kept {
    chunks: HashMap<i64, Chunk>,
    bytes: usize,
    spilled: Option<Connection>,
    rows: u64,
}

/// 65,536 neighbouring rowids.
enum Chunk {
    /// First and last of each run, ascending.
    Runs(Vec<(u16, u16)>),
    Bits(Box<[u64; 1024]>),
}

impl Kept {
    /// The empty set.
    pub(super) fn new() -> Self {
        Self { chunks: HashMap::new(), bytes: 0, spilled: None, rows: 0 }
    }

    /// How many rows are in it.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Adds a row; each row is added once.
    pub(super) fn add(&mut self, rowid: i64) -> Result<()> {
        self.rows += 1;
        if let Some(file) = &self.spilled {
            return add_to(file, rowid);
        }
        let chunk = self.chunks.entry(rowid >> 16).or_insert_with(|| {
            self.bytes += 96;
            Chunk::Runs(Vec::new())
        });
        self.bytes += chunk.add(rowid as u16);
        if self.bytes > MOST_BYTES { self.spill() } else { Ok(()) }
    }

    /// Whether a row is in it.
    pub(super) fn has(&self, rowid: i64) -> Result<bool> {
        match &self.spilled {
            None => Ok(self.chunks.get(&(rowid >> 16)).is_some_and(|chunk| chunk.has(rowid as u16))),
            Some(file) => {
                let mut find = file.prepare_cached("SELECT 1 FROM kept WHERE id = ?1").explain(look_up)?;
                find.exists([rowid]).explain(look_up)
            }
        }
    }

    fn spill(&mut self) -> Result<()> {
        // An empty name makes a private file in SQLite's temporary folder.
        let file = Connection::open("").explain(look_up)?;
        file.execute_batch(
            "PRAGMA cache_size = -4096; PRAGMA journal_mode = OFF; CREATE TABLE kept (id INTEGER PRIMARY KEY); BEGIN",
        )
        .explain(look_up)?;
        let mut numbers: Vec<i64> = self.chunks.keys().copied().collect();
        numbers.sort_unstable();
        for number in numbers {
            let Some(chunk) = self.chunks.remove(&number) else { continue };
            chunk.rows().into_iter().try_for_each(|low| add_to(&file, (number << 16) | i64::from(low)))?;
        }
        self.bytes = 0;
        self.spilled = Some(file);
        Ok(())
    }
}

fn look_up() -> String {
    "cannot keep the list of rows in the temporary folder".to_owned()
}

fn add_to(file: &Connection, rowid: i64) -> Result<()> {
    let mut insert = file.prepare_cached("INSERT INTO kept VALUES (?1)").explain(look_up)?;
    insert.execute(params![rowid]).explain(look_up).map(|_| ())
}

impl Chunk {
    /// Adds a row and tells by how many bytes the chunk grew.
    fn add(&mut self, row: u16) -> usize {
        match self {
            Self::Bits(bits) => {
                bits[usize::from(row >> 6)] |= 1 << (row & 63);
                0
            }
            Self::Runs(runs) => {
                let after = runs.partition_point(|run| run.0 <= row);
                if let Some(run) = after.checked_sub(1).map(|before| &mut runs[before])
                    && u32::from(run.1) + 1 >= u32::from(row)
                {
                    run.1 = run.1.max(row);
                    return 0;
                }
                runs.insert(after, (row, row));
                if runs.len() <= MOST_RUNS {
                    return 4;
                }
                let full: Vec<(u16, u16)> = std::mem::take(runs);
                let mut bits = Box::new([0u64; 1024]);
                for row in full.into_iter().flat_map(|(first, last)| first..=last) {
                    bits[usize::from(row >> 6)] |= 1 << (row & 63);
                }
                *self = Self::Bits(bits);
                4
            }
        }
    }

    fn rows(&self) -> Vec<u16> {
        match self {
            Self::Runs(runs) => runs.iter().flat_map(|run| run.0..=run.1).collect(),
            Self::Bits(_) => (0..=u16::MAX).filter(|&row| self.has(row)).collect(),
        }
    }

    fn has(&self, row: u16) -> bool {
        match self {
            Self::Bits(bits) => bits[usize::from(row >> 6)] & (1 << (row & 63)) != 0,
            Self::Runs(runs) => {
                let after = runs.partition_point(|run| run.0 <= row);
                after > 0 && runs[after - 1].1 >= row
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn rows_are_found_in_memory_and_in_a_file() {
        let mut kept = Kept::new();
        // Far apart, so that the set outgrows its memory; both ends of the range, negative ones too.
        let rows: Vec<i64> = (0..200_000).map(|n| (n - 100_000) * 77_777_777).chain([i64::MIN, i64::MAX]).collect();
        for &row in &rows {
            kept.add(row).unwrap();
        }
        assert!(kept.spilled.is_some());
        assert_eq!(kept.rows(), rows.len() as u64);
        assert!(rows.iter().all(|&row| kept.has(row).unwrap()));
        assert!(rows[..rows.len() - 2].iter().all(|&row| !kept.has(row + 1).unwrap()));
    }

    #[test]
    fn every_second_row_of_a_chunk_is_told_apart() {
        let mut kept = Kept::new();
        for row in (0..65_536).rev().step_by(2) {
            kept.add(row).unwrap();
        }
        assert!((0..65_536).all(|row| kept.has(row).unwrap() == (row % 2 == 1)));
    }
}
