//! One actor fails: a fresh one takes its place.

use std::sync::mpsc::sync_channel;
use std::time::Duration;

use comet_kernel::events::Kind;
use comet_kernel::registry::{Action, Status};
use comet_kernel::supervisor::{Restart, Strategy, Tree};
use comet_kernel::{Clock, Thread};

use crate::worker::{Do, Played, Role, Stage, patient, until};

/// A tree with one child, `root/a`, that has counted three messages.
async fn tree_of_one() -> (Stage, Played, Tree) {
    let stage = Stage::on_machine_time();
    let Role { spec, played } = stage.role("a", &Thread::new("a"));
    let tree = patient("root", Strategy::OneForOne).child(spec).start(&stage.kernel).await.expect("it starts");
    for number in 1..=3 {
        assert_eq!(played.count().await, number);
    }
    (stage, played, tree)
}

#[actix::test]
async fn a_panic_in_a_handler_gives_a_fresh_actor_behind_the_same_handle() {
    let (stage, role, tree) = tree_of_one().await;
    assert!(role.handle.call(Do::Panic("oh")).await.is_err());
    assert_eq!(role.count().await, 1, "nothing is left of the former state");
    assert_eq!(stage.listing("root/a").restarts, 1);
    drop(tree);
}

#[actix::test]
async fn a_panic_in_a_future_gives_a_fresh_actor() {
    let (stage, role, tree) = tree_of_one().await;
    assert_eq!(role.handle.call(Do::PanicInFuture("oh")).await, Ok(4));
    until("it is restarted", || stage.listing("root/a").restarts == 1).await;
    assert_eq!(role.count().await, 1);
    drop(tree);
}

#[actix::test]
async fn a_panic_at_the_start_gives_a_fresh_actor() {
    let stage = Stage::on_machine_time();
    let Role { spec, played: role } = stage.role("a", &Thread::new("a"));
    role.habits().panics_in_started = 3;
    let tree = patient("root", Strategy::OneForOne).child(spec).start(&stage.kernel).await.expect("it starts");
    assert_eq!(role.count().await, 1);
    until("each panic is seen", || stage.listing("root/a").restarts == 3).await;
    assert_eq!(stage.journal(), ["a starts"; 4]);
    drop(tree);
}

#[actix::test]
async fn a_panic_while_it_stops_gives_a_fresh_actor() {
    let (stage, role, tree) = tree_of_one().await;
    role.habits().panics_in_stopping = true;
    stage.kernel.registry.order("root/a", Action::Restart).await.expect("it is carried out");
    assert_eq!(role.count().await, 1);
    let exit = stage.listing("root/a").last_exit.expect("it ended");
    assert!(exit.contains("no good end"), "{exit}");
    drop(tree);
}

#[actix::test]
async fn a_restart_after_which_nothing_runs_is_answered_with_the_reason() {
    let (stage, role, tree) = tree_of_one().await;
    role.habits().fails_in_factory = 1;
    let error = stage.kernel.registry.order("root/a", Action::Restart).await.expect_err("nothing was started");
    let text = error.to_string();
    assert!(text.contains("root/a") && text.contains("nothing to make it from"), "{text}");
    assert_eq!(role.count().await, 1, "the supervisor tries again by itself");
    drop(tree);
}

#[actix::test]
async fn a_restart_that_is_too_much_for_its_supervisor_is_answered_with_the_reason_too() {
    let stage = Stage::on_machine_time();
    let Role { spec, played: role } = stage.role("a", &Thread::new("a"));
    let root = patient("root", Strategy::OneForOne).intensity(0, Duration::from_secs(60)).child(spec);
    let tree = root.start(&stage.kernel).await.expect("it starts");
    role.habits().fails_in_factory = 1;
    let error = stage.kernel.registry.order("root/a", Action::Restart).await.expect_err("nothing was started");
    assert!(error.to_string().contains("nothing to make it from"), "{error}");
    assert!(!tree.ended().await.is_normal());
}

