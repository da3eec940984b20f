//! The nodes of a key, and one way to ask any of them: this one through its directory, the others through the swarm.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use comet_kernel::contract::aso::{Call, Refusal};
use comet_kernel::settings::Dht;
use comet_kernel::{
    Caller, Clock, Key, Moment, Neighbour, NodeId, Provenance, Record, Request, UnixMillis, Value, limits,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::here;
use super::quota::Quota;
use super::script::Fetches;
use super::serve::Change;
use super::sign::{self, Forgery, Signer};
use super::versions::Versions;
use crate::messages::{Mend, Send, SendError};
use crate::spec::Env;
use crate::wire::{Answer, Ask, Asker};

/// Keys that are remembered as reported. Past it all are forgotten, and some are reported once more.
const MENDED: usize = 4_096;

/// What every call of a router needs.
pub(super) struct Net {
    pub env: Env,
    pub signer: Signer,
    pub quota: RefCell<Quota>,
    pub fetches: Fetches,
    versions: RefCell<Versions>,
    random: RefCell<StdRng>,
    mended: RefCell<HashMap<Key, Moment, ahash::RandomState>>,
}

/// A node that stores a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Replica {
    /// This one.
    Here,
    /// Another.
    Peer(NodeId),
}

/// Why a node has no say.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Send(#[from] SendError),
    #[error("{0}")]
    Unavailable(String),
    #[error("what it sent was refused: {0}")]
    Forged(#[from] Forgery),
    #[error("its answer does not fit the question")]
    Senseless,
}

/// On whose behalf the nodes are asked.
#[derive(Clone, Debug)]
pub(super) struct Behalf {
    /// Who asks, as every replica of the network sees it.
    pub caller: Arc<Caller>,
    /// The same, as it travels.
    pub asker: Asker,
    pub request: Request,
}

impl Net {
    pub(super) fn new(env: Env, secret: &[u8; 32]) -> Self {
        let signer = Signer::new(secret);
        let quota = Quota::new(env.settings.dht.quota_mib << 20, signer.by(), env.kernel.clock.now());
        Net {
            signer,
            quota: RefCell::new(quota),
            fetches: Fetches::default(),
            versions: RefCell::default(),
            random: RefCell::new(StdRng::from_os_rng()),
            mended: RefCell::default(),
            env,
        }
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.env.kernel.clock
    }

    pub(super) fn unix(&self) -> UnixMillis {
        self.clock().unix()
    }

    pub(super) fn dht(&self) -> &Dht {
        &self.env.settings.dht
    }

    /// How many nodes hold an object whose put does not say otherwise.
    pub(super) fn replication(&self) -> usize {
        self.dht().replication as usize
    }

    /// How many nodes hold an object that was put so.
    pub(super) fn copies(&self, provenance: Option<&Provenance>) -> usize {
        let wanted = provenance.and_then(|provenance| provenance.replicas);
        wanted.map_or(self.replication(), usize::from)
    }

    /// How many nodes are asked at once.
    pub(super) fn read_parallel(&self) -> usize {
        self.dht().read_parallel as usize
    }

    /// The `n` nodes nearest to a key, nearest first: out of what is known if that is enough, else by a look-up.
    pub(super) async fn replicas(&self, key: &Key, n: usize) -> Vec<Replica> {
        let place = key.place();
        let neighbours = &self.env.service.neighbours;
        if neighbours.covers(&place, n) {
            return self.named(&neighbours.nearest(&place, n));
        }
        self.find(key, n).await
    }

    /// The same by a look-up in any case; out of what is known if that brings nothing.
    pub(super) async fn find(&self, key: &Key, n: usize) -> Vec<Replica> {
        let found = self.env.find.call(crate::messages::Find { key: key.clone(), n }).await;
        match found {
            Ok(nodes) if !nodes.is_empty() => self.named(&nodes),
            _ => self.named(&self.env.service.neighbours.nearest(&key.place(), n)),
        }
    }

