//! Objects: putting them with a script, asking them with a payload, and looking at them.

use std::time::Duration;

use comet_kernel::change::integer;
use comet_kernel::contract::aso::{Condition, Lifetime, Op, Put, Refusal, Reply, ScriptChoice};
use comet_kernel::value::Room;
use comet_kernel::{ScriptHash, UnixMillis, Value, limits};

use super::put::{self, unexpected};
use super::strings::got;
use super::{Command, text};
use crate::answers::Started;
use crate::error_line::{ErrorLine, harmless};
use crate::frame::{Frame, Outcome};
use crate::session::Session;
use crate::words::{Words, is};

pub(super) const COMMANDS: &[Command] = &[
    Command::writing("aso.put", -3, put, "aso", "Puts an object: a value, and a script if one is named."),
    Command::reading("aso.get", -2, get, "aso", "Returns what the object answers to a get with a payload."),
    Command::reading("aso.info", 2, info, "aso", "Returns all about an object but its value."),
    Command::reading("aso.log", 2, log, "aso", "Returns the lines that an object's script has logged."),
];

fn put(session: &mut Session, words: Words<'_>) -> Result<Started, ErrorLine> {
    let options = Options::read(words.from(3))?;
    let value = if options.json { from_json("the value", words.at(2))? } else { put::value(words.at(2))? };
    let Options { script, lifetime, condition, replicas, owned, .. } = options;
    let put = Put { value, script, lifetime, condition, owned, replicas };
    let finish = if condition == Condition::Always { put::accepted } else { put::stored };
    session.call(words.at(1), Op::Put(Box::new(put)), finish)
}

struct Options {
    json: bool,
    script: Option<ScriptChoice>,
    lifetime: Lifetime,
    condition: Condition,
    replicas: Option<u8>,
    owned: bool,
}

impl Options {
    fn read(words: Words<'_>) -> Result<Self, ErrorLine> {
        let mut options = Options {
            json: false,
            script: None,
            lifetime: Lifetime::Endless,
            condition: Condition::Always,
            replicas: None,
            owned: false,
        };
        let mut pins = false;
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut argument = || words.next().ok_or(ErrorLine::SYNTAX);
            if is(word, "JSON") {
                options.json = true;
            } else if is(word, "OWNED") {
                options.owned = true;
            } else if is(word, "PIN") {
                pins = true;
            } else if is(word, "NX") && options.condition != Condition::IfPresent {
                options.condition = Condition::IfAbsent;
            } else if is(word, "XX") && options.condition != Condition::IfAbsent {
                options.condition = Condition::IfPresent;
            } else if is(word, "SCRIPT") && options.script.is_none() {
                options.script = Some(named(argument()?)?);
            } else if is(word, "SOURCE") && options.script.is_none() {
                options.script = Some(ScriptChoice::Source(source(argument()?)?.into()));
            } else if is(word, "TTL") {
                options.lifetime = seconds(argument()?)?;
            } else if is(word, "REPLICAS") {
                options.replicas = Some(nodes("REPLICAS", argument()?)?);
            } else {
                return Err(ErrorLine::SYNTAX);
            }
        }
        if let Some(ScriptChoice::Named { pin, .. }) = &mut options.script {
            *pin = pins;
        }
        Ok(options)
    }
}

fn named(word: &[u8]) -> Result<ScriptChoice, ErrorLine> {
    let name = name(word)?;
    let choice = ScriptHash::parse(name).map(ScriptChoice::Hash);
    Ok(choice.unwrap_or_else(|| ScriptChoice::Named { name: name.into(), pin: false }))
}

/// The name of a script. What is no name at all cannot be the name of one.
pub(super) fn name(word: &[u8]) -> Result<&str, ErrorLine> {
    let name = std::str::from_utf8(word).ok().filter(|name| name.len() <= limits::SCRIPT_NAME_BYTES);
    name.ok_or_else(|| {
        let shown = &word[..word.len().min(limits::SCRIPT_NAME_BYTES)];
        ErrorLine::new(format!("NOSCRIPT no script {}; ASO.SCRIPT LIST shows the names", text(shown)))
    })
}

/// The source of a script.
pub(super) fn source(word: &[u8]) -> Result<&str, ErrorLine> {
    put::within("the script", word.len(), limits::SCRIPT_BYTES)?;
    std::str::from_utf8(word)
        .map_err(|error| ErrorLine::new(format!("BADSCRIPT the source is not UTF-8 text: {error}; save it as UTF-8")))
}

fn seconds(word: &[u8]) -> Result<Lifetime, ErrorLine> {
    let seconds = integer(word).ok_or(ErrorLine::NOT_AN_INTEGER)?;
    match u64::try_from(seconds) {
        Ok(seconds @ 1..) => Ok(Lifetime::For(Duration::from_secs(seconds.min(limits::LIFETIME_SECONDS)))),
        _ => Err(ErrorLine::fixed("ERR invalid expire time in 'aso.put' command")),
    }
}

/// A number of nodes.
fn nodes(option: &str, word: &[u8]) -> Result<u8, ErrorLine> {
    let number = integer(word).and_then(|number| u8::try_from(number).ok());
    let number = number.filter(|number| (1..=limits::REPLICAS).contains(number));
    number.ok_or_else(|| ErrorLine::new(format!("ERR {option} must be 1 to {}", limits::REPLICAS)))
}

