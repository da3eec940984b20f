//! The side that serves, and what it does not put up with.

use comet_kernel::contract::aso::Refusal;

use super::*;

#[actix::test]
async fn requests_are_under_way_together_and_answered_as_they_are_ready() {
    let world = World::new().await;
    let (mut peer, _serving) = world.served().await;
    for id in 0..10 {
        peer.ask(id, Ask::Copy { key: hold() }).await;
    }
    peer.ask(10, get(number(1))).await;
    assert_eq!(peer.hear::<Framed<Answer>>().await.id, 10);
    assert_eq!(world.held(), 10);
    for (serve, responder) in world.held.lock().expect("no panic").drain(..).rev() {
        assert_eq!(serve.from, caller());
        assert_eq!(serve.deadline, world.clock.now() + SECOND);
        responder.answer(Answer::Absent);
    }
    let mut ids = Vec::new();
    for _ in 0..10 {
        ids.push(peer.hear::<Framed<Answer>>().await.id);
    }
    assert_eq!(ids, (0..10).rev().collect::<Vec<_>>());
}

#[actix::test]
async fn a_request_whose_time_is_over_is_not_served() {
    let world = World::new().await;
    let (mut peer, _serving) = world.served().await;
    peer.say(&Framed { id: 0, left_ms: 0, body: Ask::Copy { key: hold() } }).await;
    peer.ask(1, get(Value::Nil)).await;
    assert_eq!(peer.hear::<Framed<Answer>>().await.id, 1);
    assert_eq!(world.held(), 0);
    assert_eq!(world.terms.traffic.received.read(), 2);
}

#[actix::test]
async fn a_request_that_nobody_takes_or_answers_is_refused() {
    let mut world = World::new().await;
    let (mut peer, _serving) = world.served().await;
    peer.ask(0, Ask::Copy { key: hold() }).await;
    until(|| world.held() == 1).await;
    world.held.lock().expect("no panic").clear();
    let unanswered: Framed<Answer> = peer.hear().await;
    assert!(matches!(unanswered.body, Answer::Refused(Refusal::Unavailable(_))), "{unanswered:?}");

    world.router = Handle::vacant(&world.clock);
    let (mut peer, _serving) = world.served().await;
    peer.ask(3, get(Value::Nil)).await;
    let untaken: Framed<Answer> = peer.hear().await;
    assert_eq!(untaken.id, 3);
    assert!(matches!(untaken.body, Answer::Refused(Refusal::Unavailable(_))), "{untaken:?}");
}

#[actix::test]
async fn an_answer_that_is_longer_than_a_frame_is_refused_instead() {
    let world = World::new().await;
    let (mut peer, _serving) = world.served().await;
    peer.ask(0, Ask::Copy { key: hold() }).await;
    until(|| world.held() == 1).await;
    let (_, responder) = world.held.lock().expect("no panic").remove(0);
    responder.answer(Answer::Value(Value::Bytes(vec![0; limits::PEER_FRAME_BYTES].into())));
    let answer: Framed<Answer> = peer.hear().await;
    assert!(matches!(answer.body, Answer::Refused(Refusal::TooBig { .. })), "{answer:?}");
}

#[actix::test]
async fn a_peer_that_asks_too_much_is_told_when_to_try_again_on_all_its_lanes() {
    let network = Network { peer_requests_per_second: 10, ..Network::default() };
    let world = World::with(Clock::manual(UnixMillis(0)), &network).await;
    let (mut one, _serving) = world.served().await;
    let (mut other, _serving) = world.served().await;
    for id in 0..10 {
        one.ask(id, get(Value::Nil)).await;
        assert_eq!(one.hear::<Framed<Answer>>().await.body, Answer::Value(Value::Nil));
    }
    for peer in [&mut one, &mut other] {
        peer.ask(10, get(Value::Nil)).await;
        let limited = Answer::Refused(Refusal::Limited { retry_after_ms: 100 });
        assert_eq!(peer.hear::<Framed<Answer>>().await, Framed { id: 10, left_ms: 0, body: limited });
    }
    world.clock.advance(Duration::from_millis(100));
    other.ask(11, get(Value::Nil)).await;
    assert_eq!(other.hear::<Framed<Answer>>().await.body, Answer::Value(Value::Nil));
    assert_eq!((world.terms.traffic.received.read(), world.terms.traffic.limited.read()), (13, 2));
}

