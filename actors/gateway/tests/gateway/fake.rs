//! A node with nothing behind its gateway but fakes: one actor that plays shard, library, storage, limiter and router.
//!
//! Plain values are put into the real directory, so that the gateway's short way is taken. Keys with certain names act
//! like objects with scripts: see [`scripted`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use comet_gateway::{Bound, Parts};
use comet_kernel::actor::{Actor, Context, Handler};
use comet_kernel::contract::aso::{
    self, Budget, Call, Condition, Edit, EndCondition, Info, Lifetime, Op, Put, Refusal, Reply,
};
use comet_kernel::contract::library::{
    DropScript, LibraryError, ListScripts, LoadScript, RollbackScript, ScriptSummary, ShowScript,
};
use comet_kernel::contract::limiter::{self, Lease, Leased};
use comet_kernel::contract::routing::Route;
use comet_kernel::contract::storage::{self, Page, ReadStatus, Scan, Status};
use comet_kernel::directory::{Directory, Presence};
use comet_kernel::objects::{Network, Settled};
use comet_kernel::provenance::{Provenance, Removal, Signature};
use comet_kernel::supervisor::{ActorSpec, Spec, Strategy, Tree};
use comet_kernel::{
    Clock, Handle, Kernel, Key, Neighbours, NodeId, Objects, Record, Responder, ScriptHash, Thread, Value, settings,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long a put takes, as if it went to a disk.
const COMMIT: Duration = Duration::from_micros(200);

pub struct Node {
    pub kernel: Kernel,
    pub bound: Bound,
    /// Whether the node's own copies are up to date, and how many calls its router got, in a network.
    pub settled: Settled,
    pub routed: Arc<AtomicUsize>,
    tree: Tree,
}

impl Node {
    pub async fn start(change: impl FnOnce(&mut settings::Gateway)) -> Node {
        Node::try_start(Clock::machine(), change).await.expect("the node starts")
    }

    /// A node that is part of a network.
    pub async fn networked(change: impl FnOnce(&mut settings::Gateway)) -> Node {
        Node::launch(Clock::machine(), change, true).await.expect("the node starts")
    }

    pub async fn try_start(clock: Clock, change: impl FnOnce(&mut settings::Gateway)) -> Result<Node, String> {
        Node::launch(clock, change, false).await
    }

    async fn launch(
        clock: Clock,
        change: impl FnOnce(&mut settings::Gateway),
        networked: bool,
    ) -> Result<Node, String> {
        let kernel = Kernel::new(clock);
        let mut settings = settings::Gateway { listen: "127.0.0.1:0".to_owned(), ..Default::default() };
        change(&mut settings);
        let aso = aso::Service::vacant(&kernel.clock, 1);
        let storage = storage::Service::vacant(&kernel.clock);
        let limiter = limiter::Service::vacant(&kernel.clock);
        let shard = Thread::new("shard");
        let bound = Bound::default();
        let network = Network {
            route: Handle::vacant(&kernel.clock),
            neighbours: Neighbours::none(),
            replication: 1,
            settled: Settled::default(),
        };
        let (settled, routed) = (network.settled.clone(), Arc::<AtomicUsize>::default());
        let route = network.route.clone();
        let here = aso.directory.clone();
        let parts = Parts {
            objects: if networked { Objects::network(here, network) } else { Objects::here(here) },
            aso: aso.clone(),
            storage: storage.clone(),
            limiter: limiter.clone(),
            node: NodeId::from_public_key(&[7; 32]),
            threads: vec![shard.clone(), Thread::new("other")],
        };
        let gateway = comet_gateway::child(&kernel, &settings, parts, &bound);
        let (directory, clock, count) = (aso.directory.clone(), kernel.clock.clone(), routed.clone());
        let fake = move || Ok(Fake::new(directory.clone(), clock.clone(), count.clone()));
        let fake = ActorSpec::new("fake", &shard, fake)
            .serves(&aso.directory.shards()[0])
            .serves(&route)
            .serves(&aso.load_script)
            .serves(&aso.list_scripts)
            .serves(&aso.show_script)
            .serves(&aso.drop_script)
            .serves(&aso.rollback_script)
            .serves(&aso.clear)
            .serves(&storage.scan)
            .serves(&storage.read_status)
            .serves(&limiter.lease);
        let tree = Spec::new("node", Strategy::OneForOne).child(fake).child(gateway).start(&kernel).await?;
        Ok(Node { kernel, bound, settled, routed, tree })
    }

    pub async fn client(&self) -> Client {
        let address = self.bound.address().expect("the gateway has started");
        Client(TcpStream::connect(address).await.expect("the gateway listens"))
    }

    pub async fn stop(self) {
        self.tree.stop().await;
    }
}

/// A client that says bytes and expects bytes.
pub struct Client(pub TcpStream);

impl Client {
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.expect("the gateway reads");
    }

    /// Sends lines of words, each as one request, all at once.
    pub async fn ask(&mut self, lines: &str) {
        let requests: Vec<String> = lines.lines().map(|line| format!("{}\r\n", line.trim())).collect();
        self.send(requests.concat()).await;
    }

    /// Reads exactly these answers.
    pub async fn expect(&mut self, expected: &str) {
        let mut got = vec![0; expected.len()];
        let mut filled = 0;
        while filled < got.len() {
            let read = tokio::time::timeout(Duration::from_secs(10), self.0.read(&mut got[filled..])).await;
            match read.expect("an answer comes in time") {
                Ok(bytes @ 1..) => filled += bytes,
                end => panic!("{end:?} after {:?}", String::from_utf8_lossy(&got[..filled])),
            }
            let got = String::from_utf8_lossy(&got[..filled]);
            assert!(expected.starts_with(&*got), "got {got:?}, expected {expected:?}");
        }
    }

    /// Asks, and reads exactly this answer.
    pub async fn says(&mut self, lines: &str, expected: &str) {
        self.ask(lines).await;
        self.expect(expected).await;
    }

    /// Reads until the gateway closes the connection.
    pub async fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        let end = tokio::time::timeout(Duration::from_secs(10), self.0.read_to_end(&mut rest)).await;
        let _reset_is_an_end_too = end.expect("the gateway closes the connection in time");
        String::from_utf8_lossy(&rest).into_owned()
    }

    /// Asks, and reads one bulk string.
    pub async fn text(&mut self, line: &str) -> String {
        self.ask(line).await;
        let mut header = String::new();
        while !header.ends_with("\r\n") {
            header.push(char::from(self.0.read_u8().await.expect("an answer comes")));
        }
        let length: usize = header.trim_end().strip_prefix('$').expect("a bulk string").parse().expect("a length");
        let mut body = vec![0; length + 2];
        self.0.read_exact(&mut body).await.expect("all of it comes");
        body.truncate(length);
        String::from_utf8(body).expect("text")
    }
}

