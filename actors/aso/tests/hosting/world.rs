//! One node's hosting in its surroundings.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use comet_aso::hosting::{self, Parts};
use comet_kernel::contract::aso::{
    Call, Condition, Edit, EndCondition, Info, Lifetime, Op, Put, Refusal, Reply, ScriptChoice, Service, Stamp,
};
use comet_kernel::contract::library::LoadScript;
use comet_kernel::contract::routing::Act;
use comet_kernel::contract::{limiter, storage, timer};
use comet_kernel::directory::Asked;
use comet_kernel::neighbours::Neighbours;
use comet_kernel::registry::Action;
use comet_kernel::settings::{Durability, Settings};
use comet_kernel::supervisor::{ActorSpec, Spec, Strategy, Tree};
use comet_kernel::{
    Caller, Clock, Handle, Kernel, Key, NodeId, Pending, Record, Request, ScriptHash, Thread, UnixMillis, Value,
};

use super::store::{Limiter, Reader, Router, Stage, Timer, Writer};

/// Where the wall clock stands when a test begins.
pub const START: UnixMillis = UnixMillis(1_700_000_000_000);
/// How long a test waits for something that must happen.
const PATIENCE: usize = 10_000;
/// How long a supervisor waits for the start of an actor that waits for something itself.
const START_DEADLINE: Duration = Duration::from_secs(10);
pub const SECOND: Duration = Duration::from_secs(1);
/// How long whoever sends a call waits.
const SENDER: Duration = Duration::from_secs(600);
pub const FLUSH: Duration = Duration::from_millis(100);

pub type Answer = Result<Reply, Refusal>;

/// What sort of node it is.
#[derive(Clone, Copy)]
pub struct Shape {
    pub shards: usize,
    pub networked: bool,
    /// Whether each shard has a thread of its own, and not that of the test.
    pub apart: bool,
}

pub struct World {
    pub clock: Clock,
    pub kernel: Kernel,
    pub stage: Stage,
    pub settings: Settings,
    pub service: Service,
    pub storage: storage::Service,
    /// The writer is a tree of its own, so that a test can take it away.
    pub writer: Option<Tree>,
    surroundings: Option<Tree>,
    hosting: Option<Tree>,
    /// The shards' threads that are not that of the test.
    apart: Vec<Thread>,
}

/// A supervisor that does not take an actor for stuck because the test moved the clock.
fn quiet(spec: Spec) -> Spec {
    spec.probe(Duration::from_secs(1_000_000), START_DEADLINE)
}

/// What stands around hosting: fakes on the thread of the test.
fn surroundings(
    stage: &Stage,
    storage: &storage::Service,
    timer: &timer::Service,
    limiter: &limiter::Service,
    routing: &Handle<Act>,
) -> Spec {
    let here = Thread::current();
    let (read, arm, lease, act) = (stage.clone(), stage.clone(), stage.clone(), stage.clone());
    Spec::new("surroundings", Strategy::OneForOne)
        .child(
            ActorSpec::new("reader", &here, move || Ok(Reader(read.clone())))
                .serves(&storage.read)
                .serves(&storage.scan)
                .serves(&storage.read_status)
                .serves(&storage.read_script)
                .serves(&storage.read_sources)
                .serves(&storage.read_names),
        )
        .child(
            ActorSpec::new("timer", &here, move || Ok(Timer(arm.clone()))).serves(&timer.arm).serves(&timer.disarm_all),
        )
        .child(ActorSpec::new("limiter", &here, move || Ok(Limiter(lease.clone()))).serves(&limiter.lease))
        .child(ActorSpec::new("router", &here, move || Ok(Router(act.clone()))).serves(routing))
}

impl World {
    pub async fn new() -> Self {
        World::with(|_| {}).await
    }

    pub async fn without_durability() -> Self {
        World::with(|settings| settings.storage.durability = Durability::None).await
    }