#[actix::test]
async fn a_comparison_of_many_objects_counts_for_many_requests_but_never_for_more_than_a_peer_may_ask() {
    let item = crate::wire::Item { key: hold(), version: 1, state: 0 };
    let compare = |items| Ask::Compare { items: vec![item.clone(); items] };
    for (rate, wait) in [(100, 20), (10, 100)] {
        let network = Network { peer_requests_per_second: rate, ..Network::default() };
        let world = World::with(Clock::manual(UnixMillis(0)), &network).await;
        let (mut peer, _serving) = world.served().await;
        peer.ask(0, compare(400)).await;
        until(|| world.held() == 1).await;
        peer.ask(1, compare(400)).await;
        until(|| world.terms.traffic.limited.read() == 1).await;
        let refused: Framed<Answer> = peer.hear().await;
        assert_eq!(refused.id, 1);
        assert!(
            matches!(refused.body, Answer::Refused(Refusal::Limited { retry_after_ms }) if retry_after_ms >= wait),
            "{refused:?}"
        );
        world.clock.advance(SECOND);
        peer.say(&Framed { id: 2, left_ms: 5_000, body: compare(400) }).await;
        until(|| world.held() == 2).await;
    }
}

#[actix::test]
async fn a_peer_that_sends_too_many_bytes_is_read_more_slowly() {
    let network = Network { peer_kib_per_second: 64, ..Network::default() };
    let world = World::with(Clock::manual(UnixMillis(0)), &network).await;
    let (mut peer, _serving) = world.served().await;
    let writing = tokio::task::spawn_local(async move {
        for id in 0..512 {
            let mut ask = get(Value::Bytes(vec![0; 1 << 10].into()));
            if let Ask::Get { key, .. } = &mut ask {
                *key = hold();
            }
            peer.say(&Framed { id, left_ms: 60_000, body: ask }).await;
        }
        peer
    });
    settle().await;
    let mut before = world.held();
    assert!((60..130).contains(&before), "a second's worth, and what was read before it was known: {before}");
    for _ in 0..4 {
        for _ in 0..10 {
            world.clock.advance(Duration::from_millis(100));
            settle().await;
        }
        let after = world.held();
        assert!((50..75).contains(&(after - before)), "{} KiB in a second", after - before);
        before = after;
    }
    assert!(!writing.is_finished(), "whoever sends too much has to wait");
}

#[actix::test]
async fn a_peer_that_does_not_read_its_answers_is_not_read_either() {
    let world = World::new().await;
    let (peer, serving) = world.served().await;
    let (_unread, mut sink) = tokio::io::split(peer.stream);
    let writing = tokio::task::spawn_local(async move {
        let mut bytes = BytesMut::new();
        for id in 0..100 {
            bytes.clear();
            let ask = get(Value::Bytes(vec![0; 1 << 20].into()));
            codec::encode(&Framed { id, left_ms: 1_000, body: ask }, &mut bytes).expect("it is short enough");
            sink.write_all(&bytes).await.expect("the node is there");
        }
    });
    settle().await;
    let received = world.terms.traffic.received.read();
    assert!((4..12).contains(&received), "{received} MiB were taken");
    settle().await;
    assert_eq!(world.terms.traffic.received.read(), received, "no more of them");
    assert!(!writing.is_finished() && !serving.is_finished());
}

