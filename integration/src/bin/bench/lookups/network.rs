//! A network of up to millions of nodes without sockets: who stands where, and whom each knows.
//!
//! The rules are those of the routing table that nodes have: a bucket for each number of bits that a peer's place shares
//! with the node's own, with room for [`BUCKET`] peers. A bucket with fewer candidates than room holds them all; of more,
//! it holds some by chance, which is what stays of "first come, stays while it answers" when nodes come in no order.
//! Buckets are drawn when they are asked for, always the same for one seed, so that a million tables take no memory.

use std::ops::Range;

use comet_integration::random::Random;

/// Peers in a bucket, in an answer, and in the result of a look-up.
pub(crate) const BUCKET: usize = 20;

/// Everybody, in the order of places. A node is its number in this order.
#[derive(Debug)]
pub(crate) struct Network {
    /// The first 64 bits of each place: among a million nodes no two are expected to share them.
    places: Vec<u64>,
    seed: u64,
}

impl Network {
    /// So many nodes at places of chance.
    pub(crate) fn new(nodes: usize, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut places: Vec<u64> = (0..nodes).map(|_| random.number()).collect();
        places.sort_unstable();
        places.dedup();
        Network { places, seed }
    }

    /// How many nodes there are.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// How far a node is from a place.
    pub(crate) fn distance(&self, node: u32, place: u64) -> u64 {
        self.places[node as usize] ^ place
    }

    /// Those that a node knows which are nearest to a place, nearest first, without itself.
    pub(crate) fn known(&self, node: u32, place: u64) -> Vec<u32> {
        let shared = self.distance(node, place).leading_zeros().min(63);
        let mut found = self.bucket(node, shared);
        // Buckets farther down hold peers nearer to the node, all of them at the same number of bits from the place.
        if found.len() < BUCKET {
            found.extend((shared + 1..64).flat_map(|bits| self.bucket(node, bits)));
        }
        for bits in (0..shared).rev() {
            if found.len() >= BUCKET {
                break;
            }
            found.extend(self.bucket(node, bits));
        }
        self.sort(&mut found, place);
        found.truncate(BUCKET);
        found
    }

    /// Those nearest to a place of all that there are, nearest first.
    pub(crate) fn nearest(&self, place: u64) -> Vec<u32> {
        let wide = |bits: &u32| self.range(place, *bits).len() >= BUCKET;
        let bits = (0..=64).rev().find(wide).unwrap_or(0);
        let mut found: Vec<u32> = self.range(place, bits).map(|number| number as u32).collect();
        self.sort(&mut found, place);
        found.truncate(BUCKET);
        found
    }

    fn sort(&self, nodes: &mut [u32], place: u64) {
        nodes.sort_unstable_by_key(|node| self.distance(*node, place));
    }

    /// The peers of a node that share so many bits with it, and not the next.
    fn bucket(&self, node: u32, bits: u32) -> Vec<u32> {
        let own = self.places[node as usize];
        let range = self.range(own ^ (1 << (63 - bits)), bits + 1);
        if range.len() <= BUCKET {
            return range.map(|number| number as u32).collect();
        }
        let mut random = Random::new(self.seed ^ (u64::from(node) << 8) ^ u64::from(bits));
        let mut chosen = Vec::with_capacity(BUCKET);
        while chosen.len() < BUCKET {
            let number = (range.start + random.below(range.len())) as u32;
            if !chosen.contains(&number) {
                chosen.push(number);
            }
        }
        chosen
    }

    /// The nodes whose first so many bits are those of the place.
    fn range(&self, place: u64, bits: u32) -> Range<usize> {
        if bits == 0 {
            return 0..self.places.len();
        }
        let rest = u64::MAX.checked_shr(bits).unwrap_or(0);
        let (first, last) = (place & !rest, place | rest);
        let start = self.places.partition_point(|place| *place < first);
        start..start + self.places[start..].partition_point(|place| *place <= last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_are_those_that_a_look_at_everybody_finds() {
        let network = Network::new(500, 3);
        let mut random = Random::new(4);
        for _ in 0..50 {
            let place = random.number();
            let mut all: Vec<u32> = (0..500).collect();
            network.sort(&mut all, place);
            assert_eq!(network.nearest(place), all[..BUCKET]);
        }
    }

    #[test]
    fn a_bucket_is_full_or_holds_all_that_belong_into_it_and_stays_as_it_is() {
        let network = Network::new(1_000, 5);
        for bits in 0..64 {
            let bucket = network.bucket(77, bits);
            let shares = |other: &u32| network.distance(*other, network.places[77]).leading_zeros() == bits;
            assert!(bucket.iter().all(shares));
            assert_eq!(bucket.len(), (0..1_000).filter(shares).count().min(BUCKET));
            assert_eq!(bucket, network.bucket(77, bits));
        }
    }

    #[test]
    fn in_a_small_network_everybody_knows_who_is_nearest() {
        let network = Network::new(15, 6);
        let known = network.known(3, 99);
        let nearest: Vec<u32> = network.nearest(99).into_iter().filter(|node| *node != 3).collect();
        assert_eq!(known, nearest);
    }
}
