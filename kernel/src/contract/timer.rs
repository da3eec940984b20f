//! The contract of time: who is woken when.
//!
//! ```text
//!     aso
//!  -> timer                                (this contract)
//!     aso (Tick), storage (the index of what is due)
//! ```
//!
//! The index of what is due is written by storage together with the record, so that no timer can be lost; the timer
//! actor holds the same entries in memory and learns of changes by [`Arm`]. It delivers each tick at least once: it
//! sends [`crate::contract::aso::Op::Tick`] and forgets the entry only when the object answers when it is due next.

use serde::{Deserialize, Serialize};

use crate::clock::{Clock, UnixMillis};
use crate::handle::Handle;
use crate::key::Key;

/// Sets when an object is woken next, in place of what was set before.
#[derive(Clone, Debug)]
pub struct Arm {
    /// Which object.
    pub key: Key,
    /// When; none disarms it.
    pub due: Option<UnixMillis>,
}

/// Forgets every entry, when the store is cleared.
#[derive(Clone, Debug)]
pub struct DisarmAll;

/// Answers how the timers stand.
#[derive(Clone, Debug)]
pub struct ReadTimers;

/// How the timers stand.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timers {
    /// Entries held.
    pub armed: u64,
    /// Whether the index has been read to its end since the start.
    pub loaded: bool,
    /// Ticks delivered since the start.
    pub delivered: u64,
    /// Ticks that found nobody to take them and were tried again.
    pub retried: u64,
    /// Milliseconds until the next tick; negative if it is late.
    pub next_ms: Option<i64>,
}

crate::messages! {
    "timer":
    Arm -> ();
    DisarmAll -> ();
    ReadTimers -> Timers;
}

/// The way to the timer.
#[derive(Clone, Debug)]
pub struct Service {
    /// See [`Arm`].
    pub arm: Handle<Arm>,
    /// See [`DisarmAll`].
    pub disarm_all: Handle<DisarmAll>,
    /// See [`ReadTimers`].
    pub read_timers: Handle<ReadTimers>,
}

impl Service {
    /// A way to nobody yet.
    pub fn vacant(clock: &Clock) -> Self {
        Service { arm: Handle::vacant(clock), disarm_all: Handle::vacant(clock), read_timers: Handle::vacant(clock) }
    }
}