/// The value that a JSON text writes.
fn from_json(what: &'static str, bytes: &[u8]) -> Result<Value, ErrorLine> {
    put::within(what, bytes.len(), limits::VALUE_BYTES)?;
    let room = Room::default();
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let read = room.read(&mut json).and_then(|value| json.end().map(|()| value));
    read.map_err(|error| {
        if room.is_exceeded() {
            Refusal::TooManyItems { what: what.into(), limit: limits::VALUE_ITEMS }.into()
        } else {
            ErrorLine::new(format!("ERR {what} is not JSON: {error}"))
        }
    })
}

/// The JSON text of a value. Bytes are an array of numbers, and a float that is no number is null.
fn to_json(value: &Value) -> Frame {
    match serde_json::to_string(value) {
        Ok(text) => Frame::text(&text),
        Err(error) => Frame::Error(ErrorLine::new(format!("ERR the answer cannot be written as JSON: {error}"))),
    }
}

fn get(session: &mut Session, words: Words<'_>) -> Result<Started, ErrorLine> {
    // Words that can all be options are options; otherwise the first is the payload.
    let (payload, options) = match GetOptions::read(words.from(2)) {
        Ok(options) => (None, options),
        Err(error) if error == ErrorLine::SYNTAX => (words.find(2), GetOptions::read(words.from(3))?),
        Err(error) => return Err(error),
    };
    let payload = match (payload, options.json) {
        (None, _) => Value::Nil,
        (Some(payload), true) => from_json("the payload", payload)?,
        (Some(payload), false) => put::value(payload)?,
    };
    let op = Op::Get { payload };
    match (options.answers, options.json) {
        (None, json) => session.call(words.at(1), op, if json { got_json } else { got }),
        (Some(answers), true) => {
            session.call_several(words.at(1), op, answers, |outcome, unix| each(outcome, unix, got_json))
        }
        (Some(answers), false) => {
            session.call_several(words.at(1), op, answers, |outcome, unix| each(outcome, unix, got))
        }
    }
}

/// The options of a get, each at most once.
struct GetOptions {
    json: bool,
    answers: Option<u8>,
}

impl GetOptions {
    fn read(words: Words<'_>) -> Result<Self, ErrorLine> {
        let mut options = GetOptions { json: false, answers: None };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if is(word, "JSON") && !options.json {
                options.json = true;
            } else if is(word, "ANSWERS") && options.answers.is_none() {
                options.answers = Some(nodes("ANSWERS", words.next().ok_or(ErrorLine::SYNTAX)?)?);
            } else {
                return Err(ErrorLine::SYNTAX);
            }
        }
        Ok(options)
    }
}

/// The value that a JSON text writes, written as JSON again: none if it is not JSON, or more than a value may be. What reads
/// it is what reads the words of clients, so that a fuzzer can drive it.
pub fn check_json(bytes: &[u8]) -> Option<String> {
    let value = from_json("the value", bytes).ok()?;
    Some(serde_json::to_string(&value).expect("every value has a form in JSON"))
}

/// What each of several nodes answered, those nearest to the key first; nothing if nobody has the object.
fn each(outcome: Outcome, unix: UnixMillis, one: fn(Outcome, UnixMillis) -> Frame) -> Frame {
    match outcome {
        Ok(Reply::Several(replies)) => Frame::Array(replies.into_iter().map(|reply| one(Ok(reply), unix)).collect()),
        Ok(Reply::Absent) => Frame::Array(Vec::new()),
        // A node alone has one answer.
        Ok(reply) => Frame::Array(vec![one(Ok(reply), unix)]),
        Err(error) => Frame::Error(error),
    }
}

fn got_json(outcome: Outcome, _: UnixMillis) -> Frame {
    match outcome {
        Ok(Reply::Plain(record)) => to_json(&record.value),
        Ok(Reply::Value(value)) => to_json(&value),
        Ok(Reply::Absent) => Frame::NULL,
        other => unexpected(other),
    }
}

fn info(session: &mut Session, words: Words<'_>) -> Result<Started, ErrorLine> {
    session.call(words.at(1), Op::Info, |outcome, _| match outcome {
        Ok(Reply::Info(info)) => described(&*info),
        Ok(Reply::Absent) => Frame::NULL,
        other => unexpected(other),
    })
}

/// What a contract tells of something, as a map.
pub(super) fn described(it: &impl serde::Serialize) -> Frame {
    let described = serde_json::to_value(it).and_then(serde_json::from_value::<Value>);
    described.map_or_else(|error| Frame::Error(ErrorLine::unexpected(&error)), Frame::Value)
}

fn log(session: &mut Session, words: Words<'_>) -> Result<Started, ErrorLine> {
    session.call(words.at(1), Op::Log, |outcome, _| match outcome {
        Ok(Reply::Log(lines)) => Frame::Array(lines.into_iter().map(|line| Frame::text(&harmless(line))).collect()),
        Ok(Reply::Absent) => Frame::NULL,
        other => unexpected(other),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_in_json_comes_back_to_its_last_digit() {
        for number in ["4.4444411111111445e+30", "0.1", "-0.0", "5e-324", "1.7976931348623157e+308"] {
            assert_eq!(check_json(number.as_bytes()).as_deref(), Some(number));
        }
        let written = check_json(b"44444441111111144444444111111115").expect("a number");
        assert_eq!(check_json(written.as_bytes()), Some(written));
    }
}
