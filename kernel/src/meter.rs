//! Counting what passes into mailboxes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::{Clock, Moment};

/// One in how many messages has its wait measured: reading the clock twice for each would be a tenth of its cost.
const SAMPLE: u64 = 64;

/// Counts the messages of one kind that go to one actor, or to all actors of one kind.
#[derive(Debug)]
pub struct Meter {
    name: &'static str,
    clock: Clock,
    sent: AtomicU64,
    taken: AtomicU64,
    refused: AtomicU64,
    wait_ns: AtomicU64,
    samples: AtomicU64,
}

/// What a meter shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Messages in the mailbox now.
    pub depth: u64,
    /// Messages that have left it.
    pub taken: u64,
    /// Messages refused because it was full or nobody was there.
    pub refused: u64,
    /// Mean wait in the mailbox in nanoseconds, of one message in 64.
    pub wait_ns: u64,
}

impl Meter {
    /// A meter for messages of this name.
    pub fn new(name: &'static str, clock: Clock) -> Arc<Self> {
        let zero = || AtomicU64::new(0);
        let meter =
            Meter { name, clock, sent: zero(), taken: zero(), refused: zero(), wait_ns: zero(), samples: zero() };
        Arc::new(meter)
    }

    /// The message's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What it shows now.
    pub fn read(&self) -> Reading {
        let taken = self.taken.load(Ordering::Relaxed);
        let refused = self.refused.load(Ordering::Relaxed);
        Reading {
            depth: self.sent.load(Ordering::Relaxed).saturating_sub(taken),
            taken,
            refused,
            wait_ns: self.wait_ns.load(Ordering::Relaxed) / self.samples.load(Ordering::Relaxed).max(1),
        }
    }

    /// Counts a message in. Its wait ends when the passage is dropped, be it by an actor or with a dead mailbox.
    pub(crate) fn enter(self: &Arc<Self>) -> Passage {
        let number = self.sent.fetch_add(1, Ordering::Relaxed);
        let sent = number.is_multiple_of(SAMPLE).then(|| self.clock.now());
        Passage { meter: self.clone(), sent, turned_back: false }
    }

    pub(crate) fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }
}

/// One message's time in a mailbox.
#[derive(Debug)]
pub(crate) struct Passage {
    meter: Arc<Meter>,
    sent: Option<Moment>,
    turned_back: bool,
}

impl Passage {
    /// The message was refused: it never was in the mailbox.
    pub(crate) fn turn_back(mut self) {
        self.turned_back = true;
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        if self.turned_back {
            self.meter.sent.fetch_sub(1, Ordering::Relaxed);
            return self.meter.refuse();
        }
        self.meter.taken.fetch_add(1, Ordering::Relaxed);
        if let Some(sent) = self.sent {
            let wait = self.meter.clock.now().since(sent).as_nanos() as u64;
            self.meter.wait_ns.fetch_add(wait, Ordering::Relaxed);
            self.meter.samples.fetch_add(1, Ordering::Relaxed);
        }
    }
}
