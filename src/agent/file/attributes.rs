//! Extended attributes, POSIX ACLs among them: a file that takes another's place must let in whom the other let in.
//! Touches no content.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{XattrFlags, fgetxattr, flistxattr, fremovexattr, fsetxattr, fstatvfs};
use rustix::io::Errno;

use crate::error::{Explain, Result};
use crate::report::Report;

/// Bytes of the longest value and of the longest list of names (`XATTR_SIZE_MAX` and `XATTR_LIST_MAX` in Linux's `limits.h`).
const LONGEST: usize = 64 << 10;

/// What belongs to a file besides `user.*`: who may use it, and as what security modules see it. Others are bound to the
/// content or to the file system and are never copied.
const CARRIED: [&str; 5] =
    ["system.posix_acl_access", "system.nfs4_acl", "system.richacl", "security.selinux", "security.SMACK64"];

/// Free blocks that are more than enough for a file's attributes.
const BLOCKS: u64 = 256;

/// What a new file has by itself: security modules label every file.
const LABELS: &str = "security.";

/// Makes the attributes of `to`, which is at `path`, those of `from`. One that this file system or this process cannot set is
/// told as a note. Give owner and mode before: changing the mode changes an ACL.
///
/// # Errors
/// `NoSpace` when they do not fit, an I/O error.
pub(crate) fn carry(from: &File, to: &File, path: &str, report: &dyn Report) -> Result<()> {
    let (wanted, there) = (all(from)?, all(to)?);
    let mut left = Vec::new();
    let mut done = |name: &OsStr, outcome: rustix::io::Result<()>| match outcome {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP | Errno::PERM | Errno::ACCESS | Errno::INVAL | Errno::TOOBIG | Errno::RANGE) => {
            left.push(name.to_string_lossy().into_owned());
            Ok(())
        }
        // ext4 says so of what is longer than a block, whatever room there is.
        Err(Errno::NOSPC) if fstatvfs(to).is_ok_and(|seen| seen.f_bavail > BLOCKS) => {
            left.push(name.to_string_lossy().into_owned());
            Ok(())
        }
        Err(error) => Err(error).explain(|| format!("cannot give {path} the attribute {}", name.to_string_lossy())),
    };
    for (name, _) in there.iter().filter(|(name, _)| !name.as_bytes().starts_with(LABELS.as_bytes())) {
        if !wanted.iter().any(|(other, _)| other == name) {
            done(name, fremovexattr(to, name))?;
        }
    }
    for (name, value) in wanted.iter().filter(|attribute| !there.contains(attribute)) {
        done(name, fsetxattr(to, name, value, XattrFlags::empty()))?;
    }
    if !left.is_empty() {
        report.note(&format!("{path} could not be given these attributes of the original: {}", left.join(", ")));
    }
    Ok(())
}

/// Every attribute that is carried, with its value; none where the file system knows no attributes.
fn all(file: &File) -> Result<Vec<(OsString, Vec<u8>)>> {
    let doing = || "cannot read extended attributes".to_owned();
    let mut list = vec![0; LONGEST];
    let names = match flistxattr(file, &mut list[..]) {
        Ok(length) => &list[..length],
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(Vec::new()),
        Err(error) => return Err(error).explain(doing),
    };
    let mut value = vec![0; LONGEST];
    let mut found = Vec::new();
    for name in names.split(|byte| *byte == 0).map(OsStr::from_bytes).filter(|name| is_carried(name)) {
        match fgetxattr(file, name, &mut value[..]) {
            Ok(length) => found.push((name.into(), value[..length].to_vec())),
            // Gone since, or not for us.
            Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::ACCESS | Errno::PERM) => {}
            Err(error) => return Err(error).explain(doing),
        }
    }
    Ok(found)
}

fn is_carried(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b"user.") || CARRIED.iter().any(|carried| name == *carried)
}
