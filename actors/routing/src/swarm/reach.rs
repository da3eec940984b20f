//! What this node dials: whoever tells it of a node must not make it knock at doors of its own network.
//!
//! Addresses that others claim get to libp2p in many ways, answers of look-ups among them, so the rule stands where all of
//! them end: before the transport. Names are dialled only for the seeds, for a name may stand for any address. Nor does it
//! knock at many doors of one address group because they are named: see [`Crowd`].

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use comet_kernel::{Clock, Moment};
use libp2p::Multiaddr;
use libp2p::core::Transport;
use libp2p::core::transport::{Boxed, DialOpts, ListenerId, TransportError, TransportEvent};
use libp2p::multiaddr::Protocol;
use libp2p::swarm::DialError;

use super::address::{self, Address};
use super::crowd::Crowd;

/// What may be dialled. Copies share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reach(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// What the operator has named.
    named: Vec<Multiaddr>,
    /// Whether the operator wants nodes of the local network in any case.
    local: bool,
    /// Whether this node itself is found at a private address. Then those whom it talks with are nearby, too.
    private: AtomicBool,
    crowd: Mutex<Crowd>,
    /// What tests have cut this node off from.
    #[cfg(test)]
    walls: Mutex<Vec<Address>>,
}

/// Why an address is not dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// It is good only nearby, or a name, and somebody's claim.
    #[error("a private address is not dialled because somebody claims it")]
    Private,
    /// It is one of many in its address group.
    #[error("too many addresses of its group were dialled in the last minute; it is dialled again after that")]
    Crowded,
}

impl Reach {
    /// A node that may dial these addresses in any case, and private ones too if it looks for nodes of its `local` network;
    /// of all others what the `crowd` admits.
    pub fn new(named: Vec<Multiaddr>, local: bool, crowd: Crowd) -> Self {
        Reach(Arc::new(Inner { named, local, crowd: Mutex::new(crowd), ..Inner::default() }))
    }

    /// This node tells others to find it at this address.
    pub fn note_own(&self, ip: IpAddr) {
        self.0.private.store(address::is_private(ip), Ordering::Relaxed);
    }

    /// Nodes of the address book can be reached there, and nowhere else.
    pub fn know(&self, addresses: impl Iterator<Item = Address>) {
        self.crowd().know(addresses);
    }

    fn crowd(&self) -> MutexGuard<'_, Crowd> {
        self.0.crowd.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those of the addresses that may be dialled though they are but claims.
    pub fn permitted(&self, mut claims: Vec<Address>) -> Vec<Address> {
        claims.retain(|claim| self.permits(*claim));
        claims
    }

    fn permits(&self, address: Address) -> bool {
        let nearby = self.0.local || self.0.private.load(Ordering::Relaxed);
        nearby || matches!(address, Address::Memory(_)) || !address::is_private(address.ip())
    }

    fn check_dial(&self, address: &Multiaddr, now: Moment) -> Result<(), Refused> {
        let bare: Multiaddr = address.iter().filter(|part| !matches!(part, Protocol::P2p(_))).collect();
        #[cfg(test)]
        if Address::parse(&bare).is_some_and(|address| self.0.walls.lock().is_ok_and(|walls| walls.contains(&address)))
        {
            return Err(Refused::Private);
        }
        if self.0.named.contains(&bare) {
            return Ok(());
        }
        let address = Address::parse(&bare).filter(|address| self.permits(*address)).ok_or(Refused::Private)?;
        if self.crowd().admits(address, now) { Ok(()) } else { Err(Refused::Crowded) }
    }
}

/// Whether one of these addresses was not dialled because of its address group, which says nothing of who is there.
pub(crate) fn was_crowded(error: &DialError, addresses: &[Address]) -> bool {
    let DialError::Transport(errors) = error else { return false };
    let meant = |address| Address::parse(address).is_some_and(|address| addresses.contains(&address));
    errors.iter().any(|(address, error)| match error {
        TransportError::Other(error) => refusal(error) == Some(Refused::Crowded) && meant(address),
        TransportError::MultiaddrNotSupported(_) => false,
    })
}

/// libp2p wraps the errors of a transport, and once more for each layer.
fn refusal(error: &io::Error) -> Option<Refused> {
    let inner = error.get_ref()?;
    inner.downcast_ref().copied().or_else(|| refusal(inner.downcast_ref()?))
}

