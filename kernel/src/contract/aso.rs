//! The contract of hosting: what can be asked of an object.
//!
//! ```text
//!     gateway, admin, timer
//!  -> aso: shards, objects, library        (this contract)
//!     storage, limiter
//! ```
//!
//! A [`Call`] reaches an object through [`crate::directory::Directory`]: the object's own mailbox if it is active, the
//! mailbox of its shard otherwise. Calls on one key are answered in the order in which one sender sent them.

mod refusal;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::refusal::{Budget, Refusal};
pub use crate::change::EndCondition;
use crate::clock::{Clock, UnixMillis};
use crate::contract::library::{Describe, DropScript, KeepSource, ListScripts, LoadScript, RollbackScript, ShowScript};
use crate::contract::routing::TravellingScript;
use crate::contract::storage::{Before, Flushing};
use crate::directory::{CallResponder, Directory};
use crate::handle::Handle;
use crate::identity::{Caller, ScriptHash};
use crate::key::Key;
use crate::message::Message;
use crate::provenance::Provenance;
use crate::record::Record;
use crate::request::Request;
use crate::value::Value;

/// Asks one object for one thing.
#[derive(Clone, Debug)]
pub struct Call {
    /// Which object.
    pub key: Key,
    /// Id, deadline, trace.
    pub request: Request,
    /// Who asks.
    pub caller: Arc<Caller>,
    /// What for.
    pub op: Op,
    /// The version that a put, a removal or a revision makes, if the node that took it from a client has given it one.
    /// Without, the object's shard gives it the next. A change that is not newer than what is there has happened before,
    /// whatever its condition says: it changes nothing, and is answered as done. If what is there is another change, the
    /// former record is that one, even if it is a tombstone, and a revision is kept: so that whoever asks learns that the
    /// version came too late.
    pub stamp: Option<Arc<Stamp>>,
}

/// The version that a change has everywhere in the network, and where it comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Stamp {
    /// A hybrid timestamp.
    pub version: u64,
    /// Who made the change.
    pub provenance: Provenance,
    /// When the object ends, if it does: the same time on every node.
    pub expires: Option<UnixMillis>,
    /// Who is to own it.
    pub owner: Option<Arc<str>>,
}

/// What can be asked of an object.
#[derive(Clone, Debug)]
pub enum Op {
    /// `onGet`. Answers [`Reply::Value`], [`Reply::Plain`] or [`Reply::Absent`].
    Get {
        /// What the client sent with the get; [`Value::Nil`] if nothing.
        payload: Value,
    },
    /// The stored record, without running `onGet`. Answers [`Reply::Plain`] or [`Reply::Absent`].
    Peek,
    /// `onPut` or `onUpdate`. Answers [`Reply::Stored`] or [`Reply::Kept`].
    Put(Box<Put>),
    /// A put of a value that is computed from the present one. Answers [`Reply::Value`] with the new value.
    Edit(Edit),
    /// `onRemove`. Answers [`Reply::Removed`], with the former record if there was one.
    Remove,
    /// Changes the value and the end of life of one version, and of no other. Script and state stay. Answers
    /// [`Reply::Stored`], or [`Reply::Kept`] if the object is of another version. Needs a [`Stamp`].
    Revise(Box<Revision>),
    /// A copy from another node. Answers [`Reply::Arrived`].
    Arrive(Arc<Record>),
    /// The record as it is now, tombstones included, without running any handler. Answers [`Reply::Plain`] or
    /// [`Reply::Absent`].
    Copy,
    /// Removes this node's copy, if it is still of this version and nobody's request is parked at it. Leaves nothing
    /// behind, for other nodes hold it, and runs no handler. Answers [`Reply::Value`] with a boolean: whether it was
    /// dropped.
    Drop {
        /// The version.
        version: u64,
    },
    /// Changes when the object ends, if the condition holds. Answers [`Reply::Expired`].
    Expire(Lifetime, EndCondition),
    /// Answers [`Reply::Info`] or [`Reply::Absent`].
    Info,
    /// Answers [`Reply::Log`] or [`Reply::Absent`].
    Log,
    /// The timer actor's wake-up, `onTimer` or the end of life. Answers [`Reply::Ticked`].
    Tick,
    /// The operator's word: handlers off (true) or on again (false). Answers [`Reply::Value`] with a boolean:
    /// whether that changed anything.
    Quarantine(bool),
    /// Sends what handlers changed to storage. Sent by its shard only. Answers [`Reply::Flushing`].
    Flush,
    /// What was sent by [`Op::Flush`] did not reach the disk. Sent by its shard only. Not answered.
    Unflushed(Before),
    /// Writes out what is pending and ends the object's actor. Sent by its shard only. Answers [`Reply::Retired`];
    /// [`Reply::Stranded`] if a write has failed before; or [`Reply::Kept`] if the object does not want to go: it holds
    /// parked requests, or the store takes no writes.
    Retire {
        /// The node stops: the object goes in any case.
        force: bool,
    },
}

