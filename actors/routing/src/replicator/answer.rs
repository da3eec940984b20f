//! Answering a peer that compares what it stores with what this node stores.
//!
//! Records are read from storage, so that no object becomes active for it. A node that holds the mark of a copy that
//! removed itself answers as if it had that version: it does not want it back.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use comet_kernel::contract::aso::Refusal;
use comet_kernel::contract::library::Describe;
use comet_kernel::contract::storage::{Read, ReadError};
use comet_kernel::provenance::Removal;
use comet_kernel::record::is_timely;
use comet_kernel::{Caller, Record, ScriptHash};
use futures::stream::{self, StreamExt};
use tokio::sync::Semaphore;

use super::heard::Heard;
use super::item;
use super::round::replicas;
use crate::spec::Env;
use crate::wire::{Answer, Item};

/// Records that are read at once, for all comparisons together.
const READS: usize = 32;
/// Those of one comparison, so that none waits for all the reads of another.
const READS_EACH: usize = 8;
/// Scripts of which it is known whether they merge.
const SCRIPTS: usize = 1_024;
/// The largest number of replicas that a put can ask for. The asker's item does not say how many it asked for.
const MOST_REPLICAS: usize = 20;

/// Answers comparisons. Copies share what it knows.
#[derive(Clone, Debug)]
pub(super) struct Answering {
    env: Env,
    heard: Rc<RefCell<Heard>>,
    merging: Rc<RefCell<HashMap<ScriptHash, bool>>>,
    reads: Rc<Semaphore>,
}

/// How this node stands to one item.
enum Standing {
    /// It has the same.
    Holds,
    Wants,
    /// It has a newer version.
    Newer,
    /// It has nothing of the kind, and wants nothing.
    Declines,
}

impl Answering {
    /// Knows nothing of any script yet.
    pub fn new(env: &Env, heard: &Rc<RefCell<Heard>>) -> Self {
        let reads = Rc::new(Semaphore::new(READS));
        Answering { env: env.clone(), heard: heard.clone(), merging: Rc::default(), reads }
    }

    /// Answers one comparison.
    pub async fn answer(self, from: Arc<Caller>, items: Vec<Item>) -> Answer {
        let (mut wanted, mut newer, mut declined) = (Vec::new(), Vec::new(), Vec::new());
        let standings = stream::iter(items).map(|item| async {
            let standing = self.standing(&from, &item).await;
            (item.key, standing)
        });
        let mut standings = std::pin::pin!(standings.buffered(READS_EACH));
        while let Some((key, standing)) = standings.next().await {
            let Some(standing) = standing else {
                let refusal = Refusal::Unavailable("what is stored cannot be read; try again".to_owned());
                return Answer::Refused(refusal);
            };
            match standing {
                Standing::Holds => (),
                Standing::Wants => wanted.push(key),
                Standing::Newer => newer.push(key),
                Standing::Declines => declined.push(key),
            }
        }
        Answer::Compared { wanted, newer, declined }
    }

    /// None if what is here cannot be read: whoever asks must not take that for an answer.
    async fn standing(&self, from: &Caller, item: &Item) -> Option<Standing> {
        let _turn = self.reads.acquire().await.expect("the semaphore is never closed");
        Some(match self.env.storage.read.call(Read { key: item.key.clone(), request: None }).await {
            Ok(Ok(Some(record))) => self.compare(from, item, &record).await,
            // What is unreadable has been set aside: a copy from elsewhere takes its place.
            Ok(Ok(None) | Err(ReadError::Unreadable { .. } | ReadError::Damaged { .. })) => self.wish(item),
            Ok(Err(ReadError::Failed(_))) | Err(_) => return None,
        })
    }

    async fn compare(&self, from: &Caller, item: &Item, record: &Record) -> Standing {
        let left_here = record.removed() == Some(Removal::Here);
        // What was stored while this node's clock was wrong nobody else takes: it gives way to what they have.
        if record.version < item.version || !self.is_timely(record.version) {
            return self.wish(item);
        }
        if record.version > item.version {
            return if left_here { Standing::Declines } else { Standing::Newer };
        }
        if left_here {
            return Standing::Holds;
        }
        if item.state != item::state(record) {
            return if self.merges(record).await { self.wish(item) } else { Standing::Holds };
        }
        let holders = self.env.service.neighbours.nearest(&item.key.place(), replicas(&self.env, record));
        if holders.iter().any(|node| node.id.as_str() == &*from.id) {
            self.heard.borrow_mut().note(item, self.env.kernel.clock.now());
        }
        Standing::Holds
    }

    /// Whether this node wants what it does not have: not if others are much nearer, for then somebody fills its disk with
    /// what is not its business, and not from the future.
    fn wish(&self, item: &Item) -> Standing {
        let near = (2 * self.env.settings.dht.replication as usize).max(MOST_REPLICAS);
        let wants = self.is_timely(item.version) && self.env.service.neighbours.is_near(&item.key.place(), near);
        if wants { Standing::Wants } else { Standing::Declines }
    }

    fn is_timely(&self, version: u64) -> bool {
        is_timely(version, self.env.kernel.clock.unix())
    }

    /// Whether copies in different states have anything to tell each other.
    async fn merges(&self, record: &Record) -> bool {
        let Some(active) = &record.active else { return false };
        let hash = active.script.hash;
        let known = self.merging.borrow().get(&hash).copied();
        if let Some(merges) = known {
            return merges;
        }
        let Ok(Ok(Some(description))) = self.env.aso.describe.call(Describe { hash }).await else { return false };
        let mut merging = self.merging.borrow_mut();
        if merging.len() == SCRIPTS {
            merging.clear();
        }
        merging.insert(hash, description.merges);
        description.merges
    }
}
