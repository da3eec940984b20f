//! Who is in memory: the table from keys to plain values and active objects, shared by every thread.
//!
//! It is what makes the hot path of a read short: a plain value is answered from here without any message, and a call on
//! an active object goes straight into its mailbox. Only the shard that a key belongs to changes the key's entry,
//! and its object, on the same thread, how much memory it takes.
//!
//! A call is sent while the entry is held. So once a shard has taken an entry out, no call is on its way into the mailbox
//! behind it, and the shard's own last word to the object is the last.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use dashmap::DashMap;

use crate::clock::{Moment, UnixMillis};
use crate::contract::aso::{Call, Refusal, Reply};
use crate::handle::{Door, Handle, Reason};
use crate::key::Key;
use crate::record::Record;
use crate::reply::{Pending, Responder, pair};

/// The table, and the shards behind it. Copies share it.
#[derive(Clone, Debug)]
pub struct Directory(Arc<Table>);

#[derive(Debug)]
struct Table {
    entries: DashMap<Key, Entry, ahash::RandomState>,
    shards: Box<[Handle<Call>]>,
    bytes: AtomicUsize,
    active: AtomicUsize,
}

/// The way back to whoever called.
pub type CallResponder = Responder<Result<Reply, Refusal>>;

/// How much is in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Keys.
    pub keys: usize,
    /// Objects with an actor of their own.
    pub active: usize,
    /// Bytes, as far as they are counted: values, states, and what the table itself needs.
    pub bytes: usize,
}

/// What is in memory under one key.
#[derive(Debug)]
struct Entry {
    presence: Presence,
    bytes: u32,
    /// Seconds on the node's clock, so that the least recently used can be told.
    used: AtomicU32,
}

/// How a key is in memory.
#[derive(Debug)]
pub enum Presence {
    /// A plain value as it is on the disk, or will be at the next flush; a tombstone; or an object that nothing can run of,
    /// because its script is lost.
    Plain(Arc<Record>),
    /// A plain value that is being changed: its shard knows.
    Changing,
    /// An object with a script.
    Active(Door<Call>),
}

/// The first answer to a call.
#[derive(Debug)]
pub enum Asked {
    /// The answer itself.
    Done(Result<Reply, Refusal>),
    /// The answer is to come.
    Later(Pending<Result<Reply, Refusal>>),
}

/// What became of a call that a shard wanted to hand on.
#[derive(Debug)]
pub enum HandedOn {
    /// The object has it, or has refused it.
    Done,
    /// There is a plain value.
    Plain(Call, CallResponder, Arc<Record>),
    /// The key is not in memory, or is being changed.
    Nothing(Call, CallResponder),
    /// The object's actor has ended.
    Dead(Call, CallResponder),
}

impl Directory {
    /// An empty table in front of these shards.
    ///
    /// # Panics
    ///
    /// If there is no shard.
    pub fn new(shards: Vec<Handle<Call>>) -> Self {
        assert!(!shards.is_empty(), "every key belongs to a shard");
        Directory(Arc::new(Table {
            entries: DashMap::default(),
            shards: shards.into(),
            bytes: AtomicUsize::new(0),
            active: AtomicUsize::new(0),
        }))
    }

    /// The plain value under a key, if it is in memory and settled. Touches no mailbox.
    pub fn plain(&self, key: &[u8], now: Moment, unix: UnixMillis) -> Option<Arc<Record>> {
        let entry = self.0.entries.get(key)?;
        match &entry.presence {
            Presence::Plain(record) if record.is_live(unix) && record.active.is_none() => {
                entry.touch(now);
                Some(record.clone())
            }
            _ => None,
        }
    }

    /// Whether there is something in memory under a key, and not the tombstone of something.
    pub fn holds(&self, key: &Key) -> bool {
        self.0.entries.get(key).is_some_and(|entry| match &entry.presence {
            Presence::Plain(record) => record.removed().is_none(),
            Presence::Changing | Presence::Active(_) => true,
        })
    }

    /// Asks the object, or its shard if it is not active. `ordered` calls go through the shard in any case, which puts
    /// them behind whatever the same sender sent there before.
    pub fn ask(&self, call: Call, now: Moment, ordered: bool) -> Asked {
        let (responder, pending) = pair(call.request.id);
        match self.send(call, responder, now, ordered) {
            Ok(()) => Asked::Later(pending),
            Err(refusal) => Asked::Done(Err(refusal)),
        }
    }

    fn send(&self, call: Call, responder: CallResponder, now: Moment, ordered: bool) -> Result<(), Refusal> {
        let (mut call, mut responder) = (call, responder);
        if !ordered
            && let Some(entry) = self.0.entries.get(&call.key)
            && let Presence::Active(door) = &entry.presence
        {
            entry.touch(now);
            match door.forward(call, responder) {
                Ok(()) => return Ok(()),
                Err((refused, _)) if refused.reason == Reason::Full => return Err(busy("the object")),
                // The object has died; its shard will know.
                Err((refused, back)) => (call, responder) = (refused.message, back),
            }
        }
        let shard = &self.0.shards[self.shard_of(&call.key)];
        shard.forward(call, responder).map_err(|(refused, _)| match refused.reason {
            Reason::Full => busy("the object's shard"),
            Reason::Vacant => Refusal::Unavailable("the object's shard is being restarted; try again".to_owned()),
        })
    }

    /// The handles of the shards, in order.
    pub fn shards(&self) -> &[Handle<Call>] {
        &self.0.shards
    }

