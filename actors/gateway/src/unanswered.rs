//! Which keys have writes under way on a connection, or calls that wait behind them, so that what comes after them
//! waits its turn.

use ahash::RandomState;

const BUCKETS: usize = 256;

/// Counts such calls as are not answered yet, by the hash of their key. Two keys may share a bucket; then a read takes
/// the longer way to its object and is right all the same.
#[derive(Debug)]
pub(crate) struct Unanswered {
    hasher: RandomState,
    total: u32,
    counts: Box<[u32; BUCKETS]>,
}

/// Where a call is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bucket(u8);

impl Unanswered {
    /// Nothing is under way.
    pub(crate) fn new() -> Self {
        Unanswered { hasher: RandomState::new(), total: 0, counts: Box::new([0; BUCKETS]) }
    }

    /// Whether what comes next on this key has to wait its turn.
    pub(crate) fn holds(&self, key: &[u8]) -> bool {
        self.total > 0 && self.counts[self.bucket(key)] > 0
    }

    /// Counts a call in.
    pub(crate) fn enter(&mut self, key: &[u8]) -> Bucket {
        let bucket = self.bucket(key);
        self.total += 1;
        self.counts[bucket] += 1;
        Bucket(bucket as u8)
    }

    /// Counts a call out.
    pub(crate) fn leave(&mut self, bucket: Bucket) {
        self.total -= 1;
        self.counts[usize::from(bucket.0)] -= 1;
    }

    fn bucket(&self, key: &[u8]) -> usize {
        self.hasher.hash_one(key) as usize % BUCKETS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_held_until_its_last_call_is_answered() {
        let mut unanswered = Unanswered::new();
        let (first, second) = (unanswered.enter(b"k"), unanswered.enter(b"k"));
        unanswered.leave(first);
        assert!(unanswered.holds(b"k"));
        unanswered.leave(second);
        assert!(!unanswered.holds(b"k"));
    }
}
