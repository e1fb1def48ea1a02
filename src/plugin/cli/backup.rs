//! What can be typed about the backup before a migration. Nothing is decided here.

use clap::ValueEnum;

/// How a backup is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Method {
    /// No backup
    None,
    /// By pg_dump, mariadb-dump or mysqldump in a pod like the one that migrates, or an SQLite file by SQLite itself; on a new PersistentVolumeClaim
    Dump,
    /// An SQLite file by SQLite itself, on a new PersistentVolumeClaim; refused for a server
    Pvc,
    /// A VolumeSnapshot of the claim that holds the SQLite file, or the files of the server
    #[value(name = "volumesnapshot")]
    VolumeSnapshot,
}

/// The backup before a migration.
#[derive(clap::Args, Clone)]
pub struct BackupArgs {
    /// Back the database up before anything is migrated, and prove the backup; it stays until `cleanup` finds it old
    #[arg(long, value_name = "KIND", value_enum, default_value_t = Method::None)]
    pub backup: Method,
    /// Image with pg_dump and pg_restore, mariadb-dump or mysqldump; else the one that migrates
    #[arg(long, value_name = "IMAGE")]
    pub backup_image: Option<String>,
    /// Size of the claim for the backup, such as 20Gi; else estimated by the size of the database
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub backup_size: Option<String>,
    /// Storage class of the claim for the backup, or VolumeSnapshotClass; else the default one
    #[arg(long, value_name = "NAME")]
    pub backup_class: Option<String>,
}

/// A size as Kubernetes writes it.
fn size(text: &str) -> Result<String, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let number = digits.parse::<f64>().is_ok_and(|number| number > 0.0);
    let unit = &text[digits.len()..];
    let known = ["", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti"].contains(&unit);
    if number && known { Ok(text.to_owned()) } else { Err("it must be a size such as 500Mi or 20Gi".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn a_size_is_written_as_kubernetes_writes_it() {
        for good in ["20Gi", "500Mi", "1.5G", "1048576"] {
            assert_eq!(size(good).as_deref(), Ok(good));
        }
        for bad in ["", "0Gi", "Gi", "20GB", "-1Gi", "20 Gi", "20gi"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }
}
