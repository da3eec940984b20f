//! The address book: every node that this one knows, and where.
//!
//! A node is either *heard of*, which is somebody's claim and good for nothing but dialling it, or *met*: it has proven
//! its identity on a connection and speaks the protocol. Only nodes that were met are published and enter the routing
//! table, and among them the rule of diversity holds. The book has a bound; who was only heard of goes first, then who is
//! farthest away and was not seen for longest.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use comet_kernel::{Moment, Neighbour, NodeId};
use libp2p::PeerId;

use super::address::{Address, KEPT};
use super::diversity::{Bucket, Diversity};

/// How many of the nodes in a full book may be nodes that it only heard of: one in so many.
const HEARD_OF: usize = 8;

/// The book.
#[derive(Debug)]
pub(crate) struct Book {
    own: PeerId,
    place: [u8; 32],
    size: usize,
    pages: HashMap<PeerId, Page>,
    heard_of: usize,
    diversity: Diversity,
    changed: bool,
}

/// What the book has of one node.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    /// Best first; never empty.
    pub addresses: Vec<Address>,
    /// Where its connection came from or went to, or where it is said to be if it was not met. Its group is the one that
    /// counts: what a node says of its addresses may name anybody's.
    pub seen_at: IpAddr,
    /// How many leading bits its place shares with this node's.
    pub bucket: Bucket,
    /// When it was last met, or heard of.
    pub seen: Moment,
    /// When it was last dialled.
    pub dialled: Option<Moment>,
    /// Dials since it was seen that ran into the time-out.
    pub timeouts: u8,
    /// As others see it, if it was met.
    pub met: Option<Arc<Neighbour>>,
}

impl Book {
    /// An empty book of this node with room for so many others.
    pub fn new(own: PeerId, size: usize, diversity: Diversity) -> Self {
        let place = place(&own);
        Book { own, place, size, pages: HashMap::new(), heard_of: 0, diversity, changed: false }
    }

    /// Somebody says that a node can be reached there. It is a claim: it adds to other claims and replaces nothing.
    /// Answers whether it is worth dialling.
    pub fn hear(&mut self, peer: PeerId, addresses: &[Address], now: Moment) -> bool {
        let Some(first) = addresses.first().filter(|_| peer != self.own) else { return false };
        if let Some(page) = self.pages.get_mut(&peer) {
            if page.met.is_none() {
                add(&mut page.addresses, addresses);
            }
            return page.met.is_none();
        }
        let bucket = self.bucket(&place(&peer));
        let room = self.pages.len() < self.size && self.heard_of < (self.size / HEARD_OF).max(1);
        if !room || !self.diversity.admits(bucket, first.ip()) {
            return false;
        }
        let seen_at = first.ip();
        let mut page =
            Page { addresses: Vec::new(), seen_at, bucket, seen: now, dialled: None, timeouts: 0, met: None };
        add(&mut page.addresses, addresses);
        self.pages.insert(peer, page);
        self.heard_of += 1;
        true
    }

    /// A node has proven who it is on a connection with the host `seen_at`, and this is where it can be reached, best first.
    /// Answers whether it is in the book: the address group of that host may be full, or the book may be full of nodes that
    /// are nearer. Who had to go for it is in `gone`.
    pub fn meet(
        &mut self,
        peer: PeerId,
        addresses: &[Address],
        seen_at: IpAddr,
        now: Moment,
        gone: &mut Vec<PeerId>,
    ) -> bool {
        let Some(first) = addresses.first().copied().filter(|_| peer != self.own) else { return false };
        let former = self.pages.get(&peer).and_then(|page| page.met.clone());
        if former.as_ref().is_some_and(|met| (met.ip, met.port) == (first.ip(), first.port())) {
            let page = self.pages.get_mut(&peer).expect("it was found");
            (page.seen, page.timeouts) = (now, 0);
            let addresses: Vec<_> = addresses.iter().copied().take(KEPT).collect();
            self.changed |= page.addresses != addresses;
            page.addresses = addresses;
            self.recount(&peer, seen_at);
            return true;
        }
        self.remove(&peer);
        let place = place(&peer);
        let bucket = self.bucket(&place);
        if !self.diversity.admits(bucket, seen_at) || !self.make_room(bucket, gone) {
            return false;
        }
        self.diversity.enter(bucket, seen_at);
        let id = former.map_or_else(|| NodeId::from_text(&peer.to_base58()), |met| met.id.clone());
        let met = Some(Arc::new(Neighbour { id, ip: first.ip(), port: first.port(), place }));
        let addresses = addresses.iter().copied().take(KEPT).collect();
        self.pages.insert(peer, Page { addresses, seen_at, bucket, seen: now, dialled: None, timeouts: 0, met });
        self.changed = true;
        true
    }

