//! How full the volumes of a pod are, as our binary beside them sees it: nobody has to be allowed to ask kubelets. Reads only.

use dbmig_wire::{Stat, Volume};

use crate::cluster::volume::{Mount, Source};
use crate::command::reach::Reach;
use crate::framework::{Finding, Level};
use crate::ui::human::bytes;

/// From here on a volume is worth a word, and has as good as no room, in parts of a hundred.
const NEARLY: u64 = 90;
const FULL: u64 = 98;

/// A finding for each volume that is full or nearly so, unless that was told already.
pub(super) async fn findings(reach: &Reach, told: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (mount, folder) in reach.volumes() {
        let call = Stat { paths: vec![folder.to_owned()], hash: false };
        // What can't be looked at is no less a volume; whoever uses it will say so.
        let Ok(said) = reach.agent().ask(call, None).await else { continue };
        findings.extend(finding(mount, &said.volume).filter(|_| !told.contains(&format!("{} is full", name(mount)))));
    }
    findings
}

fn finding(mount: &Mount, volume: &Volume) -> Option<Finding> {
    let used = (volume.total_bytes.saturating_sub(volume.free_bytes) * 100).checked_div(volume.total_bytes)?;
    let no_inodes = volume.free_inodes == Some(0);
    let level = match used {
        _ if no_inodes => Level::Broken,
        FULL.. => Level::Broken,
        // The others are parts of the node's own disk.
        NEARLY.. if matches!(mount.source, Source::Claim(_)) => Level::Attention,
        _ => return None,
    };
    let what = match no_inodes {
        true => format!("{}, mounted at {}, can take no more files: it has no inode left", name(mount), mount.path),
        false => format!("{}, mounted at {}, is {used} % full", name(mount), mount.path),
    };
    let evidence = format!("{} of {} are free", bytes(volume.free_bytes), bytes(volume.total_bytes));
    Some(
        Finding::new(level, what)
            .evidence(evidence)
            .next("kubectl dbmig vacuum TARGET --dry-run   # if a SQLite database fills it"),
    )
}

fn name(mount: &Mount) -> String {
    match &mount.source {
        Source::Claim(claim) => format!("pvc/{claim}"),
        Source::HostPath(path) => format!("the node's {path}"),
        Source::WithPod(kind) => format!("volume {} ({kind})", mount.volume),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_without_room_or_without_inodes_is_told() {
        let mount = Mount {
            volume: "data".into(),
            source: Source::Claim("data-shop-0".into()),
            path: "/data".into(),
            sub_path: String::new(),
        };
        let judged = |free_bytes, free_inodes| {
            let volume = Volume { total_bytes: 1000, free_bytes, free_inodes, block_bytes: 1, read_only: false };
            finding(&mount, &volume).map(|finding| (finding.level, finding.what))
        };
        assert_eq!(judged(500, Some(9)), None);
        assert_eq!(judged(90, None), Some((Level::Attention, "pvc/data-shop-0, mounted at /data, is 91 % full".to_owned())));
        assert_eq!(judged(10, None).map(|found| found.0), Some(Level::Broken));
        assert!(judged(500, Some(0)).is_some_and(|(level, what)| level == Level::Broken && what.contains("no inode")));
    }
}
