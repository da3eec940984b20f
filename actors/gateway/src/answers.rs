//! Answers to come, in the order of their requests.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use comet_kernel::{Moment, UnixMillis};
use futures::future::LocalBoxFuture;

use crate::encoder;
use crate::error_line::ErrorLine;
use crate::frame::{Frame, Outcome};
use crate::gather::Gather;
use crate::session::{Awaited, Session};
use crate::tally::Tally;
use crate::unread::{SMALL_ANSWER, Unread, refusal};

/// Calls of one connection that may be under way before no more requests are started.
const UNDER_WAY: usize = 1_024;
/// Bytes of the requests under way before no more are started: what is to be put waits in memory until it is stored.
const REQUESTED_BYTES: usize = 4 << 20;
/// Bytes that may wait to be written before no more requests are started and no more answers taken.
const OUTPUT_BYTES: usize = 1 << 20;

/// How long between two looks at what has come for later requests than the oldest.
const LOOK: Duration = Duration::from_millis(1);

/// What a command came to.
pub(crate) enum Started {
    /// It is answered.
    Done(Frame),
    /// One object was called.
    Call {
        /// The call.
        awaited: Awaited,
        /// Makes the answer.
        finish: fn(Outcome, UnixMillis) -> Frame,
    },
    /// Several objects are called.
    Gather(Box<Gather>),
    /// Another actor was asked. Nothing else of the connection runs beside it.
    Task(LocalBoxFuture<'static, Frame>),
}

/// The answers that a connection still owes.
pub(crate) struct Answers {
    owed: VecDeque<Owed>,
    /// Bytes of answers that are there, but behind one that is not, or behind more than the client reads.
    held: Unread,
    /// Calls under way, at most.
    calls: usize,
    /// Bytes of their requests.
    requested: usize,
    /// When what has come for later requests was last looked at.
    looked: Moment,
}

struct Owed {
    deadline: Moment,
    calls: usize,
    /// Bytes of the request.
    requested: usize,
    answer: Answer,
}

enum Answer {
    /// Answers that are there, but behind one that is not, or behind more than the client reads.
    Held(Vec<u8>),
    Call {
        awaited: Awaited,
        finish: fn(Outcome, UnixMillis) -> Frame,
    },
    Gather(Box<Gather>),
    Task(LocalBoxFuture<'static, Frame>),
}

impl Answers {
    pub(crate) fn new(tally: &Arc<Tally>) -> Self {
        let held = Unread::new(tally);
        Answers { owed: VecDeque::new(), held, calls: 0, requested: 0, looked: Moment::default() }
    }

    /// Whether nothing is owed.
    pub(crate) fn is_empty(&self) -> bool {
        self.owed.is_empty()
    }

    /// Whether another request may start, given what waits to be written here and on all connections: the bounds are not
    /// reached, and nothing runs that no request may overtake.
    pub(crate) fn have_room(&self, output: usize, tally: &Tally) -> bool {
        let overtakes = match self.owed.back().map(|owed| &owed.answer) {
            Some(Answer::Task(_)) => false,
            Some(Answer::Gather(gather)) => gather.has_called_all(),
            _ => true,
        };
        let waiting = output + self.held.bytes();
        let room = waiting < SMALL_ANSWER || (waiting < OUTPUT_BYTES && !tally.is_tight());
        overtakes && self.calls < UNDER_WAY && self.requested < REQUESTED_BYTES && room
    }

    /// When the oldest request has to be answered; none while so much waits to be written that no answer is taken.
    pub(crate) fn due(&self, output: usize) -> Option<Moment> {
        self.owed.front().filter(|_| output < OUTPUT_BYTES).map(|owed| owed.deadline)
    }

    /// Takes in what a command came to. What is answered goes out at once if nothing is owed before it.
    pub(crate) fn enter(&mut self, started: Started, session: &Session, output: &mut Vec<u8>) {
        let mut calls = 1;
        let answer = match started {
            Started::Done(frame) if self.owed.is_empty() => return encode(output, &frame, session),
            Started::Done(frame) => return self.hold(&frame, session),
            Started::Call { awaited, finish } => Answer::Call { awaited, finish },
            Started::Gather(gather) => {
                calls = gather.width();
                Answer::Gather(gather)
            }
            Started::Task(task) => Answer::Task(task),
        };
        self.calls += calls;
        self.owed.push_back(Owed { deadline: session.deadline(), calls, requested: 0, answer });
    }

    /// Takes note of how many bytes the request had that was entered last.
    pub(crate) fn charge(&mut self, bytes: usize) {
        if let Some(owed) = self.owed.back_mut().filter(|owed| !matches!(owed.answer, Answer::Held(_))) {
            owed.requested += bytes;
            self.requested += bytes;
        }
    }

