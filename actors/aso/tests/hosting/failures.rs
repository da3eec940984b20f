//! What handlers change is written behind; and what happens to it when storage refuses.

use comet_kernel::contract::aso::{Op, Refusal, ScriptChoice};
use comet_kernel::{ScriptHash, Value, limits};

use super::scripted::COUNTER;
use super::world::{FLUSH, World, add, answer, get, int, put, put_by, put_named, set, stored, text, value};

#[actix::test]
async fn what_a_handler_changes_is_on_the_disk_after_the_flush_interval_in_one_write() {
    let world = World::new().await;
    world.put("a", "v", COUNTER).await;
    let before = world.stage.lock().writes;
    for _ in 0..20 {
        world.get("a").await;
    }
    assert_eq!(world.stage.lock().writes, before);
    world.flush().await;
    assert_eq!(world.stored_field("a", "n"), int(20));
    assert_eq!(world.stage.lock().writes, before + 1);
    world.flush().await;
    assert_eq!(world.stage.lock().writes, before + 1, "nothing has changed since");
}

#[actix::test]
async fn a_put_with_a_script_that_cannot_be_written_leaves_what_was_there() {
    let mut world = World::new().await;
    world.set("a", 100).await;
    world.take_writer().await;
    let (made, got, added) = (world.send("a", put("x", COUNTER)), world.send("a", get()), world.send("a", add(1)));
    assert!(matches!(answer(made).await, Err(Refusal::Unavailable(_))));
    assert_eq!(value(answer(got).await.expect("the disk has it")), int(100));
    assert!(matches!(answer(added).await, Err(Refusal::Unavailable(_))));
    world.bring_writer().await;
    assert_eq!(value(world.ask("a", add(1)).await.expect("a number")), int(101));
}

#[actix::test]
async fn a_value_that_waits_for_its_flush_is_not_lost_with_a_put_that_the_store_cannot_take() {
    let world = World::without_durability().await;
    world.set("a", "v").await;
    world.storage.gate.set_shut(true);
    assert!(matches!(world.refused("a", put("x", COUNTER)).await, Refusal::Unavailable(_)));
    world.storage.gate.set_shut(false);
    assert_eq!(world.get("a").await, text("v"));
    world.flush().await;
    assert_eq!(world.stored("a").expect("it is flushed").value, text("v"));
}

#[actix::test]
async fn a_value_that_waits_for_its_flush_is_not_lost_with_another_that_the_store_cannot_take() {
    let world = World::without_durability().await;
    world.set("a", "v").await;
    world.storage.gate.set_shut(true);
    world.stage.lock().refuse = true;
    for op in [set("w"), Op::Remove] {
        assert!(matches!(world.refused("a", op).await, Refusal::Unavailable(_)));
        assert_eq!(world.get("a").await, text("v"));
    }
    world.flush().await;
    assert!(matches!(world.refused("a", set("w")).await, Refusal::Unavailable(_)));
    world.stage.lock().refuse = false;
    world.storage.gate.set_shut(false);
    world.pass(1).await;
    assert_eq!(world.stored("a").expect("it is flushed").value, text("v"));
}

#[actix::test]
async fn what_handlers_changed_while_the_store_takes_no_writes_is_not_lost_with_a_write_that_it_refuses() {
    let world = World::new().await;
    world.put("a", "v", COUNTER).await;
    world.storage.gate.set_shut(true);
    world.stage.lock().refuse = true;
    for (number, op) in [set("w"), put("w", COUNTER), Op::Remove].into_iter().enumerate() {
        assert_eq!(world.get("a").await, int(number as i64 + 1));
        world.flush().await;
        assert!(matches!(world.refused("a", op).await, Refusal::Unavailable(_)));
    }
    // A flush does not come to its end before the next call.
    world.stage.lock().hold = true;
    world.flush().await;
    let written = world.send("a", set("w"));
    world.rest().await;
    world.stage.let_go();
    assert!(matches!(answer(written).await, Err(Refusal::Unavailable(_))));
    assert_eq!(world.get("a").await, int(4));
    world.stage.lock().refuse = false;
    world.storage.gate.set_shut(false);
    world.pass(1).await;
    assert_eq!(world.stored_field("a", "n"), int(4));
}

#[actix::test]
async fn what_a_handler_changes_is_tried_again_when_storage_refuses() {
    let world = World::new().await;
    world.put("a", "v", COUNTER).await;
    world.stage.lock().refuse = true;
    world.get("a").await;
    world.pass(3).await;
    world.get("a").await;
    world.stage.lock().refuse = false;
    world.pass(1).await;
    assert_eq!(world.stored_field("a", "n"), int(2));
}

