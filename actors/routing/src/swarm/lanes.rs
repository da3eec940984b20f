//! Lanes: opened when somebody wants to send, kept while they are used, and served when a peer opens one.

use std::sync::Arc;
use std::time::Duration;

use comet_kernel::{Caller, Context, Handler, Moment, Responder, Work, limits};
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError, Stream};
use libp2p::{Multiaddr, PeerId};

use super::Swarm;
use super::address::{self, Address};
use super::peer::{SERVED, Slot, Waiting};
use super::streams::Ticket;
use crate::lane::{self, Lane, LaneError};
use crate::messages::{Send, SendError};
use crate::wire::Answer;

/// How long a peer that could not be reached is not dialled again for a request.
pub(super) const SHUNNED: Duration = Duration::from_millis(500);
/// How long a lane stays without a request. It keeps its connection.
pub(super) const UNUSED: Duration = Duration::from_secs(300);

impl Handler<Send> for Swarm {
    fn handle(&mut self, send: Send, responder: Responder<Result<Answer, SendError>>, _: &mut Context<Self>) {
        let now = self.now();
        let patience = Duration::from_millis(self.plan.network.request_timeout_ms);
        let waiting = Waiting { ask: send.ask, deadline: send.deadline.min(now + patience), responder };
        match send.to.as_str().parse() {
            Ok(peer) if peer != self.plan.own => self.send(peer, usize::from(send.bulk), waiting, now),
            _ => refuse(waiting, "it is no other node's peer id"),
        }
    }
}

impl Swarm {
    fn send(&mut self, peer: PeerId, kind: usize, waiting: Waiting, now: Moment) {
        if !self.peers.contains_key(&peer) && self.peers.len() >= self.most_peers() {
            return refuse(waiting, "this node talks with too many already");
        }
        let entry = self.peer(peer);
        let connected = entry.is_connected();
        match &mut entry.slots[kind] {
            Slot::Open { lane, used } if lane.is_open() => {
                *used = now;
                lane.send(&waiting.ask, waiting.deadline, waiting.responder);
            }
            Slot::Dialling(others) | Slot::Opening { waiting: others, .. } => waiting.join(others),
            Slot::Shut | Slot::Open { .. } if !connected && now < entry.shunned => {
                refuse(waiting, "it could not be reached a moment ago");
            }
            slot @ (Slot::Shut | Slot::Open { .. }) => {
                *slot = Slot::Dialling(vec![waiting]);
                if connected { self.open_waiting(peer) } else { self.dial(peer) }
            }
        }
    }

    /// Entries of peers, past which nobody new is sent to: those that are connected, those that are remembered, and as many
    /// that are being dialled.
    fn most_peers(&self) -> usize {
        self.plan.network.max_connections as usize + 2 * limits::KNOWN_NODES
    }

    /// Opens the lanes that wait for a connection, now that there is one.
    pub(super) fn open_waiting(&mut self, peer: PeerId) {
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        // The newest connection is the one least likely to be about to end.
        let Some(connection) = entry.connections.last().map(|connection| connection.id) else { return };
        for slot in &mut entry.slots {
            if let Slot::Dialling(waiting) = slot {
                let (ticket, waiting) = (self.tickets, std::mem::take(waiting));
                self.tickets += 1;
                *slot = Slot::Opening { ticket, connection, waiting };
                self.engine.touch(|swarm| swarm.behaviour_mut().streams.open(peer, connection, ticket));
            }
        }
    }

    /// A stream that was asked for is open: the lane's greeting is next.
    pub(super) fn stream_opened(
        &mut self,
        peer: PeerId,
        ticket: Ticket,
        stream: Result<Stream, String>,
        context: &mut Context<Self>,
    ) {
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        match stream {
            Ok(stream) => {
                let terms = entry.terms.clone();
                let greeting = async move { Lane::open(stream, &terms).await };
                context.then(greeting, move |swarm, lane, _| swarm.lane_opened(peer, ticket, lane));
            }
            Err(error) => {
                if let Some(slot) = entry.opening(ticket) {
                    slot.fail(&SendError::Unreachable(error));
                }
            }
        }
    }

    /// A lane is there, or not: whoever waited for it is served.
    fn lane_opened(&mut self, peer: PeerId, ticket: Ticket, lane: Result<Lane, LaneError>) {
        let now = self.now();
        let Some(slot) = self.peers.get_mut(&peer).and_then(|entry| entry.opening(ticket)) else { return };
        match lane {
            Ok(lane) => {
                for waiting in slot.take() {
                    lane.send(&waiting.ask, waiting.deadline, waiting.responder);
                }
                *slot = Slot::Open { lane, used: now };
            }
            Err(error) => slot.fail(&SendError::Unreachable(error.to_string())),
        }
    }

    /// Serves a lane that a peer has opened.
    pub(super) fn serve(&mut self, peer: PeerId, connection: ConnectionId, stream: Stream) {
        let router = self.env.serve.clone();
        // Its connection may be gone already.
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        entry.touched = self.env.kernel.clock.now();
        let known = entry.connections.iter().find(|known| known.id == connection);
        let Some(caller) = known.map(|known| Arc::new(caller(&peer, &known.address))) else { return };
        if entry.served() >= SERVED {
            return tracing::debug!(%peer, "a peer wants more lanes than it may have");
        }
        let (terms, serving) = (entry.terms.clone(), entry.serving.clone());
        tokio::task::spawn_local(async move {
            if let Err(error) = lane::serve(stream, caller, router, terms).await {
                tracing::debug!(%peer, %error, "a lane of a peer ended");
            }
            drop(serving);
        });
    }

    /// Dials a node where the book says it is.
    pub(super) fn dial(&mut self, peer: PeerId) {
        let addresses = self.book.page(&peer).map(|page| page.addresses.clone()).unwrap_or_default();
        self.dial_at(peer, addresses.into_iter().map(Address::multiaddress).collect());
    }

    /// Dials a node at these addresses. The outcome is an event, or comes with that of a dial that is under way.
    pub(super) fn dial_at(&mut self, peer: PeerId, addresses: Vec<Multiaddr>) {
        self.book.note_dial(&peer, self.env.kernel.clock.now());
        let options = DialOpts::peer_id(peer)
            .condition(PeerCondition::DisconnectedAndNotDialing)
            .addresses(addresses)
            .extend_addresses_through_behaviour()
            .allocate_new_port()
            .build();
        let dialled = self.engine.touch(|swarm| swarm.dial(options));
        if let Err(error) = dialled
            && !matches!(error, DialError::DialPeerConditionFalse(_))
            && let Some(entry) = self.peers.get_mut(&peer)
        {
            entry.fail(&SendError::Unreachable(error.to_string()));
        }
    }
}

fn refuse(waiting: Waiting, why: &str) {
    waiting.responder.answer(Err(SendError::Unreachable(why.to_owned())));
}

/// A peer as the caller of what it asks: its id is proven, and so is the address of its connection.
fn caller(peer: &PeerId, remote: &Multiaddr) -> Caller {
    let address = Address::parse(remote).or_else(|| address::host(remote)).unwrap_or(Address::Memory(0));
    Caller { id: peer.to_base58().into(), ip: address.ip(), port: address.port(), client: "".into() }
}
