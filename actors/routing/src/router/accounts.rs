//! Accounts: bytes by node, for as many nodes as matter.
//!
//! Whoever makes up names must not push out those who have something here. So when there is no room for one more account
//! the smallest is closed, and whoever comes in its place begins with what stood there: nobody has less on the account than
//! in truth, and nobody more than that and an even share of everything.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Nodes that have an account.
const NODES: usize = 8_192;

/// Bytes by node.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    bytes: HashMap<Arc<str>, u64, ahash::RandomState>,
    /// The same, the smallest first.
    order: BTreeSet<(u64, Arc<str>)>,
}

impl Accounts {
    /// What a node has, or would begin with.
    pub(super) fn of(&self, node: &str) -> u64 {
        self.bytes.get(node).copied().unwrap_or_else(|| self.least())
    }

    /// Adds to what a node has.
    pub(super) fn add(&mut self, node: &Arc<str>, bytes: u64) {
        if bytes == 0 {
            return;
        }
        let before = self.of(node);
        if !self.bytes.contains_key(node)
            && self.bytes.len() >= NODES
            && let Some((_, smallest)) = self.order.pop_first()
        {
            self.bytes.remove(&smallest);
        }
        self.set(node, before.saturating_add(bytes));
    }

    /// Takes off what a node has. One without anything is forgotten.
    pub(super) fn take(&mut self, node: &Arc<str>, bytes: u64) {
        if let Some(before) = self.bytes.get(node) {
            self.set(node, before.saturating_sub(bytes));
        }
    }

    fn set(&mut self, node: &Arc<str>, bytes: u64) {
        if let Some(before) = self.bytes.remove(node) {
            self.order.remove(&(before, node.clone()));
        }
        if bytes > 0 {
            self.bytes.insert(node.clone(), bytes);
            self.order.insert((bytes, node.clone()));
        }
    }

    /// What the next one begins with.
    fn least(&self) -> u64 {
        if self.bytes.len() < NODES { 0 } else { self.order.first().map_or(0, |(bytes, _)| *bytes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: usize) -> Arc<str> {
        format!("node {number}").into()
    }

    #[test]
    fn what_is_added_and_taken_off_is_what_a_node_has() {
        let (mut accounts, node) = (Accounts::default(), name(0));
        accounts.add(&node, 5);
        accounts.add(&node, 7);
        accounts.take(&node, 2);
        assert_eq!((accounts.of(&node), accounts.of("another")), (10, 0));
        accounts.take(&node, 11);
        accounts.take(&name(1), 3);
        assert_eq!(accounts.of(&node), 0);
        assert!(accounts.bytes.is_empty() && accounts.order.is_empty(), "nothing is remembered of who has nothing");
    }

    #[test]
    fn names_that_somebody_makes_up_hide_nobody_and_cost_nobody() {
        let mut accounts = Accounts::default();
        accounts.add(&name(0), 1_000_000);
        (1..5 * NODES).for_each(|number| accounts.add(&name(number), 2));
        assert_eq!(accounts.of(&name(0)), 1_000_000, "who has much is not forgotten");
        assert!(accounts.of("honest") <= 10, "who comes late begins with next to nothing");
        assert_eq!((accounts.bytes.len(), accounts.order.len()), (NODES, NODES));
    }
}