    /// The number of the shard that a key belongs to.
    pub fn shard_of(&self, key: &Key) -> usize {
        (self.0.entries.hasher().hash_one(key) % self.0.shards.len() as u64) as usize
    }

    /// Hands a call on to the object if it is active; gives it back with what else is there. For the key's shard.
    pub fn hand_on(&self, call: Call, responder: CallResponder) -> HandedOn {
        let Some(entry) = self.0.entries.get(&call.key) else { return HandedOn::Nothing(call, responder) };
        match &entry.presence {
            Presence::Plain(record) => HandedOn::Plain(call, responder, record.clone()),
            Presence::Changing => HandedOn::Nothing(call, responder),
            Presence::Active(door) => match door.forward(call, responder) {
                Ok(()) => HandedOn::Done,
                Err((refused, responder)) if refused.reason == Reason::Full => {
                    responder.answer(Err(busy("the object")));
                    HandedOn::Done
                }
                Err((refused, responder)) => HandedOn::Dead(refused.message, responder),
            },
        }
    }

    /// The plain value under a key that no write is under way for, expired or not. For the key's shard.
    pub fn settled(&self, key: &Key) -> Option<Arc<Record>> {
        match &self.0.entries.get(key)?.presence {
            Presence::Plain(record) => Some(record.clone()),
            _ => None,
        }
    }

    /// Whether an actor hosts the key's object now.
    pub fn is_active(&self, key: &Key) -> bool {
        self.0.entries.get(key).is_some_and(|entry| matches!(entry.presence, Presence::Active(_)))
    }

    /// Puts a key in memory, in place of how it was there before. `bytes` is what it takes, roughly. For the key's shard.
    /// True if it was not in memory at all.
    pub fn insert(&self, key: &Key, presence: Presence, bytes: usize, now: Moment) -> bool {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let active = matches!(presence, Presence::Active(_));
        let entry = Entry { presence, bytes, used: AtomicU32::new(seconds(now)) };
        self.0.bytes.fetch_add(bytes as usize, Ordering::Relaxed);
        self.0.active.fetch_add(usize::from(active), Ordering::Relaxed);
        let former = self.0.entries.insert(key.clone(), entry);
        let new = former.is_none();
        self.forget(former);
        new
    }

    /// Notes what an active object takes in memory by now, roughly. For the object, on the thread of its shard. False if it
    /// is not there.
    pub fn weigh(&self, key: &Key, bytes: usize) -> bool {
        let Some(mut entry) = self.0.entries.get_mut(key) else { return false };
        if !matches!(entry.presence, Presence::Active(_)) {
            return false;
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let former = std::mem::replace(&mut entry.bytes, bytes);
        self.0.bytes.fetch_add(bytes as usize, Ordering::Relaxed);
        self.0.bytes.fetch_sub(former as usize, Ordering::Relaxed);
        true
    }

    /// Takes a key out of memory. For the key's shard.
    pub fn remove(&self, key: &Key) -> Option<Presence> {
        let (_, entry) = self.0.entries.remove(key)?;
        let Entry { presence, bytes, .. } = entry;
        self.0.bytes.fetch_sub(bytes as usize, Ordering::Relaxed);
        self.0.active.fetch_sub(usize::from(matches!(presence, Presence::Active(_))), Ordering::Relaxed);
        Some(presence)
    }

    /// How long a key has not been used, and what it takes in memory; `None` if it is not there.
    pub fn idle(&self, key: &Key, now: Moment) -> Option<(Duration, usize)> {
        let entry = self.0.entries.get(key)?;
        let used = entry.used.load(Ordering::Relaxed);
        Some((Duration::from_secs(u64::from(seconds(now).saturating_sub(used))), entry.bytes as usize))
    }

    /// Whether the actor that the key's entry leads to has ended.
    pub fn is_dead(&self, key: &Key) -> bool {
        self.0
            .entries
            .get(key)
            .is_some_and(|entry| matches!(&entry.presence, Presence::Active(door) if !door.is_open()))
    }

    /// Every key of one shard that is in memory; of active objects only, if so wanted. Goes through the whole table.
    pub fn keys_of(&self, shard: usize, active_only: bool) -> Vec<Key> {
        let wanted = |presence: &Presence| !active_only || matches!(presence, Presence::Active(_));
        let entries =
            self.0.entries.iter().filter(|entry| wanted(&entry.presence) && self.shard_of(entry.key()) == shard);
        entries.map(|entry| entry.key().clone()).collect()
    }

    /// What is in memory now.
    pub fn size(&self) -> Size {
        Size {
            keys: self.0.entries.len(),
            active: self.0.active.load(Ordering::Relaxed),
            bytes: self.0.bytes.load(Ordering::Relaxed),
        }
    }

    fn forget(&self, former: Option<Entry>) {
        if let Some(former) = former {
            self.0.bytes.fetch_sub(former.bytes as usize, Ordering::Relaxed);
            self.0.active.fetch_sub(usize::from(matches!(former.presence, Presence::Active(_))), Ordering::Relaxed);
        }
    }
}

impl Entry {
    fn touch(&self, now: Moment) {
        let now = seconds(now);
        // Most touches fall into the same second; a shared cache line need not be written then.
        if self.used.load(Ordering::Relaxed) != now {
            self.used.store(now, Ordering::Relaxed);
        }
    }
}

fn seconds(now: Moment) -> u32 {
    now.elapsed().as_secs() as u32
}

fn busy(who: &str) -> Refusal {
    Refusal::Unavailable(format!("too much is waiting for {who}; try again"))
}
