//! What other holders have compared lately, so that not everyone compares everything with everyone.
//!
//! A comparison is remembered as one number, in two generations: after a quarter of the interval, the old one is forgotten
//! and the young one becomes old. So a comparison counts for a quarter of the interval at least and for half of it at most.
//! What finds a full generation is not remembered, and costs one comparison too many.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use comet_kernel::Moment;

use crate::wire::Item;

/// Comparisons in one generation: with two of them, about two megabytes.
const GENERATION: usize = 1 << 17;

/// What others have compared.
#[derive(Debug)]
pub(super) struct Heard {
    /// Seeded by chance, so that nobody can choose items that pass for each other.
    hasher: RandomState,
    quarter: Duration,
    since: Moment,
    young: HashSet<u64>,
    old: HashSet<u64>,
}

impl Heard {
    /// Nothing heard yet.
    pub fn new(interval: Duration, now: Moment) -> Self {
        let (young, old) = (HashSet::new(), HashSet::new());
        Heard { hasher: RandomState::new(), quarter: interval / 4, since: now, young, old }
    }

    /// Another holder has compared an object, and this node has the same.
    pub fn note(&mut self, item: &Item, now: Moment) {
        self.turn(now);
        if self.young.len() < GENERATION {
            self.young.insert(self.digest(item));
        }
    }

    /// Whether another holder has compared the very same lately.
    pub fn knows(&mut self, item: &Item, now: Moment) -> bool {
        self.turn(now);
        let digest = self.digest(item);
        self.young.contains(&digest) || self.old.contains(&digest)
    }

    /// Nothing that was heard counts any more.
    pub fn forget(&mut self) {
        (self.young, self.old) = (HashSet::new(), HashSet::new());
    }

    fn digest(&self, item: &Item) -> u64 {
        self.hasher.hash_one((&item.key, item.version, item.state))
    }

    fn turn(&mut self, now: Moment) {
        let age = now.since(self.since);
        if age < self.quarter {
            return;
        }
        let young = std::mem::take(&mut self.young);
        self.old = if age < 2 * self.quarter { young } else { HashSet::new() };
        self.since = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use comet_kernel::Key;

    fn item(number: u64) -> Item {
        Item { key: Key::new(b"k").expect("short"), version: number, state: 0 }
    }

    #[test]
    fn a_comparison_counts_for_half_the_interval_at_most() {
        let at = |seconds| Moment::default() + Duration::from_secs(seconds);
        let mut heard = Heard::new(Duration::from_secs(40), at(0));
        heard.note(&item(1), at(5));
        assert!(heard.knows(&item(1), at(12)));
        assert!(!heard.knows(&item(2), at(12)), "another version is another comparison");
        assert!(!heard.knows(&item(1), at(25)));
        heard.note(&item(3), at(26));
        assert!(!heard.knows(&item(3), at(60)), "after a long silence nothing is left");
    }

    #[test]
    fn memory_is_bounded() {
        let mut heard = Heard::new(Duration::from_secs(40), Moment::default());
        for number in 0..2 * GENERATION as u64 {
            heard.note(&item(number), Moment::default());
        }
        assert_eq!(heard.young.len(), GENERATION);
    }
}
