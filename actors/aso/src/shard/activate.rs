//! How keys come into memory: from storage, or by a put with a script.

use std::sync::Arc;
use std::time::Duration;

use comet_kernel::contract::aso::{Arrived, Call, Op, Refusal, Reply, ScriptChoice};
use comet_kernel::contract::storage::{Former, Read, ReadError};
use comet_kernel::directory::{CallResponder, Presence};
use comet_kernel::record::{Active, Dues};
use comet_kernel::{Context, Key, Record, limits};

use super::{Busy, Changing, Shard, Waiting};
use crate::env::Env;
use crate::library::Fetch;
use crate::object::{self, Birth, Found, Made, Object, Scripted};
use crate::pipeline::Pipeline;
use crate::plain;
use crate::terms::Replaced;

/// How long a key waits for room in memory: one pause, and how many of them at the most.
const PAUSE: Duration = Duration::from_millis(5);
const LONGEST_WAIT: usize = 400;

/// What storage and the library say about a key.
enum Loaded {
    Nothing,
    /// What is there cannot be read, for this reason. Another try will not read it either.
    Unread(String),
    Plain(Arc<Record>),
    /// An object whose script is not here, or compiles no more.
    Lost(Arc<Record>),
    Active(Arc<Record>, Found),
}

impl Shard {
    /// Reads a key that is not in memory. Calls on it wait until it is. If it is `unsettled`, something that was sent to
    /// storage has failed or was not awaited: the timer may have been told what never came to be.
    pub(super) fn load(&mut self, wanted: Read, waiting: Waiting, unsettled: bool, context: &mut Context<Self>) {
        let key = wanted.key.clone();
        self.busy.insert(key.clone(), Busy::Loading(waiting));
        // A clearing takes the waiting calls over.
        self.unless_cleared(context, read(self.local.env.clone(), wanted, unsettled), move |shard, loaded, context| {
            if unsettled && let Ok(Loaded::Plain(record) | Loaded::Lost(record) | Loaded::Active(record, _)) = &loaded {
                shard.local.arm_if_changed(&key, Dues::default(), record.dues());
            }
            shard.bring_in(&key, loaded, context);
        });
    }

    fn bring_in(&mut self, key: &Key, loaded: Result<Loaded, Refusal>, context: &mut Context<Self>) {
        let waiting = self.loaded(key);
        match loaded {
            Err(refusal) => {
                for (_, responder) in waiting {
                    responder.answer(Err(refusal.clone()));
                }
                return;
            }
            Ok(Loaded::Nothing) => return self.drain_on(key, None, None, waiting, context),
            Ok(Loaded::Unread(reason)) => return self.drain_on(key, None, Some(reason), waiting, context),
            Ok(Loaded::Lost(record)) => return self.drain_on(key, Some(record), None, waiting, context),
            Ok(Loaded::Plain(record)) => self.remember(key, record),
            Ok(Loaded::Active(record, found)) => return self.activate(key, &record, found, waiting),
        }
        self.drain(waiting, context);
    }

    /// Handles calls while it is known that this is all that there is, in memory and on the disk, and that it is not to
    /// stand in the directory: nothing, an object whose script is lost, or something that is `unread`.
    fn drain_on(
        &mut self,
        key: &Key,
        present: Option<Arc<Record>>,
        unread: Option<String>,
        waiting: Waiting,
        context: &mut Context<Self>,
    ) {
        let changing = Changing {
            former: if unread.is_some() { Former::UNREAD } else { Former::of(present.as_deref()) },
            present,
            unread,
            pipeline: Pipeline::after(self.last_write),
            deferred: Waiting::new(),
        };
        self.busy.insert(key.clone(), Busy::Changing(changing));
        self.drain(waiting, context);
        self.settle(key, context);
    }

    /// Puts a settled plain value in the directory.
    pub(super) fn remember(&mut self, key: &Key, record: Arc<Record>) {
        let bytes = plain::footprint(key.as_bytes().len(), &record);
        self.insert(key, Presence::Plain(record), bytes);
    }

    /// Starts the actor of a stored object. The calls that waited go into its mailbox before anybody can send there.
    fn activate(&mut self, key: &Key, record: &Record, found: Found, waiting: Waiting) {
        let active = record.active.as_deref().expect("an active record has an active half");
        match Scripted::from_record(record, active, found.script, found.follows) {
            Err(refusal) => waiting.into_iter().for_each(|(_, responder)| responder.answer(Err(refusal.clone()))),
            Ok(scripted) => {
                let former = Former::of(Some(record));
                let object = Object::stored(self.local.clone(), key.clone(), scripted, former);
                self.start(key, object, object::footprint(key.as_bytes().len(), record), waiting);
            }
        }
    }

    fn start(&mut self, key: &Key, object: Object, bytes: usize, waiting: Waiting) {
        let reports = self.local.reports.get().expect("set when the shard started");
        let door = self.local.nursery.start(reports, key.clone(), object, limits::OBJECT_MAILBOX);
        for (call, responder) in waiting {
            if let Err((refused, responder)) = door.forward(call, responder) {
                responder.answer(Err(unavailable(&refused.reason)));
            }
        }
        self.insert(key, Presence::Active(door), bytes);
    }

