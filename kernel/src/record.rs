//! What the node knows of one object, as it is stored.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::UnixMillis;
use crate::identity::ScriptHash;
use crate::provenance::{Provenance, Removal};
use crate::value::Value;

/// An object at rest. A plain value is a record without a script.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// When this version of the object was put: a hybrid timestamp that only grows for one key.
    pub version: u64,
    /// What a client put, or what a handler left in `this.value`.
    pub value: Value,
    /// When the object ends, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<UnixMillis>,
    /// What makes the object active, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<Box<Active>>,
    /// Who alone may replace or remove the object, if it was put as owned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Arc<str>>,
    /// Where this version comes from, if the node is part of a network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Box<Provenance>>,
}

/// The active half of a record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Active {
    /// The script that runs.
    pub script: ScriptRef,
    /// The fields of `this` other than `value`.
    pub state: Value,
    /// The object's timer, if it set one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timer: Option<Interval>,
    /// Handlers stay off until the operator releases the object.
    #[serde(default)]
    pub quarantined: bool,
}

/// Which script an object runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScriptRef {
    /// The version that ran last.
    pub hash: ScriptHash,
    /// The name whose newest version the object follows; none if it was put by hash, by source or with `PIN`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<Arc<str>>,
}

/// A repeating timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interval {
    /// Seconds between ticks, at least 1.
    pub seconds: u32,
    /// When the next tick is due.
    pub due: UnixMillis,
}

impl Record {
    /// A plain value.
    pub fn plain(version: u64, value: Value) -> Self {
        Record { version, value, expires: None, active: None, owner: None, provenance: None }
    }

    /// Whether the object's life has ended by `now`.
    pub fn expired(&self, now: UnixMillis) -> bool {
        self.expires.is_some_and(|end| end <= now)
    }

    /// How far the removal reaches, if the record is a tombstone.
    pub fn removed(&self) -> Option<Removal> {
        self.provenance.as_ref().and_then(|provenance| provenance.removed)
    }

    /// Whether there is an object for a client to see: it has not ended, and was not removed.
    pub fn is_live(&self, now: UnixMillis) -> bool {
        !self.expired(now) && self.removed().is_none()
    }

    /// The moments at which the timer actor has to wake this object.
    pub fn dues(&self) -> Dues {
        let tick = self.active.as_ref().filter(|active| !active.quarantined).and_then(|active| active.timer);
        Dues { tick: tick.map(|timer| timer.due), expiry: self.expires }
    }
}

/// When a record wants to be woken: what the index of timers due holds of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dues {
    /// The next `onTimer`.
    pub tick: Option<UnixMillis>,
    /// The end of life.
    pub expiry: Option<UnixMillis>,
}

impl Dues {
    /// The sooner of the two.
    pub fn next(self) -> Option<UnixMillis> {
        self.tick.into_iter().chain(self.expiry).min()
    }
}

/// What an object's script reference reads as for people: its name, or the short hash.
impl std::fmt::Display for ScriptRef {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.follows {
            Some(name) => formatter.write_str(name),
            None => formatter.write_str(&self.hash.short()),
        }
    }
}
