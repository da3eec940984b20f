//! The cursors of `SCAN`: numbers that stand for the keys where listings go on.
//!
//! Redis's clients expect a number, and may go on with it on another connection or twice. So numbers are kept until
//! many newer ones have been given out, and those where a listing has gone on are the first to go: one that makes many
//! pages ends nobody else's.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use comet_kernel::{Key, UnixMillis};

/// Cursors kept.
const KEPT: usize = 4_096;

/// The cursors given out last.
#[derive(Debug)]
pub(crate) struct Cursors(Mutex<Kept>);

#[derive(Debug)]
struct Kept {
    /// The number that is given out next.
    next: u64,
    /// Where listings have come to.
    ends: BTreeMap<u64, Key>,
    /// Where they have gone on.
    passed: BTreeMap<u64, Key>,
}

impl Cursors {
    /// Numbers begin with the microseconds of the time: one that was given out before a restart stands for nothing after
    /// it, and not for the place of another listing.
    pub(crate) fn new(now: UnixMillis) -> Self {
        let next = now.0.saturating_mul(1_000).max(1);
        Cursors(Mutex::new(Kept { next, ends: BTreeMap::new(), passed: BTreeMap::new() }))
    }

    /// A number for the key behind which a listing goes on that has gone on at a cursor now. Never 0, which means the start
    /// and the end.
    pub(crate) fn put(&self, key: Key, cursor: u64) -> u64 {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = kept.ends.remove(&cursor) {
            kept.passed.insert(cursor, key);
        }
        if kept.ends.len() + kept.passed.len() == KEPT && kept.passed.pop_first().is_none() {
            kept.ends.pop_first();
        }
        let number = kept.next;
        kept.next += 1;
        kept.ends.insert(number, key);
        number
    }

    /// The key behind a number, unless it was never given out or is too old.
    pub(crate) fn find(&self, cursor: u64) -> Option<Key> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.ends.get(&cursor).or_else(|| kept.passed.get(&cursor)).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> Key {
        Key::new(&number.to_be_bytes()).expect("short")
    }

    #[test]
    fn a_cursor_is_known_until_many_newer_listings_have_begun() {
        let cursors = Cursors::new(UnixMillis(1));
        let first = cursors.put(key(0), 0);
        assert_eq!((first, cursors.find(first)), (1_000, Some(key(0))));
        let last = (1..=KEPT).map(|number| cursors.put(key(number), 0)).last().expect("many");
        assert_eq!((cursors.find(first), cursors.find(last)), (None, Some(key(KEPT))));
        assert_eq!((cursors.find(0), cursors.find(last + 1), cursors.find(u64::MAX)), (None, None, None));
    }

    #[test]
    fn a_listing_of_many_pages_ends_no_other() {
        let cursors = Cursors::new(UnixMillis(0));
        let paused = cursors.put(key(0), 0);
        let mut cursor = cursors.put(key(1), 0);
        for number in 0..3 * KEPT {
            let next = cursors.put(key(number), cursor);
            assert!(cursors.find(cursor).is_some(), "a page may be asked for twice");
            cursor = next;
        }
        assert_eq!(cursors.find(paused), Some(key(0)));
    }
}
