//! Addresses of nodes, in the few forms that Comet uses: TCP, QUIC, and channels within the process.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

/// Addresses of one node that are worth keeping.
pub(crate) const KEPT: usize = 4;

/// Where a node can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Address {
    Tcp(IpAddr, u16),
    Quic(IpAddr, u16),
    /// A channel within the process. Others see it as a port of the loopback address.
    Memory(u16),
}

/// Addresses that one holder of a range can have in any number: a /24 of IPv4, a /48 of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Group {
    V4([u8; 3]),
    V6([u16; 3]),
}

impl Address {
    /// The address in a multiaddress, if it has one of the forms above. Names are left to whoever resolves them.
    pub fn parse(text: &Multiaddr) -> Option<Self> {
        let mut parts = text.iter();
        let ip: IpAddr = match parts.next()? {
            Protocol::Ip4(ip) => ip.into(),
            Protocol::Ip6(ip) => ip.to_ipv4_mapped().map_or(ip.into(), IpAddr::from),
            Protocol::Memory(port) => return u16::try_from(port).ok().map(Address::Memory),
            _ => return None,
        };
        let (port, rest) = (parts.next()?, parts.next());
        match (port, rest) {
            (Protocol::Tcp(port), None | Some(Protocol::P2p(_))) => Some(Address::Tcp(ip, port)),
            (Protocol::Udp(port), Some(Protocol::QuicV1)) => Some(Address::Quic(ip, port)),
            _ => None,
        }
    }

    /// The multiaddress.
    pub fn multiaddress(self) -> Multiaddr {
        match self {
            Address::Tcp(ip, port) => Multiaddr::from(ip).with(Protocol::Tcp(port)),
            Address::Quic(ip, port) => Multiaddr::from(ip).with(Protocol::Udp(port)).with(Protocol::QuicV1),
            Address::Memory(port) => Multiaddr::from(Protocol::Memory(port.into())),
        }
    }

    /// The host.
    pub fn ip(self) -> IpAddr {
        match self {
            Address::Tcp(ip, _) | Address::Quic(ip, _) => ip,
            Address::Memory(_) => Ipv4Addr::LOCALHOST.into(),
        }
    }

    /// The port on it.
    pub fn port(self) -> u16 {
        match self {
            Address::Tcp(_, port) | Address::Quic(_, port) | Address::Memory(port) => port,
        }
    }

    /// The same with another port.
    pub fn with_port(self, port: u16) -> Self {
        match self {
            Address::Tcp(ip, _) => Address::Tcp(ip, port),
            Address::Quic(ip, _) => Address::Quic(ip, port),
            Address::Memory(_) => Address::Memory(port),
        }
    }

    /// Whether it can be dialled at all.
    fn is_whole(self) -> bool {
        self.port() != 0 && !self.ip().is_unspecified() && !self.ip().is_multicast()
    }

    /// Whether somebody whom this node sees at `seen` can mean this address: nobody far away has an address that is good
    /// only nearby.
    fn is_plausible(self, seen: Address) -> bool {
        let memory = |address| matches!(address, Address::Memory(_));
        let nearby = is_private(seen.ip());
        self.is_whole()
            && memory(self) == memory(seen)
            && (!self.ip().is_loopback() || seen.ip().is_loopback())
            && (!is_private(self.ip()) || nearby)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.multiaddress().fmt(formatter)
    }
}

/// What somebody whom this node sees at `seen` says of its own addresses: the plausible ones, those of the very host that
/// it is seen at first.
pub(crate) fn plausible(claims: &[Multiaddr], seen: Address) -> Vec<Address> {
    let mut kept = Vec::new();
    for claim in claims.iter().filter_map(Address::parse) {
        if claim.is_plausible(seen) && !kept.contains(&claim) {
            kept.push(claim);
        }
    }
    kept.sort_by_key(|address| address.ip() != seen.ip());
    kept.truncate(KEPT);
    kept
}

/// The addresses that somebody else names for a node: all that can be dialled, for nothing more can be said of them.
pub(crate) fn named(claims: &[Multiaddr]) -> Vec<Address> {
    let mut kept: Vec<_> = claims.iter().filter_map(Address::parse).filter(|address| address.is_whole()).collect();
    kept.dedup();
    kept.truncate(KEPT);
    kept
}

