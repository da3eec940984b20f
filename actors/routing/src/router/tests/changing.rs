//! Puts and removals.

use std::time::Duration;

use comet_kernel::contract::aso::{Condition, Lifetime, Op, Put, Refusal, Reply};
use comet_kernel::{Caller, UnixMillis, Value};
use futures::FutureExt;
use futures::future::join_all;

use super::swarm::Behaviour;
use super::world::{START, World, key, lock, text};
use crate::router::sign;

fn put(value: &str, change: impl FnOnce(&mut Put)) -> Op {
    let mut put = Put::plain(text(value));
    change(&mut put);
    Op::Put(Box::new(put))
}

#[actix::test]
async fn a_put_reaches_all_its_nodes_and_a_removal_too() {
    let world = World::of(8).await;
    assert!(matches!(world.put(0, "k", "v").await, Ok(Reply::Stored { former: None })));
    world.until(|| world.holders("k", &text("v")) == 5).await;
    assert!(matches!(world.put(3, "k", "w").await, Ok(Reply::Stored { former: Some(_) })));
    world.until(|| world.holders("k", &text("w")) == 5).await;
    assert!(matches!(world.route(5, "k", Op::Remove).await, Ok(Reply::Removed { former: Some(_) })));
    for node in 0..8 {
        assert_eq!(world.get(node, "k").await, None);
    }
}

#[actix::test]
async fn a_put_is_acknowledged_by_a_quorum_and_reaches_the_slow_nodes_later() {
    let world = World::of(8).await;
    let near = world.near(&key("k"));
    near[..2].iter().for_each(|node| world.behave(*node, Behaviour::Slow(Duration::from_secs(1))));
    let began = world.clock.now();
    world.put(near[7], "k", "v").await.unwrap();
    assert!(world.clock.now().since(began) < Duration::from_millis(100));
    assert_eq!(world.holders("k", &text("v")), 3);
    world.idle().await;
    world.clock.advance(Duration::from_secs(1));
    world.until(|| world.holders("k", &text("v")) == 5).await;
    world.idle().await;
    assert_eq!(world.nodes[near[7]].mended(), 0);
}

#[actix::test]
async fn who_has_put_something_finds_it_at_the_same_node() {
    let world = World::of(8).await;
    let own = world.near(&key("k"))[0];
    lock(&world.nodes[own].shelf).hung = true;
    let op = put("v", |_| ());
    let mut stored = Box::pin(world.nodes[own].route(&world.clock, "k", op));
    world.until(|| world.holders("k", &text("v")) == 4).await;
    world.idle().await;
    assert!(futures::poll!(&mut stored).is_pending(), "the others are enough, but it is not here yet");
    world.clock.advance(Duration::from_millis(500));
    assert!(world.run(stored).await.is_ok(), "a copy that hangs holds nobody up for long");
}

#[actix::test]
async fn a_node_whose_store_takes_no_writes_does_not_trust_what_it_has() {
    let world = World::of(8).await;
    let own = world.near(&key("k"))[0];
    world.put(own, "k", "old").await.unwrap();
    world.until(|| world.holders("k", &text("old")) == 5).await;
    let node = &world.nodes[own];
    node.env.storage.gate.set_shut(true);
    lock(&node.shelf).refusal = Some(Refusal::Unavailable("the disk is full".to_owned()));
    world.put(own, "k", "new").await.unwrap();
    assert!(!node.env.service.settled.is_set());
    assert_eq!(world.get(own, "k").await, Some(text("new")));
}

#[actix::test]
async fn a_put_that_misses_nodes_is_mended_and_one_without_a_quorum_says_so() {
    let world = World::of(8).await;
    let near = world.near(&key("k"));
    near[..2].iter().for_each(|node| world.behave(*node, Behaviour::Dead));
    world.put(near[7], "k", "v").await.unwrap();
    world.until(|| world.nodes[near[7]].mended() == 1).await;
    world.behave(near[2], Behaviour::Hung);
    let refusal = world.put(near[7], "k", "w").await.unwrap_err();
    assert_eq!(refusal, Refusal::NoQuorum { stored: 2, wanted: 3 });
}

