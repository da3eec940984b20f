//! libp2p's swarm inside an actor: it is polled as a stream of events, and touched between them.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::net::{TcpListener, UdpSocket};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use comet_kernel::Clock;
use futures::Stream;
use libp2p::core::transport::{ListenerId, TransportError};
use libp2p::core::upgrade::Version;
use libp2p::swarm::{self, SwarmEvent};
use libp2p::{Multiaddr, Swarm};

use super::address::Address;
use super::behaviour::{self, Behaviour, BehaviourEvent};
use super::{plan::Plan, transport};

/// What libp2p has to tell.
pub(crate) type Event = SwarmEvent<BehaviourEvent>;

/// Events that are handled in one go; whatever else the thread has to do comes between two goes.
const BATCH: usize = 64;
/// How long a connection without a lane and without a query stays. Checking a node costs a handshake otherwise.
const IDLE: Duration = Duration::from_secs(300);

/// What the listeners are bound to. It outlives an actor that fails, so that the next one listens on the same ports.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bound(Arc<Mutex<Vec<Option<Address>>>>);

/// The swarm. Copies share it.
#[derive(Clone)]
pub(crate) struct Engine(Rc<RefCell<Inner>>);

struct Inner {
    swarm: Swarm<Behaviour>,
    /// In the order of the configured addresses; none where it does not listen yet.
    listeners: Vec<Option<ListenerId>>,
    /// Calls into libp2p do not wake whoever polls it.
    waker: Option<Waker>,
}

impl Engine {
    /// Builds the swarm and listens. Must be called on a thread with a tokio runtime.
    ///
    /// # Errors
    ///
    /// An address that cannot be listened on, unless it was before: then its former owner is still going.
    pub fn new(plan: &Plan, bound: &Bound, clock: &Clock) -> Result<Self, String> {
        let config = swarm::Config::with_tokio_executor()
            .with_idle_connection_timeout(IDLE)
            // Saves a round trip for each stream. Besides, to agree on a protocol with who hangs takes ten seconds.
            .with_substream_upgrade_protocol_override(Version::V1Lazy);
        let swarm = Swarm::new(transport::build(plan, clock)?, behaviour::build(plan)?, plan.own, config);
        let listeners = vec![None; plan.listen.len()];
        let engine = Engine(Rc::new(RefCell::new(Inner { swarm, listeners, waker: None })));
        for (at, address) in plan.listen.iter().enumerate() {
            if let Err(error) = engine.listen(plan, bound, at)
                && bound.get(at).is_none()
            {
                return Err(format!("network.listen[{at}] {address}: {error}"));
            }
        }
        engine.touch(|swarm| plan.external.iter().for_each(|address| swarm.add_external_address(address.clone())));
        Ok(engine)
    }

    /// Does something with the swarm, and has it polled afterwards.
    pub fn touch<T>(&self, work: impl FnOnce(&mut Swarm<Behaviour>) -> T) -> T {
        let mut inner = self.0.borrow_mut();
        let outcome = work(&mut inner.swarm);
        if let Some(waker) = inner.waker.take() {
            waker.wake();
        }
        outcome
    }

    /// What has happened since; at least one event.
    pub async fn events(self) -> Vec<Event> {
        let mut events = Vec::new();
        poll_fn(|context| self.poll(context, &mut events)).await;
        events
    }

    /// What happens until every listener has said where it listens. A listener on an interface that is down never does.
    pub async fn listening(self) -> Vec<Event> {
        let mut events = Vec::new();
        let count = self.0.borrow().listeners.iter().flatten().count();
        while listening(&events) < count {
            events.extend(self.clone().events().await);
        }
        events
    }

    /// Listens where it does not yet. Its former owner may take a moment to let go of the port.
    pub fn listen_again(&self, plan: &Plan, bound: &Bound) {
        for at in 0..plan.listen.len() {
            if self.0.borrow().listeners[at].is_none()
                && let Err(error) = self.listen(plan, bound, at)
            {
                tracing::debug!(address = %plan.listen[at], error, "cannot listen yet");
            }
        }
    }

