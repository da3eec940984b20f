//! What holds between this node and one peer, on all lanes between them.

use std::sync::Arc;
use std::time::Duration;

use comet_kernel::Clock;
use comet_kernel::settings::Network;

use super::allowance::Allowance;
use super::budget::Budget;
use crate::tally::Count;

/// What holds between this node and one peer. Made once for each peer; copies share counters and rates.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub clock: Clock,
    /// How long the peer may take to greet.
    pub patience: Duration,
    pub traffic: Arc<Traffic>,
    pub allowance: Arc<Allowance>,
    /// The same for all peers.
    pub budget: Budget,
}

/// What is counted of a peer since it was connected: see `routing::Peer`. What was sent was answered, has failed, or is
/// under way.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    /// Requests sent to the peer.
    pub sent: Count,
    /// Requests that it answered.
    pub answered: Count,
    /// Requests that it did not answer, or not in time.
    pub failed: Count,
    /// Requests that came from it.
    pub received: Count,
    /// Those of them that were refused for its rate.
    pub limited: Count,
}

impl Terms {
    /// The terms for a peer that this node knows nothing of yet. All peers of a node share its `budget`.
    pub fn new(clock: &Clock, network: &Network, budget: &Budget) -> Self {
        Terms {
            clock: clock.clone(),
            patience: Duration::from_millis(network.request_timeout_ms),
            traffic: Arc::default(),
            allowance: Arc::new(Allowance::new(clock, network)),
            budget: budget.clone(),
        }
    }
}
