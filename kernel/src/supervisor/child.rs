//! Child specifications: how a supervisor makes each of its children, again and again.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use futures::future::LocalBoxFuture;
use tokio::sync::oneshot;

use super::policy::Restart;
use super::{Spec, nested};
use crate::actor::{Actor, Handler, Host, System};
use crate::exit::{Exit, Guard, message_of};
use crate::handle::Handle;
use crate::kernel::Kernel;
use crate::limits;
use crate::message::Message;
use crate::meter::Meter;
use crate::reply::{Pending, pair};
use crate::request::RequestId;
use crate::thread::{Number, Thread};

/// How long a child may take to stop unless its specification says otherwise.
const SHUTDOWN: Duration = Duration::from_secs(10);

/// One child of a supervisor.
pub struct Child {
    pub(super) id: &'static str,
    pub(super) restart: Restart,
    pub(super) shutdown: Duration,
    pub(super) probed: bool,
    pub(super) start: Box<dyn Start>,
}

impl std::fmt::Debug for Child {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Child({})", self.id)
    }
}

/// What the supervisor tells a child about itself.
pub(super) struct Link {
    pub(super) kernel: Kernel,
    pub(super) path: Arc<str>,
    pub(super) guard: Guard,
}

/// Makes a child.
pub(super) trait Start {
    /// Makes it, and resolves once it serves.
    fn start(&self, link: Link) -> LocalBoxFuture<'_, Result<Box<dyn Live>, String>>;
    /// Nobody serves the child's messages from now on.
    fn vacate(&self) {}
    /// The thread is lost: the next child runs on another.
    fn renew(&self) {}
    /// The meters of the child's handles.
    fn meters(&self) -> Vec<Arc<Meter>> {
        Vec::new()
    }
    /// Whether the child is a supervisor.
    fn supervises(&self) -> bool {
        false
    }
}

/// A child that lives.
pub(super) trait Live {
    /// Asks it to finish its work and end.
    fn stop(&self);
    /// Tells it to end at once. One that is stuck does not hear it.
    fn kill(&self) {}
    /// Asks it for a sign of progress.
    fn probe(&self) -> Option<Pending<()>> {
        None
    }
    /// Makes it hold its messages back, or lets it go on.
    fn suspend(&self, _held: bool) {}
}

type Factory<A> = dyn Fn() -> Result<A, String> + Send + Sync;

/// The specification of an actor.
pub struct ActorSpec<A: Actor> {
    id: &'static str,
    thread: Thread,
    /// Which of the place's threads the present life is on.
    number: Cell<Number>,
    restart: Restart,
    shutdown: Duration,
    mailbox: usize,
    probed: bool,
    factory: Arc<Factory<A>>,
    doors: Vec<Box<dyn Doorway<A>>>,
}

impl<A: Actor> std::fmt::Debug for ActorSpec<A> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "ActorSpec({})", self.id)
    }
}

impl<A: Actor> ActorSpec<A> {
    /// An actor that `factory` makes on `thread`, afresh each time. Permanent, with ten seconds to stop, probed, and with
    /// the mailbox of a system actor, unless told otherwise.
    pub fn new(
        id: &'static str,
        thread: &Thread,
        factory: impl Fn() -> Result<A, String> + Send + Sync + 'static,
    ) -> Self {
        ActorSpec {
            id,
            thread: thread.clone(),
            number: Cell::new(0),
            restart: Restart::Permanent,
            shutdown: SHUTDOWN,
            mailbox: limits::SYSTEM_MAILBOX,
            probed: true,
            factory: Arc::new(factory),
            doors: Vec::new(),
        }
    }

    /// The actor serves this message, for everyone who holds the handle.
    pub fn serves<M: Message>(mut self, handle: &Handle<M>) -> Self
    where
        A: Handler<M>,
    {
        self.doors.push(Box::new(handle.clone()));
        self
    }

    /// When it is started again.
    pub fn restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }

    /// How long it may take to stop.
    pub fn shutdown(mut self, shutdown: Duration) -> Self {
        self.shutdown = shutdown;
        self
    }

    /// How many messages may wait in its mailbox.
    pub fn mailbox(mut self, mailbox: usize) -> Self {
        self.mailbox = mailbox;
        self
    }

    /// It may be busy for longer than a probe's deadline, and is not taken for stuck.
    pub fn unprobed(mut self) -> Self {
        self.probed = false;
        self
    }
}

impl<A: Actor> From<ActorSpec<A>> for Child {
    fn from(spec: ActorSpec<A>) -> Self {
        Child {
            id: spec.id,
            restart: spec.restart,
            shutdown: spec.shutdown,
            probed: spec.probed,
            start: Box::new(spec),
        }
    }
}

impl From<Spec> for Child {
    /// A supervisor under a supervisor. It gets as long to stop as all its children together.
    fn from(spec: Spec) -> Self {
        let shutdown = spec.children.iter().map(|child| child.shutdown).sum::<Duration>() + SHUTDOWN;
        Child { id: spec.id, restart: Restart::Permanent, shutdown, probed: false, start: Box::new(nested(spec)) }
    }
}

/// A handle as seen by the actor that serves it.
trait Doorway<A: Actor> {
    fn open(&self, address: &Addr<Host<A>>);
    fn close(&self);
    fn meter(&self) -> Arc<Meter>;
}

impl<A: Handler<M>, M: Message> Doorway<A> for Handle<M> {
    fn open(&self, address: &Addr<Host<A>>) {
        Handle::open(self, address.clone().recipient());
    }

    fn close(&self) {
        Handle::close(self);
    }

    fn meter(&self) -> Arc<Meter> {
        Handle::meter(self).clone()
    }
}

impl<A: Actor> Start for ActorSpec<A> {
    fn start(&self, link: Link) -> LocalBoxFuture<'_, Result<Box<dyn Live>, String>> {
        let (ready, made) = oneshot::channel();
        let (factory, mailbox) = (self.factory.clone(), self.mailbox);
        let number = self.thread.place(move || {
            let made = catch_unwind(AssertUnwindSafe(|| factory()));
            let made = made.unwrap_or_else(|panic| Err(format!("its factory panicked: {}", message_of(&*panic))));
            let _supervisor_may_be_gone =
                ready.send(made.map(|actor| Host::new(actor, link.path, mailbox, link.guard).launch()));
        });
        self.number.set(number);
        Box::pin(async move {
            let Ok(made) = made.await else {
                self.renew();
                return Err(Exit::Lost.to_string());
            };
            let address = made?;
            self.doors.iter().for_each(|door| door.open(&address));
            Ok(Box::new(address) as Box<dyn Live>)
        })
    }

    fn vacate(&self) {
        self.doors.iter().for_each(|door| door.close());
    }

    fn renew(&self) {
        self.thread.renew(self.number.get());
    }

    fn meters(&self) -> Vec<Arc<Meter>> {
        self.doors.iter().map(|door| door.meter()).collect()
    }
}

#[expect(clippy::disallowed_methods, reason = "the supervisor's few words must reach an actor whose mailbox is full")]
impl<A: Actor> Live for Addr<Host<A>> {
    fn stop(&self) {
        self.do_send(System::Stop);
    }

    fn kill(&self) {
        self.do_send(System::Kill);
    }

    fn probe(&self) -> Option<Pending<()>> {
        let (responder, pending) = pair(RequestId::fresh());
        self.do_send(System::Probe(responder));
        Some(pending)
    }

    fn suspend(&self, held: bool) {
        self.do_send(if held { System::Suspend } else { System::Resume });
    }
}
