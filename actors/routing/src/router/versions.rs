//! Hybrid timestamps: which of two changes is the newer one, although no two clocks agree.
//!
//! A version is the time in milliseconds, 16 bits to the left, and a number that tells apart what falls into the same
//! millisecond. That number is random: two nodes that change one key in one millisecond must not come to the same version,
//! because equal versions stand for the same change. For the same reason the step past a version that another node made is
//! random and wide, and the one past an own version small, so that many changes fit into a millisecond.

use comet_kernel::UnixMillis;
use comet_kernel::record::{LOW_BITS, is_timely};

/// The widest step past an own version. A millisecond has room for about 2,000 of them on average.
const STEP: u64 = 64;

/// Gives versions. Each is greater than all before it, and than all that it has seen, unless the clock was set back
/// since by more than clocks may differ: no other node would take what is greater than those.
#[derive(Debug, Default)]
pub(super) struct Versions {
    last: u64,
    /// Whether `last` was given by this node.
    own: bool,
}

impl Versions {
    /// The next version. `random` is any number.
    pub(super) fn next(&mut self, now: UnixMillis, random: u64) -> u64 {
        if !is_timely(self.last, now) {
            self.last = 0;
        }
        let fresh = (now.0 << LOW_BITS) | (random & 0xffff);
        let step = if self.own { random % STEP } else { random & 0xffff };
        self.last = if fresh > self.last { fresh } else { self.last + 1 + step };
        self.own = true;
        self.last
    }

    /// Takes note of a version that another node has given. One from too far in the future is no version at all: it
    /// must not carry this node's clock along.
    pub(super) fn saw(&mut self, version: u64, now: UnixMillis) {
        if version > self.last && is_timely(version, now) {
            (self.last, self.own) = (version, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_700_000_000_000);

    #[test]
    fn versions_grow_while_the_clock_stands_or_goes_back() {
        let mut versions = Versions::default();
        let mut last = 0;
        for random in 0..10_000 {
            let now = UnixMillis(NOW.0 - random / 100);
            let version = versions.next(now, random.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 8);
            assert!(version > last);
            last = version;
        }
        assert!(last >> LOW_BITS <= NOW.0 + 10, "they do not run away from the clock");
    }

    #[test]
    fn a_version_is_greater_than_all_that_were_seen_unless_those_are_from_the_future() {
        let mut versions = Versions::default();
        let seen = (NOW.0 + 1_000) << LOW_BITS;
        versions.saw(seen, NOW);
        assert!(versions.next(NOW, 0) > seen);
        versions.saw(u64::MAX, NOW);
        assert!(is_timely(versions.next(NOW, 0), NOW));
    }

    #[test]
    fn what_was_given_while_the_clock_was_an_hour_ahead_is_forgotten_when_it_is_right_again() {
        let mut versions = Versions::default();
        versions.next(UnixMillis(NOW.0 + 3_600_000), 0);
        let next = versions.next(NOW, 0);
        assert!(is_timely(next, NOW));
        assert!(versions.next(NOW, 0) > next);
    }

    #[test]
    fn two_nodes_that_go_past_one_version_come_to_different_ones() {
        let seen = (NOW.0 + 1_000) << LOW_BITS;
        let next = |random| {
            let mut versions = Versions::default();
            versions.saw(seen, NOW);
            versions.next(NOW, random)
        };
        assert_ne!(next(17), next(17 + STEP));
    }
}
