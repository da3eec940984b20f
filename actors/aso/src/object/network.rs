//! What an object asks of the network, and how it gets the answers.
//!
//! An action leaves once its handler has returned and its outcome is taken over. Each takes a token from the limiter; the
//! answer runs the function that the script named for it, an event of its own. An action that is refused fails when the
//! next one would be let through, so that a script which asks again whenever it fails does so at the same rate.

use std::sync::Arc;
use std::time::Duration;

use comet_kernel::contract::aso::Refusal;
use comet_kernel::contract::limiter::{Lease, Leased, Subject};
use comet_kernel::contract::routing::{Act, Action, Targets};
use comet_kernel::{Caller, Context, Request, Value, Work, limits};

use super::{Body, Object};
use crate::env::Env;
use crate::sandbox::Asked;

/// How long the network may take for one action.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long an action waits that the limiter did not answer.
const LIMITER_AWAY: Duration = Duration::from_millis(100);

/// What an object's actions depend on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Links {
    /// How many objects stand behind the present event.
    pub caused: u8,
    /// How often another object has taken this one's place: what was asked before is not answered to what is there now.
    lives: u32,
}

/// What is remembered of an action that is under way.
struct UnderWay {
    name: &'static str,
    callback: Option<Arc<str>>,
    links: Links,
}

impl Object {
    /// Notes who asks, if the script may want to reach them.
    pub(super) fn remember_caller(&mut self, caller: &Caller) {
        if matches!(&self.body, Body::Scripted(scripted) if scripted.script.uses_network()) {
            self.extras().remember_caller(&caller.id);
        }
    }

    /// Carries out what a handler asked of the network.
    pub(super) fn act(&mut self, asked: Vec<Asked>, context: &mut Context<Self>) {
        for asked in asked {
            self.send(asked, context);
        }
    }

    fn send(&mut self, asked: Asked, context: &mut Context<Self>) {
        let Asked { action, callback, publisher } = asked;
        let name = match action {
            Action::Get { .. } => "comet.get",
            Action::Put { .. } => "comet.put",
        };
        if !self.extras().begin_action() {
            let most = limits::ACTIONS_UNDER_WAY;
            return self.note(&format!("{name} failed: {most} are under way already; nothing is called back"));
        }
        let links = self.links;
        let env = self.local.env.clone();
        let request = Request::until(env.now() + PATIENCE).caused_by(links.caused);
        let callers = self.extras().callers_of_late();
        let object = self.key.clone();
        let act = Act { object, request, publisher: publisher.map(|name| name.to_string()), callers, action };
        let under_way = UnderWay { name, callback, links };
        context.then(perform(env, act), |object, outcome, context| object.acted(under_way, outcome, context));
    }

    /// The network's answer: calls back, unless another object is here by now.
    fn acted(&mut self, ended: UnderWay, outcome: Result<Vec<Value>, Refusal>, context: &mut Context<Self>) {
        let UnderWay { name, callback, links } = ended;
        self.extras().end_action();
        if links.lives != self.links.lives {
            if !matches!(self.body, Body::Scripted(_)) {
                // The shard could not retire it before.
                self.leave();
            }
            return;
        }
        if let Err(refusal) = &outcome {
            self.note(&format!("{name} failed: {refusal}"));
        }
        let Some(callback) = callback.filter(|_| self.retiring.is_none()) else { return };
        self.end_if_expired();
        self.links.caused = links.caused;
        self.upgrade(context);
        if !matches!(&self.body, Body::Scripted(scripted) if !scripted.quarantined) {
            return;
        }
        let values = outcome.unwrap_or_default();
        let called = self.run_with(context, |sandbox, scripted, event| {
            sandbox.call_back(&scripted.script, &scripted.state, &callback, &values, event)
        });
        let committed = called.and_then(|outcome| self.commit(outcome.state, outcome.actions, context));
        if let Err(refusal) = committed {
            // Nobody waits for the outcome: its author finds it in the object's log.
            self.note(&format!("{callback} failed: {refusal:?}"));
        }
    }

    /// Another object is in this one's place, or none: nothing is called back of what was asked before.
    pub(super) fn forsake_actions(&mut self) {
        self.links.lives = self.links.lives.wrapping_add(1);
    }
}

/// Takes a token and passes the action on.
async fn perform(env: Arc<Env>, act: Act) -> Result<Vec<Value>, Refusal> {
    let lease = Lease { subject: Subject::Network(act.object.clone()), tokens: 1 };
    let wait = match env.limiter.lease.call(lease).await {
        Ok(Leased::Granted { .. }) => None,
        Ok(Leased::Refused { retry_after_ms }) => Some(Duration::from_millis(retry_after_ms)),
        Err(_) => Some(LIMITER_AWAY),
    };
    if let Some(wait) = wait {
        env.kernel.clock.sleep(wait.min(PATIENCE)).await;
        return Err(Refusal::Limited { retry_after_ms: wait.as_millis() as u64 });
    }
    may_cause(&act)?;
    let (Action::Get { nodes, .. } | Action::Put { nodes, .. }) = &act.action;
    if *nodes == Targets::These(Vec::new()) {
        return Ok(Vec::new());
    }
    let Some(routing) = &env.routing else {
        return Err(Refusal::Unavailable("this node is in no network".to_owned()));
    };
    match env.kernel.clock.timeout(PATIENCE, routing.call(act)).await {
        Some(Ok(answer)) => answer,
        Some(Err(error)) => Err(Refusal::Unavailable(error.to_string())),
        None => Err(Refusal::TimedOut(PATIENCE.as_millis() as u64)),
    }
}

/// Whether the event may cause requests: how many objects may stand behind one depends on who signed the script.
fn may_cause(act: &Act) -> Result<(), Refusal> {
    let (most, rule) = match &act.publisher {
        Some(_) => (limits::SIGNED_CAUSATION, "as many objects stand behind this event already as may"),
        None => (limits::CAUSATION, "an object caused this event; only a signed script may pass it on"),
    };
    if act.request.caused < most { Ok(()) } else { Err(Refusal::Forbidden(rule.into())) }
}
