//! This node's own copy: what nodes ask each other becomes a call on the directory, and its reply an answer.

use std::sync::Arc;

use comet_kernel::contract::aso::{self, Call, Lifetime, Op, Put, Refusal, Reply, Revision, ScriptChoice};
use comet_kernel::directory::Asked;
use comet_kernel::provenance::Removal;
use comet_kernel::{Caller, Key, Record, Request, Value};

use super::net::{Behalf, Net};
use crate::wire::{Answer, Ask, Condition, Stamp};

/// Asks this node's copy. What is not about one object is refused.
pub(super) async fn ask(net: &Net, ask: Ask, caller: Arc<Caller>, request: Request) -> Answer {
    let is_get = matches!(ask, Ask::Get { .. });
    let changes = ask.changes();
    let Some((key, op, stamp)) = operation(ask) else {
        return Answer::Refused(Refusal::Forbidden("that is no question about an object".into()));
    };
    let call = |op, stamp| Call { key: key.clone(), request: request.clone(), caller: caller.clone(), op, stamp };
    if is_get {
        return get(net, call(Op::Copy, None), call(op, None)).await;
    }
    let answer = answer(carry(net, call(op, stamp)).await);
    if changes && matches!(answer, Answer::Refused(Refusal::Unavailable(_))) && net.env.storage.gate.is_shut() {
        net.miss(&key);
    }
    answer
}

/// A get: a plain value is its copy. A handler's answer needs the copy too, for the stamp that goes with it, and afterwards
/// the object may be gone. Whoever asks wants to know whether there was never anything, or whether it was removed.
async fn get(net: &Net, copy: Call, get: Call) -> Answer {
    let record = match answer(carry(net, copy).await) {
        Answer::Record(record) => record,
        other => return other,
    };
    if record.active.is_none() {
        let gone_everywhere = matches!(record.removed(), Some(Removal::Everywhere | Removal::Ended));
        let shown = record.is_live(net.unix()) || gone_everywhere;
        return if shown { Answer::Record(record) } else { Answer::Absent };
    }
    let outcome = match answer(carry(net, get).await) {
        Answer::Value(value) => Ok(value),
        Answer::Refused(refusal) if !matches!(refusal, Refusal::Unavailable(_) | Refusal::TimedOut(_)) => Err(refusal),
        other => return other,
    };
    match stamp_of(&record) {
        Some(stamp) => Answer::Handled { stamp, outcome },
        // It is from before this node was part of a network: nobody else believes it.
        None => outcome.map_or_else(Answer::Refused, Answer::Value),
    }
}

fn stamp_of(record: &Record) -> Option<Stamp> {
    let provenance = record.provenance.as_deref()?.clone();
    Some(Stamp { version: record.version, provenance, expires: record.expires, owner: record.owner.clone() })
}

/// Puts a call to the directory.
pub(super) async fn carry(net: &Net, call: Call) -> Result<Reply, Refusal> {
    match net.env.aso.directory.ask(call, net.clock().now(), true) {
        Asked::Done(reply) => reply,
        Asked::Later(pending) => pending.await.unwrap_or_else(|error| Err(Refusal::Unavailable(error.to_string()))),
    }
}

fn operation(ask: Ask) -> Option<(Key, Op, Option<Arc<aso::Stamp>>)> {
    Some(match ask {
        Ask::Get { key, payload, .. } => (key, Op::Get { payload }, None),
        Ask::Copy { key } => (key, Op::Copy, None),
        Ask::Log { key } => (key, Op::Log, None),
        Ask::Put { key, value, script, condition, stamp, .. } => {
            let put = Put {
                value,
                script: script.map(ScriptChoice::Travelled),
                lifetime: stamp.expires.map_or(Lifetime::Endless, Lifetime::At),
                condition: condition.into(),
                owned: stamp.owner.is_some(),
                replicas: stamp.provenance.replicas,
            };
            (key, Op::Put(Box::new(put)), Some(stamp.into()))
        }
        Ask::Revise { key, base, value, stamp, .. } => {
            (key, Op::Revise(Box::new(Revision { base, value })), Some(stamp.into()))
        }
        Ask::Remove { key, stamp, .. } => (key, Op::Remove, Some(stamp.into())),
        Ask::Arrive { key, record, caused: _ } => (key, Op::Arrive(record), None),
        Ask::Compare { .. } | Ask::Script { .. } | Ask::Nearest { .. } => return None,
    })
}

fn answer(reply: Result<Reply, Refusal>) -> Answer {
    match reply {
        Ok(Reply::Absent) => Answer::Absent,
        Ok(Reply::Value(value)) => Answer::Value(value),
        Ok(Reply::Plain(record)) => Answer::Record(record),
        Ok(Reply::Stored { former }) => Answer::Stored { former },
        Ok(Reply::Kept { present }) => Answer::Kept { present },
        Ok(Reply::Removed { former }) => Answer::Removed { former },
        Ok(Reply::Arrived(arrived)) => Answer::Arrived(arrived),
        Ok(Reply::Log(lines)) => Answer::Value(Value::Array(lines.iter().map(|line| Value::from(&**line)).collect())),
        Ok(other) => Answer::Refused(Refusal::Unavailable(format!("the object answered {other:?}"))),
        Err(refusal) => Answer::Refused(refusal),
    }
}

impl From<Stamp> for Arc<aso::Stamp> {
    fn from(stamp: Stamp) -> Self {
        let Stamp { version, provenance, expires, owner } = stamp;
        Arc::new(aso::Stamp { version, provenance, expires, owner })
    }
}

impl From<Condition> for aso::Condition {
    fn from(condition: Condition) -> Self {
        match condition {
            Condition::Always => aso::Condition::Always,
            Condition::IfAbsent => aso::Condition::IfAbsent,
            Condition::IfPresent => aso::Condition::IfPresent,
        }
    }
}

impl From<aso::Condition> for Condition {
    fn from(condition: aso::Condition) -> Self {
        match condition {
            aso::Condition::Always => Condition::Always,
            aso::Condition::IfAbsent => Condition::IfAbsent,
            aso::Condition::IfPresent => Condition::IfPresent,
        }
    }
}

/// What this node's own copy tells of itself.
pub(super) async fn info(net: &Net, behalf: &Behalf, key: &Key) -> Result<Reply, Refusal> {
    let (caller, request) = (behalf.caller.clone(), behalf.request.clone());
    carry(net, Call { key: key.clone(), request, caller, op: Op::Info, stamp: None }).await
}
