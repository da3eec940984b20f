//! What this node does on every connection, put together from libp2p's parts and configured against their traps.

use std::num::NonZeroUsize;
use std::time::Duration;

use libp2p::allow_block_list::{AllowedPeers, Behaviour as Listed, BlockedPeers};
use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::kad::store::{MemoryStore, MemoryStoreConfig};
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::{NetworkBehaviour, StreamProtocol};
use libp2p::{identify, kad, mdns, memory_connection_limits, ping};

use super::plan::Plan;
use super::streams;
use crate::spec::Transport;

/// The protocol of the routing table: other networks that use Kademlia are strangers.
pub(crate) const KAD: StreamProtocol = StreamProtocol::new("/comet/kad/1");
/// What a node says it runs.
const AGENT: &str = concat!("comet/", env!("CARGO_PKG_VERSION"));
/// How long one node of a query may take. libp2p's ten seconds make a query across hung hosts take as long.
const ASKED: Duration = Duration::from_millis(1_500);
/// How long a query may take.
pub(crate) const QUERY: Duration = Duration::from_secs(5);
/// Disjoint paths of a query, and nodes that each of them asks at once: libp2p has one number for both. With S/Kademlia's
/// three paths 99 % of look-ups succeed although a fifth of the nodes lies, and the nine requests under way leave room
/// for hung hosts. Each path asks the twenty nearest for itself, so that requests grow with the number of paths times
/// the logarithm of the network: the benchmark's section `lookups` shows them for three, and how many more eight take.
const PARALLELISM: NonZeroUsize = NonZeroUsize::new(3).expect("not zero");
/// Connections of one peer: one that each of the two made.
const PER_PEER: u32 = 2;
/// How long to wait before a node says again who it is, unless its addresses change.
const IDENTIFY: Duration = Duration::from_secs(3_600);

/// All of it.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    // Those that refuse come first: what they refuse costs nothing more.
    pub limits: connection_limits::Behaviour,
    pub memory: Toggle<memory_connection_limits::Behaviour>,
    pub blocked: Toggle<Listed<BlockedPeers>>,
    pub allowed: Toggle<Listed<AllowedPeers>>,
    pub kad: kad::Behaviour<MemoryStore>,
    pub identify: identify::Behaviour,
    pub ping: ping::Behaviour,
    pub mdns: Toggle<mdns::tokio::Behaviour>,
    pub streams: streams::Behaviour,
}

impl std::fmt::Debug for Behaviour {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Behaviour")
    }
}

/// The behaviour of this plan. Must be called on a thread with a tokio runtime.
pub(crate) fn build(plan: &Plan) -> Result<Behaviour, String> {
    let identify = identify::Config::new("/comet/1".to_owned(), plan.keypair.public())
        .with_agent_version(AGENT.to_owned())
        .with_interval(IDENTIFY)
        .with_push_listen_addr_updates(true)
        // The address book remembers what is worth remembering.
        .with_cache_size(0);
    Ok(Behaviour {
        limits: connection_limits::Behaviour::new(limits(plan.network.max_connections as u32)),
        memory: memory(plan.network.max_memory_mib).into(),
        blocked: blocked(plan).into(),
        allowed: allowed(plan).into(),
        kad: table(plan),
        identify: identify::Behaviour::new(identify),
        ping: ping::Behaviour::new(ping::Config::new().with_interval(plan.ping).with_timeout(plan.pong)),
        mdns: local_discovery(plan)?.into(),
        streams: streams::Behaviour::default(),
    })
}

/// A quarter of all connections is for those that this node makes itself: strangers cannot take every one.
fn limits(connections: u32) -> ConnectionLimits {
    ConnectionLimits::default()
        .with_max_established(Some(connections))
        .with_max_established_incoming(Some(connections - connections / 4))
        .with_max_established_per_peer(Some(PER_PEER))
        .with_max_pending_incoming(Some((connections / 4).max(16)))
        .with_max_pending_outgoing(Some((connections / 4).max(16)))
}

fn memory(mib: u64) -> Option<memory_connection_limits::Behaviour> {
    (mib > 0).then(|| memory_connection_limits::Behaviour::with_max_bytes((mib << 20) as usize))
}

fn blocked(plan: &Plan) -> Option<Listed<BlockedPeers>> {
    let mut list = Listed::<BlockedPeers>::default();
    plan.block.iter().for_each(|peer| {
        list.block_peer(*peer);
    });
    (!plan.block.is_empty()).then_some(list)
}

fn allowed(plan: &Plan) -> Option<Listed<AllowedPeers>> {
    let mut list = Listed::<AllowedPeers>::default();
    plan.allow.iter().for_each(|peer| {
        list.allow_peer(*peer);
    });
    (!plan.allow.is_empty()).then_some(list)
}

/// Kademlia for routing only: nothing is stored through it, and nobody enters the table who was not let in.
fn table(plan: &Plan) -> kad::Behaviour<MemoryStore> {
    let mut config = kad::Config::new(KAD);
    config
        .set_kbucket_inserts(kad::BucketInserts::Manual)
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        .set_replication_interval(None)
        .set_publication_interval(None)
        .set_provider_publication_interval(None)
        .set_caching(kad::Caching::Disabled)
        .set_periodic_bootstrap_interval(None)
        .disjoint_query_paths(true)
        .set_parallelism(PARALLELISM)
        .set_substreams_timeout(ASKED)
        .set_query_timeout(QUERY);
    let nothing = MemoryStoreConfig { max_records: 0, max_provided_keys: 0, ..MemoryStoreConfig::default() };
    let store = MemoryStore::with_config(plan.own, nothing);
    let mut kad = kad::Behaviour::with_config(plan.own, store, config);
    // Left alone it would be a client, whom nobody finds, until somebody confirms an address of its from outside.
    kad.set_mode(Some(kad::Mode::Server));
    kad
}

fn local_discovery(plan: &Plan) -> Result<Option<mdns::tokio::Behaviour>, String> {
    if !plan.network.mdns || plan.transport == Transport::Memory {
        return Ok(None);
    }
    let built = mdns::tokio::Behaviour::new(mdns::Config::default(), plan.own);
    built.map(Some).map_err(|error| format!("network.mdns: multicast DNS does not work here: {error}; set it to false"))
}
