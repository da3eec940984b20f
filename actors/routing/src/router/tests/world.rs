//! A network of routers in one process, on a clock that the tests move.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use comet_kernel::contract::aso::{self, Call, Op, Put, Refusal, Reply};
use comet_kernel::contract::routing::{self, Route};
use comet_kernel::contract::storage;
use comet_kernel::directory::Directory;
use comet_kernel::supervisor::{ActorSpec, Spec, Strategy, Tree};
use comet_kernel::{
    Caller, Clock, Handle, Kernel, Key, Neighbour, NodeId, Record, Request, Settings, Thread, UnixMillis, Value,
};

use super::swarm::{Behaviour, Swarm, Wires};
use crate::messages::Serve;
use crate::router::sign::{self, Signer, Terms};
use crate::router::trial::replicator::Replicator;
use crate::router::trial::shard::{Disk, Library, Shard, Shelf};
pub(crate) use crate::router::trial::{Shared, lock};
use crate::spec::{Env, Parts, Transport};
use crate::wire::{Answer, Ask};

/// Where the wall clock stands when a test begins.
pub const START: UnixMillis = UnixMillis(1_700_000_000_000);
/// How often a test looks for what must happen.
const PATIENCE: usize = 200_000;
/// How often between two steps of the clock.
const TURNS: usize = 100;
/// The step of the clock while a test waits.
const STEP: Duration = Duration::from_millis(5);

pub fn key(name: &str) -> Key {
    Key::new(name.as_bytes()).unwrap()
}

pub fn text(text: &str) -> Value {
    Value::from(text)
}

pub struct World {
    pub clock: Clock,
    pub nodes: Vec<Node>,
    pub wires: Shared<Wires>,
    pub trees: Vec<Tree>,
}

pub struct Node {
    pub id: NodeId,
    pub secret: [u8; 32],
    pub env: Env,
    /// What its shard holds, and how that behaves.
    pub shelf: Shared<Shelf>,
    /// Keys that its replicator was told of.
    pub mended: Shared<Vec<Key>>,
    pub library: Shared<Vec<Arc<str>>>,
}

/// The configuration that most tests run with: 5 copies, a quorum of 3, 2 asked at once.
pub fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.dht.replication = 5;
    settings.dht.write_quorum = 3;
    settings.dht.read_parallel = 2;
    settings
}

impl World {
    pub async fn of(nodes: usize) -> Self {
        World::with(nodes, &settings()).await
    }

    pub async fn with(number: usize, settings: &Settings) -> Self {
        let clock = Clock::manual(START);
        let wires = Arc::new(Mutex::new(Wires::default()));
        let nodes: Vec<_> = (0..number).map(|at| Node::new(at, &clock, settings)).collect();
        let table: Vec<_> = nodes.iter().map(|node| Arc::new(neighbour(&node.id))).collect();
        lock(&wires).nodes = nodes.iter().map(|node| (node.id.clone(), node.env.serve.clone())).collect();
        lock(&wires).table.clone_from(&table);
        let mut trees = Vec::new();
        for (node, own) in nodes.iter().zip(&table) {
            node.env.service.neighbours.publish(Neighbour::clone(own), table.iter().cloned());
            node.env.service.settled.set(true);
            trees.push(node.start(&wires).await);
        }
        World { clock, nodes, wires, trees }
    }

