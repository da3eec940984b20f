//! Searches of the network for the nodes nearest to a key.

use std::collections::{HashMap, HashSet, VecDeque};
use std::num::NonZeroUsize;
use std::sync::Arc;

use comet_kernel::{Context, Handler, Key, Neighbour, Responder, limits};
use libp2p::PeerId;
use libp2p::kad::{K_VALUE, PeerInfo, QueryId, QueryStats};

use super::Swarm;
use super::address;
use super::book::distance;
use crate::messages::{Find, Hear};

/// Searches under way at once. More wait.
const UNDER_WAY: usize = 64;
/// More nodes than asked for, as some of those found may not be let into the book.
const SPARE: usize = 2;

/// Searches under way, and those that wait.
#[derive(Debug, Default)]
pub(crate) struct LookUps {
    running: HashMap<QueryId, Search>,
    waiting: VecDeque<Search>,
}

/// One search, and everybody who wants to know.
#[derive(Debug)]
struct Search {
    /// None if it is done for what it teaches.
    key: Option<Key>,
    n: usize,
    askers: Vec<(usize, Responder<Vec<Arc<Neighbour>>>)>,
}

impl Handler<Find> for Swarm {
    fn handle(&mut self, find: Find, responder: Responder<Vec<Arc<Neighbour>>>, _: &mut Context<Self>) {
        let Find { key, n } = find;
        // Alone, or with too many searches waiting, the book is all there is.
        if self.book.count_met() == 0 || self.look_ups.waiting.len() >= limits::LANE_REQUESTS {
            return responder.answer(self.nearest_known(&key.place(), n));
        }
        match self.look_ups.same(&key, n) {
            Some(search) if search.askers.len() < limits::WAITING_PER_KEY => search.askers.push((n, responder)),
            Some(_) => responder.answer(self.nearest_known(&key.place(), n)),
            None => {
                self.look_ups.waiting.push_back(Search { key: Some(key), n, askers: vec![(n, responder)] });
                self.start_searches();
            }
        }
    }
}

impl Handler<Hear> for Swarm {
    /// Somebody named nodes: worth dialling, no more.
    fn handle(&mut self, hear: Hear, responder: Responder<()>, _: &mut Context<Self>) {
        let memory = self.plan.transport == crate::spec::Transport::Memory;
        for node in hear.nodes.iter().take(K_VALUE.get()) {
            let address = match (memory, node.quic) {
                (true, _) => address::Address::Memory(node.port),
                (false, true) => address::Address::Quic(node.ip, node.port),
                (false, false) => address::Address::Tcp(node.ip, node.port),
            };
            if let Ok(peer) = node.id.parse() {
                self.hear(peer, &[address.multiaddress()]);
            }
        }
        responder.answer(());
    }
}

impl Swarm {
    fn start_searches(&mut self) {
        while self.look_ups.running.len() < UNDER_WAY {
            let Some(search) = self.look_ups.waiting.pop_front() else { return };
            let key = search.key.as_ref().map(|key| key.as_bytes().to_vec()).unwrap_or_default();
            let id = self.ask_network(key, search.n);
            self.look_ups.running.insert(id, search);
        }
    }

    /// Searches for what it teaches: whoever answers enters the book.
    pub(super) fn explore(&mut self, target: Vec<u8>) {
        let id = self.ask_network(target, K_VALUE.get());
        self.look_ups.running.insert(id, Search { key: None, n: K_VALUE.get(), askers: Vec::new() });
    }

    fn ask_network(&self, target: Vec<u8>, n: usize) -> QueryId {
        let n = NonZeroUsize::new(n.saturating_add(SPARE).min(K_VALUE.get())).expect("spare ones at least");
        self.engine.touch(|swarm| swarm.behaviour_mut().kad.get_n_closest_peers(target, n))
    }

    /// The network has answered: all who did are proven, and enter the book before anyone hears of them.
    pub(super) fn looked_up(&mut self, id: QueryId, found: Vec<PeerInfo>, stats: &QueryStats) {
        self.env.tally.look_ups.add(1);
        self.env.tally.look_up_requests.add(stats.num_requests().into());
        let peers: HashSet<PeerId> = found.iter().map(|info| info.peer_id).collect();
        for info in found {
            self.introduce_found(&info);
        }
        if let Some(search) = self.look_ups.running.remove(&id)
            && let Some(key) = &search.key
        {
            let nearest = self.nearest_of(&peers, &key.place());
            for (n, responder) in search.askers {
                responder.answer(nearest.iter().take(n).cloned().collect());
            }
        }
        self.start_searches();
    }

    fn introduce_found(&mut self, info: &PeerInfo) {
        if self.book.met(&info.peer_id).is_some() {
            return;
        }
        let Some(connection) = self.peers.get(&info.peer_id).and_then(|peer| peer.connections.first()) else { return };
        let (addresses, host) = (self.reachable(connection, &info.addrs), connection.host());
        self.introduce(info.peer_id, &addresses, host);
    }

    /// Those of the nodes found that are in the book, whoever of the book is connected right now, and this one, nearest
    /// first. If nobody answered, those that the book has are better than none.
    fn nearest_of(&self, found: &HashSet<PeerId>, place: &[u8; 32]) -> Vec<Arc<Neighbour>> {
        let alive = self.book.pages().filter(|(peer, _)| found.contains(peer) || self.is_connected(peer));
        let mut nearest: Vec<_> = alive.filter_map(|(_, page)| page.met.clone()).collect();
        if nearest.is_empty() {
            return self.nearest_known(place, K_VALUE.get());
        }
        nearest.extend(self.published.own());
        nearest.sort_by_key(|node| distance(&node.place, place));
        nearest
    }

    fn nearest_known(&self, place: &[u8; 32], n: usize) -> Vec<Arc<Neighbour>> {
        let mut nearest: Vec<_> = self.book.all_met().cloned().chain(self.published.own()).collect();
        nearest.sort_by_key(|node| distance(&node.place, place));
        nearest.truncate(n);
        nearest
    }
}

impl LookUps {
    /// A search for the same key that will find enough.
    fn same(&mut self, key: &Key, n: usize) -> Option<&mut Search> {
        let mut all = self.running.values_mut().chain(&mut self.waiting);
        all.find(|search| search.key.as_ref() == Some(key) && search.n >= n)
    }

    /// Whether nothing is searched for.
    pub fn is_idle(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty()
    }
}
