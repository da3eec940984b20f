//! Mending an object that this node does not store: it carried a put or a get of it, and saw that copies are missing.

use std::collections::BTreeMap;
use std::sync::Arc;

use comet_kernel::{Key, Neighbour, Record};

use super::item;
use super::round::Round;

/// A node's copy of one object; none if it has none to show.
type Copy = (Arc<Neighbour>, Option<Arc<Record>>);

impl Round {
    /// Fetches every copy of an object and sends the newest to those that lack it. A copy that nobody takes is a forged
    /// one, and the next newest is tried.
    pub(super) async fn mend_afar(&self, key: &Key) {
        let replicas = self.env.settings.dht.replication as usize;
        let copies = self.copies(key, replicas).await;
        let shown = copies.iter().filter_map(|(node, copy)| copy.as_ref().map(|copy| (copy.version, (node, copy))));
        let versions: BTreeMap<u64, _> = shown.collect();
        for (version, (source, newest)) in versions.into_iter().rev() {
            let behind =
                copies.iter().filter(|(_, copy)| copy.as_ref().is_none_or(|copy| copy.version < version)).collect();
            if self.spread(key, source, newest, behind).await {
                return;
            }
        }
    }

    /// What the nodes that should hold an object have of it. A node that does not answer is left out.
    async fn copies(&self, key: &Key, replicas: usize) -> Vec<Copy> {
        let nearest = self.regions.nearest(&self.env, key, &key.place(), replicas).await;
        let holders = nearest.nodes.into_iter().take(replicas);
        let mut copies = Vec::new();
        for node in holders {
            let copy = if node.id == self.own { None } else { self.fetch(&node, key).await };
            if !self.peers.has_failed(&node) {
                copies.push((node, copy));
            }
        }
        copies
    }

    /// Sends a copy to those who are behind; whether one of them took it, or nobody was behind.
    async fn spread(&self, key: &Key, source: &Neighbour, record: &Arc<Record>, behind: Vec<&Copy>) -> bool {
        let mut taken = behind.is_empty();
        for (node, _) in behind {
            taken |= if node.id == self.own {
                self.peers.take(source, key, record.clone()).await
            } else {
                let _room = self.peers.room(node, item::kib(record)).await;
                self.send(node, key, record.clone()).await.is_some()
            };
        }
        taken
    }
}