#[cfg(test)]
impl Reach {
    /// Cuts this node off from these addresses, and from no others.
    pub fn wall_off(&self, addresses: Vec<Address>) {
        *self.0.walls.lock().expect("no test fails in between") = addresses;
    }
}

/// A transport that dials only what may be dialled.
pub(crate) struct Discreet<O> {
    carrier: Boxed<O>,
    reach: Reach,
    clock: Clock,
}

impl<O> Discreet<O> {
    pub fn new(carrier: Boxed<O>, reach: &Reach, clock: &Clock) -> Self {
        Discreet { carrier, reach: reach.clone(), clock: clock.clone() }
    }
}

impl<O> Transport for Discreet<O> {
    type Output = <Boxed<O> as Transport>::Output;
    type Error = <Boxed<O> as Transport>::Error;
    type ListenerUpgrade = <Boxed<O> as Transport>::ListenerUpgrade;
    type Dial = <Boxed<O> as Transport>::Dial;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<Self::Error>> {
        self.carrier.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.carrier.remove_listener(id)
    }

    fn dial(&mut self, address: Multiaddr, options: DialOpts) -> Result<Self::Dial, TransportError<Self::Error>> {
        match self.reach.check_dial(&address, self.clock.now()) {
            Ok(()) => self.carrier.dial(address, options),
            Err(refused) => Err(TransportError::Other(io::Error::other(refused))),
        }
    }

    fn poll(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        Pin::new(&mut self.carrier).poll(task)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Multiaddr {
        text.parse().expect("well-formed")
    }

    fn dial(reach: &Reach, text: &str) -> Result<(), Refused> {
        reach.check_dial(&parse(text).with(Protocol::P2p(libp2p::PeerId::random())), Moment::default())
    }

    #[test]
    fn who_is_public_dials_no_private_address_but_those_that_the_operator_has_named() {
        let seed = parse("/ip4/10.1.1.1/tcp/1");
        let reach = Reach::new(vec![seed.clone(), parse("/dns4/seed/tcp/1")], false, Crowd::new(3, false));
        reach.note_own([8, 8, 8, 8].into());
        let dialled = ["/ip4/8.8.4.4/tcp/1", "/ip4/8.8.4.4/udp/1/quic-v1", "/ip4/10.1.1.1/tcp/1", "/dns4/seed/tcp/1"];
        let refused = ["/ip4/10.1.1.1/tcp/2", "/ip4/127.0.0.1/tcp/1", "/ip6/::ffff:10.1.1.1/tcp/1", "/dns4/db/tcp/1"];
        for text in dialled {
            assert_eq!(dial(&reach, text), Ok(()), "{text}");
        }
        for text in refused {
            assert_eq!(dial(&reach, text), Err(Refused::Private), "{text}");
        }
        let claims = vec![Address::Tcp([10, 1, 1, 1].into(), 1), Address::Tcp([8, 8, 4, 4].into(), 1)];
        assert_eq!(reach.permitted(claims.clone()), claims[1..]);
        reach.note_own([192, 168, 0, 1].into());
        assert_eq!(reach.permitted(claims.clone()), claims, "who is nearby itself means what is nearby");
        assert_eq!(dial(&reach, "/dns4/db/tcp/1"), Err(Refused::Private), "a name may stand for anything");
    }

    #[test]
    fn who_looks_for_local_nodes_dials_private_addresses() {
        let reach = Reach::new(Vec::new(), true, Crowd::new(3, false));
        reach.note_own([8, 8, 8, 8].into());
        assert_eq!(dial(&reach, "/ip4/10.1.1.1/tcp/2"), Ok(()));
    }

    #[test]
    fn of_a_crowd_at_addresses_of_one_group_few_are_dialled_but_those_that_are_named_or_known() {
        let seed = parse("/ip4/8.8.8.8/tcp/1");
        let reach = Reach::new(vec![seed], false, Crowd::new(3, false));
        let dialled = |range: std::ops::Range<u16>| {
            range.filter(|port| dial(&reach, &format!("/ip4/8.8.8.7/tcp/{port}")).is_ok()).count()
        };
        assert_eq!(dialled(1..100), 3);
        assert_eq!(dial(&reach, "/ip4/8.8.8.8/tcp/1"), Ok(()));
        assert_eq!(dial(&reach, "/ip4/8.8.8.9/tcp/1"), Err(Refused::Crowded));
        reach.know([Address::Quic([8, 8, 8, 9].into(), 1)].into_iter());
        assert_eq!(dial(&reach, "/ip4/8.8.8.9/tcp/1"), Ok(()));
    }
}
