//! The functions of `comet` that reach other nodes.
//!
//! `lookup` answers at once from what this node knows; `get` and `put` are noted down and carried out after the handler
//! returned. What they are given is checked here, so that a script's mistake is an error where it was made; what an
//! object may reach is checked again by whoever carries the action out.

use std::sync::Arc;

use comet_kernel::contract::aso::Budget;
use comet_kernel::contract::routing::{Action, Data, Targets};
use comet_kernel::identity::NodeId;
use comet_kernel::neighbours::{Neighbour, Neighbours};
use comet_kernel::{Key, Value, limits};
use rhai::{Array, Dynamic, Engine, FnPtr, ImmutableString, Map, NativeCallContext};

use super::{Comet, in_handler};
use crate::sandbox::blob::Blob;
use crate::sandbox::event::{self, Asked, Call, To};
use crate::sandbox::failure::{complaint, refuse};
use crate::sandbox::meter::{self, Fallible};
use crate::sandbox::natives::Register;
use crate::sandbox::{convert, text};

/// What the definition file says of `put`.
const PUT: &str =
    "puts data on nodes after the handler returned; `this` is the object itself, which begins anew under another key";

/// Operations that finding the nodes nearest to a key counts as.
const LOOKUP_OPERATIONS: usize = 100;
/// Operations that comparing a key with the children of the object's key counts as.
const CHILDREN_OPERATIONS: usize = 10;
/// Longest id of a node, in bytes.
const ID_BYTES: usize = 256;

/// Registers the functions. One event may ask for so many actions.
pub fn register(engine: &mut Engine, neighbours: &Neighbours, actions: usize) {
    let (near_own, near_other) = (neighbours.clone(), neighbours.clone());
    engine
        .add("lookup", "up to 20 nodes nearest to this object's key, nearest first: #{ id, ip, port } each", {
            move |_: Comet| {
                let own = in_handler("lookup", |call| call.key.clone())?;
                lookup(&near_own, &own.expect("a handler runs on an object"))
            }
        })
        .add("lookup", "up to 20 nodes nearest to the object's own key or one of its child keys, nearest first", {
            move |_: Comet, key: Dynamic| lookup(&near_other, &reachable("lookup", &key)?)
        })
        .add(
            "get",
            "gets a key of nodes (so many nearest, or an array of nodes) after the handler returned; then \
             callback(values) runs, with [] if it failed",
            move |_: Comet, key: Dynamic, nodes: Dynamic, callback: Dynamic| {
                let action = Action::Get { key: reachable("get", &key)?, nodes: targets("get", &nodes)? };
                ask("get", (action, None), Some(&callback), actions)
            },
        )
        .add("put", PUT, {
            move |context: NativeCallContext, _: Comet, key: Dynamic, data: Dynamic, nodes: Dynamic| {
                ask("put", put(&context, &key, data, &nodes)?, None, actions)
            }
        })
        .add("put", "as put; then callback(values) runs with [how many nodes stored it], or [] if it failed", {
            move |context: NativeCallContext,
                  _: Comet,
                  key: Dynamic,
                  data: Dynamic,
                  nodes: Dynamic,
                  callback: Dynamic| {
                ask("put", put(&context, &key, data, &nodes)?, Some(&callback), actions)
            }
        });
}

fn lookup(neighbours: &Neighbours, key: &Key) -> Fallible<Array> {
    meter::charge(LOOKUP_OPERATIONS)?;
    let own = neighbours.own();
    let nearest = neighbours.nearest(&key.place(), limits::ACTION_NODES + 1);
    let others = nearest.iter().filter(|node| own.as_ref().is_none_or(|own| own.id != node.id));
    Ok(others.take(limits::ACTION_NODES).map(|node| node_to_script(node)).collect())
}

/// `#{ id, ip, port }`.
fn node_to_script(node: &Neighbour) -> Dynamic {
    let mut map = Map::new();
    map.insert("id".into(), Dynamic::from(ImmutableString::from(node.id.as_str())));
    map.insert("ip".into(), node.ip.to_string().into());
    map.insert("port".into(), Dynamic::from_int(i64::from(node.port)));
    Dynamic::from_map(map)
}

/// The key that a script names, if it may reach it: its own, a child of that, or any if the script is signed.
fn reachable(function: &str, key: &Dynamic) -> Fallible<Key> {
    let named = key_from_script(function, key)?;
    meter::charge(CHILDREN_OPERATIONS)?;
    let allowed = in_handler(function, |call| {
        let own = call.key.as_ref().expect("a handler runs on an object");
        call.publisher().is_some() || *own == named || (1..=limits::CHILD_KEYS).any(|n| own.child(n) == named)
    })?;
    if allowed {
        return Ok(named);
    }
    refuse(format!(
        "comet.{function}: key is neither this object's nor one of its child keys, comet.getASOKey(1) to \
         comet.getASOKey({}); only a script signed by a trusted publisher may use others",
        limits::CHILD_KEYS
    ))
}

