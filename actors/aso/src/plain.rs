//! What calls do to a plain value: pure decisions, no actors.
//!
//! The same rules hold for the parts of a scripted object that no handler decides: conditions, owners, lifetimes, edits.

use std::sync::Arc;
use std::time::Duration;

use comet_kernel::contract::aso::{
    Arrived, Condition, EndCondition, Info, Lifetime, Op, Put, Refusal, Reply, Revision, Stamp,
};
use comet_kernel::{Caller, Key, Record, UnixMillis, Value};

use crate::arrival::{Weighed, replacing, weigh};
use crate::terms::{Replaced, Terms, replayed, tombstone, tombstone_here};

/// What is to be done about a call.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Nothing changes.
    Answer(Reply),
    /// The record is replaced, or removed, and then the reply holds.
    Write(Option<Record>, Reply),
    /// A put that comes with a script: the object has to be made first.
    Conceive(Box<Put>),
    /// A copy of an object with a script, which takes the place of what is there.
    Adopt(Arc<Record>),
}

/// The circumstances of a decision.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Circumstances<'a> {
    /// Which object.
    pub key: &'a Key,
    /// Wall-clock time.
    pub now: UnixMillis,
    /// Longest lifetime, if there is a limit.
    pub max_ttl: Option<Duration>,
    /// Who calls.
    pub caller: &'a Caller,
    /// The version that a change is to have, if that is said.
    pub stamp: Option<&'a Stamp>,
}

/// Decides about a call on a plain value, on a tombstone, on nothing, or on an object whose script is lost. `version`
/// gives the version of a new record.
pub(crate) fn decide(
    op: Op,
    present: Option<&Arc<Record>>,
    circumstances: Circumstances<'_>,
    version: impl FnOnce(Option<u64>) -> u64,
) -> Result<Verdict, Refusal> {
    let now = circumstances.now;
    let there = present.map(|record| record.version);
    if let Some(reply) = replayed(&op, circumstances.stamp, there, now, || present.cloned()) {
        return Ok(Verdict::Answer(reply));
    }
    let live = present.filter(|record| record.is_live(now));
    match op {
        Op::Get { .. } => {
            check_script(live)?;
            Ok(Verdict::Answer(live.map_or(Reply::Absent, |record| Reply::Plain(record.clone()))))
        }
        Op::Peek => Ok(Verdict::Answer(live.map_or(Reply::Absent, |record| Reply::Plain(record.clone())))),
        Op::Put(put) => decide_put(put, present, live, circumstances, version),
        Op::Edit(edit) => {
            check_script(live)?;
            let owner = live.and_then(|record| record.owner.clone());
            check_owner(owner.as_deref(), circumstances.caller)?;
            let value = edit.apply(live.map(|record| &record.value))?;
            let replaced = Replaced::of(present.map(AsRef::as_ref), now);
            let record =
                Record { expires: replaced.expires, owner, ..Record::plain(version(replaced.version), value.clone()) };
            Ok(Verdict::Write(Some(record), Reply::Value(value)))
        }
        Op::Remove => decide_remove(live, circumstances),
        Op::Revise(revision) => decide_revision(*revision, live, circumstances, version),
        Op::Arrive(record) => decide_arrival(record, present, circumstances),
        Op::Copy => {
            let record = present.filter(|record| !record.expired(now));
            Ok(Verdict::Answer(record.map_or(Reply::Absent, |record| Reply::Plain(record.clone()))))
        }
        Op::Drop { version } => Ok(match present.filter(|record| record.version == version) {
            Some(_) => Verdict::Write(None, Reply::Value(Value::Bool(true))),
            None => Verdict::Answer(Reply::Value(Value::Bool(false))),
        }),
        Op::Expire(lifetime, condition) => decide_end(lifetime, condition, live, circumstances),
        Op::Info => Ok(Verdict::Answer(live.map_or(Reply::Absent, |record| Reply::Info(Box::new(info(record, now)))))),
        Op::Log => Ok(Verdict::Answer(live.map_or(Reply::Absent, |_| Reply::Log(Vec::new())))),
        Op::Tick => Ok(match present {
            Some(record) if record.expired(now) => {
                let mark = record.mark(now);
                let next = mark.as_ref().and_then(Record::end);
                Verdict::Write(mark, Reply::Ticked { next })
            }
            present => Verdict::Answer(Reply::Ticked { next: present.and_then(|record| record.end()) }),
        }),
        Op::Quarantine(on) => Ok(decide_quarantine(on, live)),
        // A plain value has no handlers that could have changed it.
        Op::Flush | Op::Unflushed(_) => Ok(Verdict::Answer(Reply::Absent)),
        // Nobody hosts a plain value; there is nothing to write out.
        Op::Retire { .. } => Ok(Verdict::Answer(Reply::Retired)),
    }
}

