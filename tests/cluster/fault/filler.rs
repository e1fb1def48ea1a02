//! Takes all the room that a volume has left.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// A file that takes all the room that is left; gone when dropped.
pub(crate) struct Filler(PathBuf);

impl Filler {
    /// Fills the volume that is seen here as a folder.
    pub(crate) fn new(folder: &Path) -> Self {
        let path = folder.join("filler");
        let mut file = File::create(&path).expect("the volume takes a file");
        for piece in [1 << 20, 4096, 512] {
            let zeros = vec![0; piece];
            while file.write_all(&zeros).is_ok() {}
        }
        let full = file.write_all(&[0; 4096]).is_err();
        let room = rustix::fs::statvfs(&path).expect("a mounted volume").f_bavail;
        assert!(full && room == 0, "the volume still has {room} blocks");
        Self(path)
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        // The test that made it reports what matters.
        let _ = std::fs::remove_file(&self.0);
    }
}
