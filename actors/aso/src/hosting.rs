//! The hosting of objects as one branch of the supervision tree: the library, and the shards.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use comet_kernel::contract::routing::Act;
use comet_kernel::contract::{aso, limiter, storage, timer};
use comet_kernel::neighbours::Neighbours;
use comet_kernel::supervisor::{ActorSpec, Spec, Strategy};
use comet_kernel::{Caller, Handle, Kernel, NodeId, Settings, Thread, limits};

use crate::catalogue::Catalogue;
use crate::env::Env;
use crate::library::Library;
use crate::sandbox::{Budgets, Node, Sandbox};
use crate::shard::Shard;

/// How long a shard may take to write out what its objects changed last.
const SHARD_SHUTDOWN: Duration = Duration::from_secs(30);

/// What hosting needs from outside.
#[derive(Debug)]
pub struct Parts {
    /// Who the node is.
    pub node: NodeId,
    /// The way to the database.
    pub storage: storage::Service,
    /// The way to the timer.
    pub timer: timer::Service,
    /// The way to the limiter.
    pub limiter: limiter::Service,
    /// The way to the network for what objects ask of it; none if the node is in no network.
    pub routing: Option<Handle<Act>>,
    /// Who is near, for `comet.lookup`.
    pub neighbours: Neighbours,
    /// Where shards run, one thread for each.
    pub threads: Vec<Thread>,
}

/// The branch `aso` of the supervision tree: the library, then as many shards as `service` has. Each is restarted by
/// itself: an object knows its script, and the library knows no objects.
///
/// # Panics
///
/// If there are not as many threads as shards.
pub fn spec(kernel: &Kernel, settings: &Settings, parts: Parts, service: &aso::Service) -> Spec {
    let shards = service.directory.shards().len();
    assert_eq!(parts.threads.len(), shards, "each shard has a thread");
    let clock = &kernel.clock;
    let caller = Arc::new(Caller::node(&parts.node));
    let node = Node { id: parts.node, ip: IpAddr::V4(Ipv4Addr::LOCALHOST), neighbours: parts.neighbours };
    let env = Arc::new(Env {
        kernel: kernel.clone(),
        settings: settings.aso.clone(),
        durability: settings.storage.durability,
        flush_interval: Duration::from_millis(settings.storage.flush_interval_ms),
        jitter_percent: settings.timer.jitter_percent,
        node: caller,
        networked: parts.routing.is_some(),
        sandbox: Sandbox::new(budgets(settings), node, clock.clone()).trusting(&settings.aso.publishers.0),
        catalogue: Catalogue::default(),
        directory: service.directory.clone(),
        storage: parts.storage,
        timer: parts.timer,
        limiter: parts.limiter,
        routing: parts.routing,
        fetch: Handle::vacant(clock),
        suspect: Handle::vacant(clock),
        holds: (0..shards).map(|_| Handle::vacant(clock)).collect(),
        leaving: AtomicUsize::new(0),
    });
    let mut spec = Spec::new("aso", Strategy::OneForOne).child(library(&env, settings, service));
    for (number, thread) in parts.threads.iter().enumerate() {
        spec = spec.child(shard(&env, number, thread));
    }
    spec
}

fn library(env: &Arc<Env>, settings: &Settings, service: &aso::Service) -> ActorSpec<Library> {
    let folder = Some(&settings.scripts.dir).filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let made_for = env.clone();
    ActorSpec::new("library", &Thread::new("library"), move || Ok(Library::new(made_for.clone(), folder.clone())))
        .serves(&service.load_script)
        .serves(&service.list_scripts)
        .serves(&service.show_script)
        .serves(&service.drop_script)
        .serves(&service.rollback_script)
        .serves(&service.keep_source)
        .serves(&service.describe)
        .serves(&service.clear)
        .serves(&env.fetch)
        .serves(&env.suspect)
        // It takes no message while it waits for storage.
        .unprobed()
}

fn shard(env: &Arc<Env>, number: usize, thread: &Thread) -> ActorSpec<Shard> {
    let made_for = env.clone();
    // A name in the tree lives as long as the process; there are few.
    let name = format!("shard-{number}").leak();
    ActorSpec::new(name, thread, move || Ok(Shard::new(made_for.clone(), number)))
        .serves(&env.directory.shards()[number])
        .serves(&env.holds[number])
        .mailbox(limits::SHARED_MAILBOX)
        .shutdown(SHARD_SHUTDOWN)
}

/// The budgets of a handler call as they are configured.
fn budgets(settings: &Settings) -> Budgets {
    let aso = &settings.aso;
    Budgets {
        operations: aso.operations,
        cpu: Duration::from_millis(aso.cpu_ms),
        memory: (aso.memory_kib as usize) << 10,
        string: aso.string_bytes as usize,
        items: aso.items as usize,
        state: aso.state_bytes as usize,
        call_depth: aso.call_depth as usize,
        actions: aso.actions as usize,
        parked: aso.parked as usize,
    }
}
