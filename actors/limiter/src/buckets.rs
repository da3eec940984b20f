//! What is remembered of each bucket, in bounded memory.
//!
//! A bucket that is full need not be remembered, and a bucket from which nothing was taken for as long as it takes to fill
//! up is full. So there are two generations: what is touched moves into the young one; after the time of a filling, or
//! when the young one has taken half of the bound, the old one is forgotten and the young one becomes old. Nothing is ever
//! searched. If the bound is what makes it forget, those forgotten are the ones from which nothing was taken for longest,
//! and they gain one filling.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use comet_kernel::contract::limiter::Subject;
use comet_kernel::{Clock, Moment};
use governor::nanos::Nanos;
use governor::state::StateStore;

/// Buckets of one kind in memory at most, both generations together.
pub(crate) const BUCKETS: usize = 100_000;

/// The state of every bucket that may not be full. Copies share it.
#[derive(Clone, Debug)]
pub(crate) struct Buckets(Rc<RefCell<Generations>>);

#[derive(Debug)]
struct Generations {
    clock: Clock,
    filling: Duration,
    young: HashMap<Subject, Nanos, ahash::RandomState>,
    old: HashMap<Subject, Nanos, ahash::RandomState>,
    since: Moment,
}

impl Buckets {
    /// No bucket yet; an empty one is full after `filling`.
    pub(crate) fn new(clock: &Clock, filling: Duration) -> Self {
        let (young, old) = (HashMap::default(), HashMap::default());
        let since = clock.now();
        Buckets(Rc::new(RefCell::new(Generations { clock: clock.clone(), filling, young, old, since })))
    }

    /// How many are remembered.
    pub(crate) fn len(&self) -> usize {
        let mut generations = self.0.borrow_mut();
        generations.turn();
        let twice = generations.young.keys().filter(|subject| generations.old.contains_key(*subject)).count();
        generations.young.len() + generations.old.len() - twice
    }
}

impl Generations {
    fn turn(&mut self) {
        let now = self.clock.now();
        if now.since(self.since) >= self.filling || self.young.len() >= BUCKETS / 2 {
            self.old = std::mem::take(&mut self.young);
            self.since = now;
        }
    }
}

impl StateStore for Buckets {
    type Key = Subject;

    fn measure_and_replace<T, F, E>(&self, subject: &Subject, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut generations = self.0.borrow_mut();
        generations.turn();
        let Generations { young, old, .. } = &mut *generations;
        if let Some(state) = young.get_mut(subject) {
            let (outcome, next) = decide(Some(*state))?;
            *state = next;
            return Ok(outcome);
        }
        let (outcome, next) = decide(old.get(subject).copied())?;
        young.insert(subject.clone(), next);
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use comet_kernel::UnixMillis;
    use std::convert::Infallible;
    use std::net::Ipv6Addr;

    fn subject(number: usize) -> Subject {
        Subject::Client(Ipv6Addr::from(number as u128).into())
    }

    /// Takes from a bucket; the state that was remembered.
    fn touch(buckets: &Buckets, number: usize, state: u64) -> Option<u64> {
        let outcome: Result<_, Infallible> =
            buckets.measure_and_replace(&subject(number), |former| Ok((former, Nanos::from(state))));
        let Ok(former) = outcome;
        former.map(Nanos::as_u64)
    }

    #[test]
    fn a_bucket_is_forgotten_only_once_it_must_be_full() {
        let clock = Clock::manual(UnixMillis(0));
        let buckets = Buckets::new(&clock, Duration::from_secs(10));
        clock.advance(Duration::from_secs(9));
        assert_eq!(touch(&buckets, 1, 5), None);
        clock.advance(Duration::from_secs(9));
        assert_eq!(touch(&buckets, 1, 6), Some(5), "it is not full before ten seconds have passed");
        clock.advance(Duration::from_secs(10));
        assert_eq!(buckets.len(), 1);
        clock.advance(Duration::from_secs(10));
        assert_eq!(buckets.len(), 0);
        assert_eq!(touch(&buckets, 1, 7), None);
    }

    #[test]
    fn memory_is_bounded_and_the_busy_stay_in_it() {
        let buckets = Buckets::new(&Clock::manual(UnixMillis(0)), Duration::from_secs(10));
        touch(&buckets, 0, 0);
        for number in 1..3 * BUCKETS {
            touch(&buckets, number, 1);
            if number.is_multiple_of(BUCKETS / 4) {
                assert!(touch(&buckets, 0, 1).is_some(), "a bucket in use was forgotten after {number} others");
            }
        }
        assert!(buckets.len() <= BUCKETS, "{}", buckets.len());
    }

    #[test]
    fn a_refusal_changes_nothing() {
        let buckets = Buckets::new(&Clock::manual(UnixMillis(0)), Duration::from_secs(10));
        let refused: Result<(), _> = buckets.measure_and_replace(&subject(1), |_| Err("no"));
        assert_eq!((refused, buckets.len()), (Err("no"), 0));
    }
}
