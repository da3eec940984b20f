//! What surrounds the timer in its tests: one shard, one storage, a clock that stands still.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use comet_kernel::contract::aso::{Call, Op, Refusal, Reply};
use comet_kernel::contract::storage::{self, ReadDues, ReadError};
use comet_kernel::contract::timer::{Arm, ReadTimers, Service, Timers};
use comet_kernel::directory::{CallResponder, Directory};
use comet_kernel::supervisor::{ActorSpec, Spec, Strategy, Tree};
use comet_kernel::{
    Actor, Caller, Clock, Context, Handle, Handler, Kernel, Key, NodeId, Responder, Thread, UnixMillis,
};

/// Where the wall clock stands when a test begins.
pub const START: UnixMillis = UnixMillis(1_700_000_000_000);

/// How long a test waits for something that must happen.
const PATIENCE: usize = 10_000;

pub fn key(name: &str) -> Key {
    Key::new(name.as_bytes()).expect("a short key")
}

type Dues = Vec<(UnixMillis, Key)>;
type Answer = dyn Fn(&Key, UnixMillis) -> Option<UnixMillis> + Send;
type PageResponder = Responder<Result<Dues, ReadError>>;

/// What the tests and the fake actors share.
struct Stage {
    seen: Vec<String>,
    answer: Box<Answer>,
    lose: usize,
    hold: bool,
    held: VecDeque<CallResponder>,
    dues: Dues,
    broken: bool,
    slow: bool,
    pages: VecDeque<(Dues, PageResponder)>,
}

type Shared = Arc<Mutex<Stage>>;

pub struct World {
    pub clock: Clock,
    pub timer: Service,
    kernel: Kernel,
    stage: Shared,
    shard: Handle<Call>,
    with_shard: bool,
    tree: Option<Tree>,
}

/// Builds.
impl World {
    pub fn new() -> Self {
        let clock = Clock::manual(START);
        let stage = Stage {
            seen: Vec::new(),
            answer: Box::new(|_, _| None),
            lose: 0,
            hold: false,
            held: VecDeque::new(),
            dues: Vec::new(),
            broken: false,
            slow: false,
            pages: VecDeque::new(),
        };
        World {
            timer: Service::vacant(&clock),
            kernel: Kernel::new(clock.clone()),
            stage: Arc::new(Mutex::new(stage)),
            shard: Handle::vacant(&clock),
            with_shard: true,
            tree: None,
            clock,
        }
    }

    /// Objects answer a tick with the moment that this gives.
    pub fn answer(self, answer: impl Fn(&Key, UnixMillis) -> Option<UnixMillis> + Send + 'static) -> Self {
        self.stage().answer = Box::new(answer);
        self
    }

    /// The first so many ticks get no answer.
    pub fn lose(self, count: usize) -> Self {
        self.stage().lose = count;
        self
    }

    /// Ticks are answered when the test releases them.
    pub fn hold(self) -> Self {
        self.stage().hold = true;
        self
    }

    pub fn stored(self, dues: Dues) -> Self {
        self.store(dues);
        self
    }

    pub fn broken_storage(self) -> Self {
        self.stage().broken = true;
        self
    }

    /// Pages are answered when the test hands them out.
    pub fn slow_storage(self) -> Self {
        self.stage().slow = true;
        self
    }

    pub fn without_shard(mut self) -> Self {
        self.with_shard = false;
        self
    }

    pub async fn start(mut self) -> Self {
        let storage = storage::Service::vacant(&self.clock);
        let directory = Directory::new(vec![self.shard.clone()]);
        let node = Arc::new(Caller::node(&NodeId::from_public_key(&[1; 32])));
        let stage = self.stage.clone();
        let fake_storage = ActorSpec::new("storage", &Thread::current(), move || Ok(Storage(stage.clone())));
        let mut spec = quiet("root").child(fake_storage.serves(&storage.read_dues)).child(comet_timer::child(
            &self.kernel,
            &storage,
            &directory,
            &self.timer,
            node,
        ));
        if self.with_shard {
            spec = spec.child(self.shard_spec());
        }
        self.tree = Some(spec.start(&self.kernel).await.expect("the tree starts"));
        self
    }

    pub async fn add_shard(&self) -> Tree {
        quiet("more").child(self.shard_spec()).start(&self.kernel).await.expect("the shard starts")
    }