impl Op {
    /// The name for traces and audits.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Get { .. } => "Get",
            Op::Peek => "Peek",
            Op::Put(_) => "Put",
            Op::Edit(_) => "Edit",
            Op::Remove => "Remove",
            Op::Revise(_) => "Revise",
            Op::Arrive(_) => "Arrive",
            Op::Copy => "Copy",
            Op::Drop { .. } => "Drop",
            Op::Expire(..) => "Expire",
            Op::Info => "Info",
            Op::Log => "Log",
            Op::Tick => "Tick",
            Op::Quarantine(_) => "Quarantine",
            Op::Flush => "Flush",
            Op::Unflushed(_) => "Unflushed",
            Op::Retire { .. } => "Retire",
        }
    }

    /// Whether the answer depends on nothing but the object's present state and changes no durable state.
    pub fn reads(&self) -> bool {
        matches!(self, Op::Get { .. } | Op::Peek | Op::Copy | Op::Info | Op::Log)
    }
}

/// A put.
#[derive(Clone, Debug)]
pub struct Put {
    /// The value.
    pub value: Value,
    /// The script that comes with it.
    pub script: Option<ScriptChoice>,
    /// When the new object ends.
    pub lifetime: Lifetime,
    /// Whether the put depends on the key's being there.
    pub condition: Condition,
    /// The put makes its caller the owner.
    pub owned: bool,
    /// How many nodes should hold the object, if not the configured number.
    pub replicas: Option<u8>,
}

impl Put {
    /// A put of a plain value that replaces what is there.
    pub fn plain(value: Value) -> Self {
        Put {
            value,
            script: None,
            lifetime: Lifetime::Endless,
            condition: Condition::Always,
            owned: false,
            replicas: None,
        }
    }
}

/// How a put names its script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScriptChoice {
    /// The newest version of a named script; `pin` stays with the version that is newest now.
    Named {
        /// The name.
        name: Arc<str>,
        /// Whether the object stays with this version.
        pin: bool,
    },
    /// A script that the node knows already.
    Hash(ScriptHash),
    /// The source itself.
    Source(Arc<str>),
    /// A script that came from another node, by its hash; the object follows the name if this node knows it.
    Travelled(TravellingScript),
}

/// A change of one version of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Revision {
    /// The version that is to be changed.
    pub base: u64,
    /// The new value; the present one stays if none.
    pub value: Option<Value>,
}

/// When an object ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// Never.
    Endless,
    /// As the object that is there now; never if none is.
    Keep,
    /// This long from now.
    For(Duration),
    /// At this time.
    At(UnixMillis),
}

/// Whether a put depends on the key's being there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Put in any case.
    Always,
    /// Put only if nothing is there.
    IfAbsent,
    /// Put only if something is there.
    IfPresent,
}

/// How an edit computes the new value.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    /// Adds to an integer, 0 if nothing is there. Text that is an integer counts as one, and so does a float that is whole.
    Add(i64),
    /// Adds to a number, 0 if nothing is there. Text that is a number counts as one.
    AddFloat(f64),
}

