//! Several replicators in one process, around them a swarm, shards and storage that the tests hold in their hands.

mod surroundings;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use comet_kernel::contract::aso::{Arrived, Call, Op, Reply};
use comet_kernel::contract::library::{Describe, Description};
use comet_kernel::contract::routing::{Drain, Replicate, Service};
use comet_kernel::contract::storage::{Page, Read, ReadStatus, Scan, Status};
use comet_kernel::contract::{aso, storage};
use comet_kernel::provenance::{Provenance, Removal, Signature};
use comet_kernel::record::{Active, ScriptRef};
use comet_kernel::supervisor::{ActorSpec, Spec, Strategy, Tree};
use comet_kernel::{
    Actor, Caller, Clock, Context, Handler, Kernel, Key, Message, Neighbour, NodeId, Record, Responder, ScriptHash,
    Settings, Thread, UnixMillis, Value, Work,
};
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

use self::surroundings::Surroundings;
use crate::messages::{Adopt, Changed, Compare, Find, Mend, Send, SendError, Serve};
use crate::spec::{Env, Parts, Transport};
use crate::wire::{Answer, Ask, Item};

/// Where the wall clock stands when a test begins.
pub const START: UnixMillis = UnixMillis(1_700_000_000_000);
/// How long a test waits for something that must happen.
const PATIENCE: usize = 20_000;

pub fn key(number: usize) -> Key {
    Key::new(format!("key {number}").as_bytes()).expect("short")
}

pub fn plain(version: u64) -> Record {
    let provenance =
        Provenance { by: "b".into(), signature: Signature([0; 64]), script: None, replicas: None, removed: None };
    Record { provenance: Some(Box::new(provenance)), ..Record::plain(version, Value::Int(version as i64)) }
}

/// A record whose provenance says more than that it is signed.
pub fn provenance(record: Record, change: impl FnOnce(&mut Provenance)) -> Record {
    let mut provenance = record.provenance.expect("every record of these tests has one");
    change(&mut provenance);
    Record { provenance: Some(provenance), ..record }
}

pub fn removed(version: u64, removal: Removal) -> Record {
    provenance(Record { value: Value::Nil, ..plain(version) }, |provenance| provenance.removed = Some(removal))
}

/// A record of an object whose script merges, if so wanted, to the greatest value.
pub fn scripted(version: u64, value: i64, merges: bool) -> Record {
    let script = ScriptRef { hash: ScriptHash::of(if merges { "merging" } else { "other" }), follows: None };
    let active = Active { script, state: Value::Nil, timer: None, quarantined: false };
    Record { value: Value::Int(value), active: Some(Box::new(active)), ..plain(version) }
}

/// How a node treats those who send to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    Honest,
    Dead,
    /// It never answers.
    Mute,
    /// It answers late.
    Slow,
    /// It always has too much to do.
    Overworked,
    /// It refuses copies.
    Refuses,
    /// It says that it has something newer, and shows nothing.
    Boasts,
}

/// What a node has on its disk, and what is known of it.
#[derive(Debug)]
pub struct Site {
    pub env: Env,
    pub records: BTreeMap<Key, Arc<Record>>,
    pub manner: Manner,
    pub broken_disk: bool,
    /// Reads of single records never come to an end.
    pub hung_disk: bool,
    /// Places that lists pass over.
    pub damaged_places: u64,
    /// Pages that were read.
    pub pages: usize,
    /// Items of comparisons that came.
    pub compared: Vec<Item>,
    pub largest_comparison: usize,
    /// Copies that came.
    pub arrived: Vec<Key>,
    pub asked: usize,
    pub most_asked: usize,
    /// So many requests more, it has too much to do.
    pub busy: usize,
}

type Sites = Arc<Mutex<HashMap<NodeId, Site>>>;

/// A network.
pub struct World {
    pub clock: Clock,
    pub nodes: Vec<Arc<Neighbour>>,
    sites: Sites,
    trees: Vec<Tree>,
}

impl World {
    /// A network in which everyone knows everyone.
    pub async fn new(seed: u64, size: usize, replication: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let nodes: Vec<_> = (0..size).map(|_| Arc::new(neighbour(&mut random))).collect();
        let mut world =
            World { clock: Clock::manual(START), nodes: nodes.clone(), sites: Sites::default(), trees: Vec::new() };
        for node in &nodes {
            world.start(node, replication).await;
        }
        world.meet(&nodes);
        world
    }

