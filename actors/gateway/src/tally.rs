//! What the gateway counts, over all connections and all lives of its listener.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Counters of the gateway since the node started.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    open: AtomicUsize,
    emptied: Notify,
    ids: AtomicU64,
    /// Bytes of answers that are in memory and not written.
    pub(crate) unread: AtomicUsize,
    /// Connections accepted.
    pub(crate) accepted: AtomicU64,
    /// Connections refused because there were too many.
    pub(crate) rejected: AtomicU64,
    /// Requests started.
    pub(crate) requests: AtomicU64,
    /// Bytes read.
    pub(crate) read: AtomicU64,
    /// Bytes written.
    pub(crate) written: AtomicU64,
}

/// One open connection. It counts for as long as this lives, however it ends.
#[derive(Debug)]
pub(crate) struct Open(Arc<Tally>);

impl Tally {
    /// Counts a connection in, unless `limit` are open already.
    pub(crate) fn enter(self: &Arc<Self>, limit: usize) -> Option<Open> {
        if self.open.fetch_add(1, Ordering::AcqRel) >= limit {
            self.leave();
            self.rejected.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        self.accepted.fetch_add(1, Ordering::Relaxed);
        Some(Open(self.clone()))
    }

    /// Connections open now.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// Resolves once no connection is open.
    pub(crate) async fn emptied(&self) {
        loop {
            let emptied = self.emptied.notified();
            tokio::pin!(emptied);
            // Waits from here on, so that the last connection cannot leave unseen between the look and the wait.
            emptied.as_mut().enable();
            if self.open() == 0 {
                return;
            }
            emptied.await;
        }
    }

    /// A number that no other connection has.
    pub(crate) fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn leave(&self) {
        if self.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.emptied.notify_waiters();
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.leave();
    }
}
