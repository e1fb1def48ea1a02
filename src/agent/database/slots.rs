//! Remembers which keys each slot of a series has sums for, in bounded memory. Reads no file.
//!
//! A key is the values of the key columns, written so that equal ones give equal bytes. Few different keys come back in nearly the
//! same order slot after slot, so each is stored once under a number, and which one comes next is guessed before it is searched for.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::record::Value;

/// Bytes that are remembered before the memory is emptied.
const MOST_BYTES: usize = 2 << 20;

/// What has been learnt until now.
#[derive(Default)]
pub(super) struct Slots {
    known: HashMap<i64, Sums>,
    /// A bit per key, for all slots in a row.
    words: Vec<u64>,
    keys: Vec<Key>,
    numbers: HashMap<Box<[u8]>, usize, BuildHasherDefault<Mix>>,
    /// The key that was asked for last.
    last: usize,
    bytes: usize,
    key: Vec<u8>,
}

/// The keys that a slot has sums for, as a place in [`Slots`]; void after [`Slots::make_room`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Sums {
    /// Number of the first key that the first word stands for, divided by 64.
    base: usize,
    start: usize,
    length: usize,
}

struct Key {
    bytes: Box<[u8]>,
    /// The number of the key that followed it the last time.
    next: usize,
}

impl Slots {
    /// Forgets everything if it has become too much.
    pub(super) fn make_room(&mut self) {
        if self.bytes > MOST_BYTES {
            *self = Self::default();
        }
    }

    /// What is known of a slot.
    pub(super) fn of(&self, slot: i64) -> Option<Sums> {
        self.known.get(&slot).copied()
    }

