//! Actors: what the kernel gives to each, and what it asks of them.
//!
//! An actor is a struct that implements [`Actor`], and [`Handler`] for each message it serves. The kernel wraps it in a
//! [`Host`], which is what actix runs: the host counts and traces messages, answers the supervisor's probes, holds
//! messages back while the actor is suspended, lets it finish its work before it stops, and reports its end.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::{ActorContext, ActorFutureExt, ActorState, AsyncContext};

use crate::clock::{Clock, Moment};
use crate::errands::{self, Errands};
use crate::exit::{Exit, Guard};
use crate::handle::{Door, Mail};
use crate::message::Message;
use crate::meter::Meter;
use crate::reply::{Responder, pair};
use crate::request::RequestId;

/// The context of an actor. [`Work`] has the calls to use on it.
pub type Context<A> = actix::Context<Host<A>>;

/// What every actor may say about its own life. A panic in any of these ends the actor as a failed one.
pub trait Actor: Sized + Unpin + 'static {
    /// Called once, before the first message.
    fn started(&mut self, _context: &mut Context<Self>) {}

    /// Called when the actor is asked to stop, after every message that came before. The actor ends when it answers
    /// `done`, so that it may finish what is under way; its supervisor waits as long as the specification allows.
    fn stopping(&mut self, done: Responder<()>, _context: &mut Context<Self>) {
        done.answer(());
    }
}

/// Serves one kind of message. Messages of one sender are handled in the order in which they were sent, one at a time.
pub trait Handler<M: Message>: Actor {
    /// Handles one message. The responder may be answered now, kept for later, or passed on.
    fn handle(&mut self, message: M, responder: Responder<M::Reply>, context: &mut Context<Self>);
}