/// What an object answers.
#[derive(Debug)]
pub enum Reply {
    /// There is no such object, or its `onGet` returned `()`.
    Absent,
    /// What a handler returned, or the outcome of an edit.
    Value(Value),
    /// The record itself: a plain value, or the answer to a peek. Shared, so that no reader copies it.
    Plain(Arc<Record>),
    /// The put took effect and is as durable as the configuration promises.
    Stored {
        /// What was there before.
        former: Option<Arc<Record>>,
    },
    /// The put did not take effect: its condition did not hold, or `onUpdate` kept the present object.
    Kept {
        /// What is there.
        present: Option<Arc<Record>>,
    },
    /// The object is gone, or there was none.
    Removed {
        /// What was there before.
        former: Option<Arc<Record>>,
    },
    /// What became of a change of the end.
    Expired {
        /// Whether there is such an object, and the condition held.
        applied: bool,
        /// When the object ended until now.
        former: Option<UnixMillis>,
    },
    /// What became of a copy.
    Arrived(Arrived),
    /// What several nodes answered, those nearest to the key first.
    Several(Vec<Reply>),
    /// All about the object but its value.
    Info(Box<Info>),
    /// The object's log ring, oldest line first.
    Log(Vec<String>),
    /// The wake-up was handled; when the next is due.
    Ticked {
        /// When to wake the object again; never if none.
        next: Option<UnixMillis>,
    },
    /// The write that was sent, if there was something to write.
    Flushing(Option<Box<Flushing>>),
    /// The object's actor has written out everything and ends.
    Retired,
    /// A write of the object has failed, and its actor ends: the disk says what the object is. These calls came too late
    /// for it, oldest first.
    Stranded(Vec<(Call, CallResponder)>),
}

/// What became of a copy from another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Arrived {
    /// It is stored, durably: this node had nothing, or an older version.
    Taken,
    /// This node has the same version in another state, and its script made one state of both.
    Merged,
    /// This node has the same version already.
    Same,
    /// This node has a newer version, which is this one; or, of two changes that were given the same version, the one that
    /// every node prefers.
    Outdated(u64),
}

/// What `ASO.INFO` tells.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Info {
    /// The script's name, if the object follows one.
    pub script: Option<String>,
    /// The script's hash.
    pub hash: Option<String>,
    /// When this version was put: a hybrid timestamp.
    pub version: u64,
    /// Encoded value and state, bytes.
    pub size: usize,
    /// Who owns the object.
    pub owner: Option<String>,
    /// Milliseconds until the object ends.
    pub ttl_ms: Option<u64>,
    /// Seconds between ticks.
    pub timer_seconds: Option<u32>,
    /// Milliseconds until the next tick.
    pub timer_due_ms: Option<u64>,
    /// Handler calls since activation.
    pub calls: u64,
    /// Handler calls that failed, since activation.
    pub failures: u64,
    /// Whether handlers are off.
    pub quarantined: bool,
    /// Whether an actor hosts the object now.
    pub active: bool,
    /// Copies of the object that this node knows of, its own included.
    pub replicas: u32,
}

impl Message for Call {
    type Reply = Result<Reply, Refusal>;
    const NAME: &'static str = "aso::Call";

    fn request(&self) -> Option<&Request> {
        Some(&self.request)
    }

    fn label(&self) -> &'static str {
        self.op.name()
    }
}

/// Removes every object of this node, from memory and from storage, and disarms every timer. Scripts stay.
#[derive(Clone, Debug)]
pub struct Clear;

impl Message for Clear {
    type Reply = Result<(), Refusal>;
    const NAME: &'static str = "aso::Clear";
}

/// The way to objects and scripts.
#[derive(Clone, Debug)]
pub struct Service {
    /// The way to every object.
    pub directory: Directory,
    /// See [`LoadScript`].
    pub load_script: Handle<LoadScript>,
    /// See [`ListScripts`].
    pub list_scripts: Handle<ListScripts>,
    /// See [`ShowScript`].
    pub show_script: Handle<ShowScript>,
    /// See [`DropScript`].
    pub drop_script: Handle<DropScript>,
    /// See [`RollbackScript`].
    pub rollback_script: Handle<RollbackScript>,
    /// See [`KeepSource`].
    pub keep_source: Handle<KeepSource>,
    /// See [`Describe`].
    pub describe: Handle<Describe>,
    /// See [`Clear`].
    pub clear: Handle<Clear>,
}

impl Service {
    /// A way to nobody yet, through this many shards.
    pub fn vacant(clock: &Clock, shards: usize) -> Self {
        Service {
            directory: Directory::new((0..shards).map(|_| Handle::vacant(clock)).collect()),
            load_script: Handle::vacant(clock),
            list_scripts: Handle::vacant(clock),
            show_script: Handle::vacant(clock),
            drop_script: Handle::vacant(clock),
            rollback_script: Handle::vacant(clock),
            keep_source: Handle::vacant(clock),
            describe: Handle::vacant(clock),
            clear: Handle::vacant(clock),
        }
    }
}
