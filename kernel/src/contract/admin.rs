//! The contract of supervision: what travels over the admin socket.
//!
//! ```text
//!     comet ctl, comet script                 over the Unix socket of the node
//!  -> admin                                (this contract)
//!     registry, aso, storage, timer, limiter, routing
//! ```
//!
//! Frames are a length of four bytes, big-endian, and that many bytes of MessagePack, at most
//! [`crate::limits::ADMIN_FRAME_BYTES`]. The client opens with [`Hello`] and the node answers with one of its own; then
//! each [`Frame`] of the client carries an id that every frame of the answer repeats. A client may send its next request
//! before the answer; requests of one connection are served one after another.
//!
//! A stream of several answers ends with [`Answer::End`], or with a refusal. The node makes the next frame of a stream
//! only when the socket has taken the one before, so that a slow client holds back its own stream and nothing else.

use serde::{Deserialize, Serialize};

use crate::contract::aso::Info;
use crate::contract::library::ScriptSummary;
use crate::contract::limiter::Buckets;
use crate::contract::routing::{Bucket, NetworkStatus, Path, Peer};
use crate::contract::storage::Status;
use crate::contract::timer::Timers;
use crate::events::Event;
use crate::key::Key;

/// The version of the protocol. A node refuses clients of another.
pub const VERSION: u32 = 1;

/// The first frame either way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// `comet`, so that another program at the other end is noticed.
    pub protocol: String,
    /// The version spoken.
    pub version: u32,
    /// In the node's hello: why it does not serve this client, if it does not. It hangs up then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
}

impl Hello {
    /// What this build says.
    pub fn own() -> Self {
        Hello { protocol: "comet".to_owned(), version: VERSION, refusal: None }
    }

    /// What a node of this build says to a client that it does not serve.
    pub fn refusing(reason: impl Into<String>) -> Self {
        Hello { refusal: Some(reason.into()), ..Hello::own() }
    }
}

/// A frame with the id of the request that it is, or answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Frame<T> {
    /// Chosen by the client, repeated by the node.
    pub id: u64,
    /// What it says.
    pub body: T,
}

/// What the operator can ask for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// Every actor. Answers [`Answer::Actors`].
    Actors,
    /// One actor, with what it tells about its own work. Answers [`Answer::Actor`].
    Inspect {
        /// Its path.
        path: String,
    },
    /// Stops an actor and starts a fresh one. Answers [`Answer::Done`].
    Restart {
        /// Its path.
        path: String,
    },
    /// Makes an actor hold its messages back. Answers [`Answer::Done`].
    Suspend {
        /// Its path.
        path: String,
    },
    /// Lets a suspended actor go on. Answers [`Answer::Done`].
    Resume {
        /// Its path.
        path: String,
    },
    /// The stored objects, page by page. Answers [`Answer::Objects`], several times, and [`Answer::End`].
    Objects {
        /// Only keys that match this [`crate::Pattern`].
        pattern: Option<String>,
        /// At most so many.
        limit: u64,
    },
    /// One object. Answers [`Answer::Object`].
    Object {
        /// Which.
        key: Key,
    },
    /// The quarantined objects. Answers [`Answer::Objects`], several times, and [`Answer::End`].
    Quarantine,
    /// Puts an object into quarantine, by the operator's word. Answers [`Answer::Done`].
    Isolate {
        /// Which.
        key: Key,
    },
    /// Lets the handlers of a quarantined object run again. Answers [`Answer::Done`].
    Release {
        /// Which.
        key: Key,
    },
    /// What happens from now on. Answers [`Answer::Event`] and [`Answer::Missed`] until the client sends its next
    /// request or the node stops, and then [`Answer::End`].
    Events,
    /// Loads a version of a named script. Answers [`Answer::Hash`].
    LoadScript {
        /// The name.
        name: String,
        /// The source.
        source: String,
    },
    /// Every named script. Answers [`Answer::Scripts`].
    ListScripts,
    /// One named script with its source. Answers [`Answer::Scripts`] with one.
    ShowScript {
        /// The name.
        name: String,
    },
    /// Forgets a name. Answers [`Answer::Done`].
    DropScript {
        /// The name.
        name: String,
    },
    /// Goes back to a name's former version. Answers [`Answer::Hash`].
    RollbackScript {
        /// The name.
        name: String,
    },
    /// The peers that the node is connected with. Answers [`Answer::Peers`]; refused on a node that is alone, as are the
    /// four that follow.
    Peers,
    /// The routing table. Answers [`Answer::Buckets`].
    Buckets,
    /// Looks a key up in the network. Answers [`Answer::Path`].
    LookUp {
        /// Which.
        key: Key,
    },
    /// How the node stands in the network. Answers [`Answer::Network`].
    Network,
    /// Compares what the node stores with its neighbours now. Answers [`Answer::Done`] when that is over.
    Replicate,
    /// Stops the node after it has finished its work. Answers [`Answer::Done`] before it does.
    Shutdown,
}

