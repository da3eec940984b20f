//! What an object asks of the network on its own, and what it may ask.
//!
//! | rule | an object | an object whose script is signed by a trusted publisher |
//! |---|---|---|
//! | keys | its own and its child keys | any |
//! | nodes | the 20 nearest to the key, and those that called it lately | any |
//! | what stands behind it | no other object | up to two others |
//! | nodes of one action | 20 | 20 |
//! | bytes of one action, over all nodes | 1 MiB | 1 MiB |

use std::rc::Rc;
use std::sync::Arc;

use comet_kernel::contract::aso::{Arrived, Call, Op, Put, Refusal, Reply};
use comet_kernel::contract::routing::{Act, Action, Data, Targets, TravellingScript};
use comet_kernel::{Key, NodeId, Record, Value, limits};
use futures::future::join_all;

use super::change::{Change, stamp};
use super::net::{Behalf, Net, Replica};
use super::sign::Terms;
use super::{here, unavailable};
use crate::wire::{Answer, Ask, Condition, Stamp};

/// The most nodes that one action asks.
const FAN_OUT: usize = limits::ACTION_NODES;
/// The most bytes that one action sends to all its nodes together, and takes from them.
const BYTES: usize = limits::VALUE_BYTES;

/// Carries an object's action out, if it may.
pub(super) async fn act(net: Rc<Net>, act: Act) -> Result<Vec<Value>, Refusal> {
    let signed = act.publisher.is_some();
    let (Action::Get { key, nodes } | Action::Put { key, nodes, .. }) = &act.action;
    check_cause(act.request.caused, signed)?;
    check_key(key, &act.object, signed)?;
    let targets = targets(&net, key, nodes, &act, signed)?;
    let behalf = Rc::new(Behalf::of_object(&net, &act.request));
    let left = act.request.deadline.since(net.clock().now());
    let clock = net.clock().clone();
    let work = async move {
        match act.action {
            Action::Get { key, .. } => get(&net, &behalf, &key, targets).await,
            Action::Put { key, data: Data::Value(value), .. } => put(&net, &behalf, &key, value, targets).await,
            Action::Put { key, data: Data::Itself, .. } => put_itself(&net, &behalf, &act.object, &key, targets).await,
        }
    };
    let late = || Err(unavailable("the nodes did not answer in time"));
    clock.timeout(left, work).await.unwrap_or_else(late)
}

fn forbidden<T>(rule: &'static str) -> Result<T, Refusal> {
    Err(Refusal::Forbidden(rule.into()))
}

fn check_cause(caused: u8, signed: bool) -> Result<(), Refusal> {
    match (caused, signed) {
        (0..limits::CAUSATION, false) | (0..limits::SIGNED_CAUSATION, true) => Ok(()),
        (_, false) => forbidden("an object that another object asked may not ask others: its script is not signed"),
        (_, true) => forbidden("as many objects stand behind the request as may, even with signed scripts"),
    }
}

fn check_key(key: &Key, object: &Key, signed: bool) -> Result<(), Refusal> {
    if signed || key.belongs_to(object) {
        return Ok(());
    }
    forbidden("an object may reach its own key and its child keys only: its script is not signed")
}

/// Whom the action goes to, nearest first.
fn targets(net: &Net, key: &Key, nodes: &Targets, act: &Act, signed: bool) -> Result<Vec<Replica>, Refusal> {
    let place = key.place();
    let neighbours = &net.env.service.neighbours;
    match nodes {
        Targets::Nearest(number) if usize::from(*number) > FAN_OUT => forbidden(TOO_MANY),
        Targets::Nearest(number) => {
            let number = usize::from(*number);
            let near = neighbours.nearest(&place, number + 1);
            let others = near.iter().filter(|node| node.id != *net.signer.node()).take(number);
            Ok(others.map(|node| Replica::Peer(node.id.clone())).collect())
        }
        Targets::These(nodes) if nodes.len() > FAN_OUT => forbidden(TOO_MANY),
        Targets::These(nodes) => {
            // As many as `comet.lookup` names, and this node.
            let mut near = neighbours.nearest(&place, FAN_OUT + 1);
            near.extend(neighbours.nearest(&act.object.place(), FAN_OUT + 1));
            let is_known = |id: &NodeId| act.callers.contains(id) || near.iter().any(|node| node.id == *id);
            if !signed && !nodes.iter().all(is_known) {
                return forbidden("an object may reach its neighbours and its callers only: its script is not signed");
            }
            Ok(nodes.iter().map(|id| net.replica(id)).collect())
        }
    }
}

const TOO_MANY: &str = "an object may ask at most 20 nodes at once";

fn check_bytes(bytes: usize, nodes: usize) -> Result<(), Refusal> {
    let size = bytes * nodes;
    if size > BYTES {
        return Err(Refusal::TooBig { what: "what the object sends to all nodes together".into(), size, limit: BYTES });
    }
    Ok(())
}