    /// Runs until the future is ready, and moves the clock while it is not.
    pub async fn run<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        for turn in 1..PATIENCE {
            if let std::task::Poll::Ready(output) = futures::poll!(&mut future) {
                return output;
            }
            if turn % TURNS == 0 {
                self.clock.advance(STEP);
            }
            tokio::task::yield_now().await;
        }
        panic!("it does not happen");
    }

    /// Runs until something holds; the clock stands.
    pub async fn until(&self, holds: impl Fn() -> bool) {
        for _ in 0..PATIENCE {
            if holds() {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("it does not happen");
    }

    /// Lets what is under way go on, while the clock stands.
    pub async fn idle(&self) {
        for _ in 0..500 {
            tokio::task::yield_now().await;
        }
    }

    /// The nodes by their distance to a key, nearest first.
    pub fn near(&self, key: &Key) -> Vec<usize> {
        let mut order: Vec<_> = (0..self.nodes.len()).collect();
        let place = key.place();
        let distance = |at: &usize| {
            let node = sign::place(self.nodes[*at].id.as_str()).unwrap();
            std::array::from_fn::<u8, 32, _>(|bit| node[bit] ^ place[bit])
        };
        order.sort_by_key(distance);
        order
    }

    /// How the network behaves towards a node.
    pub fn behave(&self, node: usize, behaviour: Behaviour) {
        lock(&self.wires).behaviours.insert(self.nodes[node].id.clone(), behaviour);
    }

    /// Requests that were sent to a node, by name.
    pub fn sent_to(&self, node: usize) -> Vec<&'static str> {
        let id = &self.nodes[node].id;
        let wires = lock(&self.wires);
        wires.sent.iter().filter(|(_, to, _)| to == id).map(|(_, _, name)| *name).collect()
    }

    pub async fn route(&self, node: usize, name: &str, op: Op) -> Result<Reply, Refusal> {
        self.run(self.nodes[node].route(&self.clock, name, op)).await
    }

    pub async fn put(&self, node: usize, name: &str, value: &str) -> Result<Reply, Refusal> {
        self.route(node, name, Op::Put(Box::new(Put::plain(text(value))))).await
    }

    pub async fn get(&self, node: usize, name: &str) -> Option<Value> {
        match self.route(node, name, Op::Get { payload: Value::Nil }).await.unwrap() {
            Reply::Plain(record) => Some(record.value.clone()),
            Reply::Value(value) => Some(value),
            Reply::Absent => None,
            other => panic!("{other:?}"),
        }
    }

    /// Asks a node as a peer of this id.
    pub async fn serve(&self, node: usize, from: &NodeId, ask: Ask) -> Answer {
        let from = Arc::new(Caller { port: 9, ..Caller::node(from) });
        let deadline = self.clock.now() + Duration::from_secs(2);
        self.run(self.nodes[node].env.serve.call(Serve { from, ask, deadline })).await.unwrap()
    }

    /// Stops a node and starts it again with what is on its disk.
    pub async fn restart(&mut self, node: usize) {
        let tree = self.trees.remove(node);
        self.run(tree.stop()).await;
        let tree = self.nodes[node].start(&self.wires).await;
        self.trees.insert(node, tree);
    }

    /// How many nodes hold a value.
    pub fn holders(&self, name: &str, value: &Value) -> usize {
        let holds = |node: &&Node| node.record(name).is_some_and(|record| record.value == *value);
        self.nodes.iter().filter(holds).count()
    }
}

impl Node {
    fn new(at: usize, clock: &Clock, settings: &Settings) -> Self {
        let secret = [at as u8 + 1; 32];
        let kernel = Kernel::new(clock.clone());
        let mut aso = aso::Service::vacant(clock, 1);
        aso.directory = Directory::new(vec![Handle::vacant(clock)]);
        let parts = Parts {
            secret,
            aso,
            storage: storage::Service::vacant(clock),
            thread: Thread::current(),
            transport: Transport::Memory,
            seed: None,
        };
        let env = Env::new(&kernel, settings, &parts, &routing::Service::vacant(clock));
        Node {
            id: Signer::new(&secret).node().clone(),
            secret,
            env,
            shelf: Arc::default(),
            mended: Arc::default(),
            library: Arc::default(),
        }
    }

