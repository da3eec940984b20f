//! Keys: whether they are there, and for how long.

use comet_kernel::contract::aso::{Lifetime, Op, Reply};
use comet_kernel::{Record, UnixMillis, Value};

use super::put::{self, Unit, unexpected};
use super::{Command, text};
use crate::answers::Started;
use crate::error_line::ErrorLine;
use crate::frame::{Frame, Outcome};
use crate::gather::Gather;
use crate::session::Session;
use crate::words::{Words, integer};

pub(super) const COMMANDS: &[Command] = &[
    Command::writing("del", -2, del, "generic", "Removes objects.").keys(-1, 1),
    Command::writing("unlink", -2, del, "generic", "Removes objects.").keys(-1, 1),
    Command::reading("exists", -2, exists, "generic", "Counts the keys that hold an object.").keys(-1, 1),
    Command::reading("type", 2, type_, "generic", "Returns what sort of object a key holds."),
    Command::writing("expire", -3, expire, "generic", "Ends an object after some seconds."),
    Command::writing("pexpire", -3, pexpire, "generic", "Ends an object after some milliseconds."),
    Command::writing("expireat", -3, expireat, "generic", "Ends an object at a time in seconds."),
    Command::writing("pexpireat", -3, pexpireat, "generic", "Ends an object at a time in milliseconds."),
    Command::writing("persist", 2, persist, "generic", "Lets an object live on."),
    Command::reading("ttl", 2, ttl, "generic", "Returns the seconds until an object ends."),
    Command::reading("pttl", 2, pttl, "generic", "Returns the milliseconds until an object ends."),
    Command::reading("expiretime", 2, expiretime, "generic", "Returns the second at which an object ends."),
    Command::reading("pexpiretime", 2, pexpiretime, "generic", "Returns the millisecond at which an object ends."),
];

/// The answer is the first refusal, if an object refuses; the others are removed all the same.
fn del(session: &mut Session, words: Words<'_>) -> Result<Started, ErrorLine> {
    Gather::start(session, words.from(1).iter().map(|key| (key, Op::Remove)), |outcomes, _| {
        count(outcomes, |reply| match reply {
            Reply::Removed { former } => Some(former.is_some()),
            _ => None,
        })
    })
}

fn exists(session: &mut Session, words: Words<'_>) -> Result<Started, ErrorLine> {
    Gather::start(session, words.from(1).iter().map(|key| (key, Op::Peek)), |outcomes, _| {
        count(outcomes, |reply| match reply {
            Reply::Plain(_) => Some(true),
            Reply::Absent => Some(false),
            _ => None,
        })
    })
}

/// How many replies count, or the first refusal.
fn count(outcomes: Vec<Outcome>, counts: fn(&Reply) -> Option<bool>) -> Frame {
    let mut sum = 0;
    for outcome in outcomes {
        match outcome.as_ref().ok().and_then(counts) {
            Some(counts) => sum += usize::from(counts),
            None => return unexpected(outcome),
        }
    }
    Frame::count(sum)
}

fn type_(session: &mut Session, words: Words<'_>) -> Result<Started, ErrorLine> {
    session.call(words.at(1), Op::Peek, |outcome, _| match outcome {
        Ok(Reply::Plain(record)) => Frame::Status(type_of(&record)),
        Ok(Reply::Absent) => Frame::Status("none"),
        other => unexpected(other),
    })
}

/// What `TYPE` calls an object: `object` if it has a script, `string` for what the commands of strings read, and the
/// name of its type for everything else.
pub(super) fn type_of(record: &Record) -> &'static str {
    match &record.value {
        _ if record.active.is_some() => "object",
        Value::Text(_) | Value::Bytes(_) | Value::Int(_) | Value::Float(_) => "string",
        other => other.type_name(),
    }
}

fn expire(session: &mut Session, words: Words<'_>) -> Result<Started, ErrorLine> {
    end(session, words, Unit::Seconds, "expire")
}

fn pexpire(session: &mut Session, words: Words<'_>) -> Result<Started, ErrorLine> {
    end(session, words, Unit::Millis, "pexpire")
}

fn expireat(session: &mut Session, words: Words<'_>) -> Result<Started, ErrorLine> {
    end(session, words, Unit::AtSeconds, "expireat")
}

fn pexpireat(session: &mut Session, words: Words<'_>) -> Result<Started, ErrorLine> {
    end(session, words, Unit::AtMillis, "pexpireat")
}

/// The options of later versions of Redis depend on the present end, which cannot be read and changed in one step.
fn end(session: &mut Session, words: Words<'_>, unit: Unit, command: &str) -> Result<Started, ErrorLine> {
    if let Some(option) = words.find(3) {
        return Err(ErrorLine::new(format!("ERR Unsupported option {}", text(&option[..option.len().min(32)]))));
    }
    let number = integer(words.at(2)).ok_or(ErrorLine::NOT_AN_INTEGER)?;
    let invalid = || ErrorLine::new(format!("ERR invalid expire time in '{command}' command"));
    let lifetime = put::ending(number, unit).ok_or_else(invalid)?;
    session.call(words.at(1), Op::Expire(lifetime), |outcome, _| match outcome {
        Ok(Reply::Value(Value::Bool(there))) => Frame::flag(there),
        other => unexpected(other),
    })
}

/// Looks first, since an object without an end is not counted as changed.
fn persist(session: &mut Session, words: Words<'_>) -> Result<Started, ErrorLine> {
    let calls = [(words.at(1), Op::Peek), (words.at(1), Op::Expire(Lifetime::Endless))];
    Gather::start(session, calls.into_iter(), |outcomes, _| {
        let mut had_an_end = false;
        for outcome in outcomes {
            match outcome {
                Ok(Reply::Plain(record)) => had_an_end = record.expires.is_some(),
                Ok(Reply::Absent | Reply::Value(Value::Bool(_))) => {}
                other => return unexpected(other),
            }
        }
        Frame::flag(had_an_end)
    })
}

fn ttl(session: &mut Session, words: Words<'_>) -> Result<Started, ErrorLine> {
    let finish = |outcome, unix: UnixMillis| left(outcome, |end| unix.until(end).as_millis().div_ceil(1_000) as u64);
    session.call(words.at(1), Op::Peek, finish)
}

fn pttl(session: &mut Session, words: Words<'_>) -> Result<Started, ErrorLine> {
    let finish = |outcome, unix: UnixMillis| left(outcome, |end| unix.until(end).as_millis() as u64);
    session.call(words.at(1), Op::Peek, finish)
}

fn expiretime(session: &mut Session, words: Words<'_>) -> Result<Started, ErrorLine> {
    session.call(words.at(1), Op::Peek, |outcome, _| left(outcome, |end| end.0 / 1_000))
}

fn pexpiretime(session: &mut Session, words: Words<'_>) -> Result<Started, ErrorLine> {
    session.call(words.at(1), Op::Peek, |outcome, _| left(outcome, |end| end.0))
}

/// As in Redis, -2 tells that there is no object, and -1 that it has no end.
fn left(outcome: Outcome, tell: impl Fn(UnixMillis) -> u64) -> Frame {
    let left = match outcome {
        Ok(Reply::Plain(record)) => record.expires.map_or(-1, |end| i64::try_from(tell(end)).unwrap_or(i64::MAX)),
        Ok(Reply::Absent) => -2,
        other => return unexpected(other),
    };
    Frame::Value(Value::Int(left))
}
