//! What the configuration of the network comes to: every address, peer id and key checked before anything starts.

use std::time::Duration;

use comet_kernel::settings;
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::pnet::PreSharedKey;
use libp2p::{Multiaddr, PeerId};

use super::address::{self, Address};
use super::crowd::Crowd;
use super::reach::Reach;
use crate::spec::{Transport, Wrong};

/// See [`Plan::ping`]. A node with hundreds of connections should be idle when nothing else happens.
const PING: Duration = Duration::from_secs(15);
/// See [`Plan::pong`].
const PONG: Duration = Duration::from_secs(5);

/// The checked configuration.
#[derive(Clone)]
pub(crate) struct Plan {
    pub keypair: Keypair,
    pub own: PeerId,
    pub transport: Transport,
    pub listen: Vec<Multiaddr>,
    /// Who to join; never this node itself, so that all nodes of a cluster may have the same list.
    pub seeds: Vec<(PeerId, Multiaddr)>,
    pub external: Vec<Multiaddr>,
    pub allow: Vec<PeerId>,
    pub block: Vec<PeerId>,
    pub key: Option<PreSharedKey>,
    pub network: settings::Network,
    /// What may be dialled, found out while the node runs.
    pub reach: Reach,
    /// How often each end checks a connection.
    pub ping: Duration,
    /// How long the answer to that may take.
    pub pong: Duration,
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Plan({})", self.own)
    }
}

impl Plan {
    /// Checks the configuration.
    pub fn new(secret: [u8; 32], network: &settings::Network, transport: Transport) -> Result<Self, Wrong> {
        let keypair = Keypair::ed25519_from_bytes(secret).expect("any 32 bytes are an Ed25519 secret");
        let own = keypair.public().to_peer_id();
        let key = read_key(&network.key_file)?;
        let plan = Plan {
            own,
            keypair,
            transport,
            listen: each("network.listen", &network.listen, |text| listen(text, transport, key.is_some()))?,
            seeds: each("network.bootstrap", &network.bootstrap, |text| seed(text, transport))?,
            external: each("network.external", &network.external, external)?,
            allow: each("network.allow", &network.allow, peer)?,
            block: each("network.block", &network.block, peer)?,
            key,
            network: network.clone(),
            reach: Reach::default(),
            ping: PING,
            pong: PONG,
        };
        if plan.listen.is_empty() {
            let reason = "there is no address to listen on; give one, such as /ip4/0.0.0.0/tcp/7380".to_owned();
            return Err(Wrong::Address { field: "network.listen".to_owned(), address: String::new(), reason });
        }
        let seeds: Vec<_> = plan.seeds.into_iter().filter(|(peer, _)| *peer != own).collect();
        let named = seeds.iter().map(|(_, address)| address.clone()).collect();
        // As many as may stand in the table.
        let crowd = Crowd::new(network.group_peers as usize + 1, network.group_private);
        Ok(Plan { seeds, reach: Reach::new(named, network.mdns, crowd), ..plan })
    }

    /// Whether names have to be resolved.
    pub fn has_names(&self) -> bool {
        let names =
            |part| matches!(part, Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_) | Protocol::Dnsaddr(_));
        self.seeds.iter().any(|(_, address)| address.iter().any(names))
    }
}

