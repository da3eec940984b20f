//! Values: getting and putting them.
//!
//! A value keeps the type that it was put with. What comes through these commands is text if it is UTF-8 and bytes
//! otherwise, and goes out as it came in.

use comet_kernel::contract::aso::{Condition, Lifetime, Op, Put, Reply};
use comet_kernel::{UnixMillis, Value};

use super::Command;
use super::put::{self, Unit, unexpected};
use crate::answers::Started;
use crate::encoder;
use crate::error_line::ErrorLine;
use crate::frame::{Frame, Outcome};
use crate::gather::Gather;
use crate::session::Session;
use crate::words::{Words, is};

pub(super) const COMMANDS: &[Command] = &[
    Command::reading("get", 2, get, "string", "Returns what the object answers to a get."),
    Command::writing("set", -3, set, "string", "Puts a value."),
    Command::writing("setnx", 3, setnx, "string", "Puts a value if nothing is there."),
    Command::writing("setex", 4, setex, "string", "Puts a value that ends after some seconds."),
    Command::writing("psetex", 4, psetex, "string", "Puts a value that ends after some milliseconds."),
    Command::writing("getset", 3, getset, "string", "Puts a value and returns the former one."),
    Command::writing("getdel", 2, getdel, "string", "Removes an object and returns its value."),
    Command::reading("mget", -2, mget, "string", "Returns what several objects answer to a get.").keys(-1, 1),
    Command::writing("mset", -3, mset, "string", "Puts several values, one after the other.").keys(-1, 2),
    Command::reading("strlen", 2, strlen, "string", "Returns the length of text or bytes."),
];

const PLAIN_GET: Op = Op::Get { payload: Value::Nil };

fn get(session: &mut Session, words: Words<'_>) -> Result<Started, ErrorLine> {
    session.call(words.at(1), PLAIN_GET, got)
}

/// What a get answers.
pub(super) fn got(outcome: Outcome, _: UnixMillis) -> Frame {
    match outcome {
        Ok(Reply::Plain(record)) => Frame::Record(record),
        Ok(Reply::Value(value)) => Frame::Value(value),
        Ok(Reply::Absent) => Frame::NULL,
        other => unexpected(other),
    }
}

fn set(session: &mut Session, words: Words<'_>) -> Result<Started, ErrorLine> {
    let Options { lifetime, condition, get } = options(words.from(3))?;
    let finish = match (get, condition) {
        (true, _) => put::former,
        (false, Condition::Always) => put::accepted,
        (false, _) => put::stored,
    };
    let put = Put { lifetime, condition, ..Put::plain(put::value(words.at(2))?) };
    session.call(words.at(1), Op::Put(Box::new(put)), finish)
}

struct Options {
    lifetime: Lifetime,
    condition: Condition,
    get: bool,
}

fn options(words: Words<'_>) -> Result<Options, ErrorLine> {
    let (mut lifetime, mut condition, mut get) = (None, None, false);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let unit = [("EX", Unit::Seconds), ("PX", Unit::Millis), ("EXAT", Unit::AtSeconds), ("PXAT", Unit::AtMillis)];
        if is(word, "GET") {
            get = true;
        } else if is(word, "NX") && condition != Some(Condition::IfPresent) {
            condition = Some(Condition::IfAbsent);
        } else if is(word, "XX") && condition != Some(Condition::IfAbsent) {
            condition = Some(Condition::IfPresent);
        } else if is(word, "KEEPTTL") && lifetime.is_none_or(|it| it == Lifetime::Keep) {
            lifetime = Some(Lifetime::Keep);
        } else if let (None, Some((_, unit))) = (lifetime, unit.into_iter().find(|(name, _)| is(word, name))) {
            lifetime = Some(put::lifetime(words.next().ok_or(ErrorLine::SYNTAX)?, unit, "set")?);
        } else {
            return Err(ErrorLine::SYNTAX);
        }
    }
    let (lifetime, condition) = (lifetime.unwrap_or(Lifetime::Endless), condition.unwrap_or(Condition::Always));
    Ok(Options { lifetime, condition, get })
}