struct Fake {
    directory: Directory,
    clock: Clock,
    records: BTreeMap<Key, Arc<Record>>,
    parked: Vec<Responder<Result<Reply, Refusal>>>,
    versions: u64,
    leased: u32,
    routed: Arc<AtomicUsize>,
}

impl Actor for Fake {}

impl Fake {
    fn new(directory: Directory, clock: Clock, routed: Arc<AtomicUsize>) -> Self {
        Fake { directory, clock, records: BTreeMap::new(), parked: Vec::new(), versions: 0, leased: 0, routed }
    }

    fn store(&mut self, key: &Key, value: Value, lifetime: Lifetime) {
        std::thread::sleep(COMMIT);
        self.versions += 1;
        let former = self.records.get(key).and_then(|record| record.expires);
        let mut record = Record::plain(self.versions, value);
        record.expires = self.end(lifetime, former);
        if key.as_bytes() == b"buried" {
            let (by, signature) = ("somebody".into(), Signature([0; 64]));
            let removed = Some(Removal::Everywhere);
            record.provenance = Some(Box::new(Provenance { by, signature, script: None, replicas: None, removed }));
        }
        let record = Arc::new(record);
        self.records.insert(key.clone(), record.clone());
        self.directory.insert(key, Presence::Plain(record), 100, self.clock.now());
    }

    fn end(&self, lifetime: Lifetime, former: Option<comet_kernel::UnixMillis>) -> Option<comet_kernel::UnixMillis> {
        match lifetime {
            Lifetime::Endless => None,
            Lifetime::Keep => former,
            Lifetime::For(duration) => Some(self.clock.unix().after(duration)),
            Lifetime::At(end) => Some(end),
        }
    }

