//! What objects ask of the network.

use std::sync::Arc;
use std::time::Duration;

use comet_kernel::contract::aso::Refusal;
use comet_kernel::contract::routing::{Act, Action, Data, Targets};
use comet_kernel::record::{Active, ScriptRef};
use comet_kernel::{Key, NodeId, Record, Request, ScriptHash, Value};

use super::swarm::Behaviour;
use super::world::{World, key, lock, text};
use crate::router::sign::Terms;
use crate::wire::{Answer, Ask};

/// An action of the object `k`.
fn act(world: &World, action: Action) -> Act {
    let request = Request::until(world.clock.now() + Duration::from_secs(5));
    Act { object: key("k"), request, publisher: None, callers: Vec::new(), action }
}

fn signed(act: Act) -> Act {
    Act { publisher: Some("somebody".to_owned()), ..act }
}

fn caused(mut act: Act, objects: u8) -> Act {
    act.request = act.request.caused_by(objects);
    act
}

fn get(key: Key, nodes: Targets) -> Action {
    Action::Get { key, nodes }
}

fn put(key: Key, value: Value, nodes: Targets) -> Action {
    Action::Put { key, data: Data::Value(value), nodes }
}

async fn carry(world: &World, node: usize, act: Act) -> Result<Vec<Value>, Refusal> {
    world.run(world.nodes[node].env.service.act.call(act)).await.unwrap()
}

fn rule(outcome: Result<Vec<Value>, Refusal>) -> String {
    match outcome {
        Err(Refusal::Forbidden(rule)) => rule.into_owned(),
        other => panic!("{other:?}"),
    }
}

#[actix::test]
async fn an_object_puts_on_its_neighbours_and_gets_from_them() {
    let world = World::of(8).await;
    let near = world.near(&key("k"));
    let child = key("k").child(1);
    let stored = carry(&world, near[0], act(&world, put(child.clone(), text("v"), Targets::Nearest(3)))).await;
    assert_eq!(stored, Ok(vec![Value::Int(3)]));
    let values = carry(&world, near[0], act(&world, get(child, Targets::Nearest(5)))).await.unwrap();
    assert_eq!(values, [text("v"), text("v"), text("v")], "one for each that has it");
    assert!(lock(&world.nodes[near[0]].shelf).records.is_empty(), "the node itself is not among the nearest");
}

#[actix::test]
async fn a_key_of_another_object_needs_a_signature() {
    let world = World::of(4).await;
    world.put(0, "other", "v").await.unwrap();
    let action = || get(key("other"), Targets::Nearest(3));
    assert!(rule(carry(&world, 0, act(&world, action())).await).contains("child keys only"));
    let sixth = get(key("k").child(6), Targets::Nearest(1));
    assert!(rule(carry(&world, 0, act(&world, sixth)).await).contains("child keys only"));
    assert_eq!(carry(&world, 0, signed(act(&world, action()))).await.unwrap().len(), 3);
}

#[actix::test]
async fn an_object_that_another_asked_asks_nobody_unless_it_is_signed() {
    let world = World::of(4).await;
    let action = || act(&world, get(key("k"), Targets::Nearest(1)));
    assert!(rule(carry(&world, 0, caused(action(), 1)).await).contains("not signed"));
    assert!(carry(&world, 0, signed(caused(action(), 2))).await.is_ok());
    assert!(rule(carry(&world, 0, signed(caused(action(), 3))).await).contains("as many objects"));
    let seen = world.nodes.iter().filter_map(|node| lock(&node.shelf).calls.last().map(|call| call.request.caused));
    assert_eq!(seen.max(), Some(3), "the request says how many stand behind it");
}

#[actix::test]
async fn nodes_that_are_neither_near_nor_callers_need_a_signature() {
    let mut settings = super::world::settings();
    settings.dht.replication = 3;
    settings.dht.write_quorum = 2;
    let world = World::with(24, &settings).await;
    let near = world.near(&key("k"));
    let far = world.nodes[near[23]].id.clone();
    let action = || act(&world, get(key("k"), Targets::These(vec![far.clone()])));
    assert!(rule(carry(&world, near[0], action()).await).contains("neighbours and its callers"));
    assert!(carry(&world, near[0], Act { callers: vec![far.clone()], ..action() }).await.is_ok());
    assert!(carry(&world, near[0], signed(action())).await.is_ok());
    let neighbours = near[1..21].iter().map(|node| world.nodes[*node].id.clone()).collect();
    let close = act(&world, get(key("k"), Targets::These(neighbours)));
    assert!(carry(&world, near[0], close).await.is_ok());
}