    /// Whether this node is clearly not one of those that should store a key: of the nodes that it knows, twice as many are
    /// nearer as should, and [`REPLICAS`](limits::REPLICAS) at least. `replicas` is what the put has asked for.
    pub(super) fn is_far(&self, key: &Key, replicas: Option<u8>) -> bool {
        let wanted = self.replication().max(replicas.map_or(0, usize::from));
        !self.env.service.neighbours.is_near(&key.place(), (2 * wanted).max(limits::REPLICAS.into()))
    }

    /// A node before it knows any, not even itself, stands for all.
    fn named(&self, nodes: &[Arc<Neighbour>]) -> Vec<Replica> {
        if nodes.is_empty() {
            return vec![Replica::Here];
        }
        nodes.iter().map(|node| self.replica(&node.id)).collect()
    }

    pub(super) fn replica(&self, id: &NodeId) -> Replica {
        if id == self.signer.node() { Replica::Here } else { Replica::Peer(id.clone()) }
    }

    /// Whether a client of this node's gateway has a name of its own.
    fn is_user(&self, id: &str) -> bool {
        const NOBODY: &str = "default";
        ![self.signer.node().as_str(), NOBODY, ""].contains(&id)
    }

    /// A client of this node's gateway as every replica names it.
    pub(super) fn user(&self, id: &str) -> Arc<str> {
        let own = self.signer.by();
        if self.is_user(id) { format!("{own}/{id}").into() } else { own.clone() }
    }

    /// This node as others see it when it asks them.
    fn own_caller(&self, client: &Caller) -> Caller {
        let id = self.signer.by().clone();
        let (ip, port) = self.env.service.neighbours.own().map_or((client.ip, client.port), |own| (own.ip, own.port));
        Caller { id, ip, port, client: client.client.clone() }
    }

    /// Asks a node. That it cannot do it now is a failure; any other refusal is an answer.
    pub(super) async fn ask(&self, replica: &Replica, ask: Ask, behalf: &Behalf) -> Result<Answer, Failure> {
        let answer = match replica {
            Replica::Here => {
                let change = Change::of(self, &ask, self.signer.by());
                let answer = here::ask(self, ask, behalf.caller.clone(), behalf.request.clone()).await;
                if let Some(change) = change {
                    change.count(self, &answer);
                }
                answer
            }
            Replica::Peer(id) => self.send(id, ask, behalf.request.deadline).await?,
        };
        match answer {
            Answer::Refused(Refusal::Unavailable(why)) => Err(Failure::Unavailable(why)),
            answer => Ok(answer),
        }
    }

    /// Sends a request to a peer.
    pub(super) async fn send(&self, to: &NodeId, ask: Ask, deadline: Moment) -> Result<Answer, Failure> {
        let send = Send { to: to.clone(), ask, deadline, bulk: false };
        match self.env.send.call(send).await {
            Ok(answer) => Ok(answer?),
            Err(error) => Err(Failure::Unavailable(error.to_string())),
        }
    }

    /// The version of a change that is made now.
    pub(super) fn version(&self) -> u64 {
        let random = self.random();
        self.versions.borrow_mut().next(self.unix(), random)
    }

    /// Takes note of a version that another node has given.
    pub(super) fn saw(&self, version: u64) {
        self.versions.borrow_mut().saw(version, self.unix());
    }

    pub(super) fn random(&self) -> u64 {
        self.random.borrow_mut().random()
    }

    /// Whether a record that a node has sent was put as it says. What was not is counted.
    pub(super) fn check(&self, key: &Key, record: &Record, sender: &Replica) -> Result<(), Forgery> {
        self.saw(record.version);
        let Replica::Peer(sender) = sender else { return Ok(()) };
        let checked = sign::check(key, record, self.unix());
        self.counted(key, sender.as_str(), checked)
    }