/// What the node answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    /// It is done.
    Done,
    /// It was not done, and another try would not help: why, and what to do.
    Refused(String),
    /// It could not be done now, or nobody knows whether it was: why, and what to do.
    Unavailable(String),
    /// Actors in the order of the tree.
    Actors(Vec<ActorRow>),
    /// One actor, and the figures that it knows of its own work.
    Actor(ActorRow, Vec<Figures>),
    /// Some objects.
    Objects(ObjectPage),
    /// One object: what is known of it, and its log, oldest line first.
    Object(Box<Info>, Vec<String>),
    /// Something happened.
    Event(Event),
    /// So many events were missed because the client was too slow.
    Missed(u64),
    /// Named scripts.
    Scripts(Vec<ScriptSummary>),
    /// The hash of a script.
    Hash(String),
    /// The peers that the node is connected with.
    Peers(Vec<Peer>),
    /// The routing table, farthest bucket first.
    Buckets(Vec<Bucket>),
    /// The way to a key, and who holds it.
    Path(Path),
    /// How the node stands in the network.
    Network(NetworkStatus),
    /// The stream has ended.
    End,
}

/// One actor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActorRow {
    /// Its path in the tree.
    pub path: String,
    /// Whether it is a supervisor.
    pub supervisor: bool,
    /// How it is: `running`, `suspended`, `waiting` and so on.
    pub status: String,
    /// Seconds since that began.
    pub seconds: u64,
    /// Restarts after failures.
    pub restarts: u64,
    /// Why it ended last.
    pub last_exit: Option<String>,
    /// What passes into its mailbox.
    pub mail: Vec<MailRow>,
}

/// What passes into a mailbox, for one kind of message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MailRow {
    /// The message.
    pub message: String,
    /// How many wait now.
    pub depth: u64,
    /// How many were handled.
    pub taken: u64,
    /// How many were refused.
    pub refused: u64,
    /// Mean wait in nanoseconds.
    pub wait_ns: u64,
}

/// What an actor tells about its own work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Figures {
    /// The store's.
    Storage(Status),
    /// The timers'.
    Timers(Timers),
    /// The limiter's.
    Buckets(Buckets),
    /// The hosting's.
    Memory {
        /// Keys in memory.
        keys: u64,
        /// Objects with an actor.
        active: u64,
        /// Bytes, as far as they are counted.
        bytes: u64,
    },
    /// The network's.
    Network(NetworkStatus),
    /// The actor did not tell in time: it is busy, suspended or being restarted.
    Silent(String),
}

/// One page of a list of objects. It may be empty: it tells then how far the search has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ObjectPage {
    /// The objects that match.
    pub rows: Vec<ObjectRow>,
    /// How many objects have been looked at so far.
    pub scanned: u64,
    /// How many objects there were when the search began; 0 if storage did not tell.
    pub total: u64,
}

/// One object in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ObjectRow {
    /// Its key.
    pub key: Key,
    /// Its script's name or short hash; none for a plain value.
    pub script: Option<String>,
    /// Bytes of value and state, encoded.
    pub size: u64,
    /// Milliseconds until it ends.
    pub ttl_ms: Option<u64>,
    /// Seconds between ticks.
    pub timer_seconds: Option<u32>,
    /// Whether handlers are off.
    pub quarantined: bool,
}
