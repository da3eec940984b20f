//! What a new version of an object has besides its value and its script, and what stays behind of a removed one.
//!
//! The node that takes a change from a client says these things for every node that stores the object: they come with the
//! call as a [`Stamp`] and hold as they are. A node alone works them out for itself.

use std::sync::Arc;
use std::time::Duration;

use comet_kernel::contract::aso::{Op, Put, Reply, Stamp};
use comet_kernel::provenance::{Provenance, Removal, Signature};
use comet_kernel::{Caller, Record, UnixMillis, Value, limits};

use crate::plain::{Circumstances, shown};

/// What a new version has besides its value and its script.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub version: u64,
    pub expires: Option<UnixMillis>,
    pub owner: Option<Arc<str>>,
    pub provenance: Option<Box<Provenance>>,
}

/// Version and end of life of what a put replaces.
pub(crate) type Replaced = (Option<u64>, Option<UnixMillis>);

/// Who asks, and the version that the change is to have, if that is said.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub caller: Arc<Caller>,
    pub stamp: Option<Arc<Stamp>>,
}

impl Terms {
    /// The terms of a put. `version` gives the version that follows the replaced one.
    pub fn of_put(
        put: &Put,
        replaced: Replaced,
        circumstances: Circumstances<'_>,
        version: impl FnOnce(Option<u64>) -> u64,
    ) -> Self {
        match circumstances.stamp {
            Some(stamp) => Terms::stamped(stamp),
            None => Terms {
                version: version(replaced.0),
                expires: put.lifetime.end(replaced.1, circumstances.now, circumstances.max_ttl),
                owner: put.owned.then(|| circumstances.caller.id.clone()),
                provenance: None,
            },
        }
    }

    /// What a stamp says.
    pub fn stamped(stamp: &Stamp) -> Self {
        Terms {
            version: stamp.version,
            expires: stamp.expires,
            owner: stamp.owner.clone(),
            provenance: Some(Box::new(stamp.provenance.clone())),
        }
    }

    /// Those of a record; it is another version now, and nobody has signed that.
    pub fn of(record: &Record) -> Self {
        Terms { version: record.version, expires: record.expires, owner: record.owner.clone(), provenance: None }
    }

    /// A record of a plain value on these terms.
    pub fn record(self, value: Value) -> Record {
        let Terms { version, expires, owner, provenance } = self;
        Record { version, value, expires, active: None, owner, provenance }
    }
}

/// The answer to a stamped change that is not newer than the version that is there, tombstones and ended lives included:
/// it has happened before. If what is there is another change, whoever asks learns of it: their version came too late.
pub(crate) fn replayed(
    op: &Op,
    stamp: Option<&Stamp>,
    version: Option<u64>,
    present: impl FnOnce() -> Option<Arc<Record>>,
) -> Option<Reply> {
    let stamp = stamp?;
    if stamp.version > version? || !matches!(op, Op::Put(_) | Op::Revise(_) | Op::Remove) {
        return None;
    }
    let other = present().filter(|record| record.version > stamp.version || !is_of(record, stamp));
    let former = other.as_ref().map(shown);
    Some(match op {
        Op::Remove => Reply::Removed { former },
        Op::Revise(_) if former.is_some() => Reply::Kept { present: former },
        _ => Reply::Stored { former },
    })
}

/// Whether a record comes from the node that made a stamp.
fn is_of(record: &Record, stamp: &Stamp) -> bool {
    record.provenance.as_ref().is_some_and(|provenance| provenance.by == stamp.provenance.by)
}

/// What stays where a stamped removal was: it keeps older copies away, here and wherever it is copied to.
pub(crate) fn tombstone(stamp: &Stamp, now: UnixMillis) -> Record {
    let mut record = Terms::stamped(stamp).record(Value::Nil);
    record.expires = Some(stamp.expires.unwrap_or_else(|| tombstone_end(now)));
    bury(&mut record.provenance, Removal::Everywhere);
    record
}

/// What stays where a copy of this version left this node by itself: it keeps that very version from coming back here.
pub(crate) fn tombstone_here(
    version: u64,
    owner: Option<Arc<str>>,
    provenance: Option<Box<Provenance>>,
    node: &Caller,
    now: UnixMillis,
) -> Record {
    let unsigned = || {
        let by = node.id.clone();
        Box::new(Provenance { by, signature: Signature([0; 64]), script: None, replicas: None, removed: None })
    };
    let provenance = Some(provenance.unwrap_or_else(unsigned));
    let mut record = Terms { version, expires: Some(tombstone_end(now)), owner, provenance }.record(Value::Nil);
    bury(&mut record.provenance, Removal::Here);
    record
}

fn bury(provenance: &mut Option<Box<Provenance>>, removal: Removal) {
    if let Some(provenance) = provenance {
        provenance.removed = Some(removal);
    }
}

fn tombstone_end(now: UnixMillis) -> UnixMillis {
    now.after(Duration::from_secs(limits::TOMBSTONE_SECONDS))
}
