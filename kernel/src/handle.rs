//! Handles: how one actor reaches another.
//!
//! A [`Door`] leads to one living actor. A [`Handle`] leads to whoever serves a contract's message now: it survives
//! restarts, because the supervisor puts the new actor's door where the old one was. Both are metered, and both give
//! the message back when they cannot deliver it.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;

use crate::clock::Clock;
use crate::message::Message;
use crate::meter::{Meter, Passage};
use crate::reply::{NoAnswer, Pending, Responder, pair};
use crate::request::RequestId;

/// One message on its way, with the way back.
pub(crate) struct Mail<M: Message> {
    pub(crate) message: M,
    pub(crate) responder: Responder<M::Reply>,
    pub(crate) passage: Passage,
}

impl<M: Message> actix::Message for Mail<M> {
    type Result = ();
}

/// A message that was not delivered.
pub struct Refused<M> {
    /// The message, given back.
    pub message: M,
    /// Why.
    pub reason: Reason,
}

/// Why a message was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The mailbox is full: the actor has more to do than it may have waiting.
    #[error("too much is waiting for it; try again")]
    Full,
    /// Nobody serves the message now: the actor is being restarted or the node stops.
    #[error("it is being restarted or stopped; try again")]
    Vacant,
}

impl<M> fmt::Debug for Refused<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Refused({})", self.reason)
    }
}

/// The way into one living actor for one kind of message.
pub struct Door<M: Message> {
    recipient: actix::Recipient<Mail<M>>,
    meter: Arc<Meter>,
}

impl<M: Message> Door<M> {
    pub(crate) fn new(recipient: actix::Recipient<Mail<M>>, meter: Arc<Meter>) -> Self {
        Door { recipient, meter }
    }

    /// Sends a message that wants an answer.
    pub fn ask(&self, message: M) -> Result<Pending<M::Reply>, Refused<M>> {
        let id = message.request().map_or_else(RequestId::fresh, |request| request.id);
        let (responder, pending) = pair(id);
        match self.forward(message, responder) {
            Ok(()) => Ok(pending),
            Err((refused, _)) => Err(refused),
        }
    }

    /// Whether the actor lives.
    pub fn is_open(&self) -> bool {
        self.recipient.connected()
    }

    /// Sends a message whose answer nobody wants.
    pub fn tell(&self, message: M) -> Result<(), Refused<M>> {
        self.forward(message, Responder::nobody()).map_err(|(refused, _)| refused)
    }

    /// Sends on somebody else's message: the answer goes to them.
    #[expect(clippy::disallowed_methods, reason = "this is the one door to the mailbox, and it heeds the bound")]
    pub fn forward(&self, message: M, responder: Responder<M::Reply>) -> Result<(), (Refused<M>, Responder<M::Reply>)> {
        let passage = self.meter.enter();
        let (mail, reason) = match self.recipient.try_send(Mail { message, responder, passage }) {
            Ok(()) => return Ok(()),
            Err(actix::prelude::SendError::Full(mail)) => (mail, Reason::Full),
            Err(actix::prelude::SendError::Closed(mail)) => (mail, Reason::Vacant),
        };
        mail.passage.turn_back();
        Err((Refused { message: mail.message, reason }, mail.responder))
    }
}

impl<M: Message> fmt::Debug for Door<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Door<{}>", M::NAME)
    }
}

/// The way to whoever serves one kind of message now. Copies share it.
pub struct Handle<M: Message>(Arc<Slot<M>>);

struct Slot<M: Message> {
    door: ArcSwapOption<Door<M>>,
    meter: Arc<Meter>,
}

impl<M: Message> Handle<M> {
    /// A handle that nobody serves yet. A child specification that serves it fills it.
    pub fn vacant(clock: &Clock) -> Self {
        Handle(Arc::new(Slot { door: ArcSwapOption::empty(), meter: Meter::new(M::NAME, clock.clone()) }))
    }

    /// Sends a message that wants an answer.
    pub fn ask(&self, message: M) -> Result<Pending<M::Reply>, Refused<M>> {
        match &*self.0.door.load() {
            Some(door) => door.ask(message),
            None => Err(self.nobody(message)),
        }
    }

    /// Sends a message and waits for the answer. Says in one error that nobody took it or nobody answered.
    pub async fn call(&self, message: M) -> Result<M::Reply, CallError> {
        match self.ask(message) {
            Ok(pending) => Ok(pending.await?),
            Err(refused) => Err(CallError::Refused { name: M::NAME, reason: refused.reason }),
        }
    }

    /// Sends a message whose answer nobody wants.
    pub fn tell(&self, message: M) -> Result<(), Refused<M>> {
        match &*self.0.door.load() {
            Some(door) => door.tell(message),
            None => Err(self.nobody(message)),
        }
    }

    /// Sends on somebody else's message: the answer goes to them.
    pub fn forward(&self, message: M, responder: Responder<M::Reply>) -> Result<(), (Refused<M>, Responder<M::Reply>)> {
        match &*self.0.door.load() {
            Some(door) => door.forward(message, responder),
            None => Err((self.nobody(message), responder)),
        }
    }

    /// What passes through.
    pub fn meter(&self) -> &Arc<Meter> {
        &self.0.meter
    }

    pub(crate) fn open(&self, recipient: actix::Recipient<Mail<M>>) {
        self.0.door.store(Some(Arc::new(Door::new(recipient, self.0.meter.clone()))));
    }

    pub(crate) fn close(&self) {
        self.0.door.store(None);
    }

    fn nobody(&self, message: M) -> Refused<M> {
        self.0.meter.refuse();
        Refused { message, reason: Reason::Vacant }
    }
}

/// Why a call has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Nobody took the message: nothing has happened.
    #[error("{name} was not delivered: {reason}")]
    Refused {
        /// The message.
        name: &'static str,
        /// Why.
        reason: Reason,
    },
    /// It was taken but not answered: it may or may not have taken effect.
    #[error(transparent)]
    NoAnswer(#[from] NoAnswer),
}

impl<M: Message> Clone for Handle<M> {
    fn clone(&self) -> Self {
        Handle(self.0.clone())
    }
}

impl<M: Message> fmt::Debug for Handle<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Handle<{}>", M::NAME)
    }
}
