//! One round: a walk over what this node stores, page by page, and what comes of it.
//!
//! A page is planned, compared with everyone it concerns at once, and concluded before the next one is read. So a round
//! holds one page and what is under way for it, however much the node stores.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use comet_kernel::contract::storage::{Page, Read, ReadStatus, Scan};
use comet_kernel::{Key, Neighbour, NodeId, Record, limits};
use futures::stream::{self, StreamExt};

use super::heard::Heard;
use super::item;
use super::nearest::Regions;
use super::peers::Peers;
use super::plan::{Entry, Own, Plan};
use super::scope::{Reason, Scope};
use crate::messages::Adopt;
use crate::spec::Env;

/// Peers that a page is compared with at once: with each, about one MiB of copies may be under way.
const PEERS: usize = 16;
/// Records that are planned before whatever else runs on the thread has its turn.
const TURN: usize = 64;
/// KiB of records in a page of keys that were named, past which the page ends early.
const PAGE_KIB: u32 = 4 << 10;
/// Surplus copies that are dropped at once: enough for them to share a commit.
const DROPS: usize = 64;
/// Keys that are left for a later round; what goes beyond is done at once.
const LATER: usize = 4_096;

/// One round.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) env: Env,
    pub(super) own: NodeId,
    pub(super) peers: Peers,
    pub(super) regions: Regions,
    scope: Scope,
    heard: Rc<RefCell<Heard>>,
    later: RefCell<HashSet<Key>>,
    outcome: RefCell<Outcome>,
    handed: Rc<Cell<u64>>,
}

/// What came of a round.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Everything that the round was about has been looked at.
    pub complete: bool,
    /// A walk over everything has passed over damaged places: what stands there has not been looked at.
    pub damaged: bool,
    /// Objects looked at.
    pub compared: u64,
    /// Surplus copies dropped.
    pub dropped: u64,
    /// Objects of which this node's copy may be behind.
    pub unsure: u64,
    /// Peers that failed.
    pub failed: usize,
    /// Objects to look at again: somebody else is likely to send what is lacking.
    pub later: HashSet<Key>,
}

impl Round {
    /// A round of the node `own`. It counts in `handed` the objects that it has handed over, if it is for that.
    pub fn new(env: &Env, own: &NodeId, scope: Scope, heard: &Rc<RefCell<Heard>>, handed: &Rc<Cell<u64>>) -> Self {
        Round {
            env: env.clone(),
            own: own.clone(),
            peers: Peers::new(env, own),
            regions: Regions::default(),
            scope,
            heard: heard.clone(),
            later: RefCell::default(),
            outcome: RefCell::default(),
            handed: handed.clone(),
        }
    }

    /// Makes the round.
    pub async fn run(self) -> Outcome {
        let complete = !self.scope.walks() || self.walk().await;
        self.mend(complete && self.scope.walks()).await;
        let mut outcome = self.outcome.into_inner();
        outcome.complete = complete;
        outcome.failed = self.peers.failed();
        outcome.later = self.later.into_inner();
        outcome
    }

    /// Goes through all that is stored; whether it has seen it all.
    async fn walk(&self) -> bool {
        let mut after = None;
        loop {
            let scan = Scan { after, limit: limits::PAGE_ITEMS };
            let Page { items, next } = match self.env.storage.scan.call(scan).await {
                Ok(Ok(page)) => page,
                failure => {
                    tracing::warn!(?failure, "what is stored could not be read; it will be compared later");
                    return false;
                }
            };
            self.page(items).await;
            if self.scope.draining {
                tracing::info!(handed_over = self.handed.get(), "handing objects over");
            }
            match next {
                Some(_) => after = next,
                None => return self.is_whole().await,
            }
        }
    }

    /// Whether a walk that came to its end has seen everything: storage passes over places that are damaged.
    async fn is_whole(&self) -> bool {
        let Ok(status) = self.env.storage.read_status.call(ReadStatus).await else { return false };
        let damaged = status.damaged_places > 0;
        if damaged {
            tracing::warn!(places = status.damaged_places, "what stands at damaged places was not compared");
        }
        self.outcome.borrow_mut().damaged = damaged;
        !damaged
    }

