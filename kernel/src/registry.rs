//! Who is there: every supervised actor by its path, for the operator.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use dashmap::DashMap;
use tokio::sync::mpsc;

use crate::clock::{Clock, Moment};
use crate::meter::{Meter, Reading};
use crate::reply::{Responder, pair};
use crate::request::RequestId;

/// Every supervised actor by its path. Copies share it.
#[derive(Clone, Debug)]
pub struct Registry {
    clock: Clock,
    entries: Arc<DashMap<Arc<str>, Arc<Entry>>>,
}

/// What is kept of one actor, across its restarts.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) path: Arc<str>,
    order: u64,
    supervisor: bool,
    meters: Vec<Arc<Meter>>,
    /// The way to its supervisor; the root has none.
    control: Option<mpsc::Sender<Order>>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    status: Status,
    since: Moment,
    restarts: u64,
    last_exit: Option<String>,
}

/// How an actor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is being made.
    Starting,
    /// It serves.
    Running,
    /// It holds its messages back until it is resumed.
    Suspended,
    /// It is being stopped.
    Stopping,
    /// It failed and waits to be started again.
    Waiting,
    /// It has ended and will not be started again.
    Ended,
}

impl std::fmt::Display for Status {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Status::Starting => "starting",
            Status::Running => "running",
            Status::Suspended => "suspended",
            Status::Stopping => "stopping",
            Status::Waiting => "waiting",
            Status::Ended => "ended",
        })
    }
}

/// What the operator orders a supervisor to do with a child.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) path: Arc<str>,
    pub(crate) action: Action,
    /// The error says why what was stopped does not run again.
    pub(crate) done: Responder<Result<(), String>>,
}

/// What can be done to an actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Stop it as it wants to be stopped, and start a fresh one. Does not count as a failure.
    Restart,
    /// Hold its messages back, up to the bound of its mailbox.
    Suspend,
    /// Let it go on.
    Resume,
}

/// Why an order was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// Nobody has this path.
    #[error("no actor {0}; `comet ctl tree` shows their names")]
    NoSuchActor(String),
    /// It is the root of the tree, which nobody supervises.
    #[error("{0} is the whole node; stop it with `comet ctl shutdown`, and start it again with `comet node`")]
    Root(String),
    /// The supervisor has too many orders waiting, or has ended.
    #[error("the supervisor of {0} takes no orders now; try again")]
    Unavailable(String),
    /// It was stopped, and it, or what was to be started with it, did not start again. Its supervisor goes on trying, as
    /// after any failure.
    #[error(
        "{path} was stopped, and then {reason}; its supervisor tries again, and `comet ctl tree` shows how that goes"
    )]
    NotStarted {
        /// Who was to be restarted.
        path: String,
        /// What did not start, and why.
        reason: String,
    },
}

/// What the registry shows of one actor.
#[derive(Clone, Debug)]
pub struct Listing {
    /// Its path from the root of the tree, names parted by slashes.
    pub path: String,
    /// Whether it is a supervisor.
    pub supervisor: bool,
    /// How it is.
    pub status: Status,
    /// Seconds since it last changed that.
    pub seconds: u64,
    /// How often it was started again after a failure.
    pub restarts: u64,
    /// Why it ended last.
    pub last_exit: Option<String>,
    /// What passes into its mailbox, by name of the message.
    pub mail: Vec<(&'static str, Reading)>,
}

impl Registry {
    /// A registry of nobody.
    pub fn new(clock: Clock) -> Self {
        Registry { clock, entries: Arc::default() }
    }

    /// Everyone, in the order in which they were first started.
    pub fn list(&self) -> Vec<Listing> {
        let mut entries: Vec<_> = self.entries.iter().map(|entry| entry.value().clone()).collect();
        entries.sort_by_key(|entry| entry.order);
        entries.iter().map(|entry| self.show(entry)).collect()
    }

    /// One actor.
    pub fn find(&self, path: &str) -> Option<Listing> {
        let entry = self.entries.get(path)?.clone();
        Some(self.show(&entry))
    }

    /// Orders the supervisor of an actor to do something with it, and waits until that is done.
    pub async fn order(&self, path: &str, action: Action) -> Result<(), OrderError> {
        let entry = self.entries.get(path).map(|entry| entry.value().clone());
        let entry = entry.ok_or_else(|| OrderError::NoSuchActor(path.to_owned()))?;
        let control = entry.control.as_ref().ok_or_else(|| OrderError::Root(path.to_owned()))?;
        let (done, pending) = pair(RequestId::fresh());
        let order = Order { path: entry.path.clone(), action, done };
        let unavailable = || OrderError::Unavailable(path.to_owned());
        control.try_send(order).map_err(|_| unavailable())?;
        let carried_out = pending.await.map_err(|_| unavailable())?;
        carried_out.map_err(|reason| OrderError::NotStarted { path: path.to_owned(), reason })
    }

    pub(crate) fn enter(
        &self,
        path: &str,
        supervisor: bool,
        meters: Vec<Arc<Meter>>,
        control: Option<mpsc::Sender<Order>>,
    ) -> Arc<Entry> {
        static ORDER: AtomicU64 = AtomicU64::new(0);
        let path: Arc<str> = path.into();
        let restarts = self.entries.get(&path).map_or(0, |former| former.lock().restarts);
        let state = State { status: Status::Starting, since: self.clock.now(), restarts, last_exit: None };
        let order = ORDER.fetch_add(1, Ordering::Relaxed);
        let entry = Entry { path: path.clone(), order, supervisor, meters, control, state: Mutex::new(state) };
        let entry = Arc::new(entry);
        self.entries.insert(path, entry.clone());
        entry
    }

    /// A supervisor's own entry: the one that its supervisor made, or a new one for the root.
    pub(crate) fn own_entry(&self, path: &str) -> Arc<Entry> {
        let made = self.entries.get(path).map(|entry| entry.value().clone());
        made.unwrap_or_else(|| self.enter(path, true, Vec::new(), None))
    }

    pub(crate) fn note(&self, entry: &Entry, status: Status) {
        let mut state = entry.lock();
        state.status = status;
        state.since = self.clock.now();
    }

    fn show(&self, entry: &Entry) -> Listing {
        let state = entry.lock();
        Listing {
            path: entry.path.to_string(),
            supervisor: entry.supervisor,
            status: state.status,
            seconds: self.clock.now().since(state.since).as_secs(),
            restarts: state.restarts,
            last_exit: state.last_exit.clone(),
            mail: entry.meters.iter().map(|meter| (meter.name(), meter.read())).collect(),
        }
    }
}

impl Entry {
    pub(crate) fn note_exit(&self, exit: &str, restarts: bool) {
        let mut state = self.lock();
        state.last_exit = Some(exit.to_owned());
        state.restarts += u64::from(restarts);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
