//! Plain values: conditions, owners, lifetimes, edits, and what is seen while a write is under way.

use comet_kernel::contract::aso::{Condition, Edit, Lifetime, Op, Refusal, Reply};
use comet_kernel::{UnixMillis, Value};

use super::world::{
    SECOND, START, World, add, answer, applied, expire, get, int, kept, removed, set, set_for, set_if, set_owned,
    stored, text, value,
};

#[actix::test]
async fn what_was_put_is_got_until_it_is_removed() {
    let world = World::new().await;
    assert_eq!(world.get("a").await, Value::Nil);
    assert_eq!(stored(world.ask("a", set("one")).await), None);
    assert_eq!(stored(world.ask("a", set("two")).await), Some(text("one")));
    assert_eq!(world.get("a").await, text("two"));
    assert_eq!(removed(world.ask("a", Op::Remove).await), Some(text("two")));
    assert_eq!(removed(world.ask("a", Op::Remove).await), None);
    assert_eq!(world.get("a").await, Value::Nil);
    assert!(world.stored("a").is_none());
}

#[actix::test]
async fn a_condition_that_does_not_hold_keeps_what_is_there() {
    let world = World::new().await;
    assert_eq!(kept(world.ask("a", set_if("one", Condition::IfPresent)).await), None);
    assert_eq!(stored(world.ask("a", set_if("one", Condition::IfAbsent)).await), None);
    assert_eq!(kept(world.ask("a", set_if("two", Condition::IfAbsent)).await), Some(text("one")));
    assert_eq!(stored(world.ask("a", set_if("two", Condition::IfPresent)).await), Some(text("one")));
}

#[actix::test]
async fn only_its_owner_changes_what_was_put_as_owned() {
    let world = World::new().await;
    stored(world.ask_as("alice", "a", set_owned(1)).await);
    let owned = Err(Refusal::Owned("alice".to_owned()));
    for op in [set("mine"), add(1), Op::Remove, expire(Lifetime::For(SECOND))] {
        let refused = world.ask_as("bob", "a", op).await.map(|_| ());
        assert_eq!(refused, owned);
    }
    assert_eq!(value(world.ask_as("alice", "a", add(1)).await.expect("hers")), int(2));
    assert_eq!(world.ask_as("bob", "a", add(1)).await.map(|_| ()), owned, "an edit keeps the owner");
    stored(world.ask_as("alice", "a", set("free")).await);
    stored(world.ask_as("bob", "a", set("now his")).await);
}

#[actix::test]
async fn a_value_ends_when_its_time_has_come() {
    let world = World::new().await;
    stored(world.ask("a", set_for("short", Lifetime::For(10 * SECOND))).await);
    assert_eq!(world.armed("a"), Some(UnixMillis(START.0 + 10_000)));
    assert_eq!(world.info("a").await.ttl_ms, Some(10_000));
    world.pass(9).await;
    assert_eq!(world.tick("a").await, Some(UnixMillis(START.0 + 10_000)), "an early tick changes nothing");
    assert_eq!(world.get("a").await, text("short"));
    world.pass(1).await;
    assert_eq!(world.get("a").await, Value::Nil);
    assert!(world.stored("a").is_some(), "it is removed when its tick comes");
    assert_eq!(world.tick("a").await, None);
    assert!(world.stored("a").is_none());
}

#[actix::test]
async fn a_lifetime_can_be_changed_and_kept_and_taken_away() {
    let world = World::new().await;
    assert!(!applied(world.ask("a", expire(Lifetime::For(SECOND))).await));
    world.set("a", "one").await;
    assert!(applied(world.ask("a", expire(Lifetime::Endless)).await));
    assert!(applied(world.ask("a", expire(Lifetime::For(5 * SECOND))).await));
    stored(world.ask("a", set_for("two", Lifetime::Keep)).await);
    assert_eq!(world.info("a").await.ttl_ms, Some(5_000));
    assert_eq!(value(world.ask("a", add(1)).await.unwrap_or(Reply::Absent)), Value::Nil, "no number");
    assert!(applied(world.ask("a", expire(Lifetime::Endless)).await));
    assert_eq!((world.info("a").await.ttl_ms, world.armed("a")), (None, None));
    assert!(applied(world.ask("a", expire(Lifetime::At(START))).await));
    assert_eq!(world.get("a").await, Value::Nil, "an end in the past removes it");
}

