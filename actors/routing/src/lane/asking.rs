//! The side of a lane that asks.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use comet_kernel::{Clock, Moment, Responder, limits};
use futures::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::beat::Beat;
use super::hello::{Greeted, greet};
use super::input::Input;
use super::output::Output;
use super::pace::Pace;
use super::{LaneError, ROUNDS, Terms, Traffic, UNSENT_BYTES};
use crate::messages::SendError;
use crate::wire::codec::{self, FrameError};
use crate::wire::{Answer, Ask, Framed};

/// A lane to a peer. Copies share it; it ends when the last is gone and nothing is under way.
#[derive(Clone)]
pub(crate) struct Lane(Rc<RefCell<Desk>>);

/// What those who ask and the task that owns the stream share.
struct Desk {
    clock: Clock,
    traffic: Arc<Traffic>,
    output: Output,
    /// By id. Ids are counted up from 0, so that one which was never given out is seen.
    waiting: HashMap<u64, Waiting>,
    next_id: u64,
    /// The task's, if it waits.
    waker: Option<Waker>,
    open: bool,
}

struct Waiting {
    deadline: Moment,
    responder: Responder<Result<Answer, SendError>>,
}

impl Lane {
    /// Greets the peer, and starts the task that owns the stream.
    pub async fn open<S>(stream: S, terms: &Terms) -> Result<Lane, LaneError>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let Greeted { stream, input, output } = greet(stream, terms).await?;
        let desk = Rc::new(RefCell::new(Desk {
            clock: terms.clock.clone(),
            traffic: terms.traffic.clone(),
            output,
            waiting: HashMap::new(),
            next_id: 0,
            waker: None,
            open: true,
        }));
        let (heard, wrote) = (Pace::new(terms.patience), Pace::new(terms.patience));
        let clerk = Clerk { stream, input, heard, wrote, desk: desk.clone(), beat: Beat::new(&terms.clock) };
        tokio::task::spawn_local(clerk.work(terms.patience));
        Ok(Lane(desk))
    }

    /// Asks. Never waits: the responder gets the answer, or learns why there is none.
    pub fn send(&self, ask: &Ask, deadline: Moment, responder: Responder<Result<Answer, SendError>>) {
        let mut desk = self.0.borrow_mut();
        match desk.write(ask, deadline) {
            Ok(id) => desk.wait(id, Waiting { deadline, responder }),
            Err(refused) => responder.answer(Err(refused)),
        }
    }

    /// Whether it has not ended yet.
    pub fn is_open(&self) -> bool {
        self.0.borrow().open
    }

    /// How many requests are under way.
    pub fn under_way(&self) -> usize {
        self.0.borrow().waiting.len()
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.0.borrow_mut().wake();
    }
}

impl Desk {
    fn write(&mut self, ask: &Ask, deadline: Moment) -> Result<u64, SendError> {
        if !self.open {
            return Err(SendError::Unreachable("the lane to it has ended".to_owned()));
        }
        if self.waiting.len() >= limits::LANE_REQUESTS || self.output.len() >= UNSENT_BYTES {
            return Err(SendError::Busy);
        }
        let left = deadline.since(self.clock.now());
        if left.is_zero() {
            return Err(SendError::TimedOut);
        }
        // Rounded up, so that what is left is never nothing.
        let left_ms = u32::try_from(left.as_micros().div_ceil(1_000).max(1)).unwrap_or(u32::MAX);
        let id = self.next_id;
        self.output.push(&Framed { id, left_ms, body: ask }).map_err(|error| match error {
            FrameError::TooLong { size, .. } | FrameError::Malformed { size, .. } => SendError::TooBig(size),
        })?;
        self.next_id += 1;
        Ok(id)
    }

