//! What peers may keep this node waiting for, and what it keeps for them.

use std::cell::Cell;
use std::rc::Rc;

use super::*;
use comet_kernel::contract::aso::Refusal;

const MIB: usize = 1 << 20;
const HALF_SECOND: Duration = Duration::from_millis(500);

fn large() -> Value {
    Value::Bytes(vec![0; MIB - 100].into())
}

/// Lets so many half seconds pass.
async fn pass(world: &World, halves: usize) {
    for _ in 0..halves {
        settle().await;
        world.clock.advance(HALF_SECOND);
    }
    settle().await;
}

/// Asks for so many answers that the router holds back, and lets it answer them with large values.
async fn ask_for(world: &World, peer: &mut Peer, number: usize) {
    for id in 0..number {
        peer.ask(id as u64, Ask::Copy { key: hold() }).await;
    }
    until(|| world.held() == number).await;
    for (_, responder) in world.held.lock().expect("no panic").drain(..) {
        responder.answer(Answer::Value(large()));
    }
    settle().await;
}

async fn small_with(limit: usize) -> World {
    let mut world = World::new().await;
    world.terms.budget = Budget::new(limit);
    world
}

#[actix::test]
async fn a_peer_that_does_not_read_its_answers_is_given_up_after_some_seconds_and_one_that_reads_slowly_is_not() {
    let world = World::new().await;
    let (mut peer, serving) = world.served().await;
    ask_for(&world, &mut peer, 4).await;
    pass(&world, 11).await;
    assert!(!serving.is_finished());
    let (mut slow, reading) = world.served().await;
    ask_for(&world, &mut slow, 1).await;
    let mut some = vec![0; 32 << 10];
    for _ in 0..10 {
        slow.stream.read_exact(&mut some).await.expect("the node is there");
        pass(&world, 8).await;
    }
    assert!(!reading.is_finished() && serving.is_finished());
    assert!(matches!(serving.await.expect("no panic"), Err(LaneError::Stalled)));
    peer.hung_up().await;
}

#[actix::test]
async fn a_peer_that_sends_half_a_frame_is_given_up_and_one_that_sends_nothing_is_not() {
    let world = World::new().await;
    let (idle, idling) = world.served().await;
    let (mut peer, serving) = world.served().await;
    pass(&world, 100).await;
    peer.stream.write_all(&[0, 16, 0, 0, 1]).await.expect("there is room");
    pass(&world, 11).await;
    assert!(!serving.is_finished());
    // A byte now and then does not help.
    peer.stream.write_all(&[1]).await.expect("there is room");
    pass(&world, 4).await;
    assert!(serving.is_finished());
    assert!(matches!(serving.await.expect("no panic"), Err(LaneError::Stalled)));
    assert!(!idling.is_finished());
    drop(idle);
}

#[actix::test]
async fn a_peer_that_answers_with_half_a_frame_or_does_not_read_what_is_asked_is_given_up() {
    let world = World::new().await;
    let (lane, mut peer) = world.lane().await;
    let _half = world.ask(&lane, &get(Value::Nil), SECOND);
    peer.hear::<Framed<Ask>>().await;
    peer.stream.write_all(&[0, 16, 0, 0, 1]).await.expect("there is room");
    let (deaf, _unread) = world.lane().await;
    let _unheard: Vec<_> = (0..3).map(|_| world.ask(&deaf, &get(large()), SECOND)).collect();
    pass(&world, 11).await;
    assert!(lane.is_open() && deaf.is_open());
    pass(&world, 4).await;
    assert!(!lane.is_open() && !deaf.is_open());
}

#[actix::test]
async fn long_frames_of_many_peers_wait_until_there_is_room_and_all_are_served() {
    let world = small_with(8 * MIB).await;
    let written = Rc::<Cell<usize>>::default();
    let (finish, _) = tokio::sync::watch::channel(false);
    let mut asking = Vec::new();
    for _ in 0..20 {
        let (mut peer, _serving) = world.served().await;
        let (written, mut finishes) = (written.clone(), finish.subscribe());
        asking.push(tokio::task::spawn_local(async move {
            let (mut bytes, long) =
                (BytesMut::new(), Ask::Get { key: hold(), payload: large(), asker: Asker::default() });
            codec::encode(&Framed { id: 0, left_ms: 60_000, body: long }, &mut bytes).expect("short enough");
            let last = bytes.split_off(bytes.len() - 1);
            for piece in bytes.chunks(1 << 10) {
                peer.stream.write_all(piece).await.expect("the node waits");
                written.set(written.get() + piece.len());
            }
            finishes.wait_for(|finishes| *finishes).await.expect("the test says when");
            peer.stream.write_all(&last).await.expect("the node waits");
            peer.hear::<Framed<Answer>>().await.body
        }));
    }
    settle().await;
    pass(&world, 4).await;
    // What is in the pipes the node has not taken.
    assert!((4 * MIB..12 * MIB).contains(&written.get()), "{} bytes were taken", written.get());
    let (mut other, _serving) = world.served().await;
    other.ask(0, get(number(7))).await;
    assert_eq!(other.hear::<Framed<Answer>>().await.body, Answer::Value(number(7)), "what is short is served");
    finish.send(true).expect("they wait");
    let mut served = 0;
    for _ in 0..40 {
        pass(&world, 1).await;
        for (_, responder) in world.held.lock().expect("no panic").drain(..) {
            responder.answer(Answer::Absent);
            served += 1;
        }
    }
    assert_eq!(served, 20);
    for asked in asking {
        assert_eq!(asked.await.expect("no panic"), Answer::Absent);
    }
}

#[actix::test]
async fn answers_that_many_peers_do_not_read_are_kept_up_to_a_bound_and_the_rest_is_refused() {
    let world = small_with(8 * MIB).await;
    let mut peers = Vec::new();
    for _ in 0..20 {
        let (mut peer, _serving) = world.served().await;
        ask_for(&world, &mut peer, 4).await;
        peers.push(peer);
    }
    let (mut other, _serving) = world.served().await;
    other.ask(0, get(number(7))).await;
    assert_eq!(other.hear::<Framed<Answer>>().await.body, Answer::Value(number(7)), "what is short is served");
    let (mut kept, mut refused) = (0, 0);
    for mut peer in peers {
        for _ in 0..4 {
            match peer.hear::<Framed<Answer>>().await.body {
                Answer::Value(_) => kept += 1,
                Answer::Refused(Refusal::Unavailable(_)) => refused += 1,
                _ => panic!("it is neither kept nor refused"),
            }
        }
    }
    assert!((4..=8).contains(&kept) && kept + refused == 80, "{kept} MiB were kept");
    let (mut other, _serving) = world.served().await;
    ask_for(&world, &mut other, 1).await;
    assert!(other.hear::<Framed<Answer>>().await.body == Answer::Value(large()), "what was read makes room");
}