#[actix::test]
async fn one_node_alone_is_a_quorum() {
    let world = World::of(1).await;
    world.put(0, "k", "v").await.unwrap();
    assert_eq!(world.get(0, "k").await, Some(text("v")));
    assert!(matches!(world.route(0, "k", Op::Remove).await, Ok(Reply::Removed { former: Some(_) })));
    assert_eq!(world.get(0, "k").await, None);
}

#[actix::test]
async fn a_put_says_the_same_on_every_node_and_is_signed() {
    let world = World::of(8).await;
    let lifetime = Lifetime::For(Duration::from_secs(60));
    let op = put("v", |put| (put.lifetime, put.owned, put.replicas) = (lifetime, true, Some(4)));
    world.route(2, "k", op).await.unwrap();
    world.until(|| world.holders("k", &text("v")) == 4).await;
    let records: Vec<_> = world.nodes.iter().filter_map(|node| node.record("k")).collect();
    assert!(records.iter().all(|record| record == &records[0]));
    let record = &records[0];
    assert!(record.expires.is_some_and(|end| end >= UnixMillis(START.0 + 60_000)));
    assert_eq!(record.owner.as_deref(), Some(world.nodes[2].id.as_str()));
    assert_eq!(record.provenance.as_ref().unwrap().replicas, Some(4));
    sign::check(&key("k"), record, world.clock.unix()).unwrap();
}

#[actix::test]
async fn what_replaces_an_object_with_more_copies_than_usual_reaches_all_of_them() {
    let world = World::of(10).await;
    let wide = |value: &str| put(value, |put| put.replicas = Some(8));
    let near = world.near(&key("k"));
    world.route(near[9], "k", wide("v")).await.unwrap();
    world.until(|| world.holders("k", &text("v")) == 8).await;
    world.put(near[9], "k", "w").await.unwrap();
    world.until(|| world.holders("k", &text("w")) == 8).await;
    world.route(near[9], "k", wide("x")).await.unwrap();
    world.until(|| world.holders("k", &text("x")) == 8).await;
    world.route(near[9], "k", Op::Remove).await.unwrap();
    world.until(|| world.holders("k", &Value::Nil) == 8).await;
    world.route(near[9], "k", wide("y")).await.unwrap();
    world.until(|| world.holders("k", &text("y")) == 8).await;
    let only_present = put("z", |put| put.condition = Condition::IfPresent);
    world.route(near[9], "k", only_present).await.unwrap();
    world.until(|| world.holders("k", &text("z")) == 8).await;
}

#[actix::test]
async fn what_replaces_an_object_with_fewer_copies_than_usual_reaches_all_that_it_had() {
    let world = World::of(10).await;
    let few = |value: &str, condition| put(value, |put| (put.replicas, put.condition) = (Some(1), condition));
    let near = world.near(&key("k"));
    for condition in [Condition::Always, Condition::IfPresent] {
        world.put(near[9], "k", "old").await.unwrap();
        world.until(|| world.holders("k", &text("old")) == 5).await;
        assert!(matches!(world.route(near[9], "k", few("new", condition)).await, Ok(Reply::Stored { .. })));
        world.until(|| world.holders("k", &text("old")) == 0 && world.holders("k", &text("new")) == 5).await;
    }
}

