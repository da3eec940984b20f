//! The timer between a shard and a storage that the tests hold in their hands, on a clock that they move.

mod world;

use std::time::Duration;

use comet_kernel::UnixMillis;
use comet_kernel::contract::timer::{Arm, DisarmAll};
use comet_timer::timer::IN_FLIGHT;
use world::{START, World, key};

const SECOND: Duration = Duration::from_secs(1);

#[actix::test]
async fn an_object_is_woken_when_it_is_due_and_not_before() {
    let world = World::new().start().await;
    world.arm("a", Some(5_000)).await;
    world.clock.advance(4 * SECOND);
    world.arm("b", Some(4_000)).await;
    world.ticks(["b"]).await;
    world.clock.advance(SECOND);
    world.ticks(["b", "a"]).await;
    assert_eq!(world.standing().await.armed, 0);
}

#[actix::test]
async fn an_object_is_woken_again_at_the_moment_it_answered() {
    let world = World::new().answer(|_, now| Some(now.after(2 * SECOND))).start().await;
    world.arm("a", Some(1_000)).await;
    for round in 1..5 {
        world.clock.advance(if round == 1 { SECOND } else { 2 * SECOND });
        world.until(|| world.seen().len() == round).await;
        world.standing_until(|timers| timers.delivered == round as u64).await;
    }
}

#[actix::test]
async fn a_tick_whose_answer_is_lost_is_sent_again_until_it_is_answered() {
    let world = World::new().lose(3).start().await;
    world.arm("a", Some(0)).await;
    for lost in 1..=3_u64 {
        world.standing_until(|timers| timers.retried == lost).await;
        world.clock.advance(SECOND);
    }
    let timers = world.standing_until(|timers| timers.delivered == 1).await;
    assert_eq!((timers.retried, timers.armed, world.seen().len()), (3, 0, 4));
}

#[actix::test]
async fn a_tick_that_nobody_answers_in_time_is_sent_again() {
    let world = World::new().hold().start().await;
    world.arm("a", Some(0)).await;
    world.ticks(["a"]).await;
    world.clock.advance(10 * SECOND);
    world.standing_until(|timers| timers.retried == 1).await;
    world.clock.advance(SECOND);
    world.ticks(["a", "a"]).await;
}

#[actix::test]
async fn waits_grow_while_nobody_takes_a_tick_and_the_entry_stays() {
    let world = World::new().lose(usize::MAX).start().await;
    world.arm("a", Some(0)).await;
    for tries in 1..=6_u32 {
        world.standing_until(|timers| timers.retried == u64::from(tries)).await;
        // 100, 200, 400, 800, 1600, 3200 ms, and up to half as much again by chance.
        let wait = Duration::from_millis(50) * 2_u32.pow(tries);
        world.clock.advance(wait * 99 / 100);
        world.standing().await;
        assert_eq!(world.seen().len(), tries as usize, "it would wait {wait:?} at least");
        world.clock.advance(wait * 51 / 100);
        world.until(|| world.seen().len() > tries as usize).await;
    }
    assert_eq!(world.standing().await.armed, 1);
}

#[actix::test]
async fn what_is_armed_last_counts() {
    let world = World::new().start().await;
    world.arm("a", Some(1_000)).await;
    world.arm("a", Some(3_000)).await;
    world.arm("b", Some(1_000)).await;
    world.arm("b", None).await;
    world.arm("end", Some(2_000)).await;
    world.clock.advance(2 * SECOND);
    world.ticks(["end"]).await;
    world.clock.advance(SECOND);
    world.ticks(["end", "a"]).await;
}

#[actix::test]
async fn at_the_start_every_page_of_the_index_is_loaded() {
    let stored = (0..2_500).map(|number| (UnixMillis(START.0 + number), key(&number.to_string())));
    let world = World::new().stored(stored.collect()).start().await;
    let timers = world.standing_until(|timers| timers.loaded).await;
    assert_eq!(timers.armed + timers.delivered, 2_500);
    world.clock.advance(3 * SECOND);
    world.until(|| world.seen().len() == 2_500).await;
}

#[actix::test]
async fn an_index_that_cannot_be_read_is_tried_again_and_holds_nobody_up() {
    let world = World::new().stored(vec![(START, key("stored"))]).broken_storage().start().await;
    world.arm("told", Some(0)).await;
    world.ticks(["told"]).await;
    assert!(!world.standing().await.loaded);
    world.repair_storage();
    world.clock.advance(60 * SECOND);
    world.standing_until(|timers| timers.loaded).await;
    world.ticks(["told", "stored"]).await;
}

