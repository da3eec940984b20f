//! Keys: whether they are there, and for how long.

use comet_kernel::change::integer;
use comet_kernel::contract::aso::{EndCondition, Lifetime, Op, Reply};
use comet_kernel::{Record, UnixMillis, Value};

use super::put::{self, Unit, unexpected};
use super::{Command, text};
use crate::answers::Started;
use crate::error_line::ErrorLine;
use crate::frame::{Frame, Outcome};
use crate::gather::Gather;
use crate::session::Session;
use crate::words::{Words, is};

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

fn end(session: &mut Session, words: Words<'_>, unit: Unit, command: &str) -> Result<Started, ErrorLine> {
    let condition = condition(words.from(3))?;
    let number = integer(words.at(2)).ok_or(ErrorLine::NOT_AN_INTEGER)?;
    let invalid = || ErrorLine::new(format!("ERR invalid expire time in '{command}' command"));
    let lifetime = put::ending(number, unit).ok_or_else(invalid)?;
    session.call(words.at(1), Op::Expire(lifetime, condition), |outcome, _| match outcome {
        Ok(Reply::Expired { applied, .. }) => Frame::flag(applied),
        other => unexpected(other),
    })
}

/// The options `NX`, `XX`, `GT` and `LT`, alone or together as far as Redis lets them.
fn condition(options: Words<'_>) -> Result<EndCondition, ErrorLine> {
    let (mut nx, mut xx, mut gt, mut lt) = (false, false, false, false);
    for option in options.iter() {
        let known = [("NX", &mut nx), ("XX", &mut xx), ("GT", &mut gt), ("LT", &mut lt)];
        let Some((_, given)) = known.into_iter().find(|(name, _)| is(option, name)) else {
            return Err(ErrorLine::new(format!("ERR Unsupported option {}", text(&option[..option.len().min(32)]))));
        };
        *given = true;
    }
    if nx && (xx || gt || lt) {
        return Err(ErrorLine::fixed("ERR NX and XX, GT or LT options at the same time are not compatible"));
    }
    match (nx, xx, gt, lt) {
        (_, _, true, true) => Err(ErrorLine::fixed("ERR GT and LT options at the same time are not compatible")),
        (true, ..) => Ok(EndCondition::IfNone),
        // What has no end ends later than all, so that nothing is left for `XX` to say.
        (_, _, true, _) => Ok(EndCondition::IfLater),
        (_, true, _, true) => Ok(EndCondition::IfSomeSooner),
        (_, true, ..) => Ok(EndCondition::IfSome),
        (_, _, _, true) => Ok(EndCondition::IfSooner),
        _ => Ok(EndCondition::Always),
    }
}

/// An object without an end is not counted as changed.
fn persist(session: &mut Session, words: Words<'_>) -> Result<Started, ErrorLine> {
    session.call(words.at(1), Op::Expire(Lifetime::Endless, EndCondition::Always), |outcome, _| match outcome {
        Ok(Reply::Expired { applied, former }) => Frame::flag(applied && former.is_some()),
        other => unexpected(other),
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