    async fn start(&mut self, node: &Arc<Neighbour>, replication: u64) {
        let mut settings = Settings::default();
        settings.dht.replication = replication;
        settings.dht.write_quorum = replication.div_ceil(2);
        let parts = Parts {
            secret: [0; 32],
            aso: aso::Service::vacant(&self.clock, 1),
            storage: storage::Service::vacant(&self.clock),
            thread: Thread::current(),
            transport: Transport::Memory,
            seed: None,
        };
        let kernel = Kernel::new(self.clock.clone());
        let env = Env::new(&kernel, &settings, &parts, &Service::vacant(&self.clock));
        self.lock().insert(node.id.clone(), Site::new(&env));
        let (sites, id) = (self.sites.clone(), node.id.clone());
        let surroundings = ActorSpec::new("surroundings", &Thread::current(), move || {
            Ok(Surroundings { id: id.clone(), sites: sites.clone(), held: Vec::new(), reads: Vec::new() })
        });
        let surroundings = surroundings
            .mailbox(100_000)
            .serves(&env.storage.scan)
            .serves(&env.storage.read)
            .serves(&env.storage.read_status)
            .serves(&env.aso.directory.shards()[0])
            .serves(&env.aso.describe)
            .serves(&env.send)
            .serves(&env.find)
            .serves(&env.serve)
            .serves(&env.adopt);
        let tree = Spec::new("node", Strategy::OneForOne)
            .probe(Duration::from_secs(1_000_000), Duration::from_secs(1_000_000))
            .child(surroundings)
            .child(super::super::child(&env, &Thread::current()));
        self.trees.push(tree.start(&kernel).await.expect("it starts"));
    }

    /// These nodes know each other, and no others.
    pub fn meet(&self, nodes: &[Arc<Neighbour>]) {
        for node in nodes {
            self.env(node).service.neighbours.publish(Neighbour::clone(node), nodes.iter().cloned());
        }
    }

    pub fn lock(&self) -> MutexGuard<'_, HashMap<NodeId, Site>> {
        self.sites.lock().expect("no test holds it while it fails")
    }

    /// Changes or reads what is known of a node.
    pub fn at<T>(&self, node: &Neighbour, work: impl FnOnce(&mut Site) -> T) -> T {
        work(self.lock().get_mut(&node.id).expect("there is such a node"))
    }

    pub fn env(&self, node: &Neighbour) -> Env {
        self.at(node, |site| site.env.clone())
    }

    pub fn store(&self, node: &Neighbour, key: &Key, record: Record) {
        self.at(node, |site| site.records.insert(key.clone(), Arc::new(record)));
    }

    pub fn store_on(&self, nodes: &[Arc<Neighbour>], key: &Key, record: &Record) {
        for node in nodes {
            self.store(node, key, record.clone());
        }
    }

    pub fn set(&self, nodes: &[Arc<Neighbour>], manner: Manner) {
        for node in nodes {
            self.at(node, |site| site.manner = manner);
        }
    }

    pub fn copy(&self, node: &Neighbour, key: &Key) -> Option<Arc<Record>> {
        self.at(node, |site| site.records.get(key).cloned())
    }

    /// The nodes that have a copy, and what copy.
    pub fn copies(&self, key: &Key) -> HashMap<NodeId, Arc<Record>> {
        let sites = self.lock();
        let living = sites.iter().filter(|(_, site)| site.manner != Manner::Dead);
        living.filter_map(|(id, site)| Some((id.clone(), site.records.get(key)?.clone()))).collect()
    }

    /// Of these nodes the nearest to a key.
    pub fn nearest(nodes: &[Arc<Neighbour>], key: &Key, n: usize) -> Vec<Arc<Neighbour>> {
        let (place, mut nodes) = (key.place(), nodes.to_vec());
        nodes.sort_by_key(|node| std::array::from_fn::<u8, 32, _>(|at| node.place[at] ^ place[at]));
        nodes.truncate(n);
        nodes
    }

    /// Stores objects on those of these nodes that should hold them.
    pub fn fill(&self, nodes: &[Arc<Neighbour>], objects: usize, replicas: usize) {
        for number in 0..objects {
            for node in Self::nearest(nodes, &key(number), replicas) {
                self.store(&node, &key(number), plain(1));
            }
        }
    }

    /// Every object has its copies on those of these nodes that should hold it, and on no others.
    pub fn assert_exact(&self, nodes: &[Arc<Neighbour>], objects: usize, replicas: usize) {
        for number in 0..objects {
            let mut expected: Vec<_> =
                Self::nearest(nodes, &key(number), replicas).iter().map(|node| node.id.to_string()).collect();
            let mut present: Vec<_> = self.copies(&key(number)).into_keys().map(|id| id.to_string()).collect();
            expected.sort();
            present.sort();
            assert_eq!(present, expected, "object {number}");
        }
    }

    pub async fn round(&self, node: &Neighbour) {
        self.env(node).service.replicate.call(Replicate).await.expect("it lives");
    }

    pub async fn round_each(&self, nodes: &[Arc<Neighbour>]) {
        for node in nodes {
            self.round(node).await;
        }
    }

    pub async fn drain(&self, node: &Neighbour) -> u64 {
        self.env(node).service.drain.call(Drain).await.expect("it lives")
    }

    pub async fn mend(&self, node: &Neighbour, key: &Key) {
        self.env(node).mend.call(Mend { key: key.clone() }).await.expect("it lives");
    }

    pub async fn changed(&self, node: &Neighbour, joined: &[Arc<Neighbour>], left: &[Arc<Neighbour>], bootstrap: bool) {
        let changed = Changed { joined: joined.to_vec(), left: left.to_vec(), joined_network: bootstrap };
        self.env(node).changed.call(changed).await.expect("it lives");
    }

    pub async fn compare(&self, node: &Neighbour, from: &Neighbour, items: Vec<Item>) -> Answer {
        let from = Arc::new(Caller::node(&from.id));
        self.env(node).compare.call(Compare { from, items }).await.expect("it lives")
    }

    /// Lets everybody do what there is to do without the clock.
    pub async fn rest(&self) {
        for _ in 0..500 {
            tokio::task::yield_now().await;
        }
    }

    /// Waits for what must come without the clock.
    pub async fn until(&self, condition: impl Fn() -> bool) {
        for _ in 0..PATIENCE {
            if condition() {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("what must happen did not");
    }

    /// Lets time pass until something has ended.
    pub async fn passing<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        for _ in 0..PATIENCE {
            tokio::select! {
                biased;
                output = &mut work => return output,
                () = tokio::task::yield_now() => self.clock.advance(Duration::from_millis(10)),
            }
        }
        panic!("it does not end");
    }
}

