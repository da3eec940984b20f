//! Diversity: whoever holds a few address ranges, and makes as many identities as he likes, gets into a few places of the
//! routing table and no more.
//!
//! At most so many nodes of one address group stand in a bucket, and one more than that in the whole table. go-libp2p has
//! the same rule (two and three of a /24); rust-libp2p has none. What counts is where a node was seen, not where it says it
//! is: otherwise one host would name a group for each of its identities, and keep others out of theirs.
//!
//! The rule holds for whatever enters the address book, and nobody else is published, asked for an object, or named to
//! others. Within a search libp2p-kad dials the peers that an answer names by itself, and has no hook between the answer and
//! the dial; there the transport sees to it that of one group only so many are dialled in a minute who are not in the book
//! (see [`super::crowd`]). What is left to the nodes of a group: those that this node does dial, and those that call it,
//! may answer searches with lies. A search goes over disjoint paths, each of its nodes has a second and a half and all of it
//! five, and of what it finds only those who pass this rule become anyone's neighbours.

use std::collections::HashMap;
use std::net::IpAddr;

use super::address::{self, Group};

/// Counts the nodes of each address group.
#[derive(Debug)]
pub(crate) struct Diversity {
    in_bucket: usize,
    private: bool,
    buckets: HashMap<(Bucket, Group), usize>,
    table: HashMap<Group, usize>,
}

/// A bucket of the routing table: the number of leading bits that its nodes share with this one.
pub(crate) type Bucket = u32;

impl Diversity {
    /// At most `in_bucket` nodes of a group in a bucket. Loopback and private addresses count only if `private` is set.
    pub fn new(in_bucket: usize, private: bool) -> Self {
        Diversity { in_bucket, private, buckets: HashMap::new(), table: HashMap::new() }
    }

    /// Whether there is room for one more node with this address in this bucket.
    pub fn admits(&self, bucket: Bucket, ip: IpAddr) -> bool {
        let Some(group) = address::group(ip, self.private) else { return true };
        let in_bucket = self.buckets.get(&(bucket, group)).copied().unwrap_or_default();
        let in_table = self.table.get(&group).copied().unwrap_or_default();
        in_bucket < self.in_bucket && in_table <= self.in_bucket
    }

    /// Counts a node.
    pub fn enter(&mut self, bucket: Bucket, ip: IpAddr) {
        if let Some(group) = address::group(ip, self.private) {
            *self.buckets.entry((bucket, group)).or_default() += 1;
            *self.table.entry(group).or_default() += 1;
        }
    }

    /// Counts it no more.
    pub fn leave(&mut self, bucket: Bucket, ip: IpAddr) {
        if let Some(group) = address::group(ip, self.private) {
            less(&mut self.buckets, (bucket, group));
            less(&mut self.table, group);
        }
    }
}

fn less<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: K) {
    let count = counts.get_mut(&key).expect("only what entered leaves");
    *count -= 1;
    if *count == 0 {
        counts.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("well-formed")
    }

    #[test]
    fn a_group_gets_two_places_in_a_bucket_and_three_in_the_table() {
        let mut diversity = Diversity::new(2, false);
        for (bucket, host) in [(5, "8.8.8.1"), (5, "8.8.8.2")] {
            assert!(diversity.admits(bucket, ip(host)));
            diversity.enter(bucket, ip(host));
        }
        assert!(!diversity.admits(5, ip("8.8.8.3")), "the bucket is full");
        assert!(diversity.admits(5, ip("8.8.9.3")), "another group has its own places");
        assert!(diversity.admits(6, ip("8.8.8.3")));
        diversity.enter(6, ip("8.8.8.3"));
        assert!(!diversity.admits(7, ip("8.8.8.4")), "the table is full");
        diversity.leave(5, ip("8.8.8.1"));
        assert!(diversity.admits(5, ip("8.8.8.4")), "who leaves makes room");
    }

    #[test]
    fn private_addresses_are_exempt_unless_they_count_too() {
        let admitted = |private| {
            let mut diversity = Diversity::new(2, private);
            (0..10)
                .filter(|_| diversity.admits(1, ip("10.0.0.1")).then(|| diversity.enter(1, ip("10.0.0.1"))).is_some())
                .count()
        };
        assert_eq!((admitted(false), admitted(true)), (10, 2));
    }
}
