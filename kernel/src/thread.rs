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
    arbiter: Mutex<Option<ArbiterHandle>>,
}

impl Thread {
    /// A place without a thread yet; the first use starts one.
    pub fn new(name: &'static str) -> Self {
        Thread(Arc::new(Place { name, arbiter: Mutex::new(None) }))
    }

    /// The thread on which this is called, which must be an actix system's or arbiter's.
    pub fn current() -> Self {
        let arbiter = Mutex::new(Some(actix::Arbiter::current()));
        Thread(Arc::new(Place { name: "current", arbiter }))
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
        let mut arbiter = self.0.arbiter.lock().unwrap_or_else(PoisonError::into_inner);
        let handle = arbiter.get_or_insert_with(|| actix::Arbiter::new().handle());
        handle.spawn_fn(work);
    }

    /// Abandons the thread; the next use starts another. What runs on the old one ends when it next yields.
    pub(crate) fn renew(&self) {
        let old = self.0.arbiter.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(old) = old {
            old.stop();
        }
    }
}
