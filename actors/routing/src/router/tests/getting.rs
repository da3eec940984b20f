//! Gets.

use std::sync::Arc;
use std::time::Duration;

use comet_kernel::contract::aso::{Op, Refusal, Reply};
use comet_kernel::contract::routing::{LookUp, Route};
use comet_kernel::provenance::Removal;
use comet_kernel::{Record, UnixMillis, Value};

use super::swarm::Behaviour;
use super::world::{START, World, key, lock, settings, text};
use crate::router::sign::Terms;
use crate::wire::{Answer, Ask};

fn get() -> Op {
    Op::Get { payload: Value::Nil }
}

#[actix::test]
async fn what_one_node_puts_every_node_gets() {
    let world = World::of(8).await;
    world.put(0, "k", "v").await.unwrap();
    for node in 0..8 {
        assert_eq!(world.get(node, "k").await, Some(text("v")));
        assert_eq!(world.get(node, "nothing").await, None);
    }
}

#[actix::test]
async fn a_node_that_stores_the_key_asks_nobody_else() {
    let world = World::of(8).await;
    world.put(0, "k", "v").await.unwrap();
    world.until(|| world.holders("k", &text("v")) == 5).await;
    let near = world.near(&key("k"));
    lock(&world.wires).sent.clear();
    assert_eq!(world.get(near[4], "k").await, Some(text("v")));
    assert!(lock(&world.wires).sent.is_empty());
    assert_eq!(world.get(near[5], "k").await, Some(text("v")));
    assert_eq!(lock(&world.wires).sent.len(), 2, "as many as are asked at once");
}

#[actix::test]
async fn a_get_goes_round_dead_nodes() {
    let world = World::of(8).await;
    world.put(0, "k", "v").await.unwrap();
    world.until(|| world.holders("k", &text("v")) == 5).await;
    let near = world.near(&key("k"));
    near[..4].iter().for_each(|node| world.behave(*node, Behaviour::Dead));
    let began = world.clock.now();
    assert_eq!(world.get(near[7], "k").await, Some(text("v")));
    assert!(world.clock.now().since(began) < Duration::from_millis(50));
}

#[actix::test]
async fn a_hung_node_costs_a_get_no_more_than_a_second_question() {
    let world = World::of(8).await;
    world.put(0, "k", "v").await.unwrap();
    world.until(|| world.holders("k", &text("v")) == 5).await;
    let near = world.near(&key("k"));
    near[..2].iter().for_each(|node| world.behave(*node, Behaviour::Hung));
    let began = world.clock.now();
    assert_eq!(world.get(near[7], "k").await, Some(text("v")));
    let took = world.clock.now().since(began);
    assert!(took >= Duration::from_millis(150) && took < Duration::from_millis(200), "{took:?}");
}

#[actix::test]
async fn an_own_copy_that_hangs_does_not_hold_the_get_up() {
    let world = World::of(8).await;
    world.put(0, "k", "v").await.unwrap();
    world.until(|| world.holders("k", &text("v")) == 5).await;
    let near = world.near(&key("k"));
    lock(&world.nodes[near[0]].shelf).hung = true;
    assert_eq!(world.get(near[0], "k").await, Some(text("v")));
}

#[actix::test]
async fn nothing_is_believed_only_when_enough_nodes_say_so() {
    let world = World::of(8).await;
    let near = world.near(&key("k"));
    // 5 - 3 + 1 = 3 must say so; with three of five dead only two do, and those that are near now are asked.
    near[..3].iter().for_each(|node| world.behave(*node, Behaviour::Hung));
    lock(&world.wires).sent.clear();
    let node = &world.nodes[near[7]];
    let mut call = node.call(&world.clock, "k", get());
    call.request.deadline = world.clock.now() + Duration::from_secs(3);
    let reply = world.run(node.send(Route { call, answers: 1 })).await;
    assert!(matches!(reply, Err(Refusal::Unavailable(_))), "{reply:?}");
    near[..3].iter().for_each(|node| world.behave(*node, Behaviour::Dead));
    assert_eq!(world.get(near[7], "k").await, None);
    assert!(lock(&world.wires).found > 0, "a look-up named the nodes that are near now");
}

