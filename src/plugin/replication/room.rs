//! Whether the disks of both servers have room for a copy: for all of it on one, for what is written meanwhile on the other.

use dbmig_wire::Volume;

use crate::framework::{Finding, Level};
use crate::ui::human::bytes;

/// The file systems of two servers' data, as far as they could be looked at.
#[derive(Debug, Clone, Default)]
pub struct Rooms {
    /// Where the source keeps what it writes down for those who follow.
    pub source: Option<Volume>,
    /// Where the target keeps its tables.
    pub target: Option<Volume>,
}

/// How little of a database's size is enough for what is written while it is copied: one part of so many. A rule of thumb: nobody
/// knows how much will be written.
const MEANWHILE: u64 = 10;

impl Rooms {
    /// What is found about moving a database of so many bytes, whose slot may keep `limit` bytes, if that is limited.
    pub(super) fn findings(&self, size: u64, limit: Option<u64>) -> Vec<Finding> {
        let mut found = Vec::new();
        let kept = limit.unwrap_or(size / MEANWHILE);
        match &self.source {
            Some(Volume { free_bytes, .. }) if *free_bytes < kept => found.push(
                Finding::new(Level::Attention, "the source's disk has little room for what it keeps while it is copied")
                    .evidence(match limit {
                        Some(limit) => {
                            format!("{} are free; max_slot_wal_keep_size allows {}", bytes(*free_bytes), bytes(limit))
                        }
                        None => format!("{} are free; the database has {}", bytes(*free_bytes), bytes(size)),
                    })
                    .next("make its volume larger, or set max_slot_wal_keep_size to less than what is free"),
            ),
            Some(_) => {}
            None => found.push(unseen("source", &format!("all that is written meanwhile; the database has {}", bytes(size)))),
        }
        match &self.target {
            Some(Volume { free_bytes, .. }) if *free_bytes < size => found.push(
                Finding::new(Level::Attention, "the target's disk has less room than the source's database takes")
                    .evidence(format!("{} are free; the database has {}", bytes(*free_bytes), bytes(size)))
                    .next("make its volume larger; a bloated database takes less when it is copied"),
            ),
            Some(_) => {}
            None => found.push(unseen("target", &bytes(size))),
        }
        found
    }
}

/// Not looked at is not enough, and not too little.
fn unseen(side: &str, needed: &str) -> Finding {
    Finding::new(Level::Note, format!("the {side}'s disk can't be looked at from here"))
        .evidence(format!("it has to hold {needed}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_room_is_told_for_each_side_and_what_nobody_saw_is_said() {
        let free = |free_bytes| {
            Some(Volume { total_bytes: 1000 << 20, free_bytes, free_inodes: None, block_bytes: 4096, read_only: false })
        };
        let (size, told) = (100 << 20, |rooms: &Rooms, limit| format!("{:?}", rooms.findings(100 << 20, limit)));
        let fine = Rooms { source: free(size), target: free(size) };
        assert_eq!(fine.findings(size, None), Vec::new());
        let full = Rooms { source: free(9 << 20), target: free(99 << 20) };
        let said = told(&full, None);
        assert!(said.contains("9.0 MiB are free; the database has 100 MiB") && said.contains("99 MiB are free"), "{said}");
        let said = told(&fine, Some(200 << 20));
        assert!(said.contains("max_slot_wal_keep_size allows 200 MiB") && !said.contains("target"), "{said}");
        let unseen = Rooms::default().findings(size, None);
        assert!(unseen.len() == 2 && unseen.iter().all(|finding| finding.level == Level::Note), "{unseen:?}");
    }
}
