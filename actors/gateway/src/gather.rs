//! One command that calls several objects and makes one answer of what they reply.
//!
//! A command may name tens of thousands of keys with values of a MiB each. So only a few are called at a time, and when
//! what they replied is too much for one answer the rest is not called.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use comet_kernel::contract::aso::{Op, Reply};
use comet_kernel::{Key, UnixMillis};

use crate::answers::Started;
use crate::error_line::ErrorLine;
use crate::frame::{Frame, Outcome};
use crate::session::{Begun, Session};
use crate::unread::{SMALL_ANSWER, Unread, refusal};

/// Objects called at a time.
const WINDOW: usize = 256;
/// Most bytes of values in one answer.
const ANSWER_BYTES: usize = 64 << 20;

/// The calls of one command.
pub(crate) struct Gather {
    /// Calls not yet made.
    rest: std::vec::IntoIter<(Key, Op)>,
    under_way: VecDeque<Begun>,
    outcomes: Vec<Outcome>,
    bytes: usize,
    unread: Unread,
    finish: fn(Vec<Outcome>, UnixMillis) -> Frame,
}

impl Gather {
    /// Calls each object in turn; `finish` makes the answer out of what came of each, in the same order. If any key is
    /// not a key, nothing is called.
    pub(crate) fn start<'a>(
        session: &mut Session,
        calls: impl ExactSizeIterator<Item = (&'a [u8], Op)>,
        finish: fn(Vec<Outcome>, UnixMillis) -> Frame,
    ) -> Result<Started, ErrorLine> {
        let calls = calls.map(|(key, op)| Ok((Key::new(key)?, op))).collect::<Result<Vec<_>, ErrorLine>>()?;
        let mut gather = Gather {
            outcomes: Vec::with_capacity(calls.len()),
            rest: calls.into_iter(),
            under_way: VecDeque::new(),
            bytes: 0,
            unread: Unread::new(&session.common.tally),
            finish,
        };
        gather.fill(session);
        Ok(Started::Gather(Box::new(gather)))
    }

    /// How many calls it has under way at most.
    pub(crate) fn width(&self) -> usize {
        self.under_way.len().max(1)
    }

    /// Whether every object has been called, so that a later request cannot come before.
    pub(crate) fn has_called_all(&self) -> bool {
        self.rest.len() == 0
    }

    /// The answer, once every object has replied.
    pub(crate) fn poll(&mut self, session: &mut Session, context: &mut Context<'_>) -> Poll<Frame> {
        while let Some(begun) = self.under_way.pop_front() {
            let outcome = match begun {
                Begun::Done(outcome) => outcome,
                Begun::Awaited(mut awaited) => match awaited.poll(session, context) {
                    Poll::Ready(outcome) => outcome,
                    Poll::Pending => {
                        self.under_way.push_front(Begun::Awaited(awaited));
                        return Poll::Pending;
                    }
                },
            };
            let grown = outcome.as_ref().map_or(0, size);
            self.bytes += grown;
            if self.bytes > ANSWER_BYTES {
                self.give_up(session);
                return Poll::Ready(Frame::Error(ErrorLine::new(format!(
                    "TOOBIG the answer has more than {ANSWER_BYTES} bytes; ask for fewer keys at once"
                ))));
            }
            if self.bytes > SMALL_ANSWER {
                if !session.common.tally.has_room(grown) {
                    self.give_up(session);
                    return Poll::Ready(Frame::Error(refusal()));
                }
                self.unread.hold(self.bytes);
            }
            self.outcomes.push(outcome);
            self.fill(session);
        }
        // It is counted with the connection's output from here on.
        self.unread.hold(0);
        Poll::Ready((self.finish)(std::mem::take(&mut self.outcomes), session.unix))
    }

    /// Waits for nothing any more.
    pub(crate) fn give_up(&mut self, session: &mut Session) {
        self.rest = Vec::new().into_iter();
        for begun in self.under_way.drain(..) {
            if let Begun::Awaited(awaited) = begun {
                session.ended(&awaited);
            }
        }
    }

    fn fill(&mut self, session: &mut Session) {
        while self.under_way.len() < WINDOW {
            let Some((key, op)) = self.rest.next() else { break };
            let begun = session.begin(key.as_bytes(), op);
            self.under_way.push_back(begun);
        }
    }
}

fn size(reply: &Reply) -> usize {
    match reply {
        Reply::Value(value) => value.encoded_size(),
        Reply::Plain(record) => record.value.encoded_size(),
        _ => 0,
    }
}