    fn shard_spec(&self) -> ActorSpec<Shard> {
        let (stage, clock) = (self.stage.clone(), self.clock.clone());
        ActorSpec::new("shard", &Thread::current(), move || Ok(Shard(stage.clone(), clock.clone())))
            .serves(&self.shard)
            .mailbox(4_096)
    }
}

/// A supervisor that does not take an actor for stuck because the test moved the clock.
fn quiet(id: &'static str) -> Spec {
    let long = Duration::from_secs(1_000_000);
    Spec::new(id, Strategy::OneForOne).probe(long, long)
}

/// Acts and looks.
impl World {
    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().expect("no test panics while it holds the stage")
    }

    /// Arms a key so many milliseconds after the start.
    pub async fn arm(&self, name: &str, milliseconds: Option<u64>) {
        let due = milliseconds.map(|milliseconds| START.after(Duration::from_millis(milliseconds)));
        self.timer.arm.call(Arm { key: key(name), due }).await.expect("the timer lives");
    }

    pub fn tell(&self, arm: Arm) {
        self.timer.arm.tell(arm).expect("the mailbox takes it");
    }

    pub async fn standing(&self) -> Timers {
        self.timer.read_timers.call(ReadTimers).await.expect("the timer lives")
    }

    pub async fn standing_until(&self, holds: impl Fn(&Timers) -> bool) -> Timers {
        for _ in 0..PATIENCE {
            let timers = self.standing().await;
            if holds(&timers) {
                return timers;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("it stands at {:?}", self.standing().await);
    }

    pub async fn until(&self, holds: impl Fn() -> bool) {
        for _ in 0..PATIENCE {
            if holds() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("it did not happen; seen: {:?}", self.seen());
    }

    /// Waits until exactly these were woken, in this order.
    pub async fn ticks<const COUNT: usize>(&self, names: [&str; COUNT]) {
        self.until(|| self.seen().len() >= COUNT).await;
        assert_eq!(self.seen(), names);
        self.standing_until(|timers| self.stage().hold || timers.delivered == COUNT as u64).await;
    }

    pub fn seen(&self) -> Vec<String> {
        self.stage().seen.clone()
    }

    pub fn held(&self) -> usize {
        self.stage().held.len()
    }

    /// Answers every tick that is held; how many.
    pub fn release(&self) -> usize {
        let held = std::mem::take(&mut self.stage().held);
        let count = held.len();
        for responder in held {
            responder.answer(Ok(Reply::Ticked { next: None }));
        }
        count
    }

    pub fn store(&self, dues: Dues) {
        self.stage().dues = dues;
    }

    pub fn repair_storage(&self) {
        self.stage().broken = false;
    }

    pub fn pages_asked(&self) -> usize {
        self.stage().pages.len()
    }

    pub fn hand_out_pages(&self) {
        let pages = std::mem::take(&mut self.stage().pages);
        self.stage().slow = false;
        for (page, responder) in pages {
            responder.answer(Ok(page));
        }
    }
}

struct Shard(Shared, Clock);

impl Actor for Shard {}

impl Handler<Call> for Shard {
    fn handle(&mut self, call: Call, responder: CallResponder, _: &mut Context<Self>) {
        assert!(matches!(call.op, Op::Tick), "a timer sends ticks");
        let mut stage = self.0.lock().expect("no test panics while it holds the stage");
        stage.seen.push(call.key.to_string());
        if stage.lose > 0 {
            stage.lose -= 1;
            // Half of them are refused, half get no answer at all.
            if stage.lose.is_multiple_of(2) {
                responder.answer(Err(Refusal::Unavailable("not now".to_owned())));
            }
        } else if stage.hold {
            stage.held.push_back(responder);
        } else {
            responder.answer(Ok(Reply::Ticked { next: (stage.answer)(&call.key, self.1.unix()) }));
        }
    }
}

struct Storage(Shared);

impl Actor for Storage {}

impl Handler<ReadDues> for Storage {
    fn handle(&mut self, question: ReadDues, responder: PageResponder, _: &mut Context<Self>) {
        let mut stage = self.0.lock().expect("no test panics while it holds the stage");
        if stage.broken {
            return responder.answer(Err(ReadError::Failed("broken".to_owned())));
        }
        let behind = stage.dues.iter().filter(|due| question.after.as_ref().is_none_or(|after| *due > after));
        let page: Dues = behind.take(question.limit).cloned().collect();
        if stage.slow {
            stage.pages.push_back((page, responder));
        } else {
            responder.answer(Ok(page));
        }
    }
}
