//! What a supervisor decides by: pure values, no actors.

use std::collections::VecDeque;
use std::time::Duration;

use rand::Rng;

use crate::clock::Moment;
use crate::exit::Exit;

/// Who is restarted when one child fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// The child alone.
    OneForOne,
    /// The child and those that started after it, which may rest on it.
    RestForOne,
    /// All children.
    OneForAll,
}

impl Strategy {
    /// The children to stop and start again when child `failed` of `count` ends.
    pub fn affected(self, failed: usize, count: usize) -> std::ops::Range<usize> {
        assert!(failed < count, "a supervisor restarts only its own children");
        match self {
            Strategy::OneForOne => failed..failed + 1,
            Strategy::RestForOne => failed..count,
            Strategy::OneForAll => 0..count,
        }
    }
}

/// Whether a child that ended is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// In any case.
    Permanent,
    /// Only if it failed.
    Transient,
    /// Never.
    Temporary,
}

impl Restart {
    /// Whether a child that ended like this is started again.
    pub fn wanted(self, exit: &Exit) -> bool {
        match self {
            Restart::Permanent => true,
            Restart::Transient => !exit.is_normal(),
            Restart::Temporary => false,
        }
    }
}

/// How many failures in how long a supervisor takes before it gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intensity {
    /// So many are taken.
    pub failures: usize,
    /// In so long.
    pub within: Duration,
}

/// Counts failures against an intensity.
#[derive(Clone, Debug)]
pub struct Failures {
    intensity: Intensity,
    recent: VecDeque<Moment>,
}

impl Failures {
    /// No failures yet.
    pub fn new(intensity: Intensity) -> Self {
        Failures { intensity, recent: VecDeque::new() }
    }

    /// Counts a failure; whether there have now been more than the intensity takes.
    pub fn count(&mut self, now: Moment) -> bool {
        while self.recent.front().is_some_and(|first| now.since(*first) > self.intensity.within) {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
        let too_many = self.recent.len() > self.intensity.failures;
        if too_many {
            self.recent.pop_front();
        }
        too_many
    }

    /// Failures that still count.
    pub fn recent(&self) -> usize {
        self.recent.len()
    }
}

/// How long a failed child waits before it is started again: twice as long for each failure that still counts, with up
/// to half as much again by chance, so that what failed together does not come back together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The first wait.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
}

impl Backoff {
    /// The wait after the `failures`-th failure, counted from 1.
    pub fn wait(self, failures: usize, random: &mut impl Rng) -> Duration {
        let doublings = failures.saturating_sub(1).min(20) as u32;
        let wait = self.first.saturating_mul(1 << doublings).min(self.longest);
        wait.mul_f64(random.random_range(1.0..1.5))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn a_strategy_names_who_is_restarted() {
        assert_eq!(Strategy::OneForOne.affected(1, 4), 1..2);
        assert_eq!(Strategy::RestForOne.affected(1, 4), 1..4);
        assert_eq!(Strategy::OneForAll.affected(1, 4), 0..4);
    }

    #[test]
    fn failures_that_lie_far_back_do_not_count() {
        let mut failures = Failures::new(Intensity { failures: 2, within: Duration::from_secs(10) });
        let at = |second| Moment::default() + Duration::from_secs(second);
        assert!(!failures.count(at(0)));
        assert!(!failures.count(at(1)));
        assert!(!failures.count(at(12)), "the first two lie too far back");
        assert!(!failures.count(at(13)));
        assert!(failures.count(at(14)));
    }

    #[test]
    fn waits_double_up_to_the_longest_and_differ_by_chance() {
        let backoff = Backoff { first: Duration::from_millis(10), longest: Duration::from_secs(1) };
        let mut random = rand::rngs::StdRng::seed_from_u64(7);
        let wait = backoff.wait(3, &mut random);
        assert!(wait >= Duration::from_millis(40) && wait < Duration::from_millis(60), "{wait:?}");
        assert!(backoff.wait(1_000, &mut random) < Duration::from_millis(1_500));
    }
}
