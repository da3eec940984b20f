//! What this node dials: whoever tells it of a node must not make it knock at doors of its own network.
//!
//! Addresses that others claim get to libp2p in many ways, answers of look-ups among them, so the rule stands where all of
//! them end: before the transport. Names are dialled only for the seeds, for a name may stand for any address.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use libp2p::Multiaddr;
use libp2p::core::Transport;
use libp2p::core::transport::{Boxed, DialOpts, ListenerId, TransportError, TransportEvent};
use libp2p::multiaddr::Protocol;

use super::address::{self, Address};

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
    /// What tests have cut this node off from.
    #[cfg(test)]
    walls: std::sync::Mutex<Vec<Address>>,
}

impl Reach {
    /// A node that may dial these addresses in any case, and private ones too if it looks for nodes of its `local` network.
    pub fn new(named: Vec<Multiaddr>, local: bool) -> Self {
        Reach(Arc::new(Inner { named, local, ..Inner::default() }))
    }

    /// This node tells others to find it at this address.
    pub fn note_own(&self, ip: IpAddr) {
        self.0.private.store(address::is_private(ip), Ordering::Relaxed);
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

    fn permits_dial(&self, address: &Multiaddr) -> bool {
        let bare: Multiaddr = address.iter().filter(|part| !matches!(part, Protocol::P2p(_))).collect();
        #[cfg(test)]
        if Address::parse(&bare).is_some_and(|address| self.0.walls.lock().is_ok_and(|walls| walls.contains(&address)))
        {
            return false;
        }
        self.0.named.contains(&bare) || Address::parse(&bare).is_some_and(|address| self.permits(address))
    }
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
}

impl<O> Discreet<O> {
    pub fn new(carrier: Boxed<O>, reach: &Reach) -> Self {
        Discreet { carrier, reach: reach.clone() }
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
        if self.reach.permits_dial(&address) {
            return self.carrier.dial(address, options);
        }
        Err(TransportError::Other(io::Error::other("a private address is not dialled because somebody claims it")))
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

    #[test]
    fn who_is_public_dials_no_private_address_but_those_that_the_operator_has_named() {
        let seed = parse("/ip4/10.1.1.1/tcp/1");
        let peer = Protocol::P2p(libp2p::PeerId::random());
        let reach = Reach::new(vec![seed.clone(), parse("/dns4/seed/tcp/1")], false);
        reach.note_own([8, 8, 8, 8].into());
        let dialled = ["/ip4/8.8.4.4/tcp/1", "/ip4/8.8.4.4/udp/1/quic-v1", "/ip4/10.1.1.1/tcp/1", "/dns4/seed/tcp/1"];
        let refused = ["/ip4/10.1.1.1/tcp/2", "/ip4/127.0.0.1/tcp/1", "/ip6/::ffff:10.1.1.1/tcp/1", "/dns4/db/tcp/1"];
        for text in dialled {
            assert!(reach.permits_dial(&parse(text).with(peer.clone())), "{text}");
        }
        for text in refused {
            assert!(!reach.permits_dial(&parse(text).with(peer.clone())), "{text}");
        }
        let claims = vec![Address::Tcp([10, 1, 1, 1].into(), 1), Address::Tcp([8, 8, 4, 4].into(), 1)];
        assert_eq!(reach.permitted(claims.clone()), claims[1..]);
        reach.note_own([192, 168, 0, 1].into());
        assert_eq!(reach.permitted(claims.clone()), claims, "who is nearby itself means what is nearby");
        assert!(!reach.permits_dial(&parse("/dns4/db/tcp/1")), "a name may stand for anything");
    }

    #[test]
    fn who_looks_for_local_nodes_dials_private_addresses() {
        let reach = Reach::new(Vec::new(), true);
        reach.note_own([8, 8, 8, 8].into());
        assert!(reach.permits_dial(&parse("/ip4/10.1.1.1/tcp/2")));
    }
}
