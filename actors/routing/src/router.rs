//! The actor that carries calls to the nodes which store an object, and serves the calls of peers.
//!
//! It promises that calls on one key take effect in the order in which they came: while a change of a key is under way,
//! later calls on that key wait. A change does not wait for the gets before it, because a get that a script has parked may
//! be waiting for that very change. It keeps nothing that a restart may not lose, and never runs a script itself.
//!
//! | where | what |
//! |---|---|
//! | `net` | the nodes of a key, and one way to ask any of them, this one included |
//! | `get`, `race` | a get goes to the nearest nodes, and to the next ones if those are slow |
//! | `reading` | which of the answers counts, some of which may be lies |
//! | `change`, `spread`, `votes` | a put or a removal goes to all nodes of its key, and is over with a quorum |
//! | `survey`, `lead`, `revise` | a change that depends on what is there: what is there, and who decides about it |
//! | `serve`, `here` | a request of a peer is checked, then put to this node's own copy |
//! | `adopt` | what this node stored while it was alone becomes the network's |
//! | `act` | what an object asks of the network, and what it may ask |
//! | `path` | a look-up hop by hop, for the operator |
//! | `trial` | for tests and benchmarks: a network in which some nodes lie |
//! | `sign`, `proven`, `versions`, `script` | who put what; which is newer; which script comes with it |
//! | `quota`, `handed`, `accounts` | how much is too much of what one node puts, and hands over |

mod accounts;
mod act;
mod adopt;
mod change;
pub(crate) mod check;
mod get;
mod handed;
mod here;
mod lead;
mod net;
mod path;
mod proven;
mod quota;
mod race;
mod reading;
mod revise;
mod script;
mod serve;
mod sign;
mod spread;
mod survey;
#[cfg(test)]
mod tests;
#[cfg(any(test, feature = "trial"))]
pub mod trial;
mod versions;
mod votes;

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use comet_kernel::contract::aso::{Op, Refusal, Reply};
use comet_kernel::contract::routing::{Act, LookUp, Path, Route};
use comet_kernel::directory::CallResponder;
use comet_kernel::supervisor::{ActorSpec, Child};
use comet_kernel::{Actor, Context, Handler, Key, Record, Responder, Thread, Value, Work, limits};
use futures::future::{Either, LocalBoxFuture, select};

use self::net::{Behalf, Net};
use crate::messages::{Adopt, Serve};
use crate::room::Room;
use crate::spec::Env;
use crate::wire::Answer;

/// How long the calls under way have to end when the router stops: a little longer than one request may take.
const SHUTDOWN: Duration = Duration::from_secs(3);

/// Calls of this node's own clients and objects that may be under way.
const OWN_CALLS: usize = limits::SHARED_MAILBOX / 2;
/// Requests of all peers that may be under way besides.
const SERVED: usize = limits::SHARED_MAILBOX / 2;
/// Those of one peer: as many as it can have under way on its two lanes. A change whose lane has ended goes on and counts
/// until it is over.
const SERVED_OF_ONE: usize = 2 * limits::LANE_REQUESTS;
const _: () = assert!(SERVED + SERVED_OF_ONE <= limits::SHARED_MAILBOX, "there is room besides");

/// The router's place in the tree: an actor named `router` on the network's thread. `secret` is the node's identity.
pub(crate) fn child(env: &Env, thread: &Thread, secret: [u8; 32]) -> Child {
    let made = env.clone();
    ActorSpec::new("router", thread, move || Ok(Router::new(made.clone(), &secret)))
        .mailbox(limits::SHARED_MAILBOX)
        .shutdown(SHUTDOWN)
        .serves(&env.service.route)
        .serves(&env.service.act)
        .serves(&env.service.look_up)
        .serves(&env.serve)
        .serves(&env.adopt)
        .into()
}

