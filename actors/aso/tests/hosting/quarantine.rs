//! Objects that fail again and again, and objects that use too much.

use comet_kernel::contract::aso::{Budget, Op, Refusal};
use comet_kernel::contract::limiter::Leased;
use comet_kernel::{UnixMillis, Value};

use super::scripted::COUNTER;
use super::world::{START, World, answer, get, int, put, put_named, removed, set, stored, text, value};

const SPINNER: &str = r#"
    let n = 0;
    fn onGet(caller, payload) {
        if payload == "spin" { loop {} }
        this.n += 1;
        this.n
    }
    fn onTimer() { this.n += 100; }
    fn onPut() { comet.setTimer(10); }
"#;

fn spin() -> Op {
    Op::Get { payload: text("spin") }
}

async fn fail(world: &World, times: usize) {
    for _ in 0..times {
        let refusal = world.refused("a", spin()).await;
        assert!(matches!(refusal, Refusal::Budget(Budget::Operations | Budget::Time)), "{refusal:?}");
    }
}

fn ordered(on: bool) -> Op {
    Op::Quarantine(on)
}

#[actix::test]
async fn five_failures_in_a_minute_turn_handlers_off_until_the_operator_turns_them_on() {
    let world = World::new().await;
    world.put("a", "v", SPINNER).await;
    fail(&world, 4).await;
    assert_eq!(world.get("a").await, int(1));
    fail(&world, 1).await;
    assert!(world.info("a").await.quarantined);
    assert_eq!(world.get("a").await, text("v"), "the value is still served");
    assert_eq!(world.refused("a", set(1)).await, Refusal::Quarantined);
    assert_eq!(world.refused("a", Op::Remove).await, Refusal::Quarantined);
    world.flush().await;
    world.passivate("a").await;
    assert_eq!(world.get("a").await, text("v"), "a quarantine outlives the actor");
    assert_eq!(value(world.ask("a", ordered(false)).await.expect("answered")), Value::Bool(true));
    assert_eq!(value(world.ask("a", ordered(false)).await.expect("answered")), Value::Bool(false));
    assert_eq!(world.get("a").await, int(2));
    removed(world.ask("a", Op::Remove).await);
}

#[actix::test]
async fn failures_that_lie_far_apart_do_not_turn_handlers_off() {
    let world = World::new().await;
    world.put("a", "v", SPINNER).await;
    for _ in 0..3 {
        fail(&world, 2).await;
        world.pass(31).await;
    }
    assert!(!world.info("a").await.quarantined);
}

