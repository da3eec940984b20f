//! What the next round is to be about, and when it falls due.

use std::time::Duration;

use comet_kernel::{Key, Moment, Responder};

use super::scope::Scope;
use crate::messages::Changed;

/// A round begins at the latest after so many delays, however fast changes follow each other; and after a third of the
/// interval, unless one delay is longer.
const PATIENCE: u32 = 5;
/// Those who wait for the end of a round. More go without an answer.
const WAITING: usize = 256;

/// What the next round is to be about.
#[derive(Debug)]
pub(super) struct Wishes {
    /// How long it waits for others after a wish.
    delay: Duration,
    /// How long it waits in all.
    patience: Duration,
    scope: Scope,
    waiting: Vec<Responder<()>>,
    first: Option<Moment>,
    last: Moment,
    at_once: bool,
}

impl Wishes {
    /// No wish yet; after each, others may come for `delay`. A round about everything comes once in `interval` by itself.
    pub fn none(delay: Duration, interval: Duration) -> Self {
        Wishes::with(delay, (PATIENCE * delay).min(interval / 3).max(delay))
    }

    fn with(delay: Duration, patience: Duration) -> Self {
        let (first, last) = (None, Moment::default());
        Wishes { delay, patience, scope: Scope::default(), waiting: Vec::new(), first, last, at_once: false }
    }

    /// A round about everything, at once if so wanted.
    pub fn everything(&mut self, thorough: bool, at_once: bool, now: Moment) {
        self.scope.all = true;
        self.scope.thorough |= thorough;
        self.at_once |= at_once;
        self.note(now);
    }

    /// A thorough round about everything at once, for somebody who waits until it is done.
    pub fn answered(&mut self, responder: Responder<()>, now: Moment) {
        self.everything(true, true, now);
        if self.waiting.len() < WAITING {
            self.waiting.push(responder);
        }
    }

    /// A round about what a change among the neighbours concerns.
    pub fn change(&mut self, changed: Changed, now: Moment) {
        self.scope.change(changed);
        if !self.scope.is_empty() {
            self.note(now);
        }
    }

    /// A round about one object. To name it again puts nothing off: a key that is asked for all the time is mended, too.
    pub fn name(&mut self, key: Key, now: Moment) {
        if self.scope.name(key) {
            self.note(now);
        }
    }

    /// When a round falls due; none if nobody wishes one.
    pub fn due(&self) -> Option<Moment> {
        let first = self.first?;
        if self.at_once {
            return Some(first);
        }
        Some((self.last + self.delay).min(first + self.patience))
    }

    /// What the round is about, and who waits for it. The wishes begin anew.
    pub fn take(&mut self) -> (Scope, Vec<Responder<()>>) {
        let taken = std::mem::replace(self, Wishes::with(self.delay, self.patience));
        (taken.scope, taken.waiting)
    }

    fn note(&mut self, now: Moment) {
        self.first.get_or_insert(now);
        self.last = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Moment {
        Moment::default() + Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_round_waits_for_silence_but_not_for_ever() {
        let mut wishes = Wishes::none(Duration::from_millis(100), Duration::from_secs(60));
        let key = Key::new(b"k").expect("short");
        assert_eq!(wishes.due(), None);
        wishes.name(key.clone(), at(10));
        assert_eq!(wishes.due(), Some(at(110)));
        wishes.name(key.clone(), at(50));
        assert_eq!(wishes.due(), Some(at(110)), "it knows that");
        wishes.name(Key::new(b"l").expect("short"), at(60));
        assert_eq!(wishes.due(), Some(at(160)));
        wishes.name(Key::new(b"m").expect("short"), at(490));
        assert_eq!(wishes.due(), Some(at(510)));
        wishes.everything(true, true, at(500));
        assert_eq!(wishes.due(), Some(at(10)), "at once");
        let (scope, _) = wishes.take();
        assert!(scope.all && scope.thorough && wishes.due().is_none());
    }

    #[test]
    fn where_the_interval_is_short_neighbours_that_come_one_by_one_do_not_hold_a_round_up_for_long() {
        let mut wishes = Wishes::none(Duration::from_secs(3), Duration::from_secs(10));
        (0..10).for_each(|second| wishes.name(Key::new(&[second]).expect("short"), at(1_000 * u64::from(second))));
        assert_eq!(wishes.due().map(|due| due.elapsed().as_secs()), Some(3));
        let mut wishes = Wishes::none(Duration::from_secs(3), Duration::from_secs(1));
        wishes.name(Key::new(b"k").expect("short"), at(0));
        assert_eq!(wishes.due(), Some(at(3_000)), "one delay in any case");
    }
}
