//! What a new version of an object has besides its value and its script, and what stays behind of a removed one.
//!
//! The node that takes a change from a client says these things for every node that stores the object: they come with the
//! call as a [`Stamp`] and hold as they are. A node alone works them out for itself.

use std::sync::Arc;
use std::time::Duration;

use comet_kernel::contract::aso::{Op, Put, Reply, Stamp};
use comet_kernel::provenance::{Provenance, Removal, Signature};
use comet_kernel::record::is_timely;
use comet_kernel::{Caller, Record, UnixMillis, Value, limits};

use crate::plain::{Circumstances, shown};

/// What a new version has besides its value and its script.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub version: u64,
    pub expires: Option<UnixMillis>,
    pub owner: Option<Arc<str>>,
    pub provenance: Option<Box<Provenance>>,
    pub shadows: bool,
}

/// What a change replaces.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Replaced {
    /// Its version, be it a tombstone's.
    pub version: Option<u64>,
    /// The end of its life, if it lives and that ends.
    pub expires: Option<UnixMillis>,
    /// Whether something older may outlive it.
    pub shadows: bool,
}

impl Replaced {
    /// Replaces what is there now.
    pub fn of(present: Option<&Record>, now: UnixMillis) -> Self {
        let Some(present) = present else { return Replaced::default() };
        let expires = present.expires.filter(|_| present.is_live(now));
        Replaced { version: Some(present.version), expires, shadows: present.shadows }
    }

    /// Whether it, or something older, lives longer than what ends then.
    pub fn outlives(self, end: Option<UnixMillis>) -> bool {
        let lives_longer = |end| self.shadows || self.expires.is_none_or(|expires| expires > end);
        self.version.is_some() && end.is_some_and(lives_longer)
    }
}

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
            Some(stamp) => Terms::stamped(stamp, replaced),
            None => Terms {
                version: version(replaced.version),
                expires: put.lifetime.end(replaced.expires, circumstances.now, circumstances.max_ttl),
                owner: put.owned.then(|| circumstances.caller.id.clone()),
                provenance: None,
                shadows: false,
            },
        }
    }

    /// What a stamp says.
    pub fn stamped(stamp: &Stamp, replaced: Replaced) -> Self {
        Terms {
            version: stamp.version,
            expires: stamp.expires,
            owner: stamp.owner.clone(),
            provenance: Some(Box::new(stamp.provenance.clone())),
            shadows: replaced.outlives(stamp.expires),
        }
    }

    /// Those of a record; it is another version now, and nobody has signed that.
    pub fn of(record: &Record) -> Self {
        let (version, expires, owner) = (record.version, record.expires, record.owner.clone());
        Terms { version, expires, owner, provenance: None, shadows: false }
    }

    /// A record of a plain value on these terms.
    pub fn record(self, value: Value) -> Record {
        let Terms { version, expires, owner, provenance, shadows } = self;
        Record { version, value, expires, active: None, owner, provenance, shadows }
    }
}

/// The answer to a stamped change that is not newer than the version that is there, tombstones and ended lives included:
/// it has happened before. If what is there is another change, whoever asks learns of it: their version came too late.
pub(crate) fn replayed(
    op: &Op,
    stamp: Option<&Stamp>,
    version: Option<u64>,
    now: UnixMillis,
    present: impl FnOnce() -> Option<Arc<Record>>,
) -> Option<Reply> {
    let stamp = stamp?;
    let version = version.filter(|version| is_timely(*version, now))?;
    if stamp.version > version || !matches!(op, Op::Put(_) | Op::Revise(_) | Op::Remove) {
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
    let mut record = Terms::stamped(stamp, Replaced::default()).record(Value::Nil);
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
    let expires = Some(tombstone_end(now));
    let mut record = Terms { version, expires, owner, provenance, shadows: false }.record(Value::Nil);
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
