//! Answers that wait for the disk.
//!
//! A shard or object applies a change to its memory at once and sends it to storage; what it answers about that change,
//! and about anything read while the change was not yet durable, waits here until storage says that it is. Storage
//! commits in the order of sending, so a number for each write is all that is needed.

use std::collections::VecDeque;

use comet_kernel::contract::aso::{Refusal, Reply};
use comet_kernel::directory::CallResponder;
use comet_kernel::limits;

/// The writes under way of one key, and the answers that wait for them.
#[derive(Debug, Default)]
pub(crate) struct Pipeline {
    sent: u64,
    done: u64,
    /// Boxed, because most objects have nothing waiting most of the time, and there are many.
    waiting: Option<Box<VecDeque<(u64, CallResponder, Reply)>>>,
}

impl Pipeline {
    /// A pipeline whose writes are numbered on from here, so that what comes late about the writes of an earlier one is
    /// not taken for word about its own.
    pub fn after(number: u64) -> Self {
        Pipeline { sent: number, done: number, ..Pipeline::default() }
    }

    /// Counts a write out; gives its number.
    pub fn send(&mut self) -> u64 {
        self.sent += 1;
        self.sent
    }

    /// Answers once every write sent so far is durable: now, if none is under way.
    pub fn answer(&mut self, responder: CallResponder, reply: Reply) {
        if self.is_idle() {
            responder.answer(Ok(reply));
        } else {
            self.waiting.get_or_insert_default().push_back((self.sent, responder, reply));
        }
    }

    /// The write of this number is durable, and so is every one before it.
    pub fn done(&mut self, number: u64) {
        self.done = self.done.max(number);
        let Some(waiting) = &mut self.waiting else { return };
        while waiting.front().is_some_and(|(awaited, ..)| *awaited <= self.done) {
            if let Some((_, responder, reply)) = waiting.pop_front() {
                responder.answer(Ok(reply));
            }
        }
        if waiting.is_empty() {
            self.waiting = None;
        }
    }

    /// A write failed: nothing that was built on it can be answered for.
    pub fn fail(&mut self, reason: &str) {
        self.done = self.sent;
        for (_, responder, _) in self.waiting.take().into_iter().flat_map(|waiting| *waiting) {
            responder.answer(Err(Refusal::Unavailable(reason.to_owned())));
        }
    }

    /// Whether it is known that the write of this number is durable, or it was another pipeline's.
    pub fn is_done(&self, number: u64) -> bool {
        number <= self.done
    }

    /// Whether so many answers wait that no more calls may be taken.
    pub fn is_full(&self) -> bool {
        self.waiting.as_ref().is_some_and(|waiting| waiting.len() >= limits::SHARED_MAILBOX)
    }

    /// Whether no write is under way.
    pub fn is_idle(&self) -> bool {
        self.sent == self.done
    }

    /// How many writes were sent.
    pub fn sent(&self) -> u64 {
        self.sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn word_of_an_earlier_pipeline_is_not_taken_for_word_of_a_later_one() {
        let mut earlier = Pipeline::default();
        let late = [earlier.send(), earlier.send()];
        earlier.done(late[1]);
        let mut later = Pipeline::after(late[1]);
        let own = later.send();
        assert!(late.iter().all(|number| later.is_done(*number)), "there is nothing to learn from them");
        assert!(!later.is_done(own) && !later.is_idle());
        later.done(own);
        assert!(later.is_idle());
    }
}
