//! A scripted object in memory, and how it comes to be: from storage, or from a put.

use std::sync::Arc;

use comet_kernel::contract::aso::{Put, Refusal, ScriptChoice};
use comet_kernel::contract::routing::TravellingScript;
use comet_kernel::provenance::Provenance;
use comet_kernel::record::{Active, Dues, Interval, ScriptRef};
use comet_kernel::{Record, UnixMillis, Value};

use crate::arrival;
use crate::catalogue::{Catalogue, Named};
use crate::env::Local;
use crate::plain::Circumstances;
use crate::sandbox::{Actions, Args, Event, Failure, Handler, Script, State};
use crate::terms::{Replaced, Terms};

/// A script, and the name that it was found under if the object is to follow that.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub script: Arc<Script>,
    pub follows: Option<Arc<Named>>,
}

/// A scripted object that was just made, and what the handler that ran for it asked for.
#[derive(Debug)]
pub(crate) struct Made {
    pub scripted: Scripted,
    pub actions: Actions,
    /// What its author should know of how it went.
    pub note: Option<String>,
}

/// A scripted object in memory.
#[derive(Clone, Debug)]
pub(crate) struct Scripted {
    pub script: Arc<Script>,
    pub follows: Option<Arc<Named>>,
    /// The name's stamp when the object last looked.
    pub stamp: u64,
    pub state: State,
    pub version: u64,
    pub expires: Option<UnixMillis>,
    pub owner: Option<Arc<str>>,
    /// Boxed: a node alone has none.
    pub provenance: Option<Box<Provenance>>,
    pub timer: Option<Interval>,
    pub quarantined: bool,
    pub shadows: bool,
}

impl Found {
    /// The script of a choice, if the catalogue holds it now. A name that is not there, and a script that nobody uses,
    /// have to be fetched from the library.
    pub fn in_catalogue(catalogue: &Catalogue, choice: &ScriptChoice) -> Option<Found> {
        match choice {
            ScriptChoice::Named { name, pin } => {
                let named = catalogue.named(name)?;
                let script = named.current().script.clone();
                Some(Found { script, follows: Some(named).filter(|_| !pin) })
            }
            ScriptChoice::Hash(hash) => Some(Found { script: catalogue.find(*hash)?, follows: None }),
            ScriptChoice::Travelled(script) => {
                let follows = script.follows.as_ref().and_then(|name| catalogue.named(name));
                Some(Found { script: catalogue.find(script.hash)?, follows })
            }
            ScriptChoice::Source(source) => {
                let script = catalogue.find(comet_kernel::ScriptHash::of(source))?;
                Some(Found { script, follows: None })
            }
        }
    }
}

impl Scripted {
    /// The object as it was stored. It runs the version that it ran last; whether its name has a newer one it finds
    /// out before its next event.
    pub fn from_record(
        record: &Record,
        active: &Active,
        script: Arc<Script>,
        follows: Option<Arc<Named>>,
    ) -> Result<Self, Refusal> {
        let state = State::new(&record.value, &active.state).map_err(refusal)?;
        Ok(Scripted {
            script,
            follows,
            stamp: 0,
            state,
            version: record.version,
            expires: record.expires,
            owner: record.owner.clone(),
            provenance: record.provenance.clone(),
            timer: active.timer,
            quarantined: active.quarantined,
            shadows: record.shadows,
        })
    }

    /// Makes the object that a put describes: evaluates the script's fields and runs its `onPut`. Nothing has happened
    /// if that fails or refuses. `replaced` is the version and the end of life of what is there now.
    pub fn conceive(
        local: &Local,
        now: Circumstances<'_>,
        put: &Put,
        found: Found,
        replaced: Replaced,
    ) -> Result<Made, Refusal> {
        let env = &local.env;
        let event = Event { key: now.key, parked: &[], seed: local.seed() };
        let mut state = env.sandbox.create(&found.script, &put.value, &event).map_err(refusal)?;
        let mut actions = Actions::default();
        if found.script.handles(Handler::Put) {
            let outcome = env.sandbox.call(&found.script, &state, Handler::Put, Args::Caller(now.caller), &event);
            let outcome = outcome.map_err(refusal)?;
            if outcome.reply == Value::Bool(false) {
                return Err(Refusal::Thrown("onPut refused the put".to_owned()));
            }
            state = outcome.state.unwrap_or(state);
            actions = outcome.actions;
        }
        let terms = Terms::of_put(put, replaced, now, |replaced| local.next_version(replaced));
        let scripted = Scripted {
            stamp: found.follows.as_ref().map_or(0, |named| named.stamp()),
            script: found.script,
            follows: found.follows,
            state,
            version: terms.version,
            expires: terms.expires,
            owner: terms.owner,
            provenance: terms.provenance,
            timer: None,
            quarantined: false,
            shadows: terms.shadows,
        };
        Ok(Made { scripted, actions, note: None })
    }