#[actix::test]
async fn what_a_script_throws_is_no_failure() {
    let world = World::new().await;
    world.put("a", "v", r#"fn onGet() { throw "no" }"#).await;
    for _ in 0..10 {
        assert_eq!(world.refused("a", get()).await, Refusal::Thrown("no".to_owned()));
    }
    assert!(!world.info("a").await.quarantined);
}

#[actix::test]
async fn whoever_sends_more_than_a_script_may_see_is_refused_and_the_object_suffers_nothing() {
    let world = World::new().await;
    world.load("watched", "fn onGet(caller, payload) { 1 }").await;
    world.load("watched", "fn onGet(caller, payload) { 2 } fn onUpdate(caller, incoming) { false }").await;
    world.ask("a", put_named("v", "watched")).await.expect("stored");
    let wide = Value::Array(vec![Value::Nil; 1_001]);
    for _ in 0..20 {
        for op in [Op::Get { payload: wide.clone() }, set(wide.clone())] {
            let refusal = world.refused("a", op).await;
            assert!(matches!(refusal, Refusal::TooManyItems { limit: 1_000, .. }), "{refusal:?}");
        }
    }
    let info = world.info("a").await;
    assert_eq!((info.calls, info.failures, info.quarantined), (0, 0, false));
    assert_eq!(world.get("a").await, int(2), "the newer version is not rolled back");
}

#[actix::test]
async fn an_object_in_quarantine_does_not_tick_and_ticks_again_when_it_is_released() {
    let world = World::new().await;
    world.put("a", "v", SPINNER).await;
    let due = UnixMillis(START.0 + 10_000);
    assert_eq!(world.armed("a"), Some(due));
    world.ask("a", ordered(true)).await.expect("answered");
    world.rest().await;
    assert_eq!(world.armed("a"), None);
    world.pass(20).await;
    assert_eq!(world.tick("a").await, None);
    world.passivate("a").await;
    assert_eq!(world.tick("a").await, None);
    world.ask("a", ordered(false)).await.expect("answered");
    world.rest().await;
    assert_eq!(world.armed("a"), Some(due), "it is overdue");
    assert!(world.tick("a").await.is_some_and(|next| next > due));
    assert_eq!(world.get("a").await, int(101));
}

#[actix::test]
async fn an_object_that_was_quarantined_and_released_before_a_flush_is_armed_again() {
    let world = World::new().await;
    world.put("a", "v", SPINNER).await;
    fail(&world, 5).await;
    assert_eq!(world.tick("a").await, None, "the timer forgets it now");
    world.stage.lock().armed.clear();
    world.ask("a", ordered(false)).await.expect("answered");
    world.rest().await;
    assert_eq!(world.armed("a"), Some(UnixMillis(START.0 + 10_000)));
}

#[actix::test]
async fn an_object_that_used_too_much_is_limited_and_recovers() {
    let world = World::with(|settings| settings.aso.quarantine_failures = 1_000).await;
    world.stage.lock().lease = Some(Leased::Refused { retry_after_ms: 500 });
    world.put("a", "v", SPINNER).await;
    world.put("b", "v", COUNTER).await;
    let mut limited = None;
    for _ in 0..200 {
        match world.ask("a", spin()).await {
            Err(Refusal::Limited { retry_after_ms }) => limited = Some(retry_after_ms),
            other => assert!(matches!(other, Err(Refusal::Budget(_))), "{other:?}"),
        }
        world.rest().await;
    }
    assert_eq!(limited, Some(500));
    assert_eq!(world.get("b").await, int(1), "others go on");
    world.stage.lock().lease = None;
    assert!(matches!(world.refused("a", get()).await, Refusal::Limited { .. }));
    world.pass(1).await;
    let asked_for_more = world.ask("a", get()).await;
    assert!(matches!(asked_for_more, Err(Refusal::Limited { retry_after_ms: 1 })), "{asked_for_more:?}");
    world.rest().await;
    assert_eq!(world.get("a").await, int(1));
}

#[actix::test]
async fn a_tick_that_may_not_run_for_want_of_processor_time_is_not_lost() {
    let world = World::with(|settings| settings.aso.quarantine_failures = 1_000).await;
    world.stage.lock().lease = Some(Leased::Refused { retry_after_ms: 500 });
    world.put("a", "v", SPINNER).await;
    while !matches!(world.ask("a", spin()).await, Err(Refusal::Limited { .. })) {
        world.rest().await;
    }
    world.pass(10).await;
    assert!(matches!(world.refused("a", Op::Tick).await, Refusal::Limited { .. }));
    world.stage.lock().lease = None;
    world.pass(1).await;
    assert!(matches!(world.refused("a", Op::Tick).await, Refusal::Limited { retry_after_ms: 1 }));
    world.rest().await;
    assert!(world.tick("a").await.is_some());
    world.flush().await;
    assert_eq!(world.stored_field("a", "n"), int(100));
}

#[actix::test]
async fn an_object_that_is_released_runs_the_version_that_was_loaded_meanwhile() {
    let world = World::new().await;
    world.load("mine", "fn onGet() { 1 }").await;
    stored(world.ask("a", put_named("v", "mine")).await);
    world.ask("a", Op::Quarantine(true)).await.expect("it is there");
    world.load("mine", "fn onGet() { 2 }").await;
    assert_eq!(world.get("a").await, text("v"), "handlers are off");
    world.ask("a", Op::Quarantine(false)).await.expect("it is there");
    assert_eq!(world.get("a").await, int(2));
}

#[actix::test]
async fn whoever_has_objects_made_that_take_long_is_limited_and_nobody_else() {
    const SLOW: &str = "fn onPut() { loop {} }";
    let world = World::new().await;
    world.put("there", "v", COUNTER).await;
    let mut spent = 0;
    let wait = loop {
        // Every key is another: no object has an account for this.
        match world.ask_as("eve", &format!("k{spent}"), put("v", SLOW)).await {
            Err(Refusal::Budget(Budget::Operations | Budget::Time)) if spent < 2_000 => spent += 1,
            Err(Refusal::Limited { retry_after_ms }) => break retry_after_ms,
            other => panic!("{other:?}"),
        }
    };
    assert!(spent > 0 && (1..10_000).contains(&wait), "{spent} puts, then {wait} ms");
    let limited = world.ask_as("eve", "there", put("v", SLOW)).await;
    assert!(matches!(limited, Err(Refusal::Limited { .. })), "nor in the place of an object: {limited:?}");
    assert_eq!(value(world.ask_as("eve", "there", get()).await.expect("what is there is there")), int(1));
    let others = ["ann", "bob", "cy"].map(|name| world.send_as(name, name, put("v", COUNTER)));
    let mut stored = 0;
    for other in others {
        stored += usize::from(answer(other).await.is_ok());
    }
    assert!(stored >= 2, "one of them may share her account");
    world.clock.advance(std::time::Duration::from_millis(wait));
    let again = world.ask_as("eve", "k", put("v", COUNTER)).await;
    assert!(again.is_ok(), "{again:?}");
}

/// An interval of the timer that overflows with this setting stands for any fault of ours: the range of the setting
/// excludes it, and builds without checks for overflow do not panic.
#[cfg(debug_assertions)]
mod faults_of_ours {
    use super::*;

    const BREAKER: &str = r#"
        let n = 0;
        fn onGet(caller, payload) {
            if payload == "break" { comet.setTimer(1000000); }
            this.n += 1;
            this.n
        }
    "#;

    async fn broken() -> World {
        let world = World::with(|settings| settings.timer.jitter_percent = u64::MAX).await;
        world.put("a", "v", BREAKER).await;
        world.put("b", "v", COUNTER).await;
        world
    }

    async fn panics(world: &World) {
        let pending = world.send("a", Op::Get { payload: text("break") });
        assert!(pending.await.is_err(), "its actor died");
        world.rest().await;
    }

    #[actix::test]
    async fn an_object_whose_actor_dies_starts_from_the_disk_and_no_other_notices() {
        let world = broken().await;
        assert_eq!((world.get("a").await, world.get("b").await), (int(1), int(1)));
        world.flush().await;
        panics(&world).await;
        assert_eq!((world.get("a").await, world.get("b").await), (int(2), int(2)));
        world.ask("a", put("new", COUNTER)).await.expect("it can be replaced");
    }

    #[actix::test]
    async fn an_object_whose_actor_dies_again_and_again_is_quarantined() {
        let world = broken().await;
        for _ in 0..5 {
            assert!(!world.info("a").await.quarantined);
            panics(&world).await;
        }
        assert!(world.info("a").await.quarantined);
        assert_eq!((world.get("a").await, world.get("b").await), (text("v"), int(1)));
    }
}
