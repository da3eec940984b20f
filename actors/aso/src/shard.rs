//! The shard actor: the keys whose hash picks it, on one thread.
//!
//! Owns the plain values of its keys, which need no actor of their own because nothing of them runs, and looks after the
//! actors of its scripted objects: it activates them from storage on first use and retires those not used for longest.
//! Promises that calls on one key take effect in the order in which one sender sent them, whatever state the key is in.
//! It never runs a handler but `onPut` of an object that has no actor yet.
//!
//! A key is in one of these states; arrows are what the shard does next:
//!
//! ```text
//! not in memory -> Loading -> plain value in the directory <-> Changing (writes under way)
//!                         \-> object in the directory -> Retiring -> not in memory
//! ```

mod activate;
mod behind;
mod clearing;
mod plain_keys;
mod sweep;

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use comet_kernel::contract::aso::{Call, Refusal};
use comet_kernel::contract::storage::{Former, Read};
use comet_kernel::directory::{CallResponder, HandedOn};
use comet_kernel::events::Kind;
use comet_kernel::exit::Exit;
use comet_kernel::meter::Meter;
use comet_kernel::nursery::{ChildExit, Nursery};
use comet_kernel::supervisor::Failures;
use comet_kernel::{Actor, Context, Door, Handler, Key, Message, Record, Responder, Work, limits};
use rand::SeedableRng;
use rand::rngs::SmallRng;

use self::behind::Behind;
use self::clearing::Clearing;
pub(crate) use self::clearing::{End, Fate, Hold};
use crate::env::{Env, Leaving, Local};
use crate::object::quarantine_intensity;
use crate::pipeline::Pipeline;

/// How long the word that an object is to be quarantined may take.
const QUARANTINING: Duration = Duration::from_secs(30);

/// An object needs no actor any more: it has no script, or a write of it has failed.
#[derive(Debug)]
pub(crate) struct Leave(pub Key);

impl Message for Leave {
    type Reply = ();
    const NAME: &'static str = "aso::Leave";
}

/// Calls that wait for their key.
type Waiting = VecDeque<(Call, CallResponder)>;

/// What a key is in the middle of.
#[derive(Debug)]
enum Busy {
    /// Its record or script is being read.
    Loading(Waiting),
    /// Its plain value is being changed.
    Changing(Changing),
    /// Its object writes out what is pending.
    Retiring(Door<Call>, Leaving, Waiting),
}

/// A plain value with writes under way.
#[derive(Debug)]
struct Changing {
    present: Option<Arc<Record>>,
    former: Former,
    /// Why it is not known what is there, until something is written in its place.
    unread: Option<String>,
    pipeline: Pipeline,
    /// Calls that have to wait until no write is under way.
    deferred: Waiting,
}

/// One shard.
#[derive(Debug)]
pub(crate) struct Shard {
    local: Rc<Local>,
    number: usize,
    busy: HashMap<Key, Busy, ahash::RandomState>,
    /// Every key that was put in memory, oldest first: the hand of a clock goes round it to find what is not used.
    hand: VecDeque<Key>,
    /// Objects whose actor died by a fault of ours, so that one which does so again and again is quarantined.
    deaths: HashMap<Key, Failures, ahash::RandomState>,
    /// Calls that wait for what a former life had sent to storage.
    held: Option<Waiting>,
    /// The clearing of the store that is being tried.
    clearing: Option<Clearing>,
    behind: Behind,
    /// The highest number that a write of a plain value was given.
    last_write: u64,
    /// Objects still to be retired before the shard stops.
    leaving: Vec<Key>,
}

impl Shard {
    /// A shard that has nothing in memory.
    pub fn new(env: Arc<Env>, number: usize) -> Self {
        let clock = env.kernel.clock.clone();
        let meter = Meter::new("aso::Call to objects", clock.clone());
        let exits = Meter::new("kernel::ChildExit", clock);
        let nursery = Nursery::new("node/store/aso/object", meter, exits);
        let local = Rc::new(Local::new(env, nursery, SmallRng::from_os_rng()));
        Shard {
            local,
            number,
            busy: HashMap::default(),
            hand: VecDeque::new(),
            deaths: HashMap::default(),
            held: None,
            clearing: None,
            behind: Behind::default(),
            last_write: 0,
            leaving: Vec::new(),
        }
    }

    fn dispatch(&mut self, call: Call, responder: CallResponder, context: &mut Context<Self>) {
        if let Some(clearing) = &mut self.clearing {
            return clearing.wait(call, responder);
        }
        if let Some(held) = &mut self.held {
            return wait(held, limits::SHARED_MAILBOX, call, responder);
        }
        match self.busy.get_mut(&call.key) {
            Some(Busy::Loading(waiting) | Busy::Retiring(_, _, waiting)) => {
                wait(waiting, limits::WAITING_PER_KEY, call, responder);
            }
            Some(Busy::Changing(changing)) if !changing.deferred.is_empty() => {
                wait(&mut changing.deferred, limits::WAITING_PER_KEY, call, responder);
            }
            Some(Busy::Changing(changing)) if changing.pipeline.is_full() => {
                wait(&mut Waiting::new(), 0, call, responder);
            }
            Some(Busy::Changing(_)) => self.act_on_changing(call, responder, context),
            None => self.find(call, responder, context),
        }
    }

