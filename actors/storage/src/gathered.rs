//! The batch that gathers: what waits in the writer's mailbox becomes one commit and one `fsync`.

use comet_kernel::Responder;
use comet_kernel::contract::storage::WriteError;

use crate::changes::Changes;

/// Writes of one batch at most, so that the first is not kept waiting for long.
const WRITES: usize = 8_192;
/// Bytes of one batch at most: a batch is held in memory three times over.
const BYTES: usize = 8 << 20;

/// The way back to whoever asked for a write.
pub(crate) type Answer = Responder<Result<(), WriteError>>;

/// Writes that are to be committed together.
#[derive(Default)]
pub(crate) struct Gathered {
    /// What they change.
    pub(crate) changes: Changes,
    /// Whether somebody waits for one of them to be durable.
    pub(crate) awaited: bool,
    answers: Vec<Answer>,
}

impl Gathered {
    /// Adds who asked for the write that was last added to the changes.
    pub(crate) fn add(&mut self, answer: Answer, awaited: bool) {
        self.changes.writes += 1;
        self.awaited |= awaited;
        self.answers.push(answer);
    }

    /// Whether nothing was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    /// Whether it should be committed before anything is added.
    pub(crate) fn is_full(&self) -> bool {
        self.answers.len() >= WRITES || self.changes.bytes() >= BYTES
    }

    /// Gives everyone the same answer.
    pub(crate) fn answer(self, outcome: &Result<(), WriteError>) {
        for answer in self.answers {
            answer.answer(outcome.clone());
        }
    }
}
