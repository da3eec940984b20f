//! The supervision tree of a node, as code: every actor is named here, once.
//!
//! ```text
//! node (one-for-one)
//! ├ admin                                   its own thread: it answers when everything else is stuck
//! └ store (rest-for-one)
//!   ├ storage (rest-for-one): writer, reader
//!   ├ limiter
//!   ├ timer
//!   ├ aso: library, shard-0 … shard-n       each shard looks after its objects
//!   ├ routing (rest-for-one): swarm, router, replicator       in a network only; on its own thread
//!   └ gateway                               looks after its connections
//! ```
//!
//! In the store, what stands lower rests on what stands above it: it starts later, stops earlier, and is started again
//! if what it rests on fails. The admin actor rests on nothing, so that no failure takes the operator's eyes.
//!
//! Nothing here belongs to the process: as many nodes as memory has room for run in one, each with its own kernel.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use comet_aso::hosting;
use comet_gateway::Bound;
use comet_kernel::contract::{aso, limiter, routing, storage, timer};
use comet_kernel::objects::Network;
use comet_kernel::supervisor::{Spec, Strategy, Tree};
use comet_kernel::{Caller, Kernel, Neighbours, NodeId, Objects, Settings, Thread};
pub use comet_routing::spec::Transport;
use tokio::sync::Notify;

use crate::identity::Identity;
use crate::node::socket;

/// A node whose actors run.
#[derive(Debug)]
pub struct Node {
    /// The actors.
    pub tree: Tree,
    /// The address that the gateway listens on.
    pub resp: std::net::SocketAddr,
    /// Notified when the operator wants the node to stop.
    pub shutdown: Arc<Notify>,
    /// The way to every object, for what runs in the same process.
    pub objects: Objects,
    /// The way to this node's own objects and its scripts.
    pub aso: aso::Service,
    /// The way to the network, if the node is part of one.
    pub network: Option<routing::Service>,
    /// Where the objects run, for what runs beside them: a thread for each shard.
    pub threads: Vec<Thread>,
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The network cannot be what the configuration wants it to be: which field is wrong, and how.
    #[error("{0}")]
    Network(String),
    /// An actor did not start. Those before it have been stopped again.
    #[error("{0}")]
    Actor(String),
}

/// What carries a node's connections to other nodes, if it has any, and where chance comes from there.
#[derive(Clone, Copy, Debug)]
pub struct Medium {
    /// What carries them.
    pub transport: Transport,
    /// A seed, so that a test can repeat what it saw; none: from the operating system.
    pub seed: Option<u64>,
}

impl Medium {
    /// What nodes of their own processes have.
    pub const SOCKETS: Self = Medium { transport: Transport::Sockets, seed: None };
}

/// Starts every actor of a node. Must be called on a thread with an actix system.
pub async fn start(
    kernel: &Kernel,
    settings: &Settings,
    data: &Path,
    identity: &Identity,
    medium: Medium,
) -> Result<Node, StartError> {
    let threads: Vec<Thread> = (0..shards(settings)).map(|_| Thread::new("shard")).collect();
    let ways = Ways::new(kernel, settings, &identity.id, threads.len());
    let (bound, shutdown) = (Bound::default(), Arc::new(Notify::new()));
    let (aso, timer) = (&ways.aso, &ways.timer);
    let mut store = Spec::new("store", Strategy::RestForOne)
        .intensity(10, Duration::from_secs(60))
        .child(comet_storage::spec(kernel, &settings.storage, data, &ways.storage))
        .child(comet_limiter::child(kernel, &settings.gateway, &settings.aso, &ways.limiter))
        .child(comet_timer::child(kernel, &ways.storage, &aso.directory, timer, ways.caller.clone()))
        .child(hosting::spec(kernel, settings, ways.hosting(threads.clone()), aso));
    if let Some(network) = &ways.network {
        let parts = ways.routing(identity, medium);
        let routing = comet_routing::spec::spec(kernel, settings, parts, network);
        store = store.child(routing.map_err(|wrong| StartError::Network(wrong.to_string()))?);
    }
    let connections = connection_threads(settings, threads.clone());
    let store = store.child(comet_gateway::child(kernel, &settings.gateway, ways.gateway(connections), &bound));
    let admin = ways.admin(shutdown.clone());
    let tree = Spec::new("node", Strategy::OneForOne)
        .child(comet_admin::child(kernel, &settings.admin, &socket(settings, data), admin))
        .child(store)
        .start(kernel)
        .await
        .map_err(StartError::Actor)?;
    let resp = bound.address().expect("a gateway that has started listens");
    let Ways { objects, aso, network, .. } = ways;
    Ok(Node { tree, resp, shutdown, objects, aso, network, threads })
}

