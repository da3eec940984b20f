//! How much memory answers take that clients have not read, over all connections.
//!
//! Each connection alone holds little more than one answer. But a client may have as many connections as it likes and read
//! nothing on any of them. So all of them together have a bound: from half of it on, connections take less in and those
//! that read too slowly are closed; at the bound, large answers are not made.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use comet_kernel::limits::UNREAD_BYTES;

use crate::error_line::ErrorLine;
use crate::tally::Tally;

/// Largest answer that is made whatever others hold.
pub(crate) const SMALL_ANSWER: usize = 16 << 10;

/// What one connection, or one answer in the making, holds. It counts for as long as this lives.
#[derive(Debug)]
pub(crate) struct Unread {
    tally: Arc<Tally>,
    bytes: usize,
}

impl Unread {
    /// Holds nothing yet.
    pub(crate) fn new(tally: &Arc<Tally>) -> Self {
        Unread { tally: tally.clone(), bytes: 0 }
    }

    /// How many bytes it holds.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Holds so many bytes from now on.
    pub(crate) fn hold(&mut self, bytes: usize) {
        if bytes > self.bytes {
            self.tally.unread.fetch_add(bytes - self.bytes, Ordering::Relaxed);
        } else if bytes < self.bytes {
            self.tally.unread.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
        }
        self.bytes = bytes;
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        self.hold(0);
    }
}

impl Tally {
    /// Whether what is unread leaves room for so many bytes more of a large answer.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.unread.load(Ordering::Relaxed) + bytes <= UNREAD_BYTES
    }

    /// Whether clients should read before they get more.
    pub(crate) fn is_tight(&self) -> bool {
        self.unread.load(Ordering::Relaxed) > UNREAD_BYTES / 2
    }
}

/// What a client is told instead of an answer for which there is no room.
pub(crate) fn refusal() -> ErrorLine {
    ErrorLine::new(format!(
        "UNAVAILABLE answers that clients have not read yet take up {} MiB of memory, which is all they may; this one is \
         not sent, and what the request was to change is changed; try again",
        UNREAD_BYTES >> 20
    ))
}
