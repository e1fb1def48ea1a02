//! Digests as text. Depends on nothing, so that a build script can include it as a file.

/// Bytes in lower-case hex, the way SHA-256 digests are told everywhere here.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}