/// Carries calls.
#[derive(Debug)]
pub(crate) struct Router {
    net: Rc<Net>,
    /// The keys with a change under way, and what waits for its end.
    changing: HashMap<Key, VecDeque<(Route, CallResponder)>, ahash::RandomState>,
    /// Calls of this node's own clients and objects that came and are not over yet, those that wait included.
    under_way: usize,
    /// Requests of peers that are not over yet.
    served: Room,
    /// Answered when nothing is under way any more, if the router is to stop.
    done: Option<Responder<()>>,
}

/// How a call ended.
pub(super) struct Outcome {
    /// The answer.
    reply: Result<Reply, Refusal>,
    /// Whether a quorum has stored what was to be changed.
    stored: bool,
    /// Whether something newer is there, so that the change came too late with its version.
    late: bool,
    /// What is to be done after the answer: the nodes that did not answer yet are waited for, and mended if they fail.
    rest: Option<LocalBoxFuture<'static, ()>>,
}

impl Router {
    fn new(env: Env, secret: &[u8; 32]) -> Self {
        Router {
            net: Rc::new(Net::new(env, secret)),
            changing: HashMap::default(),
            under_way: 0,
            served: Room::new(SERVED_OF_ONE),
            done: None,
        }
    }

    /// Whether one more call of this node's own may be under way.
    fn has_room(&self) -> bool {
        self.under_way < OWN_CALLS
    }

    /// Whether nothing is under way.
    fn is_idle(&self) -> bool {
        self.under_way == 0 && self.served.is_empty()
    }

    /// A call is over.
    fn leave(&mut self) {
        self.under_way -= 1;
        self.end_if_idle();
    }

    fn end_if_idle(&mut self) {
        if self.is_idle()
            && let Some(done) = self.done.take()
        {
            done.answer(());
        }
    }

    fn start(&mut self, route: Route, responder: CallResponder, context: &mut Context<Self>) {
        let changed = (!route.call.op.reads()).then(|| route.call.key.clone());
        if let Some(key) = &changed {
            self.changing.entry(key.clone()).or_default();
        }
        context.then(carry(self.net.clone(), route), move |router, outcome, context| {
            responder.answer(outcome.reply);
            if let Some(key) = changed {
                router.release(&key, context);
            }
            match outcome.rest {
                Some(rest) => context.then(rest, |router, (), _| router.leave()),
                None => router.leave(),
            }
        });
    }

    /// Starts what waited for a change of the key, up to the next change. One at a time, each after the one before has
    /// sent its questions: what comes for the key in the meantime waits behind them.
    fn release(&mut self, key: &Key, context: &mut Context<Self>) {
        let next = self.changing.get_mut(key).and_then(VecDeque::pop_front);
        let Some((route, responder)) = next else {
            self.changing.remove(key);
            return;
        };
        let reads = route.call.op.reads();
        self.start(route, responder, context);
        if reads {
            let key = key.clone();
            context.then(tokio::task::yield_now(), move |router, (), context| router.release(&key, context));
        }
    }

    /// Runs a question that has nothing to do with the order of calls.
    fn answer<R: Send + 'static>(
        &mut self,
        work: impl Future<Output = R> + 'static,
        responder: Responder<R>,
        context: &mut Context<Self>,
    ) {
        self.under_way += 1;
        context.then(work, |router, answer, _| {
            responder.answer(answer);
            router.leave();
        });
    }
}

/// Where each kind of call goes.
async fn carry(net: Rc<Net>, route: Route) -> Outcome {
    let Route { call, answers } = route;
    let behalf = Rc::new(Behalf::of_client(&net, &call));
    let left = call.request.deadline.since(net.clock().now());
    let clock = net.clock().clone();
    let key = call.key;
    let work = async move {
        match call.op {
            Op::Get { payload } => get::get(&net, &behalf, &key, payload, answers).await.into(),
            Op::Peek | Op::Copy => get::peek(&net, &behalf, &key).await.into(),
            Op::Info => get::info(&net, &behalf, &key).await.into(),
            Op::Log => get::log(&net, &behalf, &key).await.into(),
            Op::Put(put) => change::put(net, behalf, key, *put).await,
            Op::Remove => change::remove(net, behalf, key).await,
            Op::Edit(edit) => revise::edit(net, behalf, key, edit).await,
            Op::Expire(lifetime, condition) => revise::expire(net, behalf, key, (lifetime, condition)).await,
            other => Outcome::refused(Refusal::Forbidden(format!("{} is for one node alone", other.name()).into())),
        }
    };
    let late = || Outcome::refused(unavailable("the nodes that hold the object did not answer in time; try again"));
    clock.timeout(left, work).await.unwrap_or_else(late)
}

