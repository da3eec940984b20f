//! What becomes of a copy from another node: the rules by which all copies of an object become alike.
//!
//! The newer version wins, unless it is from a future that no clock of the network has reached. Two changes that
//! two nodes gave the same version in one instant are told apart by what they say, in the same way on every node: a
//! removal wins over a put, a put with a script over one without, the value with the larger encoding over the
//! smaller one, and otherwise the larger digest of the claim.

use std::sync::Arc;
use std::time::Duration;

use comet_kernel::contract::aso::Refusal;
use comet_kernel::provenance::{Provenance, Removal, Signature};
use comet_kernel::record::{Active, is_timely};
use comet_kernel::{Key, Record, UnixMillis, change, limits};

use crate::terms::Replaced;

/// What becomes of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weighed {
    /// It takes the place of what is there.
    Taken,
    /// It is what is there, but for what handlers have made of either.
    Same,
    /// What is there, of this version, is to be preferred.
    Outdated(u64),
}

/// Weighs a copy against what is there.
pub(crate) fn weigh(
    key: &Key,
    present: Option<&Record>,
    incoming: &Record,
    now: UnixMillis,
) -> Result<Weighed, Refusal> {
    check(incoming)?;
    // Its life has ended, and so it has on every other node.
    if incoming.expired(now) {
        return Ok(Weighed::Same);
    }
    let Some(present) = present else { return Ok(Weighed::Taken) };
    if present.version > incoming.version && is_timely(present.version, now) {
        return Ok(Weighed::Outdated(present.version));
    }
    if present.version == incoming.version {
        return Ok(weigh_equal(key, present, incoming, now));
    }
    check_owner(present, incoming, now)?;
    Ok(Weighed::Taken)
}

fn weigh_equal(key: &Key, present: &Record, incoming: &Record, now: UnixMillis) -> Weighed {
    let left_by_itself = present.removed() == Some(Removal::Here);
    if left_by_itself || present.expired(now) || is_same_change(present, incoming) {
        return Weighed::Same;
    }
    match rank(key, incoming).cmp(&rank(key, present)) {
        std::cmp::Ordering::Less => Weighed::Outdated(present.version),
        std::cmp::Ordering::Equal => Weighed::Same,
        std::cmp::Ordering::Greater => Weighed::Taken,
    }
}

/// Whether both are copies of what one node signed once.
fn is_same_change(present: &Record, incoming: &Record) -> bool {
    match (present.provenance.as_deref(), incoming.provenance.as_deref()) {
        (Some(a), Some(b)) => a == b,
        _ => false,
    }
}

/// The larger of two changes of one version wins. What handlers change is not part of it.
fn rank(key: &Key, record: &Record) -> (bool, bool, usize, [u8; 32]) {
    let unsigned =
        Provenance { by: "".into(), signature: Signature([0; 64]), script: None, replicas: None, removed: None };
    let mut provenance = record.provenance.as_deref().cloned().unwrap_or(unsigned);
    if let Some(active) = &record.active {
        // The value is no part of the claim of what has a script.
        provenance.script.get_or_insert(active.script.hash);
    }
    let size = if record.active.is_some() { 0 } else { record.value.encoded_size() };
    let claim = Provenance::claim(key, record, &provenance);
    let removed = record.removed().is_some_and(|removed| removed != Removal::Ended);
    (removed, record.active.is_some(), size, claim)
}

/// An owned object gives way to what its owner's node has signed, and to nothing else. In what was stored while the node was
/// alone, the owner is a name that no other node knows.
fn check_owner(present: &Record, incoming: &Record, now: UnixMillis) -> Result<(), Refusal> {
    let known = present.is_live(now) && present.provenance.is_some();
    let Some(owner) = present.owner.as_ref().filter(|_| known) else { return Ok(()) };
    let node = owner.split('/').next().unwrap_or(owner);
    let signed = incoming.provenance.as_ref().is_some_and(|provenance| *provenance.by == *node);
    let same = incoming.owner.as_ref() == Some(owner);
    let given_up = incoming.owner.is_none() && signed;
    if same || given_up { Ok(()) } else { Err(Refusal::Owned(owner.to_string())) }
}

/// Refuses what no node could have stored.
fn check(incoming: &Record) -> Result<(), Refusal> {
    if incoming.removed() == Some(Removal::Here) {
        return Err(Refusal::Forbidden("a tombstone that is for one node alone is no copy".into()));
    }
    change::check(&incoming.value)?;
    incoming.active.as_deref().map_or(Ok(()), |active| change::check(&active.state))
}

/// A copy as it takes the place of something else.
pub(crate) fn replacing(mut incoming: Arc<Record>, replaced: Replaced) -> Arc<Record> {
    if incoming.removed().is_none() && replaced.outlives(incoming.expires) {
        Arc::make_mut(&mut incoming).shadows = true;
    }
    incoming
}

/// The active half of a copy as this node takes it: nobody has put its object in quarantine here, and a timer that should
/// have fired while it was on its way fires now.
pub(crate) fn received(active: &Active, now: UnixMillis) -> Active {
    let mut active = Active { quarantined: false, ..active.clone() };
    active.timer = active.timer.filter(|timer| (1..=limits::TIMER_SECONDS).contains(&i64::from(timer.seconds)));
    if let Some(timer) = &mut active.timer {
        let interval = Duration::from_secs(u64::from(timer.seconds));
        timer.due = timer.due.clamp(now, now.after(interval));
    }
    active
}