    /// A call on a key that is in the middle of nothing.
    fn find(&mut self, call: Call, responder: CallResponder, context: &mut Context<Self>) {
        match self.local.env.directory.hand_on(call, responder) {
            HandedOn::Done => {}
            HandedOn::Plain(call, responder, record) => self.act_on_settled(call, responder, Some(record), context),
            // The disk may still have what was removed.
            HandedOn::Nothing(call, responder) if self.behind.contains(&call.key) => {
                self.act_on_settled(call, responder, None, context);
            }
            HandedOn::Nothing(call, responder) => self.load_for(call, responder, false, context),
            HandedOn::Dead(call, responder) => {
                self.local.env.directory.remove(&call.key);
                self.load_for(call, responder, true, context);
            }
        }
    }

    /// Has a key read for the call that needs it first.
    fn load_for(&mut self, call: Call, responder: CallResponder, unsettled: bool, context: &mut Context<Self>) {
        let wanted = Read { key: call.key.clone(), request: Some(call.request.clone()) };
        self.load(wanted, Waiting::from([(call, responder)]), unsettled, context);
    }

    /// Handles calls that waited, in order. What cannot be handled yet waits again.
    fn drain(&mut self, waiting: Waiting, context: &mut Context<Self>) {
        for (call, responder) in waiting {
            self.dispatch(call, responder, context);
        }
    }

    /// Takes a key out of the table of busy ones, if it is being loaded.
    fn loaded(&mut self, key: &Key) -> Waiting {
        match self.busy.remove(key) {
            Some(Busy::Loading(waiting)) => waiting,
            other => {
                assert!(other.is_none(), "a key that is being loaded is in no other state: {other:?}");
                Waiting::new()
            }
        }
    }

    /// The next call finds its door closed, and knows from that how to read it again.
    fn object_died(&mut self, key: Key, exit: &Exit) {
        self.local.env.kernel.events.publish(Kind::Ended, format!("object {key}"), exit.to_string());
        // Bounded by what can die within the time that counts; a shard with more faults than that has other worries.
        if self.deaths.len() >= limits::SYSTEM_MAILBOX {
            self.deaths.clear();
        }
        let env = &self.local.env;
        let failures = self.deaths.entry(key.clone()).or_insert_with(|| Failures::new(quarantine_intensity(env)));
        if failures.count(env.now()) {
            self.deaths.remove(&key);
            let caller = env.node.clone();
            let request = comet_kernel::Request::until(env.now() + QUARANTINING);
            let op = comet_kernel::contract::aso::Op::Quarantine(true);
            let asked = env.directory.ask(Call { key, request, caller, op, stamp: None }, env.now(), true);
            drop(asked);
        }
    }
}

impl Actor for Shard {
    fn started(&mut self, context: &mut Context<Self>) {
        let meter = Meter::new("aso::Leave", self.local.env.kernel.clock.clone());
        let door = context.door(&meter);
        let reports = self.local.nursery.reports_to(context);
        let fresh = self.local.shard.set(door).is_ok() && self.local.reports.set(reports).is_ok();
        assert!(fresh, "a shard starts once");
        drop(self.take_out());
        self.await_former_life(context);
        self.sweep_later(context);
        self.flush_later(self.local.env.flush_interval, context);
    }

    /// Retires every object, so that what handlers changed reaches the disk.
    fn stopping(&mut self, done: Responder<()>, context: &mut Context<Self>) {
        self.leaving = self.local.env.directory.keys_of(self.number, true);
        self.retire_all(done, context);
    }
}

impl Handler<Call> for Shard {
    fn handle(&mut self, call: Call, responder: CallResponder, context: &mut Context<Self>) {
        self.dispatch(call, responder, context);
    }
}

impl Handler<ChildExit<Key>> for Shard {
    fn handle(&mut self, exit: ChildExit<Key>, _: Responder<()>, _: &mut Context<Self>) {
        if !exit.exit.is_normal() {
            self.object_died(exit.name, &exit.exit);
        }
    }
}

impl Handler<Leave> for Shard {
    fn handle(&mut self, Leave(key): Leave, _: Responder<()>, context: &mut Context<Self>) {
        self.when_free(context, |shard, context| shard.retire(key, false, context));
    }
}

impl Shard {
    /// What a former life had sent to storage must be on the disk before anything is read.
    fn await_former_life(&mut self, context: &mut Context<Self>) {
        self.held.get_or_insert_default();
        let barrier = self.local.env.clone().barrier();
        self.unless_cleared(context, barrier, |shard, _, context| {
            let held = shard.held.take().unwrap_or_default();
            shard.drain(held, context);
        });
    }
}

/// Runs however the shard ends. What its objects still have in their mailboxes must not be written any more: the next
/// life of the shard starts from the disk.
impl Drop for Shard {
    fn drop(&mut self) {
        self.local.epoch.set(self.local.epoch.get() + 1);
    }
}

/// Lets a call wait, or refuses it if too many do.
fn wait(waiting: &mut Waiting, most: usize, call: Call, responder: CallResponder) {
    if waiting.len() < most {
        waiting.push_back((call, responder));
    } else {
        let text = "too much is waiting for the object; try again".to_owned();
        responder.answer(Err(Refusal::Unavailable(text)));
    }
}
