//! The replicator: keeps as many copies of each object as there should be, on the nodes nearest to its key.
//!
//! It goes in rounds: each compares objects that this node stores with the nodes that should store them, sends what they
//! lack, fetches what they have newer, and drops copies that are surplus. A round is about everything once in an interval
//! and when somebody asks for it; about the objects concerned soon after the neighbours have changed; and about single
//! objects whose copies were found missing. There is one round at a time; what is wished during a round makes the next one.
//!
//! It promises:
//!
//! - A copy is dropped only after all nodes that should hold the object have said that they do. They are nearer to its key
//!   than this node, so that no two nodes drop their copies on each other's word.
//! - Nothing lives longer for being copied: records travel as they are.
//! - [`Settled`](comet_kernel::objects::Settled) is set once a round about everything has found, for each copy that this
//!   node should hold, so many other nodes that one of them must know of every acknowledged put, and has fetched what they
//!   had newer. A node that was away does not hand out stale copies after that. Objects that it lacks altogether come from
//!   their other holders, who see it join; until then they are asked for at the others, like everything absent. A network
//!   in which too few nodes answer is believed after [`SETTLING`] rounds, as waiting longer would not make it better. A
//!   round that passed over damaged places of the database does not count: a node with such places is never settled, and
//!   asks others for what is newest.
//!
//! | module | owns |
//! |---|---|
//! | `wishes`, `scope` | when the next round is, what it is about, and why |
//! | `round`, `exchange`, `afar` | the walk, what is said to each peer, objects that are not stored here |
//! | `plan`, `nearest`, `item` | what is to be done for one object |
//! | `peers` | who is asked, and who has failed |
//! | `answer`, `heard` | what peers compare with this node |

mod afar;
mod answer;
pub(crate) mod check;
mod exchange;
mod heard;
mod item;
mod nearest;
mod peers;
mod plan;
mod round;
mod scope;
#[cfg(test)]
mod tests;
mod wishes;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use comet_kernel::contract::aso::Refusal;
use comet_kernel::contract::routing::{Drain, Replicate};
use comet_kernel::supervisor::{ActorSpec, Child};
use comet_kernel::{Actor, Context, Handler, Moment, Responder, Thread, Work};
use futures::future::{AbortHandle, Aborted, abortable};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use self::answer::Answering;
use self::heard::Heard;
use self::round::{Outcome, Round};
use self::scope::Scope;
use self::wishes::Wishes;
use crate::messages::{Changed, Compare, Mend};
use crate::room::Room;
use crate::spec::Env;
use crate::swarm::place;
use crate::wire::Answer;

/// Rounds after which this node passes for settled, even if too few others have answered.
pub(crate) const SETTLING: u32 = 3;
/// By up to this part of it, in percent, an interval is shorter by chance, so that nodes drift apart.
const JITTER_PERCENT: u32 = 20;
/// Every so many intervals, the round does not rely on what others say they have compared.
const THOROUGH: u64 = 4;
/// How often it looks whether this node's store takes writes again, if a round waits for that.
const GLANCE: Duration = Duration::from_secs(5);
/// Comparisons of peers answered at once; more are refused for now. Each holds one frame.
const COMPARISONS: usize = 64;
/// Those of peers that are no neighbours.
const COMPARISONS_OF_STRANGERS: usize = COMPARISONS / 2;
/// Those of one peer. A round has one under way with each peer; another may follow before its answer is there.
const COMPARISONS_OF_ONE: usize = 4;

/// The replicator's place in the tree: an actor named `replicator`.
pub(crate) fn child(env: &Env, thread: &Thread) -> Child {
    let shared = env.clone();
    ActorSpec::new("replicator", thread, move || Ok(Replicator::new(&shared, StdRng::from_os_rng())))
        .serves(&env.service.replicate)
        .serves(&env.service.drain)
        .serves(&env.changed)
        .serves(&env.mend)
        .serves(&env.compare)
        .into()
}

/// Keeps objects replicated.
#[derive(Debug)]
pub(crate) struct Replicator {
    env: Env,
    random: StdRng,
    heard: Rc<RefCell<Heard>>,
    answering: Answering,
    /// Comparisons of peers that are being answered: each takes memory, and reads from the disk.
    comparisons: Room,
    wishes: Wishes,
    /// The round under way.
    running: Option<AbortHandle>,
    /// When the next round about everything is due.
    interval: Moment,
    /// How many intervals have passed.
    intervals: u64,
    /// Rounds that were made to settle; none before this node has joined.
    settling: Option<u32>,
    /// Whether the next of them waits until this node's store takes writes.
    held_up: bool,
    /// When it looks at what is due next, if it has planned to.
    glance: Option<Moment>,
}

