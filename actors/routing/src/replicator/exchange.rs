//! What a round has to say to one peer: comparisons, then copies one way or the other.

use std::collections::HashSet;
use std::sync::Arc;

use comet_kernel::contract::aso::Arrived;
use comet_kernel::provenance::Removal;
use comet_kernel::{Key, Neighbour, Record};
use futures::stream::{self, StreamExt};

use super::item;
use super::plan::{Entry, Own};
use super::round::Round;
use crate::wire::{Answer, Ask, COMPARED, Item};

/// Bytes of items in one comparison at most; the rest of the 256 KiB is for the frame's own fields.
const BYTES: usize = 255 << 10;
/// Copies under way to or from one peer at once.
const IN_FLIGHT: usize = 16;
/// KiB that a copy is expected to take before anybody has seen it.
const UNSEEN_KIB: u32 = 64;

/// What a peer says of the objects compared.
struct Compared {
    wanted: HashSet<Key>,
    newer: HashSet<Key>,
    declined: HashSet<Key>,
}

impl Round {
    /// Compares these objects with a peer, and sends and fetches what differs.
    pub(super) async fn exchange(&self, peer: &Neighbour, entries: Vec<&Entry>) {
        for batch in batches(&entries) {
            let items = batch.iter().map(|entry| entry.item.clone()).collect();
            let Some(compared) = self.compare(peer, items).await else { return };
            let each = |entry| self.settle(peer, entry, &compared);
            stream::iter(batch.iter().copied()).for_each_concurrent(IN_FLIGHT, each).await;
        }
    }

    async fn compare(&self, peer: &Neighbour, items: Vec<Item>) -> Option<Compared> {
        match self.peers.ask(peer, Ask::Compare { items }).await? {
            Answer::Compared { wanted, newer, declined } => Some(Compared {
                wanted: wanted.into_iter().collect(),
                newer: newer.into_iter().collect(),
                declined: declined.into_iter().collect(),
            }),
            other => {
                self.peers.give_up(peer, &format_args!("it answers a comparison with {other:?}"));
                None
            }
        }
    }

    /// Does what one answer asks for.
    async fn settle(&self, peer: &Neighbour, entry: &Entry, compared: &Compared) {
        let key = &entry.item.key;
        entry.answer();
        if compared.newer.contains(key) {
            self.pull(peer, entry).await;
        } else if compared.wanted.contains(key) {
            self.push(peer, entry).await;
        } else if !compared.declined.contains(key) {
            entry.confirm();
        }
    }

    async fn push(&self, peer: &Neighbour, entry: &Entry) {
        let key = &entry.item.key;
        if self.peers.has_failed(peer) || (entry.plan.patient && self.leave_for_later(key)) {
            return;
        }
        let room = self.peers.room(peer, entry.kib).await;
        let Some(record) = self.peers.own_copy(key).await else { return };
        let arrived = if self.may_travel(&record) { self.send(peer, key, record).await } else { None };
        drop(room);
        match arrived {
            Some(Arrived::Outdated(_)) => self.pull(peer, entry).await,
            Some(_) => entry.confirm(),
            None => (),
        }
    }

    /// Sends a copy to a peer; what became of it there.
    pub(super) async fn send(&self, peer: &Neighbour, key: &Key, record: Arc<Record>) -> Option<Arrived> {
        match self.peers.ask(peer, Ask::Arrive { key: key.clone(), record, caused: 0 }).await? {
            Answer::Arrived(arrived) => {
                let taken = matches!(arrived, Arrived::Taken | Arrived::Merged);
                self.env.tally.copies_sent.add(u64::from(taken));
                Some(arrived)
            }
            refused => {
                tracing::debug!(peer = %peer.id, %key, ?refused, "a copy was not taken");
                None
            }
        }
    }

    /// Fetches what a peer has newer, if it can be stored here. For a surplus copy it is enough that the peer has it.
    async fn pull(&self, peer: &Neighbour, entry: &Entry) {
        if entry.plan.own == Own::Goes {
            return entry.confirm();
        }
        if self.env.storage.gate.is_shut() {
            return entry.stale.set(true);
        }
        let key = &entry.item.key;
        let taken = match self.fetch(peer, key).await {
            Some(record) if record.version > entry.item.version => self.peers.take(peer, key, record).await,
            _ => false,
        };
        if taken {
            entry.confirm();
        } else {
            entry.stale.set(true);
        }
    }

    /// A peer's copy, if it may travel.
    pub(super) async fn fetch(&self, peer: &Neighbour, key: &Key) -> Option<Arc<Record>> {
        let _room = self.peers.room(peer, UNSEEN_KIB).await;
        match self.peers.ask(peer, Ask::Copy { key: key.clone() }).await? {
            Answer::Record(record) => self.may_travel(&record).then_some(record),
            _ => None,
        }
    }

    /// What has ended is not sent, and neither is the mark of a copy that removed itself.
    pub(super) fn may_travel(&self, record: &Record) -> bool {
        !record.expired(self.env.kernel.clock.unix()) && record.removed() != Some(Removal::Here)
    }
}

/// Cuts a list into comparisons that fit into their frames.
pub(super) fn batches<'a, 'b>(entries: &'b [&'a Entry]) -> Vec<&'b [&'a Entry]> {
    let (mut batches, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (at, entry) in entries.iter().enumerate() {
        let size = item::size(&entry.item);
        if at - start == COMPARED || bytes + size > BYTES {
            batches.push(&entries[start..at]);
            (start, bytes) = (at, 0);
        }
        bytes += size;
    }
    batches.push(&entries[start..]);
    batches
}
