//! What is to be done for one object in one round: a pure decision.

use std::cell::Cell;
use std::sync::Arc;

use comet_kernel::{Neighbour, NodeId};

use super::nearest::Nearest;
use super::scope::{Reason, Scope};
use crate::wire::Item;

/// Of the holders that notice the same change, so many send what is lacking at once. The others look again later: most of
/// the time nothing is lacking then, and where it is, they send it.
const EAGER: usize = 2;

/// What is to be done for one object.
#[derive(Debug)]
pub(super) struct Plan {
    /// Whom to compare with.
    pub targets: Vec<Arc<Neighbour>>,
    /// What is to become of this node's copy.
    pub own: Own,
    /// How many nodes should hold the object.
    pub replicas: usize,
    /// How many should hold it as things are: there may be fewer nodes.
    pub holders: usize,
    /// Whether others are to send first what turns out to be lacking.
    pub patient: bool,
}

/// What is to become of this node's copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Own {
    /// This node should hold it.
    Stays,
    /// This node need not hold it, but keeps it for now.
    Spare,
    /// It is dropped once all that should hold the object do.
    Goes,
}

/// One object of a page, and what its comparison has brought so far.
#[derive(Debug)]
pub(super) struct Entry {
    pub item: Item,
    pub plan: Plan,
    /// KiB of the record as it was scanned.
    pub kib: u32,
    /// Nodes that hold this version, or a newer one.
    pub confirmed: Cell<usize>,
    /// Nodes that have said how they stand.
    pub answered: Cell<usize>,
    /// A node has a newer version that could not be got.
    pub stale: Cell<bool>,
}

impl Plan {
    /// What is to be done for an object that this node stores, and that the scope is about.
    pub fn new(scope: &Scope, reason: Reason, nearest: &Nearest, replicas: usize, own: &NodeId) -> Self {
        let others = nearest.nodes.iter().filter(|node| node.id != *own).cloned();
        let holders = &nearest.nodes[..replicas.min(nearest.nodes.len())];
        let standing = standing(scope, nearest, replicas, own);
        let patient = matches!(reason, Reason::Left | Reason::Joined(_)) && !is_eager(holders, &reason, own);
        let targets = match reason {
            _ if scope.draining => others.take(replicas).collect(),
            // Before a copy is dropped, every holder has to say that it has one.
            Reason::Joined(joined) if standing == Own::Stays => joined,
            _ => holders.iter().filter(|node| node.id != *own).cloned().collect(),
        };
        Plan { targets, own: standing, replicas, holders: holders.len(), patient }
    }
}

/// A copy that this node need not hold goes, with one exception: the very next node in line keeps it when the neighbours
/// have changed, until the next round that is about everything. Nodes that restart are away for seconds, and come back
/// behind those who kept their copies: what was dropped for them at once would have to be sent again.
fn standing(scope: &Scope, nearest: &Nearest, replicas: usize, own: &NodeId) -> Own {
    let rank = nearest.nodes.iter().position(|node| node.id == *own);
    match rank {
        Some(rank) if rank < replicas => Own::Stays,
        // Without a place in a list that is too short, or one that nobody vouches for, nothing is known.
        _ if !nearest.certain || nearest.nodes.len() < replicas || scope.draining => Own::Spare,
        Some(_) if !scope.all => Own::Spare,
        _ => Own::Goes,
    }
}

/// Whether this node is one of the first of those that may have noticed the change and hold the object.
fn is_eager(holders: &[Arc<Neighbour>], reason: &Reason, own: &NodeId) -> bool {
    let new = |node: &Arc<Neighbour>| matches!(reason, Reason::Joined(joined) if joined.contains(node));
    holders.iter().filter(|node| !new(node)).take(EAGER).any(|node| node.id == *own)
}

impl Entry {
    /// Nothing has been heard yet.
    pub fn new(item: Item, plan: Plan, kib: u32) -> Self {
        Entry { item, plan, kib, confirmed: Cell::new(0), answered: Cell::new(0), stale: Cell::new(false) }
    }

    /// A node holds this version, or a newer one.
    pub fn confirm(&self) {
        self.confirmed.set(self.confirmed.get() + 1);
    }

    /// A node has said how it stands.
    pub fn answer(&self) {
        self.answered.set(self.answered.get() + 1);
    }

    /// Whether this node's copy is surplus, and every node that should hold one does.
    pub fn may_go(&self) -> bool {
        self.plan.own == Own::Goes && self.confirmed.get() >= self.plan.replicas
    }

    /// Whether every node that could be handed the object holds it.
    pub fn is_handed_over(&self) -> bool {
        !self.plan.targets.is_empty() && self.confirmed.get() >= self.plan.targets.len()
    }

    /// Whether this node's copy may be behind: too few others have said how they stand for one of them to be among those
    /// that acknowledged a put while this node was away.
    pub fn is_unsure(&self, write_quorum: usize) -> bool {
        let needed = self.plan.holders.saturating_sub(write_quorum.min(self.plan.holders));
        self.plan.own == Own::Stays && (self.stale.get() || self.answered.get() < needed)
    }
}
