//! Failures that come too fast: a supervisor gives up, and its own decides.

use std::time::Duration;

use comet_kernel::events::Kind;
use comet_kernel::exit::Exit;
use comet_kernel::supervisor::{Spec, Strategy};
use comet_kernel::{Clock, Thread, UnixMillis};

use crate::worker::{Do, Role, Stage, patient, until};

fn fragile(id: &'static str, failures: usize) -> Spec {
    patient(id, Strategy::OneForOne).intensity(failures, Duration::from_secs(60))
}

#[actix::test]
async fn a_storm_of_failures_restarts_the_subtree_and_nothing_else() {
    let stage = Stage::on_machine_time();
    let [outside, storm, beside] = ["outside", "storm", "beside"].map(|id| stage.role(id, &Thread::new(id)));
    let subtree = fragile("subtree", 2).child(storm.spec).child(beside.spec);
    let spec = patient("root", Strategy::OneForOne).child(outside.spec).child(subtree);
    let tree = spec.start(&stage.kernel).await.expect("it starts");
    let (outside, storm, beside) = (outside.played, storm.played, beside.played);
    assert_eq!((outside.count().await, beside.count().await), (1, 1));
    for _ in 0..2 {
        storm.count().await;
        assert!(storm.handle.call(Do::Panic("storm")).await.is_err());
    }
    storm.count().await;
    assert_eq!(beside.count().await, 2, "two failures are taken");
    assert!(storm.handle.call(Do::Panic("storm")).await.is_err());
    until("the subtree is restarted", || stage.listing("root/subtree").restarts == 1).await;
    storm.count().await;
    assert_eq!((outside.count().await, beside.count().await), (2, 1), "who is beside it is fresh as well");
    let reason = stage.listing("root/subtree").last_exit.expect("it ended");
    assert!(reason.contains("root/subtree/storm") && reason.contains("storm"), "{reason}");
    tree.stop().await;
}

#[actix::test]
async fn at_the_root_the_tree_ends_with_the_reason_and_everyone_is_stopped() {
    let stage = Stage::on_machine_time();
    let Role { spec, played } = stage.role("storm", &Thread::new("storm"));
    let beside = stage.role("beside", &Thread::new("beside"));
    let mut events = stage.kernel.events.follow();
    let root = fragile("root", 0).child(beside.spec).child(spec);
    let tree = root.start(&stage.kernel).await.expect("it starts");
    assert!(played.handle.call(Do::Panic("the last straw")).await.is_err());
    let Exit::Escalated(reason) = tree.ended().await else { panic!("the root gives up") };
    assert!(reason.contains("root/storm") && reason.contains("the last straw"), "{reason}");
    assert_eq!(stage.journal().last().map(String::as_str), Some("beside stops"));
    let escalation = loop {
        let event = events.recv().await.expect("there are events");
        if event.kind == Kind::Escalated {
            break event;
        }
    };
    assert_eq!((&*escalation.subject, &escalation.text), ("root", &reason));
}

#[actix::test]
async fn failures_that_lie_far_apart_never_escalate() {
    let clock = Clock::manual(UnixMillis(0));
    let stage = Stage::new(clock.clone());
    let Role { spec, played } = stage.role("a", &Thread::new("a"));
    let never = Duration::from_secs(1_000_000);
    let tree = fragile("root", 1).probe(never, never).child(spec).start(&stage.kernel).await.expect("it starts");
    for restarts in 1..=10 {
        played.count().await;
        assert!(played.handle.call(Do::Panic("oh")).await.is_err());
        until("it is noticed", || stage.listing("root/a").restarts == restarts).await;
        clock.advance(Duration::from_secs(61));
    }
    tree.stop().await;
}