fn each<T>(field: &str, texts: &[String], read: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, Wrong> {
    let read = |(at, text): (usize, &String)| {
        let wrong = |reason| Wrong::Address { field: format!("{field}[{at}]"), address: format!(" {text}"), reason };
        read(text).map_err(wrong)
    };
    texts.iter().enumerate().map(read).collect()
}

fn multiaddress(text: &str) -> Result<Multiaddr, String> {
    text.parse().map_err(|error| format!("{error}; an address looks like /ip4/192.0.2.1/tcp/7380"))
}

fn listen(text: &str, transport: Transport, has_key: bool) -> Result<Multiaddr, String> {
    let address = multiaddress(text)?;
    match (transport, Address::parse(&address)) {
        (Transport::Memory, Some(Address::Memory(1..))) => Ok(address),
        (Transport::Memory, _) => Err("within a process an address looks like /memory/7".to_owned()),
        (Transport::Sockets, Some(Address::Quic(..))) if has_key => {
            Err("a pre-shared key (network.key_file) works over TCP alone; listen on /ip4/.../tcp/... only".to_owned())
        }
        (Transport::Sockets, Some(kept @ (Address::Tcp(..) | Address::Quic(..)))) => Ok(kept.multiaddress()),
        (Transport::Sockets, _) => {
            Err("listen on /ip4/.../tcp/... or /ip4/.../udp/.../quic-v1 (or /ip6/...)".to_owned())
        }
    }
}

fn seed(text: &str, transport: Transport) -> Result<(PeerId, Multiaddr), String> {
    let wanted = "it must end in /p2p/ and the node's peer id, as `comet node` prints it";
    let (peer, address) = address::with_peer(multiaddress(text)?).ok_or(wanted)?;
    let memory = matches!(Address::parse(&address), Some(Address::Memory(_)));
    if address.is_empty() || memory != (transport == Transport::Memory) {
        return Err("there is no address before /p2p/ that this node can dial".to_owned());
    }
    Ok((peer, address))
}

fn external(text: &str) -> Result<Multiaddr, String> {
    let address = multiaddress(text)?;
    let kept = Address::parse(&address).filter(|address| address.port() != 0 && !address.ip().is_unspecified());
    kept.map(Address::multiaddress)
        .ok_or_else(|| "others need an IP address and a port: /ip4/192.0.2.1/tcp/7380".to_owned())
}

fn peer(text: &str) -> Result<PeerId, String> {
    text.parse().map_err(|error| format!("{error}; a peer id looks like 12D3KooW..."))
}

/// Reads the pre-shared key: 64 hexadecimal digits, which white space may surround.
fn read_key(file: &str) -> Result<Option<PreSharedKey>, Wrong> {
    if file.is_empty() {
        return Ok(None);
    }
    let wrong = |reason: String| Wrong::Key { file: file.to_owned(), reason };
    let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    let digits = text.trim().as_bytes();
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let values: Option<Vec<u32>> = digits.iter().map(digit).collect();
    let values = values.filter(|values| values.len() == 64).ok_or_else(|| {
        wrong("it must hold 64 hexadecimal digits and nothing else, such as `openssl rand -hex 32` prints".to_owned())
    })?;
    let mut key = [0; 32];
    for (byte, pair) in key.iter_mut().zip(values.chunks_exact(2)) {
        *byte = (pair[0] << 4 | pair[1]) as u8;
    }
    Ok(Some(PreSharedKey::new(key)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use comet_kernel::settings::List;

    const PEER: &str = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp";

    fn network(change: impl FnOnce(&mut settings::Network)) -> settings::Network {
        let listen = List(vec!["/ip4/127.0.0.1/tcp/0".to_owned()]);
        let mut network = settings::Network { listen, ..settings::Network::default() };
        change(&mut network);
        network
    }

    fn refused(change: impl FnOnce(&mut settings::Network)) -> String {
        let refused = Plan::new([1; 32], &network(change), Transport::Sockets);
        refused.expect_err("it is wrong").to_string()
    }

    #[test]
    fn the_peer_id_is_the_one_that_the_kernel_knows() {
        let plan = Plan::new([7; 32], &network(|_| ()), Transport::Sockets).expect("nothing is wrong");
        let public = plan.keypair.public().try_into_ed25519().expect("Ed25519").to_bytes();
        assert_eq!(plan.own.to_base58(), comet_kernel::NodeId::from_public_key(&public).as_str());
    }

    #[test]
    fn a_wrong_address_is_named_with_its_field_and_what_would_be_right() {
        let listen = |text: &str| refused(|network| network.listen = List(vec![text.to_owned()]));
        assert!(listen("127.0.0.1:1").contains("network.listen[0] 127.0.0.1:1: "), "{}", listen("127.0.0.1:1"));
        assert!(listen("/ip4/1.2.3.4").contains("/tcp/"));
        assert!(listen("/memory/7").contains("/tcp/"));
        let seed = |text: &str| refused(|network| network.bootstrap = List(vec![text.to_owned()]));
        assert!(seed("/ip4/1.2.3.4/tcp/1").contains("must end in /p2p/"));
        assert!(seed(&format!("/p2p/{PEER}")).contains("no address before"));
        assert!(refused(|network| network.block = List(vec!["me".to_owned()])).contains("network.block[0] me: "));
        let external = refused(|network| network.external = List(vec!["/ip4/0.0.0.0/tcp/1".to_owned()]));
        assert!(external.contains("network.external[0]"), "{external}");
    }

    #[test]
    fn a_wrong_key_file_is_named() {
        let missing = refused(|network| network.key_file = "/nowhere/key".to_owned());
        assert!(missing.contains("/nowhere/key"), "{missing}");
    }

    #[test]
    fn a_node_does_not_join_itself() {
        let own = Plan::new([1; 32], &network(|_| ()), Transport::Sockets).expect("nothing is wrong").own;
        let seeds = vec![format!("/ip4/1.2.3.4/tcp/1/p2p/{own}"), format!("/dns4/example.org/tcp/1/p2p/{PEER}")];
        let plan = Plan::new([1; 32], &network(|network| network.bootstrap = List(seeds)), Transport::Sockets);
        let plan = plan.expect("nothing is wrong");
        assert_eq!((plan.seeds.len(), plan.has_names()), (1, true));
    }
}