#[actix::test]
async fn a_report_names_what_the_panic_said_and_where() {
    let (stage, role, tree) = tree_of_one().await;
    let mut events = stage.kernel.events.follow();
    assert!(role.handle.call(Do::Panic("the cat sat on it")).await.is_err());
    role.count().await;
    let exit = stage.listing("root/a").last_exit.expect("it ended");
    assert!(exit.contains("the cat sat on it") && exit.contains("worker.rs"), "{exit}");
    let event = events.recv().await.expect("there are events");
    assert_eq!((event.kind, &*event.subject, event.text), (Kind::Ended, "root/a", exit));
    drop(tree);
}

#[actix::test]
async fn a_factory_that_fails_counts_as_one_failure_each_time() {
    let stage = Stage::on_machine_time();
    let Role { spec, played: role } = stage.role("a", &Thread::new("a"));
    let root = patient("root", Strategy::OneForOne).intensity(4, Duration::from_secs(60));
    let mut tree = root.child(spec).start(&stage.kernel).await.expect("it starts");
    role.habits().fails_in_factory = 3;
    assert!(role.handle.call(Do::Panic("oh")).await.is_err());
    assert_eq!(role.count().await, 1, "one panic and three factories: four failures are taken");
    assert_eq!(stage.listing("root/a").restarts, 4);
    assert!(role.handle.call(Do::Panic("oh")).await.is_err());
    let exit = tree.failed().await.to_string();
    assert!(exit.contains("more than 4 failures"), "{exit}");
}

#[actix::test]
async fn a_tree_whose_child_cannot_be_made_does_not_start() {
    let stage = Stage::on_machine_time();
    let (first, second) = (stage.role("first", &Thread::new("a")), stage.role("second", &Thread::new("b")));
    second.played.habits().fails_in_factory = 1;
    let spec = patient("root", Strategy::OneForOne).child(first.spec).child(second.spec);
    let reason = spec.start(&stage.kernel).await.expect_err("the second cannot be made");
    assert!(reason.contains("root/second") && reason.contains("nothing to make it from"), "{reason}");
    assert_eq!(stage.journal(), ["first starts", "first stops"]);
}

#[actix::test]
async fn whether_a_child_that_ends_comes_back_depends_on_its_kind() {
    let stage = Stage::on_machine_time();
    let kinds =
        [("permanent", Restart::Permanent), ("transient", Restart::Transient), ("temporary", Restart::Temporary)];
    let ends: [(fn() -> Do, _); 2] = [(|| Do::Finish, [true, false, false]), (|| Do::Panic("oh"), [true, true, false])];
    for (end, comes_back) in ends {
        for ((id, restart), comes_back) in kinds.into_iter().zip(comes_back) {
            let Role { spec, played: role } = stage.role(id, &Thread::new("a"));
            let spec = patient("root", Strategy::OneForOne).child(spec.restart(restart));
            let tree = spec.start(&stage.kernel).await.expect("it starts");
            role.count().await;
            let _no_answer_from_one_that_panics = role.handle.call(end()).await;
            let path = format!("root/{id}");
            if comes_back {
                assert_eq!(role.count().await, 1, "{id}");
            } else {
                until("it has ended", || stage.listing(&path).status == Status::Ended).await;
                assert!(role.handle.call(Do::Count).await.is_err(), "{id}");
            }
            tree.stop().await;
        }
    }
}

#[actix::test]
async fn a_child_that_makes_no_progress_is_replaced_on_another_thread() {
    let stage = Stage::on_machine_time();
    let Role { spec, played: role } = stage.role("a", &Thread::new("a"));
    let probe = Duration::from_millis(20);
    let spec = patient("root", Strategy::OneForOne).probe(probe, 5 * probe).child(spec);
    let tree = spec.start(&stage.kernel).await.expect("it starts");
    let (release, until_then) = sync_channel(1);
    let blocked = role.handle.ask(Do::Block(until_then)).expect("it is there");
    assert_eq!(role.count().await, 1);
    assert_eq!(stage.listing("root/a").last_exit.as_deref(), Some("made no progress"));
    drop(release);
    assert_eq!(blocked.await, Ok(1), "the one that was stuck could still answer, long after");
    tree.stop().await;
}