fn decide_put(
    put: Box<Put>,
    present: Option<&Arc<Record>>,
    live: Option<&Arc<Record>>,
    circumstances: Circumstances<'_>,
    version: impl FnOnce(Option<u64>) -> u64,
) -> Result<Verdict, Refusal> {
    if !holds(put.condition, live.is_some()) {
        return Ok(Verdict::Answer(Reply::Kept { present: live.map(shown) }));
    }
    check_owner(live.and_then(|record| record.owner.as_deref()), circumstances.caller)?;
    put.check()?;
    if put.script.is_some() {
        return Ok(Verdict::Conceive(put));
    }
    let replaced = Replaced::of(present.map(AsRef::as_ref), circumstances.now);
    let terms = Terms::of_put(&put, replaced, circumstances, version);
    let reply = Reply::Stored { former: live.map(shown) };
    Ok(Verdict::Write(lasting(terms.record(put.value), circumstances), reply))
}

fn decide_remove(live: Option<&Arc<Record>>, circumstances: Circumstances<'_>) -> Result<Verdict, Refusal> {
    check_owner(live.and_then(|record| record.owner.as_deref()), circumstances.caller)?;
    let former = live.map(shown);
    Ok(match circumstances.stamp {
        // Even where nothing is: an older copy may be on its way here.
        Some(stamp) => Verdict::Write(Some(tombstone(stamp, circumstances.now)), Reply::Removed { former }),
        None if live.is_none() => Verdict::Answer(Reply::Removed { former }),
        None => Verdict::Write(None, Reply::Removed { former }),
    })
}

fn decide_revision(
    revision: Revision,
    live: Option<&Arc<Record>>,
    circumstances: Circumstances<'_>,
    version: impl FnOnce(Option<u64>) -> u64,
) -> Result<Verdict, Refusal> {
    let Some(present) = live.filter(|record| record.version == revision.base) else {
        return Ok(Verdict::Answer(Reply::Kept { present: live.map(shown) }));
    };
    check_owner(present.owner.as_deref(), circumstances.caller)?;
    revision.check()?;
    if revision.value.is_some() {
        check_script(live)?;
    }
    let terms = match circumstances.stamp {
        Some(stamp) => Terms::stamped(stamp, Replaced::of(Some(present), circumstances.now)),
        None => Terms { version: version(Some(present.version)), ..Terms::of(present) },
    };
    let value = revision.value.unwrap_or_else(|| present.value.clone());
    let record = Record { active: present.active.clone(), ..terms.record(value) };
    Ok(Verdict::Write(lasting(record, circumstances), Reply::Stored { former: Some(shown(present)) }))
}

fn decide_arrival(
    record: Arc<Record>,
    present: Option<&Arc<Record>>,
    circumstances: Circumstances<'_>,
) -> Result<Verdict, Refusal> {
    let weighed = weigh(circumstances.key, present.map(AsRef::as_ref), &record, circumstances.now)?;
    Ok(match weighed {
        Weighed::Same => Verdict::Answer(Reply::Arrived(Arrived::Same)),
        Weighed::Outdated(version) => Verdict::Answer(Reply::Arrived(Arrived::Outdated(version))),
        Weighed::Taken => {
            let record = replacing(record, Replaced::of(present.map(AsRef::as_ref), circumstances.now));
            match record.active {
                Some(_) => Verdict::Adopt(record),
                None => Verdict::Write(Some(Arc::unwrap_or_clone(record)), Reply::Arrived(Arrived::Taken)),
            }
        }
    })
}

