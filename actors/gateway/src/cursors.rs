//! The cursors of `SCAN`: numbers that stand for the keys where listings go on.
//!
//! Redis's clients expect a number, and may go on with it on another connection or twice. So numbers are kept until
//! many newer ones have been given out.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use comet_kernel::Key;

/// Cursors kept.
const KEPT: usize = 4_096;

/// The cursors given out last.
#[derive(Debug, Default)]
pub(crate) struct Cursors(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// The number of the oldest one kept, counted from 0.
    oldest: u64,
    keys: VecDeque<Key>,
}

impl Cursors {
    /// A number for the key behind which a listing goes on. Never 0, which means the start and the end.
    pub(crate) fn put(&self, key: Key) -> u64 {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.keys.len() == KEPT {
            kept.keys.pop_front();
            kept.oldest += 1;
        }
        kept.keys.push_back(key);
        kept.oldest + kept.keys.len() as u64
    }

    /// The key behind a number, unless it was never given out or is too old.
    pub(crate) fn find(&self, cursor: u64) -> Option<Key> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let index = cursor.checked_sub(1)?.checked_sub(kept.oldest)?;
        kept.keys.get(usize::try_from(index).ok()?).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_known_until_many_newer_ones_have_been_given_out() {
        let cursors = Cursors::default();
        let key = |number: usize| Key::new(&number.to_be_bytes()).expect("short");
        let first = cursors.put(key(0));
        assert_eq!((first, cursors.find(first)), (1, Some(key(0))));
        let last = (1..=KEPT).map(|number| cursors.put(key(number))).last().expect("many");
        assert_eq!((cursors.find(first), cursors.find(last)), (None, Some(key(KEPT))));
        assert_eq!((cursors.find(0), cursors.find(last + 1), cursors.find(u64::MAX)), (None, None, None));
    }
}