impl Replicator {
    fn new(env: &Env, random: StdRng) -> Self {
        let now = env.kernel.clock.now();
        let heard = Rc::new(RefCell::new(Heard::new(every(env), now)));
        Replicator {
            answering: Answering::new(env, &heard),
            wishes: Wishes::none(Duration::from_millis(env.settings.dht.neighbour_delay_ms), every(env)),
            env: env.clone(),
            random,
            heard,
            comparisons: Room::new(COMPARISONS_OF_ONE),
            running: None,
            interval: now,
            intervals: 0,
            settling: None,
            held_up: false,
            glance: None,
        }
    }

    fn now(&self) -> Moment {
        self.env.kernel.clock.now()
    }

    fn is_neighbour(&self, id: &str) -> bool {
        let Ok(peer) = id.parse() else { return false };
        let nearest = self.env.service.neighbours.nearest(&place(&peer), 1);
        nearest.iter().any(|node| node.id.as_str() == id)
    }

    /// Begins the round that is due, if none is under way, and plans when to look again.
    fn turn(&mut self, context: &mut Context<Self>) {
        let now = self.now();
        if self.glance.is_some_and(|glance| glance <= now) {
            self.glance = None;
        }
        if self.running.is_some() {
            return;
        }
        if self.env.joined.load(Ordering::Acquire) {
            self.catch_up();
        }
        if self.interval <= now {
            self.intervals += 1;
            self.wishes.everything(self.intervals.is_multiple_of(THOROUGH), true, now);
            self.plan_interval();
        }
        if self.held_up && !self.env.storage.gate.is_shut() {
            self.held_up = false;
            self.wishes.everything(true, true, now);
        }
        let latest = if self.held_up { self.interval.min(now + GLANCE) } else { self.interval };
        match self.wishes.due() {
            Some(due) if due <= now => self.begin(context),
            due => self.plan(due.unwrap_or(latest).min(latest), context),
        }
    }

    fn plan(&mut self, at: Moment, context: &mut Context<Self>) {
        if self.glance.is_none_or(|glance| glance > at) {
            self.glance = Some(at);
            context.at(&self.env.kernel.clock, at, Self::turn);
        }
    }

    fn plan_interval(&mut self) {
        let percent = 100 - self.random.random_range(0..=JITTER_PERCENT);
        self.interval = self.now() + every(&self.env) * percent / 100;
    }

    fn begin(&mut self, context: &mut Context<Self>) {
        let (scope, waiting) = self.wishes.take();
        let settles = (scope.thorough && self.settling.is_some()).then(|| self.env.service.settled.missed());
        let Some(round) = self.round(scope, &Rc::default()) else {
            // Without a place of its own this node has no neighbours yet.
            answer(waiting);
            if self.settling.is_some() {
                let now = self.now();
                self.wishes.everything(true, false, now);
            }
            return self.turn(context);
        };
        let (round, handle) = abortable(round.run());
        self.running = Some(handle);
        context.then(round, move |replicator, outcome, context| match outcome {
            Ok(outcome) => {
                answer(waiting);
                replicator.running = None;
                replicator.conclude(outcome, settles);
                replicator.turn(context);
            }
            // Something else has taken its place. It is made up for later.
            Err(Aborted) => {
                let now = replicator.now();
                replicator.wishes.everything(true, false, now);
                for responder in waiting {
                    replicator.wishes.answered(responder, now);
                }
            }
        });
    }

    fn round(&self, scope: Scope, handed: &Rc<Cell<u64>>) -> Option<Round> {
        let own = self.env.service.neighbours.own()?;
        Some(Round::new(&self.env, &own.id, scope, &self.heard, handed))
    }

    fn conclude(&mut self, outcome: Outcome, settles: Option<u64>) {
        let now = self.now();
        tracing::debug!(?outcome, "a round of replication is over");
        if outcome.damaged {
            // Nothing is certain on this round's word, and a round right now would find the same. The next interval has one.
            tracing::debug!("the round is not complete");
        } else if !outcome.complete {
            self.wishes.everything(true, false, now);
        } else if let Some(missed) = settles {
            self.settle(&outcome, missed);
        }
        for key in outcome.later {
            self.wishes.name(key, now);
        }
    }