    /// Whether a node that sends the answer of a script has the object with its script.
    pub(super) fn check_script(&self, key: &Key, record: &Record, sender: &Replica) -> Result<(), Forgery> {
        self.saw(record.version);
        let Replica::Peer(sender) = sender else { return Ok(()) };
        let checked = sign::check_script(key, record, self.unix());
        self.counted(key, sender.as_str(), checked)
    }

    /// Whether a client may see what a node says was there. A scripted object is shown without its value, which its
    /// signature does not cover either.
    pub(super) fn may_show(&self, key: &Key, record: &Record, sender: &Replica) -> bool {
        let scripted = record.provenance.as_ref().is_some_and(|provenance| provenance.script.is_some());
        let hidden = scripted && record.active.is_none() && record.value == Value::Nil;
        let check = if hidden { Net::check_script } else { Net::check };
        check(self, key, record, sender).is_ok()
    }

    /// Counts what was refused.
    pub(super) fn counted<E: fmt::Display>(&self, key: &Key, sender: &str, checked: Result<(), E>) -> Result<(), E> {
        checked.inspect_err(|reason| {
            tracing::debug!(%key, sender, %reason, "refused what a peer sent");
            self.env.tally.refused.add(1);
        })
    }

    /// This node could not store a change that others may have: until it has compared, its own copies are not enough.
    pub(super) fn miss(&self, key: &Key) {
        self.env.service.settled.miss();
        self.mend(key);
    }

    /// Tells the replicator that a key's copies are not what they should be.
    pub(super) fn mend(&self, key: &Key) {
        let now = self.clock().now();
        // The replicator waits for longer than that before it begins: what is found after that is not lost on it.
        let again = Duration::from_millis(self.dht().neighbour_delay_ms) / 2;
        let mut mended = self.mended.borrow_mut();
        if mended.get(key).is_some_and(|last| now.since(*last) < again) {
            return;
        }
        if mended.len() >= MENDED {
            mended.clear();
        }
        // A replicator that is being restarted finds the key in its next round.
        if self.env.mend.tell(Mend { key: key.clone() }).is_ok() {
            mended.insert(key.clone(), now);
        }
    }
}

impl Failure {
    /// Whether it is certain that the node has done nothing.
    pub(super) fn is_harmless(&self) -> bool {
        matches!(self, Failure::Send(SendError::Unreachable(_) | SendError::Busy))
    }
}

impl Behalf {
    /// A call of a client of this node, or of its operator.
    pub(super) fn of_client(net: &Net, call: &Call) -> Self {
        let named = net.is_user(&call.caller.id);
        let asker = Asker {
            user: named.then(|| call.caller.id.clone()),
            client: call.caller.client.clone(),
            caused: call.request.caused,
        };
        let caller = net.own_caller(&call.caller);
        Behalf { caller: Arc::new(seen_as(caller, &asker)), asker, request: call.request.clone() }
    }

    /// This node itself.
    pub(super) fn of_itself(net: &Net, request: Request) -> Self {
        Behalf { caller: Arc::new(Caller::node(net.signer.node())), asker: Asker::default(), request }
    }

    /// An object of this node, which stands behind the request.
    pub(super) fn of_object(net: &Net, request: &Request) -> Self {
        let caused = request.caused.saturating_add(1);
        let asker = Asker { caused, ..Asker::default() };
        let caller = Arc::new(Caller::node(net.signer.node()));
        Behalf { caller, asker, request: request.clone().caused_by(caused) }
    }
}

/// The caller that a node stands for, as every replica names it.
pub(super) fn seen_as(node: Caller, asker: &Asker) -> Caller {
    let id = match &asker.user {
        Some(user) => format!("{}/{user}", node.id).into(),
        None => node.id,
    };
    Caller { id, client: asker.client.clone(), ..node }
}

impl fmt::Debug for Net {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Net({})", self.signer.node())
    }
}
