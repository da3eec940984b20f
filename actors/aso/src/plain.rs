//! What calls do to a plain value: pure decisions, no actors.
//!
//! The same rules hold for the parts of a scripted object that no handler decides: conditions, owners, lifetimes, edits.

use std::sync::Arc;
use std::time::Duration;

use comet_kernel::contract::aso::{Condition, Edit, Info, Lifetime, Op, Put, Refusal, Reply};
use comet_kernel::{Caller, Record, UnixMillis, Value, limits};

/// What is to be done about a call.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Nothing changes.
    Answer(Reply),
    /// The record is replaced, or removed, and then the reply holds.
    Write(Option<Record>, Reply),
    /// A put that comes with a script: the object has to be made first.
    Conceive(Box<Put>),
}

/// The circumstances of a decision.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Circumstances<'a> {
    /// Wall-clock time.
    pub now: UnixMillis,
    /// Longest lifetime, if there is a limit.
    pub max_ttl: Option<Duration>,
    /// Who calls.
    pub caller: &'a Caller,
}

/// Decides about a call on a plain value, or on nothing. `version` gives the version of a new record.
pub(crate) fn decide(
    op: Op,
    present: Option<&Arc<Record>>,
    circumstances: Circumstances<'_>,
    version: impl FnOnce(Option<u64>) -> u64,
) -> Result<Verdict, Refusal> {
    let live = present.filter(|record| !record.expired(circumstances.now));
    match op {
        Op::Get { .. } | Op::Peek => {
            Ok(Verdict::Answer(live.map_or(Reply::Absent, |record| Reply::Plain(record.clone()))))
        }
        Op::Put(put) => decide_put(put, live, circumstances, version),
        Op::Edit(edit) => {
            let owner = live.and_then(|record| record.owner.clone());
            check_owner(owner.as_deref(), circumstances.caller)?;
            let value = apply_edit(live.map(|record| &record.value), &edit)?;
            let replaced = live.map(|record| record.version);
            let expires = live.and_then(|record| record.expires);
            let record = Record { expires, owner, ..Record::plain(version(replaced), value.clone()) };
            Ok(Verdict::Write(Some(record), Reply::Value(value)))
        }
        Op::Remove => {
            let Some(record) = live else { return Ok(Verdict::Answer(Reply::Removed { former: None })) };
            check_owner(record.owner.as_deref(), circumstances.caller)?;
            Ok(Verdict::Write(None, Reply::Removed { former: Some(record.clone()) }))
        }
        Op::Expire(lifetime) => {
            let Some(record) = live else { return Ok(Verdict::Answer(Reply::Value(Value::Bool(false)))) };
            check_owner(record.owner.as_deref(), circumstances.caller)?;
            let expires = end_of(lifetime, record.expires, circumstances);
            if expires == record.expires {
                return Ok(Verdict::Answer(Reply::Value(Value::Bool(lifetime != Lifetime::Endless))));
            }
            let changed = Record { expires, ..Record::clone(record) };
            let reply = Reply::Value(Value::Bool(true));
            Ok(Verdict::Write(Some(changed).filter(|record| !record.expired(circumstances.now)), reply))
        }
        Op::Info => Ok(Verdict::Answer(
            live.map_or(Reply::Absent, |record| Reply::Info(Box::new(info(record, circumstances.now)))),
        )),
        Op::Log => Ok(Verdict::Answer(live.map_or(Reply::Absent, |_| Reply::Log(Vec::new())))),
        Op::Tick => Ok(match (present, live) {
            (Some(_), None) => Verdict::Write(None, Reply::Ticked { next: None }),
            _ => Verdict::Answer(Reply::Ticked { next: live.and_then(|record| record.expires) }),
        }),
        Op::Quarantine(_) => Ok(Verdict::Answer(Reply::Value(Value::Bool(false)))),
        // A plain value has no handlers that could have changed it.
        Op::Flush | Op::Unflushed(_) => Ok(Verdict::Answer(Reply::Absent)),
        // Nobody hosts a plain value; there is nothing to write out.
        Op::Retire { .. } => Ok(Verdict::Answer(Reply::Retired)),
    }
}