    /// A node that was met is seen at a host: it counts there from now on, if there is room. A node with several ways out
    /// is not to lose its place because it takes another.
    fn recount(&mut self, peer: &PeerId, seen_at: IpAddr) {
        let Some(page) = self.pages.get_mut(peer) else { return };
        self.diversity.leave(page.bucket, page.seen_at);
        if self.diversity.admits(page.bucket, seen_at) {
            page.seen_at = seen_at;
        }
        self.diversity.enter(page.bucket, page.seen_at);
    }

    /// A node showed that it lives.
    pub fn saw(&mut self, peer: &PeerId, now: Moment) {
        if let Some(page) = self.pages.get_mut(peer) {
            (page.seen, page.timeouts) = (now, 0);
        }
    }

    /// Notes that a node is being dialled.
    pub fn note_dial(&mut self, peer: &PeerId, now: Moment) {
        if let Some(page) = self.pages.get_mut(peer) {
            page.dialled = Some(now);
        }
    }

    /// A dial ran into the time-out, which a busy node may cause. Answers how many did since the node was seen.
    pub fn timed_out(&mut self, peer: &PeerId) -> u8 {
        self.pages.get_mut(peer).map_or(0, |page| {
            page.timeouts = page.timeouts.saturating_add(1);
            page.timeouts
        })
    }

    /// Takes a node out.
    pub fn remove(&mut self, peer: &PeerId) -> Option<Page> {
        let page = self.pages.remove(peer)?;
        if page.met.is_some() {
            self.diversity.leave(page.bucket, page.seen_at);
            self.changed = true;
        } else {
            self.heard_of -= 1;
        }
        Some(page)
    }

    /// What is known of a node.
    pub fn page(&self, peer: &PeerId) -> Option<&Page> {
        self.pages.get(peer)
    }

    /// Every node.
    pub fn pages(&self) -> impl Iterator<Item = (&PeerId, &Page)> {
        self.pages.iter()
    }

    /// The node as others see it, if it was met.
    pub fn met(&self, peer: &PeerId) -> Option<&Arc<Neighbour>> {
        self.pages.get(peer)?.met.as_ref()
    }

    /// Every node that was met.
    pub fn all_met(&self) -> impl Iterator<Item = &Arc<Neighbour>> {
        self.pages.values().filter_map(|page| page.met.as_ref())
    }

    /// How many nodes were met.
    pub fn count_met(&self) -> usize {
        self.pages.len() - self.heard_of
    }

    /// Whether the nodes that were met, or their addresses, are others than when this was last asked.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// How many leading bits a place shares with this node's.
    pub fn bucket(&self, place: &[u8; 32]) -> Bucket {
        shared_bits(&self.place, place)
    }

    /// Makes room for a node of this bucket: somebody less useful goes.
    fn make_room(&mut self, bucket: Bucket, gone: &mut Vec<PeerId>) -> bool {
        if self.pages.len() < self.size {
            return true;
        }
        let useless = self.pages.iter().min_by_key(|(_, page)| (page.met.is_some(), page.bucket, page.seen));
        let Some((&peer, page)) = useless else { return false };
        if page.met.is_some() && page.bucket >= bucket {
            return false;
        }
        self.remove(&peer);
        gone.push(peer);
        true
    }
}

fn add(addresses: &mut Vec<Address>, more: &[Address]) {
    for address in more {
        if addresses.len() < KEPT && !addresses.contains(address) {
            addresses.push(*address);
        }
    }
}

/// The place of a node: SHA-256 of the bytes of its peer id.
pub(crate) fn place(peer: &PeerId) -> [u8; 32] {
    comet_kernel::key::place(&peer.to_bytes())
}

/// How many leading bits two places share.
pub(crate) fn shared_bits(a: &[u8; 32], b: &[u8; 32]) -> u32 {
    let differing = a.iter().zip(b).position(|(a, b)| a != b);
    differing.map_or(256, |at| at as u32 * 8 + (a[at] ^ b[at]).leading_zeros())
}