    /// Makes the object that a copy from another node describes, and runs its `onArrive`. A copy is taken even if that
    /// fails: its author finds out in the object's log.
    pub fn adopt(local: &Local, now: Circumstances<'_>, record: &Record, found: Found) -> Result<Made, Refusal> {
        let env = &local.env;
        let active = record.active.as_deref().expect("only a copy with a script is adopted");
        let (size, limit) = (active.state.encoded_size(), env.settings.state_bytes as usize);
        if size > limit {
            return Err(Refusal::TooBig { what: "the state".into(), size, limit });
        }
        let active = arrival::received(active, now.now);
        let mut scripted = Scripted::from_record(record, &active, found.script, found.follows)?;
        let (mut actions, mut note) = (Actions::default(), None);
        if scripted.script.handles(Handler::Arrive) {
            let event = Event { key: now.key, parked: &[], seed: local.seed() };
            let args = Args::Caller(now.caller);
            match env.sandbox.call(&scripted.script, &scripted.state, Handler::Arrive, args, &event) {
                Ok(outcome) => {
                    scripted.state = outcome.state.unwrap_or(scripted.state);
                    actions = outcome.actions;
                }
                Err(failure) => note = Some(format!("onArrive failed: {failure}")),
            }
        }
        Ok(Made { scripted, actions, note })
    }

    /// Whether it was put through another node after this node had loaded a version of the script. The same name may mean
    /// another script there: what was meant by the put is what the object runs, until this node loads a newer version.
    pub fn was_put_after(&self, loaded: UnixMillis, node: &str) -> bool {
        let elsewhere = self.provenance.as_ref().is_some_and(|provenance| *provenance.by != *node);
        elsewhere && loaded.0 <= self.version >> 16
    }

    /// Gives the object the terms of a new version.
    pub fn set_terms(&mut self, terms: Terms) {
        let Terms { version, expires, owner, provenance, shadows } = terms;
        (self.version, self.expires, self.owner, self.provenance) = (version, expires, owner, provenance);
        self.shadows = shadows;
    }

    /// The object as it is to be stored.
    pub fn record(&self) -> Record {
        let script =
            ScriptRef { hash: self.script.hash(), follows: self.follows.as_ref().map(|named| named.name.clone()) };
        Record {
            version: self.version,
            value: self.state.value(),
            expires: self.expires,
            active: Some(Box::new(Active {
                script,
                state: self.state.fields(),
                timer: self.timer,
                quarantined: self.quarantined,
            })),
            owner: self.owner.clone(),
            provenance: self.provenance.clone(),
            shadows: self.shadows,
        }
    }

    /// When the object has to be woken.
    pub fn dues(&self) -> Dues {
        let tick = self.timer.filter(|_| !self.quarantined).map(|timer| timer.due);
        Dues { tick, expiry: self.expires }
    }

    /// Sets the timer as a handler asked: off for 0.
    pub fn set_timer(&mut self, seconds: u32, local: &Local) {
        self.timer = (seconds > 0).then(|| Interval { seconds, due: local.next_due(seconds) });
    }
}

/// How the script of a copy is chosen: by its hash, and its name if this node knows that.
pub(crate) fn travelled(script: &ScriptRef) -> ScriptChoice {
    ScriptChoice::Travelled(TravellingScript { hash: script.hash, follows: script.follows.clone() })
}

/// A failure of the sandbox as a caller gets to see it.
pub(crate) fn refusal(failure: Failure) -> Refusal {
    match failure {
        Failure::Thrown(text) => Refusal::Thrown(text),
        Failure::Budget(budget) => Refusal::Budget(budget),
        Failure::Given { what, limit } => Refusal::TooManyItems { what: what.into(), limit },
        Failure::Error(text) => Refusal::Failed(text),
        Failure::Panicked(text) => Refusal::Failed(format!("the sandbox panicked: {text}")),
    }
}

/// Roughly the bytes that an object with an actor takes in memory, but for its log.
pub(crate) fn footprint(key: usize, record: &Record) -> usize {
    const ACTOR_AND_ENTRY: usize = 1_200;
    let state = record.active.as_ref().map_or(0, |active| active.state.encoded_size());
    ACTOR_AND_ENTRY + key + record.value.encoded_size() + 2 * state
}
