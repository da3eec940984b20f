//! The contract of rates: leases of tokens and of processor time.
//!
//! ```text
//!     gateway, aso
//!  -> limiter                              (this contract)
//! ```
//!
//! The limiter owns every bucket. A holder takes a lease of many tokens at once and spends it by itself, so that a
//! request on the hot path costs no message. A lease that is not spent is lost with its holder.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::handle::Handle;
use crate::key::Key;

/// Whose bucket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// Requests of one client address at the gateway. One token is one request.
    Client(IpAddr),
    /// Calls of one object by everyone. One token is one call.
    Object(Key),
    /// Calls of one object by one caller. One token is one call.
    CallerAtObject(Arc<str>, Key),
    /// Processor time of one object. One token is one microsecond.
    Processor(Key),
    /// What one object asks of other nodes. One token is one action.
    Network(Key),
}

/// Asks for a lease.
#[derive(Clone, Debug)]
pub struct Lease {
    /// Whose bucket.
    pub subject: Subject,
    /// How many tokens; more than the bucket can ever hold is cut to that.
    pub tokens: u32,
}

/// The answer to a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leased {
    /// This many tokens, at least 1 and at most as many as were asked for.
    Granted {
        /// How many.
        tokens: u32,
    },
    /// None now.
    Refused {
        /// When there will be one.
        retry_after_ms: u64,
    },
}

/// Answers how the buckets stand.
#[derive(Clone, Debug)]
pub struct ReadBuckets;

/// How the buckets stand.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Buckets {
    /// Buckets that are not full, which are the ones held in memory.
    pub held: u64,
    /// Leases granted since the start.
    pub granted: u64,
    /// Leases refused since the start.
    pub refused: u64,
}

crate::messages! {
    "limiter":
    Lease -> Leased;
    ReadBuckets -> Buckets;
}

/// The way to the limiter.
#[derive(Clone, Debug)]
pub struct Service {
    /// See [`Lease`].
    pub lease: Handle<Lease>,
    /// See [`ReadBuckets`].
    pub read_buckets: Handle<ReadBuckets>,
}

impl Service {
    /// A way to nobody yet.
    pub fn vacant(clock: &Clock) -> Self {
        Service { lease: Handle::vacant(clock), read_buckets: Handle::vacant(clock) }
    }
}