#[actix::test]
async fn long_answers_that_the_peer_does_not_read_are_bounded_and_the_rest_is_refused() {
    let world = World::new().await;
    let (mut peer, serving) = world.served().await;
    for id in 0..200 {
        peer.ask(id, Ask::Copy { key: hold() }).await;
    }
    until(|| world.held() == 200).await;
    for (_, responder) in world.held.lock().expect("no panic").drain(..) {
        responder.answer(Answer::Value(Value::Bytes(vec![0; 1 << 20].into())));
    }
    settle().await;
    let (mut kept, mut refused) = (0, 0);
    for _ in 0..200 {
        match peer.hear::<Framed<Answer>>().await.body {
            Answer::Value(_) => kept += 1,
            Answer::Refused(Refusal::Unavailable(_)) => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!((16..20).contains(&kept) && kept + refused == 200, "{kept} MiB were kept");
    assert!(!serving.is_finished());
}

#[actix::test]
async fn where_answers_are_long_few_requests_are_under_way_and_where_they_are_short_many() {
    let world = World::new().await;
    let (mut peer, _serving) = world.served().await;
    let mut under_way = Vec::new();
    for (round, size) in [1 << 19, 1 << 19, 16, 16].into_iter().enumerate() {
        for number in 0..100 {
            peer.ask(1_000 * round as u64 + number, Ask::Copy { key: hold() }).await;
        }
        let (mut answered, mut most) = (0, 0);
        while answered < 100 {
            settle().await;
            let held: Vec<_> = world.held.lock().expect("no panic").drain(..).collect();
            (most, answered) = (held.len().max(most), answered + held.len());
            for (_, responder) in held {
                responder.answer(Answer::Value(Value::Bytes(vec![0; size].into())));
                assert!(!matches!(peer.hear::<Framed<Answer>>().await.body, Answer::Refused(_)));
            }
        }
        under_way.push(most);
    }
    assert_eq!(under_way[3], 100);
    assert!(under_way[1] <= 24, "{under_way:?}");
}

#[actix::test]
async fn a_request_of_many_small_items_counts_for_the_memory_that_they_take() {
    let world = World::new().await;
    let (mut peer, _serving) = world.served().await;
    let small = Value::Map([("a".into(), Value::Nil)].into());
    let payload = Value::Array(vec![small; 5_000]);
    for id in 0..2 {
        peer.ask(id, Ask::Get { key: hold(), payload: payload.clone(), asker: Asker::default() }).await;
    }
    settle().await;
    assert_eq!(world.held(), 1, "30 KB in a frame are more than may be under way");
    let (_, responder) = world.held.lock().expect("no panic").remove(0);
    responder.answer(Answer::Absent);
    until(|| world.held() == 1).await;
}

#[actix::test]
async fn what_the_peer_has_given_up_makes_room_for_what_it_asks_next() {
    let world = World::new().await;
    let (mut peer, _serving) = world.served().await;
    for id in 0..limits::LANE_REQUESTS as u64 {
        peer.ask(id, Ask::Copy { key: hold() }).await;
    }
    peer.say(&Framed { id: 5_000, left_ms: 10_000, body: get(Value::Nil) }).await;
    until(|| world.held() == limits::LANE_REQUESTS).await;
    settle().await;
    assert_eq!(world.terms.traffic.received.read(), limits::LANE_REQUESTS as u64, "the lane is full");
    world.clock.advance(SECOND);
    assert_eq!(peer.hear::<Framed<Answer>>().await.id, 5_000);
    assert!(world.held.lock().expect("no panic").iter().all(|(_, responder)| responder.is_abandoned()));
}

#[actix::test]
async fn garbage_ends_the_lane_and_only_the_lane() {
    let world = World::new().await;
    for garbage in [&[0, 0, 0, 2, 0xc1, 0xc1][..], &[0xff; 4], &[0; 4]] {
        let (mut peer, serving) = world.served().await;
        peer.stream.write_all(garbage).await.expect("there is room");
        assert!(matches!(serving.await.expect("no panic"), Err(LaneError::Frame(_))), "{garbage:?}");
        peer.hung_up().await;
    }
    let (mut peer, serving) = world.served().await;
    peer.ask(0, get(Value::Nil)).await;
    assert_eq!(peer.hear::<Framed<Answer>>().await.id, 0);
    drop(peer);
    assert!(matches!(serving.await.expect("no panic"), Ok(())), "to hang up is nobody's fault");
}

#[actix::test]
async fn a_peer_that_hangs_up_within_a_frame_is_noticed() {
    let world = World::new().await;
    let (mut peer, serving) = world.served().await;
    peer.stream.write_all(&[0, 0, 0, 9, 1]).await.expect("there is room");
    drop(peer);
    assert!(matches!(serving.await.expect("no panic"), Err(LaneError::HungUp)));
}
