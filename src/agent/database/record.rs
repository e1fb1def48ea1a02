//! SQLite's record format: varints, serial types, values. Decodes bytes only; reads no file.
//!
//! Source: <https://www.sqlite.org/fileformat2.html>, "Record Format".

/// A value as it is stored; text in the database's own encoding.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'a> {
    Null,
    Integer(i64),
    Real(f64),
    Text(&'a [u8]),
    Blob(&'a [u8]),
}

/// Reads a varint: its value and the number of bytes it took.
#[inline]
pub(super) fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    match bytes.first() {
        Some(&byte) if byte < 0x80 => Some((u64::from(byte), 1)),
        _ => long_varint(bytes),
    }
}

fn long_varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0u64;
    for (at, &byte) in bytes.iter().take(9).enumerate() {
        if at == 8 {
            return Some(((value << 8) | u64::from(byte), 9));
        }
        value = (value << 7) | u64::from(byte & 0x7f);
        if byte < 0x80 {
            return Some((value, at + 1));
        }
    }
    None
}

/// Appends a varint.
pub(super) fn put_varint(out: &mut Vec<u8>, value: u64) {
    if value >> 56 != 0 {
        for shift in (0..8).rev() {
            out.push(0x80 | (value >> (8 + 7 * shift)) as u8 & 0x7f);
        }
        out.push(value as u8);
        return;
    }
    let groups = (64 - value.leading_zeros()).div_ceil(7).max(1);
    for group in (0..groups).rev() {
        let more = if group == 0 { 0 } else { 0x80 };
        out.push(more | (value >> (7 * group)) as u8 & 0x7f);
    }
}

/// Bytes that a value of this serial type takes; `None` for the two reserved types.
#[inline]
fn length(serial: u64) -> Option<u64> {
    const OF_NUMBERS: [u8; 10] = [0, 1, 2, 3, 4, 6, 8, 8, 0, 0];
    match OF_NUMBERS.get(serial as usize) {
        Some(length) => Some(u64::from(*length)),
        None => serial.checked_sub(12).map(|bytes| bytes / 2),
    }
}

#[inline(always)]
fn value(serial: u64, bytes: &[u8]) -> Value<'_> {
    match serial {
        0 => Value::Null,
        1..=6 => Value::Integer(integer(bytes)),
        7 => Value::Real(f64::from_bits(integer(bytes) as u64)),
        8 => Value::Integer(0),
        9 => Value::Integer(1),
        _ if serial.is_multiple_of(2) => Value::Blob(bytes),
        _ => Value::Text(bytes),
    }
}

#[inline]
fn integer(bytes: &[u8]) -> i64 {
    // The lengths that times and numbers mostly have, without a loop.
    match *bytes {
        [a] => return i64::from(a as i8),
        [a, b, c, d] => return i64::from(i32::from_be_bytes([a, b, c, d])),
        _ => {}
    }
    let negative = bytes.first().is_some_and(|first| first & 0x80 != 0);
    bytes.iter().fold(if negative { -1 } else { 0 }, |sum, &byte| (sum << 8) | i64::from(byte))
}

/// The values of a record, in storage order. Ends early (and says so by [`Fields::broken`]) where the bytes make no sense.
pub(super) struct Fields<'a> {
    serials: &'a [u8],
    body: &'a [u8],
    broken: bool,
}

impl<'a> Fields<'a> {
    /// Starts at the first value of `record`.
    pub(super) fn new(record: &'a [u8]) -> Self {
        match parts(record) {
            Some((serials, body)) => Self { serials, body, broken: false },
            None => Self { serials: &[], body: &[], broken: true },
        }
    }

    /// The bytes made no sense.
    pub(super) fn broken(&self) -> bool {
        self.broken
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Value<'a>;

    #[inline]
    fn next(&mut self) -> Option<Value<'a>> {
        if self.serials.is_empty() {
            return None;
        }
        let parts = varint(self.serials).and_then(|(serial, used)| {
            let length = usize::try_from(length(serial)?).ok()?;
            Some((serial, used, self.body.split_at_checked(length)?))
        });
        let Some((serial, used, (bytes, rest))) = parts else {
            self.broken = true;
            self.serials = &[];
            return None;
        };
        self.serials = &self.serials[used..];
        self.body = rest;
        Some(value(serial, bytes))
    }
}

