//! An actor that does what the tests tell it, and the stage on which it acts.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use comet_kernel::registry::Listing;
use comet_kernel::supervisor::{ActorSpec, Spec, Strategy};
use comet_kernel::{Actor, Clock, Context, Handle, Handler, Kernel, Message, Responder, Thread, Work};

/// How long a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the worker is told.
#[derive(Debug)]
pub enum Do {
    /// Count this message.
    Count,
    /// Note this number in the journal.
    Note(usize),
    /// Panic with this text.
    Panic(&'static str),
    /// Panic with this text in a future.
    PanicInFuture(&'static str),
    /// Stop by yourself.
    Finish,
    /// Block your thread until the test lets go of the other end.
    Block(std::sync::mpsc::Receiver<()>),
    /// Send yourself this message again and again.
    Flood(Handle<Do>),
    /// Note this number when a future of yours has ended, which ends as soon as it is polled twice.
    Errand(usize),
}

impl Message for Do {
    /// How many messages this life of the worker has counted.
    type Reply = usize;
    const NAME: &'static str = "test::Do";
}

/// How the workers of one specification behave, in all their lives.
#[derive(Debug, Default)]
pub struct Habits {
    /// So many more lives panic in `started`.
    pub panics_in_started: usize,
    /// Blocks in `started` until the test lets go of the other end.
    pub blocks_in_started: Option<std::sync::mpsc::Receiver<()>>,
    /// So many more times the factory fails.
    pub fails_in_factory: usize,
    /// Panics when it is asked to stop.
    pub panics_in_stopping: bool,
    /// Never says that it is done.
    pub never_done: bool,
    /// Takes this long to finish its work.
    pub finishes_in: Option<Duration>,
}

pub struct Worker {
    id: &'static str,
    stage: Stage,
    habits: Arc<Mutex<Habits>>,
    count: usize,
    undone: Option<Responder<()>>,
}

impl Actor for Worker {
    fn started(&mut self, _: &mut Context<Self>) {
        self.stage.note(format!("{} starts", self.id));
        let mut habits = lock(&self.habits);
        if habits.panics_in_started > 0 {
            habits.panics_in_started -= 1;
            drop(habits);
            panic!("no good start");
        }
        let block = habits.blocks_in_started.take();
        drop(habits);
        if let Some(until) = block {
            let _ended = until.recv();
        }
    }

    fn stopping(&mut self, done: Responder<()>, context: &mut Context<Self>) {
        let clock = self.stage.kernel.clock.clone();
        let (panics, never, finishes) = {
            let habits = lock(&self.habits);
            (habits.panics_in_stopping, habits.never_done, habits.finishes_in.map(|duration| clock.now() + duration))
        };
        // A test that reads the note may move the clock at once: the end is settled by then.
        self.stage.note(format!("{} stops", self.id));
        assert!(!panics, "no good end");
        if never {
            self.undone = Some(done);
        } else if let Some(end) = finishes {
            context.at(&clock, end, |worker, _| {
                worker.stage.note(format!("{} has finished", worker.id));
                done.answer(());
            });
        } else {
            done.answer(());
        }
    }
}

impl Handler<Do> for Worker {
    fn handle(&mut self, message: Do, responder: Responder<usize>, context: &mut Context<Self>) {
        self.count += 1;
        match message {
            Do::Count => {}
            Do::Note(number) => self.stage.note(format!("{} {number}", self.id)),
            Do::Panic(text) => panic!("{text}"),
            Do::PanicInFuture(text) => context.then(async move { panic!("{text}") }, |_, (), _| {}),
            Do::Finish => context.finish(),
            Do::Block(until) => {
                let _ended = until.recv();
            }
            Do::Errand(number) => context.then(tokio::task::yield_now(), move |worker, (), _| {
                worker.stage.note(format!("{} {number}", worker.id));
            }),
            Do::Flood(myself) => {
                let _stopped = myself.clone().tell(Do::Flood(myself));
            }
        }
        responder.answer(self.count);
    }
}

/// One kernel and what its workers note.
#[derive(Clone)]
pub struct Stage {
    pub kernel: Kernel,
    journal: Arc<Mutex<Vec<String>>>,
}

/// A worker's specification, and what the test keeps of it.
pub struct Role {
    pub spec: ActorSpec<Worker>,
    pub played: Played,
}

/// The way to a worker, and how it behaves.
pub struct Played {
    pub handle: Handle<Do>,
    habits: Arc<Mutex<Habits>>,
}

impl Stage {
    pub fn new(clock: Clock) -> Self {
        Stage { kernel: Kernel::new(clock), journal: Arc::default() }
    }

    pub fn on_machine_time() -> Self {
        Self::new(Clock::machine())
    }

    pub fn role(&self, id: &'static str, thread: &Thread) -> Role {
        let handle = Handle::vacant(&self.kernel.clock);
        let habits: Arc<Mutex<Habits>> = Arc::default();
        let (stage, shared) = (self.clone(), habits.clone());
        let factory = move || {
            let mut habits = lock(&shared);
            if habits.fails_in_factory > 0 {
                habits.fails_in_factory -= 1;
                return Err("nothing to make it from".to_owned());
            }
            Ok(Worker { id, stage: stage.clone(), habits: shared.clone(), count: 0, undone: None })
        };
        let spec = ActorSpec::new(id, thread, factory).serves(&handle);
        Role { spec, played: Played { handle, habits } }
    }

    pub fn note(&self, line: String) {
        lock(&self.journal).push(line);
    }

    pub fn journal(&self) -> Vec<String> {
        lock(&self.journal).clone()
    }

    pub fn forget_journal(&self) {
        lock(&self.journal).clear();
    }

    /// Waits until the journal has as many lines, and compares.
    pub async fn expect_journal(&self, lines: &[&str]) {
        until("the journal is full", || self.journal().len() >= lines.len()).await;
        assert_eq!(self.journal(), lines);
    }

    pub fn listing(&self, path: &str) -> Listing {
        self.kernel.registry.find(path).expect("there is such an actor")
    }
}

impl Played {
    /// Asks until somebody answers; what the answer is.
    pub async fn count(&self) -> usize {
        // A question to one that is stuck stays unanswered, and must be put again.
        let patience = Duration::from_secs(1);
        let ask = || async { tokio::time::timeout(patience, self.handle.call(Do::Count)).await.ok()?.ok() };
        eventually("it answers", ask).await
    }

    pub fn habits(&self) -> MutexGuard<'_, Habits> {
        lock(&self.habits)
    }
}

/// A supervisor that restarts soon and takes many failures.
pub fn patient(id: &'static str, strategy: Strategy) -> Spec {
    let short = Duration::from_millis(1);
    Spec::new(id, strategy).backoff(short, short).intensity(100, Duration::from_secs(60))
}

/// What this comes to. A test that waits for what does not come fails, and does not hang.
pub async fn in_time<F: Future>(what: &str, future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what}: this did not happen"))
}

/// Waits until something holds.
pub async fn until(what: &str, holds: impl Fn() -> bool) {
    eventually(what, || async { holds().then_some(()) }).await;
}

/// Waits until there is an outcome.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, look: impl Fn() -> F) -> T {
    let clock = Clock::machine();
    loop {
        if let Some(outcome) = look().await {
            return outcome;
        }
        assert!(clock.now().elapsed() < PATIENCE, "{what}: this did not happen");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics while holding it")
}