#[actix::test]
async fn nodes_and_bytes_of_one_action_are_bounded() {
    let world = World::of(4).await;
    let many = act(&world, get(key("k"), Targets::Nearest(21)));
    assert!(rule(carry(&world, 0, many).await).contains("at most 20"));
    let these: Vec<NodeId> = vec![world.nodes[1].id.clone(); 21];
    let many = act(&world, get(key("k"), Targets::These(these)));
    assert!(rule(carry(&world, 0, signed(many)).await).contains("at most 20"));
    let big = || text(&"x".repeat(400_000));
    let much = act(&world, put(key("k"), big(), Targets::Nearest(3)));
    assert!(matches!(carry(&world, 0, much).await, Err(Refusal::TooBig { .. })));
    let some = act(&world, put(key("k"), big(), Targets::Nearest(2)));
    assert_eq!(carry(&world, 0, some).await, Ok(vec![Value::Int(2)]));
    let large = text(&"y".repeat(600_000));
    for node in 1..4 {
        let change = |record: &mut Record| record.value = large.clone();
        world.nodes[node].hold("k", world.nodes[node].signed("k", change, Terms::default()));
    }
    let values = carry(&world, 0, act(&world, get(key("k"), Targets::Nearest(3)))).await.unwrap();
    assert_eq!(values.len(), 1, "what is too much is left out");
}

#[actix::test]
async fn an_object_puts_itself_as_it_is() {
    let world = World::of(6).await;
    let near = world.near(&key("k"));
    let hash = ScriptHash::of("source");
    lock(&world.nodes[near[0]].library).push("source".into());
    let mut record = world.nodes[near[0]].signed("k", |_| (), Terms { script: Some(hash), ..Terms::default() });
    let script = ScriptRef { hash, follows: None };
    record.active = Some(Box::new(Active { script, state: Value::Int(7), timer: None, quarantined: false }));
    world.nodes[near[0]].hold("k", record.clone());
    let itself = |key: Key| Action::Put { key, data: Data::Itself, nodes: Targets::Nearest(2) };
    assert_eq!(carry(&world, near[0], act(&world, itself(key("k")))).await, Ok(vec![Value::Int(2)]));
    assert_eq!(*world.nodes[near[1]].record("k").unwrap(), record, "with its state, and as it was signed");
    assert_eq!(carry(&world, near[0], act(&world, itself(key("k")))).await, Ok(vec![Value::Int(2)]), "again");
    let seen = lock(&world.nodes[near[1]].shelf).calls.last().map(|call| call.request.caused);
    assert_eq!(seen, Some(1), "an object stands behind the copy");
    let child = key("k").child(2);
    assert_eq!(carry(&world, near[0], act(&world, itself(child.clone()))).await, Ok(vec![Value::Int(2)]));
    let copies = world.nodes.iter().filter_map(|node| lock(&node.shelf).records.get(&child).cloned());
    let states: Vec<_> = copies.map(|copy| copy.active.as_ref().unwrap().state.clone()).collect();
    assert_eq!(states, [Value::Nil, Value::Nil], "under another key it begins anew");
    let nothing = act(&world, Action::Put { key: key("x"), data: Data::Itself, nodes: Targets::Nearest(1) });
    let nothing = Act { object: key("x"), ..nothing };
    assert!(rule(carry(&world, 0, nothing).await).contains("not there"));
}

#[actix::test]
async fn dead_and_lying_nodes_are_left_out_of_the_values() {
    let world = World::of(5).await;
    let near = world.near(&key("k"));
    for node in &near[1..] {
        world.nodes[*node].hold("k", world.nodes[*node].signed("k", |_| (), Terms::default()));
    }
    world.behave(near[1], Behaviour::Dead);
    let forged = Record { value: text("forged"), ..world.nodes[near[3]].signed("k", |_| (), Terms::default()) };
    let lie = move |_: &Ask| Some(Answer::Record(Arc::new(forged.clone())));
    world.behave(near[2], Behaviour::Lying(Arc::new(lie)));
    let values = carry(&world, near[0], act(&world, get(key("k"), Targets::Nearest(4)))).await.unwrap();
    assert_eq!(values, [text("signed"), text("signed")]);
    assert_eq!(world.nodes[near[0]].refused(), 1);
}

#[actix::test]
async fn an_action_ends_at_its_deadline() {
    let world = World::of(3).await;
    (1..3).for_each(|node| world.behave(node, Behaviour::Hung));
    let mut action = act(&world, get(key("k"), Targets::Nearest(2)));
    action.request.deadline = world.clock.now() + Duration::from_millis(300);
    let began = world.clock.now();
    let outcome = carry(&world, 0, action).await;
    assert!(outcome.is_err() || outcome.is_ok_and(|values| values.is_empty()));
    assert!(world.clock.now().since(began) <= Duration::from_millis(310));
}
