//! Stopping: in reverse order, everything that was taken in is finished, and nobody holds the others up.

use std::sync::mpsc::sync_channel;
use std::time::Duration;

use comet_kernel::exit::Exit;
use comet_kernel::handle::Reason;
use comet_kernel::registry::Status;
use comet_kernel::supervisor::Strategy;
use comet_kernel::{Clock, Thread};

use crate::worker::{Do, Role, Stage, in_time, patient, until};

#[actix::test]
async fn children_stop_in_reverse_order_subtrees_included() {
    let stage = Stage::on_machine_time();
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|id| stage.role(id, &Thread::new(id)).spec);
    let middle = patient("middle", Strategy::RestForOne).child(b).child(c);
    let spec = patient("root", Strategy::RestForOne).child(a).child(middle).child(d);
    let tree = spec.start(&stage.kernel).await.expect("it starts");
    stage.expect_journal(&["a starts", "b starts", "c starts", "d starts"]).await;
    stage.forget_journal();
    assert_eq!(tree.stop().await, Exit::Stopped);
    assert_eq!(stage.journal(), ["d stops", "c stops", "b stops", "a stops"]);
    assert!(stage.kernel.registry.list().iter().all(|listing| listing.status == Status::Ended));
}

#[actix::test]
async fn everything_taken_in_before_a_stop_is_handled_and_answered() {
    let stage = Stage::on_machine_time();
    let Role { spec, played } = stage.role("a", &Thread::new("a"));
    let tree = patient("root", Strategy::OneForOne).child(spec).start(&stage.kernel).await.expect("it starts");
    let (release, until_then) = sync_channel(1);
    played.handle.tell(Do::Block(until_then)).expect("there is room");
    let asked: Vec<_> = (0..1_000).map(|number| played.handle.ask(Do::Note(number)).expect("there is room")).collect();
    let stop = actix::spawn(tree.stop());
    until("it is asked to stop", || stage.listing("root/a").status == Status::Stopping).await;
    drop(release);
    for (number, pending) in asked.into_iter().enumerate() {
        assert_eq!(pending.await, Ok(number + 2), "each is answered");
    }
    assert_eq!(stop.await.expect("it stops"), Exit::Stopped);
    let journal = stage.journal();
    assert_eq!(journal.len(), 1_002);
    assert_eq!(journal[1_001], "a stops", "the stop comes after everything that came before");
    assert!(journal[1..=1_000].iter().enumerate().all(|(number, line)| *line == format!("a {number}")));
}

#[actix::test]
async fn what_comes_after_a_stop_is_refused_and_not_swallowed() {
    let clock = Clock::manual(comet_kernel::UnixMillis(0));
    let stage = Stage::new(clock.clone());
    let Role { spec, played } = stage.role("a", &Thread::new("a"));
    played.habits().finishes_in = Some(Duration::from_secs(1));
    let tree = patient("root", Strategy::OneForOne).child(spec).start(&stage.kernel).await.expect("it starts");
    let stop = actix::spawn(tree.stop());
    stage.expect_journal(&["a starts", "a stops"]).await;
    let refused = played.handle.ask(Do::Note(7)).expect_err("it stops");
    assert_eq!(refused.reason, Reason::Vacant);
    assert!(matches!(refused.message, Do::Note(7)), "the message comes back");
    assert!(!stop.is_finished());
    clock.advance(Duration::from_secs(1));
    assert_eq!(in_time("it stops", stop).await.expect("no panic"), Exit::Stopped);
    assert_eq!(stage.journal().last().map(String::as_str), Some("a has finished"));
}

#[actix::test]
async fn a_child_that_is_never_done_is_killed_and_the_others_still_stop() {
    let stage = Stage::on_machine_time();
    let thread = Thread::new("shared");
    let [a, b, c] = ["a", "b", "c"].map(|id| stage.role(id, &thread));
    b.played.habits().never_done = true;
    let b_spec = b.spec.shutdown(Duration::from_millis(50));
    let spec = patient("root", Strategy::OneForOne).child(a.spec).child(b_spec).child(c.spec);
    let tree = spec.start(&stage.kernel).await.expect("it starts");
    a.played.count().await;
    assert_eq!(tree.stop().await, Exit::Stopped);
    assert_eq!(stage.journal()[3..], ["c stops", "b stops", "a stops"], "a kept the thread that it shared with b");
    assert_eq!(stage.listing("root/b").last_exit.as_deref(), Some("did not stop in time"));
    assert_eq!(stage.listing("root/a").last_exit.as_deref(), Some("stopped"));
}

#[actix::test]
async fn a_child_that_is_stuck_while_it_should_stop_is_left_behind() {
    let stage = Stage::on_machine_time();
    let [a, b] = ["a", "b"].map(|id| stage.role(id, &Thread::new(id)));
    let spec = patient("root", Strategy::OneForOne).child(a.spec).child(b.spec.shutdown(Duration::from_millis(50)));
    let tree = spec.start(&stage.kernel).await.expect("it starts");
    let (release, until_then) = sync_channel(1);
    b.played.handle.tell(Do::Block(until_then)).expect("there is room");
    assert_eq!(tree.stop().await, Exit::Stopped);
    assert_eq!(stage.listing("root/b").last_exit.as_deref(), Some("did not stop in time"));
    assert_eq!(stage.journal().last().map(String::as_str), Some("a stops"));
    drop(release);
}

#[actix::test]
async fn a_child_may_take_the_time_that_its_specification_allows() {
    let clock = Clock::manual(comet_kernel::UnixMillis(0));
    let stage = Stage::new(clock.clone());
    let [a, b] = ["a", "b"].map(|id| stage.role(id, &Thread::new(id)));
    b.played.habits().finishes_in = Some(Duration::from_secs(29));
    let spec = patient("root", Strategy::OneForOne).child(a.spec).child(b.spec.shutdown(Duration::from_secs(30)));
    let tree = spec.start(&stage.kernel).await.expect("it starts");
    stage.expect_journal(&["a starts", "b starts"]).await;
    let stop = actix::spawn(tree.stop());
    stage.expect_journal(&["a starts", "b starts", "b stops"]).await;
    clock.advance(Duration::from_secs(29));
    assert_eq!(in_time("it stops", stop).await.expect("no panic"), Exit::Stopped);
    assert_eq!(stage.journal()[3..], ["b has finished", "a stops"]);
}
