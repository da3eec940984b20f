//! Edits and ends of life.

use std::time::Duration;

use comet_kernel::contract::aso::{Edit, EndCondition, Lifetime, Op, Put, Refusal, Reply};
use comet_kernel::record::{Active, ScriptRef};
use comet_kernel::{ScriptHash, UnixMillis, Value};
use futures::future::join_all;

use super::swarm::Behaviour;
use super::world::{START, World, key, lock, text};
use crate::router::sign::Terms;

fn add(amount: i64) -> Op {
    Op::Edit(Edit::Add(amount))
}

#[actix::test]
async fn an_edit_starts_from_nothing_and_goes_on() {
    let world = World::of(8).await;
    for (node, sum) in [(0, 1), (3, 2), (7, 3)] {
        let Ok(Reply::Value(value)) = world.route(node, "n", add(1)).await else { panic!("a value") };
        assert_eq!(value, Value::Int(sum));
    }
    world.until(|| world.holders("n", &Value::Int(3)) == 5).await;
    world.put(0, "n", "text").await.unwrap();
    assert!(matches!(world.route(1, "n", add(1)).await, Err(Refusal::NotANumber(_))));
}

#[actix::test]
async fn a_hundred_edits_by_four_nodes_at_once_count_a_hundred() {
    let world = World::of(8).await;
    let edits = (0..100).map(|number| world.nodes[number % 4].route(&world.clock, "n", add(1)));
    let replies = world.run(join_all(edits)).await;
    let mut sums: Vec<_> = replies
        .into_iter()
        .map(|reply| if let Ok(Reply::Value(Value::Int(sum))) = reply { sum } else { panic!("{reply:?}") })
        .collect();
    sums.sort_unstable();
    assert_eq!(sums, (1..=100).collect::<Vec<_>>(), "each sum was seen once");
    assert_eq!(world.get(7, "n").await, Some(Value::Int(100)));
    world.until(|| world.holders("n", &Value::Int(100)) == 5).await;
}

#[actix::test]
async fn a_nearest_node_that_missed_the_last_change_does_not_lead() {
    let world = World::of(8).await;
    let near = world.near(&key("n"));
    world.route(near[7], "n", add(5)).await.unwrap();
    world.until(|| world.holders("n", &Value::Int(5)) == 5).await;
    world.behave(near[0], Behaviour::Dead);
    world.route(near[7], "n", add(5)).await.unwrap();
    world.until(|| world.holders("n", &Value::Int(10)) == 4).await;
    lock(&world.wires).behaviours.clear();
    let Ok(Reply::Value(value)) = world.route(near[6], "n", add(5)).await else { panic!("a value") };
    assert_eq!(value, Value::Int(15));
    world.until(|| world.holders("n", &Value::Int(15)) == 5).await;
}

#[actix::test]
async fn only_its_owner_edits_an_owned_object() {
    let world = World::of(8).await;
    let mut put = Put::plain(Value::Int(1));
    put.owned = true;
    world.route(2, "n", Op::Put(Box::new(put))).await.unwrap();
    world.until(|| world.holders("n", &Value::Int(1)) == 5).await;
    let owner = world.nodes[2].id.to_string();
    assert_eq!(world.route(3, "n", add(1)).await.unwrap_err(), Refusal::Owned(owner.clone()));
    let expire = Op::Expire(Lifetime::For(Duration::from_secs(1)), EndCondition::Always);
    assert_eq!(world.route(3, "n", expire).await.unwrap_err(), Refusal::Owned(owner.clone()));
    world.route(2, "n", add(1)).await.unwrap();
    world.until(|| world.holders("n", &Value::Int(2)) == 5).await;
    let near = world.near(&key("n"));
    assert_eq!(world.nodes[near[0]].record("n").unwrap().owner.as_deref(), Some(owner.as_str()));
}

#[actix::test]
async fn an_end_of_life_is_changed_everywhere_and_a_past_one_removes() {
    let world = World::of(8).await;
    let expire = |lifetime| Op::Expire(lifetime, EndCondition::Always);
    let told = |reply: Result<Reply, Refusal>| {
        let Ok(Reply::Expired { applied, .. }) = reply else { panic!("{reply:?}") };
        applied
    };
    let end = UnixMillis(START.0 + 900_000);
    assert!(!told(world.route(1, "k", expire(Lifetime::At(end))).await), "nothing is there");
    world.put(0, "k", "v").await.unwrap();
    world.until(|| world.holders("k", &text("v")) == 5).await;
    let if_some = Op::Expire(Lifetime::Endless, EndCondition::IfSome);
    assert!(!told(world.route(1, "k", if_some).await), "it has no end");
    assert!(told(world.route(1, "k", expire(Lifetime::At(end))).await));
    let ends = |node: usize| world.nodes[node].record("k").and_then(|record| record.expires);
    let near = world.near(&key("k"));
    world.until(|| near[..5].iter().all(|node| ends(*node) == Some(end))).await;
    assert!(told(world.route(2, "k", expire(Lifetime::Endless)).await));
    world.until(|| near[..5].iter().all(|node| ends(*node).is_none())).await;
    assert!(told(world.route(3, "k", expire(Lifetime::At(UnixMillis(1)))).await));
    assert_eq!(world.get(4, "k").await, None);
}

