//! Nodes for the tests: a swarm each, with a router that answers at once and a replicator that remembers.

use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use comet_kernel::contract::routing::{ListPeers, NetworkStatus, Peer, ReadNetwork};
use comet_kernel::contract::{aso, routing, storage};
use comet_kernel::settings::{List, Network, Settings};
use comet_kernel::supervisor::{ActorSpec, Spec, Strategy, Tree};
use comet_kernel::{Actor, Clock, Context, Handle, Handler, Kernel, Key, NodeId, Responder, Thread, Value};

use libp2p::PeerId;

use super::shake::Shake;
use crate::messages::{Changed, Send, SendError, Serve};
use crate::spec::{Env, Parts, Transport};
use crate::swarm::{Plan, book};
use crate::wire::{Answer, Ask, Asker};

/// How long a test waits for something that must happen: a debug network shares one thread of a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A node.
pub struct Node {
    pub env: Env,
    pub id: NodeId,
    pub peer: PeerId,
    pub place: [u8; 32],
    pub plan: Arc<Plan>,
    pub shake: Handle<Shake>,
    pub heard: Arc<Mutex<Vec<Changed>>>,
    tree: Option<Tree>,
}

/// Answers a get with who asked.
#[derive(Debug)]
struct Router;

impl Actor for Router {}

impl Handler<Serve> for Router {
    fn handle(&mut self, serve: Serve, responder: Responder<Answer>, _: &mut Context<Self>) {
        assert!(matches!(serve.ask, Ask::Get { .. }));
        responder.answer(Answer::Value(Value::Text(serve.from.id.clone())));
    }
}

/// Remembers what it was told.
#[derive(Debug)]
struct Replicator(Arc<Mutex<Vec<Changed>>>);

impl Actor for Replicator {}

impl Handler<Changed> for Replicator {
    fn handle(&mut self, changed: Changed, responder: Responder<()>, _: &mut Context<Self>) {
        self.0.lock().unwrap().push(changed);
        responder.answer(());
    }
}

/// An address within the process that no other test has.
pub fn memory() -> String {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    format!("/memory/{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A secret that differs with the number.
pub fn secret(number: u16) -> [u8; 32] {
    let mut secret = [7; 32];
    secret[..2].copy_from_slice(&number.to_be_bytes());
    secret
}

/// Where others find a node of this number that listens there.
pub fn seed(number: u16, address: &str) -> String {
    let key = libp2p::identity::Keypair::ed25519_from_bytes(secret(number)).unwrap();
    format!("{address}/p2p/{}", key.public().to_peer_id())
}

impl Node {
    /// A node that listens on one address and joins others.
    pub async fn start(number: u16, listen: &str, bootstrap: &[String]) -> Node {
        Self::with(number, listen, bootstrap, |_| ()).await.expect("it starts")
    }

    /// The same with other settings.
    pub async fn with(
        number: u16,
        listen: &str,
        bootstrap: &[String],
        change: impl FnOnce(&mut Network),
    ) -> Result<Node, String> {
        Self::planned(number, listen, bootstrap, change, |_| ()).await
    }

    /// The same with another plan.
    pub async fn planned(
        number: u16,
        listen: &str,
        bootstrap: &[String],
        change: impl FnOnce(&mut Network),
        replan: impl FnOnce(&mut Plan),
    ) -> Result<Node, String> {
        let mut settings = Settings::default();
        settings.network.listen = List(vec![listen.to_owned()]);
        settings.network.bootstrap = List(bootstrap.to_vec());
        // Whoever is busy has the time to answer; whoever asks again still does so a few times.
        settings.network.request_timeout_ms = 10_000;
        change(&mut settings.network);
        let transport = if listen.starts_with("/memory") { Transport::Memory } else { Transport::Sockets };
        let clock = Clock::machine();
        let kernel = Kernel::new(clock.clone());
        let service = routing::Service::vacant(&clock);
        let parts = Parts {
            secret: secret(number),
            aso: aso::Service::vacant(&clock, 1),
            storage: storage::Service::vacant(&clock),
            thread: Thread::current(),
            transport,
            seed: Some(number.into()),
        };
        let env = Env::new(&kernel, &settings, &parts, &service);
        let mut plan = Plan::new(parts.secret, &settings.network, transport).map_err(|wrong| wrong.to_string())?;
        replan(&mut plan);
        let (plan, peer, place) = (Arc::new(plan.clone()), plan.own, book::place(&plan.own));
        let (id, shake) = (NodeId::from_text(&peer.to_base58()), Handle::vacant(&clock));
        let heard = Arc::new(Mutex::new(Vec::new()));
        let remembered = heard.clone();
        let replicator = ActorSpec::new("replicator", &parts.thread, move || Ok(Replicator(remembered.clone())));
        let tree = Spec::new("routing", Strategy::RestForOne)
            .child(crate::spec::swarm(&env, plan.clone(), &parts.thread, parts.seed).serves(&shake))
            .child(ActorSpec::new("router", &parts.thread, || Ok(Router)).serves(&env.serve))
            .child(replicator.serves(&env.changed))
            .start(&kernel)
            .await?;
        Ok(Node { env, id, peer, place, plan, shake, heard, tree: Some(tree) })
    }

    pub async fn stop(&mut self) {
        self.tree.take().expect("it is stopped once").stop().await;
    }

    /// A get of a peer, over the lane to it.
    pub async fn ask(&self, to: &Node) -> Result<Answer, SendError> {
        self.ask_peer(to.peer).await
    }

    pub async fn ask_peer(&self, to: PeerId) -> Result<Answer, SendError> {
        let key = Key::new(b"key").unwrap();
        let ask = Ask::Get { key, payload: Value::Nil, asker: Asker::default() };
        let deadline = self.env.kernel.clock.now() + PATIENCE;
        let send = Send { to: NodeId::from_text(&to.to_base58()), ask, deadline, bulk: false };
        self.env.send.call(send).await.expect("the swarm lives")
    }

    /// Whether it knows this node.
    pub fn knows(&self, other: &Node) -> bool {
        self.knows_peer(other.peer)
    }

    pub fn knows_peer(&self, other: PeerId) -> bool {
        let place = book::place(&other);
        self.env.service.neighbours.nearest(&place, 1).iter().any(|node| node.place == place)
    }

    pub fn known(&self) -> usize {
        self.env.service.neighbours.len()
    }

    pub async fn status(&self) -> NetworkStatus {
        self.env.service.read_network.call(ReadNetwork).await.expect("the swarm lives")
    }

    /// Its first address, with its peer id.
    pub async fn listening(&self) -> String {
        self.status().await.listening[0].clone()
    }

    pub async fn peers(&self) -> Vec<Peer> {
        self.env.service.list_peers.call(ListPeers).await.expect("the swarm lives")
    }

    pub fn has_joined(&self) -> bool {
        self.heard.lock().unwrap().last().is_some_and(|changed| changed.joined_network)
    }
}

/// Waits for a condition, but not for ever.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) -> Duration {
    let clock = Clock::machine();
    while !holds() {
        assert!(clock.now().elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    clock.now().elapsed()
}