#[actix::test]
async fn what_a_handler_changed_is_not_lost_if_its_flush_fails_while_the_object_is_to_retire() {
    let world = World::new().await;
    world.put("a", "v", COUNTER).await;
    world.get("a").await;
    world.stage.lock().hold = true;
    world.flush().await;
    assert_eq!(world.stage.held(), 1);
    world.pass(302).await;
    world.stage.fail_one();
    world.stage.let_go();
    world.rest().await;
    assert_eq!(world.get("a").await, int(2));
    world.pass(1).await;
    assert_eq!(world.stored_field("a", "n"), int(2));
}

#[actix::test]
async fn an_object_that_could_not_be_written_when_it_was_to_retire_stays_and_is_flushed_later() {
    let world = World::new().await;
    world.put("a", "v", COUNTER).await;
    world.pass(299).await;
    world.stage.lock().hold = true;
    // The object retires in the same step in which its change would be flushed.
    let read = world.send("a", Op::Get { payload: Value::Nil });
    answer(read).await.expect("there");
    world.clock.advance(std::time::Duration::from_secs(301));
    world.rest().await;
    world.clock.advance(FLUSH);
    world.rest().await;
    while world.stage.held() > 0 {
        world.stage.fail_one();
        world.rest().await;
    }
    world.stage.let_go();
    assert_eq!(world.get("a").await, int(2));
    world.pass(2).await;
    assert_eq!(world.stored_field("a", "n"), int(2));
}

#[actix::test]
async fn an_object_too_busy_to_be_flushed_is_flushed_later() {
    let world = World::new().await;
    world.put("a", "v", COUNTER).await;
    assert_eq!(world.get("a").await, int(1));
    let hash = ScriptHash::of(COUNTER);
    let unused = ScriptHash::of("fn onGet() { 0 }");
    assert_ne!(hash, unused);
    world.stage.lock().hold_scripts = true;
    let put = world.send("a", put_by("w", ScriptChoice::Hash(unused)));
    world.until("the script is asked for", || world.stage.scripts_wanted() == 1).await;
    let waiting: Vec<_> = (0..limits::OBJECT_MAILBOX + 50).map(|_| world.send("a", get())).collect();
    world.flush().await;
    world.stage.hand_out_scripts();
    assert_eq!(answer(put).await.map(|_| ()), Err(Refusal::NoScript(unused.to_string())));
    let mut served = 0;
    for pending in waiting {
        served += i64::from(answer(pending).await.is_ok());
    }
    assert!(served >= limits::OBJECT_MAILBOX as i64);
    world.pass(1).await;
    assert_eq!(world.stored_field("a", "n"), int(served + 1));
}

#[actix::test]
async fn an_object_that_waits_for_the_library_keeps_nothing_else_from_the_disk() {
    let world = World::new().await;
    for name in ["a", "b"] {
        world.put(name, "v", COUNTER).await;
        assert_eq!(world.get(name).await, int(1));
    }
    world.stage.lock().hold_scripts = true;
    let put = world.send("a", put_by("w", ScriptChoice::Hash(ScriptHash::of("fn onGet() { 0 }"))));
    world.until("the script is asked for", || world.stage.scripts_wanted() == 1).await;
    world.flush().await;
    assert_eq!(world.get("b").await, int(2));
    for _ in 0..4 {
        world.flush().await;
    }
    assert_eq!(world.stored_field("b", "n"), int(2));
    // It is to leave while it has not answered, and what it sends to storage then is refused.
    world.clock.advance(std::time::Duration::from_secs(301));
    world.rest().await;
    world.stage.lock().hold = true;
    world.stage.hand_out_scripts();
    assert!(matches!(answer(put).await, Err(Refusal::NoScript(_))));
    world.until("its flush", || world.stage.held() == 1).await;
    world.stage.fail_one();
    world.stage.let_go();
    world.pass(1).await;
    assert_eq!(world.stored_field("a", "n"), int(1));
    assert_eq!(world.get("a").await, int(2));
}

#[actix::test]
async fn an_object_whose_write_failed_starts_from_the_disk() {
    let world = World::new().await;
    world.put("a", "old", "let n = 0; fn onGet() { this.n += 1; [this.value, this.n] }").await;
    world.get("a").await;
    world.flush().await;
    world.stage.lock().hold = true;
    let written = world.send("a", set("new"));
    let read = world.send("a", get());
    world.rest().await;
    world.stage.fail_one();
    assert!(matches!(answer(written).await, Err(Refusal::Unavailable(_))));
    assert!(answer(read).await.is_err());
    world.stage.let_go();
    world.rest().await;
    assert_eq!(world.get("a").await, Value::Array(vec![text("old"), int(2)]));
}

