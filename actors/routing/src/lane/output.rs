//! Bytes for a peer that were not written yet.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use futures::AsyncWrite;
use serde::Serialize;

use crate::wire::codec::{self, FrameError};

/// Frames gather here until they are written together.
#[derive(Debug, Default)]
pub(super) struct Output {
    bytes: BytesMut,
    unflushed: bool,
}

impl Output {
    /// Adds a message. If it is too long for a frame, nothing has happened.
    pub fn push<T: Serialize>(&mut self, message: &T) -> Result<(), FrameError> {
        codec::encode(message, &mut self.bytes)
    }

    /// Takes back what was added since so many bytes waited.
    pub fn cut(&mut self, bytes: usize) {
        self.bytes.truncate(bytes);
    }

    /// How many bytes wait.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Writes what waits, and flushes once all of it is written. Ready when nothing is left to do.
    pub fn poll_drain<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        task: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.bytes.is_empty() {
            let number = ready!(Pin::new(&mut *stream).poll_write(task, &self.bytes))?;
            if number == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.bytes.advance(number);
            self.unflushed = true;
        }
        if self.unflushed {
            ready!(Pin::new(stream).poll_flush(task))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Whether memory is reserved.
    pub fn holds_memory(&self) -> bool {
        self.bytes.capacity() > 0
    }

    /// Gives back what is reserved, if nothing waits.
    pub fn rest(&mut self) {
        if self.bytes.is_empty() {
            self.bytes = BytesMut::new();
        }
    }
}
