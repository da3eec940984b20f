//! Keys whose records cannot be read: what asks for nothing that was there takes their place, all else is refused.

use std::sync::Arc;

use comet_kernel::contract::aso::{Arrived, Condition, Lifetime, Op, Refusal, Reply};
use comet_kernel::{Record, Value};

use super::scripted::COUNTER;
use super::world::{World, add, answer, expire, get, int, key, put, removed, set, set_for, set_if, stored, text};

const REFUSING: &str = "fn onPut() { false } fn onGet() { 1 }";

/// A node that cannot read what it has stored under these names.
async fn with_unread(mut world: World, names: &[&str]) -> World {
    for name in names {
        world.set(name, "old").await;
    }
    let stage = world.stop().await;
    stage.lock().damaged.extend(names.iter().map(|name| key(name)));
    let durable = world.settings.storage.durability;
    World::on(stage, |settings| settings.storage.durability = durable).await
}

async fn assert_unread(world: &World, name: &str, op: Op) {
    match world.refused(name, op).await {
        Refusal::Unavailable(text) => assert!(text.contains(name) && text.contains("cannot be read"), "{text}"),
        other => panic!("another refusal: {other:?}"),
    }
}

#[actix::test]
async fn what_depends_on_an_unreadable_record_is_refused_and_leaves_it_there() {
    let world = with_unread(World::new().await, &["a"]).await;
    let absent = set_if("new", Condition::IfAbsent);
    let present = set_if("new", Condition::IfPresent);
    let ended = expire(Lifetime::Endless);
    for op in [get(), Op::Info, Op::Peek, Op::Log, add(1), absent, present, set_for("new", Lifetime::Keep), ended] {
        assert_unread(&world, "a", op).await;
    }
    assert!(matches!(world.refused("a", put("v", REFUSING)).await, Refusal::Thrown(_)));
    assert_unread(&world, "a", get()).await;
    assert_eq!(world.stored("a").expect("it was not touched").value, text("old"));
}

#[actix::test]
async fn puts_removals_and_copies_take_the_place_of_what_cannot_be_read() {
    for world in [World::new().await, World::without_durability().await] {
        let world = with_unread(world, &["a", "b", "c", "d"]).await;
        assert_eq!(stored(world.ask("a", set("new")).await), None, "nobody knows what was there");
        assert_eq!(world.get("a").await, text("new"));
        assert_eq!(removed(world.ask("b", Op::Remove).await), Some(Value::Nil));
        assert_eq!(world.get("b").await, Value::Nil);
        world.put("c", 1, COUNTER).await;
        assert_eq!(world.get("c").await, int(1), "it counts from the beginning");
        let copy = Op::Arrive(Arc::new(Record::plain(world.stored("d").expect("stored").version + 1, text("copy"))));
        assert!(matches!(world.ask("d", copy).await, Ok(Reply::Arrived(Arrived::Taken))));
        assert_eq!(world.get("d").await, text("copy"));
        world.flush().await;
        assert_eq!(world.stored("a").expect("it is there").value, text("new"));
        assert!(world.stored("b").is_none());
    }
}

#[actix::test]
async fn calls_that_came_together_are_answered_in_their_order() {
    let world = with_unread(World::new().await, &["a"]).await;
    let calls = [get(), put("v", REFUSING), get(), set("new"), get(), Op::Remove, get()];
    let mut answers = Vec::new();
    for pending in calls.map(|op| world.send("a", op)) {
        answers.push(answer(pending).await);
    }
    assert!(matches!(&answers[0], Err(Refusal::Unavailable(_))));
    assert!(matches!(&answers[1], Err(Refusal::Thrown(_))));
    assert!(matches!(&answers[2], Err(Refusal::Unavailable(_))), "a put that was refused has changed nothing");
    assert!(matches!(&answers[3], Ok(Reply::Stored { former: None })));
    assert!(matches!(&answers[4], Ok(Reply::Plain(_))));
    assert!(matches!(&answers[5], Ok(Reply::Removed { former: Some(_) })));
    assert!(matches!(&answers[6], Ok(Reply::Absent)));
}

#[actix::test]
async fn a_write_that_fails_leaves_it_unread() {
    let world = with_unread(World::new().await, &["a"]).await;
    world.stage.lock().refuse = true;
    assert!(matches!(world.refused("a", set("new")).await, Refusal::Unavailable(_)));
    assert_unread(&world, "a", get()).await;
    world.stage.lock().refuse = false;
    world.set("a", "new").await;
    assert_eq!(world.get("a").await, text("new"));
}
