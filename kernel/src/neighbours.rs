//! Who is near: the nodes that this one knows, in an order that finds those nearest to a place without asking anyone.
//!
//! Routing publishes a new table whenever it learns something; every other thread reads the table that is current. The
//! distance of two places is their exclusive or, as in Kademlia.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::identity::NodeId;

/// A node of the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Its peer id.
    pub id: NodeId,
    /// Where it can be reached, as far as this node knows.
    pub ip: IpAddr,
    /// The port there.
    pub port: u16,
    /// Its place in the network: SHA-256 of the bytes of its peer id.
    pub place: [u8; 32],
}

/// The nodes that this one knows. Copies share it.
#[derive(Clone, Debug)]
pub struct Neighbours(Arc<ArcSwap<Table>>);

/// One state of the table.
#[derive(Debug, Default)]
struct Table {
    /// In the order of places; this node among them.
    nodes: Vec<Arc<Neighbour>>,
    own: Option<Arc<Neighbour>>,
    /// How far away from this node its [`DENSE`]-th nearest is: a measure of how dense the network is.
    reach: f64,
}

/// With at most so many nodes known, this node knows them all, or will soon.
pub const DENSE: usize = 20;
/// How much farther away than the density lets expect the nearest known nodes may be, to pass for the nearest there are.
const TOLERANCE: f64 = 3.0;

impl Neighbours {
    /// A table of nobody.
    pub fn none() -> Self {
        Neighbours(Arc::new(ArcSwap::from_pointee(Table::default())))
    }

    /// Replaces the table. For routing.
    pub fn publish(&self, own: Neighbour, others: impl IntoIterator<Item = Arc<Neighbour>>) {
        let own = Arc::new(own);
        let mut nodes: Vec<_> = others.into_iter().filter(|node| node.id != own.id).collect();
        nodes.push(own.clone());
        nodes.sort_by_key(|node| node.place);
        let nearest = walk(&nodes, &own.place, DENSE + 1);
        let reach = nearest.last().map_or(0.0, |node| distance(&node.place, &own.place));
        self.0.store(Arc::new(Table { nodes, own: Some(own), reach }));
    }

    /// Up to `n` nodes nearest to a place, nearest first; this node is among them if it is one.
    pub fn nearest(&self, place: &[u8; 32], n: usize) -> Vec<Arc<Neighbour>> {
        walk(&self.0.load().nodes, place, n)
    }

    /// Whether the `n` nearest that are known can be taken for the `n` nearest that there are: they are about as near as
    /// the density of the network around this node lets expect.
    pub fn covers(&self, place: &[u8; 32], n: usize) -> bool {
        let table = self.0.load();
        if table.nodes.len() <= DENSE {
            return true;
        }
        let nearest = walk(&table.nodes, place, n);
        let Some(last) = nearest.last() else { return false };
        let expected = table.reach * nearest.len() as f64 / DENSE as f64;
        distance(&last.place, place) <= TOLERANCE * expected
    }

    /// Whether this node is one of the `n` nearest to a place.
    pub fn is_near(&self, place: &[u8; 32], n: usize) -> bool {
        let table = self.0.load();
        let Some(own) = &table.own else { return true };
        walk(&table.nodes, place, n).iter().any(|node| node.id == own.id)
    }

    /// This node, as others see it; none before it listens.
    pub fn own(&self) -> Option<Arc<Neighbour>> {
        self.0.load().own.clone()
    }

    /// How many nodes are known, this one included.
    pub fn len(&self) -> usize {
        self.0.load().nodes.len()
    }