/// Asks all of them. The answers stand in the order of the targets.
async fn ask_all(net: &Net, behalf: &Behalf, ask: &Ask, targets: &[Replica]) -> Vec<Option<Answer>> {
    let asked = targets.iter().map(|target| async { net.ask(target, ask.clone(), behalf).await.ok() });
    join_all(asked).await
}

/// One value for each node that has one. What is too much is left out.
async fn get(net: &Net, behalf: &Behalf, key: &Key, targets: Vec<Replica>) -> Result<Vec<Value>, Refusal> {
    let ask = Ask::Get { key: key.clone(), payload: Value::Nil, asker: behalf.asker.clone() };
    let answers = ask_all(net, behalf, &ask, &targets).await;
    let mut left = BYTES;
    let mut values = Vec::with_capacity(answers.len());
    for (answer, target) in answers.into_iter().zip(&targets) {
        let value = match answer {
            Some(Answer::Handled { stamp, outcome: Ok(value) }) if is_of_script(net, key, &stamp, target) => value,
            Some(Answer::Record(record)) if is_good(net, key, &record, target) => record.value.clone(),
            _ => continue,
        };
        if let Some(rest) = left.checked_sub(value.encoded_size()) {
            left = rest;
            values.push(value);
        }
    }
    Ok(values)
}

fn is_of_script(net: &Net, key: &Key, stamp: &Stamp, sender: &Replica) -> bool {
    net.check_script(key, &stamp.clone().into_record(), sender).is_ok()
}

fn is_good(net: &Net, key: &Key, record: &Record, sender: &Replica) -> bool {
    record.is_live(net.unix()) && net.check(key, record, sender).is_ok()
}

/// Puts a plain value. Answers how many have stored it.
async fn put(
    net: &Net,
    behalf: &Behalf,
    key: &Key,
    value: Value,
    targets: Vec<Replica>,
) -> Result<Vec<Value>, Refusal> {
    let put = Put::plain(value);
    put.check()?;
    check_bytes(put.value.encoded_size(), targets.len())?;
    let stamp = stamp(net, key, &put.value, None, None, Terms::default());
    let change = Change { value: put.value, script: None, stamp, replicas: targets, found: None };
    Ok(stored(ask_all(net, behalf, &change.ask(key, Condition::Always, behalf), &change.replicas).await))
}

/// Puts the object as it is: a copy of its own key goes to others with its state, and under another key it begins anew.
async fn put_itself(
    net: &Net,
    behalf: &Behalf,
    object: &Key,
    key: &Key,
    targets: Vec<Replica>,
) -> Result<Vec<Value>, Refusal> {
    let (request, caller) = (behalf.request.clone(), behalf.caller.clone());
    let copy = Call { key: object.clone(), request, caller, op: Op::Copy, stamp: None };
    let Reply::Plain(record) = here::carry(net, copy).await? else {
        return forbidden("the object is not there any more");
    };
    check_bytes(super::quota::size_of(object, &record) as usize, targets.len())?;
    let ask = if key == object { arrival(key, record, behalf.asker.caused)? } else { anew(net, behalf, key, &record) };
    let answers = ask_all(net, behalf, &ask, &targets).await;
    let number = if key == object { targets.len() as u64 } else { 0 };
    net.env.tally.copies_sent.add(number);
    Ok(stored(answers))
}

fn arrival(key: &Key, record: Arc<Record>, caused: u8) -> Result<Ask, Refusal> {
    if record.removed().is_some() {
        return forbidden("the object is not there any more");
    }
    Ok(Ask::Arrive { key: key.clone(), record, caused })
}

fn anew(net: &Net, behalf: &Behalf, key: &Key, record: &Record) -> Ask {
    let script = record.active.as_ref().map(|active| &active.script);
    let script = script.map(|it| TravellingScript { hash: it.hash, follows: it.follows.clone() });
    let terms = Terms { script: script.as_ref().map(|script| script.hash), ..Terms::default() };
    let stamp = stamp(net, key, &record.value, record.expires, None, terms);
    let change = Change { value: record.value.clone(), script, stamp, replicas: Vec::new(), found: None };
    change.ask(key, Condition::Always, behalf)
}

fn stored(answers: Vec<Option<Answer>>) -> Vec<Value> {
    let has = |answer: &Option<Answer>| {
        let arrived = [Arrived::Taken, Arrived::Merged, Arrived::Same].map(Answer::Arrived);
        answer.as_ref().is_some_and(|answer| matches!(answer, Answer::Stored { .. }) || arrived.contains(answer))
    };
    vec![Value::Int(answers.iter().filter(|answer| has(answer)).count() as i64)]
}
