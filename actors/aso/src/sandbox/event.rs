//! What a handler is called with, and what it asks for: both live in a thread-local while the handler runs, where the
//! host's functions find them.

use std::cell::RefCell;
use std::net::IpAddr;
use std::sync::Arc;

use comet_kernel::Key;
use comet_kernel::clock::Clock;
use comet_kernel::contract::routing::{Action, Data};
use comet_kernel::identity::{Caller, ScriptHash};
use comet_kernel::value::Value;
use rhai::{Dynamic, Identifier, ImmutableString, Map, Position};

use super::convert::{self, Texts};
use super::failure::Failure;
use super::reach::Reach;
use super::state::State;

/// What scripts can define to take part in an object's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Handler {
    /// A client's put creates the object.
    Put,
    /// A get.
    Get,
    /// A put on a key that holds an object.
    Update,
    /// A delete.
    Remove,
    /// The object's timer.
    Timer,
    /// A copy arrives by replication or hand-over.
    Arrive,
    /// Two copies of one version meet with different states.
    Merge,
    /// A hot-loaded version of the script takes the object over.
    Upgrade,
}

impl Handler {
    /// Every handler.
    pub const ALL: [Handler; 8] = [
        Handler::Put,
        Handler::Get,
        Handler::Update,
        Handler::Remove,
        Handler::Timer,
        Handler::Arrive,
        Handler::Merge,
        Handler::Upgrade,
    ];

    /// The name of the function in scripts.
    pub fn name(self) -> &'static str {
        match self {
            Handler::Put => "onPut",
            Handler::Get => "onGet",
            Handler::Update => "onUpdate",
            Handler::Remove => "onRemove",
            Handler::Timer => "onTimer",
            Handler::Arrive => "onArrive",
            Handler::Merge => "onMerge",
            Handler::Upgrade => "onUpgrade",
        }
    }

    /// One line on when it runs and what its result means.
    pub fn doc(self) -> &'static str {
        match self {
            Handler::Put => "a client's put creates the object; false refuses it",
            Handler::Get => "a get; returns the reply, () for not found, or comet.later()",
            Handler::Update => "a put on this key; incoming is #{value, script}; true lets it take this object's place",
            Handler::Remove => "a delete; false refuses it",
            Handler::Timer => "runs at every interval that comet.setTimer set",
            Handler::Arrive => "a copy of this object arrived by replication or hand-over",
            Handler::Merge => {
                "two copies of this object met; other is the other copy's state, this becomes the merged one"
            }
            Handler::Upgrade => "a new version of the script took over; old is the former's hash; false refuses it",
        }
    }

    /// The handler of this name.
    pub fn named(name: &str) -> Option<Self> {
        Handler::ALL.into_iter().find(|handler| handler.name() == name)
    }

    /// The names of the parameters that it is offered. A script may declare fewer.
    pub fn parameters(self) -> &'static [&'static str] {
        match self {
            Handler::Put | Handler::Remove => &["caller"],
            Handler::Get => &["caller", "payload"],
            Handler::Update => &["caller", "incoming"],
            Handler::Timer => &[],
            Handler::Arrive => &["from"],
            Handler::Merge => &["other"],
            Handler::Upgrade => &["old"],
        }
    }
}

/// What a handler is called with, besides `this`.
#[derive(Clone, Copy, Debug)]
pub enum Args<'a> {
    /// Nothing: `onTimer`.
    None,
    /// Who asks or sends: `onPut`, `onRemove`, `onArrive`.
    Caller(&'a Caller),
    /// `onGet`.
    Get {
        /// Who asks.
        caller: &'a Caller,
        /// What the client sent with the get; [`Value::Nil`] if nothing.
        payload: &'a Value,
    },
    /// `onUpdate`.
    Update {
        /// Who puts.
        caller: &'a Caller,
        /// The incoming value.
        value: &'a Value,
        /// The incoming script, if there is one.
        script: Option<ScriptHash>,
    },
    /// `onMerge`: the state of the other copy.
    Merge {
        /// The other copy's state.
        other: &'a State,
    },
    /// `onUpgrade`.
    Upgrade {
        /// The former script.
        old: ScriptHash,
    },
}