/// Reads a few values out of a record into `picked`: `places` says for each of its first values which of them it is, if any. `false`
/// where the record has fewer values or makes no sense.
#[inline]
pub(super) fn pick<'a>(record: &'a [u8], places: &[Option<usize>], picked: &mut [Value<'a>]) -> bool {
    let Some((mut serials, mut body)) = parts(record) else { return false };
    for place in places {
        let Some((serial, used)) = varint(serials) else { return false };
        serials = &serials[used..];
        let Some((bytes, rest)) = length(serial).and_then(|length| body.split_at_checked(usize::try_from(length).ok()?)) else {
            return false;
        };
        body = rest;
        if let Some(which) = place {
            let Some(into) = picked.get_mut(*which) else { return false };
            *into = value(serial, bytes);
        }
    }
    true
}

/// The serial types and the values of a record.
#[inline]
fn parts(record: &[u8]) -> Option<(&[u8], &[u8])> {
    let (header, used) = varint(record)?;
    let (header, body) = record.split_at_checked(usize::try_from(header).ok()?)?;
    Some((header.get(used..)?, body))
}

/// What is needed to read a record's last value, which in an index is the rowid.
pub(super) struct Last {
    serial: u64,
    /// Bytes at the very end of the record that hold it.
    pub(super) bytes: usize,
}

impl Last {
    /// From the front of a record; `None` if the header is not whole or makes no sense.
    pub(super) fn of(front: &[u8]) -> Option<Self> {
        let (header, used) = varint(front)?;
        let mut serials = front.get(used..usize::try_from(header).ok()?)?;
        let mut last = None;
        while !serials.is_empty() {
            let (serial, used) = varint(serials)?;
            serials = serials.get(used..)?;
            last = Some(serial);
        }
        let serial = last?;
        Some(Self { serial, bytes: usize::try_from(length(serial)?).ok()? })
    }

    /// The value as an integer, from the record's last [`Last::bytes`] bytes.
    pub(super) fn integer(&self, end: &[u8]) -> Option<i64> {
        match value(self.serial, end) {
            Value::Integer(value) => Some(value),
            _ => None,
        }
    }
}

/// Appends a record of text, integer and NULL values, as the schema table needs it.
pub(super) fn put_record(out: &mut Vec<u8>, values: &[Value<'_>]) {
    let mut serials = Vec::new();
    let mut body = Vec::new();
    for value in values {
        match value {
            Value::Null => serials.push(0),
            Value::Integer(value) => {
                serials.push(6);
                body.extend(value.to_be_bytes());
            }
            Value::Real(value) => {
                serials.push(7);
                body.extend(value.to_bits().to_be_bytes());
            }
            Value::Text(bytes) => {
                put_varint(&mut serials, 13 + 2 * bytes.len() as u64);
                body.extend(*bytes);
            }
            Value::Blob(bytes) => {
                put_varint(&mut serials, 12 + 2 * bytes.len() as u64);
                body.extend(*bytes);
            }
        }
    }
    let mut length = serials.len() as u64 + 1;
    if length > 127 {
        length += 1;
    }
    put_varint(out, length);
    out.extend(serials);
    out.extend(body);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_of_every_length_come_back() {
        let edges = (0..64).flat_map(|bits| [(1u64 << bits) - 1, 1 << bits, (1 << bits) + 1]);
        for value in edges.chain([u64::MAX]) {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            assert_eq!(varint(&bytes), Some((value, bytes.len())), "{value:#x}");
        }
    }

    #[test]
    fn a_cut_record_ends_as_broken() {
        let mut bytes = Vec::new();
        put_record(&mut bytes, &[Value::Text(b"abc"), Value::Integer(-7)]);
        let whole: Vec<_> = Fields::new(&bytes).collect();
        assert_eq!(whole, [Value::Text(b"abc"), Value::Integer(-7)]);
        let mut cut = Fields::new(&bytes[..bytes.len() - 1]);
        assert_eq!(cut.by_ref().count(), 1);
        assert!(cut.broken());
    }
}