    async fn start(&self, wires: &Shared<Wires>) -> Tree {
        let thread = Thread::current();
        let (env, clock) = (&self.env, self.env.kernel.clock.clone());
        let (shelf, own) = (self.shelf.clone(), clock.clone());
        let shard = ActorSpec::new("shard", &thread, move || Ok(Shard::new(&shelf, &own)))
            .mailbox(1 << 16)
            .serves(&env.aso.directory.shards()[0]);
        let shelf = self.shelf.clone();
        let disk = ActorSpec::new("disk", &thread, move || Ok(Disk::new(&shelf))).serves(&env.storage.scan);
        let sources = self.library.clone();
        let library = ActorSpec::new("library", &thread, move || Ok(Library::new(&sources)))
            .serves(&env.aso.describe)
            .serves(&env.aso.keep_source)
            .serves(&env.aso.show_script);
        let (wires, id) = (wires.clone(), self.id.clone());
        let swarm = ActorSpec::new("swarm", &thread, move || Ok(Swarm::new(&id, &wires, &clock)))
            .mailbox(1 << 16)
            .serves(&env.send)
            .serves(&env.find)
            .serves(&env.hear);
        let mended = self.mended.clone();
        let replicator = ActorSpec::new("replicator", &thread, move || Ok(Replicator::new(&mended)))
            .serves(&env.mend)
            .serves(&env.compare);
        let router = crate::router::child(env, &thread, self.secret);
        let spec = Spec::new("node", Strategy::OneForOne).child(shard).child(disk).child(library).child(swarm);
        spec.child(replicator).child(router).start(&env.kernel).await.unwrap()
    }

    /// A call of a client of this node.
    pub fn call(&self, clock: &Clock, name: &str, op: Op) -> Call {
        let request = Request::until(clock.now() + Duration::from_secs(35));
        let caller = Caller { id: "".into(), client: "10.0.0.9:99".into(), ..Caller::node(&self.id) };
        Call { key: key(name), request, caller: Arc::new(caller), op, stamp: None }
    }

    pub fn route(&self, clock: &Clock, name: &str, op: Op) -> impl Future<Output = Result<Reply, Refusal>> + use<> {
        self.send(Route { call: self.call(clock, name, op), answers: 1 })
    }

    /// The call is sent at once; the future waits for the reply.
    pub fn send(&self, route: Route) -> impl Future<Output = Result<Reply, Refusal>> + use<> {
        let pending = self.env.service.route.ask(route).unwrap();
        async move { pending.await.unwrap() }
    }

    /// What its shard holds.
    pub fn record(&self, name: &str) -> Option<Arc<Record>> {
        lock(&self.shelf).records.get(&key(name)).cloned()
    }

    /// A record as this node would put it.
    pub fn signed(&self, name: &str, change: impl FnOnce(&mut Record), terms: Terms) -> Record {
        let signer = Signer::new(&self.secret);
        let mut record = Record::plain(START.0 << 16, text("signed"));
        change(&mut record);
        record.provenance = Some(Box::new(signer.sign(&key(name), &record, terms)));
        record
    }

    /// Puts a record on its shelf, past every check.
    pub fn hold(&self, name: &str, record: Record) {
        lock(&self.shelf).records.insert(key(name), Arc::new(record));
    }

    pub fn mended(&self) -> usize {
        lock(&self.mended).len()
    }

    pub fn refused(&self) -> u64 {
        self.env.tally.refused.read()
    }
}

fn neighbour(id: &NodeId) -> Neighbour {
    Neighbour { id: id.clone(), ip: [127, 0, 0, 1].into(), port: 7_380, place: sign::place(id.as_str()).unwrap() }
}

/// A stamp that goes with a record.
pub fn stamp_of(record: &Record) -> crate::wire::Stamp {
    let provenance = record.provenance.as_deref().unwrap().clone();
    crate::wire::Stamp { version: record.version, provenance, expires: record.expires, owner: record.owner.clone() }
}

/// A put that a node sends, with the value and the stamp of a record.
pub fn put_of(name: &str, record: &Record) -> Ask {
    Ask::Put {
        key: key(name),
        value: record.value.clone(),
        script: None,
        condition: crate::wire::Condition::Always,
        stamp: stamp_of(record),
        asker: crate::wire::Asker::default(),
    }
}
