//! A swarm that carries requests within the process, as well or as badly as a test wants.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use comet_kernel::{Actor, Caller, Clock, Context, Handle, Handler, Neighbour, Neighbours, NodeId, Responder, Work};

use crate::messages::{Find, Hear, Send, SendError, Serve};
use crate::router::trial::{Shared, lock};
use crate::wire::{Answer, Ask};

/// How the network behaves towards a node.
#[derive(Clone)]
pub enum Behaviour {
    /// It cannot be reached.
    Dead,
    /// It takes requests and never answers.
    Hung,
    /// It answers so much later.
    Slow(Duration),
    /// It answers this.
    Lying(Arc<Lie>),
}

type Lie = dyn Fn(&Ask) -> Option<Answer> + std::marker::Send + Sync;

/// What lies between the nodes.
#[derive(Default)]
pub struct Wires {
    pub nodes: HashMap<NodeId, Handle<Serve>>,
    pub table: Vec<Arc<Neighbour>>,
    pub behaviours: HashMap<NodeId, Behaviour>,
    /// From whom, to whom, and what.
    pub sent: Vec<(NodeId, NodeId, &'static str)>,
    pub found: usize,
}

pub struct Swarm {
    id: NodeId,
    wires: Shared<Wires>,
    clock: Clock,
}

impl Swarm {
    pub fn new(id: &NodeId, wires: &Shared<Wires>, clock: &Clock) -> Self {
        Swarm { id: id.clone(), wires: wires.clone(), clock: clock.clone() }
    }
}

impl Actor for Swarm {}

impl Handler<Send> for Swarm {
    fn handle(&mut self, send: Send, responder: Responder<Result<Answer, SendError>>, context: &mut Context<Self>) {
        let Send { to, ask, deadline, .. } = send;
        let mut wires = lock(&self.wires);
        wires.sent.push((self.id.clone(), to.clone(), name(&ask)));
        let (behaviour, serve) = (wires.behaviours.get(&to).cloned(), wires.nodes.get(&to).cloned());
        drop(wires);
        let Some(serve) = serve else {
            return responder.answer(Err(SendError::Unreachable("nobody knows it".into())));
        };
        let clock = self.clock.clone();
        let from = Arc::new(Caller { port: 9, ..Caller::node(&self.id) });
        let left = deadline.since(clock.now()).min(Duration::from_secs(2));
        let exchange = async move {
            match behaviour {
                Some(Behaviour::Dead) => return Err(SendError::Unreachable("it is dead".into())),
                Some(Behaviour::Hung) => std::future::pending().await,
                Some(Behaviour::Slow(delay)) => clock.sleep(delay).await,
                Some(Behaviour::Lying(lie)) => {
                    if let Some(answer) = lie(&ask) {
                        return Ok(answer);
                    }
                }
                None => {}
            }
            serve.call(Serve { from, ask, deadline }).await.map_err(|_| SendError::Closed)
        };
        let clock = self.clock.clone();
        let limited = async move { clock.timeout(left, exchange).await.unwrap_or(Err(SendError::TimedOut)) };
        context.then(limited, |_, answer, _| responder.answer(answer));
    }
}

/// A look-up that is right: the nearest nodes that live.
impl Handler<Find> for Swarm {
    fn handle(&mut self, find: Find, responder: Responder<Vec<Arc<Neighbour>>>, _: &mut Context<Self>) {
        let mut wires = lock(&self.wires);
        wires.found += 1;
        let dead = |id| matches!(wires.behaviours.get(id), Some(Behaviour::Dead));
        let own = wires.table.iter().find(|node| node.id == self.id).unwrap();
        let all = Neighbours::none();
        all.publish(Neighbour::clone(own), wires.table.iter().filter(|node| !dead(&node.id)).cloned());
        responder.answer(all.nearest(&find.key.place(), find.n));
    }
}

/// Everyone is known.
impl Handler<Hear> for Swarm {
    fn handle(&mut self, _: Hear, responder: Responder<()>, _: &mut Context<Self>) {
        responder.answer(());
    }
}

fn name(ask: &Ask) -> &'static str {
    match ask {
        Ask::Get { .. } => "Get",
        Ask::Copy { .. } => "Copy",
        Ask::Put { .. } => "Put",
        Ask::Revise { .. } => "Revise",
        Ask::Remove { .. } => "Remove",
        Ask::Arrive { .. } => "Arrive",
        Ask::Compare { .. } => "Compare",
        Ask::Script { .. } => "Script",
        Ask::Log { .. } => "Log",
        Ask::Nearest { .. } => "Nearest",
    }
}
