//! How objects leave memory and come back.

use std::time::Duration;

use comet_kernel::contract::aso::Op;
use comet_kernel::settings::Durability;

use super::scripted::COUNTER;
use super::world::{SECOND, World, answer, get, int, text};

#[actix::test]
async fn an_object_that_was_not_used_for_long_sleeps_and_wakes_as_it_was() {
    let world = World::new().await;
    world.put("a", "v", COUNTER).await;
    world.put("b", "v", COUNTER).await;
    assert_eq!(world.get("a").await, int(1));
    for _ in 0..30 {
        world.pass(10).await;
        world.get("b").await;
    }
    world.pass(2).await;
    assert!(!world.in_memory("a") && world.is_active("b"));
    assert_eq!((world.get("a").await, world.get("b").await), (int(2), int(31)));
}

#[actix::test]
async fn what_was_not_used_for_longest_leaves_when_memory_is_short() {
    let world = World::with(|settings| settings.aso.memory_mib = 1).await;
    let big = "x".repeat(100_000);
    for number in 0..30 {
        world.while_time_passes(world.set(&format!("plain {number}"), big.as_str())).await;
        world.while_time_passes(world.put(&format!("object {number}"), big.as_str(), COUNTER)).await;
        assert!(world.service.directory.size().bytes < 3 << 20, "who comes waits for who leaves");
    }
    world.pass(4).await;
    world.until("memory is given back", || world.service.directory.size().bytes <= 1 << 20).await;
    assert!(world.service.directory.size().keys > 0, "no more leaves than has to");
    for number in 0..30 {
        assert_eq!(world.while_time_passes(world.get(&format!("plain {number}"))).await, text(&big));
        assert_eq!(world.while_time_passes(world.get(&format!("object {number}"))).await, int(1));
    }
}

#[actix::test]
async fn an_object_that_holds_parked_requests_stays() {
    let world = World::with(|settings| (settings.aso.idle_seconds, settings.aso.parked_seconds) = (5, 60)).await;
    world.put("a", "v", "fn onGet() { comet.later() }").await;
    let bytes = world.service.directory.size().bytes;
    let parked = world.send("a", get());
    world.pass(30).await;
    assert!(world.is_active("a"));
    assert_eq!(world.service.directory.size().bytes, bytes, "and counts as before");
    world.pass(31).await;
    assert!(answer(parked).await.is_err());
    world.pass(6).await;
    assert!(!world.in_memory("a"));
}

#[actix::test]
async fn calls_that_come_while_an_object_retires_find_what_it_left() {
    let world = World::new().await;
    world.put("a", "v", COUNTER).await;
    world.get("a").await;
    world.flush().await;
    world.pass(299).await;
    world.get("a").await;
    world.stage.lock().hold = true;
    world.clock.advance(std::time::Duration::from_secs(301));
    world.rest().await;
    let waiting: Vec<_> = (0..3).map(|_| world.send("a", get())).collect();
    world.rest().await;
    world.stage.let_go();
    for (number, pending) in waiting.into_iter().enumerate() {
        let reply = answer(pending).await.expect("there");
        assert_eq!(super::world::value(reply), int(number as i64 + 3));
    }
}

#[actix::test]
async fn an_object_that_became_a_plain_value_needs_no_actor() {
    let world = World::new().await;
    world.put("a", "v", COUNTER).await;
    world.set("a", "plain").await;
    world.until("its actor ends", || !world.is_active("a")).await;
    assert_eq!(world.get("a").await, text("plain"));
    world.put("a", "v", COUNTER).await;
    world.ask("a", Op::Remove).await.expect("it can be removed");
    world.until("its actor ends", || !world.is_active("a")).await;
}