    pub async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        World::on(Stage::default(), change).await
    }

    /// A node on this disk.
    pub async fn on(stage: Stage, change: impl FnOnce(&mut Settings)) -> Self {
        World::of(stage, Shape { shards: 1, networked: false, apart: false }, change).await
    }

    /// A node of a network.
    pub async fn networked() -> Self {
        World::of(Stage::default(), Shape { shards: 1, networked: true, apart: false }, |_| {}).await
    }

    /// A node of a network with two shards.
    pub async fn sharded() -> Self {
        World::of(Stage::default(), Shape { shards: 2, networked: true, apart: false }, |_| {}).await
    }

    /// A node of this shape on this disk.
    pub async fn of(stage: Stage, shape: Shape, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::default();
        settings.timer.jitter_percent = 0;
        change(&mut settings);
        let clock = Clock::manual(START);
        let kernel = Kernel::new(clock.clone());
        let storage = storage::Service::vacant(&clock);
        let timer = timer::Service::vacant(&clock);
        let limiter = limiter::Service::vacant(&clock);
        let service = Service::vacant(&clock, shape.shards);
        let routing = Handle::vacant(&clock);
        let here = Thread::current();
        let surroundings = surroundings(&stage, &storage, &timer, &limiter, &routing);
        let surroundings = quiet(surroundings).start(&kernel).await.expect("it starts");
        let mut world = World {
            clock,
            kernel,
            stage,
            settings,
            service,
            storage,
            writer: None,
            surroundings: Some(surroundings),
            hosting: None,
            apart: if shape.apart { (0..shape.shards).map(|_| Thread::new("shard")).collect() } else { Vec::new() },
        };
        world.bring_writer().await;
        let node = NodeId::from_public_key(&[1; 32]);
        let parts = Parts {
            node,
            storage: world.storage.clone(),
            timer,
            limiter,
            routing: Some(routing).filter(|_| shape.networked),
            neighbours: Neighbours::none(),
            threads: if shape.apart { world.apart.clone() } else { vec![here; shape.shards] },
        };
        let spec = hosting::spec(&world.kernel, &world.settings, parts, &world.service);
        let started = world.in_spite_of_the_disk(quiet(spec).start(&world.kernel)).await;
        world.hosting = Some(started.expect("it starts"));
        world
    }

    /// What a start comes to. If an actor waits for a broken disk, time passes until its supervisor goes on without it;
    /// otherwise the clock stands still however long the start takes, because tests count from where it stood.
    async fn in_spite_of_the_disk<F: Future>(&self, start: F) -> F::Output {
        let broken = {
            let disk = self.stage.lock();
            disk.scripts_broken || disk.names_broken
        };
        let mut start = std::pin::pin!(start);
        for _ in 0..PATIENCE {
            match tokio::time::timeout(Duration::from_millis(2), &mut start).await {
                Ok(started) => return started,
                Err(_) if broken => self.clock.advance(START_DEADLINE / 100),
                Err(_) => {}
            }
        }
        panic!("it did not start");
    }

    /// Starts the writer.
    pub async fn bring_writer(&mut self) {
        let stage = self.stage.clone();
        let writer = ActorSpec::new("writer", &Thread::current(), move || Ok(Writer(stage.clone())))
            .serves(&self.storage.write)
            .serves(&self.storage.write_script)
            .serves(&self.storage.drop_sources)
            .serves(&self.storage.clear)
            .mailbox(65_536);
        let spec = quiet(Spec::new("storage", Strategy::OneForOne).child(writer));
        self.writer = Some(spec.start(&self.kernel).await.expect("it starts"));
    }

    /// Takes the writer away: whoever wants to write is refused at once.
    pub async fn take_writer(&mut self) {
        self.writer.take().expect("it is there").stop().await;
    }

    /// Ends the node as it wants to end.
    pub async fn stop(&mut self) -> Stage {
        let hosting = self.hosting.take().expect("it runs");
        self.while_time_passes(hosting.stop()).await;
        self.surroundings.take().expect("it runs").stop().await;
        self.stage.clone()
    }

    /// Makes the supervisor start this actor afresh.
    pub async fn restart(&self, path: &str) {
        self.while_time_passes(self.kernel.registry.order(path, Action::Restart)).await.expect("it is there");
    }

    /// Moves the clock until this has come to its end.
    pub async fn while_time_passes<F: Future>(&self, end: F) -> F::Output {
        let mut end = std::pin::pin!(end);
        for _ in 0..PATIENCE {
            match tokio::time::timeout(Duration::from_millis(1), &mut end).await {
                Ok(output) => return output,
                Err(_) => self.clock.advance(Duration::from_millis(1)),
            }
        }
        panic!("it did not end");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let mistaken = &self.stage.lock().mistaken;
            assert!(mistaken.is_empty(), "the index is out of step: {mistaken:?}");
        }
    }
}