    fn present(&self, key: &Key) -> Option<Arc<Record>> {
        self.records.get(key).filter(|record| record.is_live(self.clock.unix())).cloned()
    }

    fn put(&mut self, key: &Key, put: Put) -> Reply {
        let former = self.present(key);
        let wanted = match put.condition {
            Condition::Always => true,
            Condition::IfAbsent => former.is_none(),
            Condition::IfPresent => former.is_some(),
        };
        if !wanted || key.as_bytes() == b"keeper" {
            return Reply::Kept { present: former };
        }
        // What came with the value is stored beside it, so that a test can read how it was understood.
        let about = format!("{:?} {:?} {:?} {}", put.script, put.lifetime, put.replicas, put.owned);
        if key.as_bytes() == b"about" {
            self.store(key, Value::from(about.as_str()), Lifetime::Endless);
        } else {
            self.store(key, put.value, put.lifetime);
        }
        Reply::Stored { former }
    }

    fn edit(&mut self, key: &Key, edit: &Edit) -> Result<Reply, Refusal> {
        let value = edit.apply(self.present(key).map(|record| record.value.clone()).as_ref())?;
        self.store(key, value.clone(), Lifetime::Keep);
        Ok(Reply::Value(value))
    }

    fn remove(&mut self, key: &Key) -> Reply {
        let former = self.present(key);
        self.records.remove(key);
        self.directory.remove(key);
        Reply::Removed { former }
    }

    fn expire(&mut self, key: &Key, lifetime: Lifetime, condition: EndCondition) -> Reply {
        let Some(record) = self.present(key) else { return Reply::Expired { applied: false, former: None } };
        let former = record.expires;
        let applied = condition.holds(former, self.end(lifetime, former));
        if applied {
            self.store(key, record.value.clone(), lifetime);
        }
        Reply::Expired { applied, former }
    }
}

/// What keys with certain names answer to a get, as if they had scripts.
fn scripted(key: &[u8], payload: Value) -> Option<Result<Reply, Refusal>> {
    let map = [("yes", Value::Bool(true)), ("half", Value::Float(0.5)), ("none", Value::Nil)];
    Some(match key {
        b"echo" => Ok(Reply::Value(payload)),
        b"typed" => Ok(Reply::Value(Value::Map(map.into_iter().map(|(name, it)| (name.into(), it)).collect()))),
        b"throws" => Err(Refusal::Thrown("no\r\n+OK \u{1b}[2J".to_owned())),
        b"spins" => Err(Refusal::Budget(Budget::Operations)),
        b"limited" => Err(Refusal::Limited { retry_after_ms: 7 }),
        b"panics" => panic!("the fake was asked to"),
        _ => return None,
    })
}

impl Handler<Call> for Fake {
    fn handle(&mut self, call: Call, responder: Responder<Result<Reply, Refusal>>, _: &mut Context<Self>) {
        let Call { key, op, caller, .. } = call;
        let plain = |record: Option<Arc<Record>>| record.map_or(Reply::Absent, Reply::Plain);
        let reply = match op {
            Op::Get { .. } if key.as_bytes() == b"parked" => return self.parked.push(responder),
            Op::Get { .. } if key.as_bytes() == b"big" => Ok(Reply::Value(Value::from(&*"v".repeat(1 << 20)))),
            Op::Get { .. } if key.as_bytes() == b"caller" => {
                Ok(Reply::Value(format!("{} {}", caller.id, caller.client).as_str().into()))
            }
            Op::Get { payload } => scripted(key.as_bytes(), payload).unwrap_or_else(|| Ok(plain(self.present(&key)))),
            Op::Peek => Ok(plain(self.present(&key))),
            Op::Put(put) => Ok(self.put(&key, *put)),
            Op::Edit(edit) => self.edit(&key, &edit),
            Op::Remove => Ok(self.remove(&key)),
            Op::Expire(lifetime, condition) => Ok(self.expire(&key, lifetime, condition)),
            Op::Info => Ok(self.present(&key).map_or(Reply::Absent, |record| {
                Reply::Info(Box::new(Info { version: record.version, ..Info::default() }))
            })),
            Op::Log => Ok(Reply::Log(vec!["one".to_owned(), "two\u{7}".to_owned()])),
            other => panic!("the gateway never asks for {other:?}"),
        };
        responder.answer(reply);
    }
}

