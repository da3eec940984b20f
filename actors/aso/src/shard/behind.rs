//! What is written behind: the changes of handlers, and plain values under `durability = none`.
//!
//! Such a change is answered at once. Here it is noted which keys the disk does not have yet; every flush interval their
//! present state goes to storage, a chunk at a time. A key that changes often is stored once for each interval. Storage is
//! kept busy with this for a third of the time at the most, so that it is there for those who wait for it: if more
//! changes than that, the interval grows instead of a queue.

use std::collections::HashMap;
use std::time::Duration;

use comet_kernel::contract::aso::{Call, Op, Refusal, Reply};
use comet_kernel::contract::storage::{Before, Former, Write, WriteError};
use comet_kernel::directory::HandedOn;
use comet_kernel::reply::pair;
use comet_kernel::{Context, Key, Pending, Request, Work, limits};

use super::Shard;

/// How many keys of each sort go to storage at once.
const CHUNK: usize = 1_024;
/// With more plain values than this waiting, whoever writes waits for storage.
const MOST: usize = limits::SHARED_MAILBOX * 4;
/// How many times as long as storage took for a chunk it is left alone.
const REST: u32 = 2;

type Keys = HashMap<Key, Former, ahash::RandomState>;
type Written = Result<(), WriteError>;
type Asked = Vec<(Key, Pending<Result<Reply, Refusal>>)>;
type UnderWay<T> = Vec<(Key, Pending<Written>, T)>;

/// The plain values that the disk does not have yet, each with what it has of them; and what is under way.
#[derive(Debug, Default)]
pub(super) struct Behind {
    dirty: Keys,
    /// Sent to storage, but not answered yet.
    sent: Keys,
    under_way: bool,
    /// Objects that are to retire when the flush that is under way is done: should it fail, they have to be told.
    postponed: Vec<Key>,
}

/// What did not reach the disk.
struct Failed {
    /// Objects that could not be asked to send themselves.
    unasked: Vec<Key>,
    plain: Vec<(Key, ())>,
    objects: Vec<(Key, Before)>,
}

impl Behind {
    /// Whether the disk is behind what is in memory under this key of a plain value.
    pub fn contains(&self, key: &Key) -> bool {
        self.dirty.contains_key(key) || self.sent.contains_key(key)
    }

    /// What the disk has, or will have once it has done what it was sent, if that is not what is in memory.
    pub fn former(&self, key: &Key) -> Option<Former> {
        self.dirty.get(key).copied()
    }

    /// Notes a change. `former` is what the disk has of the key.
    pub fn note(&mut self, key: &Key, former: Former) {
        if !self.dirty.contains_key(key) {
            self.dirty.insert(key.clone(), former);
        }
    }

    /// Somebody else writes the key now.
    pub fn forget(&mut self, key: &Key) {
        self.dirty.remove(key);
        // Should that fail, it must not be written over what somebody else has written.
        self.sent.remove(key);
    }

    /// Whether no plain value waits.
    pub fn is_empty(&self) -> bool {
        self.dirty.is_empty() && self.sent.is_empty()
    }

    /// Whether so much waits that whoever writes has to wait too.
    pub fn is_full(&self) -> bool {
        self.dirty.len() >= MOST
    }

    /// Whether a flush is under way.
    pub fn is_under_way(&self) -> bool {
        self.under_way
    }

    /// Lets an object retire when the flush that is under way is done.
    pub fn postpone(&mut self, key: Key) {
        self.postponed.push(key);
    }

    /// Forgets everything: the store was cleared.
    pub fn clear(&mut self) {
        *self = Behind { under_way: self.under_way, ..Behind::default() };
    }
}

impl Shard {
    /// Flushes for ever, every flush interval.
    pub(super) fn flush_later(&mut self, wait: Duration, context: &mut Context<Self>) {
        let clock = self.local.env.kernel.clock.clone();
        context.after(&clock, wait, super::Shard::flush);
    }

    fn flush(&mut self, context: &mut Context<Self>) {
        if self.clearing.is_some() {
            return self.flush_later(self.local.env.flush_interval, context);
        }
        let asked = self.ask_objects();
        let under_way = self.send_plain();
        if asked.is_empty() && under_way.is_empty() {
            return self.flush_later(self.local.env.flush_interval, context);
        }
        self.behind.under_way = true;
        let begun = self.local.env.now();
        let epoch = self.local.epoch.get();
        let outcome = async move {
            let (writes, unasked) = writes_of(asked).await;
            let objects = failed(writes).await;
            Failed { unasked, plain: failed(under_way).await, objects }
        };
        context.then(outcome, move |shard, failed, context| {
            let took = shard.local.env.now().since(begun);
            shard.when_free(context, move |shard, context| shard.flushed(failed, epoch, took, context));
        });
    }