    fn hold(&mut self, frame: &Frame, session: &Session) {
        if !matches!(self.owed.back(), Some(Owed { answer: Answer::Held(_), .. })) {
            self.owed.push_back(Owed {
                deadline: session.deadline(),
                calls: 0,
                requested: 0,
                answer: Answer::Held(Vec::new()),
            });
        }
        if let Some(Owed { answer: Answer::Held(bytes), .. }) = self.owed.back_mut() {
            let before = bytes.len();
            encode(bytes, frame, session);
            self.held.hold(self.held.bytes() + bytes.len() - before);
        }
    }

    /// Moves the answers that are there to the output, in order, until one is not there or the output is full. Whether
    /// there was any.
    pub(crate) fn take(&mut self, session: &mut Session, output: &mut Vec<u8>, context: &mut Context<'_>) -> bool {
        let mut any = false;
        while output.len() < OUTPUT_BYTES {
            let Some(owed) = self.owed.front_mut() else { break };
            match owed.poll(session, context) {
                Poll::Pending => break,
                Poll::Ready(Ready::Frame(frame)) => encode(output, &frame, session),
                Poll::Ready(Ready::Bytes(bytes)) => {
                    self.held.hold(self.held.bytes() - bytes.len());
                    output.extend_from_slice(&bytes);
                }
            }
            self.calls -= owed.calls;
            self.requested -= owed.requested;
            self.owed.pop_front();
            any = true;
        }
        if !self.owed.is_empty() && session.now.since(self.looked) >= LOOK {
            self.looked = session.now;
            self.look(session, context);
        }
        any
    }

    /// Makes answers of all that has come, so that it counts as what waits to be written does, and is refused where that
    /// would be: a thousand calls may be under way, and bring a MiB each.
    fn look(&mut self, session: &mut Session, context: &mut Context<'_>) {
        for owed in &mut self.owed {
            if matches!(owed.answer, Answer::Held(_) | Answer::Task(_)) {
                continue;
            }
            if let Poll::Ready(Ready::Frame(frame)) = owed.poll(session, context) {
                let mut bytes = Vec::new();
                encode(&mut bytes, &frame, session);
                self.held.hold(self.held.bytes() + bytes.len());
                self.calls -= std::mem::take(&mut owed.calls);
                self.requested -= std::mem::take(&mut owed.requested);
                owed.answer = Answer::Held(bytes);
            }
        }
    }
}

/// Writes an answer behind what `out` holds; an error, if it is a large one and there is no room for it.
fn encode(out: &mut Vec<u8>, frame: &Frame, session: &Session) {
    let before = out.len();
    encoder::frame(out, frame, session.version);
    let size = out.len() - before;
    if size > SMALL_ANSWER && !session.common.tally.has_room(size) {
        out.truncate(before);
        out.shrink_to(SMALL_ANSWER);
        encoder::frame(out, &Frame::Error(refusal()), session.version);
    }
}

enum Ready {
    Frame(Frame),
    Bytes(Vec<u8>),
}

impl Owed {
    fn poll(&mut self, session: &mut Session, context: &mut Context<'_>) -> Poll<Ready> {
        let polled = match &mut self.answer {
            Answer::Held(bytes) => return Poll::Ready(Ready::Bytes(std::mem::take(bytes))),
            Answer::Call { awaited, finish } => {
                awaited.poll(session, context).map(|outcome| finish(outcome, session.unix))
            }
            Answer::Gather(gather) => gather.poll(session, context),
            Answer::Task(task) => task.as_mut().poll(context),
        };
        match polled {
            Poll::Pending if self.deadline <= session.now => Poll::Ready(Ready::Frame(self.give_up(session))),
            polled => polled.map(Ready::Frame),
        }
    }

    fn give_up(&mut self, session: &mut Session) -> Frame {
        match &mut self.answer {
            Answer::Call { awaited, .. } => session.ended(awaited),
            Answer::Gather(gather) => gather.give_up(session),
            Answer::Held(_) | Answer::Task(_) => {}
        }
        let waited = session.common.settings.request_timeout_ms;
        Frame::Error(ErrorLine::new(format!("TIMEOUT no answer within {waited} ms")))
    }
}

impl Awaited {
    /// What came of the call, once it is there.
    pub(crate) fn poll(&mut self, session: &mut Session, context: &mut Context<'_>) -> Poll<Outcome> {
        Pin::new(&mut self.pending).poll(context).map(|answer| {
            session.ended(self);
            answer.map_err(ErrorLine::from).and_then(|reply| reply.map_err(ErrorLine::from))
        })
    }
}