fn neighbour(random: &mut StdRng) -> Neighbour {
    let (mut public, mut place) = ([0; 32], [0; 32]);
    random.fill_bytes(&mut public);
    random.fill_bytes(&mut place);
    Neighbour { id: NodeId::from_public_key(&public), ip: [127, 0, 0, 1].into(), port: 1, place }
}

impl Site {
    fn new(env: &Env) -> Self {
        Site {
            env: env.clone(),
            records: BTreeMap::new(),
            manner: Manner::Honest,
            broken_disk: false,
            hung_disk: false,
            damaged_places: 0,
            pages: 0,
            compared: Vec::new(),
            largest_comparison: 0,
            arrived: Vec::new(),
            asked: 0,
            most_asked: 0,
            busy: 0,
        }
    }

    /// What a shard would do with a copy.
    fn arrive(&mut self, key: &Key, record: &Arc<Record>) -> Arrived {
        self.arrived.push(key.clone());
        let Some(present) = self.records.get(key).filter(|present| present.version >= record.version) else {
            self.records.insert(key.clone(), record.clone());
            return Arrived::Taken;
        };
        let merging = present.active.as_ref().is_some_and(|active| active.script.hash == ScriptHash::of("merging"));
        if present.version > record.version {
            return Arrived::Outdated(present.version);
        }
        let (Value::Int(here), Value::Int(there), true) = (&present.value, &record.value, merging) else {
            return Arrived::Same;
        };
        let merged = Record { value: Value::Int(*here.max(there)), ..Record::clone(present) };
        self.records.insert(key.clone(), Arc::new(merged));
        Arrived::Merged
    }

    /// What a router and its shards would answer.
    fn serve(&mut self, ask: &Ask) -> Answer {
        match ask {
            Ask::Arrive { key, record, .. } if self.manner != Manner::Refuses => {
                Answer::Arrived(self.arrive(key, record))
            }
            Ask::Copy { key } => self.records.get(key).cloned().map_or(Answer::Absent, Answer::Record),
            _ => Answer::Refused(aso::Refusal::Forbidden("no".into())),
        }
    }
}
