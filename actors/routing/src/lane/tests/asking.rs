//! The side that asks.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as Task, Poll};

use futures::{AsyncRead, AsyncWrite};

use super::*;

/// A stream that counts how often it is written to and flushed.
struct Counted<S> {
    stream: S,
    writes: Rc<Cell<usize>>,
    flushes: Rc<Cell<usize>>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(mut self: Pin<&mut Self>, task: &mut Task<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_read(task, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, task: &mut Task<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.writes.set(self.writes.get() + 1);
        Pin::new(&mut self.stream).poll_write(task, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        self.flushes.set(self.flushes.get() + 1);
        Pin::new(&mut self.stream).poll_flush(task)
    }

    fn poll_close(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(task)
    }
}

#[actix::test]
async fn an_answer_finds_its_request_in_whatever_order_they_come() {
    let world = World::new().await;
    let (lane, mut peer) = world.lane().await;
    let replies: Vec<Reply> = (0..100).map(|n| world.ask(&lane, &get(number(n)), SECOND)).collect();
    let mut requests = Vec::new();
    for _ in 0..100 {
        requests.push(peer.hear::<Framed<Ask>>().await);
    }
    for request in requests.into_iter().rev() {
        let Ask::Get { payload, .. } = request.body else { panic!("a get was sent") };
        peer.answer(request.id, Answer::Value(payload)).await;
    }
    for (n, reply) in replies.into_iter().enumerate() {
        assert_eq!(reply.await, Ok(Ok(Answer::Value(number(n)))));
    }
    assert_eq!((world.terms.traffic.sent.read(), world.terms.traffic.answered.read()), (100, 100));
}

#[actix::test]
async fn requests_that_are_sent_together_are_written_together() {
    let world = World::new().await;
    let (ours, mut peer) = pipe(1 << 20);
    let (writes, flushes) = (Rc::<Cell<usize>>::default(), Rc::<Cell<usize>>::default());
    let counted = Counted { stream: ours, writes: writes.clone(), flushes: flushes.clone() };
    let (lane, ()) = tokio::join!(Lane::open(counted, &world.terms), peer.greet(hello(1)));
    let lane = lane.expect("the peer greeted");
    assert_eq!((writes.take(), flushes.take()), (1, 1), "the greeting");
    let _replies: Vec<Reply> = (0..500).map(|n| world.ask(&lane, &get(number(n)), SECOND)).collect();
    let _greeting: Hello = peer.hear().await;
    for id in 0..500 {
        assert_eq!(peer.hear::<Framed<Ask>>().await.id, id);
    }
    assert_eq!((writes.get(), flushes.get()), (1, 1));
}

#[actix::test]
async fn a_request_that_is_not_answered_in_time_ends_and_its_late_answer_is_ignored() {
    let world = World::new().await;
    let (lane, mut peer) = world.lane().await;
    let (soon, later) = (world.ask(&lane, &get(number(1)), SECOND), world.ask(&lane, &get(number(2)), 3 * SECOND));
    settle().await;
    world.clock.advance(SECOND);
    assert_eq!(soon.await, Ok(Err(SendError::TimedOut)));
    assert_eq!(lane.under_way(), 1);
    peer.answer(0, Answer::Absent).await;
    peer.answer(1, Answer::Absent).await;
    assert_eq!(later.await, Ok(Ok(Answer::Absent)));
    assert!(lane.is_open());
    assert_eq!((world.terms.traffic.answered.read(), world.terms.traffic.failed.read()), (1, 1));
}

#[actix::test]
async fn the_time_that_is_left_travels_with_a_request() {
    let world = World::new().await;
    let (lane, mut peer) = world.lane().await;
    let _reply = world.ask(&lane, &get(Value::Nil), Duration::from_micros(1_500));
    assert_eq!(peer.hear::<Framed<Ask>>().await.left_ms, 2);
    assert_eq!(world.ask(&lane, &get(Value::Nil), Duration::ZERO).await, Ok(Err(SendError::TimedOut)));
}

#[actix::test]
async fn with_as_much_under_way_as_may_be_more_is_refused_at_once() {
    let world = World::new().await;
    let (lane, mut peer) = world.lane().await;
    let mut replies: Vec<Reply> =
        (0..limits::LANE_REQUESTS).map(|n| world.ask(&lane, &get(number(n)), SECOND)).collect();
    assert_eq!(world.ask(&lane, &get(Value::Nil), SECOND).await, Ok(Err(SendError::Busy)));
    peer.answer(5, Answer::Absent).await;
    assert_eq!(replies.remove(5).await, Ok(Ok(Answer::Absent)));
    replies.push(world.ask(&lane, &get(Value::Nil), SECOND));
    assert_eq!(lane.under_way(), limits::LANE_REQUESTS);
}

#[actix::test]
async fn a_peer_that_does_not_read_costs_a_bounded_number_of_bytes() {
    let world = World::new().await;
    let (lane, _peer) = world.lane().await;
    let large = get(Value::Bytes(vec![0; limits::VALUE_BYTES].into()));
    let mut replies = Vec::new();
    for _ in 0..10 {
        replies.push(world.ask(&lane, &large, SECOND));
        settle().await;
    }
    let busy = replies.iter_mut().filter_map(|reply| reply.try_take().expect("answered")).count();
    assert_eq!(busy, 5, "four wait, one is in the pipe");
}

#[actix::test]
async fn a_request_that_is_longer_than_a_frame_is_refused_and_the_lane_goes_on() {
    let world = World::new().await;
    let (lane, mut peer) = world.lane().await;
    let large = get(Value::Bytes(vec![0; limits::PEER_FRAME_BYTES].into()));
    let refused = world.ask(&lane, &large, SECOND).await;
    assert!(matches!(refused, Ok(Err(SendError::TooBig(size))) if size > limits::PEER_FRAME_BYTES));
    let reply = world.ask(&lane, &get(Value::Nil), SECOND);
    peer.answer(0, Answer::Absent).await;
    assert_eq!(reply.await, Ok(Ok(Answer::Absent)));
}

#[actix::test]
async fn an_answer_to_what_was_never_asked_ends_the_lane() {
    let world = World::new().await;
    let (lane, mut peer) = world.lane().await;
    let reply = world.ask(&lane, &get(Value::Nil), SECOND);
    peer.answer(1, Answer::Absent).await;
    assert_eq!(reply.await, Ok(Err(SendError::Closed)));
    assert!(!lane.is_open());
}

#[actix::test]
async fn garbage_ends_the_lane() {
    for garbage in [&[0, 0, 0, 2, 0xc1, 0xc1][..], &[0xff; 4], &[0; 4]] {
        let world = World::new().await;
        let (lane, mut peer) = world.lane().await;
        let reply = world.ask(&lane, &get(Value::Nil), SECOND);
        peer.stream.write_all(garbage).await.expect("there is room");
        assert_eq!(reply.await, Ok(Err(SendError::Closed)), "{garbage:?}");
    }
}

#[actix::test]
async fn when_the_peer_hangs_up_every_request_under_way_learns_it() {
    let world = World::new().await;
    let (lane, peer) = world.lane().await;
    let replies: Vec<Reply> = (0..10).map(|n| world.ask(&lane, &get(number(n)), SECOND)).collect();
    drop(peer);
    for reply in replies {
        assert_eq!(reply.await, Ok(Err(SendError::Closed)));
    }
    assert!(!lane.is_open());
    let refused = world.ask(&lane, &get(Value::Nil), SECOND).await;
    assert!(matches!(refused, Ok(Err(SendError::Unreachable(_)))));
    assert_eq!((world.terms.traffic.sent.read(), world.terms.traffic.failed.read()), (10, 10));
}

#[actix::test]
async fn a_lane_ends_when_nobody_can_ask_any_more_and_everything_is_answered() {
    let world = World::new().await;
    let (lane, mut peer) = world.lane().await;
    let copy = lane.clone();
    let reply = world.ask(&lane, &get(Value::Nil), SECOND);
    drop(lane);
    settle().await;
    drop(copy);
    settle().await;
    peer.answer(0, Answer::Absent).await;
    assert_eq!(reply.await, Ok(Ok(Answer::Absent)));
    peer.hung_up().await;
}
