//! What others see of the address book: the neighbours, for everyone; what changed among them, for the replicator.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use comet_kernel::{Context, Neighbour, NodeId, Work};

use super::Swarm;
use super::address::{self, Address};
use super::book::place;
use crate::messages::Changed;

/// Changes that come within this time are published together.
const TOGETHER: Duration = Duration::from_millis(20);

/// What has been published.
#[derive(Debug, Default)]
pub(crate) struct Published {
    own: Option<Arc<Neighbour>>,
    /// Whether this node's addresses may have changed.
    moved: bool,
    /// Whether a publication is on its way.
    soon: bool,
    /// What the replicator was told of. It may not have started yet, or be restarting.
    told: HashMap<NodeId, Arc<Neighbour>>,
    told_joined: bool,
    /// Neighbours that kept silent for a while and can be reached again: they may have missed something.
    back: HashMap<NodeId, Arc<Neighbour>>,
    untold: bool,
}

impl Published {
    /// This node's addresses may have changed.
    pub fn moved(&mut self) {
        self.moved = true;
    }

    /// A neighbour kept silent for a while and can be reached again.
    pub fn is_back(&mut self, node: Arc<Neighbour>) {
        self.back.insert(node.id.clone(), node);
        self.untold = true;
    }

    /// This node as others see it; none before it listens.
    pub fn own(&self) -> Option<Arc<Neighbour>> {
        self.own.clone()
    }
}

impl Swarm {
    /// Publishes what has changed, if anything has, with whatever else changes right now.
    pub(super) fn publish_soon(&mut self, context: &mut Context<Self>) {
        if self.published.soon || !(self.published.moved | self.book.take_changed()) {
            return;
        }
        self.published.soon = true;
        let clock = self.env.kernel.clock.clone();
        context.after(&clock, TOGETHER, Self::publish);
    }

    pub(super) fn publish(&mut self, _: &mut Context<Self>) {
        let _published_now = self.book.take_changed();
        self.published.soon = false;
        let met = self.book.pages().filter(|(_, page)| page.met.is_some());
        self.plan.reach.know(met.flat_map(|(_, page)| page.addresses.iter().copied()));
        if std::mem::take(&mut self.published.moved) {
            self.published.own = self.own_address().map(|address| self.describe_own(address)).or(self.published.own());
        }
        if let Some(own) = &self.published.own {
            self.plan.reach.note_own(own.ip);
            self.env.service.neighbours.publish(Neighbour::clone(own), self.book.all_met().cloned());
        }
        self.published.untold = true;
        self.tell_changes();
    }

    /// Tells the replicator what has changed since it last took notice.
    pub(super) fn tell_changes(&mut self) {
        let joined = self.upkeep.has_joined();
        self.env.joined.store(joined, Ordering::Release);
        if !self.published.untold && joined == self.published.told_joined {
            return;
        }
        let now: HashMap<_, _> = self.book.all_met().map(|met| (met.id.clone(), met.clone())).collect();
        let missing = |from: &HashMap<NodeId, Arc<Neighbour>>, in_: &HashMap<NodeId, Arc<Neighbour>>| {
            let missing = from.iter().filter(|(id, _)| !in_.contains_key(*id));
            missing.map(|(_, node)| node.clone()).collect::<Vec<_>>()
        };
        let told = &self.published.told;
        let back =
            self.published.back.values().filter(|node| now.contains_key(&node.id) && told.contains_key(&node.id));
        let arrived = missing(&now, told).into_iter().chain(back.cloned()).collect();
        let changed = Changed { joined: arrived, left: missing(told, &now), joined_network: joined };
        let nothing = changed.joined.is_empty() && changed.left.is_empty() && joined == self.published.told_joined;
        if nothing || self.env.changed.tell(changed).is_ok() {
            self.published.told = now;
            self.published.told_joined = joined;
            self.published.back.clear();
            self.published.untold = false;
        }
    }

    fn describe_own(&self, address: Address) -> Arc<Neighbour> {
        let own = &self.plan.own;
        let id = NodeId::from_text(&own.to_base58());
        Arc::new(Neighbour { id, ip: address.ip(), port: address.port(), place: place(own) })
    }

    /// The address of this node that is good for most: one that the operator names, or else the most public one that it
    /// listens on, over TCP if possible.
    fn own_address(&self) -> Option<Address> {
        let external = self.plan.external.iter().find_map(Address::parse);
        external.or_else(|| {
            let rank = |address: &Address| {
                let quic = matches!(address, Address::Quic(..));
                (address.ip().is_loopback(), address::is_private(address.ip()), address.ip().is_ipv6(), quic)
            };
            self.engine.touch(|swarm| swarm.listeners().filter_map(Address::parse).min_by_key(rank))
        })
    }
}