impl Handler<Route> for Fake {
    /// Every node of the network is this one, but for some keys.
    fn handle(&mut self, route: Route, responder: Responder<Result<Reply, Refusal>>, context: &mut Context<Self>) {
        self.routed.fetch_add(1, Ordering::Relaxed);
        let Route { call, answers } = route;
        match (call.key.as_bytes(), &call.op) {
            (b"several", Op::Get { .. }) => {
                let replies = (1..=i64::from(answers)).map(|number| Reply::Value(Value::Int(number)));
                responder.answer(Ok(Reply::Several(replies.chain([Reply::Absent]).collect())));
            }
            (b"lonely", Op::Put(_)) => responder.answer(Err(Refusal::NoQuorum { stored: 1, wanted: 3 })),
            (b"forbidden", _) => responder.answer(Err(Refusal::Forbidden("the key is another object's".into()))),
            _ => self.handle(call, responder, context),
        }
    }
}

impl Handler<aso::Clear> for Fake {
    fn handle(&mut self, _: aso::Clear, responder: Responder<Result<(), Refusal>>, _: &mut Context<Self>) {
        for key in std::mem::take(&mut self.records).into_keys() {
            self.directory.remove(&key);
        }
        responder.answer(Ok(()));
    }
}

impl Handler<Scan> for Fake {
    fn handle(
        &mut self,
        scan: Scan,
        responder: Responder<<Scan as comet_kernel::Message>::Reply>,
        _: &mut Context<Self>,
    ) {
        let behind = |key: &Key| scan.after.as_ref().is_none_or(|after| key > after);
        let items = self.records.iter().filter(|(key, _)| behind(key)).take(scan.limit);
        let items: Vec<_> = items.map(|(key, record)| (key.clone(), record.clone())).collect();
        let last = items.last().map(|(key, _)| key.clone());
        let next = last.filter(|last| self.records.last_key_value().is_some_and(|(key, _)| key > last));
        responder.answer(Ok(Page { items, next }));
    }
}

impl Handler<ReadStatus> for Fake {
    fn handle(&mut self, _: ReadStatus, responder: Responder<Status>, _: &mut Context<Self>) {
        responder.answer(Status { objects: self.records.len() as u64, ..Status::default() });
    }
}

impl Handler<Lease> for Fake {
    /// Twenty tokens, and no more.
    fn handle(&mut self, lease: Lease, responder: Responder<Leased>, _: &mut Context<Self>) {
        let tokens = lease.tokens.min(20 - self.leased);
        self.leased += tokens;
        responder.answer(match tokens {
            0 => Leased::Refused { retry_after_ms: 60_000 },
            tokens => Leased::Granted { tokens },
        });
    }
}

fn summary(name: &str) -> ScriptSummary {
    ScriptSummary {
        name: name.to_owned(),
        hash: ScriptHash::of("").to_string(),
        versions: 1,
        origin: "default".to_owned(),
        bytes: 0,
        handlers: vec!["onGet".to_owned()],
        calls: 0,
        failures: 0,
        source: None,
    }
}

/// The way back for what the library answers.
type Answer<R> = Responder<Result<R, LibraryError>>;

macro_rules! library {
    ($($message:ident -> $reply:ty: |$it:pat_param| $answer:expr;)*) => { $(
        impl Handler<$message> for Fake {
            fn handle(&mut self, $it: $message, responder: Answer<$reply>, _: &mut Context<Self>) {
                responder.answer($answer);
            }
        }
    )* };
}

library! {
    LoadScript -> ScriptHash: |load| if load.source.contains("fn") {
        Ok(ScriptHash::of(&load.source))
    } else {
        Err(LibraryError::BadScript(format!("{}:1:1: not a script", load.name)))
    };
    ListScripts -> Vec<ScriptSummary>: |ListScripts| Ok(vec![summary("a")]);
    ShowScript -> ScriptSummary: |show| Err(LibraryError::NoScript(show.name.to_string()));
    DropScript -> (): |_| Ok(());
    RollbackScript -> ScriptHash: |back| Err(LibraryError::NoFormerVersion(back.name.to_string()));
}