pub fn key(name: &str) -> Key {
    Key::new(name.as_bytes()).expect("a short key")
}

pub fn caller(id: &str) -> Arc<Caller> {
    Arc::new(Caller { id: id.into(), ip: IpAddr::V4(Ipv4Addr::LOCALHOST), port: 7, client: "".into() })
}

/// Asks.
impl World {
    /// Sends a call of somebody; the answer is to come.
    pub fn send_as(&self, who: &str, name: &str, op: Op) -> Pending<Answer> {
        self.send_stamped(who, name, op, None)
    }

    pub fn send_stamped(&self, who: &str, name: &str, op: Op, stamp: Option<Stamp>) -> Pending<Answer> {
        let request = Request::until(self.clock.now() + SENDER);
        self.send_call(Call { key: key(name), request, caller: caller(who), op, stamp: stamp.map(Arc::new) })
    }

    pub fn send_call(&self, call: Call) -> Pending<Answer> {
        let now = self.clock.now();
        match self.service.directory.ask(call, now, false) {
            Asked::Later(pending) => pending,
            Asked::Done(answer) => {
                let (responder, pending) = comet_kernel::reply::pair(comet_kernel::RequestId::fresh());
                responder.answer(answer);
                pending
            }
        }
    }

    pub fn send(&self, name: &str, op: Op) -> Pending<Answer> {
        self.send_as("somebody", name, op)
    }

    pub async fn ask_as(&self, who: &str, name: &str, op: Op) -> Answer {
        answer(self.send_as(who, name, op)).await
    }

    /// Asks with a version that another node has given.
    pub async fn ask_stamped(&self, name: &str, op: Op, stamp: Stamp) -> Answer {
        answer(self.send_stamped("somebody", name, op, Some(stamp))).await
    }

    pub async fn ask(&self, name: &str, op: Op) -> Answer {
        self.ask_as("somebody", name, op).await
    }

    /// What a get answers: nil if nothing is there.
    pub async fn get(&self, name: &str) -> Value {
        self.get_with(name, Value::Nil).await
    }

    pub async fn get_with(&self, name: &str, payload: Value) -> Value {
        value(self.ask(name, Op::Get { payload }).await.expect("it can be got"))
    }

    pub async fn refused(&self, name: &str, op: Op) -> Refusal {
        self.ask(name, op).await.expect_err("it is refused")
    }

    pub async fn set(&self, name: &str, value: impl Into<Value>) {
        stored(self.ask(name, set(value)).await);
    }

    pub async fn put(&self, name: &str, value: impl Into<Value>, source: &str) {
        stored(self.ask(name, put(value, source)).await);
    }

    pub async fn info(&self, name: &str) -> Info {
        match self.ask(name, Op::Info).await {
            Ok(Reply::Info(info)) => *info,
            other => panic!("it tells about itself: {other:?}"),
        }
    }

    /// Wakes an object; when it wants to be woken next.
    pub async fn tick(&self, name: &str) -> Option<UnixMillis> {
        match self.ask(name, Op::Tick).await {
            Ok(Reply::Ticked { next }) => next,
            other => panic!("a tick is answered: {other:?}"),
        }
    }

    pub async fn load(&self, name: &str, source: &str) -> ScriptHash {
        let load = LoadScript { name: name.into(), source: source.into(), by: "a test".to_owned() };
        self.service.load_script.call(load).await.expect("it is there").expect("it can be loaded")
    }

    /// What the disk has.
    pub fn stored(&self, name: &str) -> Option<Arc<Record>> {
        self.stage.lock().records.get(&key(name)).cloned()
    }

    /// The fields of `this` that the disk has.
    pub fn stored_field(&self, name: &str, field: &str) -> Value {
        let record = self.stored(name);
        let active = record.as_ref().and_then(|record| record.active.as_deref());
        match active.map(|active| &active.state) {
            Some(Value::Map(fields)) => fields.get(field).cloned().unwrap_or_default(),
            _ => Value::Nil,
        }
    }

    pub fn armed(&self, name: &str) -> Option<UnixMillis> {
        self.stage.lock().armed.get(&key(name)).copied()
    }

    pub fn is_active(&self, name: &str) -> bool {
        self.service.directory.is_active(&key(name))
    }