#[actix::test]
async fn what_a_full_round_of_keys_takes_in_memory_is_given_back() {
    let world = World::new().await;
    for number in 0..500 {
        world.set(&number.to_string(), number).await;
    }
    for number in 0..100 {
        world.put(&number.to_string(), number, COUNTER).await;
        world.ask(&number.to_string(), Op::Remove).await.expect("removed");
    }
    world.pass(303).await;
    let size = world.service.directory.size();
    assert_eq!((size.keys, size.active, size.bytes), (0, 0, 0));
}

/// Keeps what it is told to.
const KEEPER: &str = "
    let kept = ();
    fn onGet(caller, payload) { this.kept = payload; 1 }
";

#[actix::test]
async fn an_object_that_has_grown_counts_for_what_it_takes_now() {
    let (small, large) = (text("x"), text(&"x".repeat(30_000)));
    for durability in [Durability::Always, Durability::None] {
        let world = World::with(|settings| settings.storage.durability = durability).await;
        let bytes = || world.service.directory.size().bytes;
        world.put("a", "v", KEEPER).await;
        let at_first = bytes();
        // By a handler, and back.
        world.get_with("a", large.clone()).await;
        world.flush().await;
        assert!(bytes() > at_first + 29_000, "{} bytes", bytes());
        world.get_with("a", small.clone()).await;
        world.flush().await;
        assert!(bytes() < at_first + 1_000, "{} bytes", bytes());
        // By another object in its place, and back.
        world.put("a", large.clone(), KEEPER).await;
        world.rest().await;
        assert!(bytes() > at_first + 29_000, "{} bytes", bytes());
        world.put("a", small.clone(), KEEPER).await;
        world.rest().await;
        assert!(bytes() < at_first + 1_000, "{} bytes", bytes());
        world.passivate("a").await;
        assert_eq!(bytes(), 0);
    }
}

#[actix::test]
async fn the_log_of_an_object_counts_for_the_memory_that_it_takes() {
    let line = "x".repeat(256);
    let logs = format!("fn onGet() {{ comet.log(\"{line}\"); 1 }}");
    let fails = format!("fn onPut() {{ comet.setTimer(1); }} fn onTimer() {{ throw \"{line}\" }}");
    for source in [logs, fails] {
        let world = World::new().await;
        world.put("a", "v", &source).await;
        let at_first = world.service.directory.size().bytes;
        for _ in 0..100 {
            world.get("a").await;
            world.clock.advance(SECOND);
            world.tick("a").await;
        }
        let bytes = world.service.directory.size().bytes;
        assert!(bytes > at_first + 15_000 && bytes < at_first + 25_000, "{bytes} bytes, {at_first} at first");
        world.passivate("a").await;
        assert_eq!(world.service.directory.size().bytes, 0);
    }
}

#[actix::test]
async fn objects_that_have_outgrown_the_memory_leave_it() {
    let world = World::with(|settings| settings.aso.memory_mib = 1).await;
    let names: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    for name in &names {
        world.put(name, "v", KEEPER).await;
    }
    let large = text(&"x".repeat(500_000));
    for name in &names {
        world.put(name, large.clone(), KEEPER).await;
    }
    assert!(world.service.directory.size().bytes > 10_000_000);
    world.pass(5).await;
    let left = world.service.directory.size().bytes;
    assert!(left <= 1 << 20, "{left} bytes");
    for name in &names[..2] {
        assert_eq!(world.get(name).await, int(1));
    }
}

#[actix::test]
async fn values_leave_memory_while_the_store_takes_no_writes() {
    let world = World::with(|settings| settings.aso.memory_mib = 1).await;
    let big = "x".repeat(100_000);
    let names: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    for name in &names {
        world.set(name, big.as_str()).await;
    }
    world.clock.advance(Duration::from_secs(301));
    world.until("they leave", || world.service.directory.size().keys == 0).await;
    world.stage.lock().refuse = true;
    for name in &names {
        assert_eq!(world.get(name).await, text(&big));
    }
    world.pass(5).await;
    let left = world.service.directory.size();
    assert!(left.bytes <= 1 << 20 && left.keys > 0, "{left:?}");
}
