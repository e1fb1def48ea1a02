//! Volumes of a known size, gone with the value even when a test fails.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use tempfile::TempDir;

/// Bytes of a block.
pub(crate) const PAGE: u64 = 4096;

/// A mounted file system.
pub(crate) struct Mount {
    folder: TempDir,
    _image: Option<TempDir>,
}

impl Mount {
    /// In memory, with this many bytes for files.
    pub(crate) fn tmpfs(bytes: u64) -> Self {
        Self::tmpfs_with(&format!("size={bytes}"))
    }

    /// In memory, with these options of tmpfs.
    pub(crate) fn tmpfs_with(options: &str) -> Self {
        let folder = TempDir::new().unwrap();
        mount(&["-t", "tmpfs", "-o", options, "none"], folder.path());
        Self { folder, _image: None }
    }

    /// In memory, with nothing but files.
    pub(crate) fn ramfs() -> Self {
        let folder = TempDir::new().unwrap();
        mount(&["-t", "ramfs", "none"], folder.path());
        Self { folder, _image: None }
    }

    /// ext4 on a file of this many bytes; some of them are its own.
    pub(crate) fn ext4(bytes: u64) -> Self {
        let (folder, image) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let file = image.path().join("image");
        fs::File::create(&file).unwrap().set_len(bytes).unwrap();
        // No journal and no blocks for root only: what is free can be written.
        let made =
            Command::new("mkfs.ext4").args(["-q", "-m", "0", "-b", "4096", "-O", "^has_journal"]).arg(&file).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        mount(&["-o", "loop", file.to_str().unwrap()], folder.path());
        Self { folder, _image: Some(image) }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Bytes that can be written.
    pub(crate) fn free(&self) -> u64 {
        let seen = statvfs(self.path()).unwrap();
        seen.f_bavail * seen.f_frsize
    }

    /// Fills it with a file until just these bytes are free, in whole pages.
    pub(crate) fn leave(&self, bytes: u64) {
        let wanted = bytes.next_multiple_of(PAGE);
        let file = fs::OpenOptions::new().create(true).append(true).open(self.filler()).unwrap();
        // What was written before may take its blocks only now.
        file.sync_all().unwrap();
        let mut length = file.metadata().unwrap().len();
        // The file's own map takes blocks, too, so it may need some tries.
        while self.free() != wanted {
            if self.free() > wanted {
                // The last pages one by one: of many, the map would not find its own.
                let more = self.free() - wanted;
                let more = if more > 8 * PAGE { more - 8 * PAGE } else { PAGE };
                fallocate(&file, FallocateFlags::empty(), length, more).unwrap();
                length += more;
            } else {
                length -= wanted - self.free();
                file.set_len(length).unwrap();
            }
        }
    }

    /// Takes back what [`Mount::leave`] took.
    pub(crate) fn make_room(&self) {
        fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }
}

fn mount(args: &[&str], folder: &Path) {
    let mounted = Command::new("mount").args(args).arg(folder).output().unwrap();
    assert!(mounted.status.success(), "this test mounts a file system: {}", String::from_utf8_lossy(&mounted.stderr));
}

impl Drop for Mount {
    fn drop(&mut self) {
        // A failing test tells its own reason; a process that still holds a file keeps the mount until it ends.
        let _ = Command::new("umount").arg("--lazy").arg(self.folder.path()).status();
    }
}
