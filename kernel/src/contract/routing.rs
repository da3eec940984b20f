//! The contract of routing: how a call finds the nodes that store its object, and what the network looks like from here.
//!
//! ```text
//!     gateway, aso (for its objects), admin
//!  -> routing: swarm, router, replicator   (this contract)
//!     aso, library, storage, on this node; peers, over libp2p
//! ```
//!
//! A call that comes from a peer is handed to the directory with that peer as its caller; a call that this node carries to
//! peers is signed by it (see [`crate::provenance`]). Calls on one key that pass through one node's router take effect
//! in the order in which they came.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::contract::aso::{Call, Refusal, Reply};
use crate::handle::Handle;
use crate::identity::{NodeId, ScriptHash};
use crate::key::Key;
use crate::message::Message;
use crate::request::Request;
use crate::value::Value;

/// Carries a call to the nodes that store its object, this one included if it is one.
#[derive(Clone, Debug)]
pub struct Route {
    /// The call.
    pub call: Call,
    /// How many nodes' answers are wanted, from 1. With more than one the reply to a get is [`Reply::Several`].
    pub answers: u8,
}

impl Message for Route {
    type Reply = Result<Reply, Refusal>;
    const NAME: &'static str = "routing::Route";

    fn request(&self) -> Option<&Request> {
        Some(&self.call.request)
    }

    fn label(&self) -> &'static str {
        self.call.op.name()
    }
}

/// What an object asks of the network: [`Action`] on behalf of its script.
#[derive(Clone, Debug)]
pub struct Act {
    /// The object.
    pub object: Key,
    /// Id, deadline, and how many objects stand behind the event that the action comes from.
    pub request: Request,
    /// The script that asks; its publisher, if it is signed by one that this node trusts.
    pub publisher: Option<String>,
    /// Nodes that have called the object lately: it may reach those, besides its neighbours.
    pub callers: Vec<NodeId>,
    /// What it asks for.
    pub action: Action,
}

/// What an object asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Gets a key of nodes. Answers one value for each node that has one, nearest first.
    Get {
        /// The key: the object's own or one of its child keys, unless the script is signed.
        key: Key,
        /// Whom to ask.
        nodes: Targets,
    },
    /// Puts a value on nodes. Answers how many have stored it.
    Put {
        /// The key, with the same rule.
        key: Key,
        /// What to put.
        data: Data,
        /// Where.
        nodes: Targets,
    },
}

/// What an object puts.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// A plain value.
    Value(Value),
    /// The object itself: value, state and script as they are.
    Itself,
}

/// Which nodes an object asks.
#[derive(Clone, Debug, PartialEq)]
pub enum Targets {
    /// That many nearest to the key, this node not among them.
    Nearest(u8),
    /// These.
    These(Vec<NodeId>),
}

impl Message for Act {
    type Reply = Result<Vec<Value>, Refusal>;
    const NAME: &'static str = "routing::Act";

    fn request(&self) -> Option<&Request> {
        Some(&self.request)
    }
}

/// Answers every peer that this node is connected with.
#[derive(Clone, Debug)]
pub struct ListPeers;

/// A peer that this node is connected with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Peer {
    /// Its peer id.
    pub id: String,
    /// The address of the connection.
    pub address: String,
    /// Whether this node dialled.
    pub outgoing: bool,
    /// Seconds since the connection was made.
    pub connected_seconds: u64,
    /// Round trip of the last ping, microseconds.
    pub ping_us: Option<u64>,
    /// What the peer says it runs.
    pub agent: Option<String>,
    /// Requests sent to the peer, answered by it, and failed.
    pub sent: u64,
    /// See `sent`.
    pub answered: u64,
    /// See `sent`.
    pub failed: u64,
    /// Requests that came from the peer.
    pub received: u64,
    /// Requests of the peer that were refused for its rate.
    pub limited: u64,
}

/// Answers the routing table.
#[derive(Clone, Debug)]
pub struct ListBuckets;

/// One bucket of the routing table: the peers that share so many bits with this node's place, and not the next.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bucket {
    /// How many bits.
    pub shared_bits: u32,
    /// The peers in it.
    pub peers: Vec<BucketPeer>,
}

/// A peer in a bucket.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BucketPeer {
    /// Its peer id.
    pub id: String,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// Whether this node is connected with it now.
    pub connected: bool,
}

/// Looks a key up, hop by hop, and asks the nodes nearest to it what they hold.
#[derive(Clone, Debug)]
pub struct LookUp {
    /// Which key.
    pub key: Key,
}

