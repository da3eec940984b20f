//! Both sides together.

use std::cell::Cell;
use std::rc::Rc;

use super::*;

/// A lane from this node to itself.
async fn loopback(world: &World, bytes: usize) -> Lane {
    let (ours, theirs) = duplex(bytes);
    tokio::task::spawn_local(serve(theirs.compat(), caller(), world.router.clone(), world.terms.clone()));
    Lane::open(ours.compat(), &world.terms).await.expect("both speak the same")
}

#[actix::test]
async fn many_ask_over_one_lane_and_each_gets_its_own_answer() {
    let world = Rc::new(World::new().await);
    let lane = loopback(&world, 1_000).await;
    let done = Rc::<Cell<usize>>::default();
    for asker in 0..64 {
        let (world, lane, done) = (world.clone(), lane.clone(), done.clone());
        tokio::task::spawn_local(async move {
            for n in 0..100 {
                let payload = number(asker * 1_000 + n);
                let answer = world.ask(&lane, &get(payload.clone()), SECOND).await;
                assert_eq!(answer, Ok(Ok(Answer::Value(payload))));
                done.set(done.get() + 1);
            }
        });
    }
    until(|| done.get() == 6_400).await;
    let traffic = &world.terms.traffic;
    assert_eq!((traffic.sent.read(), traffic.answered.read(), traffic.received.read()), (6_400, 6_400, 6_400));
}

#[actix::test]
async fn the_largest_values_pass_between_small_requests() {
    let world = World::new().await;
    let lane = loopback(&world, 10_000).await;
    for round in 0..3 {
        let large = Value::Bytes(vec![round; limits::VALUE_BYTES].into());
        let replies = [world.ask(&lane, &get(large.clone()), SECOND), world.ask(&lane, &get(Value::Nil), SECOND)];
        let [first, second] = replies;
        assert_eq!(first.await, Ok(Ok(Answer::Value(large))));
        assert_eq!(second.await, Ok(Ok(Answer::Value(Value::Nil))));
    }
}

#[test]
fn lanes_run_on_a_thread_of_the_kernel() {
    let system = actix::System::new();
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    let thread = Thread::new("network");
    thread.run(move || {
        tokio::task::spawn_local(async move {
            let world = World::with(Clock::machine(), &Network::default()).await;
            let lane = loopback(&world, 1_000).await;
            let answer = world.ask(&lane, &get(number(7)), SECOND).await;
            tell.send(answer).expect("the test waits");
        });
    });
    let answer = told.recv_timeout(20 * SECOND).expect("it is answered");
    assert_eq!(answer, Ok(Ok(Answer::Value(number(7)))));
    drop(system);
}