    /// Looks at the keys that were named. A walk over everything has seen those that are stored.
    async fn mend(&self, walked: bool) {
        let (mut stored, mut kib) = (Vec::new(), 0);
        for key in self.scope.keys() {
            match self.env.storage.read.call(Read { key: key.clone(), request: None }).await {
                Ok(Ok(Some(record))) if !walked => {
                    kib += item::kib(&record);
                    stored.push((key.clone(), record));
                }
                Ok(Ok(None)) => self.mend_afar(key).await,
                _ => (),
            }
            if stored.len() == limits::PAGE_ITEMS || kib > PAGE_KIB {
                self.page(std::mem::take(&mut stored)).await;
                kib = 0;
            }
        }
        self.page(stored).await;
    }

    async fn page(&self, records: Vec<(Key, Arc<Record>)>) {
        let records: Vec<_> =
            stream::iter(records).map(|(key, record)| self.adopted(key, record)).buffered(DROPS).collect().await;
        let mut entries = Vec::new();
        for (at, (key, record)) in records.into_iter().enumerate() {
            entries.extend(self.plan(&key, &record).await);
            if at % TURN == TURN - 1 {
                tokio::task::yield_now().await;
            }
        }
        let mut targets: HashMap<&NodeId, (&Neighbour, Vec<&Entry>)> = HashMap::new();
        for entry in &entries {
            for node in &entry.plan.targets {
                targets.entry(&node.id).or_insert_with(|| (node, Vec::new())).1.push(entry);
            }
        }
        let exchanges = targets.into_values().map(|(peer, entries)| self.exchange(peer, entries));
        stream::iter(exchanges).for_each_concurrent(PEERS, |exchange| exchange).await;
        stream::iter(&entries).for_each_concurrent(DROPS, |entry| self.conclude(entry)).await;
    }

    /// The record with a signature, if it was stored while this node was alone and there are others now.
    async fn adopted(&self, key: Key, record: Arc<Record>) -> (Key, Arc<Record>) {
        let is_old = record.provenance.is_none() && self.may_travel(&record);
        if !is_old || self.env.service.neighbours.len() < 2 {
            return (key, record);
        }
        let adopted = self.env.adopt.call(Adopt { key: key.clone() }).await;
        (key, adopted.ok().flatten().unwrap_or(record))
    }

    /// What is to be done for one record; none if nothing is.
    async fn plan(&self, key: &Key, record: &Record) -> Option<Entry> {
        // What nobody has signed nobody takes.
        if record.provenance.is_none() || !self.may_travel(record) {
            return None;
        }
        let replicas = replicas(&self.env, record);
        let place = key.place();
        let nearest = self.regions.nearest(&self.env, key, &place, replicas).await;
        let holders = &nearest.nodes[..replicas.min(nearest.nodes.len())];
        let reason = self.scope.reason(key, &place, holders, replicas)?;
        let everything = reason == Reason::Everything;
        let plan = Plan::new(&self.scope, reason, &nearest, replicas, &self.own);
        let item = item::item(key, record);
        if everything && plan.own == Own::Stays && !self.scope.thorough && self.has_heard(&item) {
            return None;
        }
        Some(Entry::new(item, plan, item::kib(record)))
    }

    fn has_heard(&self, item: &crate::wire::Item) -> bool {
        self.heard.borrow_mut().knows(item, self.env.kernel.clock.now())
    }

    async fn conclude(&self, entry: &Entry) {
        let quorum = self.env.settings.dht.write_quorum as usize;
        {
            let mut outcome = self.outcome.borrow_mut();
            outcome.compared += 1;
            outcome.unsure += u64::from(entry.is_unsure(quorum));
        }
        if self.scope.draining && entry.is_handed_over() {
            self.handed.set(self.handed.get() + 1);
        }
        if entry.may_go() && self.peers.drop_own(&entry.item.key, entry.item.version).await {
            self.env.tally.copies_dropped.add(1);
            self.outcome.borrow_mut().dropped += 1;
        }
    }

    /// Whether the object is left for a later round.
    pub(super) fn leave_for_later(&self, key: &Key) -> bool {
        let mut later = self.later.borrow_mut();
        if later.len() < LATER {
            later.insert(key.clone());
        }
        later.contains(key)
    }
}

/// How many nodes should hold an object.
pub(super) fn replicas(env: &Env, record: &Record) -> usize {
    let wanted = record.provenance.as_ref().and_then(|provenance| provenance.replicas);
    wanted.map_or(env.settings.dht.replication as usize, usize::from).max(1)
}
