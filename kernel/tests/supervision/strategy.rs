//! Who else is restarted when one child fails, and in which order.

use comet_kernel::registry::Status;
use comet_kernel::supervisor::{Restart, Strategy, Tree};
use comet_kernel::{Handle, Thread};

use crate::worker::{Do, Stage, patient, until};

/// Children `a`, `b` and `c`, each on a thread of its own; the handle leads to `b`.
async fn three(strategy: Strategy, last: Restart) -> (Stage, Handle<Do>, Tree) {
    let stage = Stage::on_machine_time();
    let [a, b, c] = ["a", "b", "c"].map(|id| stage.role(id, &Thread::new(id)));
    let spec = patient("root", strategy).child(a.spec).child(b.spec).child(c.spec.restart(last));
    let tree = spec.start(&stage.kernel).await.expect("it starts");
    stage.expect_journal(&["a starts", "b starts", "c starts"]).await;
    stage.forget_journal();
    (stage, b.played.handle, tree)
}

async fn fail_and_expect(strategy: Strategy, lines: &[&str]) {
    let (stage, b, tree) = three(strategy, Restart::Permanent).await;
    assert!(b.call(Do::Panic("oh")).await.is_err());
    until("all run again", || ["a", "b", "c"].iter().all(|id| runs(&stage, id)) && !stage.journal().is_empty()).await;
    stage.expect_journal(lines).await;
    tree.stop().await;
}

fn runs(stage: &Stage, id: &str) -> bool {
    stage.listing(&format!("root/{id}")).status == Status::Running
}

#[actix::test]
async fn one_for_one_restarts_the_failed_child_alone() {
    fail_and_expect(Strategy::OneForOne, &["b starts"]).await;
}

#[actix::test]
async fn rest_for_one_restarts_the_failed_child_and_those_after_it() {
    fail_and_expect(Strategy::RestForOne, &["c stops", "b starts", "c starts"]).await;
}

#[actix::test]
async fn one_for_all_restarts_everyone() {
    let lines = ["c stops", "a stops", "a starts", "b starts", "c starts"];
    fail_and_expect(Strategy::OneForAll, &lines).await;
}

#[actix::test]
async fn a_temporary_child_that_was_stopped_with_another_does_not_come_back() {
    let (stage, b, tree) = three(Strategy::RestForOne, Restart::Temporary).await;
    assert!(b.call(Do::Panic("oh")).await.is_err());
    stage.expect_journal(&["c stops", "b starts"]).await;
    until("b runs", || runs(&stage, "b")).await;
    assert_eq!(stage.listing("root/c").status, Status::Ended);
    tree.stop().await;
    assert_eq!(stage.journal()[2..], ["b stops", "a stops"]);
}
