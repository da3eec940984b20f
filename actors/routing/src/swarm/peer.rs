//! A peer that this node is connected with, or wants to be: its connections, and the lanes to it.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use comet_kernel::contract::routing;
use comet_kernel::{Moment, Responder, limits};
use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};

use super::address::{self, Address};
use super::streams::Ticket;
use crate::lane::{Lane, Terms};
use crate::messages::SendError;
use crate::wire::{Answer, Ask};

/// Lanes of one peer that this node serves at once. A peer needs two, and for a moment two more while it replaces them.
pub(crate) const SERVED: usize = 4;

/// A peer.
pub(crate) struct Peer {
    pub connections: Vec<Connection>,
    /// Shared by all lanes to and from the peer.
    pub terms: Terms,
    /// For small requests, and for bulk.
    pub slots: [Slot; 2],
    /// One more copy for each lane of the peer that is served.
    pub serving: Rc<()>,
    /// Until when it is not dialled again.
    pub shunned: Moment,
    /// When something last happened.
    pub touched: Moment,
    pub ping: Option<Duration>,
    pub agent: Option<String>,
}

/// A connection.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub id: ConnectionId,
    pub address: Multiaddr,
    pub outgoing: bool,
    pub since: Moment,
}

impl Connection {
    /// The host at the other end; none if it is a name, or this process.
    pub fn host(&self) -> Option<IpAddr> {
        address::host(&self.address).map(Address::ip)
    }
}

/// Where a lane is, or will be.
pub(crate) enum Slot {
    /// Nobody has asked for it.
    Shut,
    /// It waits for a connection.
    Dialling(Vec<Waiting>),
    /// A stream is being opened on a connection, or the lane's greeting is under way.
    Opening { ticket: Ticket, connection: ConnectionId, waiting: Vec<Waiting> },
    /// It is there.
    Open { lane: Lane, used: Moment },
}

/// A request that waits for its lane.
pub(crate) struct Waiting {
    pub ask: Ask,
    pub deadline: Moment,
    pub responder: Responder<Result<Answer, SendError>>,
}

impl Peer {
    /// A peer that nothing is known of.
    pub fn new(terms: Terms, now: Moment) -> Self {
        Peer {
            connections: Vec::new(),
            terms,
            slots: [Slot::Shut, Slot::Shut],
            serving: Rc::new(()),
            shunned: Moment::default(),
            touched: now,
            ping: None,
            agent: None,
        }
    }

    /// Whether there is a connection.
    pub fn is_connected(&self) -> bool {
        !self.connections.is_empty()
    }

    /// Lanes of the peer that are served.
    pub fn served(&self) -> usize {
        Rc::strong_count(&self.serving) - 1
    }

    /// The slot that is being opened with this ticket, if it still is.
    pub fn opening(&mut self, ticket: Ticket) -> Option<&mut Slot> {
        let meant = |slot: &&mut Slot| matches!(slot, Slot::Opening { ticket: known, .. } if *known == ticket);
        self.slots.iter_mut().find(meant)
    }

    /// Whether requests wait for a connection.
    pub fn wants_connection(&self) -> bool {
        self.slots.iter().any(|slot| matches!(slot, Slot::Dialling(_)))
    }

    /// A connection is gone: what was being opened on it waits for another.
    pub fn reopen(&mut self, gone: ConnectionId) {
        for slot in &mut self.slots {
            if matches!(slot, Slot::Opening { connection, .. } if *connection == gone) {
                *slot = Slot::Dialling(slot.take());
            }
        }
    }

    /// Gives every request that waits for a lane its error.
    pub fn fail(&mut self, error: &SendError) {
        self.slots.iter_mut().for_each(|slot| slot.fail(error));
    }

    /// Whether it can be forgotten.
    pub fn is_idle(&self) -> bool {
        !self.is_connected() && self.served() == 0 && self.slots.iter().all(|slot| matches!(slot, Slot::Shut))
    }

    /// Whether it can be forgotten at once: nothing was asked in either direction, so that there is nothing to remember.
    pub fn is_stranger(&self) -> bool {
        self.is_idle() && self.terms.traffic.received.read() == 0 && self.terms.traffic.sent.read() == 0
    }

    /// What the operator sees.
    pub fn describe(&self, id: &PeerId, now: Moment) -> Option<routing::Peer> {
        let connection = self.connections.first()?;
        let traffic = &self.terms.traffic;
        Some(routing::Peer {
            id: id.to_base58(),
            address: connection.address.to_string(),
            outgoing: connection.outgoing,
            connected_seconds: now.since(connection.since).as_secs(),
            ping_us: self.ping.map(|ping| ping.as_micros() as u64),
            agent: self.agent.clone(),
            sent: traffic.sent.read(),
            answered: traffic.answered.read(),
            failed: traffic.failed.read(),
            received: traffic.received.read(),
            limited: traffic.limited.read(),
        })
    }
}

impl Slot {
    /// The requests that wait, if this is not a lane that is open.
    pub fn waiting(&mut self) -> Option<&mut Vec<Waiting>> {
        match self {
            Slot::Shut | Slot::Open { .. } => None,
            Slot::Dialling(waiting) | Slot::Opening { waiting, .. } => Some(waiting),
        }
    }

    /// The requests that wait; the slot is shut.
    pub fn take(&mut self) -> Vec<Waiting> {
        match std::mem::replace(self, Slot::Shut) {
            Slot::Shut | Slot::Open { .. } => Vec::new(),
            Slot::Dialling(waiting) | Slot::Opening { waiting, .. } => waiting,
        }
    }

    /// Gives every request that waits its error, and shuts the slot unless the lane is open.
    pub fn fail(&mut self, error: &SendError) {
        if !matches!(self, Slot::Open { .. }) {
            self.take().into_iter().for_each(|waiting| waiting.responder.answer(Err(error.clone())));
        }
    }

    /// Drops what nobody waits for any more, and says so to those who still listen.
    pub fn expire(&mut self, now: Moment) {
        let Some(waiting) = self.waiting() else { return };
        for late in waiting.extract_if(.., |waiting| waiting.deadline <= now || waiting.responder.is_abandoned()) {
            late.responder.answer(Err(SendError::Unreachable("no connection was made in time".to_owned())));
        }
    }
}

impl Waiting {
    /// Waits with the others, unless there are too many.
    pub fn join(self, others: &mut Vec<Waiting>) {
        if others.len() < limits::LANE_REQUESTS {
            others.push(self);
        } else {
            self.responder.answer(Err(SendError::Busy));
        }
    }
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Peer({} connections)", self.connections.len())
    }
}
