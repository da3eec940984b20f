//! A node whose storage, shard and library are fakes, with the admin actor in front of them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use comet_admin::{Client, Parts, child};
use comet_kernel::clock::UnixMillis;
use comet_kernel::contract::admin::{ActorRow, Answer, Command, Figures};
use comet_kernel::contract::aso::{Call, Info, Op, Refusal, Reply};
use comet_kernel::contract::library::{
    DropScript, LibraryError, ListScripts, LoadScript, RollbackScript, ScriptSummary, ShowScript,
};
use comet_kernel::contract::routing::{
    Bucket, ListBuckets, ListPeers, LookUp, NetworkStatus, Path, Peer, ReadNetwork, Replicate,
};
use comet_kernel::contract::storage::{Page, ReadError, ReadStatus, Scan, Status};
use comet_kernel::contract::{aso, limiter, routing, storage, timer};
use comet_kernel::provenance::{Provenance, Removal, Signature};
use comet_kernel::record::{Active, Interval, ScriptRef};
use comet_kernel::supervisor::{ActorSpec, Spec, Strategy, Tree};
use comet_kernel::{
    Actor, Caller, Clock, Context, Handler, Kernel, Key, NodeId, Objects, Record, Responder, ScriptHash, Settings,
    Thread, Value,
};
use tokio::sync::Notify;

/// How long a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Node {
    pub kernel: Kernel,
    pub aso: aso::Service,
    pub block: Block,
    pub shutdown: Arc<Notify>,
    /// Whether the library's next lives do not begin.
    pub library_fails: Arc<AtomicBool>,
    pub socket: PathBuf,
    pub tree: Tree,
    _folder: tempfile::TempDir,
}

impl Node {
    pub async fn start() -> Node {
        Node::with(Clock::machine(), 8).await
    }

    pub async fn with(clock: Clock, max_connections: u64) -> Node {
        Node::launch(clock, max_connections, false).await
    }

    /// A node that is part of a network.
    pub async fn networked() -> Node {
        Node::launch(Clock::machine(), 8, true).await
    }

    async fn launch(clock: Clock, max_connections: u64, networked: bool) -> Node {
        let kernel = Kernel::new(clock);
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("admin.sock");
        let mut parts = parts(&kernel);
        let network = routing::Service::vacant(&kernel.clock);
        parts.network = networked.then(|| network.clone());
        let (aso, shutdown, block) = (parts.aso.clone(), parts.shutdown.clone(), Block::default());
        let library_fails = Arc::<AtomicBool>::default();
        let settings = comet_kernel::settings::Admin { max_connections, ..Settings::default().admin };
        let tree = Spec::new("comet", Strategy::RestForOne)
            .child(fake_storage(&parts))
            .child(fake_shard(&parts, &block))
            .child(fake_library(&parts, library_fails.clone()))
            .child(fake_routing(&network))
            .child(child(&kernel, &settings, &socket, parts))
            .start(&kernel)
            .await
            .unwrap();
        Node { kernel, aso, block, shutdown, library_fails, socket, tree, _folder: folder }
    }

    pub async fn client(&self) -> Client {
        Client::connect(&self.socket).await.unwrap()
    }

    pub async fn ask(&self, command: Command) -> Answer {
        self.client().await.ask(command).await.unwrap()
    }

    /// An actor and what it tells of its work. It is asked again while it is silent: on a busy machine that only means that
    /// it was not quick enough.
    pub async fn figures(&self, path: &str) -> (ActorRow, Vec<Figures>) {
        let deadline = self.kernel.clock.now() + PATIENCE;
        loop {
            match self.ask(Command::Inspect { path: path.to_owned() }).await {
                Answer::Actor(_, figures) if matches!(&figures[..], [Figures::Silent(_)]) => {
                    assert!(self.kernel.clock.now() < deadline, "{path} stays silent: {figures:?}");
                }
                Answer::Actor(row, figures) => return (row, figures),
                other => panic!("{path} is no actor: {other:?}"),
            }
        }
    }
}

fn parts(kernel: &Kernel) -> Parts {
    let clock = &kernel.clock;
    let aso = aso::Service::vacant(clock, 1);
    Parts {
        objects: Objects::here(aso.directory.clone()),
        aso,
        network: None,
        storage: storage::Service::vacant(clock),
        timer: timer::Service::vacant(clock),
        limiter: limiter::Service::vacant(clock),
        node: Arc::new(Caller::node(&NodeId::from_public_key(&[7; 32]))),
        shutdown: Arc::default(),
    }
}

pub fn key(text: &str) -> Key {
    Key::new(text.as_bytes()).unwrap()
}

