//! What is done without anybody asking: joining the network, refreshing what is known of it, checking who is still there.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use comet_kernel::{Context, Moment, Neighbour, Work, limits};
use libp2p::kad::QueryId;
use libp2p::{Multiaddr, PeerId};
use rand::RngCore;

use super::Swarm;
use super::address::{self, Address};
use super::book::Page;
use super::lanes::UNUSED;
use super::peer::{Connection, Slot};
use crate::spec::Transport;

/// How often upkeep has its turn.
const TURN: Duration = Duration::from_millis(250);
/// Nodes dialled in one turn.
const DIALS: usize = 8;
/// The nearest nodes, which this one stays connected with: those that may hold the same objects, and some more.
const WATCHED: usize = 24;
/// How long a node may go unseen before it is checked.
const UNSEEN: Duration = Duration::from_secs(60);
/// How long to wait before a node is dialled again by way of upkeep.
const AGAIN: Duration = Duration::from_secs(1);
/// First and longest wait before the seeds are dialled again.
const SEEDS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// First and longest wait before what is known of the network is refreshed.
const REFRESH: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// How long to wait with bootstrap for more than the first node.
const GATHER: Duration = Duration::from_millis(100);
/// How long a peer without connection is remembered, with its rates and figures.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// What is due when.
#[derive(Debug)]
pub(crate) struct Upkeep {
    joined: bool,
    bootstrap: Option<QueryId>,
    bootstrap_due: Option<Moment>,
    seeds: (Moment, Duration),
    /// The longest wait before the seeds are dialled again.
    longest: Duration,
    refresh: (Moment, Duration),
    /// Whether the last refresh looked a random place up.
    anywhere: bool,
}

impl Upkeep {
    /// Everything is due now. A node with nobody to join has joined. `interval` is that of replication: see [`Departed`].
    ///
    /// [`Departed`]: super::departed::Departed
    pub fn new(now: Moment, joined: bool, interval: Duration) -> Self {
        Upkeep {
            joined,
            bootstrap: None,
            bootstrap_due: None,
            seeds: (now, SEEDS.0),
            longest: SEEDS.1.min(interval / 4).max(SEEDS.0),
            refresh: (now + REFRESH.0, REFRESH.0),
            anywhere: false,
        }
    }

    /// Whether bootstrap is over.
    pub fn has_joined(&self) -> bool {
        self.joined
    }
}

impl Swarm {
    /// Begins with whom a former life of this actor knew. Whoever is gone meanwhile is soon noticed.
    pub(super) fn recall(&mut self) {
        let own = super::book::place(&self.plan.own);
        for node in self.env.service.neighbours.nearest(&own, limits::KNOWN_NODES) {
            if let Ok(peer) = node.id.as_str().parse() {
                let addresses = self.guess(&node);
                self.introduce(peer, &addresses, None);
            }
        }
    }

    /// Where a neighbour may be. What is published of it does not say how it is reached.
    fn guess(&self, node: &Neighbour) -> Vec<Address> {
        match self.plan.transport {
            Transport::Memory => vec![Address::Memory(node.port)],
            Transport::Sockets => vec![Address::Tcp(node.ip, node.port), Address::Quic(node.ip, node.port)],
        }
    }

    /// Upkeep's turn.
    pub(super) fn tick(&mut self, context: &mut Context<Self>) {
        let now = self.now();
        self.engine.listen_again(&self.plan, &self.bound);
        self.dial_seeds(now);
        self.bootstrap(now);
        self.refresh(now);
        self.check(now);
        self.tidy(now);
        self.publish_soon(context);
        self.tell_changes();
        let (clock, turn) = (self.env.kernel.clock.clone(), self.jittered(TURN));
        context.after(&clock, turn, Self::tick);
    }

    /// Dials the seeds that are not connected: always, for after a partition they are the way back, but less and less
    /// often.
    fn dial_seeds(&mut self, now: Moment) {
        if now < self.upkeep.seeds.0 {
            return;
        }
        let missing = self.plan.seeds.iter().filter(|(peer, _)| !self.is_connected(peer)).cloned();
        let missing: Vec<(PeerId, Multiaddr)> = missing.collect();
        let wait = if missing.is_empty() { SEEDS.0 } else { self.upkeep.seeds.1 };
        // Alone in the network, a node does not wait long.
        let longest = if self.book.count_met() == 0 { SEEDS.1 / 6 } else { SEEDS.1 }.min(self.upkeep.longest);
        self.upkeep.seeds = (now + self.jittered(wait), (wait * 2).min(longest));
        for (peer, address) in missing {
            self.dial_at(peer, vec![address]);
        }
    }

