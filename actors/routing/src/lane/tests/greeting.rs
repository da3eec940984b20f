//! How lanes begin, and how those end that should not have begun.

use super::*;

#[actix::test]
async fn a_peer_of_another_version_is_told_why_it_is_not_served() {
    let world = World::new().await;
    let (ours, mut peer) = pipe(1 << 16);
    let serving = tokio::task::spawn_local(serve(ours, caller(), world.router.clone(), world.terms.clone()));
    peer.say(&hello(2)).await;
    let answer: Hello = peer.hear().await;
    assert_eq!(answer.version, 1);
    let refusal = answer.refusal.expect("it is refused");
    assert!(refusal.contains("comet 1") && refusal.contains("comet 2"), "{refusal}");
    assert!(matches!(serving.await.expect("no panic"), Err(LaneError::Version(2))));
    peer.hung_up().await;
}

#[actix::test]
async fn a_node_does_not_ask_one_of_another_version() {
    let world = World::new().await;
    let (ours, mut peer) = pipe(1 << 16);
    let (lane, ()) = tokio::join!(Lane::open(ours, &world.terms), peer.greet(hello(7)));
    let error = lane.err().expect("no lane");
    assert!(matches!(error, LaneError::Version(7)));
    assert!(error.to_string().contains("update"), "{error}");
}

#[actix::test]
async fn a_node_that_is_refused_learns_why() {
    let world = World::new().await;
    let (ours, mut peer) = pipe(1 << 16);
    let refusal = Hello { refusal: Some("blocked".to_owned()), ..hello(1) };
    let (lane, ()) = tokio::join!(Lane::open(ours, &world.terms), peer.greet(refusal));
    assert!(matches!(lane.err(), Some(LaneError::Refused(reason)) if reason == "blocked"));
}

#[actix::test]
async fn another_program_is_noticed_on_either_side() {
    let world = World::new().await;
    let (ours, mut peer) = pipe(1 << 16);
    let stranger = Hello { protocol: "gopher".to_owned(), ..hello(1) };
    let (lane, ()) = tokio::join!(Lane::open(ours, &world.terms), peer.greet(stranger));
    assert!(matches!(lane.err(), Some(LaneError::Stranger(protocol)) if protocol == "gopher"));

    let (ours, mut peer) = pipe(1 << 16);
    peer.stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("there is room");
    let end = serve(ours, caller(), world.router.clone(), world.terms.clone()).await;
    assert!(matches!(end, Err(LaneError::Frame(codec::FrameError::TooLong { .. }))), "{end:?}");
}

#[actix::test]
async fn a_peer_that_does_not_greet_in_time_is_left_alone() {
    let world = World::new().await;
    let (ours, _silent) = pipe(1 << 16);
    let (theirs, _dumb) = pipe(1 << 16);
    let terms = world.terms.clone();
    let asking = tokio::task::spawn_local(async move { Lane::open(ours, &terms).await.err() });
    let serving = tokio::task::spawn_local(serve(theirs, caller(), world.router.clone(), world.terms.clone()));
    settle().await;
    world.clock.advance(world.terms.patience);
    assert!(matches!(asking.await.expect("no panic"), Some(LaneError::Silent)));
    assert!(matches!(serving.await.expect("no panic"), Err(LaneError::Silent)));
}
