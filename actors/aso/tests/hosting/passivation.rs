//! How objects leave memory and come back.

use std::time::Duration;

use comet_kernel::contract::aso::{Op, Refusal};
use comet_kernel::settings::Durability;
use comet_kernel::{Pending, Value};

use super::scripted::COUNTER;
use super::store::Stage;
use super::world::{Answer, SECOND, Shape, World, answer, get, int, text};

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

/// Each of four objects, which take more than three times the memory that there is, has somebody or something to wait for.
async fn four_that_are_waited_for(source: &str) -> (World, Vec<Pending<Answer>>) {
    let shape = Shape { shards: 1, networked: true, apart: false };
    let world = World::of(Stage::default(), shape, |settings| settings.aso.memory_mib = 1).await;
    world.set("plain", "v").await;
    let big = "x".repeat(900_000);
    let mut parked = Vec::new();
    for name in ["0", "1", "2", "3"] {
        world.while_time_passes(world.put(name, big.as_str(), source)).await;
        parked.push(world.send(name, get()));
        world.rest().await;
        // Who finds no room waits for two seconds.
        for _ in 0..500 {
            world.clock.advance(Duration::from_millis(5));
            tokio::task::yield_now().await;
        }
    }
    (world, parked)
}

#[actix::test]
async fn objects_that_are_waited_for_leave_when_memory_is_short_and_what_is_in_use_stays() {
    let parks = "fn onGet() { comet.later() }";
    let asks_on =
        "fn onPut() { this.ask(); } fn ask() { comet.get(comet.getASOKey(), 1, `a`); } fn a(found) { this.ask(); }";
    for source in [parks, asks_on] {
        let (world, parked) = four_that_are_waited_for(source).await;
        world.while_time_passes(world.get("plain")).await;
        assert_eq!(world.get("plain").await, text("v"));
        for _ in 0..5 {
            world.clock.advance(SECOND);
            world.rest().await;
            assert_eq!(world.get("plain").await, text("v"), "it stays, and is answered at once");
        }
        let bytes = world.service.directory.size().bytes;
        assert!(bytes <= 1 << 20, "{bytes} bytes");
        world.clock.advance(Duration::from_secs(60));
        world.rest().await;
        if source == parks {
            let mut told = 0;
            for pending in parked {
                match answer(pending).await {
                    Err(Refusal::Unavailable(text)) => told += usize::from(text.contains("memory is full")),
                    other => assert!(matches!(other, Err(Refusal::TimedOut(_))), "{other:?}"),
                }
            }
            assert_eq!(told, 3, "and one had room");
        }
    }
}

#[actix::test]
async fn an_object_that_is_waited_for_stays_if_it_cannot_be_written_and_who_finds_no_room_is_told() {
    let world = World::with(|settings| settings.aso.memory_mib = 1).await;
    let big = "x".repeat(900_000);
    let mut parked = Vec::new();
    for name in ["0", "1", "2"] {
        world.put(name, big.as_str(), "let n = 0; fn onGet() { this.n += 1; comet.later() }").await;
    }
    world.stage.lock().refuse = true;
    for name in ["0", "1", "2"] {
        parked.push(world.send(name, get()));
    }
    world.rest().await;
    match world.while_time_passes(world.ask("other", get())).await {
        Err(Refusal::Unavailable(text)) => assert!(text.contains("memory is full"), "{text}"),
        other => panic!("it is refused: {other:?}"),
    }
    assert!(["0", "1", "2"].iter().all(|name| world.in_memory(name)));
    world.stage.lock().refuse = false;
    world.pass(3).await;
    assert_eq!(world.while_time_passes(world.get("other")).await, Value::Nil);
    for name in ["0", "1", "2"] {
        assert_eq!(world.stored_field(name, "n"), int(1));
    }
    assert!(world.service.directory.size().bytes <= 1 << 20);
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
