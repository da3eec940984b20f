//! Timers of objects, as the timer actor sees them.

use comet_kernel::contract::aso::Lifetime;
use comet_kernel::{UnixMillis, Value};

use super::world::{SECOND, START, World, applied, expire, int, put, set_for, stored, text};

const TICKER: &str = r"
    let n = 0;
    fn onPut() { comet.setTimer(10); }
    fn onTimer() { this.n += 1; if this.n == 3 { comet.setTimer(0); } }
    fn onGet(caller, payload) { if payload != () { comet.setTimer(payload); } this.n }
";

fn at(seconds: u64) -> UnixMillis {
    UnixMillis(START.0 + seconds * 1_000)
}

#[actix::test]
async fn a_timer_is_armed_when_it_is_set_and_runs_when_it_is_due_and_not_before() {
    let world = World::new().await;
    world.put("a", "v", TICKER).await;
    assert_eq!(world.armed("a"), Some(at(10)));
    world.pass(9).await;
    assert_eq!(world.tick("a").await, Some(at(10)));
    assert_eq!(world.get("a").await, int(0));
    world.pass(1).await;
    assert_eq!(world.tick("a").await, Some(at(20)));
    assert_eq!(world.tick("a").await, Some(at(20)), "a second one is early");
    assert_eq!(world.get("a").await, int(1));
    world.pass(10).await;
    assert_eq!(world.tick("a").await, Some(at(30)));
    world.pass(10).await;
    assert_eq!(world.tick("a").await, None, "it turned its timer off");
    assert_eq!(world.info("a").await.timer_seconds, None);
}

#[actix::test]
async fn a_timer_goes_on_through_sleep_and_failures() {
    let world = World::new().await;
    world.put("a", "v", "let n = 0; fn onPut() { comet.setTimer(400); } fn onTimer() { this.n += 1; if this.n == 1 { throw \"no\"; } }").await;
    world.passivate("a").await;
    world.pass(100).await;
    assert_eq!(world.tick("a").await, Some(UnixMillis(world.clock.unix().0 + 400_000)));
    assert!(world.is_active("a"), "a tick wakes an object");
    world.flush().await;
    assert_eq!(world.armed("a"), world.stored("a").and_then(|record| record.dues().next()));
}

#[actix::test]
async fn a_timer_that_is_changed_or_turned_off_is_changed_with_the_timer_actor() {
    let world = World::new().await;
    world.put("a", "v", TICKER).await;
    world.get_with("a", int(50)).await;
    world.rest().await;
    assert_eq!(world.armed("a"), Some(at(50)));
    world.flush().await;
    world.get_with("a", int(0)).await;
    world.rest().await;
    assert_eq!(world.armed("a"), None);
    world.flush().await;
    assert_eq!(world.stored("a").map(|record| record.dues().next()), Some(None));
}

#[actix::test]
async fn what_ends_sooner_is_what_is_armed() {
    let world = World::new().await;
    world.put("a", "v", TICKER).await;
    world.ask("a", expire(Lifetime::For(5 * SECOND))).await.expect("there");
    assert_eq!(world.armed("a"), Some(at(5)));
    world.get_with("a", int(3)).await;
    world.rest().await;
    assert_eq!(world.armed("a"), Some(at(3)));
    world.pass(3).await;
    assert_eq!(world.tick("a").await, Some(at(5)));
    world.pass(2).await;
    assert_eq!(world.tick("a").await, None);
    assert_eq!(world.get("a").await, Value::Nil);
}

#[actix::test]
async fn an_object_that_deletes_itself_in_its_timer_is_gone() {
    let world = World::new().await;
    world.put("a", "v", "fn onPut() { comet.setTimer(1); } fn onTimer() { comet.deleteSelf(); }").await;
    world.pass(1).await;
    assert_eq!(world.tick("a").await, None);
    assert_eq!(world.get("a").await, Value::Nil);
    world.flush().await;
    assert!(world.stored("a").is_none());
}

#[actix::test]
async fn without_durability_the_timer_knows_what_is_due_though_the_disk_does_not() {
    let world = World::without_durability().await;
    let until = |seconds| set_for("v", Lifetime::At(at(seconds)));
    stored(world.ask("plain", until(10)).await);
    stored(world.ask("object", put("v", TICKER)).await);
    world.ask("object", expire(Lifetime::At(at(5)))).await.expect("there");
    world.flush().await;
    assert_eq!((world.armed("plain"), world.armed("object")), (Some(at(10)), Some(at(5))));
    for name in ["plain", "object"] {
        assert!(applied(world.ask(name, expire(Lifetime::Endless)).await));
    }
    world.rest().await;
    assert_eq!((world.armed("plain"), world.armed("object")), (None, Some(at(10))));
    world.ask("plain", expire(Lifetime::At(at(10)))).await.expect("there");
    world.ask("object", expire(Lifetime::At(at(5)))).await.expect("there");
    world.rest().await;
    assert_eq!((world.armed("plain"), world.armed("object")), (Some(at(10)), Some(at(5))));
    assert_eq!(world.get("plain").await, text("v"));
}

#[actix::test]
async fn a_timer_actor_that_was_away_is_told_later() {
    let world = World::new().await;
    world.kernel.registry.order("surroundings/timer", comet_kernel::registry::Action::Restart).await.expect("there");
    world.put("a", "v", TICKER).await;
    world.pass(2).await;
    assert_eq!(world.armed("a"), Some(at(10)));
}