#[actix::test]
async fn a_condition_is_held_against_what_others_have_even_if_the_put_wants_one_copy() {
    let world = World::of(8).await;
    let near = world.near(&key("k"));
    let few = |condition| put("new", |put| (put.replicas, put.condition) = (Some(1), condition));
    world.put(near[7], "k", "old").await.unwrap();
    world.until(|| world.holders("k", &text("old")) == 5).await;
    lock(&world.nodes[near[0]].shelf).records.clear();
    for asker in [near[7], near[0]] {
        let kept = world.route(asker, "k", few(Condition::IfAbsent)).await;
        assert!(matches!(&kept, Ok(Reply::Kept { present: Some(_) })), "{kept:?}");
    }
    assert!(matches!(world.route(near[7], "k", few(Condition::IfPresent)).await, Ok(Reply::Stored { .. })));
    assert_eq!(world.nodes[near[0]].record("k").unwrap().value, text("new"), "its one node holds it");
    world.behave(near[0], Behaviour::Dead);
    let refusal = world.route(near[7], "k", few(Condition::IfPresent)).await.unwrap_err();
    assert_eq!(refusal, Refusal::NoQuorum { stored: 0, wanted: 1 }, "no other node makes up for it");
}

#[actix::test]
async fn an_owner_is_the_same_on_every_node_and_others_are_refused() {
    let world = World::of(8).await;
    world.route(2, "k", put("v", |put| put.owned = true)).await.unwrap();
    world.until(|| world.holders("k", &text("v")) == 5).await;
    let owner = world.nodes[2].id.to_string();
    for node in (0..8).filter(|node| *node != 2) {
        assert_eq!(world.put(node, "k", "w").await.unwrap_err(), Refusal::Owned(owner.clone()));
        assert_eq!(world.route(node, "k", Op::Remove).await.unwrap_err(), Refusal::Owned(owner.clone()));
    }
    assert_eq!(world.holders("k", &text("v")), 5);
    world.route(2, "k", Op::Remove).await.unwrap();
    world.put(3, "k", "mine").await.unwrap();
}

#[actix::test]
async fn a_user_of_a_gateway_is_another_owner_than_its_node() {
    let world = World::of(8).await;
    let node = &world.nodes[2];
    let as_user = |user: &str, op| {
        let mut call = node.call(&world.clock, "k", op);
        call.caller = Caller { id: user.into(), ..Caller::clone(&call.caller) }.into();
        node.send(comet_kernel::contract::routing::Route { call, answers: 1 })
    };
    world.run(as_user("alice", put("v", |put| put.owned = true))).await.unwrap();
    world.until(|| world.holders("k", &text("v")) == 5).await;
    let owner = format!("{}/alice", node.id);
    let refused = Err(Refusal::Owned(owner.clone()));
    assert_eq!(world.run(as_user("bob", put("w", |_| ()))).await.map(drop), refused);
    assert_eq!(world.run(as_user("default", put("w", |_| ()))).await.map(drop), refused);
    world.run(as_user("alice", put("w", |_| ()))).await.unwrap();
}

#[actix::test]
async fn what_most_replicas_say_is_the_reply() {
    let world = World::of(8).await;
    world.put(0, "k", "v").await.unwrap();
    world.until(|| world.holders("k", &text("v")) == 5).await;
    let near = world.near(&key("k"));
    near[..5].iter().for_each(|node| lock(&world.nodes[*node].shelf).keeps = true);
    let Reply::Kept { present } = world.put(near[7], "k", "w").await.unwrap() else { panic!("kept") };
    assert_eq!(present.unwrap().value, text("v"));
    let thrown = Refusal::Thrown("never".to_owned());
    near[..5].iter().for_each(|node| lock(&world.nodes[*node].shelf).refusal = Some(thrown.clone()));
    assert_eq!(world.put(near[7], "k", "w").await.unwrap_err(), thrown);
}

#[actix::test]
async fn a_condition_is_decided_once_for_all_nodes() {
    let world = World::of(8).await;
    let if_absent = || put("first", |put| put.condition = Condition::IfAbsent);
    let if_present = || put("second", |put| put.condition = Condition::IfPresent);
    assert!(matches!(world.route(1, "k", if_present()).await, Ok(Reply::Kept { present: None })));
    assert!(matches!(world.route(2, "k", if_absent()).await, Ok(Reply::Stored { .. })));
    world.until(|| world.holders("k", &text("first")) == 5).await;
    assert!(matches!(world.route(3, "k", if_absent()).await, Ok(Reply::Kept { present: Some(_) })));
    assert!(matches!(world.route(4, "k", if_present()).await, Ok(Reply::Stored { .. })));
    world.until(|| world.holders("k", &text("second")) == 5).await;
}

