//! Asking peers and this node's own objects on behalf of one round, at a pace that both can bear.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use comet_kernel::contract::aso::{Call, Op, Refusal, Reply};
use comet_kernel::directory::Asked;
use comet_kernel::{Caller, Key, Neighbour, NodeId, Record, Request};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::messages::{Send, SendError, Serve};
use crate::spec::Env;
use crate::wire::{Answer, Ask};

/// How often a peer is asked the same that has too much to do.
const TRIES: u32 = 5;
/// So many questions in vain, and a round leaves the peer alone. One may be about an object that ails.
const IN_VAIN: u32 = 3;
/// KiB of copies under way at once to and from one peer; a larger one goes alone. Slow lines carry that much in the time
/// that a request may take.
const ROOM_KIB: u32 = 1 << 10;
/// The wait after a peer's first refusal; after each it doubles.
const PAUSE: Duration = Duration::from_millis(50);
/// What the swarm has to say that a request has timed out, after its deadline.
const GRACE: Duration = Duration::from_secs(1);
/// How long this node's own objects may take for an answer.
const OWN_DEADLINE: Duration = Duration::from_secs(10);

/// Whom a round asks.
#[derive(Debug)]
pub(super) struct Peers {
    env: Env,
    node: Arc<Caller>,
    /// Questions that each peer was asked in vain.
    in_vain: RefCell<HashMap<NodeId, u32>>,
    rooms: RefCell<HashMap<NodeId, Arc<Semaphore>>>,
}

impl Peers {
    /// No peer has failed yet.
    pub fn new(env: &Env, own: &NodeId) -> Self {
        Peers {
            env: env.clone(),
            node: Arc::new(Caller::node(own)),
            in_vain: RefCell::default(),
            rooms: RefCell::default(),
        }
    }

    /// Whether the peer has failed in this round.
    pub fn has_failed(&self, peer: &Neighbour) -> bool {
        self.in_vain.borrow().get(&peer.id).is_some_and(|count| *count >= IN_VAIN)
    }

    /// How many have failed.
    pub fn failed(&self) -> usize {
        self.in_vain.borrow().values().filter(|count| **count >= IN_VAIN).count()
    }

    /// Leaves a peer alone for the rest of the round.
    pub fn give_up(&self, peer: &Neighbour, why: &dyn fmt::Display) {
        tracing::debug!(peer = %peer.id, %why, "a peer is left out of this round");
        self.in_vain.borrow_mut().insert(peer.id.clone(), IN_VAIN);
    }

    /// Waits until so many KiB of copies may be under way to or from a peer as well.
    pub async fn room(&self, peer: &Neighbour, kib: u32) -> OwnedSemaphorePermit {
        let new = || Arc::new(Semaphore::new(ROOM_KIB as usize));
        let room = self.rooms.borrow_mut().entry(peer.id.clone()).or_insert_with(new).clone();
        room.acquire_many_owned(kib.min(ROOM_KIB)).await.expect("the semaphore is never closed")
    }

    /// Asks a peer over its bulk lane. A peer that has too much to do is asked again, after a wait. None if there is no
    /// answer.
    pub async fn ask(&self, peer: &Neighbour, ask: Ask) -> Option<Answer> {
        for tried in 0..TRIES {
            if self.has_failed(peer) {
                return None;
            }
            match self.ask_once(peer, ask.clone()).await {
                Ok(Answer::Refused(Refusal::Unavailable(_) | Refusal::Limited { .. })) | Err(SendError::Busy) => {
                    self.env.kernel.clock.sleep(PAUSE * (1 << tried)).await;
                }
                Ok(answer) => return Some(answer),
                Err(SendError::TimedOut) => break,
                Err(error) => {
                    self.give_up(peer, &error);
                    return None;
                }
            }
        }
        *self.in_vain.borrow_mut().entry(peer.id.clone()).or_default() += 1;
        None
    }

    async fn ask_once(&self, peer: &Neighbour, ask: Ask) -> Result<Answer, SendError> {
        let clock = &self.env.kernel.clock;
        let patience = Duration::from_millis(self.env.settings.network.request_timeout_ms);
        let send = Send { to: peer.id.clone(), ask, deadline: clock.now() + patience, bulk: true };
        match clock.timeout(patience + GRACE, self.env.send.call(send)).await {
            Some(Ok(answer)) => answer,
            // The swarm is full or being restarted.
            Some(Err(_)) => Err(SendError::Busy),
            None => Err(SendError::TimedOut),
        }
    }

    /// This node's own copy as it is now, with what handlers have changed and storage does not have yet.
    pub async fn own_copy(&self, key: &Key) -> Option<Arc<Record>> {
        match self.ask_own(key, Op::Copy).await {
            Some(Reply::Plain(record)) => Some(record),
            _ => None,
        }
    }

    /// Drops this node's own copy, if it is still of this version. Whether it was.
    pub async fn drop_own(&self, key: &Key, version: u64) -> bool {
        let reply = self.ask_own(key, Op::Drop { version }).await;
        matches!(reply, Some(Reply::Value(comet_kernel::Value::Bool(true))))
    }

    async fn ask_own(&self, key: &Key, op: Op) -> Option<Reply> {
        let clock = &self.env.kernel.clock;
        let now = clock.now();
        let request = Request::until(now + OWN_DEADLINE);
        let call = Call { key: key.clone(), request, caller: self.node.clone(), op, stamp: None };
        let answer = match self.env.aso.directory.ask(call, now, false) {
            Asked::Done(answer) => answer.ok(),
            Asked::Later(pending) => clock.timeout(OWN_DEADLINE, pending).await?.ok()?.ok(),
        };
        if answer.is_none() {
            tracing::debug!(%key, "an object of this node does not answer the replicator");
        }
        answer
    }

    /// Hands a copy that was fetched from a peer to the router, as if the peer had sent it: so it is checked in one place.
    /// Whether this node has that version then, or a newer one.
    pub async fn take(&self, peer: &Neighbour, key: &Key, record: Arc<Record>) -> bool {
        let clock = &self.env.kernel.clock;
        let from = Caller { id: peer.id.as_str().into(), ip: peer.ip, port: peer.port, client: "".into() };
        let ask = Ask::Arrive { key: key.clone(), record, caused: 0 };
        let serve = Serve { from: Arc::new(from), ask, deadline: clock.now() + OWN_DEADLINE };
        let answer = clock.timeout(OWN_DEADLINE, self.env.serve.call(serve)).await;
        matches!(answer, Some(Ok(Answer::Arrived(_))))
    }
}