/// Bytes of a text that are more than a moment's work to copy.
pub(super) const LARGE_TEXT: usize = 16 << 10;

/// Whether a value may be more than a moment's work to show to a script. Bytes are shared.
pub(super) fn is_large(value: &Value) -> bool {
    match value {
        Value::Array(_) | Value::Map(_) => true,
        Value::Text(text) => text.len() > LARGE_TEXT,
        _ => false,
    }
}

impl Args<'_> {
    /// Whether they may be more than a moment's work to show to a script.
    pub(super) fn are_large(&self) -> bool {
        match self {
            Args::Get { payload: value, .. } | Args::Update { value, .. } => is_large(value),
            Args::Merge { .. } => true,
            Args::None | Args::Caller(_) | Args::Upgrade { .. } => false,
        }
    }

    /// The first `declared` of them for a script.
    pub(super) fn to_script(self, declared: usize, items: usize) -> Result<Vec<Dynamic>, Failure> {
        if declared == 0 {
            return Ok(Vec::new());
        }
        let second = declared > 1;
        let mut values = Vec::with_capacity(declared);
        match self {
            Args::None => {}
            Args::Caller(caller) => values.push(caller_to_script(caller)),
            Args::Get { caller, payload } => {
                values.push(caller_to_script(caller));
                if second {
                    values.push(convert::to_script(payload, items)?);
                }
            }
            Args::Update { caller, value, script } => {
                values.push(caller_to_script(caller));
                if second {
                    let mut incoming = Map::new();
                    incoming.insert("value".into(), convert::to_script(value, items)?);
                    let script = script.map_or(Dynamic::UNIT, |hash| hash.to_string().into());
                    incoming.insert("script".into(), script);
                    values.push(Dynamic::from_map(incoming));
                }
            }
            Args::Merge { other } => values.push(Dynamic::from_map(other.working_copy())),
            Args::Upgrade { old } => values.push(old.to_string().into()),
        }
        values.resize(declared, Dynamic::UNIT);
        Ok(values)
    }
}

/// `#{ id, ip, port, client }`.
fn caller_to_script(caller: &Caller) -> Dynamic {
    let mut map = Map::new();
    map.insert("id".into(), Dynamic::from(ImmutableString::from(&*caller.id)));
    map.insert("ip".into(), caller.ip.to_string().into());
    map.insert("port".into(), Dynamic::from_int(i64::from(caller.port)));
    map.insert("client".into(), Dynamic::from(ImmutableString::from(&*caller.client)));
    Dynamic::from_map(map)
}

/// Whether a script's map names this caller. The four fields have to be as [`caller_to_script`] made them.
pub(super) fn is_caller(map: &Map, caller: &Caller) -> bool {
    let text =
        |name: &str| map.get(name).and_then(|field| field.as_immutable_string_ref().ok().map(|text| text.clone()));
    let port = map.get("port").and_then(|port| port.as_int().ok());
    text("id").is_some_and(|id| *id == *caller.id)
        && text("client").is_some_and(|client| *client == *caller.client)
        && port == Some(i64::from(caller.port))
        && text("ip").is_some_and(|ip| ip.parse::<IpAddr>().is_ok_and(|ip| ip == caller.ip))
}

/// The circumstances of one handler call, for the host's functions.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// The object's key.
    pub key: &'a Key,
    /// Whose requests the script parked and has not answered yet, oldest first.
    pub parked: &'a [Arc<Caller>],
    /// Where `comet.random()` starts. The same seed gives the same numbers.
    pub seed: u64,
}

/// What a handler asked for. It is carried out only after the handler returned.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Actions {
    /// `comet.deleteSelf()`: remove this copy.
    pub delete_self: bool,
    /// `comet.setTimer(seconds)`: the new interval in seconds, 0 for off; `None` leaves the timer alone.
    pub timer: Option<u32>,
    /// `comet.log(text)`: printable lines, oldest first, at most [`comet_kernel::limits::LOG_LINES`].
    pub log: Vec<String>,
    /// `comet.reply(caller, value)`: answers by index into [`Event::parked`].
    pub replies: Vec<(usize, Value)>,
    /// `comet.get` and `comet.put`, in the order of asking.
    pub network: Vec<Asked>,
}

