//! Plain values that are written behind, under `durability = none`.
//!
//! Such a write is answered as soon as the value stands in the directory. Here it is noted which keys the disk does not
//! have yet; every flush interval their present values go to storage. A key that is written often is stored once for each
//! interval, and a store that is slow makes the interval longer instead of a queue.

use std::collections::HashMap;

use comet_kernel::contract::storage::{Former, Write, WriteError};
use comet_kernel::{Context, Key, Pending, Work, limits};

use super::Shard;

/// How many keys go to storage at once.
const CHUNK: usize = 1_024;
/// With more keys than this waiting, whoever writes waits for storage.
const MOST: usize = limits::SHARED_MAILBOX * 4;

type Keys = HashMap<Key, Former, ahash::RandomState>;

/// The keys that the disk does not have yet, each with what it has of them.
#[derive(Debug, Default)]
pub(super) struct Behind {
    dirty: Keys,
    /// Sent to storage, but not answered yet.
    sent: Keys,
    scheduled: bool,
}

impl Behind {
    /// Whether the disk is behind what is in memory under this key.
    pub fn contains(&self, key: &Key) -> bool {
        self.dirty.contains_key(key) || self.sent.contains_key(key)
    }

    /// What the disk has, or will have once it has done what it was sent, if that is not what is in memory.
    pub fn former(&self, key: &Key) -> Option<Former> {
        self.dirty.get(key).copied()
    }

    /// Somebody else writes the key now.
    pub fn forget(&mut self, key: &Key) {
        self.dirty.remove(key);
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.dirty.is_empty() && self.sent.is_empty()
    }

    /// Whether so much waits that whoever writes has to wait too.
    pub fn is_full(&self) -> bool {
        self.dirty.len() >= MOST
    }

    /// Forgets everything: the store was cleared.
    pub fn clear(&mut self) {
        self.dirty.clear();
        self.sent.clear();
    }
}

impl Shard {
    /// Notes that a key is to be written at the next flush. `former` is what the disk has of it.
    pub(super) fn write_behind(&mut self, key: &Key, former: Former, context: &mut Context<Self>) {
        if !self.behind.dirty.contains_key(key) {
            self.behind.dirty.insert(key.clone(), former);
        }
        self.flush_later(context);
    }

    fn flush_later(&mut self, context: &mut Context<Self>) {
        if !self.behind.scheduled {
            self.behind.scheduled = true;
            let clock = self.local.env.kernel.clock.clone();
            context.after(&clock, self.local.env.flush_interval, |shard, context| {
                shard.behind.scheduled = false;
                shard.flush(context);
            });
        }
    }

    /// Sends what waits to storage, a chunk at a time: the next when storage has answered for the one before.
    pub(super) fn flush(&mut self, context: &mut Context<Self>) {
        if !self.behind.sent.is_empty() || self.behind.dirty.is_empty() {
            return;
        }
        let keys: Vec<Key> = self.behind.dirty.keys().take(CHUNK).cloned().collect();
        let mut under_way = Vec::with_capacity(keys.len());
        for key in keys {
            let Some(former) = self.behind.dirty.remove(&key) else { continue };
            let record = self.local.env.directory.settled(&key);
            let write = Write { key: key.clone(), record, former, behind: true };
            match self.local.env.storage.write.ask(write) {
                Ok(pending) => under_way.push((key.clone(), pending)),
                Err(_full_or_vacant) => {
                    self.behind.dirty.insert(key, former);
                    break;
                }
            }
            self.behind.sent.insert(key, former);
        }
        if under_way.is_empty() {
            return self.flush_later(context);
        }
        let epoch = self.local.epoch.get();
        context.then(failed(under_way), move |shard, failed, context| {
            if shard.local.epoch.get() == epoch {
                shard.flushed(&failed, context);
            }
        });
    }

    fn flushed(&mut self, failed: &[Key], context: &mut Context<Self>) {
        let mut sent = std::mem::take(&mut self.behind.sent);
        for key in failed {
            // The disk has what it had before, whatever was noted for the key meanwhile.
            if let Some((key, former)) = sent.remove_entry(key) {
                self.behind.dirty.insert(key, former);
            }
        }
        if failed.is_empty() {
            self.flush(context);
        } else {
            self.flush_later(context);
        }
    }
}

/// The keys whose writes failed.
async fn failed(under_way: Vec<(Key, Pending<Result<(), WriteError>>)>) -> Vec<Key> {
    let mut keys = Vec::new();
    for (key, pending) in under_way {
        if !matches!(pending.await, Ok(Ok(()))) {
            keys.push(key);
        }
    }
    keys
}
