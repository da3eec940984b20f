//! Clearing the store with calls under way and objects active.

use comet_kernel::Value;
use comet_kernel::contract::aso::{Clear, Lifetime};

use super::scripted::COUNTER;
use super::world::{SECOND, World, add, answer, expire, get, int, put, set, stored, text, value};

async fn clear(world: &World) {
    world.service.clear.call(Clear).await.expect("it is there").expect("it is cleared");
}

#[actix::test]
async fn nothing_is_left_in_memory_on_the_disk_or_armed() {
    let world = World::new().await;
    world.set("a", "v").await;
    world.put("b", "v", COUNTER).await;
    world.ask("b", expire(Lifetime::For(SECOND))).await.expect("there");
    world.get("b").await;
    world.load("counter", COUNTER).await;
    clear(&world).await;
    assert_eq!(world.service.directory.size().keys, 0);
    assert!(world.stage.lock().records.is_empty() && world.armed("b").is_none());
    assert_eq!((world.get("a").await, world.get("b").await), (Value::Nil, Value::Nil));
    world.pass(2).await;
    assert!(world.stage.lock().records.is_empty(), "what a handler had changed does not come back");
    stored(world.ask("c", super::world::put_named("v", "counter")).await);
}

#[actix::test]
async fn calls_that_come_meanwhile_wait_and_find_nothing() {
    let world = World::new().await;
    world.set("a", 5).await;
    world.put("b", "v", COUNTER).await;
    world.stage.lock().hold = true;
    let under_way = [world.send("a", add(1)), world.send("b", set("w")), world.send("b", get())];
    world.rest().await;
    let cleared = world.service.clear.ask(Clear).expect("it is there");
    world.until("the clearing is asked for", || world.stage.held() == 3).await;
    let mut later = vec![world.send("a", add(10)), world.send("b", get())];
    world.rest().await;
    assert!(later.iter_mut().all(|pending| pending.try_take().expect("it lives").is_none()));
    world.stage.let_go();
    cleared.await.expect("it is there").expect("it is cleared");
    for pending in under_way {
        let _either_way = answer(pending).await;
    }
    let second = value(answer(later.pop().expect("two")).await.expect("answered"));
    let first = value(answer(later.pop().expect("two")).await.expect("answered"));
    assert_eq!((first, second), (int(10), Value::Nil));
    world.pass(2).await;
    let stage = world.stage.lock();
    assert_eq!(stage.records.len(), 1);
}

#[actix::test]
async fn an_object_of_before_does_not_write_itself_over_what_came_after() {
    let world = World::new().await;
    world.put("a", "old", "fn onUpdate(caller, incoming) { this.value = incoming.value; false }").await;
    world.stage.lock().hold_scripts = true;
    let unknown = comet_kernel::ScriptHash::of("fn onGet() { 0 }");
    world.put("b", "old", COUNTER).await;
    // It waits for a script while the store is cleared, with an edit behind it in its mailbox.
    let choice = comet_kernel::contract::aso::ScriptChoice::Hash(unknown);
    let waits = world.send("b", super::world::put_by("w", choice));
    world.until("the script is asked for", || world.stage.scripts_wanted() == 1).await;
    let behind = world.send("b", put("zombie", COUNTER));
    clear(&world).await;
    world.stage.hand_out_scripts();
    assert!(answer(waits).await.is_err() && answer(behind).await.is_err());
    world.pass(1).await;
    assert!(world.stage.lock().records.is_empty());
    assert_eq!(world.get("b").await, Value::Nil);
}

#[actix::test]
async fn two_clearings_do_not_mix() {
    let world = World::new().await;
    world.stage.lock().hold = true;
    let first = world.service.clear.ask(Clear).expect("it is there");
    let second = world.service.clear.ask(Clear).expect("it is there");
    world.until("one is under way", || world.stage.held() == 1).await;
    world.rest().await;
    let written = world.send("a", set("v"));
    for _ in 0..5 {
        world.rest().await;
        if world.stage.held() > 0 {
            world.stage.release(1);
        }
    }
    world.stage.let_go();
    first.await.expect("it is there").expect("it is cleared");
    second.await.expect("it is there").expect("it is cleared");
    let _either_way = answer(written).await;
    let on_the_disk = world.stored("a").map_or(Value::Nil, |record| record.value.clone());
    assert_eq!(world.get("a").await, on_the_disk);
}

#[actix::test]
async fn a_store_that_refuses_keeps_what_it_has_and_calls_go_on() {
    let world = World::new().await;
    world.set("a", "v").await;
    world.stage.lock().refuse = true;
    assert!(world.service.clear.call(Clear).await.expect("it is there").is_err());
    world.stage.lock().refuse = false;
    assert_eq!(world.get("a").await, text("v"));
}
