//! Threads: where actors run.
//!
//! A [`Thread`] is a place that keeps its name while the operating system's thread behind it may change: an actor that
//! is stuck in a handler cannot be taken off its thread, so its supervisor abandons the thread and renews the place.

use std::sync::{Arc, Mutex, PoisonError};

use actix::ArbiterHandle;

/// A named place for actors, backed by one thread at a time. Copies share it.
#[derive(Clone, Debug)]
pub struct Thread(Arc<Place>);

#[derive(Debug)]
struct Place {
    name: &'static str,
    /// Whether the thread behind it is the place's own, and not one that others count on.
    own: bool,
    backing: Mutex<Backing>,
}

#[derive(Debug)]
struct Backing {
    arbiter: Option<ArbiterHandle>,
    number: Number,
}

/// Tells the threads apart that were behind one place.
pub(crate) type Number = u64;

impl Thread {
    /// A place without a thread yet; the first use starts one.
    pub fn new(name: &'static str) -> Self {
        Thread(Arc::new(Place { name, own: true, backing: Mutex::new(Backing { arbiter: None, number: 0 }) }))
    }

    /// The thread on which this is called, which must be an actix system's or arbiter's.
    pub fn current() -> Self {
        let backing = Backing { arbiter: Some(actix::Arbiter::current()), number: 0 };
        Thread(Arc::new(Place { name: "current", own: false, backing: Mutex::new(backing) }))
    }

    /// What it is called.
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// Runs `work` there, on the thread that is behind the place now.
    ///
    /// # Panics
    ///
    /// If no actix system runs, or the operating system gives no thread.
    pub fn run(&self, work: impl FnOnce() + Send + 'static) {
        self.place(work);
    }

    /// As [`Thread::run`]; says on which of its threads.
    pub(crate) fn place(&self, work: impl FnOnce() + Send + 'static) -> Number {
        let mut backing = self.0.backing.lock().unwrap_or_else(PoisonError::into_inner);
        backing.arbiter.get_or_insert_with(|| actix::Arbiter::new().handle()).spawn_fn(work);
        backing.number
    }

    /// Abandons the thread of this number, unless that has happened already; the next use starts another. What runs on
    /// the old one ends when it next yields. A thread that is not the place's own stays.
    pub(crate) fn renew(&self, number: Number) {
        let mut backing = self.0.backing.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.0.own || backing.number != number {
            return;
        }
        backing.number += 1;
        if let Some(old) = backing.arbiter.take() {
            old.stop();
        }
    }
}
