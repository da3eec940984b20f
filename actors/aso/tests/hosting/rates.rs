//! How often an object may be called.

use comet_kernel::contract::aso::{Op, Refusal};
use comet_kernel::contract::limiter::{Leased, Subject};

use super::scripted::COUNTER;
use super::world::{START, World, answer, get, int, key, value};

/// A node with these rates.
async fn limited(everyone: u64, caller: u64) -> World {
    World::with(|settings| {
        settings.aso.calls_per_second = everyone;
        settings.aso.caller_calls_per_second = caller;
    })
    .await
}

#[actix::test]
async fn without_rates_nobody_asks_the_limiter_about_calls() {
    let world = limited(0, 0).await;
    world.put("a", "v", COUNTER).await;
    world.get("a").await;
    assert!(world.stage.lock().called.is_empty());
}

#[actix::test]
async fn who_calls_an_object_too_often_is_told_when_to_come_back() {
    let world = limited(32, 0).await;
    world.put("a", "v", COUNTER).await;
    assert_eq!((world.get("a").await, world.get("a").await), (int(1), int(2)), "a lease of two tokens");
    world.stage.lock().call_lease = Some(Leased::Refused { retry_after_ms: 250 });
    assert_eq!(world.refused("a", get()).await, Refusal::Limited { retry_after_ms: 250 });
    assert_eq!(world.refused("a", Op::Remove).await, Refusal::Limited { retry_after_ms: 250 });
    assert_eq!(
        world.stage.lock().called,
        vec![Subject::Object(key("a")); 2],
        "who was refused is not asked for at once"
    );
    assert!(world.ask("a", Op::Info).await.is_ok(), "what runs no handler is free");
    world.tick("a").await;
    world.stage.lock().call_lease = None;
    world.clock.advance(std::time::Duration::from_millis(250));
    assert_eq!(world.get("a").await, int(3));
    assert!(world.clock.unix() > START);
}

#[actix::test]
async fn calls_that_come_together_are_refused_only_if_the_bucket_is_empty() {
    let world = limited(32, 0).await;
    world.put("a", "v", COUNTER).await;
    let together: Vec<_> = (0..20).map(|_| world.send("a", get())).collect();
    for (number, pending) in together.into_iter().enumerate() {
        assert_eq!(value(answer(pending).await.expect("there are tokens")), int(number as i64 + 1));
    }
    assert_eq!(world.stage.lock().called.len(), 10, "two calls for each lease");
}

#[actix::test]
async fn a_caller_who_comes_too_often_does_not_keep_others_away() {
    let world = limited(0, 16).await;
    world.put("a", "v", COUNTER).await;
    world.ask_as("eve", "a", get()).await.expect("the first is free");
    world.stage.lock().call_lease = Some(Leased::Refused { retry_after_ms: 60 });
    assert_eq!(world.ask_as("eve", "a", get()).await.map(|_| ()), Err(Refusal::Limited { retry_after_ms: 60 }));
    world.stage.lock().call_lease = None;
    assert_eq!(value(world.ask_as("ann", "a", get()).await.expect("she has a bucket of her own")), int(2));
    let callers = ["eve", "eve", "ann"].map(|name| Subject::CallerAtObject(name.into(), key("a")));
    assert_eq!(world.stage.lock().called, callers);
}