fn setnx(session: &mut Session, words: Words<'_>) -> Result<Started, ErrorLine> {
    let put = Put { condition: Condition::IfAbsent, ..Put::plain(put::value(words.at(2))?) };
    session.call(words.at(1), Op::Put(Box::new(put)), |outcome, _| match outcome {
        Ok(Reply::Stored { .. }) => Frame::flag(true),
        Ok(Reply::Kept { .. }) => Frame::flag(false),
        other => unexpected(other),
    })
}

fn setex(session: &mut Session, words: Words<'_>) -> Result<Started, ErrorLine> {
    put_until(session, words, put::lifetime(words.at(2), Unit::Seconds, "setex")?)
}

fn psetex(session: &mut Session, words: Words<'_>) -> Result<Started, ErrorLine> {
    put_until(session, words, put::lifetime(words.at(2), Unit::Millis, "psetex")?)
}

fn put_until(session: &mut Session, words: Words<'_>, lifetime: Lifetime) -> Result<Started, ErrorLine> {
    let put = Put { lifetime, ..Put::plain(put::value(words.at(3))?) };
    session.call(words.at(1), Op::Put(Box::new(put)), put::accepted)
}

fn getset(session: &mut Session, words: Words<'_>) -> Result<Started, ErrorLine> {
    let put = Put::plain(put::value(words.at(2))?);
    session.call(words.at(1), Op::Put(Box::new(put)), put::former)
}

/// The value is the stored one: a removal runs `onRemove`, not `onGet`.
fn getdel(session: &mut Session, words: Words<'_>) -> Result<Started, ErrorLine> {
    session.call(words.at(1), Op::Remove, |outcome, _| match outcome {
        Ok(Reply::Removed { former }) => Frame::record(former),
        other => unexpected(other),
    })
}

/// An object that refuses the get has its refusal at its place among the answers.
fn mget(session: &mut Session, words: Words<'_>) -> Result<Started, ErrorLine> {
    let calls = words.from(1).iter().map(|key| (key, PLAIN_GET));
    Gather::start(session, calls, |outcomes, unix| {
        Frame::Array(outcomes.into_iter().map(|outcome| got(outcome, unix)).collect())
    })
}

/// Each object is put for itself: when one refuses, the others are put all the same, and the first refusal is the
/// answer.
fn mset(session: &mut Session, words: Words<'_>) -> Result<Started, ErrorLine> {
    let pairs: Vec<&[u8]> = words.from(1).iter().collect();
    if !pairs.len().is_multiple_of(2) {
        return Err(ErrorLine::fixed("ERR wrong number of arguments for 'mset' command"));
    }
    let put = |pair: &[&'_ [u8]]| Ok(Op::Put(Box::new(Put::plain(put::value(pair[1])?))));
    let puts = pairs.chunks_exact(2).map(put).collect::<Result<Vec<_>, ErrorLine>>()?;
    let calls = pairs.iter().step_by(2).copied().zip(puts);
    Gather::start(session, calls, |outcomes, unix| {
        let refused = outcomes.into_iter().map(|outcome| put::accepted(outcome, unix)).find(|it| *it != Frame::OK);
        refused.unwrap_or(Frame::OK)
    })
}

fn strlen(session: &mut Session, words: Words<'_>) -> Result<Started, ErrorLine> {
    session.call(words.at(1), Op::Peek, |outcome, _| match outcome {
        Ok(Reply::Plain(record)) => length(&record.value),
        Ok(Reply::Absent) => Frame::count(0),
        other => unexpected(other),
    })
}

/// Numbers are as long as they are when they are written out.
fn length(value: &Value) -> Frame {
    match value {
        Value::Text(text) => Frame::count(text.len()),
        Value::Bytes(bytes) => Frame::count(bytes.len()),
        Value::Int(number) => Frame::count(number.to_string().len()),
        Value::Float(number) => Frame::count(encoder::float(*number).len()),
        Value::Nil | Value::Bool(_) | Value::Array(_) | Value::Map(_) => Frame::Error(ErrorLine::WRONG_TYPE),
    }
}