fn decide_end(
    lifetime: Lifetime,
    condition: EndCondition,
    live: Option<&Arc<Record>>,
    circumstances: Circumstances<'_>,
) -> Result<Verdict, Refusal> {
    let Some(record) = live else {
        return Ok(Verdict::Answer(Reply::Expired { applied: false, former: None }));
    };
    check_owner(record.owner.as_deref(), circumstances.caller)?;
    let former = record.expires;
    let expires = lifetime.end(former, circumstances.now, circumstances.max_ttl);
    let applied = condition.holds(former, expires);
    let reply = Reply::Expired { applied, former };
    if !applied || expires == former {
        return Ok(Verdict::Answer(reply));
    }
    // What a node has signed said something else about the end.
    let changed = Record { expires, provenance: None, ..Record::clone(record) };
    Ok(Verdict::Write(lasting(changed, Circumstances { stamp: None, ..circumstances }), reply))
}

/// A plain value has no handlers; those of an object whose script is lost can be off when the script is back.
fn decide_quarantine(on: bool, live: Option<&Arc<Record>>) -> Verdict {
    let mut changed = live.map(|record| Record::clone(record));
    let active = changed.as_mut().and_then(|record| record.active.as_mut());
    match active.filter(|active| active.quarantined != on) {
        Some(active) => active.quarantined = on,
        None => return Verdict::Answer(Reply::Value(Value::Bool(false))),
    }
    Verdict::Write(changed, Reply::Value(Value::Bool(true)))
}

/// What is to be stored of a new record. One whose life has ended is not; if it has a stamp, its version is remembered.
fn lasting(record: Record, circumstances: Circumstances<'_>) -> Option<Record> {
    let Circumstances { now, caller, stamp, .. } = circumstances;
    if !record.expired(now) {
        return Some(record);
    }
    stamp.map(|_| tombstone_here(record.version, record.owner, record.provenance, caller, now))
}

/// Whether an object may be shown as it is, or edited: if it has a script, that decides, and it is lost.
fn check_script(live: Option<&Arc<Record>>) -> Result<(), Refusal> {
    match live.and_then(|record| record.active.as_deref()) {
        Some(active) => Err(Refusal::NoScript(active.script.hash.to_string())),
        None => Ok(()),
    }
}

/// What callers get to see of what was there before. A script alone decides who sees its value.
pub(crate) fn shown(record: &Arc<Record>) -> Arc<Record> {
    match record.active {
        None => record.clone(),
        Some(_) => Arc::new(Record { value: Value::Nil, ..Record::clone(record) }),
    }
}

/// Whether a put's condition holds.
pub(crate) fn holds(condition: Condition, present: bool) -> bool {
    match condition {
        Condition::Always => true,
        Condition::IfAbsent => !present,
        Condition::IfPresent => present,
    }
}

/// Refuses everyone but the owner, if there is one.
pub(crate) fn check_owner(owner: Option<&str>, caller: &Caller) -> Result<(), Refusal> {
    match owner {
        Some(owner) if *owner != *caller.id => Err(Refusal::Owned(owner.to_owned())),
        _ => Ok(()),
    }
}

/// What is known of an object at rest.
pub(crate) fn info(record: &Record, now: UnixMillis) -> Info {
    let active = record.active.as_deref();
    let timer = active.and_then(|active| active.timer);
    Info {
        script: active.and_then(|active| active.script.follows.as_deref().map(str::to_owned)),
        hash: active.map(|active| active.script.hash.to_string()),
        version: record.version,
        size: record.value.encoded_size() + active.map_or(0, |active| active.state.encoded_size()),
        owner: record.owner.as_deref().map(str::to_owned),
        ttl_ms: record.expires.map(|end| now.until(end).as_millis() as u64),
        timer_seconds: timer.map(|timer| timer.seconds),
        timer_due_ms: timer.map(|timer| now.until(timer.due).as_millis() as u64),
        quarantined: active.is_some_and(|active| active.quarantined),
        replicas: 1,
        ..Info::default()
    }
}

/// Roughly the bytes that a plain value takes in memory: the record, the table's entry and the key.
pub(crate) fn footprint(key: usize, record: &Record) -> usize {
    const RECORD_AND_ENTRY: usize = 256;
    RECORD_AND_ENTRY + key + record.value.encoded_size()
}
