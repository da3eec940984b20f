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
//!   └ gateway                               looks after its connections
//! ```
//!
//! In the store, what stands lower rests on what stands above it: it starts later, stops earlier, and is started again
//! if what it rests on fails. The admin actor rests on nothing, so that no failure takes the operator's eyes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use comet_aso::hosting;
use comet_kernel::contract::{aso, limiter, storage, timer};
use comet_kernel::supervisor::{Spec, Strategy, Tree};
use comet_kernel::{Caller, Kernel, NodeId, Settings, Thread};
use tokio::sync::Notify;

/// A node whose actors run.
#[derive(Debug)]
pub struct Node {
    /// The actors.
    pub tree: Tree,
    /// The address that the gateway listens on.
    pub resp: std::net::SocketAddr,
    /// Notified when the operator wants the node to stop.
    pub shutdown: Arc<Notify>,
    /// The way to the objects, for what runs in the same process.
    pub aso: aso::Service,
    /// Where the objects run, for what runs beside them: a thread for each shard.
    pub threads: Vec<Thread>,
}

/// Starts every actor of a node. Must be called on a thread with an actix system.
///
/// # Errors
///
/// Which actor did not start, and why. Those before it have been stopped again.
pub async fn start(
    kernel: &Kernel,
    settings: &Settings,
    data: &Path,
    socket: &Path,
    id: &NodeId,
) -> Result<Node, String> {
    let clock = &kernel.clock;
    let storage = storage::Service::vacant(clock);
    let limiter = limiter::Service::vacant(clock);
    let timer = timer::Service::vacant(clock);
    let threads: Vec<Thread> = (0..shards(settings)).map(|_| Thread::new("shard")).collect();
    let aso = aso::Service::vacant(clock, threads.len());
    let caller = Arc::new(Caller::node(id));
    let bound = comet_gateway::Bound::default();
    let shutdown = Arc::new(Notify::new());

    let hosting = hosting::Parts {
        node: id.clone(),
        storage: storage.clone(),
        timer: timer.clone(),
        limiter: limiter.clone(),
        threads: threads.clone(),
    };
    let gateway = comet_gateway::Parts {
        aso: aso.clone(),
        storage: storage.clone(),
        limiter: limiter.clone(),
        node: id.clone(),
        threads: connection_threads(settings, threads.clone()),
    };
    let admin = comet_admin::Parts {
        aso: aso.clone(),
        storage: storage.clone(),
        timer: timer.clone(),
        limiter: limiter.clone(),
        node: caller.clone(),
        shutdown: shutdown.clone(),
    };
    let store = Spec::new("store", Strategy::RestForOne)
        .intensity(10, Duration::from_secs(60))
        .child(comet_storage::spec(kernel, &settings.storage, data, &storage))
        .child(comet_limiter::child(kernel, &settings.gateway, &settings.aso, &limiter))
        .child(comet_timer::child(kernel, &storage, &aso.directory, &timer, caller))
        .child(hosting::spec(kernel, settings, hosting, &aso))
        .child(comet_gateway::child(kernel, &settings.gateway, gateway, &bound));
    let tree = Spec::new("node", Strategy::OneForOne)
        .child(comet_admin::child(kernel, &settings.admin, socket, admin))
        .child(store)
        .start(kernel)
        .await?;
    let resp = bound.address().expect("a gateway that has started listens");
    Ok(Node { tree, resp, shutdown, aso, threads })
}

/// How many shards: as configured, or one core is left to everything else.
fn shards(settings: &Settings) -> usize {
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