    /// Asks the first nodes that are met for all others that matter here.
    fn bootstrap(&mut self, now: Moment) {
        if self.upkeep.joined || self.upkeep.bootstrap.is_some() || self.book.count_met() == 0 {
            return;
        }
        let due = *self.upkeep.bootstrap_due.get_or_insert(now + GATHER);
        if now >= due {
            self.upkeep.bootstrap = self.engine.touch(|swarm| swarm.behaviour_mut().kad.bootstrap()).ok();
        }
    }

    /// With nobody in its table, libp2p would begin a bootstrap a moment after this node listens, and warn that it cannot.
    /// To begin it in vain right now makes it forget that.
    pub(super) fn calm(&self) {
        self.engine.touch(|swarm| {
            let kad = &mut swarm.behaviour_mut().kad;
            if kad.kbuckets().all(|bucket| bucket.is_empty()) {
                let _nobody_is_there = kad.bootstrap();
            }
        });
    }

    /// The first part of bootstrap is over, whoever began it: a look-up of this node's own place. Who is near is known, and
    /// that is what joining needs. What would follow, a look-up in each bucket farther away, is left to `refresh`: libp2p
    /// begins it again whenever a node enters a small table, and every node of a young network would ask all others.
    pub(super) fn bootstrapped(&mut self, query: QueryId, last: bool) {
        if !last {
            self.engine.touch(|swarm| {
                if let Some(mut query) = swarm.behaviour_mut().kad.query_mut(&query) {
                    query.finish();
                }
            });
        }
        self.upkeep.bootstrap.take_if(|own| *own == query && last);
        if !self.upkeep.joined {
            self.upkeep.joined = true;
            tracing::info!(known = self.book.count_met(), "joined the network");
        }
    }

    /// Looks this node's own place and random ones up, by turns: soon after the start, then less and less often. One at a
    /// time, for when everybody joins at once everybody dials everybody.
    fn refresh(&mut self, now: Moment) {
        let (due, wait) = self.upkeep.refresh;
        if now < due || self.book.count_met() == 0 || self.upkeep.bootstrap.is_some() || !self.look_ups.is_idle() {
            return;
        }
        self.upkeep.refresh = (now + self.jittered(wait), wait.mul_f64(1.5).min(REFRESH.1));
        self.upkeep.anywhere = !self.upkeep.anywhere;
        let mut target = self.plan.own.to_bytes();
        if self.upkeep.anywhere {
            self.random.fill_bytes(&mut target);
        }
        self.explore(target);
    }

    /// Dials those whom nothing was heard of: the nearest first, who should be connected at any time.
    fn check(&mut self, now: Moment) {
        let own = super::book::place(&self.plan.own);
        let nearest = self.env.service.neighbours.nearest(&own, WATCHED + 1);
        let nearest: HashSet<_> = nearest.iter().map(|node| node.place).collect();
        let room = self.has_room();
        let mut due: Vec<_> = self.book.pages().filter(|(peer, _)| !self.is_connected(peer)).collect();
        due.retain(|(_, page)| {
            let watched = page.met.as_ref().is_none_or(|met| nearest.contains(&met.place));
            is_due(page, now) && (watched || page.timeouts > 0 || (room && now.since(page.seen) > UNSEEN))
        });
        due.sort_by_key(|(_, page)| std::cmp::Reverse(page.bucket));
        let due: Vec<_> = due.into_iter().take(DIALS).map(|(peer, _)| *peer).collect();
        for peer in due {
            self.dial(peer);
        }
        let random = &mut self.random;
        let jitter = |wait: Duration| wait.mul_f64(rand::Rng::random_range(random, 0.75..1.25));
        for (peer, addresses) in self.departed.due(DIALS, now, jitter) {
            self.dial_at(peer, addresses.into_iter().map(Address::multiaddress).collect());
        }
    }

