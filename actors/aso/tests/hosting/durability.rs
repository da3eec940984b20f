//! `durability = none`: answered before the disk has it, and yet everybody sees the newest.

use comet_kernel::Value;
use comet_kernel::contract::aso::{Op, Refusal};

use super::scripted::COUNTER;
use super::world::{FLUSH, World, add, get, int, put, put_named, removed, set, stored, text, value};

#[actix::test]
async fn a_write_is_answered_before_the_disk_has_it_and_flushed_once() {
    let world = World::without_durability().await;
    world.stage.lock().hold = true;
    for number in 0..10 {
        world.set("a", number).await;
    }
    assert_eq!((world.get("a").await, world.stage.held()), (int(9), 0));
    world.stage.let_go();
    let before = world.stage.lock().writes;
    world.flush().await;
    assert_eq!(world.stage.lock().writes, before + 1);
    assert_eq!(world.stored("a").map(|record| record.value.clone()), Some(int(9)));
}

#[actix::test]
async fn what_was_removed_stays_removed_though_the_disk_still_has_it() {
    let world = World::without_durability().await;
    world.set("a", "v").await;
    world.flush().await;
    world.stage.lock().hold = true;
    assert_eq!(removed(world.ask("a", Op::Remove).await), Some(text("v")));
    assert_eq!(world.get("a").await, Value::Nil);
    world.clock.advance(FLUSH);
    world.rest().await;
    assert!(world.stored("a").is_some() && world.stage.held() == 1);
    assert_eq!(world.get("a").await, Value::Nil);
    assert_eq!(value(world.ask("a", add(1)).await.expect("a number")), int(1));
    world.stage.let_go();
    world.rest().await;
    world.pass(1).await;
    assert_eq!(world.stored("a").map(|record| record.value.clone()), Some(int(1)));
}

#[actix::test]
async fn a_value_does_not_leave_memory_before_the_disk_has_it() {
    let world = World::without_durability().await;
    world.set("a", "old").await;
    world.flush().await;
    world.stage.lock().hold = true;
    world.set("a", "new").await;
    world.pass(305).await;
    assert!(world.in_memory("a"));
    world.stage.let_go();
    world.rest().await;
    world.pass(2).await;
    world.until("it leaves", || !world.in_memory("a")).await;
    assert_eq!(world.get("a").await, text("new"));
}

#[actix::test]
async fn a_flush_that_fails_is_tried_again() {
    let world = World::without_durability().await;
    world.load("counter", COUNTER).await;
    world.stage.lock().refuse = true;
    world.set("a", "v").await;
    stored(world.ask("b", put_named("v", "counter")).await);
    assert_eq!(world.get("b").await, int(1));
    world.pass(3).await;
    assert!(world.stored("a").is_none() && world.stored("b").is_none());
    world.stage.lock().refuse = false;
    world.pass(1).await;
    assert!(world.stored("a").is_some());
    assert_eq!(world.stored_field("b", "n"), int(1));
}

#[actix::test]
async fn an_object_put_over_a_value_whose_flush_fails_is_not_lost_nor_is_a_value_that_waits_for_it() {
    let world = World::without_durability().await;
    let hash = world.load("counter", COUNTER).await;
    for name in ["object", "value"] {
        world.set(name, "old").await;
    }
    world.stage.lock().hold = true;
    world.flush().await;
    assert_eq!(world.stage.held(), 2);
    world.ask("object", put("new", COUNTER)).await.expect("stored");
    world.storage.gate.set_shut(true);
    assert!(matches!(world.refused("value", set("new")).await, Refusal::Unavailable(_)));
    world.stage.fail_one();
    world.stage.fail_one();
    world.rest().await;
    world.flush().await;
    world.stage.let_go();
    world.storage.gate.set_shut(false);
    world.pass(2).await;
    let stored = world.stored("object").and_then(|record| record.active.clone());
    assert_eq!(stored.map(|active| active.script.hash), Some(hash));
    assert_eq!(world.stored("value").map(|record| record.value.clone()), Some(text("old")));
}

#[actix::test]
async fn with_the_gate_shut_who_writes_waits_for_storage() {
    let world = World::without_durability().await;
    world.storage.gate.set_shut(true);
    world.stage.lock().refuse = true;
    assert!(world.ask("a", set("v")).await.is_err());
    assert!(world.ask("b", put("v", COUNTER)).await.is_err());
    world.stage.lock().refuse = false;
    world.storage.gate.set_shut(false);
    assert_eq!((value(world.ask("a", get()).await.expect("answered")), world.get("b").await), (Value::Nil, Value::Nil));
}

#[actix::test]
async fn an_object_is_put_read_and_deleted_before_the_disk_knows_of_it() {
    let world = World::without_durability().await;
    world.put("a", "once", "fn onGet() { comet.deleteSelf(); this.value }").await;
    world.stage.lock().hold = true;
    assert_eq!(world.get("a").await, text("once"));
    world.stage.let_go();
    assert_eq!(world.get("a").await, Value::Nil);
    world.pass(1).await;
    assert_eq!((world.get("a").await, world.stored("a")), (Value::Nil, None));
}

#[actix::test]
async fn a_put_that_is_refused_does_not_keep_what_was_put_before_it_from_the_disk() {
    let world = World::without_durability().await;
    world.load("never", "fn onPut() { false }").await;
    world.set("a", "v").await;
    assert!(matches!(world.refused("a", put_named("w", "never")).await, Refusal::Thrown(_)));
    world.flush().await;
    assert_eq!(world.stored("a").map(|record| record.value.clone()), Some(text("v")));
}