    fn wait(&mut self, id: u64, waiting: Waiting) {
        self.traffic.sent.add(1);
        self.waiting.insert(id, waiting);
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn answer(&mut self, Framed { id, body, .. }: Framed<Answer>) -> Result<(), LaneError> {
        if id >= self.next_id {
            return Err(LaneError::NeverAsked(id));
        }
        // An answer for which nobody waits came too late.
        if let Some(waiting) = self.waiting.remove(&id) {
            self.traffic.answered.add(1);
            waiting.responder.answer(Ok(body));
        }
        Ok(())
    }

    /// Ends what has waited too long.
    fn sweep(&mut self) {
        let now = self.clock.now();
        for (_, late) in self.waiting.extract_if(|_, waiting| waiting.deadline <= now) {
            self.traffic.failed.add(1);
            late.responder.answer(Err(SendError::TimedOut));
        }
        if self.waiting.is_empty() {
            self.output.rest();
        }
    }

    fn close(&mut self) {
        self.open = false;
        self.output = Output::default();
        for (_, waiting) in self.waiting.drain() {
            self.traffic.failed.add(1);
            waiting.responder.answer(Err(SendError::Closed));
        }
    }
}

/// The task that owns the stream.
struct Clerk<S> {
    stream: S,
    input: Input,
    heard: Pace,
    wrote: Pace,
    desk: Rc<RefCell<Desk>>,
    beat: Beat,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Clerk<S> {
    async fn work(mut self, patience: Duration) {
        let clock = self.desk.borrow().clock.clone();
        match poll_fn(|task| self.poll(task)).await {
            // What is dropped may be reset, which the peer would take for a broken connection.
            Ok(()) => drop(clock.timeout(patience, self.stream.close()).await),
            Err(error) => tracing::debug!(%error, "a lane ended"),
        }
    }

    fn poll(&mut self, task: &mut Context<'_>) -> Poll<Result<(), LaneError>> {
        for _ in 0..ROUNDS {
            let came = self.read(task)?;
            self.write(task)?;
            self.sweep(task)?;
            if self.unused() {
                return Poll::Ready(Ok(()));
            }
            if !came {
                self.desk.borrow_mut().waker = Some(task.waker().clone());
                return Poll::Pending;
            }
        }
        task.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads once, and gives every answer to who waits for it. Whether anything came.
    fn read(&mut self, task: &mut Context<'_>) -> Result<bool, LaneError> {
        match self.input.poll_fill(&mut self.stream, task)? {
            Poll::Pending => return Ok(false),
            Poll::Ready(0) => return Err(LaneError::HungUp),
            Poll::Ready(number) => self.heard.moved(number),
        }
        let mut desk = self.desk.borrow_mut();
        while let Some(frame) = self.input.next(limits::PEER_FRAME_BYTES)? {
            self.heard.moved_frame();
            desk.answer(codec::decode(frame)?)?;
        }
        Ok(true)
    }

    fn write(&mut self, task: &mut Context<'_>) -> Result<(), LaneError> {
        let output = &mut self.desk.borrow_mut().output;
        let before = output.len();
        let drained = output.poll_drain(&mut self.stream, task);
        self.wrote.moved(before - output.len());
        match drained {
            Poll::Ready(Err(error)) => Err(error.into()),
            Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
        }
    }

    /// Ends what has waited too long, and the lane of a peer that does not keep up.
    fn sweep(&mut self, task: &mut Context<'_>) -> Result<(), LaneError> {
        let mut desk = self.desk.borrow_mut();
        while self.beat.poll(!desk.waiting.is_empty() || desk.output.holds_memory() || self.input.holds_memory(), task)
        {
            desk.sweep();
            let now = desk.clock.now();
            let mute = self.heard.is_lost(!self.input.is_empty(), now);
            if self.wrote.is_lost(desk.output.len() > 0, now) || mute {
                return Err(LaneError::Stalled);
            }
            if desk.waiting.is_empty() {
                self.input.rest();
            }
        }
        Ok(())
    }

    fn unused(&self) -> bool {
        Rc::strong_count(&self.desk) == 1 && self.desk.borrow().waiting.is_empty()
    }
}

impl<S> Drop for Clerk<S> {
    /// Here, so that it also happens if the task ends with its thread.
    fn drop(&mut self) {
        self.desk.borrow_mut().close();
    }
}