    /// Drops lanes that nobody uses, requests that nobody waits for, and peers that are gone.
    fn tidy(&mut self, now: Moment) {
        for peer in self.peers.values_mut() {
            for slot in &mut peer.slots {
                slot.expire(now);
                if let Slot::Open { lane, used } = slot
                    && (!lane.is_open() || (lane.under_way() == 0 && now.since(*used) > UNUSED))
                {
                    *slot = Slot::Shut;
                }
            }
        }
        self.peers.retain(|_, peer| !peer.is_idle() || now.since(peer.touched) < FORGOTTEN);
        self.forget_oldest();
    }

    /// Remembers no more peers without connection than this node knows nodes: identities cost nothing.
    fn forget_oldest(&mut self) {
        if self.peers.len() <= limits::KNOWN_NODES {
            return;
        }
        let mut idle: Vec<_> = self.peers.iter().filter(|(_, peer)| peer.is_idle()).collect();
        idle.sort_by_key(|(_, peer)| std::cmp::Reverse(peer.touched));
        let oldest: Vec<_> = idle.into_iter().skip(limits::KNOWN_NODES).map(|(peer, _)| *peer).collect();
        for peer in oldest {
            self.peers.remove(&peer);
        }
    }

    /// Whether there is room for connections that serve nothing but to know who is there: half of all are not in use, or
    /// half of those that only this node can make. Strangers cannot take the latter.
    pub(super) fn has_room(&self) -> bool {
        let most = self.plan.network.max_connections as usize;
        let count = |made: fn(&Connection) -> bool| {
            self.peers.values().flat_map(|peer| &peer.connections).filter(|connection| made(connection)).count()
        };
        count(|_| true) < most / 2 || count(|connection| connection.outgoing) < (most / 8).max(1)
    }

    /// Somebody says that a node is there.
    pub(super) fn hear(&mut self, peer: PeerId, claims: &[Multiaddr]) {
        let permitted =
            !self.plan.block.contains(&peer) && (self.plan.allow.is_empty() || self.plan.allow.contains(&peer));
        let now = self.now();
        let claims = self.plan.reach.permitted(address::named(claims));
        if permitted && !self.is_connected(&peer) && self.book.hear(peer, &claims, now) {
            self.dial(peer);
        }
    }

    /// A node has proven who it is: it enters the book and the routing table, if it may. Without a host that it was seen at,
    /// it is where it says.
    pub(super) fn introduce(&mut self, peer: PeerId, addresses: &[Address], seen_at: Option<IpAddr>) {
        let Some(seen_at) = seen_at.or_else(|| addresses.first().map(|first| first.ip())) else { return };
        let now = self.now();
        let former = self.book.page(&peer).map(|page| page.addresses.clone());
        let mut gone = Vec::new();
        let met = self.book.meet(peer, addresses, seen_at, now, &mut gone);
        self.engine.touch(|swarm| {
            let kad = &mut swarm.behaviour_mut().kad;
            if !met || former.is_some_and(|former| former != addresses) {
                kad.remove_peer(&peer);
            }
            for gone in &gone {
                kad.remove_peer(gone);
            }
            for address in addresses.iter().take(address::KEPT).filter(|_| met) {
                kad.add_address(&peer, address.multiaddress());
            }
        });
    }

    /// A node cannot be reached: it leaves the book and the routing table. Others of its bucket may take its place.
    pub(super) fn forget(&mut self, peer: PeerId) {
        self.engine.touch(|swarm| drop(swarm.behaviour_mut().kad.remove_peer(&peer)));
        self.calm();
        let Some(Page { met: Some(_), bucket, addresses, .. }) = self.book.remove(&peer) else { return };
        tracing::debug!(%peer, "a node is gone");
        self.departed.remember(peer, addresses, self.env.kernel.clock.now());
        let others = self.book.pages().filter(|(_, page)| page.bucket == bucket && page.met.is_some());
        let others: Vec<_> = others.map(|(peer, page)| (*peer, page.addresses[0])).collect();
        self.engine.touch(|swarm| {
            for (other, address) in others {
                swarm.behaviour_mut().kad.add_address(&other, address.multiaddress());
            }
        });
    }
}

fn is_due(page: &Page, now: Moment) -> bool {
    page.dialled.is_none_or(|dialled| now.since(dialled) > AGAIN + super::transport::DIAL)
}
