//! Clearing the store with calls under way and objects active.

use comet_kernel::Value;
use comet_kernel::contract::aso::{Clear, Lifetime, Op};

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

async fn is_not_cleared(world: &World) {
    assert!(world.service.clear.call(Clear).await.expect("it is there").is_err());
}

#[actix::test]
async fn a_store_that_refuses_costs_no_value_that_waits_for_a_flush() {
    let world = World::without_durability().await;
    world.set("a", "old").await;
    world.set("gone", "v").await;
    world.flush().await;
    world.set("a", "new").await;
    world.set("b", "v").await;
    world.ask("gone", Op::Remove).await.expect("it is removed");
    world.stage.lock().refuse = true;
    is_not_cleared(&world).await;
    world.stage.lock().refuse = false;
    assert_eq!((world.get("a").await, world.get("b").await), (text("new"), text("v")));
    assert_eq!(world.get("gone").await, Value::Nil);
    world.pass(1).await;
    assert_eq!(world.stored("a").expect("it is flushed").value, text("new"));
    assert!(world.stored("b").is_some() && world.stored("gone").is_none());
}

#[actix::test]
async fn a_store_that_refuses_costs_no_change_of_a_handler() {
    let world = World::new().await;
    world.put("a", "v", COUNTER).await;
    let (first, second) = (world.get("a").await, world.get("a").await);
    world.stage.lock().refuse = true;
    is_not_cleared(&world).await;
    world.stage.lock().refuse = false;
    let third = world.get("a").await;
    assert!(world.is_active("a") && third != first && third != second, "it counts on: {third:?}");
    world.pass(1).await;
    assert_eq!(world.stored_field("a", "n"), int(3));
    stored(world.ask("a", put("w", COUNTER)).await);
}

#[actix::test]
async fn a_flush_that_comes_round_during_a_clearing_waits_for_its_end() {
    let world = World::without_durability().await;
    world.set("a", "v").await;
    world.put("b", "v", COUNTER).await;
    world.stage.lock().hold = true;
    let cleared = world.service.clear.ask(Clear).expect("it is there");
    world.until("the clearing is asked for", || world.stage.held() == 1).await;
    let waits = world.send("a", set("later"));
    world.pass(40).await;
    assert_eq!(world.stage.held(), 1, "nothing is written, however long it takes");
    world.stage.fail_one();
    world.stage.let_go();
    assert!(cleared.await.expect("it is there").is_err());
    assert_eq!(stored(answer(waits).await), Some(text("v")));
    world.pass(1).await;
    assert_eq!(world.stored("a").expect("it is flushed").value, text("later"));
    assert!(world.stored("b").is_some());
}

#[actix::test]
async fn a_clearing_that_takes_long_leaves_nothing_in_memory() {
    let world = World::new().await;
    world.set("a", "v").await;
    world.stage.lock().hold = true;
    let cleared = world.service.clear.ask(Clear).expect("it is there");
    world.until("the clearing is asked for", || world.stage.held() == 1).await;
    world.pass(35).await;
    let waits = world.send("a", get());
    world.rest().await;
    world.stage.let_go();
    cleared.await.expect("it is there").expect("it is cleared");
    assert_eq!(value(answer(waits).await.expect("answered")), Value::Nil);
    assert_eq!(world.get("a").await, Value::Nil);
}

#[actix::test]
async fn a_write_under_way_is_answered_when_a_store_has_refused_to_be_cleared() {
    let world = World::new().await;
    world.set("a", 5).await;
    world.stage.lock().hold = true;
    let written = world.send("a", add(1));
    world.rest().await;
    let cleared = world.service.clear.ask(Clear).expect("it is there");
    world.until("the clearing is asked for", || world.stage.held() == 2).await;
    world.stage.release(1);
    world.rest().await;
    world.stage.fail_one();
    world.stage.let_go();
    assert!(cleared.await.expect("it is there").is_err());
    assert_eq!(value(answer(written).await.expect("it was written")), int(6));
    assert_eq!(world.get("a").await, int(6));
}

#[actix::test]
async fn what_became_of_a_clearing_without_an_answer_is_read_from_the_disk() {
    let mut world = World::new().await;
    world.set("a", "v").await;
    world.stage.lock().hold = true;
    let cleared = world.service.clear.ask(Clear).expect("it is there");
    world.until("the clearing is asked for", || world.stage.held() == 1).await;
    world.take_writer().await;
    world.stage.forget_jobs();
    assert!(cleared.await.expect("it is there").is_err());
    world.stage.lock().hold = false;
    world.bring_writer().await;
    assert_eq!(world.get("a").await, text("v"));
}

#[actix::test]
async fn calls_that_wait_for_a_script_get_it_after_a_store_has_refused_to_be_cleared() {
    let world = World::new().await;
    world.set("a", "v").await;
    let hash = comet_kernel::ScriptHash::of(COUNTER);
    {
        let mut stage = world.stage.lock();
        stage.scripts.insert(hash, COUNTER.into());
        (stage.hold, stage.hold_scripts) = (true, true);
    }
    let choice = comet_kernel::contract::aso::ScriptChoice::Hash(hash);
    let made = world.send("a", super::world::put_by("w", choice));
    world.until("the script is asked for", || world.stage.scripts_wanted() == 1).await;
    let behind = world.send("a", get());
    let cleared = world.service.clear.ask(Clear).expect("it is there");
    world.until("the clearing is asked for", || world.stage.held() == 1).await;
    world.stage.hand_out_scripts();
    world.rest().await;
    world.stage.fail_one();
    world.stage.let_go();
    assert!(cleared.await.expect("it is there").is_err());
    assert_eq!(stored(answer(made).await), Some(text("v")));
    assert_eq!(value(answer(behind).await.expect("answered")), int(1));
}

#[actix::test]
async fn an_object_that_was_to_leave_memory_during_a_clearing_that_fails_is_written_and_leaves_later() {
    let world = World::new().await;
    world.put("a", "v", COUNTER).await;
    world.get("a").await;
    world.stage.lock().hold = true;
    let cleared = world.service.clear.ask(Clear).expect("it is there");
    world.until("the clearing is asked for", || world.stage.held() == 1).await;
    world.pass(400).await;
    assert_eq!(world.stage.held(), 1, "nothing is written meanwhile");
    world.stage.fail_one();
    world.stage.let_go();
    assert!(cleared.await.expect("it is there").is_err());
    world.passivate("a").await;
    assert_eq!(world.stored_field("a", "n"), int(1));
    assert_eq!(world.get("a").await, int(2));
}
