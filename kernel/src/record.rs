//! What the node knows of one object, as it is stored.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::clock::UnixMillis;
use crate::identity::ScriptHash;
use crate::limits;
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
    /// Whether an older version, on a node that has missed this one, may outlive it. Then its end leaves a mark.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shadows: bool,
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

/// Bits of a version below its milliseconds.
pub const LOW_BITS: u32 = 16;

/// Whether a version is not from farther in the future than clocks may differ. One that is was made while a clock was wrong:
/// nobody else takes it, and it must not stand in the way of what the others agree on.
pub fn is_timely(version: u64, now: UnixMillis) -> bool {
    version >> LOW_BITS <= now.0.saturating_add(limits::CLOCK_SKEW_MS)
}

impl Record {
    /// A plain value.
    pub fn plain(version: u64, value: Value) -> Self {
        Record { version, value, expires: None, active: None, owner: None, provenance: None, shadows: false }
    }

    /// When the record goes: at the end of its life, or, of a mark, as long after that as a tombstone stays.
    pub fn end(&self) -> Option<UnixMillis> {
        let stays = match self.removed() {
            Some(Removal::Ended) => Duration::from_secs(limits::TOMBSTONE_SECONDS),
            _ => Duration::ZERO,
        };
        self.expires.map(|end| end.after(stays))
    }

    /// Whether the record has gone by `now`.
    pub fn expired(&self, now: UnixMillis) -> bool {
        self.end().is_some_and(|end| end <= now)
    }

    /// What stays where a life has ended that older versions may outlive: everything that was signed, but for the value, of
    /// which the digest is left. It is held against older copies as a tombstone is, and proves by itself that it may be.
    /// None if nothing may, or once the mark's own time is over.
    pub fn mark(&self, now: UnixMillis) -> Option<Record> {
        let provenance = self.provenance.as_deref().filter(|signed| self.shadows && signed.removed.is_none())?;
        let value = match provenance.script {
            Some(_) => Value::Nil,
            None => Value::Bytes(self.value_digest().into()),
        };
        let provenance = Some(Box::new(Provenance { removed: Some(Removal::Ended), ..provenance.clone() }));
        let (expires, owner) = (self.expires, self.owner.clone());
        let mark = Record { expires, owner, provenance, shadows: true, ..Record::plain(self.version, value) };
        (!mark.expired(now)).then_some(mark)
    }

    /// SHA-256 of the value as MessagePack; what a mark has in its place.
    pub(crate) fn value_digest(&self) -> [u8; 32] {
        if let (Some(Removal::Ended), Value::Bytes(digest)) = (self.removed(), &self.value)
            && let Ok(digest) = <[u8; 32]>::try_from(&**digest)
        {
            return digest;
        }
        Sha256::digest(rmp_serde::to_vec(&self.value).expect("values encode, and memory takes every write")).into()
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
        Dues { tick: tick.map(|timer| timer.due), expiry: self.end() }
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