    /// Notes where a listener is bound.
    pub fn note_bound(&self, plan: &Plan, bound: &Bound, listener: ListenerId, address: &Multiaddr) {
        let at = self.0.borrow().listeners.iter().position(|known| *known == Some(listener));
        let (Some(at), Some(actual)) = (at, Address::parse(address)) else { return };
        let configured = Address::parse(&plan.listen[at]).unwrap_or(actual);
        bound.set(at, configured.with_port(actual.port()));
    }

    /// Notes that a listener is gone.
    pub fn note_closed(&self, listener: ListenerId) {
        let mut inner = self.0.borrow_mut();
        inner.listeners.iter_mut().filter(|known| **known == Some(listener)).for_each(|known| *known = None);
    }

    fn listen(&self, plan: &Plan, bound: &Bound, at: usize) -> Result<(), String> {
        let address = bound.get(at).map_or_else(|| plan.listen[at].clone(), Address::multiaddress);
        ask_for(&address)?;
        let listener = self.touch(|swarm| swarm.listen_on(address)).map_err(|error| match error {
            TransportError::Other(error) => explain(&error),
            TransportError::MultiaddrNotSupported(_) => "this form of address is not supported".to_owned(),
        })?;
        self.0.borrow_mut().listeners[at] = Some(listener);
        Ok(())
    }

    fn poll(&self, context: &mut Context<'_>, events: &mut Vec<Event>) -> Poll<()> {
        let mut inner = self.0.borrow_mut();
        while events.len() < BATCH {
            match Pin::new(&mut inner.swarm).poll_next(context) {
                Poll::Ready(Some(event)) => events.push(event),
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        if events.is_empty() {
            inner.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(())
    }
}

impl Drop for Inner {
    /// Channels within the process keep their address until told otherwise.
    fn drop(&mut self) {
        for listener in self.listeners.iter().flatten() {
            self.swarm.remove_listener(*listener);
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Engine")
    }
}

impl Bound {
    fn get(&self, at: usize) -> Option<Address> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(at).copied().flatten()
    }

    fn set(&self, at: usize, address: Address) {
        let mut bound = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if bound.len() <= at {
            bound.resize(at + 1, None);
        }
        bound[at] = Some(address);
    }
}

fn listening(events: &[Event]) -> usize {
    let mut listeners = Vec::new();
    for event in events {
        let (SwarmEvent::NewListenAddr { listener_id, .. } | SwarmEvent::ListenerClosed { listener_id, .. }) = event
        else {
            continue;
        };
        if !listeners.contains(listener_id) {
            listeners.push(*listener_id);
        }
    }
    listeners.len()
}

/// Finds out whether an address is free, for libp2p does not: it shares its TCP ports with whoever else is ready to, such as
/// a second node, and hides the reason with QUIC.
fn ask_for(address: &Multiaddr) -> Result<(), String> {
    let bound = match Address::parse(address) {
        // To bind all of IPv6 would ask for IPv4 as well.
        Some(address) if address.ip().is_ipv6() && address.ip().is_unspecified() => Ok(()),
        Some(Address::Tcp(ip, port @ 1..)) => TcpListener::bind((ip, port)).map(drop),
        Some(Address::Quic(ip, port)) => UdpSocket::bind((ip, port)).map(drop),
        _ => Ok(()),
    };
    bound.map_err(|error| explain(&error))
}

fn explain(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            "address already in use; stop whatever uses it, or choose another port (0 picks a free one)".to_owned()
        }
        std::io::ErrorKind::AddrNotAvailable => {
            "this machine does not have that address; 0.0.0.0 is all it has".to_owned()
        }
        std::io::ErrorKind::PermissionDenied => "not permitted; choose a port from 1024 on".to_owned(),
        _ => error.to_string(),
    }
}