    /// The number of a key, new or known; `None` for a key that equals nothing.
    pub(super) fn number(&mut self, values: &[Value<'_>]) -> Option<usize> {
        if let Some(known) = self.known(values) {
            return Some(known);
        }
        if !write_key(&mut self.key, values) {
            return None;
        }
        let number = self.keys.len();
        let bytes: Box<[u8]> = self.key.as_slice().into();
        self.bytes += 2 * bytes.len() + 128;
        self.numbers.insert(bytes.clone(), number);
        self.keys.push(Key { bytes, next: 0 });
        self.last = number;
        Some(number)
    }

    /// Notes that a slot has sums for the keys with these numbers.
    pub(super) fn learn(&mut self, slot: i64, numbers: &[usize]) -> Sums {
        let base = numbers.iter().min().map_or(0, |least| least / 64);
        let length = numbers.iter().max().map_or(0, |most| most / 64 + 1 - base);
        let start = self.words.len();
        self.words.resize(start + length, 0);
        for number in numbers {
            self.words[start + number / 64 - base] |= 1 << (number % 64);
        }
        self.bytes += 8 * length + 64;
        let sums = Sums { base, start, length };
        self.known.insert(slot, sums);
        sums
    }

    /// Whether `sums` has the key that these values make.
    #[inline]
    pub(super) fn has(&mut self, sums: Sums, values: &[Value<'_>]) -> bool {
        let Some(number) = self.known(values) else { return false };
        let word = (number / 64).wrapping_sub(sums.base);
        word < sums.length && self.words[sums.start + word] & 1 << (number % 64) != 0
    }

    /// The number of a key that a slot has had.
    #[inline]
    fn known(&mut self, values: &[Value<'_>]) -> Option<usize> {
        let guess = self.keys.get(self.last)?.next;
        if reads_as(&self.keys[guess].bytes, values) {
            self.last = guess;
            return Some(guess);
        }
        if !write_key(&mut self.key, values) {
            return None;
        }
        let number = *self.numbers.get(self.key.as_slice())?;
        self.keys[self.last].next = number;
        self.last = number;
        Some(number)
    }
}

/// Writes a key; `false` if a value is NULL.
fn write_key(key: &mut Vec<u8>, values: &[Value<'_>]) -> bool {
    key.clear();
    values.iter().all(|value| {
        let mut number = [0; 8];
        let Some((kind, bytes)) = comparable(value, &mut number) else { return false };
        key.extend_from_slice(&mark(kind, bytes));
        key.extend_from_slice(bytes);
        true
    })
}

/// Whether these values make this key.
#[inline]
fn reads_as(mut key: &[u8], values: &[Value<'_>]) -> bool {
    let fit = values.iter().all(|value| {
        let mut number = [0; 8];
        let Some((kind, bytes)) = comparable(value, &mut number) else { return false };
        let rest = key.strip_prefix(&mark(kind, bytes)).and_then(|rest| rest.strip_prefix(bytes));
        key = rest.unwrap_or_default();
        rest.is_some()
    });
    fit && key.is_empty()
}

/// Kind and length before the bytes of each value keep keys of several values apart.
#[inline]
fn mark(kind: u64, bytes: &[u8]) -> [u8; 8] {
    ((bytes.len() as u64) << 3 | kind).to_le_bytes()
}

/// A value as bytes that equal ones have in common; `None` for NULL.
#[inline]
fn comparable<'v>(value: &Value<'v>, number: &'v mut [u8; 8]) -> Option<(u64, &'v [u8])> {
    let (kind, bits) = match *value {
        Value::Null => return None,
        Value::Text(bytes) => return Some((3, bytes)),
        Value::Blob(bytes) => return Some((4, bytes)),
        Value::Integer(value) => (1, value.to_le_bytes()),
        // Within this range a real without fraction is exactly one integer.
        Value::Real(value) if value.fract() == 0.0 && value.abs() < 9.0e15 => (1, (value as i64).to_le_bytes()),
        Value::Real(value) => (2, value.to_le_bytes()),
    };
    *number = bits;
    Some((kind, number))
}

/// Hashes a dozen bytes in a few cycles. Nobody gains by making keys collide: that only costs time.
#[derive(Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        for word in words.iter().chain([&last]) {
            self.0 = (self.0.rotate_left(5) ^ u64::from_le_bytes(*word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }

    fn write_usize(&mut self, _: usize) {
        // The length before the bytes: each value in a key carries its own.
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_slot_has_the_keys_it_was_told_in_whatever_order_they_are_asked_for() {
        let text: Vec<String> = (0..300).map(|n| format!("probe-{n}")).collect();
        let key = |n: usize| [Value::Text(text[n].as_bytes()), Value::Integer(n as i64 % 7)];
        let mut slots = Slots::default();
        let odd: Vec<usize> = (1..300).step_by(2).map(|n| slots.number(&key(n)).unwrap()).collect();
        let some: Vec<usize> = [201, 251].iter().map(|n| slots.number(&key(*n)).unwrap()).collect();
        let (odd, some, none) = (slots.learn(300, &odd), slots.learn(600, &some), slots.learn(900, &[]));
        for n in (0..300).chain((0..300).rev()).chain((0..300).map(|n| n * 7 % 300)) {
            assert_eq!(slots.has(odd, &key(n)), n % 2 == 1, "{n}");
            assert_eq!(slots.has(some, &key(n)), n == 201 || n == 251, "{n}");
            assert!(!slots.has(none, &key(n)));
        }
        assert!(slots.of(600).is_some() && slots.of(601).is_none());
    }

    #[test]
    fn values_are_equal_as_numbers_texts_or_bytes_and_null_equals_nothing() {
        let mut slots = Slots::default();
        let numbers: Vec<usize> = [Value::Integer(5), Value::Text(b"5"), Value::Real(0.5)]
            .iter()
            .map(|value| slots.number(&[*value]).unwrap())
            .collect();
        let sums = slots.learn(0, &numbers);
        assert!(
            slots.has(sums, &[Value::Real(5.0)]) && slots.has(sums, &[Value::Text(b"5")]) && slots.has(sums, &[Value::Real(0.5)])
        );
        assert!(
            !slots.has(sums, &[Value::Blob(b"5")]) && !slots.has(sums, &[Value::Null]) && !slots.has(sums, &[Value::Real(5.5)])
        );
        assert_eq!(slots.number(&[Value::Null]), None);
        let pair = slots.number(&[Value::Text(b"a"), Value::Text(b"bc")]).unwrap();
        assert_ne!(slots.number(&[Value::Text(b"ab"), Value::Text(b"c")]), Some(pair));
    }
}
