//! Bytes that came from a peer and were not looked at yet.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::AsyncRead;

use crate::wire::codec::{self, FrameError};

/// Most bytes that are read at once.
pub(super) const READ_BYTES: usize = 64 << 10;

/// What is reserved for a lane over which little comes.
const LITTLE: usize = 4 << 10;

/// A buffer that grows with what comes, not with what a peer says will come: it doubles when it is full.
#[derive(Debug, Default)]
pub(super) struct Input {
    /// Filled from `start` to `end`. The rest is there to be read into.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Input {
    /// The next frame's body, once all of it is there.
    pub fn next(&mut self, limit: usize) -> Result<Option<&[u8]>, FrameError> {
        let body = codec::body(&self.buffer[self.start..self.end], limit)?;
        self.start += body.map_or(0, |body| codec::HEAD + body.len());
        Ok(body)
    }

    /// Reads once. Answers how many bytes came; 0 if no more will.
    pub fn poll_fill<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        task: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.make_room();
        let most = self.buffer.len().min(self.end + READ_BYTES);
        let number = ready!(Pin::new(stream).poll_read(task, &mut self.buffer[self.end..most]))?;
        self.end += number;
        if self.end == self.buffer.len() && self.buffer.len() < READ_BYTES {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        Poll::Ready(Ok(number))
    }

    /// How many bytes came and were not looked at.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// How many bytes there will be once the frame that they begin with is there; at least as many as there are.
    pub fn needed(&self) -> usize {
        self.len().max(codec::whole(&self.buffer[self.start..self.end]))
    }

    /// Whether every byte that came was part of a frame that was looked at.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Whether memory is reserved.
    pub fn holds_memory(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// Gives back what is reserved, if nothing is in it.
    pub fn rest(&mut self) {
        if self.is_empty() {
            *self = Input::default();
        }
    }

    fn make_room(&mut self) {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.end == self.buffer.len() {
            self.buffer.resize((self.end * 2).max(LITTLE), 0);
        } else if self.end == 0 && self.buffer.len() > READ_BYTES {
            self.buffer.truncate(READ_BYTES);
            self.buffer.shrink_to_fit();
        }
    }
}
