//! What the operator sees.

use comet_kernel::contract::routing::{Bucket, BucketPeer, ListBuckets, ListPeers, NetworkStatus, Peer, ReadNetwork};
use comet_kernel::{Context, Handler, Responder};
use libp2p::PeerId;
use libp2p::multiaddr::Protocol;

use super::Swarm;
use super::book::place;

impl Handler<ListPeers> for Swarm {
    fn handle(&mut self, _: ListPeers, responder: Responder<Vec<Peer>>, _: &mut Context<Self>) {
        let now = self.now();
        let mut peers: Vec<_> = self.peers.iter().filter_map(|(id, peer)| peer.describe(id, now)).collect();
        peers.sort_by(|a, b| a.id.cmp(&b.id));
        responder.answer(peers);
    }
}

impl Handler<ListBuckets> for Swarm {
    fn handle(&mut self, _: ListBuckets, responder: Responder<Vec<Bucket>>, _: &mut Context<Self>) {
        let mut buckets: Vec<Bucket> = Vec::new();
        let mut entries = self.table();
        entries.sort_by_key(|(peer, _)| self.book.bucket(&place(peer)));
        for (peer, addresses) in entries {
            let shared_bits = self.book.bucket(&place(&peer));
            let entry = BucketPeer { id: peer.to_base58(), addresses, connected: self.is_connected(&peer) };
            match buckets.last_mut().filter(|bucket| bucket.shared_bits == shared_bits) {
                Some(bucket) => bucket.peers.push(entry),
                None => buckets.push(Bucket { shared_bits, peers: vec![entry] }),
            }
        }
        responder.answer(buckets);
    }
}

impl Handler<ReadNetwork> for Swarm {
    fn handle(&mut self, _: ReadNetwork, responder: Responder<NetworkStatus>, _: &mut Context<Self>) {
        let own = self.plan.own;
        let full = |address: &libp2p::Multiaddr| address.clone().with(Protocol::P2p(own)).to_string();
        let mut listening: Vec<_> = self.engine.touch(|swarm| swarm.listeners().map(full).collect());
        listening.sort();
        let tally = &self.env.tally;
        responder.answer(NetworkStatus {
            id: own.to_base58(),
            listening,
            peers: self.peers.values().filter(|peer| peer.is_connected()).count(),
            known: self.book.count_met() + 1,
            settled: self.env.service.settled.is_set(),
            look_ups: tally.look_ups.read(),
            look_up_requests: tally.look_up_requests.read(),
            copies_sent: tally.copies_sent.read(),
            copies_taken: tally.copies_taken.read(),
            copies_dropped: tally.copies_dropped.read(),
            refused: tally.refused.read(),
        });
    }
}

impl Swarm {
    /// What is in the routing table: peers and their addresses.
    fn table(&self) -> Vec<(PeerId, Vec<String>)> {
        self.engine.touch(|swarm| {
            let mut table = Vec::new();
            for bucket in swarm.behaviour_mut().kad.kbuckets() {
                for entry in bucket.iter() {
                    let addresses = entry.node.value.iter().map(ToString::to_string).collect();
                    table.push((*entry.node.key.preimage(), addresses));
                }
            }
            table
        })
    }
}