/// The group that counts for diversity; none for loopback and private addresses unless `private` ones count too.
pub(crate) fn group(ip: IpAddr, private: bool) -> Option<Group> {
    if !private && is_private(ip) {
        return None;
    }
    Some(match ip {
        IpAddr::V4(ip) => Group::V4([ip.octets()[0], ip.octets()[1], ip.octets()[2]]),
        IpAddr::V6(ip) => Group::V6([ip.segments()[0], ip.segments()[1], ip.segments()[2]]),
    })
}

/// Whether an address is good only on this machine or in its local network. IPv4 as in RFC 1918, 3927 and 6598, IPv6 as in
/// RFC 4193 and 4291.
pub(crate) fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
            ip.is_loopback() || ip.is_private() || ip.is_link_local() || shared
        }
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// The host at the other end of a connection, however it is reached. For what is not an address but a name: none.
pub(crate) fn host(remote: &Multiaddr) -> Option<Address> {
    match remote.iter().next()? {
        Protocol::Ip4(ip) => Some(Address::Tcp(ip.into(), 0)),
        Protocol::Ip6(ip) => Some(Address::Tcp(ip.to_ipv4_mapped().map_or(ip.into(), IpAddr::from), 0)),
        _ => None,
    }
}

/// A multiaddress that ends in `/p2p/` and a peer id, taken apart.
pub(crate) fn with_peer(mut address: Multiaddr) -> Option<(PeerId, Multiaddr)> {
    match address.pop() {
        Some(Protocol::P2p(peer)) => Some((peer, address)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Multiaddr {
        text.parse().expect("well-formed")
    }

    #[test]
    fn an_address_is_read_as_it_is_written() {
        for text in ["/ip4/1.2.3.4/tcp/7380", "/ip6/2001:db8::1/udp/7380/quic-v1", "/memory/7"] {
            assert_eq!(Address::parse(&parse(text)).expect("known form").to_string(), text);
        }
        for text in ["/ip4/1.2.3.4", "/ip4/1.2.3.4/udp/1", "/dns4/example.org/tcp/1", "/memory/70000"] {
            assert_eq!(Address::parse(&parse(text)), None, "{text}");
        }
    }

    #[test]
    fn who_is_far_away_cannot_mean_an_address_that_is_good_only_nearby() {
        let claims = ["/ip4/127.0.0.1/tcp/1", "/ip4/192.168.1.2/tcp/1", "/ip4/7.7.7.7/tcp/1", "/ip4/8.8.8.8/tcp/1"];
        let claims = claims.map(parse);
        let seen_at = |text| plausible(&claims, Address::parse(&parse(text)).expect("known form"));
        let ips = |found: Vec<Address>| found.iter().map(|address| address.ip().to_string()).collect::<Vec<_>>();
        assert_eq!(ips(seen_at("/ip4/8.8.8.8/tcp/9")), ["8.8.8.8", "7.7.7.7"]);
        assert_eq!(ips(seen_at("/ip4/192.168.1.2/tcp/9")), ["192.168.1.2", "7.7.7.7", "8.8.8.8"]);
        assert_eq!(ips(seen_at("/ip4/127.0.0.1/tcp/9"))[0], "127.0.0.1");
    }

    #[test]
    fn loopback_and_private_addresses_are_in_no_group_unless_they_count_too() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("well-formed");
        for private in ["127.0.0.1", "10.1.2.3", "192.168.0.1", "100.64.0.1", "::1", "fd00::1", "fe80::1"] {
            assert_eq!(group(ip(private), false), None, "{private}");
        }
        assert_eq!(group(ip("10.1.2.3"), true), group(ip("10.1.2.250"), true));
        assert_eq!(group(ip("8.8.8.8"), false), Some(Group::V4([8, 8, 8])));
        assert_eq!(group(ip("2001:db8:1:2::3"), false), group(ip("2001:db8:1:ffff::4"), false));
        assert_ne!(group(ip("2001:db8:1::"), false), group(ip("2001:db8:2::"), false));
    }
}