/// A gate that tests close to make a shard spin, and open again.
#[derive(Clone, Debug, Default)]
pub struct Block(Arc<(Mutex<bool>, Condvar)>);

impl Block {
    pub fn set(&self, shut: bool) {
        *self.0.0.lock().unwrap() = shut;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let shut = self.0.0.lock().unwrap();
        let _open = self.0.1.wait_while(shut, |shut| *shut).unwrap();
    }
}

/// 200 plain values, one active object with a timer, one that is quarantined, one whose life has ended, and a tombstone.
struct FakeStorage(Vec<(Key, Arc<Record>)>);

fn fake_storage(parts: &Parts) -> ActorSpec<FakeStorage> {
    let spec = ActorSpec::new("storage", &Thread::new("storage"), || {
        let mut items: Vec<_> =
            (0..200).map(|number| (key(&format!("plain:{number:03}")), record(None, None))).collect();
        items.push((key("active:1"), record(Some(false), None)));
        items.push((key("active:2"), record(Some(true), None)));
        items.push((key("ended"), record(None, Some(UnixMillis(1)))));
        items.push((key("removed"), tombstone()));
        items.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(FakeStorage(items))
    });
    spec.serves(&parts.storage.scan).serves(&parts.storage.read_status)
}

fn record(quarantined: Option<bool>, expires: Option<UnixMillis>) -> Arc<Record> {
    let active = quarantined.map(|quarantined| {
        let script = ScriptRef { hash: ScriptHash::of("fn onTimer() {}"), follows: Some("clock".into()) };
        let timer = Some(Interval { seconds: 5, due: UnixMillis(u64::MAX) });
        Box::new(Active { script, state: Value::Nil, timer, quarantined })
    });
    Arc::new(Record { active, expires, ..Record::plain(1, Value::from("value")) })
}

fn tombstone() -> Arc<Record> {
    let (by, signature, removed) = ("".into(), Signature([0; 64]), Some(Removal::Everywhere));
    let provenance = Provenance { by, signature, script: None, replicas: None, removed };
    Arc::new(Record { provenance: Some(Box::new(provenance)), ..Record::plain(1, Value::Nil) })
}

impl Actor for FakeStorage {}

impl Handler<Scan> for FakeStorage {
    fn handle(&mut self, scan: Scan, responder: Responder<Result<Page, ReadError>>, _: &mut Context<Self>) {
        let rest = self.0.iter().filter(|(key, _)| scan.after.as_ref().is_none_or(|after| key > after));
        let items: Vec<_> = rest.clone().take(scan.limit).cloned().collect();
        let more = rest.count() > items.len();
        let next = items.last().filter(|_| more).map(|(key, _)| key.clone());
        responder.answer(Ok(Page { items, next }));
    }
}

impl Handler<ReadStatus> for FakeStorage {
    fn handle(&mut self, _: ReadStatus, responder: Responder<Status>, _: &mut Context<Self>) {
        responder.answer(Status { objects: self.0.len() as u64 - 1, ..Status::default() });
    }
}

/// Knows `active:1` and `plain:000`; says nothing about `stuck`; fails on `ill`; a get of anything waits at the gate.
struct FakeShard {
    block: Block,
    quarantined: bool,
    unanswered: Vec<Responder<Result<Reply, Refusal>>>,
}

fn fake_shard(parts: &Parts, block: &Block) -> ActorSpec<FakeShard> {
    let block = block.clone();
    let spec = ActorSpec::new("aso", &Thread::new("aso"), move || {
        Ok(FakeShard { block: block.clone(), quarantined: false, unanswered: Vec::new() })
    });
    spec.serves(&parts.aso.directory.shards()[0])
}

impl Actor for FakeShard {}

impl Handler<Call> for FakeShard {
    fn handle(&mut self, call: Call, responder: Responder<Result<Reply, Refusal>>, _: &mut Context<Self>) {
        let answer = match (call.key.as_bytes(), call.op) {
            (b"stuck", _) => return self.unanswered.push(responder),
            (b"ill", _) => Err(Refusal::Quarantined),
            (_, Op::Get { .. }) => {
                self.block.pass();
                Ok(Reply::Absent)
            }
            (b"active:1", Op::Info) => {
                let hash = Some("abc".to_owned());
                Ok(Reply::Info(Box::new(Info { hash, quarantined: self.quarantined, ..Info::default() })))
            }
            (b"plain:000", Op::Info) => Ok(Reply::Info(Box::default())),
            (b"active:1", Op::Log) => Ok(Reply::Log(vec!["first".to_owned(), "second".to_owned()])),
            (b"active:1", Op::Quarantine(off)) => {
                Ok(Reply::Value(Value::Bool(std::mem::replace(&mut self.quarantined, off) != off)))
            }
            (b"plain:000", Op::Quarantine(_)) => Ok(Reply::Value(Value::Bool(false))),
            _ => Ok(Reply::Absent),
        };
        responder.answer(answer);
    }
}

