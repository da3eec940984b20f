//! Nodes that lie about what a change depends on: conditional puts, edits, ends of life.

use std::sync::Arc;
use std::time::Duration;

use comet_kernel::contract::aso::{Condition, Edit, EndCondition, Lifetime, Op, Put, Refusal, Reply};
use comet_kernel::{Record, Value};

use super::swarm::Behaviour;
use super::world::{World, key, settings, text};
use crate::router::sign::Terms;
use crate::wire::{Answer, Ask};

/// Nine nodes; an object has five copies, and three nodes are asked at once.
async fn world() -> World {
    let mut settings = settings();
    settings.dht.read_parallel = 3;
    World::with(9, &settings).await
}

fn add(amount: i64) -> Op {
    Op::Edit(Edit::Add(amount))
}

fn if_absent(value: &str) -> Op {
    Op::Put(Box::new(Put { condition: Condition::IfAbsent, ..Put::plain(text(value)) }))
}

/// Has a node answer copies, or whatever changes something, with one of these.
fn lies(world: &World, node: usize, copy: Option<Answer>, change: Option<Answer>) {
    let lie = move |ask: &Ask| match ask {
        Ask::Copy { .. } => copy.clone(),
        Ask::Put { .. } | Ask::Revise { .. } => change.clone(),
        _ => None,
    };
    world.behave(node, Behaviour::Lying(Arc::new(lie)));
}

/// What a node claims to have put, so much newer than what is there.
fn claim(world: &World, node: usize, change: impl FnOnce(&mut Record)) -> Arc<Record> {
    let newer = |record: &mut Record| {
        record.version += 9 << 20;
        change(record);
    };
    Arc::new(world.nodes[node].signed("n", newer, Terms::default()))
}

async fn sum(world: &World, node: usize, amount: i64) -> Value {
    match world.route(node, "n", add(amount)).await {
        Ok(Reply::Value(value)) => value,
        other => panic!("{other:?}"),
    }
}

#[actix::test]
async fn what_one_node_claims_is_no_base_for_an_edit_and_no_foreign_owner() {
    let world = world().await;
    let near = world.near(&key("n"));
    sum(&world, near[8], 1).await;
    world.until(|| world.holders("n", &Value::Int(1)) == 5).await;
    let itself: Arc<str> = world.nodes[near[0]].id.as_str().into();
    let owned = claim(&world, near[0], |record| (record.owner, record.value) = (Some(itself), Value::Int(99)));
    let plain = claim(&world, near[0], |record| record.value = Value::Int(99));
    let old = Arc::new(Record { version: 1, ..Record::clone(&world.nodes[near[1]].record("n").unwrap()) });
    for (number, lie) in [owned, plain, old].into_iter().enumerate() {
        lies(&world, near[0], Some(Answer::Record(lie)), None);
        assert_eq!(sum(&world, near[7], 1).await, Value::Int(2 + number as i64));
    }
    let expire = Op::Expire(Lifetime::For(Duration::from_secs(60)), EndCondition::Always);
    assert!(matches!(world.route(near[7], "n", expire).await, Ok(Reply::Expired { applied: true, .. })));
}

#[actix::test]
async fn a_claim_that_there_is_one_keeps_nobody_from_putting_the_first() {
    let world = world().await;
    let near = world.near(&key("n"));
    let claimed = || Some(claim(&world, near[0], |_| ()));
    let forged = |present| Answer::Kept { present };
    let answers = [
        forged(None),
        forged(claimed()),
        Answer::Refused(Refusal::Owned("somebody".to_owned())),
        Answer::Stored { former: claimed() },
        Answer::Removed { former: None },
    ];
    for (number, answer) in answers.into_iter().enumerate() {
        lies(&world, near[0], Some(Answer::Absent), Some(answer.clone()));
        let reply = world.route(near[7], "n", if_absent("first")).await;
        assert!(matches!(reply, Ok(Reply::Stored { .. })), "{number}: {answer:?} {reply:?}");
        world.until(|| world.holders("n", &text("first")) == 4).await;
        let reply = world.route(near[6], "n", if_absent("second")).await;
        assert!(matches!(reply, Ok(Reply::Kept { present: Some(_) })), "{number}: {answer:?} {reply:?}");
        world.route(near[7], "n", Op::Remove).await.unwrap();
    }
}

#[actix::test]
async fn a_lead_that_lies_is_passed_over() {
    let world = world().await;
    let near = world.near(&key("n"));
    sum(&world, near[8], 1).await;
    world.until(|| world.holders("n", &Value::Int(1)) == 5).await;
    let answers = [
        Answer::Refused(Refusal::Thrown("no".to_owned())),
        Answer::Refused(Refusal::Unavailable("not now".to_owned())),
        Answer::Kept { present: world.nodes[near[0]].record("n") },
        Answer::Kept { present: None },
        Answer::Kept { present: Some(claim(&world, near[0], |record| record.value = Value::Int(99))) },
        Answer::Absent,
        Answer::Value(Value::Int(99)),
    ];
    for (number, answer) in answers.into_iter().enumerate() {
        // It tells the truth about what it has, and so it leads.
        lies(&world, near[0], None, Some(answer));
        assert_eq!(sum(&world, near[7], 1).await, Value::Int(2 + number as i64));
        world.until(|| world.holders("n", &Value::Int(2 + number as i64)) >= 4).await;
        let newest = world.nodes[near[1]].record("n").unwrap();
        world.nodes[near[0]].hold("n", Record::clone(&newest));
    }
}

#[actix::test]
async fn what_a_quorum_of_leads_refuses_is_refused() {
    let world = world().await;
    let near = world.near(&key("n"));
    sum(&world, near[8], 1).await;
    world.until(|| world.holders("n", &Value::Int(1)) == 5).await;
    let thrown = Refusal::Thrown("no".to_owned());
    near[..3].iter().for_each(|node| lies(&world, *node, None, Some(Answer::Refused(thrown.clone()))));
    assert_eq!(world.route(near[7], "n", add(1)).await.unwrap_err(), thrown);
}

#[actix::test]
async fn where_nobody_knows_whether_an_edit_was_made_it_is_not_made_again() {
    let world = world().await;
    let near = world.near(&key("n"));
    sum(&world, near[8], 1).await;
    world.until(|| world.holders("n", &Value::Int(1)) == 5).await;
    // The first lead has made it, and says nothing; the second knows what somebody else has made of it since.
    lies(&world, near[0], None, Some(Answer::Refused(Refusal::Unavailable("not now".to_owned()))));
    let since = world.nodes[near[8]].signed("n", |record| record.version += 9 << 20, Terms::default());
    lies(&world, near[1], None, Some(Answer::Kept { present: Some(Arc::new(since)) }));
    assert!(matches!(world.route(near[7], "n", add(1)).await, Err(Refusal::Unavailable(_))));
}
