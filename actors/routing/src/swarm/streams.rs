//! The streams that lanes run on, as a behaviour of libp2p.
//!
//! It does what `libp2p-stream` does and no more, but for three things that lanes need: no incoming stream is lost when
//! many come at once (that crate has room for one), a stream comes with its connection, whose address its caller is known
//! by, and what could not be opened says so.

use std::collections::VecDeque;
use std::task::{Context, Poll};
use std::time::Duration;

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::ReadyUpgrade;
use libp2p::swarm::handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound};
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
    NotifyHandler, Stream, StreamProtocol, SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};

/// The protocol that lanes speak.
pub(crate) const PROTOCOL: StreamProtocol = StreamProtocol::new("/comet/frames/1");
/// How long it may take to open a stream.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// Which of its openings the swarm means.
pub(crate) type Ticket = u64;

/// What a connection has to tell.
#[derive(Debug)]
pub(crate) enum Event {
    /// The peer opened a stream.
    Incoming { peer: PeerId, connection: ConnectionId, stream: Stream },
    /// A stream to the peer is open, or why it is not.
    Opened { peer: PeerId, ticket: Ticket, stream: Result<Stream, String> },
}

/// The behaviour.
#[derive(Debug, Default)]
pub(crate) struct Behaviour {
    pending: VecDeque<ToSwarm<Event, Ticket>>,
}

impl Behaviour {
    /// Opens a stream on a connection. The answer is an event, unless the connection ends first.
    pub fn open(&mut self, peer_id: PeerId, connection: ConnectionId, ticket: Ticket) {
        let handler = NotifyHandler::One(connection);
        self.pending.push_back(ToSwarm::NotifyHandler { peer_id, handler, event: ticket });
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::default())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::default())
    }

    fn on_swarm_event(&mut self, _: FromSwarm) {}

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, event: THandlerOutEvent<Self>) {
        let event = match event {
            Report::Incoming(stream) => Event::Incoming { peer, connection, stream },
            Report::Opened(ticket, stream) => Event::Opened { peer, ticket, stream },
        };
        self.pending.push_back(ToSwarm::GenerateEvent(event));
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.pending.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}

/// One connection's part. Its queues are bounded by the streams that a connection may have.
#[derive(Debug, Default)]
pub(crate) struct Handler {
    wanted: VecDeque<Ticket>,
    reports: VecDeque<Report>,
}

/// What a connection tells the behaviour.
#[derive(Debug)]
pub(crate) enum Report {
    Incoming(Stream),
    Opened(Ticket, Result<Stream, String>),
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Ticket;
    type ToBehaviour = Report;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Ticket;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol, ()> {
        SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ())
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Ticket, Report>> {
        if let Some(report) = self.reports.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(report));
        }
        let Some(ticket) = self.wanted.pop_front() else { return Poll::Pending };
        let protocol = SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ticket).with_timeout(PATIENCE);
        Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol })
    }

    fn on_behaviour_event(&mut self, ticket: Ticket) {
        self.wanted.push_back(ticket);
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<Self::InboundProtocol, Self::OutboundProtocol, (), Ticket>,
    ) {
        let report = match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, .. }) => {
                Report::Incoming(protocol)
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, info }) => {
                Report::Opened(info, Ok(protocol))
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }) => {
                Report::Opened(info, Err(error.to_string()))
            }
            _ => return,
        };
        self.reports.push_back(report);
    }
}