/// A network of this node and one more, in which only `k` is to be found.
struct FakeRouting;

fn fake_routing(network: &routing::Service) -> ActorSpec<FakeRouting> {
    let spec = ActorSpec::new("routing", &Thread::new("routing"), || Ok(FakeRouting));
    spec.serves(&network.list_peers)
        .serves(&network.list_buckets)
        .serves(&network.look_up)
        .serves(&network.read_network)
        .serves(&network.replicate)
}

impl Actor for FakeRouting {}

macro_rules! routing {
    ($($message:ident -> $reply:ty: |$it:pat_param| $answer:expr;)*) => { $(
        impl Handler<$message> for FakeRouting {
            fn handle(&mut self, $it: $message, responder: Responder<$reply>, _: &mut Context<Self>) {
                responder.answer($answer);
            }
        }
    )* };
}

routing! {
    ListPeers -> Vec<Peer>: |_| vec![Peer { id: "other".to_owned(), ..Peer::default() }];
    ListBuckets -> Vec<Bucket>: |_| vec![Bucket { shared_bits: 3, peers: Vec::new() }];
    LookUp -> Path: |look_up| Path { took_us: look_up.key.as_bytes().len() as u64, ..Path::default() };
    ReadNetwork -> NetworkStatus: |_| NetworkStatus { known: 2, ..NetworkStatus::default() };
    Replicate -> (): |_| ();
}

#[derive(Default)]
struct FakeLibrary(HashMap<Arc<str>, Arc<str>>);

fn fake_library(parts: &Parts, fails: Arc<AtomicBool>) -> ActorSpec<FakeLibrary> {
    let spec = ActorSpec::new("library", &Thread::new("library"), move || {
        if fails.load(Ordering::Relaxed) { Err("no shelf".to_owned()) } else { Ok(FakeLibrary::default()) }
    });
    let aso = &parts.aso;
    spec.serves(&aso.load_script)
        .serves(&aso.list_scripts)
        .serves(&aso.show_script)
        .serves(&aso.drop_script)
        .serves(&aso.rollback_script)
}

impl FakeLibrary {
    fn summary(&self, name: &str) -> Result<ScriptSummary, LibraryError> {
        let source = self.0.get(name).ok_or_else(|| LibraryError::NoScript(name.to_owned()))?;
        Ok(ScriptSummary {
            name: name.to_owned(),
            hash: ScriptHash::of(source).to_string(),
            versions: 1,
            origin: "operator".to_owned(),
            bytes: source.len(),
            handlers: Vec::new(),
            calls: 0,
            failures: 0,
            source: Some(source.to_string()),
        })
    }
}

impl Actor for FakeLibrary {}

impl Handler<LoadScript> for FakeLibrary {
    fn handle(&mut self, load: LoadScript, back: Responder<Result<ScriptHash, LibraryError>>, _: &mut Context<Self>) {
        let hash = ScriptHash::of(&load.source);
        self.0.insert(load.name, load.source);
        back.answer(Ok(hash));
    }
}

impl Handler<ListScripts> for FakeLibrary {
    fn handle(
        &mut self,
        _: ListScripts,
        back: Responder<Result<Vec<ScriptSummary>, LibraryError>>,
        _: &mut Context<Self>,
    ) {
        back.answer(self.0.keys().map(|name| self.summary(name)).collect());
    }
}

impl Handler<ShowScript> for FakeLibrary {
    fn handle(
        &mut self,
        show: ShowScript,
        back: Responder<Result<ScriptSummary, LibraryError>>,
        _: &mut Context<Self>,
    ) {
        back.answer(self.summary(&show.name));
    }
}

impl Handler<DropScript> for FakeLibrary {
    fn handle(&mut self, drop: DropScript, back: Responder<Result<(), LibraryError>>, _: &mut Context<Self>) {
        let gone = self.0.remove(&drop.name).map(|_| ());
        back.answer(gone.ok_or_else(|| LibraryError::NoScript(drop.name.to_string())));
    }
}

impl Handler<RollbackScript> for FakeLibrary {
    fn handle(
        &mut self,
        rollback: RollbackScript,
        back: Responder<Result<ScriptHash, LibraryError>>,
        _: &mut Context<Self>,
    ) {
        back.answer(Err(LibraryError::NoFormerVersion(rollback.name.to_string())));
    }
}
