//! The nodes of a trial.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use comet_kernel::contract::aso::{self, Call, Op, Refusal, Reply};
use comet_kernel::contract::{routing, storage};
use comet_kernel::directory::Directory;
use comet_kernel::settings::{List, Settings};
use comet_kernel::supervisor::{ActorSpec, Spec, Strategy, Tree};
use comet_kernel::{Caller, Clock, Handle, Kernel, Key, Moment, NodeId, Request, Thread};
use futures::future::join_all;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::Shared;
use super::liar::{Liar, Lie};
use super::replicator::Replicator;
use super::shard::{Disk, Library, Shard};
use crate::messages::Send;
use crate::router::sign::Signer;
use crate::spec::{Env, Parts, Transport};
use crate::swarm::Plan;

/// Nodes that join at once: they share one thread.
const GROUP: usize = 5;
/// How long they have to join.
pub(super) const JOINING: Duration = Duration::from_secs(120);
/// How long a call may take.
const CALL: Duration = Duration::from_secs(10);
/// Objects that each liar attacks.
const ATTACKED: usize = 5;

/// All nodes.
pub(super) struct Cluster {
    clock: Clock,
    pub honest: Vec<Node>,
    liars: Vec<Node>,
}

/// One node.
#[derive(Debug)]
pub(super) struct Node {
    id: NodeId,
    pub env: Env,
    pub tree: Tree,
    /// What a liar makes of questions.
    liar: Option<Liar>,
}

impl Cluster {
    /// Starts them, and waits until all have joined. The first is honest: everybody joins through it.
    pub async fn start(nodes: u16, liars: u16, random: &mut StdRng) -> Self {
        let clock = Clock::machine();
        let mut secrets: Vec<[u8; 32]> = (0..nodes).map(|_| random.random()).collect();
        let first = secrets.remove(0);
        let address = memory();
        let seed = format!("{address}/p2p/{}", Signer::new(&first).node());
        let mut honest = vec![Node::start(first, &address, &[], None, &clock).await];
        let kind: usize = random.random_range(0..Lie::ALL.len());
        let mut lies: Vec<_> = (0..secrets.len())
            .map(|at| (at < usize::from(liars)).then(|| Lie::ALL[(kind + at) % Lie::ALL.len()]))
            .collect();
        lies.shuffle(random);
        let mut lying = Vec::new();
        let seeds = [seed];
        for group in secrets.into_iter().zip(lies).collect::<Vec<_>>().chunks(GROUP) {
            let starts = group.iter().map(|(secret, lie)| {
                let seeds = seeds.clone();
                let clock = clock.clone();
                async move { Node::start(*secret, &memory(), &seeds, *lie, &clock).await }
            });
            for node in join_all(starts).await {
                if node.liar.is_some() { lying.push(node) } else { honest.push(node) }
            }
            let all = || honest.iter().chain(&lying);
            let deadline = clock.now() + JOINING;
            wait(&clock, deadline, || all().all(|node| node.env.joined.load(Ordering::Relaxed))).await;
        }
        for node in &honest {
            node.env.service.settled.set(true);
        }
        Cluster { clock, honest, liars: lying }
    }

    pub async fn sleep(&self, duration: Duration) {
        self.clock.sleep(duration).await;
    }

    /// A call of a client of an honest node.
    pub async fn route(&self, node: usize, key: &Key, op: Op) -> Result<Reply, Refusal> {
        let node = &self.honest[node];
        let request = Request::until(self.clock.now() + CALL);
        let caller = Caller { id: "".into(), ..Caller::node(&node.id) };
        let call = Call { key: key.clone(), request, caller: Arc::new(caller), op, stamp: None };
        let reply = node.env.service.route.call(routing::Route { call, answers: 1 }).await;
        reply.unwrap_or_else(|error| Err(Refusal::Unavailable(error.to_string())))
    }

    /// Has the liars send what no honest node may take, all at the same time.
    pub async fn assault(&self, keys: &[Key]) {
        join_all(self.liars.iter().map(|node| self.attack(node, keys))).await;
    }

