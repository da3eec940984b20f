//! A race: nodes are asked in the order of their distance, a few at once, and the next ones whenever those are slow.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::LocalBoxFuture;
use futures::stream::FuturesUnordered;

use super::net::{Behalf, Failure, Net, Replica};
use crate::wire::{Answer, Ask};

/// How long the nodes that were asked first have before the next ones are asked too. A node in the same region answers in
/// a few milliseconds, one on the other side of the world in 150 to 300: what takes longer than this is worth a
/// second question, and a hung node costs a get no more than this.
pub(super) const HEDGE: Duration = Duration::from_millis(150);

/// One question to many nodes.
pub(super) struct Race {
    net: Rc<Net>,
    behalf: Rc<Behalf>,
    ask: Ask,
    /// Whom to ask next is last.
    line: Vec<(usize, Replica)>,
    running: FuturesUnordered<LocalBoxFuture<'static, Landed>>,
    /// How many are asked at once when those before them are slow.
    width: usize,
    /// Whether the next ones are asked when those before them are slow, and not only when they fail.
    hedges: bool,
    hedge: Option<Pin<Box<dyn Future<Output = ()> + std::marker::Send>>>,
}

/// What came back.
pub(super) struct Landed {
    /// How many nodes are nearer to the key.
    pub rank: usize,
    /// Who was asked.
    pub replica: Replica,
    pub answer: Result<Answer, Failure>,
    /// How long it took.
    pub took: Duration,
}

impl Race {
    pub(super) fn new(net: &Rc<Net>, behalf: &Rc<Behalf>, ask: Ask, replicas: Vec<Replica>, width: usize) -> Self {
        let mut line: Vec<_> = replicas.into_iter().enumerate().collect();
        line.reverse();
        let running = FuturesUnordered::new();
        Race { net: net.clone(), behalf: behalf.clone(), ask, line, running, width, hedges: true, hedge: None }
    }

    /// The same for nodes of which so many others are nearer to the key.
    pub(super) fn behind(mut self, nearer: usize) -> Self {
        self.line.iter_mut().for_each(|(rank, _)| *rank += nearer);
        self
    }

    /// Has this node's own copy asked before all others.
    pub(super) fn here_first(&mut self) {
        if let Some(at) = self.line.iter().position(|(_, replica)| *replica == Replica::Here) {
            let here = self.line.remove(at);
            self.line.push(here);
        }
    }

    /// Has the next ones asked only when those before them fail.
    pub(super) fn wait_for_each(&mut self) {
        self.hedges = false;
    }

    /// Asks so many more.
    pub(super) fn start(&mut self, number: usize) {
        for _ in 0..number {
            let Some((rank, replica)) = self.line.pop() else { break };
            let (net, behalf, ask) = (self.net.clone(), self.behalf.clone(), self.ask.clone());
            self.running.push(Box::pin(async move {
                let began = net.clock().now();
                let answer = net.ask(&replica, ask, &behalf).await;
                let took = net.clock().now().since(began);
                Landed { rank, replica, answer, took }
            }));
        }
        self.hedge = None;
    }

    /// The next answer; none if everyone has answered. Asks more nodes by itself if it takes long.
    pub(super) async fn next(&mut self) -> Option<Landed> {
        loop {
            if self.running.is_empty() {
                self.start(1);
            }
            if self.line.is_empty() || !self.hedges {
                return self.running.next().await;
            }
            let clock = self.net.clock();
            let hedge = self.hedge.get_or_insert_with(|| clock.sleep(HEDGE));
            tokio::select! {
                biased;
                landed = self.running.next() => return landed,
                () = hedge => self.start(self.width),
            }
        }
    }

    /// The next answer of those that are asked already, if one comes until then.
    pub(super) async fn next_until(&mut self, end: impl Future<Output = ()>) -> Option<Landed> {
        tokio::select! {
            biased;
            landed = self.running.next() => landed,
            () = end => None,
        }
    }

    /// Asks everybody who was not asked yet.
    pub(super) fn start_all(&mut self) {
        self.start(self.line.len());
    }

    /// Whether everybody was asked and has answered.
    pub(super) fn is_over(&self) -> bool {
        self.line.is_empty() && self.running.is_empty()
    }

    /// How many are asked and have not answered.
    pub(super) fn under_way(&self) -> usize {
        self.running.len()
    }
}

/// Asks all of these nodes at once. Waits for all of them, but not longer than [`HEDGE`] for the rest once one has given a
/// good answer.
pub(super) async fn gather(net: &Rc<Net>, behalf: &Rc<Behalf>, ask: Ask, replicas: Vec<Replica>) -> Vec<Landed> {
    let number = replicas.len();
    let mut race = Race::new(net, behalf, ask, replicas, number);
    race.start(number);
    let mut landed: Vec<Landed> = Vec::with_capacity(number);
    let mut patience = None;
    loop {
        let next = match &mut patience {
            None => race.next().await,
            Some(patience) => tokio::select! {
                biased;
                next = race.next() => next,
                () = patience => None,
            },
        };
        let Some(next) = next else { break };
        if next.answer.is_ok() && patience.is_none() {
            patience = Some(net.clock().sleep(HEDGE));
        }
        landed.push(next);
    }
    landed.sort_by_key(|landed| landed.rank);
    landed
}
