//! How far a pgcopydb is, and what is wrong with it, in words. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::change::Change;
use crate::replication::{Lsn, Part, Phase, Slot, Work};
use crate::ui::human::{bytes, duration};

/// So much write-ahead log on the source's disk for one slot is worth a warning.
const MUCH: u64 = 1 << 30;
/// Less than this is what a server writes for itself while nobody writes.
const LITTLE: u64 = 8 << 10;

/// A pgcopydb in one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CopyRow {
    /// Namespace.
    pub namespace: String,
    /// Name of its pod.
    pub pod: String,
    /// Name of its container.
    pub container: String,
    /// What it is at.
    pub phase: Phase,
    /// Tables.
    pub tables: Part,
    /// Bytes of their rows on the source's disk.
    pub bytes: Part,
    /// Indexes.
    pub indexes: Part,
    /// Constraints.
    pub constraints: Part,
    /// Seconds until all rows are copied, or until the target has caught up, if it goes on as it went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<u64>,
    /// Bytes of write-ahead log that the target is behind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_bytes: Option<u64>,
    /// How long ago the source was where the target is now, in seconds, if that was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_seconds: Option<u64>,
    /// Where it is to end, if it was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<Lsn>,
    /// Its replication slot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<SlotRow>,
    /// It is connected to the target: while it applies what it has stored before, it reads no slot.
    pub connected: bool,
    /// How its container ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// What could not be asked, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<String>,
}

/// A replication slot on the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SlotRow {
    /// Its name.
    pub name: String,
    /// It is there.
    pub exists: bool,
    /// Somebody reads it.
    pub active: bool,
    /// The source has thrown away what it needs.
    pub lost: bool,
    /// Bytes of write-ahead log that the source keeps for it.
    pub retained_bytes: u64,
    /// So many more, and the source throws away what it needs; without a limit as many as the disk holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_left: Option<u64>,
}

impl SlotRow {
    /// From what the source says of the slot of this name.
    #[must_use]
    pub fn of(name: &str, slot: Option<&Slot>) -> Self {
        Self {
            name: name.to_owned(),
            exists: slot.is_some(),
            active: slot.is_some_and(|slot| slot.active),
            lost: slot.is_some_and(|slot| slot.lost),
            retained_bytes: slot.and_then(|slot| slot.retained).unwrap_or_default(),
            bytes_left: slot.and_then(|slot| slot.limit),
        }
    }
}

impl CopyRow {
    /// Nothing is known of it but where it is.
    #[must_use]
    pub fn new(namespace: &str, pod: &str, container: &str) -> Self {
        let none = Part::default();
        Self {
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            container: container.to_owned(),
            phase: Phase::Beginning,
            tables: none,
            bytes: none,
            indexes: none,
            constraints: none,
            seconds_left: None,
            lag_bytes: None,
            lag_seconds: None,
            end: None,
            slot: None,
            connected: false,
            exit_code: None,
            unknown: Vec::new(),
        }
    }

    /// With how far the copy is.
    #[must_use]
    pub fn with(mut self, work: &Work, pace: &Pace) -> Self {
        (self.lag_bytes, self.lag_seconds) = (pace.behind(), pace.seconds_behind());
        self.phase = work.phase(self.lag_bytes);
        (self.tables, self.bytes, self.indexes, self.constraints) = (work.tables, work.bytes, work.indexes, work.constraints);
        self.seconds_left = match self.phase {
            Phase::Copy => work.seconds_left(),
            Phase::CatchingUp => pace.seconds_left(),
            _ => None,
        };
        self.end = work.sentinel.end;
        self
    }

    /// Which one it is.
    #[must_use]
    pub fn name(&self) -> String {
        format!("pgcopydb of pod/{}", self.pod)
    }

    /// What it is at, and how far.
    #[must_use]
    pub fn at_work(&self) -> String {
        let of = |part: Part, what: &str| format!("{} of {} {what}", part.done, part.all);
        let left =
            self.seconds_left.map(|left| format!(", about {} left", duration(Duration::from_secs(left)))).unwrap_or_default();
        let mut text = match self.phase {
            Phase::Beginning => "reads the source's catalogs".to_owned(),
            Phase::Schema => "makes the schema on the target".to_owned(),
            Phase::Copy => {
                let percent = (self.bytes.done * 100).checked_div(self.bytes.all).unwrap_or(100);
                format!(
                    "copies rows: {}, {} of {} ({percent} %){left}; {}",
                    of(self.tables, "tables"),
                    bytes(self.bytes.done),
                    bytes(self.bytes.all),
                    of(self.indexes, "indexes")
                )
            }
            Phase::Indexes => format!("builds indexes: {}", of(self.indexes, "indexes")),
            Phase::Constraints => format!("makes constraints: {}", of(self.constraints, "constraints")),
            Phase::CatchingUp => format!("catches up: {}{left}", self.behind()),
            Phase::Following => format!("follows: {}", self.behind()),
            Phase::Ended => match self.exit_code {
                Some(code) => format!("has ended with exit code {code}"),
                None => "has ended".to_owned(),
            },
        };
        if let Some(slot) = self.slot.as_ref().filter(|slot| slot.retained_bytes > 0 && self.phase != Phase::Ended) {
            text += &format!("; the source keeps {} of write-ahead log for it", bytes(slot.retained_bytes));
        }
        if let Some(unknown) = self.unknown.first() {
            text += &format!("; {unknown}");
        }
        text
    }