#[actix::test]
async fn of_two_nodes_that_put_if_absent_at_once_one_wins() {
    let world = World::of(8).await;
    for round in 0..20 {
        let name = format!("k{round}");
        let race = |node: usize| {
            let op = put(&format!("of {node}"), |put| put.condition = Condition::IfAbsent);
            world.nodes[node].route(&world.clock, &name, op)
        };
        let replies = world.run(join_all([race(0), race(3), race(6)])).await;
        let winners = replies.iter().filter(|reply| matches!(reply, Ok(Reply::Stored { .. }))).count();
        assert_eq!(winners, 1, "{replies:?}");
    }
}

#[actix::test]
async fn a_dead_lead_is_replaced_by_the_next() {
    let world = World::of(8).await;
    let near = world.near(&key("k"));
    near[..2].iter().for_each(|node| world.behave(*node, Behaviour::Dead));
    let op = put("v", |put| put.condition = Condition::IfAbsent);
    assert!(matches!(world.route(near[7], "k", op).await, Ok(Reply::Stored { .. })));
}

#[actix::test]
async fn a_life_that_is_to_be_kept_is_looked_up_first() {
    let world = World::of(8).await;
    let end = UnixMillis(START.0 + 500_000);
    world.route(1, "k", put("v", |put| put.lifetime = Lifetime::At(end))).await.unwrap();
    world.until(|| world.holders("k", &text("v")) == 5).await;
    world.route(2, "k", put("w", |put| put.lifetime = Lifetime::Keep)).await.unwrap();
    world.until(|| world.holders("k", &text("w")) == 5).await;
    let near = world.near(&key("k"));
    assert_eq!(world.nodes[near[0]].record("k").unwrap().expires, Some(end));
}

#[actix::test]
async fn an_older_change_is_ignored_and_a_tombstone_is_not_revived() {
    let world = World::of(8).await;
    world.put(0, "k", "old").await.unwrap();
    world.until(|| world.holders("k", &text("old")) == 5).await;
    let near = world.near(&key("k"));
    let old = world.nodes[near[0]].record("k").unwrap();
    world.route(1, "k", Op::Remove).await.unwrap();
    world.until(|| world.holders("k", &Value::Nil) == 5).await;
    // A replay of the put, and a copy that a stale node hands on.
    let peer = world.nodes[near[7]].id.clone();
    let replayed = world.serve(near[0], &peer, super::world::put_of("k", &old)).await;
    assert!(matches!(replayed, crate::wire::Answer::Stored { .. }), "{replayed:?}");
    let arrive = crate::wire::Ask::Arrive { key: key("k"), record: old, caused: 0 };
    let arrived = world.serve(near[0], &peer, arrive).await;
    assert!(matches!(arrived, crate::wire::Answer::Arrived(comet_kernel::contract::aso::Arrived::Outdated(_))));
    assert_eq!(world.get(near[0], "k").await, None);
}

#[actix::test]
async fn a_clock_that_is_behind_does_not_lose_what_is_put_after_a_look() {
    let world = World::of(8).await;
    world.put(0, "k", "a").await.unwrap();
    world.until(|| world.holders("k", &text("a")) == 5).await;
    assert_eq!(world.get(5, "k").await, Some(text("a")));
    world.clock.jump(-60_000);
    world.put(5, "k", "b").await.unwrap();
    world.until(|| world.holders("k", &text("b")) == 5).await;
}

#[actix::test]
async fn calls_on_one_key_take_effect_in_order() {
    let world = World::of(8).await;
    let near = world.near(&key("k"));
    let node = &world.nodes[near[7]];
    world.behave(near[0], Behaviour::Slow(Duration::from_millis(50)));
    let get = || Op::Get { payload: Value::Nil };
    let mut replies = Vec::new();
    for round in 0..50 {
        let _told = node.route(&world.clock, "k", put(&format!("v{round}"), |_| ()));
        replies.push(node.route(&world.clock, "k", get()));
    }
    for (round, reply) in world.run(join_all(replies)).await.into_iter().enumerate() {
        let Ok(Reply::Plain(record)) = reply else { panic!("{reply:?}") };
        assert_eq!(record.value, text(&format!("v{round}")));
    }
}

