//! A look-up hop by hop, for the operator: who was asked, what they knew, how long it took, and who holds what.
//!
//! Three nodes at a time are asked for nodes nearer to the key, nearest first, until the nearest that are known have all
//! answered: as Kademlia looks up, but with every step told. The router's own calls do not come this way.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use comet_kernel::contract::routing::{Holder, Hop, Path};
use comet_kernel::{Caller, Key, Moment, NodeId, Request};
use futures::StreamExt;
use futures::future::{LocalBoxFuture, join_all};
use futures::stream::FuturesUnordered;

use super::net::{Behalf, Failure, Net, Replica};
use super::sign;
use crate::messages::Hear;
use crate::wire::{Answer, Ask, Asker, Node, Place};

/// Nodes that are asked at once.
const PARALLEL: usize = 3;
/// Nodes that are asked at most: a look-up takes one for each doubling of the network, and a few.
const HOPS: usize = 64;
/// Nodes that are remembered at most: a liar may name 20 that do not exist with each answer.
const KNOWN: usize = 512;
/// How long one node may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// A node that the look-up knows, by its distance to the key.
#[derive(Clone)]
struct Candidate {
    id: NodeId,
    address: String,
    place: [u8; 32],
    distance: u32,
    state: State,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Known,
    Asked,
    Answered,
    Failed,
}

struct LookUp {
    net: Rc<Net>,
    place: [u8; 32],
    wanted: usize,
    known: BTreeMap<[u8; 32], Candidate>,
    hops: Vec<Hop>,
}

type Asked = (([u8; 32], usize), Moment, Result<Answer, Failure>);

/// Looks a key up.
pub(super) async fn look_up(net: Rc<Net>, key: Key) -> Path {
    let began = net.clock().now();
    let place = key.place();
    let wanted = net.replication();
    let mut look_up = LookUp { net: net.clone(), place, wanted, known: BTreeMap::new(), hops: Vec::new() };
    for node in net.env.service.neighbours.nearest(&place, wanted) {
        let address = format!("{}:{}", node.ip, node.port);
        look_up.learn(node.id.clone(), address, 1);
    }
    look_up.run().await;
    net.env.tally.look_ups.add(1);
    net.env.tally.look_up_requests.add(look_up.hops.len() as u64);
    let holders = look_up.holders(&key).await;
    Path { hops: look_up.hops, holders, took_us: net.clock().now().since(began).as_micros() as u64 }
}

impl LookUp {
    async fn run(&mut self) {
        let mut running: FuturesUnordered<LocalBoxFuture<'static, Asked>> = FuturesUnordered::new();
        loop {
            while running.len() < PARALLEL && self.hops.len() < HOPS {
                let Some(question) = self.ask_next() else { break };
                running.push(question);
            }
            let Some(((at, hop), began, answer)) = running.next().await else { return };
            self.take(at, hop, began, answer);
        }
    }

    /// The nearest node that was not asked, if it is among the nearest that are wanted.
    fn ask_next(&mut self) -> Option<LocalBoxFuture<'static, Asked>> {
        let near = self.known.values_mut().filter(|node| node.state != State::Failed).take(self.wanted);
        let node = near.into_iter().find(|node| node.state == State::Known)?;
        node.state = State::Asked;
        let (id, hop, at) = (node.id.clone(), self.hops.len(), distance(&node.place, &self.place));
        let shared_bits = shared_bits(&node.place, &self.place);
        self.hops.push(Hop { id: id.to_string(), distance: node.distance, shared_bits, took_us: None, learnt: 0 });
        let (net, place) = (self.net.clone(), Place(self.place));
        let n = self.wanted.min(usize::from(u8::MAX)) as u8;
        Some(Box::pin(async move {
            let began = net.clock().now();
            let answer = net.send(&id, Ask::Nearest { place, n }, began + PATIENCE).await;
            ((at, hop), began, answer)
        }))
    }

    fn take(&mut self, at: [u8; 32], hop: usize, began: Moment, answer: Result<Answer, Failure>) {
        let took = self.net.clock().now().since(began);
        let Ok(Answer::Nodes(nodes)) = answer else {
            self.known.entry(at).and_modify(|node| node.state = State::Failed);
            return;
        };
        self.known.entry(at).and_modify(|node| node.state = State::Answered);
        let distance = self.hops[hop].distance + 1;
        let before = self.known.len();
        let nodes: Vec<_> = nodes.into_iter().take(self.wanted).collect();
        // The swarm has to know where they are before they can be asked.
        let _is_restarted = self.net.env.hear.tell(Hear { nodes: nodes.clone() });
        for Node { id, ip, port, .. } in nodes {
            self.learn(NodeId::from_text(&id), format!("{ip}:{port}"), distance);
        }
        self.hops[hop].took_us = Some(took.as_micros() as u64);
        self.hops[hop].learnt = (self.known.len() - before) as u32;
    }

    /// What is no peer id, and what there is no room for, is left out.
    fn learn(&mut self, id: NodeId, address: String, distance: u32) {
        let Some(place) = sign::place(id.as_str()) else { return };
        if self.known.len() >= KNOWN {
            return;
        }
        // This node does not ask itself for what it knows.
        let state = if id == *self.net.signer.node() { State::Answered } else { State::Known };
        let at = self::distance(&place, &self.place);
        self.known.entry(at).or_insert(Candidate { id, address, place, distance, state });
    }

    /// What the nearest nodes hold.
    async fn holders(&self, key: &Key) -> Vec<Holder> {
        let near = self.known.values().filter(|node| node.state == State::Answered).take(self.wanted);
        join_all(near.map(|node| self.holder(key, node))).await
    }

    async fn holder(&self, key: &Key, node: &Candidate) -> Holder {
        let mut holder = Holder {
            id: node.id.to_string(),
            address: node.address.clone(),
            shared_bits: shared_bits(&node.place, &self.place),
            ..Holder::default()
        };
        let caller = Arc::new(Caller::node(self.net.signer.node()));
        let request = Request::until(self.net.clock().now() + PATIENCE);
        let behalf = Behalf { caller, asker: Asker::default(), request };
        let replica: Replica = self.net.replica(&node.id);
        let record = match self.net.ask(&replica, Ask::Copy { key: key.clone() }, &behalf).await {
            Ok(Answer::Record(record)) => Some(record),
            Ok(Answer::Absent) => None,
            Ok(Answer::Refused(refusal)) => return Holder { error: Some(refusal.to_string()), ..holder },
            Ok(_) => return Holder { error: Some(Failure::Senseless.to_string()), ..holder },
            Err(failure) => return Holder { error: Some(failure.to_string()), ..holder },
        };
        if let Some(record) = record {
            match self.net.check(key, &record, &replica) {
                Ok(()) => holder.version = Some(record.version),
                Err(forgery) => holder.error = Some(Failure::Forged(forgery).to_string()),
            }
            holder.removed = record.removed().is_some();
        }
        holder
    }
}

fn distance(a: &[u8; 32], b: &[u8; 32]) -> [u8; 32] {
    std::array::from_fn(|at| a[at] ^ b[at])
}

fn shared_bits(a: &[u8; 32], b: &[u8; 32]) -> u32 {
    let distance = distance(a, b);
    let whole = distance.iter().take_while(|byte| **byte == 0).count();
    whole as u32 * 8 + distance.get(whole).map_or(0, |byte| byte.leading_zeros())
}
