//! Scripts that travel with puts.

use std::collections::HashMap;
use std::sync::Arc;

use comet_kernel::contract::aso::{Op, Put, Refusal, ScriptChoice};
use comet_kernel::contract::routing::TravellingScript;
use comet_kernel::record::{Active, ScriptRef};
use comet_kernel::{ScriptHash, Value, limits};
use futures::future::join_all;

use super::swarm::Behaviour;
use super::world::{World, key, lock, stamp_of, text};
use crate::router::sign::{self, Terms};
use crate::wire::{Answer, Ask};

const SOURCE: &str = "fn onGet() { 1 }";

fn scripted(script: ScriptChoice) -> Op {
    Op::Put(Box::new(Put { script: Some(script), ..Put::plain(text("v")) }))
}

fn source() -> ScriptChoice {
    ScriptChoice::Source(SOURCE.into())
}

#[actix::test]
async fn a_source_reaches_every_node_that_stores_the_object_once() {
    let world = World::of(8).await;
    let near = world.near(&key("k"));
    let puts = (0..20).map(|number| {
        let name = if number == 0 { "k".to_owned() } else { format!("k{number}") };
        world.nodes[near[7]].route(&world.clock, &name, scripted(source()))
    });
    for reply in world.run(join_all(puts)).await {
        reply.unwrap();
    }
    world.until(|| world.holders("k", &text("v")) == 5).await;
    for node in &near[..5] {
        assert_eq!(lock(&world.nodes[*node].library).iter().filter(|source| ***source == *SOURCE).count(), 1);
    }
    let asked = world.sent_to(near[7]).into_iter().filter(|name| *name == "Script").count();
    assert!(asked <= 7, "each node asked once, though many puts waited: {asked}");
    let record = world.nodes[near[0]].record("k").unwrap();
    let hash = ScriptHash::of(SOURCE);
    assert_eq!(record.active.as_ref().unwrap().script.hash, hash);
    assert_eq!(record.provenance.as_ref().unwrap().script, Some(hash));
    sign::check(&key("k"), &record, world.clock.unix()).unwrap();
}

#[actix::test]
async fn a_name_travels_as_its_hash_and_is_followed_unless_it_is_pinned() {
    let world = World::of(5).await;
    lock(&world.nodes[0].library).push("named".into());
    for (name, pin, follows) in [("a", false, Some("named".into())), ("b", true, None)] {
        let choice = ScriptChoice::Named { name: "named".into(), pin };
        world.route(0, name, scripted(choice)).await.unwrap();
        world.until(|| world.holders(name, &text("v")) == 5).await;
        let record = world.nodes[1].record(name).unwrap();
        let script = ScriptRef { hash: ScriptHash::of("named"), follows };
        assert_eq!(record.active.as_ref().unwrap().script, script);
    }
    let unknown = ScriptChoice::Named { name: "nobody".into(), pin: false };
    assert_eq!(world.route(0, "c", scripted(unknown)).await.unwrap_err(), Refusal::NoScript("nobody".to_owned()));
    let hash = ScriptHash::of("unknown");
    let refusal = world.route(0, "c", scripted(ScriptChoice::Hash(hash))).await.unwrap_err();
    assert_eq!(refusal, Refusal::NoScript(hash.to_string()));
}

#[actix::test]
async fn a_source_that_is_not_what_was_asked_for_is_refused() {
    let world = World::of(6).await;
    let liar = world.near(&key("k"))[5];
    let lie = |ask: &Ask| matches!(ask, Ask::Script { .. }).then(|| Answer::Source(Some("fn other() {}".into())));
    world.behave(liar, Behaviour::Lying(Arc::new(lie)));
    let refusal = world.route(liar, "k", scripted(source())).await.unwrap_err();
    assert!(matches!(refusal, Refusal::BadScript(_)), "{refusal:?}");
    assert_eq!(world.holders("k", &text("v")), 0);
}

#[actix::test]
async fn whoever_hands_a_copy_on_cannot_say_which_script_runs() {
    let world = World::of(6).await;
    let node = &world.nodes[3];
    let hash = ScriptHash::of(SOURCE);
    lock(&world.nodes[0].library).push(SOURCE.into());
    let mut record = node.signed("k", |_| (), Terms { script: Some(hash), ..Terms::default() });
    let script = ScriptRef { hash: ScriptHash::of("evil"), follows: Some("named".into()) };
    record.active = Some(Box::new(Active { script, state: Value::Int(7), timer: None, quarantined: false }));
    let ask = Ask::Arrive { key: key("k"), record: Arc::new(record), caused: 0 };
    let from = world.nodes[5].id.clone();
    assert!(matches!(world.serve(0, &from, ask).await, Answer::Arrived(_)));
    let active = world.nodes[0].record("k").unwrap().active.clone().unwrap();
    assert_eq!((active.script.hash, active.state), (hash, Value::Int(7)));
}

#[actix::test]
async fn a_put_must_be_signed_for_the_script_that_it_comes_with() {
    let world = World::of(3).await;
    let node = &world.nodes[1];
    let record = node.signed("k", |_| (), Terms { script: Some(ScriptHash::of(SOURCE)), ..Terms::default() });
    let Ask::Put { key, value, condition, asker, .. } = super::world::put_of("k", &record) else { unreachable!() };
    let ask = Ask::Put { key, value, script: None, condition, stamp: stamp_of(&record), asker };
    let answer = world.serve(0, &node.id, ask).await;
    assert!(matches!(answer, Answer::Refused(Refusal::Forbidden(_))), "{answer:?}");
}

#[actix::test]
async fn one_peer_does_not_fill_the_table_of_scripts() {
    let world = World::of(3).await;
    let sources: HashMap<_, Arc<str>> = (0..5_000)
        .map(|number| Arc::from(format!("fn onGet() {{ {number} }}")))
        .map(|source| (ScriptHash::of(&source), source))
        .collect();
    let hashes: Vec<_> = sources.keys().copied().collect();
    for node in [1, 2] {
        let sources = sources.clone();
        let tell = move |ask: &Ask| match ask {
            Ask::Script { hash } => Some(Answer::Source(sources.get(hash).cloned())),
            _ => None,
        };
        world.behave(node, Behaviour::Lying(Arc::new(tell)));
    }
    let put = async |node: usize, hash: ScriptHash| {
        let record = world.nodes[node].signed("k", |_| (), Terms { script: Some(hash), ..Terms::default() });
        let Ask::Put { key, value, condition, asker, .. } = super::world::put_of("k", &record) else { unreachable!() };
        let script = Some(TravellingScript { hash, follows: None });
        let ask = Ask::Put { key, value, script, condition, stamp: stamp_of(&record), asker };
        let answer = world.serve(0, &world.nodes[node].id, ask).await;
        // The library of a test looks through all that it has.
        lock(&world.nodes[0].library).clear();
        answer
    };
    let mut brought = 0;
    while matches!(put(1, hashes[brought]).await, Answer::Stored { .. }) {
        brought += 1;
    }
    assert_eq!(brought, limits::SOURCES / 8);
    assert!(matches!(put(1, hashes[brought]).await, Answer::Refused(Refusal::Forbidden(_))));
    assert!(matches!(put(2, hashes[brought]).await, Answer::Stored { .. }), "another has its own part");
}
