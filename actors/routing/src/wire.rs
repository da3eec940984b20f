//! What nodes say to each other.
//!
//! A frame is a length of four bytes, big-endian, and that many bytes of MessagePack. The one who opens a lane begins with
//! a [`Hello`]; the other answers with its own, or with a refusal, and from then on [`Framed`] requests go one way and
//! their answers the other, in any order. Structures travel as maps, so that fields which a node does not know are
//! ignored; a version that it does not know is refused.

mod bounded;
pub(crate) mod check;
pub(crate) mod codec;

use std::net::IpAddr;
use std::sync::Arc;

use comet_kernel::contract::aso::{Arrived, Refusal};
use comet_kernel::contract::routing::TravellingScript;
use comet_kernel::{Key, Provenance, Record, ScriptHash, UnixMillis, Value};
use serde::{Deserialize, Serialize};

use self::bounded::{few, short};

/// The version of the protocol.
pub(crate) const VERSION: u32 = 1;

/// Items in one comparison at most. Here, so that a longer list is malformed and costs nothing: an item takes ten bytes to
/// write, and ten times that in memory.
pub(crate) const COMPARED: usize = 500;
/// The most nodes that a peer names at once: as many as a bucket of Kademlia holds.
pub(crate) const NODES: usize = 20;
/// Longest peer id as text; those of Ed25519 keys have 52 bytes. Base 58 takes time that grows with the length squared.
const PEER_ID_BYTES: usize = 128;

/// The first frame either way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// `comet`, so that another program at the other end is noticed.
    pub protocol: String,
    /// The version spoken.
    pub version: u32,
    /// Why the node does not serve this lane, if it does not. It hangs up then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
}

/// A request or an answer with the id of the request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Framed<T> {
    /// Chosen by who asks, repeated by who answers.
    pub id: u64,
    /// In a request: milliseconds that are left for it. Remaining time travels, because clocks differ.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_ms: u32,
    /// What it says.
    pub body: T,
}

/// What a node asks another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// A get on behalf of a client or an object. Answers [`Answer::Record`], [`Answer::Handled`] or [`Answer::Absent`].
    Get { key: Key, payload: Value, asker: Asker },
    /// The record as it is, without running a handler. Answers [`Answer::Record`], tombstones included, or
    /// [`Answer::Absent`].
    Copy { key: Key },
    /// A put. Answers [`Answer::Stored`] or [`Answer::Kept`].
    Put { key: Key, value: Value, script: Option<TravellingScript>, condition: Condition, stamp: Stamp, asker: Asker },
    /// A change of one version. Answers [`Answer::Stored`] or [`Answer::Kept`].
    Revise { key: Key, base: u64, value: Option<Value>, stamp: Stamp, asker: Asker },
    /// A removal. Answers [`Answer::Removed`].
    Remove { key: Key, stamp: Stamp, asker: Asker },
    /// A copy of an object that the asking node stores, and how many objects stand behind its coming. Answers
    /// [`Answer::Arrived`].
    Arrive { key: Key, record: Arc<Record>, caused: u8 },
    /// What the asking node stores of what this node should store. Answers [`Answer::Compared`].
    Compare {
        #[serde(deserialize_with = "few::<_, _, COMPARED>")]
        items: Vec<Item>,
    },
    /// The source of a script. Answers [`Answer::Source`].
    Script { hash: ScriptHash },
    /// The log ring of an object. Answers [`Answer::Value`], an array of text, or [`Answer::Absent`].
    Log { key: Key },
    /// The nodes nearest to a place that this node knows. Answers [`Answer::Nodes`].
    Nearest { place: Place, n: u8 },
}

impl Ask {
    /// Whether it may change what the node stores.
    pub fn changes(&self) -> bool {
        matches!(self, Ask::Put { .. } | Ask::Revise { .. } | Ask::Remove { .. } | Ask::Arrive { .. })
    }

    /// How many records are looked at for it, if that is more than a few.
    pub fn reads(&self) -> usize {
        if let Ask::Compare { items } = self { items.len() } else { 0 }
    }

    /// How many items the arrays and maps have that it carries.
    pub fn items(&self) -> usize {
        match self {
            Ask::Get { payload: value, .. } | Ask::Put { value, .. } | Ask::Revise { value: Some(value), .. } => {
                value.items()
            }
            Ask::Arrive { record, .. } => {
                record.value.items() + record.active.as_ref().map_or(0, |active| active.state.items())
            }
            _ => 0,
        }
    }
}

/// Whether a put depends on the key's being there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Condition {
    Always,
    IfAbsent,
    IfPresent,
}

/// On whose behalf a node asks. The node itself is proven by the transport; what stands here is its word.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Asker {
    /// The user of its gateway, if that has users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Arc<str>>,
    /// The address of the gateway's client; empty for an object.
    #[serde(default)]
    pub client: Arc<str>,
    /// How many objects stand behind the request.
    #[serde(default, skip_serializing_if = "is_nobody")]
    pub caused: u8,
}

/// The version of a change and where it comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    pub version: u64,
    pub provenance: Provenance,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<UnixMillis>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Arc<str>>,
}

impl Stamp {
    /// The record that a put with this stamp makes, without its value.
    pub fn into_record(self) -> Record {
        let Stamp { version, provenance, expires, owner } = self;
        Record { expires, owner, provenance: Some(Box::new(provenance)), ..Record::plain(version, Value::Nil) }
    }
}

/// One object in a comparison.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Item {
    pub key: Key,
    pub version: u64,
    /// The first eight bytes of the SHA-256 of value and state, if the object has a script; 0 otherwise.
    #[serde(default)]
    pub state: u64,
}

/// A place in the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place(#[serde(with = "serde_bytes")] pub [u8; 32]);

/// What a node answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// A plain value, or a copy.
    Record(Arc<Record>),
    /// What a handler returned or refused, and the stamp of the put that brought the script: it proves that a script
    /// answers under this key. What the script says nobody can prove.
    Handled { stamp: Stamp, outcome: Result<Value, Refusal> },
    /// What is no object: see [`Ask::Log`].
    Value(Value),
    /// There is nothing.
    Absent,
    /// The change took effect durably; what was there before, if it may be seen.
    Stored { former: Option<Arc<Record>> },
    /// The change did not take effect; what is there.
    Kept { present: Option<Arc<Record>> },
    /// The object is gone.
    Removed { former: Option<Arc<Record>> },
    /// What became of a copy.
    Arrived(Arrived),
    /// Of the items compared: which this node wants, which it has a newer version of, and which it neither holds nor
    /// wants. It holds the rest.
    Compared {
        #[serde(deserialize_with = "few::<_, _, COMPARED>")]
        wanted: Vec<Key>,
        #[serde(deserialize_with = "few::<_, _, COMPARED>")]
        newer: Vec<Key>,
        #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "few::<_, _, COMPARED>")]
        declined: Vec<Key>,
    },
    /// The source of a script, if the node has it.
    Source(Option<Arc<str>>),
    /// Nodes, nearest first.
    Nodes(#[serde(deserialize_with = "few::<_, _, NODES>")] Vec<Node>),
    /// The call was refused: by the object, by a rule, or because the node cannot do it now.
    Refused(Refusal),
}

/// A node as another one knows it: a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Node {
    /// Its peer id.
    #[serde(deserialize_with = "short::<_, PEER_ID_BYTES>")]
    pub id: Arc<str>,
    pub ip: IpAddr,
    pub port: u16,
    /// Whether the port is of UDP, for QUIC.
    #[serde(default)]
    pub quic: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_nobody(number: &u8) -> bool {
    *number == 0
}
