//! Counting. The object's own actor adds, so that no count is lost between clients.

use comet_kernel::change::integer;
use comet_kernel::contract::aso::{Edit, Op, Reply};
use comet_kernel::{UnixMillis, Value};

use super::Command;
use super::put::unexpected;
use crate::answers::Started;
use crate::encoder;
use crate::error_line::ErrorLine;
use crate::frame::{Frame, Outcome};
use crate::session::Session;
use crate::words::Words;

pub(super) const COMMANDS: &[Command] = &[
    Command::writing("incr", 2, incr, "string", "Adds one to an integer."),
    Command::writing("decr", 2, decr, "string", "Takes one from an integer."),
    Command::writing("incrby", 3, incrby, "string", "Adds to an integer."),
    Command::writing("decrby", 3, decrby, "string", "Takes from an integer."),
    Command::writing("incrbyfloat", 3, incrbyfloat, "string", "Adds to a number."),
];

fn incr(session: &mut Session, words: Words<'_>) -> Result<Started, ErrorLine> {
    add(session, words, 1)
}

fn decr(session: &mut Session, words: Words<'_>) -> Result<Started, ErrorLine> {
    add(session, words, -1)
}

fn incrby(session: &mut Session, words: Words<'_>) -> Result<Started, ErrorLine> {
    add(session, words, integer(words.at(2)).ok_or(ErrorLine::NOT_AN_INTEGER)?)
}

fn decrby(session: &mut Session, words: Words<'_>) -> Result<Started, ErrorLine> {
    let by = integer(words.at(2)).ok_or(ErrorLine::NOT_AN_INTEGER)?;
    add(session, words, by.checked_neg().ok_or(ErrorLine::fixed("ERR decrement would overflow"))?)
}

fn add(session: &mut Session, words: Words<'_>, by: i64) -> Result<Started, ErrorLine> {
    session.call(words.at(1), Op::Edit(Edit::Add(by)), sum)
}

fn incrbyfloat(session: &mut Session, words: Words<'_>) -> Result<Started, ErrorLine> {
    let number = std::str::from_utf8(words.at(2)).ok().and_then(|word| word.parse::<f64>().ok());
    let by = number.filter(|number| !number.is_nan()).ok_or(ErrorLine::fixed("ERR value is not a valid float"))?;
    session.call(words.at(1), Op::Edit(Edit::AddFloat(by)), sum)
}

/// A sum with a fraction is text in both versions of the protocol, as in Redis.
fn sum(outcome: Outcome, _: UnixMillis) -> Frame {
    match outcome {
        Ok(Reply::Value(Value::Float(sum))) => Frame::text(&encoder::float(sum)),
        Ok(Reply::Value(sum)) => Frame::Value(sum),
        other => unexpected(other),
    }
}
