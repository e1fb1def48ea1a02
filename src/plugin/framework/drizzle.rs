//! Drizzle: the SHA-256 of each file that ran, and the time that its journal gives it. Only the newest time is ever looked at: a
//! file that is older and did not run is passed over without a word.

use sha2::{Digest, Sha256};

use super::Framework;
use super::available::{file_name, listed, without};
use super::journal::{Columns, Journal, NONE, Sign};
use super::table::Signature;

/// Drizzle.
pub(super) const DRIZZLE: Journal = Journal {
    framework: Framework::Drizzle,
    signature: Signature::exactly(&["id", "hash", "created_at"]),
    sign: Sign::Ids(|id, _| id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "__drizzle_migrations"),
    order: "created_at",
    columns: Columns { id: "hash", at: "created_at", ..NONE },
    lock: |_, _| None,
    suffixes: &[".sql"],
    available: |scripts| {
        listed(
            scripts,
            |script| {
                let name = without(file_name(&script.path), &[".sql"])?;
                Some((dbmig_wire::hex(&Sha256::digest(script.text.as_bytes())), name.to_owned()))
            },
            |one| one.name.clone(),
        )
    },
    stamp: |_, _| {
        Err("a row of Drizzle holds the time that meta/_journal.json gives the file: apply what the file does with psql or the like, and \
             let `drizzle-kit migrate` pass it"
            .to_owned())
    },
};