#[actix::test]
async fn a_change_does_not_wait_for_the_gets_before_it() {
    let world = World::of(8).await;
    let near = world.near(&key("k"));
    let node = &world.nodes[near[7]];
    near[..5].iter().for_each(|node| world.behave(*node, Behaviour::Slow(Duration::from_millis(100))));
    let get = node.route(&world.clock, "k", Op::Get { payload: Value::Nil });
    world.idle().await;
    near[..5].iter().for_each(|node| lock(&world.wires).behaviours.remove(&world.nodes[*node].id).map_or((), drop));
    let began = world.clock.now();
    world.put(near[7], "k", "v").await.unwrap();
    assert!(world.clock.now().since(began) < Duration::from_millis(100));
    world.run(get).await.unwrap();
}

#[actix::test]
async fn a_flood_is_bounded_for_each_key() {
    let world = World::of(3).await;
    let node = &world.nodes[0];
    world.nodes.iter().for_each(|node| lock(&node.shelf).hung = true);
    let flood: Vec<_> = (0..1_500).map(|_| node.route(&world.clock, "k", put("v", |_| ()))).collect();
    for _ in 0..50 {
        world.idle().await;
    }
    let mut refused = 0;
    for reply in flood {
        if let Some(Err(Refusal::Unavailable(why))) = tokio::task::unconstrained(reply).now_or_never() {
            assert!(why.contains("waiting"), "{why}");
            refused += 1;
        }
    }
    assert_eq!(refused, 1_500 - 1 - comet_kernel::limits::WAITING_PER_KEY);
}

#[actix::test]
async fn what_is_too_big_goes_nowhere() {
    let world = World::of(3).await;
    let big = "x".repeat(comet_kernel::limits::VALUE_BYTES + 100);
    assert!(matches!(world.put(0, "k", &big).await, Err(Refusal::TooBig { .. })));
    assert!(lock(&world.wires).sent.is_empty());
}

#[actix::test]
async fn a_router_that_stops_ends_what_is_under_way() {
    let mut world = World::of(4).await;
    (1..4).for_each(|node| world.behave(node, Behaviour::Slow(Duration::from_millis(500))));
    let put = world.nodes[0].route(&world.clock, "k", put("v", |_| ()));
    world.idle().await;
    let tree = world.trees.remove(0);
    let (reply, _) = world.run(futures::future::join(put, tree.stop())).await;
    assert!(matches!(reply, Ok(Reply::Stored { .. })), "{reply:?}");
}

#[actix::test]
async fn a_put_whose_version_is_older_than_what_is_there_gets_a_newer_one() {
    let world = World::of(8).await;
    let near = world.near(&key("k"));
    // The clock of the node that put it is a minute ahead.
    let ahead = |record: &mut comet_kernel::Record| record.version += 60_000 << 16;
    let record = world.nodes[near[6]].signed("k", ahead, crate::router::sign::Terms::default());
    near[..5].iter().for_each(|node| world.nodes[*node].hold("k", record.clone()));
    world.put(near[7], "k", "later").await.unwrap();
    world.until(|| world.holders("k", &text("later")) == 5).await;
    near[..5].iter().for_each(|node| world.nodes[*node].hold("k", record.clone()));
    world.route(near[5], "k", Op::Remove).await.unwrap();
    assert_eq!(world.get(near[0], "k").await, None);
}

#[actix::test]
async fn what_is_about_one_node_alone_is_not_carried() {
    let world = World::of(2).await;
    for op in [Op::Tick, Op::Drop { version: 1 }, Op::Quarantine(true)] {
        assert!(matches!(world.route(0, "k", op).await, Err(Refusal::Forbidden(_))));
    }
}
