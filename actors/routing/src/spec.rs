//! Routing as one branch of the supervision tree.
//!
//! ```text
//! routing (rest-for-one)
//! ├ swarm       connections, who is near
//! ├ router      rests on the swarm
//! └ replicator  rests on both
//! ```

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use comet_kernel::contract::{aso, routing, storage};
use comet_kernel::supervisor::{ActorSpec, Spec, Strategy};
use comet_kernel::{Clock, Handle, Kernel, Settings, Thread};

use crate::messages::{Adopt, Changed, Compare, Find, Hear, Mend, Send, Serve};
use crate::swarm::{Bound, Plan, Swarm};
use crate::{replicator, router};

/// What routing needs from outside.
#[derive(Debug)]
pub struct Parts {
    /// The Ed25519 secret that is the node's identity.
    pub secret: [u8; 32],
    /// The way to the objects and scripts of this node.
    pub aso: aso::Service,
    /// The way to the database.
    pub storage: storage::Service,
    /// Where the network runs: a thread of its own, for connections are looked after on it.
    pub thread: Thread,
    /// What carries connections.
    pub transport: Transport,
    /// Where chance comes from, so that a test can repeat it; none: from the operating system.
    pub seed: Option<u64>,
}

/// The branch. What it serves is found through `service`, the addresses that it listens on through
/// [`routing::ReadNetwork`] as soon as it has started.
///
/// The swarm does not start if it cannot listen; its error names the field and says what to do.
///
/// # Errors
///
/// What is wrong with the configuration of the network. Nothing has been started.
pub fn spec(kernel: &Kernel, settings: &Settings, parts: Parts, service: &routing::Service) -> Result<Spec, Wrong> {
    let plan = Arc::new(Plan::new(parts.secret, &settings.network, parts.transport)?);
    let env = Env::new(kernel, settings, &parts, service);
    Ok(Spec::new("routing", Strategy::RestForOne)
        .child(swarm(&env, plan, &parts.thread, parts.seed))
        .child(router::child(&env, &parts.thread, parts.secret))
        .child(replicator::child(&env, &parts.thread)))
}

/// The swarm's place in the branch.
pub(crate) fn swarm(env: &Env, plan: Arc<Plan>, thread: &Thread, seed: Option<u64>) -> ActorSpec<Swarm> {
    let (bound, swarm) = (Bound::default(), env.clone());
    ActorSpec::new("swarm", thread, move || Swarm::new(&swarm, &plan, &bound, seed))
        .serves(&env.send)
        .serves(&env.find)
        .serves(&env.hear)
        .serves(&env.service.list_peers)
        .serves(&env.service.list_buckets)
        .serves(&env.service.read_network)
}

/// What is wrong with the configuration of the network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// An address or a peer id has a form that cannot be right.
    #[error("{field}{address}: {reason}")]
    Address {
        /// The field, with the number of the item.
        field: String,
        /// What it says, after a space.
        address: String,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// The pre-shared key cannot be used.
    #[error("network.key_file {file}: {reason}")]
    Key {
        /// The file.
        file: String,
        /// What is wrong, and what would be right.
        reason: String,
    },
}

/// What carries connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP and QUIC.
    Sockets,
    /// Channels within the process, with addresses such as `/memory/7`: for clusters in tests.
    Memory,
}

/// What the actors of routing share.
#[derive(Clone, Debug)]
pub(crate) struct Env {
    pub kernel: Kernel,
    pub settings: Arc<Settings>,
    pub aso: aso::Service,
    pub storage: storage::Service,
    /// How others reach routing; who is near; whether the node is settled.
    pub service: routing::Service,
    pub send: Handle<Send>,
    pub find: Handle<Find>,
    pub hear: Handle<Hear>,
    pub serve: Handle<Serve>,
    pub changed: Handle<Changed>,
    pub mend: Handle<Mend>,
    pub compare: Handle<Compare>,
    pub adopt: Handle<Adopt>,
    pub tally: Arc<crate::tally::Tally>,
    /// Whether bootstrap is over, for whoever starts after it was told: see [`Changed`].
    pub joined: Arc<AtomicBool>,
}

impl Env {
    pub(crate) fn new(kernel: &Kernel, settings: &Settings, parts: &Parts, service: &routing::Service) -> Self {
        let clock: &Clock = &kernel.clock;
        Env {
            kernel: kernel.clone(),
            settings: Arc::new(settings.clone()),
            aso: parts.aso.clone(),
            storage: parts.storage.clone(),
            service: service.clone(),
            send: Handle::vacant(clock),
            find: Handle::vacant(clock),
            hear: Handle::vacant(clock),
            serve: Handle::vacant(clock),
            changed: Handle::vacant(clock),
            mend: Handle::vacant(clock),
            compare: Handle::vacant(clock),
            adopt: Handle::vacant(clock),
            tally: Arc::default(),
            joined: Arc::default(),
        }
    }
}