#[actix::test]
async fn calls_that_come_while_an_object_ends_after_a_failed_write_are_served_from_the_disk() {
    let world = World::new().await;
    world.put("a", "old", "fn onGet() { this.value }").await;
    world.stage.lock().hold = true;
    let written = world.send("a", set("new"));
    world.rest().await;
    world.stage.fail_one();
    // More than an actor handles before it looks at what has come of its write.
    let reads: Vec<_> = (0..400).map(|_| world.send("a", get())).collect();
    let tick = world.send("a", Op::Tick);
    world.stage.let_go();
    assert!(matches!(answer(written).await, Err(Refusal::Unavailable(_))));
    let mut served = 0;
    for read in reads {
        match answer(read).await {
            Ok(reply) => {
                assert_eq!(value(reply), text("old"));
                served += 1;
            }
            // It rested on what could not be written.
            Err(refusal) => assert!(served == 0 && matches!(refusal, Refusal::Unavailable(_)), "{refusal}"),
        }
    }
    assert!(served > 100, "{served}");
    assert!(answer(tick).await.is_ok());
}

#[actix::test]
async fn an_object_that_could_not_be_born_leaves_what_was_there() {
    let world = World::new().await;
    world.set("a", "old").await;
    world.load("counter", COUNTER).await;
    world.stage.lock().refuse = true;
    for name in ["a", "b"] {
        assert!(matches!(world.refused(name, put_named("new", "counter")).await, Refusal::Unavailable(_)));
    }
    world.stage.lock().refuse = false;
    world.rest().await;
    assert_eq!((world.get("a").await, world.get("b").await), (text("old"), Value::Nil));
    world.put("a", "new", COUNTER).await;
    assert_eq!(world.get("a").await, int(1));
}

#[actix::test]
async fn a_shard_that_is_restarted_keeps_every_acknowledged_write_and_what_handlers_changed() {
    let world = World::new().await;
    for number in 0..50 {
        world.set(&format!("plain {number}"), number).await;
        world.put(&format!("object {number}"), number, COUNTER).await;
        world.get(&format!("object {number}")).await;
    }
    world.restart("aso/shard-0").await;
    assert_eq!(world.service.directory.size().keys, 0);
    for number in 0..50 {
        assert_eq!(world.stored_field(&format!("object {number}"), "n"), int(1));
        assert_eq!(world.get(&format!("plain {number}")).await, int(number));
        assert_eq!(world.get(&format!("object {number}")).await, int(2));
    }
}

#[actix::test]
async fn a_node_that_stops_has_written_everything_even_what_came_at_the_last_moment() {
    for none in [false, true] {
        let mut world = if none { World::without_durability().await } else { World::new().await };
        for name in ["a", "b"] {
            world.put(name, "v", COUNTER).await;
            world.set("plain", "v").await;
            world.passivate(name).await;
        }
        let waiting: Vec<_> = ["a", "b", "a"].map(|name| world.send(name, get())).into_iter().collect();
        let stage = world.stop().await;
        for pending in waiting {
            let _answered = pending.await;
        }
        let world = World::on(stage, |_| {}).await;
        assert_eq!(world.get("plain").await, text("v"));
        assert_eq!((world.stored_field("a", "n"), world.stored_field("b", "n")), (int(2), int(1)));
    }
}

#[actix::test]
async fn parked_requests_end_when_the_node_stops() {
    let mut world = World::new().await;
    stored(world.ask("a", put("v", "fn onGet() { comet.later() }")).await);
    let parked = world.send("a", get());
    world.rest().await;
    world.stop().await;
    assert!(matches!(answer(parked).await, Err(Refusal::Unavailable(_))));
}

#[actix::test]
async fn a_write_under_way_when_its_value_is_asked_for_again_is_awaited() {
    let world = World::new().await;
    world.set("a", 1).await;
    world.stage.lock().hold = true;
    let writes: Vec<_> = (2..5).map(|number| world.send("a", set(number))).collect();
    world.rest().await;
    world.stage.release(2);
    world.rest().await;
    let read = world.send("a", get());
    world.rest().await;
    world.stage.let_go();
    assert_eq!(value(answer(read).await.expect("there")), int(4));
    for pending in writes {
        stored(answer(pending).await);
    }
}
