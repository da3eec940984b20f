//! Handles, mailboxes, and what the operator orders.

use std::sync::mpsc::{SyncSender, sync_channel};

use comet_kernel::handle::Reason;
use comet_kernel::registry::{Action, OrderError, Status};
use comet_kernel::supervisor::{Strategy, Tree};
use comet_kernel::{Handle, Pending, Thread};

use crate::worker::{Do, Played, Role, Stage, eventually, patient, until};

const ROOM: usize = 8;

/// A tree with one child, `root/a`, whose mailbox has room for eight messages.
async fn small() -> (Stage, Played, Tree) {
    let stage = Stage::on_machine_time();
    let Role { spec, played } = stage.role("a", &Thread::new("a"));
    let spec = patient("root", Strategy::OneForOne).child(spec.mailbox(ROOM));
    let tree = spec.start(&stage.kernel).await.expect("it starts");
    assert_eq!(played.count().await, 1);
    (stage, played, tree)
}

/// Blocks an actor until the sender is dropped, and waits until it is.
async fn block(handle: &Handle<Do>) -> SyncSender<()> {
    let (release, until_then) = sync_channel(1);
    handle.tell(Do::Block(until_then)).expect("there is room");
    until("it is blocked", || handle.meter().read().depth == 0).await;
    release
}

/// Asks until the mailbox has room.
async fn ask(handle: &Handle<Do>, message: impl Fn() -> Do) -> Pending<usize> {
    eventually("there is room", || async { handle.ask(message()).ok() }).await
}

#[actix::test]
async fn a_full_mailbox_gives_the_message_back_and_the_meter_shows_it() {
    let (_stage, played, tree) = small().await;
    let release = block(&played.handle).await;
    let before = played.handle.meter().read();
    let mut taken = 0;
    let refused = loop {
        match played.handle.tell(Do::Note(taken)) {
            Ok(()) => taken += 1,
            Err(refused) => break refused,
        }
    };
    assert_eq!(refused.reason, Reason::Full);
    assert!(matches!(refused.message, Do::Note(number) if number == taken));
    assert_eq!(taken, ROOM);
    let full = played.handle.meter().read();
    assert_eq!((full.depth, full.taken, full.refused), (ROOM as u64, before.taken, before.refused + 1));
    drop(release);
    assert_eq!(played.count().await, ROOM + 3, "nothing that was taken in is lost");
    assert_eq!(played.handle.meter().read().depth, 0);
    tree.stop().await;
}

#[actix::test]
async fn what_waits_when_an_actor_dies_is_answered_with_an_error() {
    let (stage, played, tree) = small().await;
    let release = block(&played.handle).await;
    let panics = played.handle.ask(Do::Panic("oh")).expect("there is room");
    let behind = played.handle.ask(Do::Count).expect("there is room");
    drop(release);
    assert!(panics.await.is_err() && behind.await.is_err());
    assert_eq!(played.count().await, 1);
    assert_eq!(played.handle.meter().read().depth, 0, "what died with the mailbox is not counted as waiting");
    assert_eq!(stage.listing("root/a").restarts, 1);
    tree.stop().await;
}

#[actix::test]
async fn a_handle_that_nobody_serves_gives_the_message_back() {
    let stage = Stage::on_machine_time();
    let Role { spec: _, played } = stage.role("a", &Thread::new("a"));
    let refused = played.handle.ask(Do::Note(3)).expect_err("nobody is there");
    assert_eq!(refused.reason, Reason::Vacant);
    assert!(matches!(refused.message, Do::Note(3)));
    assert_eq!(played.handle.meter().read().refused, 1);
}

#[actix::test]
async fn a_suspended_actor_holds_its_messages_and_handles_them_in_order_when_it_goes_on() {
    let (stage, played, tree) = small().await;
    stage.forget_journal();
    stage.kernel.registry.order("root/a", Action::Suspend).await.expect("it is carried out");
    assert_eq!(stage.listing("root/a").status, Status::Suspended);
    let mut asked = Vec::new();
    for number in 0..ROOM {
        asked.push(ask(&played.handle, || Do::Note(number)).await);
    }
    let overflow = ask(&played.handle, || Do::Count).await;
    assert!(overflow.await.is_err(), "what is held is bounded: past it a message is dropped, and its asker is told");
    assert_eq!(stage.journal(), [""; 0]);
    stage.kernel.registry.order("root/a", Action::Resume).await.expect("it is carried out");
    for (number, pending) in asked.into_iter().enumerate() {
        assert_eq!(pending.await, Ok(number + 2));
    }
    assert_eq!(stage.journal(), (0..ROOM).map(|number| format!("a {number}")).collect::<Vec<_>>());
    assert_eq!(stage.listing("root/a").status, Status::Running);
    tree.stop().await;
}