    /// Counts a thorough round towards this node's being settled, if it could store what it lacked; if it could not, neither
    /// could the next one, which waits. Before it the node had `missed` so many changes.
    fn settle(&mut self, outcome: &Outcome, missed: u64) {
        let Some(rounds) = &mut self.settling else { return };
        self.held_up = self.env.storage.gate.is_shut();
        if self.held_up {
            return;
        }
        *rounds += 1;
        let certain = outcome.unsure == 0;
        if (certain || *rounds >= SETTLING) && self.env.service.settled.set_unless_missed(missed) {
            tracing::info!(unsure = outcome.unsure, "this node's copies are as new as its neighbours'");
            self.settling = None;
        } else {
            let now = self.now();
            self.wishes.everything(true, false, now);
        }
    }

    /// This node has joined the network, or has missed a change: what it stores may be behind.
    fn catch_up(&mut self) {
        if self.settling.is_none() && !self.env.service.settled.is_set() {
            self.settling = Some(0);
            let now = self.now();
            self.wishes.everything(true, true, now);
        }
    }

    /// Hands everything over, in place of whatever is under way.
    fn drain(&mut self, responder: Responder<u64>, context: &mut Context<Self>) {
        let handed = Rc::<Cell<u64>>::default();
        let Some(round) = self.round(Scope::draining(), &handed) else { return responder.answer(0) };
        let limit = Duration::from_secs(self.env.settings.dht.drain_seconds);
        let clock = self.env.kernel.clock.clone();
        let (round, handle) = abortable(async move { clock.timeout(limit, round.run()).await });
        if let Some(former) = self.running.replace(handle) {
            former.abort();
        }
        context.then(round, move |replicator, outcome, context| {
            let in_time = matches!(outcome, Ok(Some(_)));
            tracing::info!(objects = handed.get(), in_time, "objects were handed over to other nodes");
            responder.answer(handed.get());
            if outcome.is_ok() {
                replicator.running = None;
                replicator.turn(context);
            }
        });
    }
}

fn answer(waiting: Vec<Responder<()>>) {
    for responder in waiting {
        responder.answer(());
    }
}

/// How long from one round about everything to the next.
fn every(env: &Env) -> Duration {
    Duration::from_secs(env.settings.dht.replicate_interval_seconds)
}

impl Actor for Replicator {
    fn started(&mut self, context: &mut Context<Self>) {
        self.env.service.settled.set(false);
        self.plan_interval();
        self.turn(context);
    }
}

impl Handler<Replicate> for Replicator {
    fn handle(&mut self, _: Replicate, responder: Responder<()>, context: &mut Context<Self>) {
        let now = self.now();
        self.wishes.answered(responder, now);
        self.turn(context);
    }
}

impl Handler<Drain> for Replicator {
    fn handle(&mut self, _: Drain, responder: Responder<u64>, context: &mut Context<Self>) {
        self.drain(responder, context);
    }
}

impl Handler<Changed> for Replicator {
    fn handle(&mut self, changed: Changed, responder: Responder<()>, context: &mut Context<Self>) {
        let now = self.now();
        if changed.joined_network {
            self.catch_up();
        }
        if !changed.joined.is_empty() {
            // What others compared before may have passed over those who come, and those may bring what nobody knew.
            self.heard.borrow_mut().forget();
        }
        self.wishes.change(changed, now);
        responder.answer(());
        self.turn(context);
    }
}

impl Handler<Mend> for Replicator {
    fn handle(&mut self, mend: Mend, responder: Responder<()>, context: &mut Context<Self>) {
        let now = self.now();
        self.wishes.name(mend.key, now);
        responder.answer(());
        self.turn(context);
    }
}

impl Handler<Compare> for Replicator {
    fn handle(&mut self, compare: Compare, responder: Responder<Answer>, context: &mut Context<Self>) {
        let from = compare.from.id.clone();
        // Neighbours must have proven an address as well as an identity.
        let most = if self.is_neighbour(&from) { COMPARISONS } else { COMPARISONS_OF_STRANGERS };
        if !self.comparisons.enter(&from, most) {
            let refusal = Refusal::Unavailable("too many comparisons are under way; try again".to_owned());
            return responder.answer(Answer::Refused(refusal));
        }
        let answer = self.answering.clone().answer(compare.from, compare.items);
        context.then(answer, move |replicator, answer, _| {
            replicator.comparisons.leave(&from);
            responder.answer(answer);
        });
    }
}
