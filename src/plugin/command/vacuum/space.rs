//! Where the new file goes and what becomes of the old one. Decides from numbers; looks at nothing.

use serde::{Deserialize, Serialize};

/// Bytes beside the estimate that must be there: the file system's own records, and SQLite's side files.
const MARGIN: u64 = 1 << 20;

/// What is known of the database and its volume, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sizes {
    /// Length of the old file.
    pub file: u64,
    /// What the new file will take, on the safe side.
    pub expected: u64,
    /// Free on the volume, for us.
    pub free: u64,
    /// What a hot journal or a WAL beside the file gives back when SQLite settles it.
    pub side_files: u64,
    /// What punching holes into free-list pages gives back; 0 where that is not possible.
    pub punchable: u64,
}

/// Where the new file is built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Room {
    /// Beside the old file.
    Beside,
    /// Beside the old file, after holes have been punched into its free-list pages.
    BesideAfterPunching,
    /// On another volume first.
    Scratch(Place),
}

/// A place apart from the database's volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Place {
    /// A PersistentVolumeClaim of our own; of this storage class, else of the default one. Survives everything but its own deletion.
    Claim {
        /// StorageClass.
        class: Option<String>,
    },
    /// The helper pod's own disk. Gone with the helper pod or its node.
    Node,
    /// The disk of the machine the plugin runs on.
    Local,
}

impl Place {
    /// What a copy there survives, in words.
    #[must_use]
    pub fn survives(&self) -> &'static str {
        match self {
            Self::Claim { .. } => "survives the loss of pods and of this machine",
            Self::Node => "is lost with the helper pod or its node",
            Self::Local => "survives the loss of pods and nodes, not of this machine's disk",
        }
    }
}

/// Where the old file is kept until the application is well again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum KeepOld {
    /// As a hard link beside the new one: costs nothing but the old file's own space.
    Beside,
    /// As a proven copy elsewhere.
    At(Place),
    /// Not at all: the proven new file is the only copy.
    No,
}

/// What was decided about space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// There is a way.
    Go {
        /// Where the new file is built.
        room: Room,
        /// Where the old file is kept.
        keep_old: KeepOld,
    },
    /// The new file does not fit anywhere that may be used.
    NoRoom {
        /// Bytes that are missing on the volume.
        missing: u64,
    },
    /// It fits, but beside the old file the application's own migration would not: somebody must say where the old one goes.
    WhereIsTheOldKept {
        /// Bytes that would stay free with the old file beside the new one.
        left: u64,
        /// Bytes that the application may need: twice the new file.
        wanted: u64,
    },
}

/// Decides. `scratch` and `keep_old` are what the user asked for.
#[must_use]
pub(super) fn decide(sizes: Sizes, scratch: Option<&Place>, keep_old: Option<&KeepOld>) -> Decision {
    let need = sizes.expected + MARGIN;
    let free = sizes.free + sizes.side_files;
    let room = match scratch {
        Some(place) => Room::Scratch(place.clone()),
        None if free >= need => Room::Beside,
        None if free + sizes.punchable >= need => Room::BesideAfterPunching,
        None => return Decision::NoRoom { missing: need - free - sizes.punchable },
    };
    if let Some(keep_old) = keep_old {
        return Decision::Go { room, keep_old: keep_old.clone() };
    }
    let punched = if room == Room::BesideAfterPunching { sizes.punchable } else { 0 };
    let left = (free + punched).saturating_sub(sizes.expected);
    let wanted = sizes.expected * 2;
    if left >= wanted {
        return Decision::Go { room, keep_old: KeepOld::Beside };
    }
    // Holes cost nothing, so try them before asking anybody.
    let with_holes = (free + sizes.punchable).saturating_sub(sizes.expected);
    if room == Room::Beside && with_holes >= wanted {
        return Decision::Go { room: Room::BesideAfterPunching, keep_old: KeepOld::Beside };
    }
    Decision::WhereIsTheOldKept { left: with_holes, wanted }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn sizes(file: u64, expected: u64, free: u64, punchable: u64) -> Sizes {
        Sizes { file: file * MIB, expected: expected * MIB, free: free * MIB, side_files: 0, punchable: punchable * MIB }
    }

    #[test]
    fn the_story_of_the_seed_fits_beside_with_the_old_file_kept() {
        // 600 MiB of 1 GiB, four fifths to drop.
        let decision = decide(sizes(600, 120, 424, 0), None, None);
        assert_eq!(decision, Decision::Go { room: Room::Beside, keep_old: KeepOld::Beside });
    }

    #[test]
    fn a_full_volume_gets_air_from_the_free_list() {
        let decision = decide(sizes(1000, 100, 0, 900), None, None);
        assert_eq!(decision, Decision::Go { room: Room::BesideAfterPunching, keep_old: KeepOld::Beside });
    }

    #[test]
    fn a_volume_that_holds_both_but_not_the_migration_asks_where_the_old_file_goes() {
        assert_eq!(
            decide(sizes(700, 200, 300, 0), None, None),
            Decision::WhereIsTheOldKept { left: 100 * MIB, wanted: 400 * MIB }
        );
        let told = decide(sizes(700, 200, 300, 0), None, Some(&KeepOld::No));
        assert_eq!(told, Decision::Go { room: Room::Beside, keep_old: KeepOld::No });
    }

    #[test]
    fn without_room_the_missing_bytes_are_named() {
        assert_eq!(decide(sizes(1000, 600, 0, 100), None, None), Decision::NoRoom { missing: 501 * MIB });
    }

    #[test]
    fn what_a_hot_journal_takes_counts_as_free() {
        let sizes = Sizes { side_files: 300 * MIB, ..sizes(600, 120, 100, 0) };
        assert_eq!(decide(sizes, None, None), Decision::Go { room: Room::Beside, keep_old: KeepOld::Beside });
    }

    #[test]
    fn holes_are_punched_before_anybody_is_asked() {
        let decision = decide(sizes(800, 100, 150, 300), None, None);
        assert_eq!(decision, Decision::Go { room: Room::BesideAfterPunching, keep_old: KeepOld::Beside });
    }
}