/// The way of a look-up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Path {
    /// The nodes that were asked, in the order of asking.
    pub hops: Vec<Hop>,
    /// The nodes nearest to the key, nearest first, and what they hold.
    pub holders: Vec<Holder>,
    /// Microseconds in all.
    pub took_us: u64,
}

/// A node that was asked for nodes nearer to a key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Hop {
    /// Its peer id.
    pub id: String,
    /// How many hops away from this node it is: 1 if this node knew it.
    pub distance: u32,
    /// Bits that its place shares with the key's.
    pub shared_bits: u32,
    /// Microseconds until it answered; none if it did not.
    pub took_us: Option<u64>,
    /// How many nodes it named that were not known by then.
    pub learnt: u32,
}

/// One of the nodes nearest to a key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Holder {
    /// Its peer id.
    pub id: String,
    /// Its address.
    pub address: String,
    /// Bits that its place shares with the key's.
    pub shared_bits: u32,
    /// The version that it holds; none if it holds none.
    pub version: Option<u64>,
    /// Whether that is a tombstone.
    pub removed: bool,
    /// Why it did not answer, if it did not.
    pub error: Option<String>,
}

/// Answers how the node stands in the network.
#[derive(Clone, Debug)]
pub struct ReadNetwork;

/// How the node stands in the network.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NetworkStatus {
    /// Its peer id.
    pub id: String,
    /// The addresses that it listens on, with its peer id.
    pub listening: Vec<String>,
    /// Connected peers.
    pub peers: usize,
    /// Nodes that are known, this one included.
    pub known: usize,
    /// Whether it has joined: bootstrap is over, and it has compared its objects with its neighbours.
    pub settled: bool,
    /// Look-ups that asked the network, since the start.
    pub look_ups: u64,
    /// Requests that those took, together.
    pub look_up_requests: u64,
    /// Copies sent to other nodes since the start.
    pub copies_sent: u64,
    /// Copies taken from other nodes since the start.
    pub copies_taken: u64,
    /// Surplus copies dropped since the start.
    pub copies_dropped: u64,
    /// What peers sent that was refused: forged, replayed, malformed, over a quota.
    pub refused: u64,
}

/// Has the replicator compare what this node stores with its neighbours now. Answers when that is done.
#[derive(Clone, Debug)]
pub struct Replicate;

/// Has the replicator hand this node's objects over to others before it stops. Answers how many were handed over.
#[derive(Clone, Debug)]
pub struct Drain;

crate::messages! {
    "routing":
    ListPeers -> Vec<Peer>;
    ListBuckets -> Vec<Bucket>;
    LookUp -> Path;
    ReadNetwork -> NetworkStatus;
    Replicate -> ();
    Drain -> u64;
}

/// The way to the network.
#[derive(Clone, Debug)]
pub struct Service {
    /// See [`Route`].
    pub route: Handle<Route>,
    /// See [`Act`].
    pub act: Handle<Act>,
    /// See [`ListPeers`].
    pub list_peers: Handle<ListPeers>,
    /// See [`ListBuckets`].
    pub list_buckets: Handle<ListBuckets>,
    /// See [`LookUp`].
    pub look_up: Handle<LookUp>,
    /// See [`ReadNetwork`].
    pub read_network: Handle<ReadNetwork>,
    /// See [`Replicate`].
    pub replicate: Handle<Replicate>,
    /// See [`Drain`].
    pub drain: Handle<Drain>,
    /// Who is near, for whoever must not wait.
    pub neighbours: crate::neighbours::Neighbours,
    /// Whether this node's own copies are known to be up to date.
    pub settled: crate::objects::Settled,
}

impl Service {
    /// A way to nobody yet.
    pub fn vacant(clock: &Clock) -> Self {
        Service {
            route: Handle::vacant(clock),
            act: Handle::vacant(clock),
            list_peers: Handle::vacant(clock),
            list_buckets: Handle::vacant(clock),
            look_up: Handle::vacant(clock),
            read_network: Handle::vacant(clock),
            replicate: Handle::vacant(clock),
            drain: Handle::vacant(clock),
            neighbours: crate::neighbours::Neighbours::none(),
            settled: crate::objects::Settled::default(),
        }
    }
}

/// A script as it travels with a put: by its hash, with the name that the object follows where a node knows that name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TravellingScript {
    /// The source's hash.
    pub hash: ScriptHash,
    /// The name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<Arc<str>>,
}
