//! The way to every object, wherever it is: on this node alone, or on the nodes of a network nearest to its key.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::clock::{Moment, UnixMillis};
use crate::contract::aso::{Call, Op, Refusal};
use crate::contract::routing::Route;
use crate::directory::{Asked, Directory};
use crate::handle::{Handle, Reason};
use crate::identity::Caller;
use crate::key::Key;
use crate::neighbours::Neighbours;
use crate::record::Record;
use crate::reply::pair;

/// The way to every object. Copies share it.
#[derive(Clone, Debug)]
pub struct Objects {
    here: Directory,
    network: Option<Network>,
}

/// What a node of a network needs to find an object.
#[derive(Clone, Debug)]
pub struct Network {
    /// The router, which asks other nodes.
    pub route: Handle<Route>,
    /// Who is near.
    pub neighbours: Neighbours,
    /// How many nodes hold an object.
    pub replication: usize,
    /// Whether what this node stores is known to be up to date. Before that, its own copies are not enough.
    pub settled: Settled,
}

/// Whether this node has compared what it stores with its neighbours since it joined them, and since it last missed a
/// change. Copies share it.
#[derive(Clone, Debug, Default)]
pub struct Settled(Arc<Standing>);

#[derive(Debug, Default)]
struct Standing {
    settled: AtomicBool,
    missed: AtomicU64,
}

impl Settled {
    /// Whether it has.
    pub fn is_set(&self) -> bool {
        self.0.settled.load(Ordering::Acquire)
    }

    /// Says whether it has. For the replicator.
    pub fn set(&self, settled: bool) {
        self.0.settled.store(settled, Ordering::Release);
    }

    /// This node could not store a change that others may have: what it has is behind.
    pub fn miss(&self) {
        self.0.missed.fetch_add(1, Ordering::AcqRel);
        self.set(false);
    }

    /// How many changes it has missed.
    pub fn missed(&self) -> u64 {
        self.0.missed.load(Ordering::Acquire)
    }

    /// Says that it has, unless it has missed a change since it had missed so many; whether that holds.
    pub fn set_unless_missed(&self, since: u64) -> bool {
        self.set(true);
        if self.missed() != since {
            self.set(false);
        }
        self.is_set()
    }
}

impl Objects {
    /// The objects of one node.
    pub fn here(directory: Directory) -> Self {
        Objects { here: directory, network: None }
    }

    /// The objects of a network that this node is part of.
    pub fn network(directory: Directory, network: Network) -> Self {
        Objects { here: directory, network: Some(network) }
    }

    /// The plain value under a key if it is in this node's memory, settled, and this node's copy is enough. Touches no
    /// mailbox.
    pub fn plain(&self, key: &[u8], now: Moment, unix: UnixMillis) -> Option<Arc<Record>> {
        let record = self.here.plain(key, now, unix)?;
        match &self.network {
            None => Some(record),
            Some(network) => network.is_served_here(&crate::key::place(key)).then_some(record),
        }
    }

    /// Asks the object, on this node if its copy is enough, and through the router otherwise. `ordered` calls come behind
    /// whatever the same sender asked of the key before.
    pub fn ask(&self, call: Call, now: Moment, ordered: bool) -> Asked {
        match &self.network {
            None => self.here.ask(call, now, ordered),
            Some(network) if !ordered && network.answers_here(&self.here, &call) => {
                self.here.ask(network.in_its_name(call), now, false)
            }
            Some(network) => network.ask(Route { call, answers: 1 }),
        }
    }

    /// Asks several of the nodes that store the object, for `answers` of their answers. A node alone has one.
    pub fn ask_several(&self, call: Call, answers: u8, now: Moment) -> Asked {
        match &self.network {
            None => self.here.ask(call, now, true),
            Some(network) => network.ask(Route { call, answers }),
        }
    }

    /// Whether this node is part of a network.
    pub fn is_networked(&self) -> bool {
        self.network.is_some()
    }

    /// What is in the memory of this node.
    pub fn directory(&self) -> &Directory {
        &self.here
    }
}

impl Network {
    fn is_served_here(&self, place: &[u8; 32]) -> bool {
        self.settled.is_set() && self.neighbours.is_near(place, self.replication)
    }

    /// What is not in memory may still be on the disk: the router finds out.
    fn answers_here(&self, here: &Directory, call: &Call) -> bool {
        let reads = matches!(call.op, Op::Get { .. } | Op::Peek);
        reads && here.holds(&call.key) && self.is_served_here(&call.key.place())
    }

    /// The call as every other node would see it: a user of this node is one of the node's users.
    fn in_its_name(&self, mut call: Call) -> Call {
        if let Some(own) = self.neighbours.own()
            && *call.caller.id != *own.id.as_str()
        {
            let id = format!("{}/{}", own.id, call.caller.id).into();
            call.caller = Arc::new(Caller { id, ..Caller::clone(&call.caller) });
        }
        call
    }

    fn ask(&self, route: Route) -> Asked {
        let (responder, pending) = pair(route.call.request.id);
        match self.route.forward(route, responder) {
            Ok(()) => Asked::Later(pending),
            Err((refused, _)) if refused.reason == Reason::Full => {
                refuse("too much is waiting for the router; try again")
            }
            Err(_) => refuse("the router is being restarted; try again"),
        }
    }
}

fn refuse(why: &str) -> Asked {
    Asked::Done(Err(Refusal::Unavailable(why.to_owned())))
}

impl Key {
    /// Whether the key is `other` or one of its child keys.
    pub fn belongs_to(&self, other: &Key) -> bool {
        (0..=crate::limits::CHILD_KEYS).any(|n| other.child(n) == *self)
    }
}