/// What an actor can do with its context.
pub trait Work<A: Actor> {
    /// Runs a future beside the mailbox and gives its output to the actor.
    fn then<F, O>(&mut self, future: F, finish: impl FnOnce(&mut A, O, &mut Context<A>) + 'static)
    where
        F: Future<Output = O> + 'static,
        O: 'static;

    /// Runs a future and gives its output to the actor, which handles no message in the meantime.
    fn hold<F, O>(&mut self, future: F, finish: impl FnOnce(&mut A, O, &mut Context<A>) + 'static)
    where
        F: Future<Output = O> + 'static,
        O: 'static;

    /// Runs `work` once `duration` has passed on `clock`.
    fn after(&mut self, clock: &Clock, duration: Duration, work: impl FnOnce(&mut A, &mut Context<A>) + 'static);

    /// Runs `work` at `moment` of `clock`, at once if it has passed.
    fn at(&mut self, clock: &Clock, moment: Moment, work: impl FnOnce(&mut A, &mut Context<A>) + 'static);

    /// Ends the actor once the present message is handled. What waits in the mailbox gets no answer.
    fn finish(&mut self);

    /// A door to this very actor.
    fn door<M: Message>(&self, meter: &Arc<Meter>) -> Door<M>
    where
        A: Handler<M>;
}

impl<A: Actor> Work<A> for Context<A> {
    fn then<F, O>(&mut self, future: F, finish: impl FnOnce(&mut A, O, &mut Context<A>) + 'static)
    where
        F: Future<Output = O> + 'static,
        O: 'static,
    {
        errands::start(self, future, finish);
    }

    fn hold<F, O>(&mut self, future: F, finish: impl FnOnce(&mut A, O, &mut Context<A>) + 'static)
    where
        F: Future<Output = O> + 'static,
        O: 'static,
    {
        let work = actix::fut::wrap_future::<F, Host<A>>(future);
        self.wait(work.map(|output, host: &mut Host<A>, context| finish(&mut host.actor, output, context)));
    }

    fn after(&mut self, clock: &Clock, duration: Duration, work: impl FnOnce(&mut A, &mut Context<A>) + 'static) {
        self.at(clock, clock.now() + duration, work);
    }

    fn at(&mut self, clock: &Clock, moment: Moment, work: impl FnOnce(&mut A, &mut Context<A>) + 'static) {
        self.then(clock.sleep_until(moment), |actor, (), context| work(actor, context));
    }

    fn finish(&mut self) {
        let end = actix::fut::ready(()).map(|(), host: &mut Host<A>, context: &mut Context<A>| {
            host.guard.ends(Exit::Stopped);
            context.stop();
        });
        // What is waited for comes before the next message.
        self.wait(end);
    }

    fn door<M: Message>(&self, meter: &Arc<Meter>) -> Door<M>
    where
        A: Handler<M>,
    {
        Door::new(self.address().recipient(), meter.clone())
    }
}

/// What the supervisor says to a host.
#[derive(Debug)]
pub(crate) enum System {
    /// Answer, to show that you make progress.
    Probe(Responder<()>),
    /// Finish your work and end.
    Stop,
    /// End at once.
    Kill,
    /// Hold messages back.
    Suspend,
    /// Handle what you held back, and go on.
    Resume,
}

impl actix::Message for System {
    type Result = ();
}

type Held<A> = Box<dyn FnOnce(&mut Host<A>, &mut Context<A>)>;

/// Messages that an actor handles before whatever else runs on its thread has a turn. actix itself empties a mailbox to
/// its end, so that an actor whose mailbox is filled as fast as it is emptied would have the thread for itself.
const TURN: usize = 128;

/// What actix runs: an actor and the kernel's part in it.
pub struct Host<A: Actor> {
    pub(crate) actor: A,
    pub(crate) errands: Errands<A>,
    path: Arc<str>,
    mailbox: usize,
    guard: Guard,
    /// Boxed, because hardly any actor is ever suspended, and there are many.
    held: Option<Box<VecDeque<Held<A>>>>,
    handled: usize,
}

impl<A: Actor> Host<A> {
    pub(crate) fn new(actor: A, path: Arc<str>, mailbox: usize, guard: Guard) -> Self {
        Host { actor, errands: Errands::none(), path, mailbox, guard, held: None, handled: 0 }
    }

    /// Starts the actor on this thread. Its mailbox has its full size before anyone can send.
    pub(crate) fn launch(self) -> actix::Addr<Self> {
        actix::Actor::create(|context| {
            context.set_mailbox_capacity(self.mailbox);
            self
        })
    }

    fn stop(&mut self, context: &mut Context<A>) {
        self.resume(context);
        let (done, pending) = pair(RequestId::fresh());
        self.actor.stopping(done, context);
        // An actor that drops `done` has nothing left to do either.
        context.then(pending, |_, _, context| context.finish());
    }

    fn resume(&mut self, context: &mut Context<A>) {
        for work in self.held.take().into_iter().flat_map(|held| *held) {
            work(self, context);
        }
    }

    fn handle<M: Message>(&mut self, message: M, responder: Responder<M::Reply>, context: &mut Context<A>)
    where
        A: Handler<M>,
    {
        if let Some(request) = message.request() {
            request.hop(&self.path, message.label());
        }
        self.actor.handle(message, responder, context);
    }

    fn take_turns(&mut self, context: &mut Context<A>) {
        self.handled += 1;
        if self.handled.is_multiple_of(TURN) {
            errands::take_turns(context);
        }
    }
}

impl<A: Actor> actix::Actor for Host<A> {
    type Context = Context<A>;

    fn started(&mut self, context: &mut Self::Context) {
        self.actor.started(context);
    }

    /// Runs during the unwind of a panic and at the end of the thread as well, so it only sets a flag, and only if the
    /// actor ends because nobody can reach it any more. Who ends it otherwise has said why.
    fn stopping(&mut self, context: &mut Self::Context) -> actix::Running {
        if context.state() == ActorState::Running {
            self.guard.ends(Exit::Stopped);
        }
        actix::Running::Stop
    }
}

impl<A: Actor> actix::Handler<System> for Host<A> {
    type Result = ();

    fn handle(&mut self, system: System, context: &mut Self::Context) {
        match system {
            System::Probe(responder) => responder.answer(()),
            System::Stop => self.stop(context),
            System::Kill => {
                self.guard.ends(Exit::Killed);
                context.stop();
            }
            System::Suspend => {
                self.held.get_or_insert_default();
            }
            System::Resume => self.resume(context),
        }
    }
}

impl<A: Handler<M>, M: Message> actix::Handler<Mail<M>> for Host<A> {
    type Result = ();

    fn handle(&mut self, mail: Mail<M>, context: &mut Self::Context) {
        let Mail { message, responder, passage } = mail;
        self.take_turns(context);
        if let Some(held) = &mut self.held {
            // Past the mailbox's bound the message is dropped with its responder, which tells the asker.
            if held.len() < self.mailbox {
                held.push_back(Box::new(move |host, context| {
                    drop(passage);
                    host.handle(message, responder, context);
                }));
            }
            return;
        }
        drop(passage);
        Host::handle(self, message, responder, context);
    }
}

impl<A: Actor> fmt::Debug for Host<A> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Host({})", self.path)
    }
}