    pub fn in_memory(&self, name: &str) -> bool {
        self.service.directory.idle(&key(name), self.clock.now()).is_some()
    }
}

/// Waits.
impl World {
    pub async fn until(&self, what: &str, holds: impl Fn() -> bool) {
        for _ in 0..PATIENCE {
            if holds() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("it did not happen: {what}");
    }

    /// Lets everything that can happen now happen.
    pub async fn rest(&self) {
        for _ in 0..10 {
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            for thread in &self.apart {
                let (turn, taken) = tokio::sync::oneshot::channel();
                thread.run(move || turn.send(()).unwrap_or_default());
                taken.await.expect("the thread lives");
            }
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
    }

    /// Moves the clock a second at a time, so that every interval that is waited for comes round.
    pub async fn pass(&self, seconds: u64) {
        for _ in 0..seconds {
            self.clock.advance(SECOND);
            self.rest().await;
        }
    }

    /// Has what handlers changed written out.
    pub async fn flush(&self) {
        self.clock.advance(FLUSH);
        self.rest().await;
    }

    /// Puts everything to sleep that has not been used for five minutes.
    pub async fn passivate(&self, name: &str) {
        self.clock.advance(Duration::from_secs(300));
        self.rest().await;
        self.pass(1).await;
        self.until("it leaves memory", || !self.in_memory(name)).await;
    }
}

pub async fn answer(pending: Pending<Answer>) -> Answer {
    let answer = tokio::time::timeout(Duration::from_secs(20), pending).await;
    answer.expect("an answer comes in time").expect("an answer comes")
}

pub fn value(reply: Reply) -> Value {
    match reply {
        Reply::Absent => Value::Nil,
        Reply::Value(value) => value,
        Reply::Plain(record) => record.value.clone(),
        other => panic!("no value: {other:?}"),
    }
}

/// What was there before.
pub fn stored(answer: Answer) -> Option<Value> {
    match answer {
        Ok(Reply::Stored { former }) => former.map(|record| record.value.clone()),
        other => panic!("not stored: {other:?}"),
    }
}

/// What is still there.
pub fn kept(answer: Answer) -> Option<Value> {
    match answer {
        Ok(Reply::Kept { present }) => present.map(|record| record.value.clone()),
        other => panic!("not kept: {other:?}"),
    }
}

/// What was removed.
pub fn removed(answer: Answer) -> Option<Value> {
    match answer {
        Ok(Reply::Removed { former }) => former.map(|record| record.value.clone()),
        other => panic!("not removed: {other:?}"),
    }
}

pub fn get() -> Op {
    Op::Get { payload: Value::Nil }
}

pub fn set(value: impl Into<Value>) -> Op {
    Op::Put(Box::new(Put::plain(value.into())))
}

pub fn set_if(value: impl Into<Value>, condition: Condition) -> Op {
    Op::Put(Box::new(Put { condition, ..Put::plain(value.into()) }))
}

pub fn set_for(value: impl Into<Value>, lifetime: Lifetime) -> Op {
    Op::Put(Box::new(Put { lifetime, ..Put::plain(value.into()) }))
}

pub fn set_owned(value: impl Into<Value>) -> Op {
    Op::Put(Box::new(Put { owned: true, ..Put::plain(value.into()) }))
}

pub fn put(value: impl Into<Value>, source: &str) -> Op {
    put_by(value, ScriptChoice::Source(source.into()))
}

pub fn put_named(value: impl Into<Value>, name: &str) -> Op {
    put_by(value, ScriptChoice::Named { name: name.into(), pin: false })
}

pub fn put_by(value: impl Into<Value>, script: ScriptChoice) -> Op {
    Op::Put(Box::new(Put { script: Some(script), ..Put::plain(value.into()) }))
}

pub fn expire(lifetime: Lifetime) -> Op {
    Op::Expire(lifetime, EndCondition::Always)
}

/// Whether there was something whose end could be changed.
pub fn applied(answer: Answer) -> bool {
    match answer {
        Ok(Reply::Expired { applied, .. }) => applied,
        other => panic!("not about an end: {other:?}"),
    }
}

pub fn add(amount: i64) -> Op {
    Op::Edit(Edit::Add(amount))
}

pub fn int(number: i64) -> Value {
    Value::Int(number)
}

pub fn text(text: &str) -> Value {
    Value::from(text)
}
