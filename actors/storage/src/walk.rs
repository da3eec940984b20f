//! Going through a table, past the places that cannot be read.
//!
//! A damaged block ends every iteration that comes to it, and the database does not tell where the next one begins. So the
//! way on is looked for: a key is readable if an iteration that starts there gives an entry, or finds none to the end. The
//! key behind the last entry is not; some larger one is; and halving the span between them finds where the damage ends.
//! What a healthy file holds within that span is passed over too, and so are the few entries before it of which the database
//! reads ahead: they can be read by their keys, and are in no list.

use std::ops::Bound;

use comet_kernel::limits;
use fjall::{UserKey, UserValue};

use crate::store::{Entries, Store, is_damage, words};
use crate::table::Table;

/// How often a span is halved: keys behind the damage are found if they differ within this many bits.
const HALVINGS: usize = 160;

/// Larger than every key: none is longer than this, with what some tables put before it.
const PAST_ALL: [u8; limits::KEY_BYTES + 64] = [0xff; limits::KEY_BYTES + 64];

/// The entries of a table in order, as far as they can be read.
pub(crate) struct Walk<'a> {
    store: &'a Store,
    table: Table,
    entries: Entries,
    /// The key of the last entry, or the one that was started behind.
    last: Vec<u8>,
    /// The keys behind which something was passed over.
    gaps: Vec<Vec<u8>>,
}

impl<'a> Walk<'a> {
    /// From behind `after`, or from the first.
    pub(crate) fn new(store: &'a Store, table: Table, after: Option<&[u8]>) -> Self {
        let entries = store.range(table, after.map_or(Bound::Unbounded, Bound::Excluded));
        Walk { store, table, entries, last: after.unwrap_or_default().to_vec(), gaps: Vec::new() }
    }

    /// The keys behind which something was passed over so far.
    pub(crate) fn into_gaps(self) -> Vec<Vec<u8>> {
        self.gaps
    }

    /// Goes on behind what cannot be read.
    fn pass_over(&mut self) -> Result<(), String> {
        let readable = |from: &[u8]| is_readable(self.store, self.table, from);
        let from = next_readable(&self.last, readable)?;
        self.gaps.push(std::mem::replace(&mut self.last, from));
        self.entries = self.store.range(self.table, Bound::Included(&self.last));
        Ok(())
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<(UserKey, UserValue), String>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.entries.next()? {
                Ok((key, value)) => {
                    self.last = key.to_vec();
                    return Some(Ok((key, value)));
                }
                Err(error) if !is_damage(&error) => return Some(Err(words(error))),
                Err(_) => {
                    if let Err(reason) = self.pass_over() {
                        return Some(Err(reason));
                    }
                }
            }
        }
    }
}

fn is_readable(store: &Store, table: Table, from: &[u8]) -> Result<bool, String> {
    match store.range(table, Bound::Included(from)).next() {
        None | Some(Ok(_)) => Ok(true),
        Some(Err(error)) if is_damage(&error) => Ok(false),
        Some(Err(error)) => Err(words(error)),
    }
}

/// The first readable key behind `last`, as near as [`HALVINGS`] get. What follows `last` at once is not readable.
fn next_readable(last: &[u8], readable: impl Fn(&[u8]) -> Result<bool, String>) -> Result<Vec<u8>, String> {
    let (mut damaged, mut sound) = (last.to_vec(), PAST_ALL.to_vec());
    for length in (1..=last.len()).rev() {
        let Some(candidate) = successor(&last[..length]) else { continue };
        if readable(&candidate)? {
            sound = candidate;
            break;
        }
        damaged = candidate;
    }
    for _ in 0..HALVINGS {
        let middle = between(&damaged, &sound);
        if readable(&middle)? {
            sound = middle;
        } else {
            damaged = middle;
        }
    }
    Ok(sound)
}

/// The first of the keys behind all that begin with these bytes; none if there is none of that length.
fn successor(bytes: &[u8]) -> Option<Vec<u8>> {
    let (last, rest) = bytes.split_last()?;
    Some([rest, &[last.checked_add(1)?]].concat())
}

/// The middle between two keys, taken as fractions.
fn between(a: &[u8], b: &[u8]) -> Vec<u8> {
    let digit = |bytes: &[u8], place: usize| u16::from(bytes.get(place).copied().unwrap_or(0));
    let length = a.len().max(b.len()) + 1;
    let mut middle = vec![0; length];
    let mut carry = 0;
    for place in (0..length).rev() {
        let sum = digit(a, place) + digit(b, place) + carry;
        (middle[place], carry) = (sum as u8, sum >> 8);
    }
    for digit in &mut middle {
        let sum = carry << 8 | u16::from(*digit);
        (*digit, carry) = ((sum / 2) as u8, sum % 2);
    }
    while middle.last() == Some(&0) {
        middle.pop();
    }
    middle
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_lies_between() {
        for (a, b) in
            [(&b"a"[..], &b"b"[..]), (b"", b"\x01"), (b"k99", b"k\xff"), (b"\xff", &PAST_ALL), (b"a", b"a\x01")]
        {
            let middle = between(a, b);
            assert!(a < &middle[..] && &middle[..] < b, "{a:?} {middle:?} {b:?}");
        }
        assert_eq!(between(b"\xfe", b"\xff"), b"\xfe\x80");
    }

    #[test]
    fn the_way_on_lies_behind_the_largest_key_too() {
        let largest = [0xff; limits::KEY_BYTES];
        let on = next_readable(&largest, |from| Ok(from > &largest[..])).expect("nothing fails");
        assert!(on[..] > largest[..]);
    }

    #[test]
    fn the_way_on_begins_where_the_damage_ends() {
        let mut keys: Vec<Vec<u8>> = (0..2_000).map(|n| format!("key {n}").into_bytes()).collect();
        keys.sort();
        for (first, behind) in [(1, 2), (100, 140), (500, 1_900), (1_950, 2_000)] {
            // As the database has it: damage from behind the entry before it up to its own last key.
            let readable = |from: &[u8]| {
                let entry = keys.partition_point(|key| &key[..] < from);
                Ok(!(first..behind).contains(&entry))
            };
            let on = next_readable(&keys[first - 1], readable).expect("nothing fails");
            assert_eq!(keys.partition_point(|key| key < &on), behind, "{first} to {behind}");
        }
    }
}