    async fn attack(&self, node: &Node, keys: &[Key]) {
        let liar = node.liar.as_ref().expect("it lies");
        for (key, attack) in
            keys.iter().take(ATTACKED).flat_map(|key| liar.attacks(key).into_iter().map(move |it| (key, it)))
        {
            let targets = node.env.service.neighbours.nearest(&key.place(), 8);
            let targets = targets.iter().filter(|target| self.liars.iter().all(|liar| liar.id != target.id));
            let sent = targets.map(|target| {
                let deadline = self.clock.now() + Duration::from_secs(1);
                node.env.send.call(Send { to: target.id.clone(), ask: attack.clone(), deadline, bulk: true })
            });
            let _what_they_say_does_not_matter = join_all(sent).await;
        }
    }

    pub async fn stop(&mut self) {
        for node in self.honest.drain(..).chain(self.liars.drain(..)) {
            node.tree.stop().await;
        }
    }
}

/// An address within the process that no other node has.
fn memory() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(30_000);
    format!("/memory/{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

pub(super) async fn wait(clock: &Clock, deadline: Moment, holds: impl Fn() -> bool) {
    while !holds() {
        assert!(clock.now() < deadline, "the nodes do not find each other");
        clock.sleep(Duration::from_millis(20)).await;
    }
}

impl Node {
    pub async fn start(secret: [u8; 32], listen: &str, seeds: &[String], lie: Option<Lie>, clock: &Clock) -> Self {
        let transport = if listen.starts_with("/memory/") { Transport::Memory } else { Transport::Sockets };
        let mut settings = Settings::default();
        settings.network.listen = List(vec![listen.to_owned()]);
        settings.network.bootstrap = List(seeds.to_vec());
        let kernel = Kernel::new(clock.clone());
        let mut objects = aso::Service::vacant(clock, 1);
        objects.directory = Directory::new(vec![Handle::vacant(clock)]);
        let parts = Parts {
            secret,
            aso: objects,
            storage: storage::Service::vacant(clock),
            thread: Thread::current(),
            transport,
            seed: Some(u64::from(secret[0])),
        };
        let env = Env::new(&kernel, &settings, &parts, &routing::Service::vacant(clock));
        let plan = Plan::new(secret, &settings.network, transport).expect("the configuration is right");
        let spec = Spec::new("routing", Strategy::RestForOne).child(crate::spec::swarm(
            &env,
            Arc::new(plan),
            &parts.thread,
            parts.seed,
        ));
        let told = Shared::default();
        let spec = match lie {
            Some(lie) => {
                let memory = told.clone();
                let make = move || Ok(Liar::new(lie, &secret, &memory));
                spec.child(ActorSpec::new("liar", &parts.thread, make).serves(&env.serve))
            }
            None => honest(spec, &env, &parts),
        };
        let (thread, own) = (&parts.thread, Shared::default());
        let replicator = ActorSpec::new("replicator", thread, move || Ok(Replicator::new(&own)));
        let replicator = replicator.serves(&env.mend).serves(&env.compare).serves(&env.changed);
        let tree = spec.child(replicator).start(&kernel).await.expect("it starts");
        let liar = lie.map(|lie| Liar::new(lie, &secret, &told));
        Node { id: Signer::new(&secret).node().clone(), env, tree, liar }
    }
}

fn honest(spec: Spec, env: &Env, parts: &Parts) -> Spec {
    let (shelf, clock, sources) = (Shared::default(), env.kernel.clock.clone(), Shared::default());
    let disk = ActorSpec::new("disk", &parts.thread, {
        let shelf = Shared::clone(&shelf);
        move || Ok(Disk::new(&shelf))
    });
    let shard = ActorSpec::new("shard", &parts.thread, move || Ok(Shard::new(&shelf, &clock)));
    let library = ActorSpec::new("library", &parts.thread, move || Ok(Library::new(&sources)));
    spec.child(shard.serves(&env.aso.directory.shards()[0]))
        .child(disk.serves(&env.storage.scan))
        .child(library.serves(&env.aso.describe).serves(&env.aso.keep_source).serves(&env.aso.show_script))
        .child(crate::router::child(env, &parts.thread, parts.secret))
}
