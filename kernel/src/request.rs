//! What every request carries: an id, a deadline and, if somebody follows it, a trace.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::clock::Moment;

/// Tells requests apart within one run of the node. The answer repeats it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(u64);

impl RequestId {
    /// An id that no other request of this process has.
    pub fn fresh() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        RequestId(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// The envelope data of a request.
#[derive(Clone, Debug)]
pub struct Request {
    /// Repeated by the answer.
    pub id: RequestId,
    /// When the asker stops waiting; work past it is wasted.
    pub deadline: Moment,
    /// Collects the hops if somebody follows this request.
    pub trace: Option<Trace>,
    /// How many objects stand behind the request: 0 if a client or the operator caused it, 1 if an object did, 2 if a
    /// request that an object caused made another object ask.
    pub caused: u8,
}

impl Request {
    /// A request that nobody traces.
    pub fn until(deadline: Moment) -> Self {
        Request { id: RequestId::fresh(), deadline, trace: None, caused: 0 }
    }

    /// The same request, followed.
    pub fn traced(mut self, trace: Trace) -> Self {
        self.trace = Some(trace);
        self
    }

    /// The same request, with so many objects behind it.
    pub fn caused_by(mut self, objects: u8) -> Self {
        self.caused = objects;
        self
    }

    /// Notes a hop if somebody follows this request.
    pub fn hop(&self, actor: &str, message: &'static str) {
        if let Some(trace) = &self.trace {
            trace.hop(actor, message);
        }
    }
}

/// The path of one request through the actors.
#[derive(Clone, Debug, Default)]
pub struct Trace(Arc<Mutex<Vec<Hop>>>);

/// One stop on the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// The path of the actor in the supervision tree, without the number of a shard or connection.
    pub actor: String,
    /// The message it took in.
    pub message: &'static str,
}

impl Trace {
    /// Notes a hop. Of `node/aso/shard-3`, the number is left out.
    pub fn hop(&self, actor: &str, message: &'static str) {
        let unnumbered = actor.trim_end_matches(|letter: char| letter.is_ascii_digit());
        let actor = unnumbered.strip_suffix('-').unwrap_or(actor);
        let hop = Hop { actor: actor.to_owned(), message };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(hop);
    }

    /// The hops so far, in order.
    pub fn hops(&self) -> Vec<Hop> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
