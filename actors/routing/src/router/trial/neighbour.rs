//! A node that a test holds in its hands: it joins a network of real nodes and hands copies over when it is told to.
//!
//! It acknowledges what others put on it, keeps nothing of it, and says that it has nothing: what the real nodes answer is
//! their own.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use comet_kernel::contract::aso::{Arrived, Refusal};
use comet_kernel::{Clock, Key, NodeId, Record};

use super::cluster::{JOINING, Node, wait};
use super::liar::{Lie, newer};
use crate::messages::Send;
use crate::router::sign::{Signer, Terms};
use crate::wire::{Answer, Ask};

/// How long a node has to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The node.
#[derive(Debug)]
pub struct Neighbour {
    node: Node,
    signer: Signer,
    clock: Clock,
}

impl Neighbour {
    /// Joins the network of the node at this address, which ends in a peer id, over TCP on the loopback interface. Must be
    /// called on a thread of actors, which has to run as long as the neighbour is there.
    ///
    /// # Panics
    ///
    /// If it does not get in.
    pub async fn join(through: &str) -> Self {
        let (clock, secret) = (Clock::machine(), rand::random());
        let node = Node::start(secret, "/ip4/127.0.0.1/tcp/0", &[through.to_owned()], Some(Lie::Absence), &clock).await;
        wait(&clock, clock.now() + JOINING, || node.env.joined.load(Ordering::Relaxed)).await;
        Neighbour { node, signer: Signer::new(&secret), clock }
    }

    /// What a node stores under a key.
    pub async fn copy(&self, of: &NodeId, key: &Key) -> Option<Record> {
        match self.ask(of, Ask::Copy { key: key.clone() }).await {
            Ok(Answer::Record(record)) => Some(Arc::unwrap_or_clone(record)),
            _ => None,
        }
    }

    /// The same object as if it had been put anew, through this node.
    pub fn renewed(&self, key: &Key, record: &Record) -> Record {
        let record = Record { version: newer(record), owner: None, ..record.clone() };
        let script = record.active.as_ref().map(|active| active.script.hash);
        let provenance = self.signer.sign(key, &record, Terms { script, ..Terms::default() });
        Record { provenance: Some(Box::new(provenance)), ..record }
    }

    /// Hands a copy over, and says what has become of it.
    ///
    /// # Errors
    ///
    /// Why the node has not taken it, or did not answer.
    pub async fn hand_over(&self, to: &NodeId, key: &Key, record: Record) -> Result<Arrived, Refusal> {
        match self.ask(to, Ask::Arrive { key: key.clone(), record: Arc::new(record), caused: 0 }).await {
            Ok(Answer::Arrived(arrived)) => Ok(arrived),
            Ok(Answer::Refused(refusal)) => Err(refusal),
            Ok(other) => Err(Refusal::Unavailable(format!("the node answered {other:?}"))),
            Err(error) => Err(Refusal::Unavailable(error)),
        }
    }

    /// Leaves the network.
    pub async fn leave(self) {
        self.node.tree.stop().await;
    }

    async fn ask(&self, to: &NodeId, ask: Ask) -> Result<Answer, String> {
        let deadline = self.clock.now() + PATIENCE;
        let sent = self.node.env.send.call(Send { to: to.clone(), ask, deadline, bulk: true }).await;
        sent.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }
}