    fn behind(&self) -> String {
        match (self.lag_bytes, self.lag_seconds) {
            (None, _) => "how far behind is not known".to_owned(),
            (Some(lag), _) if lag < LITTLE => "the target is up to date".to_owned(),
            (Some(lag), None) => format!("{} behind", bytes(lag)),
            (Some(lag), Some(seconds)) => format!("{} ({}) behind", bytes(lag), duration(Duration::from_secs(seconds))),
        }
    }

    /// What somebody has to see to, and a command or statement that helps. `is_finished_by_us`: an operation of ours tells it where to end.
    #[must_use]
    pub fn trouble(&self, is_finished_by_us: bool) -> Option<(String, String)> {
        let Self { namespace, pod, container, .. } = self;
        let logs = format!("kubectl dbmig logs {pod} -n {namespace}");
        if let Some(slot) = &self.slot {
            let drop =
                format!("SELECT pg_drop_replication_slot('{}')   -- on the source, unless it is still to be followed", slot.name);
            let (name, kept) = (&slot.name, bytes(slot.retained_bytes));
            if self.phase == Phase::Ended && slot.exists && self.exit_code != Some(0) {
                let text =
                    format!("slot {name} kept {kept} on the source's disk when it was last seen, and more with each write");
                return Some((text, drop));
            }
            if self.phase != Phase::Ended && !is_finished_by_us {
                if slot.lost {
                    return Some((format!("the source has thrown away what slot {name} still needs: copy anew"), drop));
                }
                if !slot.exists && matches!(self.phase, Phase::CatchingUp | Phase::Following) {
                    return Some((format!("the source has no slot {name} any more: changes are lost, copy anew"), logs));
                }
                if slot.exists && !slot.active && !self.connected && self.phase != Phase::Beginning {
                    return Some((
                        format!("nobody reads slot {name}: the source keeps {kept} on its disk, and more with each write"),
                        logs,
                    ));
                }
                if let Some(left) = slot.bytes_left.filter(|left| *left < slot.retained_bytes) {
                    let left = bytes(left);
                    return Some((
                        format!("slot {name} keeps {kept}; {left} more, and the source throws away what it needs"),
                        logs,
                    ));
                }
                if slot.retained_bytes >= MUCH {
                    let watch = "df on the source's volume, and max_slot_wal_keep_size".to_owned();
                    return Some((format!("slot {name} keeps {kept} of write-ahead log on the source's disk"), watch));
                }
            }
        }
        let end = self.end.filter(|_| !is_finished_by_us && self.phase != Phase::Ended)?;
        let clear = format!("kubectl exec {pod} -n {namespace} -c {container} -- pgcopydb stream sentinel set endpos 0/0");
        Some((format!("it has been told to end at {end}: what is written after that is not moved"), clear))
    }

    /// The same as a change.
    #[must_use]
    pub(super) fn change(&self, is_finished_by_us: bool) -> Change {
        let trouble = self.trouble(is_finished_by_us).map(|(text, _)| text);
        let text = trouble.iter().fold(self.at_work(), |text, trouble| format!("{text}; {trouble}"));
        Change { object: self.name(), text, bad: trouble.is_some() || self.exit_code.is_some_and(|code| code != 0) }
    }
}

/// Where source and target were at some moments: how fast the one writes and the other follows.
#[derive(Debug, Default)]
pub struct Pace {
    seen: VecDeque<(Instant, Lsn, Lsn)>,
}

impl Pace {
    /// Looks that are remembered.
    const MOST: usize = 120;

    /// Takes in where source and target are now.
    pub(super) fn saw(&mut self, at: Instant, source: Lsn, target: Lsn) {
        if self.seen.len() == Self::MOST {
            self.seen.pop_front();
        }
        self.seen.push_back((at, source, target));
    }

    /// Bytes that the target is behind.
    fn behind(&self) -> Option<u64> {
        self.seen.back().map(|(_, source, target)| source.since(*target))
    }

    /// Seconds since the source was where the target is; `None`: that was before the first look.
    fn seconds_behind(&self) -> Option<u64> {
        let (now, source, target) = self.seen.back()?;
        if source.since(*target) < LITTLE {
            return Some(0);
        }
        let then = self.seen.iter().rev().find(|(_, source, _)| source <= target)?;
        Some(now.duration_since(then.0).as_secs())
    }

