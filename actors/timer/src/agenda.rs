//! What is due when: a pure value that is told everything and decides what comes next.
//!
//! A key is in one of two places: it waits for its due moment on the wall clock, or an attempt to deliver its tick is open.
//! An attempt stays open until the object has answered, over as many tries as that takes; the next try is counted in
//! monotonic time, so that a wall clock that jumps back does not put it off.
//!
//! While an attempt is open, nobody can say whether the object armed its timer before or after it took the tick. So of
//! what the object armed and what it answered, the earlier moment counts: a tick too many is answered with the right
//! moment, a tick too few is lost for good.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use comet_kernel::{Key, Moment, UnixMillis};

/// Everything that is due at some time.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    dues: HashMap<Key, UnixMillis>,
    queue: BTreeSet<(UnixMillis, Key)>,
    attempts: HashMap<Key, Attempt>,
    retries: BTreeSet<(Moment, Key)>,
    serial: u64,
}

/// A tick on its way, until the object has answered.
#[derive(Debug)]
struct Attempt {
    due: UnixMillis,
    /// Tells this attempt from those that were open when everything was forgotten.
    serial: u64,
    failures: usize,
    /// What the object armed meanwhile.
    armed: Option<UnixMillis>,
}

/// A tick to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tick {
    /// To whom.
    pub(crate) key: Key,
    /// Of which attempt.
    pub(crate) serial: u64,
}

impl Agenda {
    /// Sets when a key is due, in place of what was set before; none takes it off.
    pub(crate) fn arm(&mut self, key: Key, due: Option<UnixMillis>) {
        if let Some(attempt) = self.attempts.get_mut(&key) {
            attempt.armed = due;
            return;
        }
        self.disarm(&key);
        if let Some(due) = due {
            self.dues.insert(key.clone(), due);
            self.queue.insert((due, key));
        }
    }

    /// Sets when a key is due if nothing is known of it yet.
    pub(crate) fn learn(&mut self, key: Key, due: UnixMillis) {
        if !self.dues.contains_key(&key) && !self.attempts.contains_key(&key) {
            self.arm(key, Some(due));
        }
    }

    /// The next tick to send, if its time has come.
    pub(crate) fn next(&mut self, now: Moment, unix: UnixMillis) -> Option<Tick> {
        if let Some((_, key)) = pop_until(&mut self.retries, now) {
            let attempt = self.attempts.get(&key).expect("what is tried again has an open attempt");
            return Some(Tick { key, serial: attempt.serial });
        }
        let (due, key) = pop_until(&mut self.queue, unix)?;
        self.dues.remove(&key);
        self.serial += 1;
        let attempt = Attempt { due, serial: self.serial, failures: 0, armed: None };
        self.attempts.insert(key.clone(), attempt);
        Some(Tick { key, serial: self.serial })
    }

    /// The object took the tick and says when it is due next.
    pub(crate) fn taken(&mut self, tick: Tick, next: Option<UnixMillis>) {
        if self.open(&tick).is_some() {
            let armed = self.attempts.remove(&tick.key).and_then(|attempt| attempt.armed);
            self.arm(tick.key, next.into_iter().chain(armed).min());
        }
    }

    /// Nobody took the tick: it is sent again after a wait that depends on how often it failed.
    pub(crate) fn missed(&mut self, tick: Tick, now: Moment, wait: impl FnOnce(usize) -> Duration) {
        if let Some(attempt) = self.open(&tick) {
            attempt.failures += 1;
            let at = now + wait(attempt.failures);
            self.retries.insert((at, tick.key));
        }
    }

    /// How long until the next tick can be sent; none if there is none to send.
    pub(crate) fn wait(&self, now: Moment, unix: UnixMillis) -> Option<Duration> {
        let due = self.queue.first().map(|(due, _)| unix.until(*due));
        let retry = self.retries.first().map(|(at, _)| at.since(now));
        due.into_iter().chain(retry).min()
    }

    /// The earliest moment at which anything is due, or was.
    pub(crate) fn earliest(&self) -> Option<UnixMillis> {
        let waiting = self.queue.first().map(|(due, _)| *due);
        self.attempts.values().map(|attempt| attempt.due).chain(waiting).min()
    }

    /// How many keys are due at some time.
    pub(crate) fn len(&self) -> usize {
        self.dues.len() + self.attempts.len()
    }

    /// Forgets everything. The answers to ticks that are under way count for nothing.
    pub(crate) fn clear(&mut self) {
        *self = Agenda { serial: self.serial, ..Agenda::default() };
    }

    /// The attempt that this tick belongs to, unless it was forgotten.
    fn open(&mut self, tick: &Tick) -> Option<&mut Attempt> {
        self.attempts.get_mut(&tick.key).filter(|attempt| attempt.serial == tick.serial)
    }

    fn disarm(&mut self, key: &Key) {
        if let Some((key, due)) = self.dues.remove_entry(key) {
            self.queue.remove(&(due, key));
        }
    }
}

