//! Which objects a round is about, and why.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use comet_kernel::{Key, Neighbour, NodeId};

use crate::messages::Changed;

/// Changes among the neighbours that are told apart; with more of them a round is about everything.
const CHANGES: usize = 256;
/// Keys that are mended one by one; with more of them a round is about everything.
const KEYS: usize = 4_096;

/// Which objects a round is about.
#[derive(Debug, Default)]
pub(super) struct Scope {
    /// Every object.
    pub all: bool,
    /// Objects that others have compared lately, too.
    pub thorough: bool,
    /// The node stops: its part of every object goes to others.
    pub draining: bool,
    /// Objects whose nearest nodes are others than before, because of these nodes.
    changes: HashMap<NodeId, Change>,
    /// These objects.
    keys: HashSet<Key>,
}

/// What has become of a node.
#[derive(Debug)]
struct Change {
    node: Arc<Neighbour>,
    joined: bool,
}

/// Why an object is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// Because every object is.
    Everything,
    /// Somebody has named it.
    Named,
    /// The node that has left may have held it. Other holders have noticed, too.
    Left,
    /// These nodes have joined its holders. Other holders have noticed, too.
    Joined(Vec<Arc<Neighbour>>),
}

impl Scope {
    /// Everything, whoever has compared it.
    pub fn thorough() -> Self {
        Scope { all: true, thorough: true, ..Scope::default() }
    }

    /// Everything, for good.
    pub fn draining() -> Self {
        Scope { draining: true, ..Scope::thorough() }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        !self.all && self.changes.is_empty() && self.keys.is_empty()
    }

    /// Whether every stored object has to be looked at to find those that it is about.
    pub fn walks(&self) -> bool {
        self.all || !self.changes.is_empty()
    }

    /// The keys that it names.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter()
    }

    /// Adds the objects that a change among the neighbours concerns.
    pub fn change(&mut self, changed: Changed) {
        for (nodes, joined) in [(changed.left, false), (changed.joined, true)] {
            for node in nodes {
                self.changes.insert(node.id.clone(), Change { node, joined });
            }
        }
        if self.changes.len() > CHANGES {
            self.changes = HashMap::new();
            (self.all, self.thorough) = (true, true);
        }
    }

    /// Adds one object. Whether it was not named before.
    pub fn name(&mut self, key: Key) -> bool {
        if self.keys.len() < KEYS {
            return self.keys.insert(key);
        }
        let is_new = !self.keys.contains(&key);
        if is_new {
            self.keys = HashSet::new();
            (self.all, self.thorough) = (true, true);
        }
        is_new
    }

    /// Why it is about an object, if it is. `holders` are the nodes that should hold it, of `replicas` that it should have.
    pub fn reason(&self, key: &Key, place: &[u8; 32], holders: &[Arc<Neighbour>], replicas: usize) -> Option<Reason> {
        if self.thorough {
            return Some(Reason::Everything);
        }
        if self.keys.contains(key) {
            return Some(Reason::Named);
        }
        if self.has_lost(place, holders, replicas) {
            return Some(Reason::Left);
        }
        let joined = |node: &&Arc<Neighbour>| self.changes.get(&node.id).is_some_and(|change| change.joined);
        let joined: Vec<_> = holders.iter().filter(joined).cloned().collect();
        if !joined.is_empty() {
            return Some(Reason::Joined(joined));
        }
        self.all.then_some(Reason::Everything)
    }

    /// Whether a node has left that would be among the holders.
    fn has_lost(&self, place: &[u8; 32], holders: &[Arc<Neighbour>], replicas: usize) -> bool {
        let farthest = holders.last().filter(|_| holders.len() >= replicas).map(|node| distance(&node.place, place));
        let left = self.changes.values().filter(|change| !change.joined);
        left.map(|change| distance(&change.node.place, place))
            .any(|distance| farthest.is_none_or(|farthest| distance < farthest))
    }
}

/// How far apart two places are.
fn distance(a: &[u8; 32], b: &[u8; 32]) -> [u8; 32] {
    std::array::from_fn(|at| a[at] ^ b[at])
}
