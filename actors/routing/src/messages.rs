//! What the actors of routing say to each other. What others say to them is in the contract.

use std::sync::Arc;

use comet_kernel::{Caller, Key, Moment, Neighbour, NodeId, Record};

use crate::wire::{Answer, Ask, Node};

/// Sends a request to a peer, over the lane to it, which is opened if there is none. Served by the swarm.
#[derive(Clone, Debug)]
pub(crate) struct Send {
    /// Whom.
    pub to: NodeId,
    /// What.
    pub ask: Ask,
    /// When nobody waits for the answer any more. The configured time-out of a request holds as well.
    pub deadline: Moment,
    /// Replication and other bulk has a lane of its own, so that nothing small waits behind it.
    pub bulk: bool,
}

/// Why a request has no answer. Whether it took effect is unknown, unless the peer was never reached or was busy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SendError {
    /// The peer could not be reached: nothing happened.
    #[error("the node cannot be reached: {0}")]
    Unreachable(String),
    /// As much is under way to this peer as may be: nothing happened.
    #[error("too much is under way to the node")]
    Busy,
    /// The request is longer than a frame: nothing happened.
    #[error("the request has {0} bytes, more than the nodes say to each other at once")]
    TooBig(usize),
    /// No answer came in time.
    #[error("the node did not answer in time")]
    TimedOut,
    /// The lane ended before the answer.
    #[error("the connection ended before the answer")]
    Closed,
}

/// Finds the nodes nearest to a key by asking the network, this one among them if it is one. Served by the swarm.
#[derive(Clone, Debug)]
pub(crate) struct Find {
    pub key: Key,
    pub n: usize,
}

/// A peer named these nodes. It is a claim: they are dialled, and known once they have proven who they are. Served by the
/// swarm.
#[derive(Clone, Debug)]
pub(crate) struct Hear {
    pub nodes: Vec<Node>,
}

/// A request of a peer. Served by the router; lanes send it.
#[derive(Clone, Debug)]
pub(crate) struct Serve {
    /// The peer: its id is proven by the transport.
    pub from: Arc<Caller>,
    pub ask: Ask,
    pub deadline: Moment,
}

/// The nodes around this one have changed. Served by the replicator; the swarm tells it.
#[derive(Clone, Debug)]
pub(crate) struct Changed {
    /// Nodes that are known since, or were silent and can be reached again.
    pub joined: Vec<Arc<Neighbour>>,
    /// Nodes that were known before.
    pub left: Vec<Arc<Neighbour>>,
    /// Whether bootstrap is over: the table is what it will be.
    pub joined_network: bool,
}

/// Fewer nodes than should may hold an object. Served by the replicator; the router tells it.
#[derive(Clone, Debug)]
pub(crate) struct Mend {
    pub key: Key,
}

/// Answers a comparison of a peer: see [`Ask::Compare`]. Served by the replicator; the router passes it on.
#[derive(Clone, Debug)]
pub(crate) struct Compare {
    pub from: Arc<Caller>,
    pub items: Vec<crate::wire::Item>,
}

/// Signs an object that was stored while this node was alone. Answers the record as it is then; none if it stays as it is,
/// or gave way to what the network has. Served by the router; the replicator tells it.
#[derive(Clone, Debug)]
pub(crate) struct Adopt {
    pub key: Key,
}

comet_kernel::messages! {
    "routing":
    Send -> Result<Answer, SendError>;
    Find -> Vec<Arc<Neighbour>>;
    Hear -> ();
    Serve -> Answer;
    Changed -> ();
    Mend -> ();
    Compare -> Answer;
    Adopt -> Option<Arc<Record>>;
}
