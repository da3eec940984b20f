//! The constant `comet`: everything that a script can ask of the node.
//!
//! Each function stands any argument of any type. What changes something is only noted down, see [`super::event`].

mod network;

use comet_kernel::clock::Clock;
use comet_kernel::{Key, limits};
use ed25519_dalek::{Signature, VerifyingKey};
use rhai::{Dynamic, Engine, ImmutableString, Map};
use sha2::{Digest, Sha256};

use super::blob::{self, Blob};
use super::event::{self, Call, To};
use super::failure::{complaint, refuse};
use super::meter::{self, Fallible};
use super::natives::Register;
use super::{Node, convert, text};

/// The type of the constant. It holds nothing: what a script may see depends on the call that runs, not on it.
#[derive(Clone, Copy, Debug)]
pub struct Comet;

/// What `comet.later()` returns.
#[derive(Clone, Copy, Debug)]
pub struct Later;

/// Operations that one Ed25519 check counts as: it takes some 50 microseconds.
const VERIFY_OPERATIONS: usize = 500;

/// Registers the functions of `comet`. One event may ask for so many actions in the network.
pub fn register(engine: &mut Engine, node: &Node, clock: &Clock, actions_in_network: usize) {
    engine.register_type_with_name::<Comet>("comet").register_type_with_name::<Later>("later");
    facts(engine, node, clock);
    actions(engine);
    arithmetic(engine);
    network::register(engine, &node.neighbours, actions_in_network);
}

fn facts(engine: &mut Engine, node: &Node, clock: &Clock) {
    let clock = clock.clone();
    let id = ImmutableString::from(node.id.as_str());
    let (ip, neighbours) = (node.ip, node.neighbours.clone());
    engine
        .add("getSystemTime", "milliseconds since 1970, the same throughout one handler call", {
            move |_: Comet| in_handler("getSystemTime", |call| call.now(&clock))
        })
        .add("getNodeIP", "this node's address", move |_: Comet| {
            ImmutableString::from(neighbours.own().map_or(ip, |own| own.ip).to_string())
        })
        .add("getNodeID", "this node's peer id", move |_: Comet| id.clone())
        .add("getASOKey", "this object's key: text if it is UTF-8, a blob otherwise", |_: Comet| child_key(0))
        .add("getASOKey", "the n-th child of this object's key, n from 0 to 5", |_: Comet, n: i64| child_key(n));
}

fn actions(engine: &mut Engine) {
    engine
        .add("deleteSelf", "removes this copy after the handler returns", |_: Comet| {
            in_handler("deleteSelf", |call| call.actions.delete_self = true)
        })
        .add("setTimer", "calls onTimer every so many seconds, at least 1; 0 is off", |_: Comet, seconds: Dynamic| {
            set_timer(&seconds)
        })
        .add("later", "returned by onGet, parks the request until comet.reply answers it", |_: Comet| {
            in_handler("later", |_| Later)
        })
        .add("reply", "answers a parked request of this caller; true if one was waiting", reply)
        .add("log", "appends a line to the object's log", |_: Comet, line: Dynamic| log(&line));
}

fn arithmetic(engine: &mut Engine) {
    engine
        .add("random", "a float in [0, 1)", |_: Comet| {
            // The upper 53 bits, which is what a double holds exactly.
            in_handler("random", |call| (call.random() >> 11) as f64 / (1_u64 << 53) as f64)
        })
        .add("sha256", "SHA-256 of text or a blob, as 64 hexadecimal digits", |_: Comet, data: Dynamic| {
            let digest = bytes_of("sha256", &data, |bytes| {
                meter::charge_bytes(bytes.len())?;
                Ok(Sha256::digest(bytes))
            })?;
            Ok::<_, Box<rhai::EvalAltResult>>(ImmutableString::from(blob::hex(&digest)))
        })
        .add("verify", "whether an Ed25519 signature fits: key and signature as hexadecimal digits or blobs", verify);
}

/// Runs `act` on the present call, or complains that there is none: constants are evaluated before any object exists.
fn in_handler<T>(name: &str, act: impl FnOnce(&mut Call) -> T) -> Fallible<T> {
    event::with(|call| call.key.is_some().then(|| act(call)))
        .ok_or_else(|| complaint(format!("comet.{name} works in handlers and top-level lets only")))
}