/// The distance of two places, for comparing.
pub(crate) fn distance(a: &[u8; 32], b: &[u8; 32]) -> [u8; 32] {
    std::array::from_fn(|at| a[at] ^ b[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(seed: u8) -> PeerId {
        let key = libp2p::identity::Keypair::ed25519_from_bytes([seed; 32]).expect("32 bytes");
        key.public().to_peer_id()
    }

    fn at(ip: &str, port: u16) -> Vec<Address> {
        vec![Address::Tcp(ip.parse::<IpAddr>().expect("well-formed"), port)]
    }

    fn book(size: usize) -> Book {
        Book::new(peer(0), size, Diversity::new(2, false))
    }

    /// The node is met where it says it is.
    fn meet(book: &mut Book, seed: u8, ip: &str, port: u16) -> bool {
        meet_from(book, seed, ip, port, ip)
    }

    fn meet_from(book: &mut Book, seed: u8, ip: &str, port: u16, seen_at: &str) -> bool {
        let seen_at = seen_at.parse().expect("well-formed");
        book.meet(peer(seed), &at(ip, port), seen_at, Moment::default(), &mut Vec::new())
    }

    #[test]
    fn who_was_only_heard_of_is_not_published() {
        let mut book = book(16);
        let now = Moment::default();
        assert!(book.hear(peer(1), &at("127.0.0.1", 1), now));
        assert_eq!((book.count_met(), book.take_changed()), (0, false));
        assert!(meet(&mut book, 1, "127.0.0.1", 1));
        assert_eq!((book.count_met(), book.take_changed(), book.take_changed()), (1, true, false));
    }

    #[test]
    fn a_claim_does_not_replace_what_a_connection_has_proven() {
        let mut book = book(16);
        let now = Moment::default();
        meet(&mut book, 1, "127.0.0.1", 1);
        assert!(!book.hear(peer(1), &at("127.0.0.1", 2), now));
        assert_eq!(book.page(&peer(1)).expect("known").addresses, at("127.0.0.1", 1));
        meet(&mut book, 1, "127.0.0.1", 3);
        assert_eq!(book.met(&peer(1)).expect("met").port, 3);
        assert_eq!(book.count_met(), 1);
    }

    #[test]
    fn a_full_book_keeps_those_who_are_near() {
        let mut book = book(8);
        let now = Moment::default();
        let mut gone = Vec::new();
        for seed in 1..=60 {
            book.meet(peer(seed), &at("127.0.0.1", seed.into()), [127, 0, 0, 1].into(), now, &mut gone);
        }
        let mut kept: Vec<_> = book.pages().map(|(_, page)| page.bucket).collect();
        kept.sort_unstable();
        let mut all: Vec<_> = (1..=60).map(|seed| book.bucket(&place(&peer(seed)))).collect();
        all.sort_unstable();
        assert_eq!(kept, all[52..], "the nearest eight buckets' worth");
        assert!(!gone.is_empty());
    }

    #[test]
    fn a_liar_who_names_many_nodes_pushes_nobody_out() {
        let mut book = book(16);
        let now = Moment::default();
        for seed in 1..=10 {
            meet(&mut book, seed, "127.0.0.1", seed.into());
        }
        let heard = (11..=60).filter(|&seed| book.hear(peer(seed), &at("127.0.0.1", 1), now)).count();
        assert_eq!((heard, book.count_met()), (2, 10));
    }

    #[test]
    fn a_fourth_node_of_an_address_range_is_not_met() {
        let mut book = book(64);
        let met = (1..=40).filter(|&seed| meet(&mut book, seed, "8.8.8.8", 1)).count();
        assert_eq!(met, 3);
        assert!(!book.hear(peer(50), &at("8.8.8.9", 1), Moment::default()), "nor is one heard of");
    }

    #[test]
    fn a_crowd_on_one_host_gets_three_places_whatever_addresses_it_claims_and_takes_nobody_elses() {
        let mut book = book(64);
        let claims = |seed: u8| format!("8.8.{}.1", seed / 8);
        let met = (1..=40).filter(|&seed| meet_from(&mut book, seed, &claims(seed), 1, "9.9.9.9")).count();
        assert_eq!(met, 3);
        let honest = (41..=60).filter(|&seed| meet(&mut book, seed, "8.8.0.2", seed.into())).count();
        assert_eq!(honest, 3, "the group that the crowd has named");
        (1..=40).for_each(|seed| drop(book.remove(&peer(seed))));
        let met = (61..=80).filter(|&seed| meet_from(&mut book, seed, "8.8.0.1", 1, "9.9.9.9")).count();
        assert_eq!((met, book.count_met()), (3, 6), "who leaves makes room where it counted");
    }

    #[test]
    fn a_node_that_takes_another_way_counts_there_and_keeps_its_place_if_that_is_full() {
        let mut book = book(64);
        assert!((1..=3).all(|seed| meet(&mut book, seed, "8.8.8.8", seed.into())));
        assert!(meet_from(&mut book, 4, "7.7.7.7", 1, "7.7.7.7") && meet_from(&mut book, 4, "7.7.7.7", 1, "8.8.8.9"));
        assert!(meet_from(&mut book, 1, "8.8.8.8", 1, "6.6.6.6"));
        assert!(meet(&mut book, 5, "8.8.8.10", 1), "the first one counts elsewhere now");
        assert!(!meet(&mut book, 6, "8.8.8.11", 1));
    }

    #[test]
    fn places_share_bits_as_they_should() {
        let (zero, mut other) = ([0; 32], [0; 32]);
        assert_eq!(shared_bits(&zero, &other), 256);
        other[1] = 0x10;
        assert_eq!(shared_bits(&zero, &other), 11);
    }
}