    /// Seconds until the target has caught up; `None`: it falls further behind, or is not known well enough.
    fn seconds_left(&self) -> Option<u64> {
        let ((_, from, first), (_, to, last)) = (self.seen.front()?, self.seen.back()?);
        let seconds = self.seen.back()?.0.duration_since(self.seen.front()?.0).as_secs();
        let gained = last.since(*first).checked_sub(to.since(*from)).filter(|gained| *gained > 0 && seconds > 0)?;
        Some((u128::from(to.since(*last)) * u128::from(seconds) / u128::from(gained)).try_into().unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lsn(bytes: u64) -> Lsn {
        format!("{:X}/{:X}", bytes >> 32, bytes & u64::from(u32::MAX)).parse().unwrap()
    }

    fn row(phase: Phase) -> CopyRow {
        CopyRow { phase, ..CopyRow::new("shop", "db-upgrade-x", "db-upgrade") }
    }

    fn slot(active: bool, retained_bytes: u64) -> SlotRow {
        SlotRow { name: "pgcopydb".to_owned(), exists: true, active, lost: false, retained_bytes, bytes_left: None }
    }

    #[test]
    fn lag_is_known_in_bytes_at_once_and_in_seconds_from_what_was_seen() {
        let begun = Instant::now();
        let (mut pace, megabyte) = (Pace::default(), 1 << 20);
        pace.saw(begun, lsn(100 * megabyte), lsn(20 * megabyte));
        assert_eq!((pace.behind(), pace.seconds_behind(), pace.seconds_left()), (Some(80 * megabyte), None, None));
        pace.saw(begun + Duration::from_secs(10), lsn(110 * megabyte), lsn(70 * megabyte));
        // It gained 40 MB in 10 s, and 40 are left.
        assert_eq!((pace.seconds_behind(), pace.seconds_left()), (None, Some(10)));
        pace.saw(begun + Duration::from_secs(20), lsn(120 * megabyte), lsn(105 * megabyte));
        assert_eq!(pace.seconds_behind(), Some(20));
        pace.saw(begun + Duration::from_secs(30), lsn(120 * megabyte), lsn(120 * megabyte));
        assert_eq!(pace.seconds_behind(), Some(0));
        let mut slow = Pace::default();
        slow.saw(begun, lsn(100 * megabyte), lsn(20 * megabyte));
        slow.saw(begun + Duration::from_secs(10), lsn(200 * megabyte), lsn(30 * megabyte));
        assert_eq!(slow.seconds_left(), None);
    }

    #[test]
    fn each_phase_is_said_in_words() {
        let mut copying = row(Phase::Copy);
        (copying.tables, copying.indexes) = (Part { done: 3, all: 12 }, Part { done: 1, all: 20 });
        (copying.bytes, copying.seconds_left) = (Part { done: 1 << 30, all: 4 << 30 }, Some(240));
        copying.slot = Some(slot(true, 5 << 20));
        assert_eq!(
            copying.at_work(),
            "copies rows: 3 of 12 tables, 1.0 GiB of 4.0 GiB (25 %), about 4m left; 1 of 20 indexes; \
             the source keeps 5.0 MiB of write-ahead log for it"
        );
        let following = CopyRow { lag_bytes: Some(3 << 20), lag_seconds: Some(7), ..row(Phase::Following) };
        assert_eq!(following.at_work(), "follows: 3.0 MiB (7s) behind");
        assert_eq!(CopyRow { lag_bytes: Some(100), ..following }.at_work(), "follows: the target is up to date");
    }

    #[test]
    fn slots_that_keep_much_and_ends_that_were_left_are_warned_of() {
        let with = |phase, slot| CopyRow { slot: Some(slot), ..row(phase) };
        let told = |row: &CopyRow| row.trouble(false).map(|(text, _)| text).unwrap_or_default();
        assert_eq!(told(&with(Phase::Following, slot(true, 9 << 20))), "");
        assert!(told(&with(Phase::Following, slot(true, 2 << 30))).contains("keeps 2.0 GiB"));
        assert!(told(&with(Phase::Following, slot(false, 9 << 20))).starts_with("nobody reads slot pgcopydb"));
        let catching_up = CopyRow { connected: true, ..with(Phase::CatchingUp, slot(false, 9 << 20)) };
        assert_eq!(told(&catching_up), "");
        let near = SlotRow { bytes_left: Some(1 << 20), ..slot(true, 9 << 20) };
        assert!(told(&with(Phase::Copy, near)).contains("1.0 MiB more"));
        let gone = SlotRow { exists: false, ..slot(false, 0) };
        assert!(told(&with(Phase::Following, gone.clone())).contains("no slot pgcopydb any more"));
        assert_eq!(told(&with(Phase::Copy, gone)), "");
        let ended = CopyRow { exit_code: Some(12), ..with(Phase::Ended, slot(false, 9 << 20)) };
        assert!(told(&ended).contains("when it was last seen") && told(&CopyRow { exit_code: Some(0), ..ended }).is_empty());
        let stale = CopyRow { end: Some(lsn(1 << 32)), ..row(Phase::Following) };
        let (text, next) = stale.trouble(false).unwrap();
        assert!(text.contains("told to end at 1/0") && next.contains("set endpos 0/0"), "{text} {next}");
        assert_eq!(stale.trouble(true), None);
    }
}
