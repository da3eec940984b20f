//! What is done about each event of libp2p.

use comet_kernel::Context;
use libp2p::core::ConnectedPoint;
use libp2p::identify::Info;
use libp2p::kad::{GetClosestPeersError, ProgressStep, QueryId, QueryResult, QueryStats};
use libp2p::swarm::{ConnectionError, ConnectionId, DialError, SwarmEvent};
use libp2p::{Multiaddr, PeerId, identify, kad, mdns, ping};

use super::Swarm;
use super::address::{self, Address};
use super::behaviour::{BehaviourEvent, KAD};
use super::engine::Event;
use super::peer::Connection;
use super::reach::was_crowded;
use super::streams;
use crate::messages::SendError;
use crate::spec::Transport;

impl Swarm {
    pub(super) fn handle_event(&mut self, event: Event, context: &mut Context<Self>) {
        match event {
            SwarmEvent::Behaviour(event) => self.handle_behaviour(event, context),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.connected(peer_id, connection_id, &endpoint);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, cause, .. } => {
                let idle = matches!(cause, Some(ConnectionError::KeepAliveTimeout));
                self.disconnected(peer_id, connection_id, idle);
            }
            SwarmEvent::OutgoingConnectionError { peer_id: Some(peer), error, .. } => self.dial_failed(peer, &error),
            SwarmEvent::NewListenAddr { listener_id, address } => {
                self.engine.note_bound(&self.plan, &self.bound, listener_id, &address);
                self.calm();
                self.published.moved();
            }
            SwarmEvent::ExpiredListenAddr { .. } => self.published.moved(),
            SwarmEvent::ListenerClosed { listener_id, reason, .. } => {
                tracing::warn!(?reason, "a listener is closed");
                self.engine.note_closed(listener_id);
                self.published.moved();
            }
            _ => {}
        }
    }

    fn handle_behaviour(&mut self, event: BehaviourEvent, context: &mut Context<Self>) {
        match event {
            BehaviourEvent::Identify(identify::Event::Received { connection_id, peer_id, info }) => {
                self.identified(peer_id, connection_id, info);
            }
            BehaviourEvent::Kad(kad::Event::OutboundQueryProgressed { id, result, stats, step }) => {
                self.query_progressed(id, result, &stats, &step);
            }
            BehaviourEvent::Ping(ping) => self.pinged(ping),
            BehaviourEvent::Mdns(mdns::Event::Discovered(found)) => {
                for (peer, address) in found {
                    self.hear(peer, &[address]);
                }
            }
            BehaviourEvent::Streams(streams::Event::Incoming { peer, connection, stream }) => {
                self.serve(peer, connection, stream);
            }
            BehaviourEvent::Streams(streams::Event::Opened { peer, ticket, stream }) => {
                self.stream_opened(peer, ticket, stream, context);
            }
            _ => {}
        }
    }

    pub(super) fn connected(&mut self, peer: PeerId, id: ConnectionId, endpoint: &ConnectedPoint) {
        let now = self.now();
        let connection = Connection {
            id,
            address: endpoint.get_remote_address().clone(),
            outgoing: endpoint.is_dialer(),
            since: now,
        };
        let entry = self.peer(peer);
        entry.shunned = now;
        entry.connections.push(connection);
        if self.book.page(&peer).is_some_and(|page| page.timeouts > 0)
            && let Some(met) = self.book.met(&peer).cloned()
        {
            self.published.is_back(met);
        }
        self.book.saw(&peer, now);
        self.departed.forget(&peer, now);
        self.open_waiting(peer);
    }

    /// A connection has ended. If it was the last one, and not just idle, the node may be gone: dialling it tells. One
    /// that hangs up at once does not want this node, or has no room for it: to dial it again and again would help nobody.
    pub(super) fn disconnected(&mut self, peer: PeerId, id: ConnectionId, idle: bool) {
        let now = self.now();
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        let ended = entry.connections.extract_if(.., |connection| connection.id == id).next();
        let refused = ended.is_some_and(|ended| ended.outgoing && now.since(ended.since) < super::lanes::SHUNNED);
        entry.reopen(id);
        if entry.is_connected() {
            return self.open_waiting(peer);
        }
        if refused {
            entry.shunned = now + super::lanes::SHUNNED;
            entry.fail(&SendError::Unreachable("it hung up at once; it may block this node, or be full".to_owned()));
            return self.forget(peer);
        }
        if entry.is_stranger() && self.book.page(&peer).is_none() {
            self.peers.remove(&peer);
        } else if entry.wants_connection() || (!idle && self.book.met(&peer).is_some() && self.has_room()) {
            self.dial(peer);
        }
    }

    /// A node could not be reached. Who refuses is gone; who does not answer may only be busy, once.
    fn dial_failed(&mut self, peer: PeerId, error: &DialError) {
        if matches!(error, DialError::DialPeerConditionFalse(_) | DialError::Aborted) || self.is_connected(&peer) {
            return;
        }
        let now = self.now();
        let dialled = self.book.page(&peer).and_then(|page| page.dialled);
        if let Some(entry) = self.peers.get_mut(&peer) {
            entry.shunned = now + super::lanes::SHUNNED;
            entry.fail(&SendError::Unreachable(error.to_string()));
        }
        // This node's own limits say nothing about the other.
        let met = self.book.page(&peer).filter(|page| page.met.is_some());
        if matches!(error, DialError::Denied { .. }) || met.is_some_and(|page| was_crowded(error, &page.addresses)) {
            return;
        }
        let slow = matches!(error, DialError::Transport(_))
            && dialled.is_some_and(|dialled| now.since(dialled) >= super::transport::DIAL);
        if !slow || self.book.timed_out(&peer) > 1 {
            self.forget(peer);
        }
    }

    /// A peer says who it is. Only who speaks Comet's protocols counts.
    fn identified(&mut self, peer: PeerId, connection: ConnectionId, info: Info) {
        let speaks = |protocol| info.protocols.contains(&protocol);
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        entry.agent = Some(info.agent_version.chars().filter(|letter| !letter.is_control()).take(64).collect());
        let connection = entry.connections.iter().find(|known| known.id == connection).cloned();
        if let Some(connection) = connection.filter(|_| speaks(KAD) && speaks(streams::PROTOCOL)) {
            let addresses = self.reachable(&connection, &info.listen_addrs);
            self.introduce(peer, &addresses, connection.host());
        }
    }

    /// Where a connected peer can be reached: where this node dialled it, and what it says itself, if that can be.
    pub(super) fn reachable(&self, connection: &Connection, claims: &[Multiaddr]) -> Vec<Address> {
        let seen = match self.plan.transport {
            Transport::Memory => Some(Address::Memory(0)),
            Transport::Sockets => address::host(&connection.address),
        };
        // A name was dialled: what is behind it is what it says.
        let mut addresses = seen.map_or_else(|| address::named(claims), |seen| address::plausible(claims, seen));
        if let Some(proven) = Address::parse(&connection.address).filter(|_| connection.outgoing) {
            addresses.retain(|address| *address != proven);
            addresses.insert(0, proven);
        }
        addresses
    }

    fn pinged(&mut self, ping: ping::Event) {
        match ping.result {
            Ok(round_trip) => {
                let now = self.now();
                self.book.saw(&ping.peer, now);
                if let Some(entry) = self.peers.get_mut(&ping.peer) {
                    entry.ping = Some(round_trip);
                }
            }
            Err(ping::Failure::Unsupported) => {}
            // The node hangs, or the way to it is cut: libp2p tells of the second failure in a row. Dialling it tells which,
            // and need not do so twice.
            Err(_) => {
                self.book.timed_out(&ping.peer);
                self.engine.touch(|swarm| swarm.close_connection(ping.connection));
            }
        }
    }

    fn query_progressed(&mut self, id: QueryId, result: QueryResult, stats: &QueryStats, step: &ProgressStep) {
        match result {
            QueryResult::GetClosestPeers(found) if step.last => {
                let peers = match found {
                    Ok(found) => found.peers,
                    Err(GetClosestPeersError::Timeout { peers, .. }) => peers,
                };
                self.looked_up(id, peers, stats);
            }
            QueryResult::Bootstrap(_) => self.bootstrapped(id, step.last),
            _ => {}
        }
    }
}
