//! What is written behind: the changes of handlers, and plain values under `durability = none`.
//!
//! Such a change is answered at once. Here it is noted which keys the disk does not have yet; every flush interval their
//! present state goes to storage, a chunk at a time. A key that changes often is stored once for each interval. Storage is
//! kept busy with this for a third of the time at the most, so that it is there for those who wait for it: if more
//! changes than that, the interval grows instead of a queue. An object that does not answer within the interval, since it
//! waits for something itself, keeps the others from nothing: its answer is awaited beside them.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use comet_kernel::contract::aso::{Call, Op, Refusal, Reply};
use comet_kernel::contract::storage::{Before, Former, Write, WriteError};
use comet_kernel::directory::HandedOn;
use comet_kernel::reply::{NoAnswer, pair};
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
type Answer = Pending<Result<Reply, Refusal>>;
type Asked = Vec<(Key, Answer)>;
type UnderWay<T> = Vec<(Key, Pending<Written>, T)>;

/// The plain values that the disk does not have yet, each with what it has of them; and what is under way.
#[derive(Debug, Default)]
pub(super) struct Behind {
    dirty: Keys,
    /// Sent to storage, but not answered yet.
    sent: Keys,
    under_way: bool,
    /// Objects that were asked in a former flush and have not answered yet.
    late: HashSet<Key, ahash::RandomState>,
    /// Objects that are to retire when their flush is done: should it fail, they have to be told.
    postponed: HashSet<Key, ahash::RandomState>,
}

/// What did not reach the disk.
struct Failed {
    plain: Vec<(Key, ())>,
    objects: FailedObjects,
    /// Objects that have not answered yet.
    late: Asked,
}

/// Objects that did not reach the disk.
struct FailedObjects {
    /// Those that could not be asked to send themselves.
    unasked: Vec<Key>,
    sent: Vec<(Key, Before)>,
}

impl FailedObjects {
    fn is_empty(&self) -> bool {
        self.unasked.is_empty() && self.sent.is_empty()
    }
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

    /// Whether it is not known yet what becomes of a flush of this object.
    pub fn may_fail(&self, key: &Key) -> bool {
        self.under_way || self.late.contains(key)
    }

    /// Lets an object retire when its flush is done.
    pub fn postpone(&mut self, key: Key) {
        self.postponed.insert(key);
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
        let clock = self.local.env.kernel.clock.clone();
        let patience = self.local.env.flush_interval;
        let outcome = async move {
            let mut replies = Replies::default();
            let late = replies.collect(asked, clock.sleep(patience)).await;
            let objects = replies.failed().await;
            Failed { plain: failed(under_way).await, objects, late }
        };
        context.then(outcome, move |shard, failed, context| {
            let took = shard.local.env.now().since(begun);
            shard.when_free(context, move |shard, context| shard.flushed(failed, epoch, took, context));
        });
    }

    fn flushed(&mut self, failed: Failed, epoch: u64, took: Duration, context: &mut Context<Self>) {
        let refused = !(failed.plain.is_empty() && failed.objects.is_empty());
        if self.local.epoch.get() == epoch {
            self.give_back_plain(failed.plain);
            self.give_back_objects(failed.objects);
            for (key, answer) in failed.late {
                self.await_late(key, answer, context);
            }
        }
        self.behind.under_way = false;
        self.retire_postponed(context);
        let more = !self.behind.dirty.is_empty() || !self.local.dirty.borrow().is_empty();
        // A store that refuses does so at once: it is not asked again before its time.
        let rest = if more && !refused { took * REST } else { self.local.env.flush_interval };
        self.flush_later(rest.min(self.local.env.flush_interval), context);
    }

    /// Waits for an object that has not answered its flush, however long that takes. Until then it is not asked again.
    fn await_late(&mut self, key: Key, answer: Answer, context: &mut Context<Self>) {
        self.behind.late.insert(key.clone());
        let asked = vec![(key.clone(), answer)];
        let outcome = async move {
            let mut replies = Replies::default();
            let _none = replies.collect(asked, std::future::pending()).await;
            replies.failed().await
        };
        self.unless_cleared(context, outcome, move |shard, failed, context| {
            shard.behind.late.remove(&key);
            shard.give_back_objects(failed);
            shard.retire_postponed(context);
        });
    }

    fn retire_postponed(&mut self, context: &mut Context<Self>) {
        for key in std::mem::take(&mut self.behind.postponed) {
            self.retire(key, false, context);
        }
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

    fn give_back_plain(&mut self, failed: Vec<(Key, ())>) {
        let mut sent = std::mem::take(&mut self.behind.sent);
        for (key, ()) in failed {
            // The disk has what it had before, whatever was noted for the key meanwhile.
            if let Some(former) = sent.remove(&key) {
                self.behind.dirty.insert(key, former);
            }
        }
    }

    fn give_back_objects(&mut self, failed: FailedObjects) {
        self.local.dirty.borrow_mut().extend(failed.unasked);
        for (key, before) in failed.sent {
            // Who has died meanwhile starts from the disk anyway.
            let _told = self.say(key, Op::Unflushed(before));
        }
    }
}

/// What objects answered that were asked to send themselves.
#[derive(Default)]
struct Replies {
    writes: UnderWay<Before>,
    /// Those that had too much waiting to be asked.
    unasked: Vec<Key>,
}

impl Replies {
    /// Collects answers until `end`. Those that have not come by then.
    async fn collect(&mut self, asked: Asked, end: impl Future<Output = ()>) -> Asked {
        let mut end = std::pin::pin!(end);
        let (mut late, mut ended) = (Vec::new(), false);
        for (key, mut pending) in asked {
            tokio::select! {
                biased;
                answer = &mut pending => self.take(key, answer),
                () = &mut end, if !ended => {
                    ended = true;
                    late.push((key, pending));
                }
                () = std::future::ready(()), if ended => late.push((key, pending)),
            }
        }
        late
    }

    fn take(&mut self, key: Key, answer: Result<Result<Reply, Refusal>, NoAnswer>) {
        match answer {
            Ok(Ok(Reply::Flushing(Some(write)))) => {
                let (write, before) = *write;
                self.writes.push((key, write, before));
            }
            Ok(Err(_busy)) => self.unasked.push(key),
            _ => {}
        }
    }

    /// Awaits the writes. What did not reach the disk.
    async fn failed(self) -> FailedObjects {
        FailedObjects { unasked: self.unasked, sent: failed(self.writes).await }
    }
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