#[actix::test]
async fn whoever_shares_a_thread_with_a_stuck_actor_is_replaced_as_well() {
    let stage = Stage::on_machine_time();
    let thread = Thread::new("shared");
    let Role { spec: stuck_spec, played: stuck } = stage.role("stuck", &thread);
    let Role { spec: lost_spec, played: lost } = stage.role("lost", &thread);
    let probe = Duration::from_millis(20);
    let probing = patient("probing", Strategy::OneForOne).probe(probe, 5 * probe).child(stuck_spec);
    let trusting = patient("trusting", Strategy::OneForOne).child(lost_spec.restart(Restart::Transient));
    let spec = patient("root", Strategy::OneForOne).child(trusting).child(probing);
    let tree = spec.start(&stage.kernel).await.expect("it starts");
    let (release, until_then) = sync_channel(1);
    stuck.handle.tell(Do::Block(until_then)).expect("it is there");
    until("it is replaced", || stage.listing("root/probing/stuck").restarts == 1).await;
    drop(release);
    until("the other lost its thread", || stage.listing("root/trusting/lost").restarts == 1).await;
    assert_eq!(stage.listing("root/trusting/lost").last_exit.as_deref(), Some("lost its thread"));
    assert_eq!(lost.count().await, 1);
    assert_eq!(stuck.count().await, 1);
    assert_eq!(stage.listing("root/probing/stuck").restarts, 1, "the new thread was left alone");
    tree.stop().await;
}

#[actix::test]
async fn a_failed_child_waits_before_it_comes_back() {
    let clock = Clock::manual(comet_kernel::UnixMillis(0));
    let stage = Stage::new(clock.clone());
    let Role { spec, played: role } = stage.role("a", &Thread::new("a"));
    let second = Duration::from_secs(1);
    let root = patient("root", Strategy::OneForOne).backoff(second, 8 * second).probe(1_000 * second, 1_000 * second);
    let tree = root.child(spec).start(&stage.kernel).await.expect("it starts");
    for wait in [1, 2, 4, 8, 8] {
        role.count().await;
        stage.forget_journal();
        assert!(role.handle.call(Do::Panic("oh")).await.is_err());
        until("it waits", || stage.listing("root/a").status == Status::Waiting).await;
        clock.advance(wait * Duration::from_millis(999));
        // The supervisor has its say on whatever the clock woke it for before it carries out an order.
        let _unknown = stage.kernel.registry.order("root/a", Action::Suspend).await;
        assert_eq!(stage.listing("root/a").status, Status::Waiting, "it would wait {wait} s at least");
        clock.advance(wait * Duration::from_millis(501));
        stage.expect_journal(&["a starts"]).await;
    }
    tree.stop().await;
}

#[actix::test]
async fn a_child_that_is_stuck_at_its_start_is_replaced_and_holds_the_others_up_no_longer_than_a_probe() {
    let stage = Stage::on_machine_time();
    let [a, b] = ["a", "b"].map(|id| stage.role(id, &Thread::new(id)));
    let (release, until_then) = sync_channel(1);
    a.played.habits().blocks_in_started = Some(until_then);
    let probe = Duration::from_millis(20);
    let spec = patient("root", Strategy::OneForOne).probe(probe, 5 * probe).child(a.spec).child(b.spec);
    let tree = spec.start(&stage.kernel).await.expect("it starts");
    assert_eq!((b.played.count().await, a.played.count().await), (1, 1));
    assert_eq!(stage.listing("root/a").last_exit.as_deref(), Some("made no progress"));
    drop(release);
    tree.stop().await;
}