#[actix::test]
async fn what_only_the_nodes_hold_that_a_look_up_finds_is_found() {
    let world = World::of(10).await;
    let near = world.near(&key("k"));
    let record = world.nodes[0].signed("k", |_| (), Terms::default());
    world.nodes[near[6]].hold("k", record);
    near[..5].iter().for_each(|node| world.behave(*node, Behaviour::Dead));
    assert_eq!(world.get(near[9], "k").await, Some(text("signed")));
}

#[actix::test]
async fn a_replica_that_lacks_the_object_is_mended() {
    let world = World::of(8).await;
    world.put(0, "k", "v").await.unwrap();
    world.until(|| world.holders("k", &text("v")) == 5).await;
    let near = world.near(&key("k"));
    lock(&world.nodes[near[0]].shelf).records.clear();
    assert_eq!(world.get(near[0], "k").await, Some(text("v")), "it asks the others");
    world.until(|| world.nodes[near[0]].mended() == 1).await;
    assert_eq!(world.get(near[0], "k").await, Some(text("v")));
    world.idle().await;
    assert_eq!(world.nodes[near[0]].mended(), 1, "the replicator is not told again at once");
}

#[actix::test]
async fn what_is_found_missing_after_a_round_has_begun_is_told_again() {
    let world = World::of(8).await;
    world.put(0, "k", "v").await.unwrap();
    world.until(|| world.holders("k", &text("v")) == 5).await;
    let node = &world.nodes[world.near(&key("k"))[0]];
    lock(&node.shelf).records.clear();
    for told in 1..4 {
        assert!(world.run(node.route(&world.clock, "k", get())).await.is_ok());
        world.until(|| node.mended() == told).await;
        world.clock.advance(Duration::from_millis(settings().dht.neighbour_delay_ms));
    }
}

#[actix::test]
async fn a_node_that_has_nothing_because_the_put_wanted_few_copies_is_not_mended() {
    let world = World::of(8).await;
    let near = world.near(&key("k"));
    let record = world.nodes[0].signed("k", |_| (), Terms { replicas: Some(1), ..Terms::default() });
    world.nodes[near[0]].hold("k", record);
    assert_eq!(world.get(near[1], "k").await, Some(text("signed")));
    assert_eq!(world.get(near[7], "k").await, Some(text("signed")));
    world.idle().await;
    assert!(world.nodes.iter().all(|node| node.mended() == 0));
}

#[actix::test]
async fn while_a_node_is_not_settled_the_newest_of_several_copies_counts() {
    let world = World::of(8).await;
    let near = world.near(&key("k"));
    let record = |value: &str, version: u64| {
        let change = |record: &mut Record| {
            record.version += version;
            record.value = text(value);
        };
        world.nodes[7].signed("k", change, Terms::default())
    };
    world.nodes[near[0]].hold("k", record("old", 0));
    near[1..5].iter().for_each(|node| world.nodes[*node].hold("k", record("new", 1)));
    assert_eq!(world.get(near[0], "k").await, Some(text("old")), "a settled node trusts itself");
    world.nodes[near[0]].env.service.settled.set(false);
    assert_eq!(world.get(near[0], "k").await, Some(text("new")));
    world.until(|| world.nodes[near[0]].mended() == 1).await;
}