#[actix::test]
async fn an_edit_computes_from_what_is_there() {
    let world = World::new().await;
    assert_eq!(value(world.ask("a", add(5)).await.expect("a number")), int(5));
    assert_eq!(value(world.ask("a", add(-7)).await.expect("a number")), int(-2));
    world.set("b", "10").await;
    assert_eq!(value(world.ask("b", add(1)).await.expect("text that is a number")), int(11));
    assert_eq!(value(world.ask("b", Op::Edit(Edit::AddFloat(0.5))).await.expect("a number")), Value::Float(11.5));
    world.set("c", i64::MAX).await;
    assert!(matches!(world.refused("c", add(1)).await, Refusal::NotANumber(_)));
    assert_eq!(world.get("c").await, int(i64::MAX));
}

#[actix::test]
async fn a_read_waits_for_the_write_it_shows() {
    let world = World::new().await;
    world.set("a", "old").await;
    world.stage.lock().hold = true;
    let written = world.send("a", set("new"));
    let mut read = world.send("a", get());
    world.rest().await;
    assert_eq!(world.stage.held(), 1);
    assert!(read.try_take().expect("it lives").is_none(), "the new value is not durable, the old one is gone");
    world.stage.let_go();
    stored(answer(written).await);
    assert_eq!(value(answer(read).await.expect("there")), text("new"));
}

#[actix::test]
async fn who_reads_after_a_write_that_failed_sees_the_old_value() {
    let world = World::new().await;
    world.set("a", "old").await;
    world.stage.lock().hold = true;
    let written = world.send("a", set("new"));
    let read = world.send("a", get());
    world.rest().await;
    world.stage.fail_one();
    assert!(matches!(answer(written).await, Err(Refusal::Unavailable(_))));
    assert!(matches!(answer(read).await, Err(Refusal::Unavailable(_))), "it had seen the new value");
    world.stage.let_go();
    assert_eq!(world.get("a").await, text("old"));
}

#[actix::test]
async fn after_a_failure_what_was_sent_behind_it_is_awaited_before_the_disk_is_read() {
    let world = World::new().await;
    world.set("a", "old").await;
    world.stage.lock().hold = true;
    let first = world.send("a", set("first"));
    let second = world.send("a", set("second"));
    world.rest().await;
    world.stage.fail_one();
    assert!(answer(first).await.is_err() && answer(second).await.is_err());
    let read = world.send("a", get());
    world.rest().await;
    world.stage.let_go();
    let seen = value(answer(read).await.expect("there"));
    assert_eq!(Some(seen), world.stored("a").map(|record| record.value.clone()));
    let next = world.ask("a", set("third")).await;
    assert_eq!(stored(next), Some(text("second")));
}

#[actix::test]
async fn a_failed_write_of_an_end_of_life_leaves_the_timer_armed() {
    let world = World::new().await;
    stored(world.ask("a", set_for("short", Lifetime::For(10 * SECOND))).await);
    world.stage.lock().refuse = true;
    assert!(world.ask("a", expire(Lifetime::Endless)).await.is_err());
    world.stage.lock().refuse = false;
    assert_eq!(world.info("a").await.ttl_ms, Some(10_000));
    world.rest().await;
    assert_eq!(world.armed("a"), Some(UnixMillis(START.0 + 10_000)));
}

#[actix::test]
async fn answers_of_pipelined_writes_come_in_order() {
    let world = World::new().await;
    world.stage.lock().hold = true;
    let mut answers: Vec<_> = (0..5).map(|_| world.send("a", add(1))).collect();
    world.rest().await;
    for done in 1..=5 {
        world.stage.release(1);
        world.rest().await;
        let taken = answers[done - 1].try_take().expect("it lives").expect("its write is durable");
        assert_eq!(value(taken.expect("a number")), int(done as i64));
        for later in &mut answers[done..] {
            assert!(later.try_take().expect("it lives").is_none());
        }
    }
}

#[actix::test]
async fn a_store_that_is_away_refuses_and_nothing_has_changed() {
    let mut world = World::new().await;
    world.set("a", "old").await;
    world.take_writer().await;
    for op in [set("new"), Op::Remove] {
        assert!(matches!(world.refused("a", op).await, Refusal::Unavailable(_)));
    }
    assert_eq!(world.get("a").await, text("old"));
    world.bring_writer().await;
    world.set("a", "new").await;
}

#[actix::test]
async fn a_value_that_was_not_used_for_long_leaves_memory_and_comes_back() {
    let world = World::new().await;
    world.set("a", "kept").await;
    let reads = world.stage.lock().reads;
    assert_eq!(world.get("a").await, text("kept"));
    assert_eq!(world.stage.lock().reads, reads, "it is in memory");
    world.passivate("a").await;
    assert_eq!(world.get("a").await, text("kept"));
    assert_eq!(world.stage.lock().reads, reads + 1);
}
