//! What routing counts, for the operator: see `routing::NetworkStatus`.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

/// What is counted since the start.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Look-ups that asked the network.
    pub look_ups: Count,
    /// Requests that those took.
    pub look_up_requests: Count,
    /// Copies sent to other nodes, and taken there.
    pub copies_sent: Count,
    /// Copies taken from other nodes.
    pub copies_taken: Count,
    /// Surplus copies dropped.
    pub copies_dropped: Count,
    /// What peers sent that was refused.
    pub refused: Count,
}

impl Count {
    /// Counts so many.
    pub fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    /// How many so far.
    pub fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
