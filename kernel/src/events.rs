//! What happens on the node, for whoever watches: the operator's `comet ctl events --follow`.

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::clock::{Clock, UnixMillis};
use crate::limits;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at: UnixMillis,
    /// What sort of thing.
    pub kind: Kind,
    /// The actor or object that it happened to.
    pub subject: String,
    /// What happened, in a sentence.
    pub text: String,
}

/// What sort of thing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// An actor started.
    Started,
    /// An actor ended.
    Ended,
    /// A supervisor gave up.
    Escalated,
    /// An object was quarantined or released.
    Quarantine,
    /// A script was loaded, dropped or rolled back.
    Script,
    /// The store became read-only or writable, or set a record aside.
    Storage,
    /// The operator changed something.
    Audit,
}

/// Where events go. Copies share it.
#[derive(Clone, Debug)]
pub struct Events {
    clock: Clock,
    channel: broadcast::Sender<Event>,
}

impl Events {
    /// A bus that nobody follows yet.
    pub fn new(clock: Clock) -> Self {
        Events { clock, channel: broadcast::Sender::new(limits::EVENT_BACKLOG) }
    }

    /// Tells whoever follows, and the log. A follower that lags more than the backlog behind is told so.
    pub fn publish(&self, kind: Kind, subject: impl Into<String>, text: impl Into<String>) {
        let event = Event { at: self.clock.unix(), kind, subject: subject.into(), text: text.into() };
        tracing::info!(kind = ?event.kind, subject = event.subject, text = event.text, "event");
        let _nobody_may_follow = self.channel.send(event);
    }

    /// Follows from now on.
    pub fn follow(&self) -> broadcast::Receiver<Event> {
        self.channel.subscribe()
    }
}