/// Takes out the first entry unless its time lies after `now`.
fn pop_until<T: Copy + Ord>(queue: &mut BTreeSet<(T, Key)>, now: T) -> Option<(T, Key)> {
    queue.first().filter(|(at, _)| *at <= now)?;
    queue.pop_first()
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: UnixMillis = UnixMillis(1_000_000);

    fn key(name: &str) -> Key {
        Key::new(name.as_bytes()).expect("a short key")
    }

    fn at(milliseconds: u64) -> UnixMillis {
        START.after(Duration::from_millis(milliseconds))
    }

    fn moment(milliseconds: u64) -> Moment {
        Moment::default() + Duration::from_millis(milliseconds)
    }

    /// What is sent at this time, all of it.
    fn due(agenda: &mut Agenda, milliseconds: u64) -> Vec<Tick> {
        std::iter::from_fn(|| agenda.next(moment(milliseconds), at(milliseconds))).collect()
    }

    fn one(ticks: Vec<Tick>) -> Tick {
        let [tick] = <[Tick; 1]>::try_from(ticks).expect("one tick");
        tick
    }

    #[test]
    fn ticks_come_in_the_order_of_their_time_and_not_before_it() {
        let mut agenda = Agenda::default();
        for (name, milliseconds) in [("c", 30), ("a", 10), ("b", 20)] {
            agenda.arm(key(name), Some(at(milliseconds)));
        }
        assert_eq!(due(&mut agenda, 9), []);
        let keys: Vec<_> = due(&mut agenda, 25).into_iter().map(|tick| tick.key).collect();
        assert_eq!(keys, [key("a"), key("b")]);
        assert_eq!(agenda.wait(moment(25), at(25)), Some(Duration::from_millis(5)));
    }

    #[test]
    fn arming_takes_the_place_of_what_was_armed_before() {
        let mut agenda = Agenda::default();
        agenda.arm(key("a"), Some(at(10)));
        agenda.arm(key("a"), Some(at(50)));
        assert_eq!((due(&mut agenda, 49), agenda.len()), (vec![], 1));
        agenda.arm(key("a"), None);
        assert_eq!((due(&mut agenda, 100), agenda.len(), agenda.earliest()), (vec![], 0, None));
    }

    #[test]
    fn what_is_learnt_does_not_replace_what_is_known() {
        let mut agenda = Agenda::default();
        agenda.arm(key("a"), Some(at(50)));
        agenda.learn(key("a"), at(10));
        assert_eq!(due(&mut agenda, 10), []);
        let tick = one(due(&mut agenda, 50));
        agenda.learn(key("a"), at(10));
        assert_eq!(due(&mut agenda, 60), [], "one tick at once for each object");
        agenda.taken(tick, None);
        assert_eq!(agenda.len(), 0);
    }

    #[test]
    fn an_entry_is_forgotten_only_when_the_object_has_answered() {
        let mut agenda = Agenda::default();
        agenda.arm(key("a"), Some(at(10)));
        for failures in 1..5 {
            let tick = one(due(&mut agenda, 100 * failures));
            agenda.missed(tick, moment(100 * failures), |count| {
                assert_eq!(count as u64, failures);
                Duration::from_millis(50)
            });
            assert_eq!((due(&mut agenda, 100 * failures + 49), agenda.len()), (vec![], 1));
            assert_eq!(agenda.earliest(), Some(at(10)), "it is late since then");
        }
        let tick = one(due(&mut agenda, 1_000));
        agenda.taken(tick, Some(at(2_000)));
        assert_eq!((due(&mut agenda, 1_999), due(&mut agenda, 2_000).len()), (vec![], 1));
    }

    #[test]
    fn of_what_was_armed_meanwhile_and_what_was_answered_the_earlier_counts() {
        for (armed, answered, expected) in [
            (Some(100), Some(200), Some(100)),
            (Some(200), Some(100), Some(100)),
            (Some(100), None, Some(100)),
            (None, Some(100), Some(100)),
            (None, None, None),
        ] {
            let mut agenda = Agenda::default();
            agenda.arm(key("a"), Some(at(10)));
            let tick = one(due(&mut agenda, 10));
            agenda.arm(key("a"), armed.map(at));
            agenda.taken(tick, answered.map(at));
            assert_eq!(agenda.earliest(), expected.map(at), "{armed:?} {answered:?}");
        }
    }

    #[test]
    fn a_retry_does_not_wait_for_a_wall_clock_that_jumped_back() {
        let mut agenda = Agenda::default();
        agenda.arm(key("a"), Some(at(10)));
        let tick = one(due(&mut agenda, 10));
        agenda.missed(tick, moment(10), |_| Duration::from_millis(50));
        assert!(agenda.next(moment(60), UnixMillis(0)).is_some());
    }

    #[test]
    fn after_everything_was_forgotten_a_late_answer_changes_nothing() {
        let mut agenda = Agenda::default();
        agenda.arm(key("a"), Some(at(10)));
        agenda.arm(key("b"), Some(at(10)));
        let ticks = due(&mut agenda, 10);
        agenda.clear();
        agenda.arm(key("b"), Some(at(20)));
        let fresh = one(due(&mut agenda, 20));
        for tick in ticks {
            agenda.taken(tick.clone(), Some(at(30)));
            agenda.missed(tick, moment(20), |_| Duration::ZERO);
        }
        assert_eq!((due(&mut agenda, 40), agenda.len()), (vec![], 1));
        agenda.taken(fresh, None);
        assert_eq!(agenda.len(), 0);
    }
}