/// What a handler asks of the network.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// What.
    pub action: Action,
    /// The function that takes the answer, see [`super::Sandbox::call_back`].
    pub callback: Option<Arc<str>>,
    /// The trusted publisher who signed the script that asks.
    pub publisher: Option<Arc<str>>,
}

/// Where a value goes that a script handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum To {
    /// To the caller of this index into [`Event::parked`].
    Parked(usize),
    /// Into the action of this index, which is a put.
    Network(usize),
}

/// A script's top-level constants by name.
pub(super) type Constants = Arc<[(Identifier, Dynamic)]>;

/// What the host's functions see while a handler runs.
#[derive(Debug)]
pub(super) struct Call {
    pub key: Option<Key>,
    pub parked: Vec<Arc<Caller>>,
    pub constants: Option<Constants>,
    pub actions: Actions,
    /// Values that are on their way out, each small enough for that.
    pub handed: Vec<(To, Dynamic)>,
    reach: Option<Arc<Reach>>,
    now: Option<i64>,
    random: u64,
}

thread_local! {
    static CALL: RefCell<Call> = const { RefCell::new(Call {
        key: None,
        parked: Vec::new(),
        constants: None,
        actions: Actions {
            delete_self: false,
            timer: None,
            log: Vec::new(),
            replies: Vec::new(),
            network: Vec::new(),
        },
        handed: Vec::new(),
        reach: None,
        now: None,
        random: 0,
    }) };
}

/// Clears the thread-local when the handler has ended, however it ended.
#[derive(Debug)]
pub(super) struct Entered(());

/// Enters a call. `event` is `None` while a script is being compiled.
pub(super) fn enter(event: Option<&Event<'_>>, constants: Option<&Constants>, reach: Option<&Arc<Reach>>) -> Entered {
    with(|call| {
        call.key = event.map(|event| event.key.clone());
        call.parked.extend_from_slice(event.map_or(&[], |event| event.parked));
        call.constants = constants.cloned();
        call.reach = reach.cloned();
        call.now = None;
        call.random = event.map_or(0, |event| event.seed);
    });
    Entered(())
}

impl Entered {
    /// What the script asked for. What it handed over is copied only now: the meter would take one large copy for one
    /// large text of the script's own making.
    #[expect(clippy::unused_self, reason = "there are actions only as long as a call is entered")]
    pub fn take_actions(&self) -> Result<Actions, Failure> {
        let (mut actions, handed) = with(|call| (std::mem::take(&mut call.actions), std::mem::take(&mut call.handed)));
        let mut texts = Texts::default();
        for (to, value) in &handed {
            let value = texts.export(value, "what is sent")?;
            match to {
                To::Parked(index) => actions.replies.push((*index, value)),
                To::Network(index) => {
                    if let Action::Put { data, .. } = &mut actions.network[*index].action {
                        *data = Data::Value(value);
                    }
                }
            }
        }
        Ok(actions)
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        with(|call| {
            call.key = None;
            call.parked.clear();
            call.constants = None;
            call.reach = None;
            call.actions = Actions::default();
            call.handed.clear();
        });
    }
}

/// Runs `act` on the call of this thread. `act` must not call back into the engine.
pub(super) fn with<T>(act: impl FnOnce(&mut Call) -> T) -> T {
    CALL.with_borrow_mut(act)
}

impl Call {
    /// Milliseconds since 1970, the same throughout one call.
    pub fn now(&mut self, clock: &Clock) -> i64 {
        *self.now.get_or_insert_with(|| i64::try_from(clock.unix().0).unwrap_or(i64::MAX))
    }

    /// The trusted publisher who signed the script.
    pub fn publisher(&self) -> Option<&Arc<str>> {
        self.reach.as_ref()?.publisher.as_ref()
    }

    /// The name of a function of the script that can take an answer, if this is one.
    pub fn callback(&self, name: &str) -> Option<Arc<str>> {
        Some(self.reach.as_ref()?.callback(name)?.0)
    }

    /// Whether the call of `put` that stands here has `this` for its data.
    pub fn means_itself(&self, position: Position) -> bool {
        self.reach.as_ref().is_some_and(|reach| reach.means_itself(position))
    }

    /// The next random number: SplitMix64, <https://prng.di.unimi.it/splitmix64.c>.
    pub fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
