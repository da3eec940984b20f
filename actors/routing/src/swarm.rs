//! The swarm: the actor that owns libp2p.
//!
//! It keeps this node connected, knows who else is there, finds who is nearest to a key, and carries requests to peers
//! over lanes. It promises that who is published as a neighbour has proven its identity, that a node which cannot be
//! reached any more is soon gone from everything it publishes, and that every request gets an answer or an error in
//! bounded time. It neither stores nor routes anything, and knows nothing of what requests say.
//!
//! | part | owns |
//! |---|---|
//! | `plan` | the checked configuration |
//! | `transport`, `behaviour`, `streams` | libp2p, configured |
//! | `reach`, `crowd` | what may be dialled |
//! | `engine` | its event loop inside the actor; the listeners |
//! | `events` | what is done about each event |
//! | `address`, `book`, `diversity` | who is known, and who may be |
//! | `peer`, `lanes` | connections and lanes of each peer |
//! | `look_up` | searches of the network |
//! | `upkeep`, `departed` | joining, refreshing, checking; who is gone and may come back |
//! | `publish`, `status` | what others see |
//!
//! The actor may fail at any time: the next one listens on the same ports, and begins with the neighbours that the former
//! one published.

mod address;
mod behaviour;
mod book;
mod crowd;
mod departed;
mod diversity;
mod engine;
mod events;
mod lanes;
mod look_up;
mod peer;
mod plan;
mod publish;
mod reach;
mod status;
mod streams;
mod transport;
mod upkeep;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use comet_kernel::{Actor, Context, Moment, Responder, Work, limits};
use libp2p::PeerId;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use self::book::Book;
pub(crate) use self::book::place;
use self::departed::Departed;
use self::diversity::Diversity;
pub(crate) use self::engine::Bound;
use self::engine::{Engine, Event};
use self::look_up::LookUps;
use self::peer::Peer;
pub(crate) use self::plan::Plan;
use self::publish::Published;
use self::upkeep::Upkeep;
use crate::lane::{Budget, Terms};
use crate::spec::Env;

/// How long the start waits for every listener to say where it listens.
const LISTENING: Duration = Duration::from_secs(2);
/// How long peers have to hear that this node hangs up.
const FAREWELL: Duration = Duration::from_millis(50);

/// The actor.
#[derive(Debug)]
pub(crate) struct Swarm {
    env: Env,
    plan: Arc<Plan>,
    bound: Bound,
    engine: Engine,
    random: StdRng,
    book: Book,
    peers: HashMap<PeerId, Peer>,
    /// Of all lanes that peers have opened.
    budget: Budget,
    tickets: streams::Ticket,
    look_ups: LookUps,
    departed: Departed,
    upkeep: Upkeep,
    published: Published,
}

impl Swarm {
    /// A swarm that listens. Must be called on the network's thread.
    ///
    /// # Errors
    ///
    /// An address that cannot be listened on, by the name of its field, and what to do.
    pub(crate) fn new(env: &Env, plan: &Arc<Plan>, bound: &Bound, seed: Option<u64>) -> Result<Self, String> {
        let diversity = Diversity::new(plan.network.group_peers as usize, plan.network.group_private);
        let (now, joined) = (env.kernel.clock.now(), plan.seeds.is_empty());
        env.joined.store(joined, Ordering::Release);
        let interval = Duration::from_secs(env.settings.dht.replicate_interval_seconds);
        Ok(Swarm {
            engine: Engine::new(plan, bound, &env.kernel.clock)?,
            random: seed.map_or_else(StdRng::from_os_rng, StdRng::seed_from_u64),
            book: Book::new(plan.own, limits::KNOWN_NODES, diversity),
            peers: HashMap::new(),
            budget: Budget::new(limits::LANES_BYTES),
            tickets: 0,
            look_ups: LookUps::default(),
            departed: Departed::new(interval),
            upkeep: Upkeep::new(now, joined, interval),
            published: Published::default(),
            env: env.clone(),
            plan: plan.clone(),
            bound: bound.clone(),
        })
    }

    fn now(&self) -> Moment {
        self.env.kernel.clock.now()
    }

    /// A peer's entry, made if there is none.
    fn peer(&mut self, peer: PeerId) -> &mut Peer {
        let (clock, now) = (&self.env.kernel.clock, self.env.kernel.clock.now());
        let terms = || Terms::new(clock, &self.plan.network, &self.budget);
        let peer = self.peers.entry(peer).or_insert_with(|| Peer::new(terms(), now));
        peer.touched = now;
        peer
    }

    fn is_connected(&self, peer: &PeerId) -> bool {
        self.peers.get(peer).is_some_and(Peer::is_connected)
    }

    /// This long, give or take a quarter, so that nodes which started together do not act together for ever.
    fn jittered(&mut self, duration: Duration) -> Duration {
        duration.mul_f64(self.random.random_range(0.75..1.25))
    }

    /// Handles what libp2p has to tell, again and again.
    fn drive(&self, context: &mut Context<Self>) {
        context.then(self.engine.clone().events(), |swarm, events, context| {
            swarm.handle_all(events, context);
            swarm.drive(context);
        });
    }

    fn handle_all(&mut self, events: Vec<Event>, context: &mut Context<Self>) {
        for event in events {
            self.handle_event(event, context);
        }
        self.publish_soon(context);
    }
}

impl Actor for Swarm {
    /// Serves nothing before it knows where it listens.
    fn started(&mut self, context: &mut Context<Self>) {
        let (clock, engine) = (self.env.kernel.clock.clone(), self.engine.clone());
        let listening = async move { clock.timeout(LISTENING, engine.listening()).await.unwrap_or_default() };
        context.hold(listening, |swarm, events, context| {
            swarm.recall();
            swarm.handle_all(events, context);
            swarm.publish(context);
            swarm.drive(context);
            swarm.tick(context);
        });
    }

    /// Hangs up, so that peers know at once.
    fn stopping(&mut self, done: Responder<()>, context: &mut Context<Self>) {
        self.peers.values_mut().for_each(|peer| peer.fail(&crate::messages::SendError::Closed));
        self.engine.touch(|swarm| {
            let peers: Vec<_> = swarm.connected_peers().copied().collect();
            for peer in peers {
                let _it_may_be_gone = swarm.disconnect_peer_id(peer);
            }
        });
        let clock = self.env.kernel.clock.clone();
        context.after(&clock, FAREWELL, |_, _| done.answer(()));
    }
}