    fn flushed(&mut self, failed: Failed, epoch: u64, took: Duration, context: &mut Context<Self>) {
        let refused = !(failed.plain.is_empty() && failed.objects.is_empty() && failed.unasked.is_empty());
        if self.local.epoch.get() == epoch {
            self.give_back(failed);
        }
        self.behind.under_way = false;
        for key in std::mem::take(&mut self.behind.postponed) {
            self.retire(key, false, context);
        }
        let more = !self.behind.dirty.is_empty() || !self.local.dirty.borrow().is_empty();
        // A store that refuses does so at once: it is not asked again before its time.
        let rest = if more && !refused { took * REST } else { self.local.env.flush_interval };
        self.flush_later(rest.min(self.local.env.flush_interval), context);
    }

    /// Asks objects that have changed to send themselves to storage: they alone know the order of their writes.
    fn ask_objects(&mut self) -> Asked {
        let mut dirty = self.local.dirty.borrow_mut();
        let chunk = dirty.len().min(CHUNK);
        let keys: Vec<Key> = dirty.drain(..chunk).collect();
        drop(dirty);
        keys.into_iter().filter_map(|key| Some((key.clone(), self.say(key, Op::Flush)?))).collect()
    }

    /// Says something to an object if it is active. An object that is not has written itself out when it retired.
    fn say(&self, key: Key, op: Op) -> Option<Pending<Result<Reply, Refusal>>> {
        let env = &self.local.env;
        let request = Request::until(env.now());
        let (responder, pending) = pair(request.id);
        let call = Call { key, request, caller: env.node.clone(), op, stamp: None };
        matches!(env.directory.hand_on(call, responder), HandedOn::Done).then_some(pending)
    }

    fn send_plain(&mut self) -> UnderWay<()> {
        let keys: Vec<Key> = self.behind.dirty.keys().take(CHUNK).cloned().collect();
        let mut under_way = Vec::with_capacity(keys.len());
        for key in keys {
            let Some(former) = self.behind.dirty.remove(&key) else { continue };
            let record = self.local.env.directory.settled(&key);
            let write = Write { key: key.clone(), record, former, behind: true };
            match self.local.env.storage.write.ask(write) {
                Ok(pending) => under_way.push((key.clone(), pending, ())),
                Err(_full_or_vacant) => {
                    self.behind.dirty.insert(key, former);
                    break;
                }
            }
            self.behind.sent.insert(key, former);
        }
        under_way
    }

    fn give_back(&mut self, failed: Failed) {
        self.local.dirty.borrow_mut().extend(failed.unasked);
        let mut sent = std::mem::take(&mut self.behind.sent);
        for (key, ()) in failed.plain {
            // The disk has what it had before, whatever was noted for the key meanwhile.
            if let Some(former) = sent.remove(&key) {
                self.behind.dirty.insert(key, former);
            }
        }
        for (key, before) in failed.objects {
            // Who has died meanwhile starts from the disk anyway.
            let _told = self.say(key, Op::Unflushed(before));
        }
    }
}

/// The writes that objects sent, and the objects that had too much waiting to be asked.
async fn writes_of(asked: Asked) -> (UnderWay<Before>, Vec<Key>) {
    let mut writes = Vec::with_capacity(asked.len());
    let mut unasked = Vec::new();
    for (key, pending) in asked {
        match pending.await {
            Ok(Ok(Reply::Flushing(Some(write)))) => {
                let (write, before) = *write;
                writes.push((key, write, before));
            }
            Ok(Err(_busy)) => unasked.push(key),
            _ => {}
        }
    }
    (writes, unasked)
}

/// The keys whose writes failed, with what is kept of them.
async fn failed<T>(under_way: UnderWay<T>) -> Vec<(Key, T)> {
    let mut failed = Vec::new();
    for (key, pending, kept) in under_way {
        if !matches!(pending.await, Ok(Ok(()))) {
            failed.push((key, kept));
        }
    }
    failed
}
