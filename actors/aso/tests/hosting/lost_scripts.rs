//! Objects whose script's source is lost: everything but what only the script can do still works.

use comet_kernel::contract::aso::{Lifetime, Op, Refusal, Reply};
use comet_kernel::{UnixMillis, Value};

use super::scripted::COUNTER;
use super::world::{SECOND, START, World, add, applied, expire, get, int, put, removed, set, stored, text};

const OTHER: &str = "fn onGet() { `other` }";

/// A node that has objects of these names, and has lost what they run.
async fn with_lost(names: &[&str]) -> World {
    let mut world = World::new().await;
    for name in names {
        world.put(name, 1, COUNTER).await;
        world.get(name).await;
    }
    let stage = world.stop().await;
    stage.lock().scripts.clear();
    World::on(stage, |_| {}).await
}

#[actix::test]
async fn what_only_the_script_can_do_is_refused_until_it_is_back() {
    let world = with_lost(&["a"]).await;
    for op in [get(), add(1), get()] {
        assert!(matches!(world.refused("a", op).await, Refusal::NoScript(_)));
    }
    let now = (world.clock.now(), world.clock.unix());
    assert!(world.service.directory.plain(b"a", now.0, now.1).is_none(), "nobody gets its value past its script");
    world.load("counter", COUNTER).await;
    assert_eq!(world.get("a").await, int(2), "with the state that it had");
}

#[actix::test]
async fn it_can_be_looked_at_and_given_an_end() {
    let world = with_lost(&["a"]).await;
    let info = world.info("a").await;
    assert!(info.hash.is_some() && !info.active);
    match world.ask("a", Op::Peek).await {
        Ok(Reply::Plain(record)) => assert!(record.active.is_some()),
        other => panic!("no record: {other:?}"),
    }
    assert!(matches!(world.ask("a", Op::Log).await, Ok(Reply::Log(_))));
    assert!(matches!(world.ask("a", Op::Copy).await, Ok(Reply::Plain(_))));
    assert!(applied(world.ask("a", expire(Lifetime::For(10 * SECOND))).await));
    assert_eq!(world.armed("a"), Some(UnixMillis(START.0 + 10_000)));
    assert_eq!(world.tick("a").await, Some(UnixMillis(START.0 + 10_000)));
}

#[actix::test]
async fn it_can_be_removed_and_replaced() {
    let world = with_lost(&["a", "b", "c", "d"]).await;
    assert_eq!(removed(world.ask("a", Op::Remove).await), Some(Value::Nil), "its value is the script's");
    assert!(world.stored("a").is_none());
    assert_eq!(stored(world.ask("b", set("plain")).await), Some(Value::Nil));
    assert_eq!(world.get("b").await, text("plain"));
    stored(world.ask("c", put("v", OTHER)).await);
    assert_eq!(world.get("c").await, text("other"));
    let refused = world.refused("d", put("v", "fn onPut() { false }")).await;
    assert!(matches!(refused, Refusal::Thrown(_)));
    assert!(matches!(world.refused("d", get()).await, Refusal::NoScript(_)), "it is what it was");
}

#[actix::test]
async fn it_can_be_quarantined_for_when_the_script_is_back() {
    let world = with_lost(&["a"]).await;
    for (on, changes) in [(true, true), (true, false)] {
        let answer = world.ask("a", Op::Quarantine(on)).await.expect("answered");
        assert_eq!(super::world::value(answer), Value::Bool(changes));
    }
    world.load("counter", COUNTER).await;
    assert_eq!(world.get("a").await, int(1), "its value, as handlers are off");
    assert!(world.info("a").await.quarantined);
}

#[actix::test]
async fn calls_that_came_together_are_answered_in_their_order() {
    let world = with_lost(&["a"]).await;
    let calls = [get(), Op::Info, set("plain"), get(), Op::Remove, get()];
    let mut answers = Vec::new();
    for pending in calls.map(|op| world.send("a", op)) {
        answers.push(super::world::answer(pending).await);
    }
    assert!(matches!(&answers[0], Err(Refusal::NoScript(_))));
    assert!(matches!(&answers[1], Ok(Reply::Info(_))));
    assert!(matches!(&answers[2], Ok(Reply::Stored { former: Some(_) })));
    assert!(matches!(&answers[3], Ok(Reply::Plain(_))));
    assert!(matches!(&answers[4], Ok(Reply::Removed { former: Some(_) })));
    assert!(matches!(&answers[5], Ok(Reply::Absent)));
}