    /// Whether nobody is known, not even this node itself.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The `n` nodes nearest to a place. Nodes that share a prefix stand together, so that the half that shares the place's
/// next bit is nearer than the other half as a whole.
fn walk(nodes: &[Arc<Neighbour>], place: &[u8; 32], n: usize) -> Vec<Arc<Neighbour>> {
    let mut found = Vec::with_capacity(n.min(nodes.len()));
    gather(nodes, place, n, 0, &mut found);
    found
}

fn gather(nodes: &[Arc<Neighbour>], place: &[u8; 32], n: usize, bit: usize, found: &mut Vec<Arc<Neighbour>>) {
    if found.len() >= n || nodes.is_empty() {
        return;
    }
    // Two nodes at one place would be one node: places are digests.
    if nodes.len() == 1 || bit == 256 {
        let room = n - found.len();
        found.extend(nodes.iter().take(room).cloned());
        return;
    }
    let split = nodes.partition_point(|node| !is_set(&node.place, bit));
    let (zeros, ones) = nodes.split_at(split);
    let (near, far) = if is_set(place, bit) { (ones, zeros) } else { (zeros, ones) };
    gather(near, place, n, bit + 1, found);
    gather(far, place, n, bit + 1, found);
}

fn is_set(place: &[u8; 32], bit: usize) -> bool {
    place[bit / 8] & (0x80 >> (bit % 8)) != 0
}

/// The distance of two places as a part of the whole, from 0 to 1. Its first 64 bits are enough to compare densities.
fn distance(a: &[u8; 32], b: &[u8; 32]) -> f64 {
    let first = |place: &[u8; 32]| u64::from_be_bytes(place[..8].try_into().expect("a place has 32 bytes"));
    (first(a) ^ first(b)) as f64 / u64::MAX as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngCore, SeedableRng};

    fn node(random: &mut StdRng) -> Neighbour {
        let (mut key, mut place) = ([0; 32], [0; 32]);
        random.fill_bytes(&mut key);
        random.fill_bytes(&mut place);
        Neighbour { id: NodeId::from_public_key(&key), ip: [127, 0, 0, 1].into(), port: 1, place }
    }

    fn table(random: &mut StdRng, size: usize) -> (Neighbours, Vec<Arc<Neighbour>>) {
        let nodes: Vec<_> = (0..size).map(|_| Arc::new(node(random))).collect();
        let neighbours = Neighbours::none();
        neighbours.publish(Neighbour::clone(&nodes[0]), nodes[1..].iter().cloned());
        (neighbours, nodes)
    }

    fn exactly(nodes: &[Arc<Neighbour>], place: &[u8; 32], n: usize) -> Vec<Arc<Neighbour>> {
        let mut nodes = nodes.to_vec();
        nodes.sort_by_key(|node| std::array::from_fn::<u8, 32, _>(|at| node.place[at] ^ place[at]));
        nodes.truncate(n);
        nodes
    }

    #[test]
    fn the_nearest_are_found_in_the_order_of_their_distance() {
        let mut random = StdRng::seed_from_u64(1);
        let (neighbours, nodes) = table(&mut random, 300);
        for _ in 0..200 {
            let place = node(&mut random).place;
            assert_eq!(neighbours.nearest(&place, 8), exactly(&nodes, &place, 8));
        }
    }

    #[test]
    fn a_node_knows_whether_it_is_near() {
        let mut random = StdRng::seed_from_u64(2);
        let (neighbours, nodes) = table(&mut random, 100);
        for _ in 0..200 {
            let place = node(&mut random).place;
            let expected = exactly(&nodes, &place, 8).contains(&nodes[0]);
            assert_eq!(neighbours.is_near(&place, 8), expected);
        }
    }

    #[test]
    fn a_full_table_covers_every_place_and_a_sparse_one_only_its_surroundings() {
        let mut random = StdRng::seed_from_u64(3);
        let (full, nodes) = table(&mut random, 2_000);
        let places: Vec<_> = (0..200).map(|_| node(&mut random).place).collect();
        let covered = |table: &Neighbours| places.iter().filter(|place| table.covers(place, 8)).count();
        assert!(covered(&full) > 190, "{}", covered(&full));
        // As Kademlia's buckets would have it: everyone near, few of those far away.
        let sparse = Neighbours::none();
        let own = &nodes[0];
        let near = exactly(&nodes, &own.place, 40);
        let far = nodes.iter().step_by(20).cloned();
        sparse.publish(Neighbour::clone(own), near.into_iter().chain(far));
        assert!(covered(&sparse) < 40, "{}", covered(&sparse));
        assert!(sparse.covers(&own.place, 8));
    }
}