#[actix::test]
async fn a_scripted_object_gets_the_change_alone_and_keeps_its_state_on_each_node() {
    let world = World::of(8).await;
    let near = world.near(&key("n"));
    let script = ScriptRef { hash: ScriptHash::of("s"), follows: None };
    for (rank, node) in near[..5].iter().enumerate() {
        let state = Value::Int(rank as i64);
        let active = Active { script: script.clone(), state, timer: None, quarantined: false };
        let terms = Terms { script: Some(script.hash), ..Terms::default() };
        let mut record = world.nodes[0].signed("n", |record| record.value = Value::Int(1), terms);
        record.active = Some(Box::new(active));
        world.nodes[*node].hold("n", record);
    }
    world.route(near[7], "n", add(1)).await.unwrap();
    world.until(|| world.holders("n", &Value::Int(2)) == 5).await;
    for (rank, node) in near[..5].iter().enumerate() {
        let record = world.nodes[*node].record("n").unwrap();
        assert_eq!(record.active.as_ref().unwrap().state, Value::Int(rank as i64));
        crate::router::sign::check(&key("n"), &record, world.clock.unix()).unwrap();
    }
}

#[actix::test]
async fn an_edit_whose_lead_dies_goes_to_the_next() {
    let world = World::of(8).await;
    let near = world.near(&key("n"));
    world.route(near[7], "n", add(1)).await.unwrap();
    world.until(|| world.holders("n", &Value::Int(1)) == 5).await;
    let dies = |ask: &crate::wire::Ask| {
        let unavailable = Refusal::Unavailable("the shard is being restarted".to_owned());
        matches!(ask, crate::wire::Ask::Revise { .. }).then(|| crate::wire::Answer::Refused(unavailable))
    };
    world.behave(near[0], Behaviour::Lying(std::sync::Arc::new(dies)));
    // Whether it took effect there is unknown: the next one makes the very same change, and nothing is added twice.
    for (sum, behaviour) in [(2, None), (3, Some(Behaviour::Dead))] {
        if let Some(behaviour) = behaviour {
            world.behave(near[0], behaviour);
        }
        let Ok(Reply::Value(value)) = world.route(near[7], "n", add(1)).await else { panic!("a value") };
        assert_eq!(value, Value::Int(sum));
    }
}

#[actix::test]
async fn a_node_whose_store_takes_no_writes_goes_on_counting_what_it_is_the_nearest_to() {
    let world = World::of(8).await;
    let near = world.near(&key("n"));
    world.route(near[0], "n", add(1)).await.unwrap();
    world.until(|| world.holders("n", &Value::Int(1)) == 5).await;
    let node = &world.nodes[near[0]];
    node.env.storage.gate.set_shut(true);
    lock(&node.shelf).refusal = Some(Refusal::Unavailable("the disk is full".to_owned()));
    for sum in 2..5 {
        let reply = world.route(near[0], "n", add(1)).await;
        assert!(matches!(&reply, Ok(Reply::Value(Value::Int(value))) if *value == sum), "{sum}: {reply:?}");
    }
}

#[actix::test]
async fn an_edit_by_a_node_whose_clock_is_behind_is_not_lost() {
    let world = World::of(8).await;
    let near = world.near(&key("n"));
    // Somebody whose clock is ahead changes it between the survey and the change, again and again.
    let ahead = |seconds: u64| {
        let change = move |record: &mut comet_kernel::Record| {
            record.version += (seconds * 1_000) << 16;
            record.value = Value::Int(10 * seconds as i64);
        };
        world.nodes[near[6]].signed("n", change, Terms::default())
    };
    near[..5].iter().for_each(|node| world.nodes[*node].hold("n", ahead(1)));
    world.behave(near[1], Behaviour::Slow(Duration::from_millis(20)));
    let edit = world.nodes[near[7]].route(&world.clock, "n", add(1));
    world.idle().await;
    near[..5].iter().for_each(|node| world.nodes[*node].hold("n", ahead(2)));
    let Ok(Reply::Value(value)) = world.run(edit).await else { panic!("a value") };
    assert_eq!(value, Value::Int(21));
}