#[actix::test]
async fn several_answers_are_told_each() {
    let world = World::of(8).await;
    world.put(0, "k", "v").await.unwrap();
    world.until(|| world.holders("k", &text("v")) == 5).await;
    let near = world.near(&key("k"));
    let newer = world.nodes[0].signed("k", |record| record.version += 1 << 30, Terms::default());
    world.nodes[near[1]].hold("k", newer);
    world.behave(near[0], Behaviour::Dead);
    let node = &world.nodes[near[7]];
    let route = Route { call: node.call(&world.clock, "k", get()), answers: 4 };
    let Reply::Several(replies) = world.run(node.send(route)).await.unwrap() else { panic!("several") };
    let values: Vec<_> = replies
        .iter()
        .map(|reply| if let Reply::Plain(record) = reply { record.value.clone() } else { panic!("{reply:?}") })
        .collect();
    assert_eq!(values, [text("signed"), text("v"), text("v"), text("v")], "nearest first");
    world.until(|| node.mended() == 1).await;
}

#[actix::test]
async fn a_forged_record_is_refused_and_counted() {
    let world = World::of(8).await;
    world.put(0, "k", "v").await.unwrap();
    world.until(|| world.holders("k", &text("v")) == 5).await;
    let near = world.near(&key("k"));
    let good = world.nodes[near[2]].record("k").unwrap();
    let forged = Record { value: text("forged"), ..Record::clone(&good) };
    let lie = move |ask: &Ask| matches!(ask, Ask::Get { .. }).then(|| Answer::Record(Arc::new(forged.clone())));
    // The signer itself may say what it likes of its own puts: so the liars are others.
    let liars: Vec<_> = near[..5].iter().copied().filter(|node| *node != 0).take(4).collect();
    for node in &liars {
        world.behave(*node, Behaviour::Lying(Arc::new(lie.clone())));
    }
    assert_eq!(liars.len(), 4);
    let asker = near[6..].iter().copied().find(|node| *node != 0).unwrap();
    let got = world.route(asker, "k", get()).await;
    match got {
        Ok(Reply::Plain(record)) => assert_eq!(record.value, text("v")),
        Err(Refusal::Unavailable(_)) => {}
        other => panic!("{other:?}"),
    }
    assert!(world.nodes[asker].refused() >= 2);
}

#[actix::test]
async fn a_tombstone_hides_what_is_older_and_not_what_is_newer() {
    let world = World::of(8).await;
    let near = world.near(&key("k"));
    let tombstone = |version: u64| {
        let change = |record: &mut Record| {
            record.version += version;
            record.value = Value::Nil;
            record.expires = Some(UnixMillis(START.0 + 1_000_000));
        };
        world.nodes[7].signed("k", change, Terms { removed: Some(Removal::Everywhere), ..Terms::default() })
    };
    let live = world.nodes[7].signed("k", |record| record.version += 5, Terms::default());
    near[1..5].iter().for_each(|node| world.nodes[*node].hold("k", live.clone()));
    world.nodes[near[0]].hold("k", tombstone(9));
    assert_eq!(world.get(near[0], "k").await, None, "the others are stale");
    world.until(|| world.nodes[near[0]].mended() == 1).await;
    world.nodes[near[0]].hold("k", tombstone(1));
    assert_eq!(world.get(near[0], "k").await, Some(text("signed")), "it was put again since");
}

#[actix::test]
async fn a_refusal_of_the_object_is_the_answer() {
    let world = World::of(8).await;
    let near = world.near(&key("k"));
    let thrown = Refusal::Thrown("no".to_owned());
    let refusal = thrown.clone();
    let lie = move |_: &Ask| Some(Answer::Refused(refusal.clone()));
    near[..5].iter().for_each(|node| world.behave(*node, Behaviour::Lying(Arc::new(lie.clone()))));
    assert_eq!(world.route(near[7], "k", get()).await.unwrap_err(), thrown);
}