fn key_from_script(function: &str, key: &Dynamic) -> Fallible<Key> {
    let named = if let Some(blob) = key.read_lock::<Blob>() {
        Key::new(&blob.0)
    } else if let Ok(text) = key.as_immutable_string_ref() {
        Key::new(text.as_bytes())
    } else {
        return refuse(format!("comet.{function}: key is {}; it must be text or a blob", given(key)));
    };
    named.map_err(|error| complaint(format!("comet.{function}: {error}")))
}

fn targets(function: &str, nodes: &Dynamic) -> Fallible<Targets> {
    let most = limits::ACTION_NODES;
    if let Ok(array) = nodes.as_array_ref()
        && array.len() <= most
    {
        let mut ids: Vec<NodeId> = Vec::with_capacity(array.len());
        for (index, node) in array.iter().enumerate() {
            let id = node_id(function, index, node)?;
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        return Ok(Targets::These(ids));
    }
    let number = nodes.as_int().ok().and_then(|number| u8::try_from(number).ok());
    if let Some(number) = number.filter(|number| (1..=most).contains(&usize::from(*number))) {
        return Ok(Targets::Nearest(number));
    }
    let given = match nodes.as_array_ref() {
        Ok(array) => format!("an array of {}", array.len()),
        Err(_) => given(nodes),
    };
    refuse(format!(
        "comet.{function}: nodes is {given}; it must be a number from 1 to {most}, or an array of at most {most} nodes \
         such as comet.lookup() gives"
    ))
}

/// The peer id of a node as `comet.lookup` gives it, or of a caller. A user of a node's gateway stands for that node.
fn node_id(function: &str, index: usize, node: &Dynamic) -> Fallible<NodeId> {
    let map = node.as_map_ref().ok();
    let id = map.as_ref().and_then(|map| map.get("id")).and_then(|id| id.as_immutable_string_ref().ok());
    let id = id.as_ref().and_then(|id| id.split('/').next());
    match id.filter(|id| (1..=ID_BYTES).contains(&id.len())) {
        Some(id) => Ok(NodeId::from_text(id)),
        None => refuse(format!(
            "comet.{function}: nodes[{index}] is {}; it must be a map with an id, such as comet.lookup() gives",
            given(node)
        )),
    }
}

/// A put, and what it is to carry: the value is copied when the handler has returned.
fn put(
    context: &NativeCallContext<'_>,
    key: &Dynamic,
    data: Dynamic,
    nodes: &Dynamic,
) -> Fallible<(Action, Option<Dynamic>)> {
    let key = reachable("put", key)?;
    let position = context.call_position();
    let (data, handed) = if event::with(|call| call.means_itself(position)) {
        (Data::Itself, None)
    } else {
        let Some(items) = convert::sendable(&data, limits::VALUE_BYTES) else {
            return refuse("comet.put: data must be a value that can be sent: no function, not too large or deep");
        };
        meter::charge_items(items)?;
        (Data::Value(Value::Nil), Some(data))
    };
    Ok((Action::Put { key, data, nodes: targets("put", nodes)? }, handed))
}

/// Asks for an action, which is to carry what is `handed` over.
fn ask(
    function: &str,
    (action, handed): (Action, Option<Dynamic>),
    callback: Option<&Dynamic>,
    most: usize,
) -> Fallible<()> {
    let callback = callback.map(|callback| callback_name(function, callback)).transpose()?;
    let noted = in_handler(function, |call| {
        let place = call.actions.network.len();
        let noted = note(call, action, callback, most);
        if let Some(value) = handed.filter(|_| noted) {
            call.handed.push((To::Network(place), value));
        }
        noted
    })?;
    if noted { Ok(()) } else { Err(meter::end(Budget::Actions)) }
}

/// Whether the event may ask for one action more; if so, notes it down.
fn note(call: &mut Call, action: Action, callback: Option<Arc<str>>, most: usize) -> bool {
    let room = call.actions.network.len() < most;
    if room {
        let publisher = call.publisher().cloned();
        call.actions.network.push(Asked { action, callback, publisher });
    }
    room
}

/// The name of the function that takes the answer. The script must define it, with one parameter at most.
fn callback_name(function: &str, callback: &Dynamic) -> Fallible<Arc<str>> {
    let pointer = callback.read_lock::<FnPtr>();
    let name = match (&pointer, callback.as_immutable_string_ref()) {
        (Some(pointer), _) => pointer.fn_name(),
        (None, Ok(ref name)) => &name.to_string(),
        (None, Err(_)) => {
            let given = given(callback);
            return refuse(format!("comet.{function}: callback is {given}; it must be the name of a function"));
        }
    };
    event::with(|call| call.callback(name)).ok_or_else(|| {
        let name = text::cut(name.to_owned(), 64);
        complaint(format!(
            "comet.{function}: callback is {name:?}; the script must define a function of that name with one parameter \
             or none"
        ))
    })
}

/// An argument as errors show it.
fn given(value: &Dynamic) -> String {
    let text = text::clipped(value, 64);
    match (value.is_unit(), value.is_string()) {
        (true, _) => "()".to_owned(),
        (_, true) => format!("{text:?}"),
        _ => text,
    }
}