/// The ways of the actors to each other.
struct Ways {
    node: NodeId,
    /// The node itself, for what nobody outside asked for.
    caller: Arc<Caller>,
    storage: storage::Service,
    limiter: limiter::Service,
    timer: timer::Service,
    aso: aso::Service,
    /// None if the node is alone.
    network: Option<routing::Service>,
    objects: Objects,
}

impl Ways {
    fn new(kernel: &Kernel, settings: &Settings, node: &NodeId, shards: usize) -> Self {
        let clock = &kernel.clock;
        let aso = aso::Service::vacant(clock, shards);
        let network = (!settings.network.listen.is_empty()).then(|| routing::Service::vacant(clock));
        Ways {
            node: node.clone(),
            caller: Arc::new(Caller::node(node)),
            storage: storage::Service::vacant(clock),
            limiter: limiter::Service::vacant(clock),
            timer: timer::Service::vacant(clock),
            objects: objects(settings, &aso, network.as_ref()),
            aso,
            network,
        }
    }

    fn hosting(&self, threads: Vec<Thread>) -> hosting::Parts {
        hosting::Parts {
            node: self.node.clone(),
            storage: self.storage.clone(),
            timer: self.timer.clone(),
            limiter: self.limiter.clone(),
            routing: self.network.as_ref().map(|network| network.act.clone()),
            neighbours: self.network.as_ref().map_or_else(Neighbours::none, |network| network.neighbours.clone()),
            threads,
        }
    }

    fn routing(&self, identity: &Identity, medium: Medium) -> comet_routing::spec::Parts {
        comet_routing::spec::Parts {
            secret: identity.secret,
            aso: self.aso.clone(),
            storage: self.storage.clone(),
            thread: Thread::new("network"),
            transport: medium.transport,
            seed: medium.seed,
        }
    }

    fn gateway(&self, threads: Vec<Thread>) -> comet_gateway::Parts {
        comet_gateway::Parts {
            objects: self.objects.clone(),
            aso: self.aso.clone(),
            storage: self.storage.clone(),
            limiter: self.limiter.clone(),
            node: self.node.clone(),
            threads,
        }
    }

    fn admin(&self, shutdown: Arc<Notify>) -> comet_admin::Parts {
        comet_admin::Parts {
            objects: self.objects.clone(),
            aso: self.aso.clone(),
            network: self.network.clone(),
            storage: self.storage.clone(),
            timer: self.timer.clone(),
            limiter: self.limiter.clone(),
            node: self.caller.clone(),
            shutdown,
        }
    }
}

/// The way to every object: through the network, if there is one.
fn objects(settings: &Settings, aso: &aso::Service, network: Option<&routing::Service>) -> Objects {
    let here = aso.directory.clone();
    match network {
        None => Objects::here(here),
        Some(network) => {
            let network = Network {
                route: network.route.clone(),
                neighbours: network.neighbours.clone(),
                replication: settings.dht.replication as usize,
                settled: network.settled.clone(),
            };
            Objects::network(here, network)
        }
    }
}

/// How many shards: as configured, or one core is left to everything else.
pub(crate) fn shards(settings: &Settings) -> usize {
    match settings.aso.shards {
        0 => std::thread::available_parallelism().map_or(1, |cores| cores.get() - 1).max(1),
        shards => shards as usize,
    }
}

/// Where connections run: with the objects, or apart from them.
fn connection_threads(settings: &Settings, shards: Vec<Thread>) -> Vec<Thread> {
    match settings.gateway.threads {
        0 => shards,
        threads => (0..threads).map(|_| Thread::new("connections")).collect(),
    }
}