fn child_key(n: i64) -> Fallible<Dynamic> {
    let Some(n) = usize::try_from(n).ok().filter(|n| *n <= limits::CHILD_KEYS) else {
        return refuse(format!("comet.getASOKey takes 0 to {}, not {n}", limits::CHILD_KEYS));
    };
    meter::charge(n)?;
    in_handler("getASOKey", |call| call.key.as_ref().map_or(Dynamic::UNIT, |key| key_to_script(&key.child(n))))
}

/// Keys are any bytes: text where possible, because that is what scripts compare and print.
fn key_to_script(key: &Key) -> Dynamic {
    match std::str::from_utf8(key.as_bytes()) {
        Ok(text) => Dynamic::from(ImmutableString::from(text)),
        Err(_) => Dynamic::from(Blob(key.as_bytes().into())),
    }
}

fn set_timer(seconds: &Dynamic) -> Fallible<()> {
    let whole = seconds.as_int().ok().filter(|whole| (0..=limits::TIMER_SECONDS).contains(whole));
    let Some(interval) = whole.and_then(|whole| u32::try_from(whole).ok()) else {
        let given = text::clipped(seconds, 64);
        return refuse(format!(
            "comet.setTimer takes whole seconds from 1 to {}, or 0 for off, not {given}",
            limits::TIMER_SECONDS
        ));
    };
    in_handler("setTimer", |call| call.actions.timer = Some(interval))
}

fn reply(_: Comet, caller: Map, value: Dynamic) -> Fallible<bool> {
    let Some(items) = convert::sendable(&value, limits::REPLY_BYTES) else {
        return refuse("comet.reply takes a value that can be sent: no function, and not too large or deep");
    };
    meter::charge_items(items)?;
    let operations = event::with(|call| call.parked.len());
    meter::charge_items(operations)?;
    in_handler("reply", |call| {
        let answered = |index: usize| call.handed.iter().any(|(to, _)| *to == To::Parked(index));
        let mut waiting = call.parked.iter().enumerate().filter(|(_, parked)| event::is_caller(&caller, parked));
        let found = waiting.find(|(index, _)| !answered(*index)).map(|(index, _)| index);
        if let Some(index) = found {
            call.handed.push((To::Parked(index), value));
        }
        found.is_some()
    })
}

/// Adds a line that no terminal can take for a command: control characters are left out.
fn log(line: &Dynamic) -> Fallible<()> {
    let line = text::clipped(line, limits::LOG_LINE_BYTES);
    meter::charge_bytes(line.len())?;
    let line: String = line.chars().filter(|character| !is_control(*character)).collect();
    in_handler("log", |call| {
        let lines = &mut call.actions.log;
        if lines.len() == limits::LOG_LINES {
            lines.remove(0);
        }
        lines.push(line);
    })
}

/// Control characters, and the formatting characters that reorder or hide what an operator reads.
fn is_control(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

fn verify(_: Comet, key: Dynamic, message: Dynamic, signature: Dynamic) -> Fallible<bool> {
    meter::charge(VERIFY_OPERATIONS)?;
    let (Some(key), Some(signature)) = (fixed::<32>(&key), fixed::<64>(&signature)) else {
        return Ok(false);
    };
    let Ok(key) = VerifyingKey::from_bytes(&key) else {
        return Ok(false);
    };
    bytes_of("verify", &message, |message| {
        meter::charge_bytes(message.len())?;
        Ok(key.verify_strict(message, &Signature::from_bytes(&signature)).is_ok())
    })
}

/// `N` bytes given as a blob or as hexadecimal digits.
fn fixed<const N: usize>(value: &Dynamic) -> Option<[u8; N]> {
    if let Some(blob) = value.read_lock::<Blob>() {
        return (*blob.0).try_into().ok();
    }
    let digits = value.as_immutable_string_ref().ok().filter(|text| text.len() == 2 * N)?;
    blob::unhex(&digits)?.try_into().ok()
}

fn bytes_of<T>(name: &str, value: &Dynamic, act: impl FnOnce(&[u8]) -> Fallible<T>) -> Fallible<T> {
    if let Some(blob) = value.read_lock::<Blob>() {
        return act(&blob.0);
    }
    match value.as_immutable_string_ref() {
        Ok(text) => act(text.as_bytes()),
        Err(kind) => refuse(format!("comet.{name} takes text or a blob, not {kind}")),
    }
}
