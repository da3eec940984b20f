//! What carries connections: TCP and QUIC, or TCP alone behind a pre-shared key, or channels within the process. All of
//! them prove who is at the other end.

use std::io;
use std::time::Duration;

use comet_kernel::Clock;
use futures::future::Either;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::timeout::TransportTimeout;
use libp2p::core::transport::{Boxed, MemoryTransport, OrTransport};
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::pnet::{PnetConfig, PreSharedKey};
use libp2p::{PeerId, Transport as _, dns, noise, quic, tcp, yamux};

use super::plan::Plan;
use super::reach::Discreet;
use crate::spec::Transport;

/// How long it may take to make a connection. A hung host costs a query this long.
pub(crate) const DIAL: Duration = Duration::from_secs(2);
/// Streams of one connection at once. Routing needs a handful.
const STREAMS: usize = 64;

type Carrier = Boxed<(PeerId, StreamMuxerBox)>;

/// The transport of this plan. Must be called on a thread with a tokio runtime.
pub(crate) fn build(plan: &Plan, clock: &Clock) -> Result<Carrier, String> {
    let carrier = match (plan.transport, plan.key) {
        (Transport::Memory, _) => memory(&plan.keypair),
        (Transport::Sockets, Some(key)) => locked(&plan.keypair, key),
        (Transport::Sockets, None) => open(&plan.keypair),
    };
    let carrier = TransportTimeout::new(carrier, DIAL).boxed();
    if !plan.has_names() {
        return Ok(Discreet::new(carrier, &plan.reach, clock).boxed());
    }
    let resolved = dns::tokio::Transport::system(carrier)
        .map_err(|error: io::Error| format!("network.bootstrap: names cannot be resolved: {error}"))?;
    Ok(Discreet::new(resolved.boxed(), &plan.reach, clock).boxed())
}

fn memory(keypair: &Keypair) -> Carrier {
    MemoryTransport::default().upgrade(Version::V1Lazy).authenticate(noise_of(keypair)).multiplex(multiplexer()).boxed()
}

fn locked(keypair: &Keypair, key: PreSharedKey) -> Carrier {
    tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
        .and_then(move |socket, _| PnetConfig::new(key).handshake(socket))
        .upgrade(Version::V1Lazy)
        .authenticate(noise_of(keypair))
        .multiplex(multiplexer())
        .boxed()
}

fn open(keypair: &Keypair) -> Carrier {
    let tcp = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
        .upgrade(Version::V1Lazy)
        .authenticate(noise_of(keypair))
        .multiplex(multiplexer());
    let quic = quic::tokio::Transport::new(quic::Config::new(keypair));
    OrTransport::new(quic, tcp)
        .map(|either, _| match either {
            Either::Left((peer, muxer)) => (peer, StreamMuxerBox::new(muxer)),
            Either::Right((peer, muxer)) => (peer, StreamMuxerBox::new(muxer)),
        })
        .boxed()
}

fn noise_of(keypair: &Keypair) -> noise::Config {
    noise::Config::new(keypair).expect("an Ed25519 key signs")
}

fn multiplexer() -> yamux::Config {
    let mut config = yamux::Config::default();
    config.set_max_num_streams(STREAMS);
    config
}