#[actix::test]
async fn a_get_that_scripts_have_parked_outlives_the_time_out_of_one_request() {
    let world = World::of(8).await;
    let near = world.near(&key("k"));
    near[..5].iter().for_each(|node| lock(&world.nodes[*node].shelf).hung = true);
    let get = world.nodes[near[7]].route(&world.clock, "k", get());
    world.run(world.clock.sleep(Duration::from_secs(5))).await;
    let record = world.nodes[near[7]].signed("k", |_| (), Terms::default());
    for node in &near[..5] {
        lock(&world.nodes[*node].shelf).hung = false;
        world.nodes[*node].hold("k", record.clone());
    }
    assert!(matches!(world.run(get).await, Ok(Reply::Plain(_))));
}

#[actix::test]
async fn info_tells_how_many_nodes_hold_the_object() {
    let world = World::of(8).await;
    world.put(0, "k", "v").await.unwrap();
    world.until(|| world.holders("k", &text("v")) == 5).await;
    let near = world.near(&key("k"));
    lock(&world.nodes[near[1]].shelf).records.clear();
    let Reply::Info(info) = world.route(near[7], "k", Op::Info).await.unwrap() else { panic!("info") };
    assert_eq!(info.replicas, 4);
    assert_eq!(info.version, world.nodes[near[0]].record("k").unwrap().version);
    assert!(matches!(world.route(near[7], "nothing", Op::Info).await, Ok(Reply::Absent)));
}

#[actix::test]
async fn a_log_comes_from_a_node_that_has_one() {
    let world = World::of(8).await;
    world.put(0, "k", "v").await.unwrap();
    let near = world.near(&key("k"));
    let Reply::Log(lines) = world.route(near[7], "k", Op::Log).await.unwrap() else { panic!("a log") };
    assert_eq!(lines, ["a line"]);
    assert!(matches!(world.route(near[7], "nothing", Op::Log).await, Ok(Reply::Absent)));
}

#[actix::test]
async fn a_peek_shows_the_record_and_no_tombstone() {
    let world = World::of(8).await;
    world.put(0, "k", "v").await.unwrap();
    let near = world.near(&key("k"));
    assert!(matches!(world.route(near[7], "k", Op::Peek).await, Ok(Reply::Plain(_))));
    world.route(0, "k", Op::Remove).await.unwrap();
    assert!(matches!(world.route(near[7], "k", Op::Peek).await, Ok(Reply::Absent)));
    assert!(matches!(world.route(near[0], "k", Op::Peek).await, Ok(Reply::Absent)));
}

#[actix::test]
async fn a_get_ends_at_its_deadline_whatever_the_others_do() {
    let world = World::of(8).await;
    let node = &world.nodes[0];
    world.nodes.iter().for_each(|node| lock(&node.shelf).hung = true);
    let began = world.clock.now();
    let mut call = node.call(&world.clock, "k", get());
    call.request.deadline = began + Duration::from_millis(500);
    let reply = world.run(node.send(Route { call, answers: 1 })).await;
    assert!(matches!(reply, Err(Refusal::Unavailable(_))), "{reply:?}");
    assert!(world.clock.now().since(began) <= Duration::from_millis(510));
}

#[actix::test]
async fn a_look_up_shows_the_way_and_who_holds_what() {
    let mut settings = settings();
    settings.dht.replication = 3;
    let world = World::with(12, &settings).await;
    world.put(0, "k", "v").await.unwrap();
    world.until(|| world.holders("k", &text("v")) == 3).await;
    let near = world.near(&key("k"));
    world.behave(near[1], Behaviour::Dead);
    let asked = &world.nodes[near[11]];
    let path = world.run(asked.env.service.look_up.call(LookUp { key: key("k") })).await.unwrap();
    let id = |rank: usize| world.nodes[near[rank]].id.to_string();
    assert_eq!(path.hops[0].id, id(0));
    assert!(path.hops.iter().any(|hop| hop.id == id(1) && hop.took_us.is_none()), "the dead one did not answer");
    let holders: Vec<_> = path.holders.iter().map(|holder| (holder.id.clone(), holder.version.is_some())).collect();
    assert_eq!(holders[..2], [(id(0), true), (id(2), true)]);
}