fn decide_put(
    put: Box<Put>,
    live: Option<&Arc<Record>>,
    circumstances: Circumstances<'_>,
    version: impl FnOnce(Option<u64>) -> u64,
) -> Result<Verdict, Refusal> {
    if !holds(put.condition, live.is_some()) {
        return Ok(Verdict::Answer(Reply::Kept { present: live.cloned() }));
    }
    check_owner(live.and_then(|record| record.owner.as_deref()), circumstances.caller)?;
    check_size(&put.value)?;
    if put.script.is_some() {
        return Ok(Verdict::Conceive(put));
    }
    let expires = end_of(put.lifetime, live.and_then(|record| record.expires), circumstances);
    let owner = put.owned.then(|| circumstances.caller.id.clone());
    let replaced = live.map(|record| record.version);
    let record = Record { expires, owner, ..Record::plain(version(replaced), put.value) };
    let reply = Reply::Stored { former: live.cloned() };
    Ok(Verdict::Write(Some(record).filter(|record| !record.expired(circumstances.now)), reply))
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

/// Refuses values that are too large or nest too deeply.
pub(crate) fn check_size(value: &Value) -> Result<(), Refusal> {
    let size = value.encoded_size();
    // The few bytes of MessagePack's own heads are not the client's concern.
    if size > limits::VALUE_BYTES + 16 {
        return Err(Refusal::TooBig { what: "the value", size, limit: limits::VALUE_BYTES });
    }
    if value.depth() > limits::VALUE_DEPTH {
        return Err(Refusal::WrongType("the value nests deeper than 32 levels"));
    }
    Ok(())
}

/// When an object ends that is given this lifetime while the present one ends at `present`.
pub(crate) fn end_of(
    lifetime: Lifetime,
    present: Option<UnixMillis>,
    circumstances: Circumstances<'_>,
) -> Option<UnixMillis> {
    let longest = Duration::from_secs(limits::LIFETIME_SECONDS);
    let now = circumstances.now;
    let wanted = match lifetime {
        Lifetime::Endless => None,
        Lifetime::Keep => present,
        Lifetime::For(duration) => Some(now.after(duration.min(longest))),
        Lifetime::At(end) => Some(end.min(now.after(longest))),
    };
    let most = circumstances.max_ttl.map(|ttl| now.after(ttl));
    match (wanted, most) {
        (Some(wanted), Some(most)) => Some(wanted.min(most)),
        (wanted, most) => wanted.or(most),
    }
}

/// The outcome of an edit.
pub(crate) fn apply_edit(present: Option<&Value>, edit: &Edit) -> Result<Value, Refusal> {
    match edit {
        Edit::Add(amount) => {
            let number = present.map_or(Some(0), integer).ok_or(NOT_AN_INTEGER)?;
            number.checked_add(*amount).map(Value::Int).ok_or(OVERFLOW)
        }
        Edit::AddFloat(amount) => {
            let number = present.map_or(Some(0.0), float).ok_or(NOT_A_FLOAT)?;
            let sum = number + amount;
            if sum.is_finite() { Ok(Value::Float(sum)) } else { Err(NOT_FINITE) }
        }
    }
}

const NOT_AN_INTEGER: Refusal = Refusal::NotANumber("value is not an integer or out of range");
const NOT_A_FLOAT: Refusal = Refusal::NotANumber("value is not a valid float");
const OVERFLOW: Refusal = Refusal::NotANumber("increment or decrement would overflow");
const NOT_FINITE: Refusal = Refusal::NotANumber("increment would produce NaN or Infinity");

fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        Value::Text(text) => text.parse().ok(),
        _ => None,
    }
}

fn float(value: &Value) -> Option<f64> {
    match value {
        Value::Int(number) => Some(*number as f64),
        Value::Float(number) => Some(*number),
        Value::Text(text) => text.parse().ok().filter(|number: &f64| number.is_finite()),
        _ => None,
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
