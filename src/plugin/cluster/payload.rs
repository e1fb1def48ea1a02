//! The helper binaries that this plugin carries, one per Linux architecture of a node.

use std::io::Read;

use flate2::read::GzDecoder;

use crate::failure::{Failure, Result};

/// A `dbmig-agent` for one architecture, compressed.
#[derive(Debug, Clone, Copy)]
pub struct Payload {
    /// As Kubernetes names it: `amd64`, `arm64`.
    pub arch: &'static str,
    /// Length in bytes when unpacked.
    pub bytes: u64,
    /// SHA-256 of the unpacked bytes, lower-case hex.
    pub sha256: &'static str,
    packed: &'static [u8],
}

/// Every architecture that this build can serve.
pub const PAYLOADS: &[Payload] = include!(concat!(env!("OUT_DIR"), "/agents.rs"));

impl Payload {
    /// The one for a node.
    ///
    /// # Errors
    /// Names the architectures that are there.
    pub fn for_arch(arch: &str) -> Result<&'static Self> {
        PAYLOADS.iter().find(|payload| payload.arch == arch).ok_or_else(|| {
            let have: Vec<_> = PAYLOADS.iter().map(|payload| payload.arch).collect();
            Failure::refused(format!("this build of kubectl-dbmig has no helper binary for {arch} nodes"))
                .fact(format!("it has: {}", if have.is_empty() { "none".to_owned() } else { have.join(", ") }))
                .state("nothing was changed")
                .next(format!("install a release build, or build with DBMIG_AGENT_{}=PATH", arch.to_uppercase()))
        })
    }

    /// The executable.
    ///
    /// # Errors
    /// Only when this binary itself is damaged.
    pub fn unpack(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(usize::try_from(self.bytes).unwrap_or_default());
        GzDecoder::new(self.packed).read_to_end(&mut bytes).map_err(|error| {
            Failure::failed(format!("the helper binary in this plugin is damaged: {error}")).next("install kubectl-dbmig again")
        })?;
        Ok(bytes)
    }

    /// Folder and file name that no other build shares, so that an old copy is never taken for this one.
    #[must_use]
    pub fn names(&self) -> (String, String) {
        (format!(".dbmig-{}", &self.sha256[..12]), "dbmig-agent".to_owned())
    }

    /// Where it lies below a folder of a container.
    #[must_use]
    pub fn path(&self, dir: &str) -> String {
        let (folder, file) = self.names();
        format!("{}/{folder}/{file}", dir.trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn every_payload_unpacks_to_the_bytes_it_promises() {
        for payload in PAYLOADS {
            let bytes = payload.unpack().expect("unpacks");
            let digest = dbmig_wire::hex(&Sha256::digest(&bytes));
            assert_eq!((bytes.len() as u64, digest.as_str()), (payload.bytes, payload.sha256), "{}", payload.arch);
        }
    }

    #[test]
    fn an_architecture_that_is_left_out_is_named() {
        let failure = Payload::for_arch("riscv64").expect_err("has none");
        assert!(failure.message.contains("riscv64"), "{failure}");
    }
}