#[actix::test]
async fn a_suspended_actor_that_is_stopped_handles_what_it_held() {
    let (stage, played, tree) = small().await;
    stage.kernel.registry.order("root/a", Action::Suspend).await.expect("it is carried out");
    let held = played.handle.ask(Do::Note(1)).expect("there is room");
    tree.stop().await;
    assert_eq!(held.await, Ok(2));
    assert_eq!(stage.journal(), ["a starts", "a 1", "a stops"]);
}

#[actix::test]
async fn a_suspended_supervisor_suspends_its_children() {
    let stage = Stage::on_machine_time();
    let Role { spec, played } = stage.role("a", &Thread::new("a"));
    let inner = patient("inner", Strategy::OneForOne).child(spec);
    let tree = patient("root", Strategy::OneForOne).child(inner).start(&stage.kernel).await.expect("it starts");
    stage.kernel.registry.order("root/inner", Action::Suspend).await.expect("it is carried out");
    until("the child is suspended", || stage.listing("root/inner/a").status == Status::Suspended).await;
    let held = played.handle.ask(Do::Count).expect("there is room");
    stage.kernel.registry.order("root/inner", Action::Resume).await.expect("it is carried out");
    assert_eq!(held.await, Ok(1));
    tree.stop().await;
}

#[actix::test]
async fn the_operator_can_restart_an_actor_which_does_not_count_as_a_failure() {
    let (stage, played, tree) = small().await;
    stage.kernel.registry.order("root/a", Action::Restart).await.expect("it is carried out");
    assert_eq!(played.count().await, 1);
    assert_eq!(stage.journal(), ["a starts", "a stops", "a starts"]);
    assert_eq!(stage.listing("root/a").restarts, 0);
    let unknown = stage.kernel.registry.order("root/b", Action::Restart).await;
    assert_eq!(unknown, Err(OrderError::NoSuchActor("root/b".to_owned())));
    let root = stage.kernel.registry.order("root", Action::Restart).await;
    assert_eq!(root, Err(OrderError::Root("root".to_owned())), "nobody could start the root again");
    tree.stop().await;
}

#[actix::test]
async fn an_actor_whose_mailbox_never_empties_still_gets_what_its_futures_bring() {
    let (stage, played, tree) = small().await;
    played.handle.tell(Do::Flood(played.handle.clone())).expect("there is room");
    for number in 0..5 {
        ask(&played.handle, || Do::Errand(number)).await.await.expect("it lives");
    }
    until("all have ended", || stage.journal().len() == 6).await;
    tree.stop().await;
}

#[actix::test]
async fn an_actor_with_thousands_of_futures_under_way_finishes_each_of_them() {
    let stage = Stage::on_machine_time();
    let Role { spec, played } = stage.role("a", &Thread::new("a"));
    let tree = patient("root", Strategy::OneForOne).child(spec).start(&stage.kernel).await.expect("it starts");
    for number in 0..4_000 {
        ask(&played.handle, || Do::Errand(number)).await.await.expect("it lives");
    }
    until("all have ended", || stage.journal().len() == 4_001).await;
    tree.stop().await;
}

#[actix::test]
async fn an_actor_whose_mailbox_never_empties_leaves_time_to_others_on_its_thread() {
    let stage = Stage::on_machine_time();
    let thread = Thread::new("shared");
    let [busy, quiet] = ["busy", "quiet"].map(|id| stage.role(id, &thread));
    let spec = patient("root", Strategy::OneForOne).child(busy.spec).child(quiet.spec);
    let tree = spec.start(&stage.kernel).await.expect("it starts");
    let (busy, quiet) = (busy.played, quiet.played);
    busy.handle.tell(Do::Flood(busy.handle.clone())).expect("there is room");
    for number in 1..=100 {
        assert_eq!(quiet.count().await, number);
    }
    tree.stop().await;
}