/// Serves a request of a peer. What changes nothing ends when the peer has given it up; a change goes on to its end, for
/// what it takes has to be counted.
async fn serve_while_wanted(net: Rc<Net>, serve: Serve, mut responder: Responder<Answer>) {
    let changes = serve.ask.changes();
    let work = serve::serve(net, serve);
    let answer = if changes {
        work.await
    } else {
        match select(pin!(work), pin!(responder.abandoned())).await {
            Either::Left((answer, _)) => answer,
            Either::Right(_) => return,
        }
    };
    responder.answer(answer);
}

impl Outcome {
    fn refused(refusal: Refusal) -> Self {
        Err(refusal).into()
    }
}

impl From<Result<Reply, Refusal>> for Outcome {
    fn from(reply: Result<Reply, Refusal>) -> Self {
        Outcome { reply, stored: false, late: false, rest: None }
    }
}

fn unavailable(why: &str) -> Refusal {
    Refusal::Unavailable(why.to_owned())
}

fn busy() -> Refusal {
    unavailable("the router has as much under way as it may; try again")
}

impl Actor for Router {
    fn started(&mut self, context: &mut Context<Self>) {
        context.then(quota::count_stored(self.net.clone()), |_, (), _| ());
    }

    fn stopping(&mut self, done: Responder<()>, _: &mut Context<Self>) {
        if self.is_idle() {
            return done.answer(());
        }
        self.done = Some(done);
    }
}

impl Handler<Route> for Router {
    fn handle(&mut self, route: Route, responder: CallResponder, context: &mut Context<Self>) {
        if !self.has_room() {
            return responder.answer(Err(busy()));
        }
        match self.changing.get_mut(&route.call.key) {
            Some(waiting) if waiting.len() >= limits::WAITING_PER_KEY => {
                return responder.answer(Err(unavailable("too much is waiting for the object; try again")));
            }
            Some(waiting) => waiting.push_back((route, responder)),
            None => self.start(route, responder, context),
        }
        self.under_way += 1;
    }
}

impl Handler<Act> for Router {
    fn handle(&mut self, act: Act, responder: Responder<Result<Vec<Value>, Refusal>>, context: &mut Context<Self>) {
        if !self.has_room() {
            return responder.answer(Err(busy()));
        }
        self.answer(act::act(self.net.clone(), act), responder, context);
    }
}

impl Handler<LookUp> for Router {
    fn handle(&mut self, look_up: LookUp, responder: Responder<Path>, context: &mut Context<Self>) {
        self.answer(path::look_up(self.net.clone(), look_up.key), responder, context);
    }
}

impl Handler<Serve> for Router {
    fn handle(&mut self, serve: Serve, responder: Responder<Answer>, context: &mut Context<Self>) {
        let peer = serve.from.id.clone();
        if !self.served.enter(&peer, SERVED) {
            return responder.answer(Answer::Refused(busy()));
        }
        context.then(serve_while_wanted(self.net.clone(), serve, responder), move |router, (), _| {
            router.served.leave(&peer);
            router.end_if_idle();
        });
    }
}

impl Handler<Adopt> for Router {
    fn handle(&mut self, adopt: Adopt, responder: Responder<Option<Arc<Record>>>, context: &mut Context<Self>) {
        if !self.has_room() {
            return responder.answer(None);
        }
        self.answer(adopt::adopt(self.net.clone(), adopt.key), responder, context);
    }
}