    /// Makes the object that a put or a copy with a script describes, in the place of a plain value or of nothing.
    pub(super) fn conceive(
        &mut self,
        call: Call,
        found: Found,
        replaced: (Option<Arc<Record>>, Former),
        responder: CallResponder,
    ) {
        let (present, former) = replaced;
        let Call { key, caller, op, stamp, request } = call;
        // What is there is in memory alone, and would be lost with a put that fails.
        if self.behind.contains(&key) && object::waits(&self.local.env) {
            let text = "the store takes no writes right now; try again".to_owned();
            return responder.answer(Err(Refusal::Unavailable(text)));
        }
        let now = self.local.circumstances(&key, &caller, stamp.as_deref());
        let made = match op {
            Op::Put(put) => {
                let live = present.as_ref().filter(|record| record.is_live(now.now));
                let replaced = Replaced::of(present.as_deref(), now.now);
                let reply = Reply::Stored { former: live.map(plain::shown) };
                let make = || Scripted::conceive(&self.local, now, &put, found, replaced);
                self.local.make(&caller, make).map(|made| (made, reply))
            }
            Op::Arrive(record) => {
                let reply = Reply::Arrived(Arrived::Taken);
                let make = || Scripted::adopt(&self.local, now, &record, found);
                self.local.make(&caller, make).map(|made| (made, reply))
            }
            other => unreachable!("nothing else brings a script: {other:?}"),
        };
        match made {
            Err(refusal) => responder.answer(Err(refusal)),
            Ok((made, reply)) => {
                self.behind.forget(&key);
                let bytes = object::footprint(key.as_bytes().len(), &made.scripted.record());
                let Made { scripted, actions, note } = made;
                let birth = Birth { responder, reply, actions, note, caused: request.caused };
                let object = Object::born(self.local.clone(), key.clone(), scripted, former, birth);
                self.start(&key, object, bytes, Waiting::new());
            }
        }
    }

    /// Has the library read the script of a put or a copy, and handles that again. Calls on the key wait.
    pub(super) fn fetch(
        &mut self,
        choice: ScriptChoice,
        call: Call,
        responder: CallResponder,
        (present, unread): (Option<Arc<Record>>, Option<String>),
        context: &mut Context<Self>,
    ) {
        let key = call.key.clone();
        self.busy.insert(key.clone(), Busy::Loading(Waiting::from([(call, responder)])));
        let library = self.local.env.fetch.clone();
        let fetching = async move { library.call(Fetch(choice)).await };
        self.unless_cleared(context, fetching, move |shard, fetched, context| {
            let mut waiting = shard.loaded(&key);
            let refusal = match &fetched {
                Ok(Ok(_)) => None,
                Ok(Err(refusal)) => Some(refusal.clone()),
                Err(error) => Some(Refusal::Unavailable(error.to_string())),
            };
            if let Some(refusal) = refusal
                && let Some((_, responder)) = waiting.pop_front()
            {
                responder.answer(Err(refusal));
            }
            // The script is held by `fetched` until the put has found it in the catalogue: the put is handled before that
            // ends, and must not have to read the disk for it again.
            let shown = present.as_ref().is_some_and(|record| record.active.is_none());
            if !shown && !shard.behind.contains(&key) {
                shard.drain_on(&key, present, unread, waiting, context);
            } else {
                if let Some(record) = present {
                    shard.remember(&key, record);
                }
                shard.drain(waiting, context);
            }
            drop(fetched);
        });
    }
}

/// Reads a key's record, and the script that it runs.
async fn read(env: Arc<Env>, wanted: Read, unsettled: bool) -> Result<Loaded, Refusal> {
    wait_for_room(&env).await?;
    if unsettled {
        // What is on its way to the writer must be on the disk before the reader looks.
        env.clone().barrier().await;
    }
    let record = match env.storage.read.call(wanted).await.map_err(|error| unavailable(&error))? {
        Ok(record) => record,
        Err(error @ (ReadError::Unreadable { .. } | ReadError::Damaged { .. })) => {
            return Ok(Loaded::Unread(error.to_string()));
        }
        Err(error @ ReadError::Failed(_)) => return Err(unavailable(&error)),
    };
    let Some(record) = record else { return Ok(Loaded::Nothing) };
    let Some(active) = record.active.as_deref() else { return Ok(Loaded::Plain(record)) };
    match find(&env, active).await {
        Ok(found) => Ok(Loaded::Active(record, found)),
        Err(Refusal::NoScript(_) | Refusal::BadScript(_)) => Ok(Loaded::Lost(record)),
        Err(refusal) => Err(refusal),
    }
}

/// Memory is twice as full as it should be: objects come faster than they leave. Whoever wants to wake another waits for
/// a moment, which gives the clock's hand the time to catch up. If it does not, nothing more comes into memory.
async fn wait_for_room(env: &Env) -> Result<(), Refusal> {
    for _ in 0..LONGEST_WAIT {
        if env.has_room() {
            return Ok(());
        }
        env.kernel.clock.sleep(PAUSE).await;
    }
    let text = "memory is full of what cannot leave it now; try again later, or raise aso.memory_mib";
    Err(Refusal::Unavailable(text.to_owned()))
}

/// The script that an object ran last, and the name that it follows. If the name is gone, it follows none any more.
async fn find(env: &Env, active: &Active) -> Result<Found, Refusal> {
    let follows = match &active.script.follows {
        None => None,
        Some(name) => match env.catalogue.named(name) {
            Some(named) => Some(named),
            None => {
                let choice = ScriptChoice::Named { name: name.clone(), pin: false };
                let _known_now = env.fetch.call(Fetch(choice)).await;
                env.catalogue.named(name)
            }
        },
    };
    let hash = active.script.hash;
    let script = match env.catalogue.find(hash) {
        Some(script) => script,
        None => env.fetch.call(Fetch(ScriptChoice::Hash(hash))).await.map_err(|error| unavailable(&error))??,
    };
    Ok(Found { script, follows })
}

fn unavailable(error: &impl std::fmt::Display) -> Refusal {
    Refusal::Unavailable(error.to_string())
}