#[actix::test]
async fn what_is_told_while_the_index_is_read_wins_over_the_index() {
    let stored = vec![(START, key("moved")), (START, key("removed")), (START, key("still"))];
    let world = World::new().stored(stored).slow_storage().start().await;
    world.until(|| world.pages_asked() == 1).await;
    world.arm("moved", Some(5_000)).await;
    world.arm("removed", None).await;
    world.hand_out_pages();
    world.standing_until(|timers| timers.loaded).await;
    world.ticks(["still"]).await;
    world.clock.advance(5 * SECOND);
    world.ticks(["still", "moved"]).await;
}

#[actix::test]
async fn when_the_store_is_cleared_nothing_stays_armed_not_even_what_is_being_read() {
    let world = World::new().stored(vec![(START, key("stored"))]).slow_storage().start().await;
    world.until(|| world.pages_asked() == 1).await;
    world.arm("told", Some(1_000)).await;
    world.store(Vec::new());
    world.timer.disarm_all.call(DisarmAll).await.expect("it lives");
    world.hand_out_pages();
    let timers = world.standing_until(|timers| timers.loaded).await;
    assert_eq!((timers.armed, timers.next_ms), (0, None));
    world.clock.advance(5 * SECOND);
    world.arm("end", Some(0)).await;
    world.ticks(["end"]).await;
}

#[actix::test]
async fn ten_thousand_timers_at_once_are_all_delivered_with_a_bounded_number_under_way() {
    let world = World::new().hold().start().await;
    for number in 0..10_000 {
        world.tell(Arm { key: key(&number.to_string()), due: Some(START.after(SECOND)) });
    }
    world.standing_until(|timers| timers.armed == 10_000).await;
    world.clock.advance(SECOND);
    let mut delivered = 0;
    while delivered < 10_000 {
        world.until(|| world.held() >= (10_000 - delivered).min(IN_FLIGHT)).await;
        assert!(world.held() <= IN_FLIGHT, "{} under way", world.held());
        delivered += world.release();
        world.standing_until(|timers| timers.delivered == delivered as u64).await;
    }
    let timers = world.standing().await;
    assert_eq!((timers.delivered, timers.retried, timers.armed), (10_000, 0, 0));
}

#[actix::test]
async fn a_wall_clock_that_jumps_forward_brings_on_what_is_due_without_a_storm() {
    let world = World::new().hold().start().await;
    for number in 0..2_000_u64 {
        world.tell(Arm { key: key(&number.to_string()), due: Some(START.after(Duration::from_secs(number))) });
    }
    world.standing_until(|timers| timers.armed == 2_000).await;
    world.clock.jump(7_200_000);
    world.clock.advance(SECOND);
    world.until(|| world.held() == IN_FLIGHT).await;
    let mut delivered = 0;
    while delivered < 2_000 {
        world.until(|| world.held() > 0).await;
        assert!(world.held() <= IN_FLIGHT);
        delivered += world.release();
    }
    world.standing_until(|timers| timers.delivered == 2_000).await;
    assert_eq!(world.seen().len(), 2_000, "each of them once");
}

#[actix::test]
async fn a_wall_clock_that_jumps_back_loses_nothing() {
    let world = World::new().start().await;
    world.arm("a", Some(10_000)).await;
    world.clock.jump(-60_000);
    world.clock.advance(10 * SECOND);
    let timers = world.standing().await;
    assert_eq!((timers.armed, timers.next_ms), (1, Some(60_000)));
    world.clock.jump(60_000);
    world.clock.advance(SECOND);
    world.ticks(["a"]).await;
}

#[actix::test]
async fn while_the_shard_is_being_restarted_ticks_wait_for_it() {
    let world = World::new().without_shard().start().await;
    world.arm("a", Some(0)).await;
    world.standing_until(|timers| timers.retried >= 1).await;
    let shard = world.add_shard().await;
    world.clock.advance(SECOND);
    world.ticks(["a"]).await;
    drop(shard);
}

#[actix::test]
async fn what_was_told_while_nobody_listened_is_found_in_the_index_later() {
    let world = World::new().start().await;
    world.standing_until(|timers| timers.loaded).await;
    world.store(vec![(START, key("unheard"))]);
    world.clock.advance(600 * SECOND);
    world.ticks(["unheard"]).await;
}
