//! How an object's handlers are run, and what their outcome does.

use std::sync::Arc;
use std::time::Duration;

use comet_kernel::contract::aso::{Budget, Put, Refusal, Reply};
use comet_kernel::contract::limiter::{Lease, Subject};
use comet_kernel::directory::CallResponder;
use comet_kernel::events::Kind;
use comet_kernel::{Caller, Context, Moment, Value, Work};

use super::allowance::May;
use super::scripted::refusal;
use super::{Body, Object, Scripted};
use crate::plain;
use crate::sandbox::{Actions, Args, Event, Failure, Handler, Outcome, Sandbox, Script, State};
use crate::terms::{Origin, tombstone};

/// Microseconds of processor time in a lease.
const PROCESSOR_LEASE: u32 = 100_000;
/// With less than this left, the object asks for another.
const PROCESSOR_LOW: i32 = 5_000;

impl Object {
    /// `onGet`, or the value.
    pub(super) fn get(
        &mut self,
        caller: Arc<Caller>,
        payload: Value,
        deadline: Moment,
        responder: CallResponder,
        context: &mut Context<Self>,
    ) {
        let Body::Scripted(scripted) = &self.body else { unreachable!("only scripted objects come here") };
        if scripted.quarantined || !scripted.script.handles(Handler::Get) {
            let value = scripted.state.value();
            return self.answer(responder, found(value));
        }
        let args = Args::Get { caller: &caller, payload: &payload };
        match self.run(Handler::Get, args, context) {
            Err(refusal) => responder.answer(Err(refusal)),
            Ok(outcome) => {
                let Outcome { reply, parked, state, actions, .. } = outcome;
                if let Err(refusal) = self.commit(state, actions, context) {
                    return responder.answer(Err(refusal));
                }
                if parked {
                    self.park(caller, responder, deadline, context);
                } else {
                    self.answer(responder, found(reply));
                }
            }
        }
    }

    /// Parks a request for as long as requests may be parked, and no longer than whoever sent it waits: a node that has
    /// given up asks again, and is parked once only.
    fn park(&mut self, caller: Arc<Caller>, responder: CallResponder, deadline: Moment, context: &mut Context<Self>) {
        let patience = Duration::from_secs(self.local.env.settings.parked_seconds);
        let end = deadline.min(self.local.env.now() + patience);
        self.extras().park(caller, responder, end);
        if self.extras().waking.is_none_or(|waking| end < waking) {
            self.time_out_at(end, patience, context);
        }
    }

    /// Ends requests that were parked for too long, for as long as there are any.
    fn time_out_at(&mut self, end: Moment, patience: Duration, context: &mut Context<Self>) {
        self.extras().waking = Some(end);
        let clock = self.local.env.kernel.clock.clone();
        context.at(&clock, end, move |object, context| {
            // An earlier end has been seen to since, and goes on.
            if object.extras().waking != Some(end) {
                return;
            }
            object.extras().waking = None;
            let now = object.local.env.now();
            if let Some(next) = object.extras().time_out(now, patience) {
                object.time_out_at(next, patience, context);
            }
        });
    }

    /// `onUpdate`, and whatever takes the object's place.
    pub(super) fn put(&mut self, origin: Origin, put: Box<Put>, responder: CallResponder, context: &mut Context<Self>) {
        match self.may_put(&origin.caller, &put, context) {
            Err(refusal) => responder.answer(Err(refusal)),
            Ok(Decision::NotWanted) => {
                let present = self.former_record();
                self.answer(responder, Reply::Kept { present });
            }
            Ok(Decision::Replace(asked)) => self.replace(origin, put, asked, responder, context),
            // Whoever was parked for this update is answered with it: when it is durable.
            Ok(Decision::Keep(state, actions)) => match self.commit_now(state, actions, context) {
                Err(refusal) => responder.answer(Err(refusal)),
                Ok(()) => {
                    let present = self.former_record();
                    self.answer(responder, Reply::Kept { present });
                }
            },
        }
    }

    fn may_put(&mut self, caller: &Caller, put: &Put, context: &mut Context<Self>) -> Result<Decision, Refusal> {
        if !plain::holds(put.condition, true) {
            return Ok(Decision::NotWanted);
        }
        put.check()?;
        self.may_change(caller)?;
        let Body::Scripted(scripted) = &self.body else { unreachable!("only scripted objects come here") };
        if !scripted.script.handles(Handler::Update) {
            return Ok(Decision::Replace(Actions::default()));
        }
        let script = put.script.as_ref().and_then(|choice| {
            super::Found::in_catalogue(&self.local.env.catalogue, choice).map(|found| found.script.hash())
        });
        let outcome = self.run(Handler::Update, Args::Update { caller, value: &put.value, script }, context)?;
        // What a handler that lets itself be replaced did to its own state is of no consequence, nor are its timer and end.
        let last = |actions| Actions { timer: None, delete_self: false, ..actions };
        Ok(match outcome.reply {
            Value::Bool(true) => Decision::Replace(last(outcome.actions)),
            _ => Decision::Keep(outcome.state, outcome.actions),
        })
    }

    /// The checks before anything that changes the object from outside.
    pub(super) fn may_change(&self, caller: &Caller) -> Result<(), Refusal> {
        let Body::Scripted(scripted) = &self.body else { unreachable!("only scripted objects come here") };
        plain::check_owner(scripted.owner.as_deref(), caller)?;
        if scripted.quarantined { Err(Refusal::Quarantined) } else { Ok(()) }
    }

    /// Asks the object's `onRemove`. What it asks for is to be carried out when the object is gone.
    pub(super) fn ask_remove(&mut self, caller: &Caller, context: &mut Context<Self>) -> Result<Actions, Refusal> {
        self.may_change(caller)?;
        let Body::Scripted(scripted) = &self.body else { unreachable!("only scripted objects come here") };
        if !scripted.script.handles(Handler::Remove) {
            return Ok(Actions::default());
        }
        let outcome = self.run(Handler::Remove, Args::Caller(caller), context)?;
        if outcome.reply == Value::Bool(false) {
            return Err(Refusal::Thrown("onRemove refused the removal".to_owned()));
        }
        Ok(outcome.actions)
    }

    /// `onRemove`, and the end of the object.
    pub(super) fn remove(&mut self, origin: &Origin, responder: CallResponder, context: &mut Context<Self>) {
        match self.ask_remove(&origin.caller, context) {
            Err(refusal) => responder.answer(Err(refusal)),
            Ok(actions) => {
                let reply = Reply::Removed { former: self.former_record() };
                let left = origin.stamp.as_ref().map(|stamp| tombstone(stamp, self.local.env.unix()));
                let body = left.map_or(Body::Gone, |record| Body::Plain(Arc::new(record)));
                self.change_and_answer(body, actions, responder, reply, context);
            }
        }
    }

    /// `onTimer`, if it is due. The timer goes on whether the handler fails or not; a tick that may not run now comes again.
    pub(super) fn tick(&mut self, responder: CallResponder, context: &mut Context<Self>) {
        let now = self.local.env.unix();
        let Body::Scripted(scripted) = &self.body else { unreachable!("only scripted objects come here") };
        let due = scripted.timer.filter(|timer| timer.due <= now && !scripted.quarantined);
        if due.is_some()
            && scripted.script.handles(Handler::Timer)
            && let Err(refusal) = self.may_run(context)
        {
            return responder.answer(Err(refusal));
        }
        let Body::Scripted(scripted) = &mut self.body else { unreachable!("it is what it was") };
        if let Some(timer) = due {
            scripted.set_timer(timer.seconds, &self.local);
            if scripted.script.handles(Handler::Timer) {
                let outcome = self.run(Handler::Timer, Args::None, context);
                let outcome = outcome.and_then(|outcome| self.commit(outcome.state, outcome.actions, context));
                if let Err(refusal) = outcome {
                    // Nobody waits for the outcome: its author finds it in the object's log.
                    self.note(&format!("onTimer failed: {refusal:?}"));
                }
            }
            self.changed();
        }
        let next = match &self.body {
            Body::Scripted(scripted) => scripted.dues().next(),
            _ => None,
        };
        responder.answer(Ok(Reply::Ticked { next }));
    }

    /// Turns handlers off, or on again.
    pub(super) fn quarantine(&mut self, on: bool, why: &str, responder: CallResponder, context: &mut Context<Self>) {
        let Body::Scripted(scripted) = &mut self.body else { unreachable!("only scripted objects come here") };
        let changes = scripted.quarantined != on;
        if !changes {
            return self.answer(responder, Reply::Value(Value::Bool(false)));
        }
        match self.write_with(context, |scripted| scripted.quarantined = on) {
            Ok(()) => {
                self.tell_quarantine(on, why);
                self.answer(responder, Reply::Value(Value::Bool(true)));
            }
            Err(refusal) => responder.answer(Err(refusal)),
        }
    }

    fn tell_quarantine(&mut self, on: bool, why: &str) {
        self.extras().forgive();
        let text = if on { format!("quarantined {why}") } else { format!("released {why}") };
        self.local.env.kernel.events.publish(Kind::Quarantine, self.key.to_string(), text);
    }

    /// Takes over a newer version of the script that the object follows, before its next event.
    pub(super) fn upgrade(&mut self, context: &mut Context<Self>) {
        let Body::Scripted(scripted) = &mut self.body else { return };
        // Once it is released, its next event looks again.
        if scripted.quarantined {
            return;
        }
        let Some(named) = scripted.follows.as_ref().filter(|named| named.stamp() != scripted.stamp) else { return };
        let named = named.clone();
        scripted.stamp = named.stamp();
        let current = named.current();
        if scripted.was_put_after(current.loaded, &self.local.env.node.id) {
            return;
        }
        let (former, new) = (scripted.script.clone(), current.script.clone());
        let old = former.hash();
        let refused = self.extras.as_ref().is_some_and(|extras| extras.refused_upgrade == Some(new.hash()));
        if new.hash() == old || refused {
            return;
        }
        let (outcome, used) = Sandbox::account(|| self.run_upgrade(&new, old));
        self.spend(used.cpu, context);
        match outcome {
            Ok(Some((state, actions))) => {
                self.with_scripted(|scripted| scripted.script = new);
                if self.commit(Some(state), actions, context).is_err() {
                    // It wants to be deleted, and the store does not take that now: its next event tries again.
                    self.with_scripted(|scripted| (scripted.script, scripted.stamp) = (former, 0));
                }
            }
            Ok(None) => self.extras().refused_upgrade = Some(new.hash()),
            Err(failure) => {
                self.extras().refused_upgrade = Some(new.hash());
                let text = format!("keeps version {}: onUpgrade failed: {failure}", old.short());
                self.local.env.kernel.events.publish(Kind::Script, self.key.to_string(), text);
                // It is the new version's failure, and one of those that may have it rolled back.
                self.count(Some(&new), &Err(failure));
            }
        }
    }

    /// The state under the new version: the present one, with the fields that only the new version declares, as
    /// `onUpgrade` leaves it. None if it refuses.
    fn run_upgrade(
        &self,
        new: &crate::sandbox::Script,
        old: comet_kernel::ScriptHash,
    ) -> Result<Option<(State, Actions)>, Failure> {
        let Body::Scripted(scripted) = &self.body else { unreachable!("only scripted objects come here") };
        let sandbox = &self.local.env.sandbox;
        let event = Event { key: &self.key, parked: self.parked(), seed: self.local.seed() };
        let value = scripted.state.value();
        let fresh = sandbox.create(new, &value, &event)?;
        let mut fields = scripted.state.fields();
        if let (Value::Map(fields), Value::Map(fresh)) = (&mut fields, fresh.fields()) {
            for (name, field) in fresh {
                fields.entry(name).or_insert(field);
            }
        }
        let state = State::new(&value, &fields)?;
        if !new.handles(Handler::Upgrade) {
            return Ok(Some((state, Actions::default())));
        }
        let outcome = sandbox.call(new, &state, Handler::Upgrade, Args::Upgrade { old }, &event)?;
        if outcome.reply == Value::Bool(false) {
            return Ok(None);
        }
        Ok(Some((outcome.state.unwrap_or(state), outcome.actions)))
    }

    fn parked(&self) -> &[Arc<Caller>] {
        self.extras.as_ref().map_or(&[], |extras| extras.parked())
    }

    /// Whether somebody waits for a reply of the object.
    pub(super) fn is_awaited(&self) -> bool {
        !self.parked().is_empty()
    }

    /// Runs a handler within what the object may use. The state is untouched; the outcome has to be committed.
    pub(super) fn run(
        &mut self,
        handler: Handler,
        args: Args<'_>,
        context: &mut Context<Self>,
    ) -> Result<Outcome, Refusal> {
        self.run_with(context, |sandbox, scripted, event| {
            sandbox.call(&scripted.script, &scripted.state, handler, args, event)
        })
    }

    /// As `run`, for whatever the sandbox is to run.
    pub(super) fn run_with(
        &mut self,
        context: &mut Context<Self>,
        call: impl FnOnce(&Sandbox, &Scripted, &Event<'_>) -> Result<Outcome, Failure>,
    ) -> Result<Outcome, Refusal> {
        self.may_run(context)?;
        let Body::Scripted(scripted) = &self.body else { unreachable!("only scripted objects come here") };
        let env = &self.local.env;
        let event = Event { key: &self.key, parked: self.parked(), seed: self.local.seed() };
        let (outcome, used) = Sandbox::account(|| call(&env.sandbox, scripted, &event));
        if let Err(failure @ Failure::Given { .. }) = outcome {
            // Nothing ran: it is neither a call of the object nor a failure of it.
            return Err(refusal(failure));
        }
        self.calls = self.calls.saturating_add(1);
        // What a failed call used counts as well.
        self.spend(used.cpu, context);
        self.count(None, &outcome.as_ref().map(|_| ()).map_err(Clone::clone));
        outcome.map_err(refusal)
    }

    /// Whether the object has processor time left.
    fn may_run(&mut self, context: &mut Context<Self>) -> Result<(), Refusal> {
        let env = &self.local.env;
        let May::Wait(wait) = self.processor.may(|| env.now()) else { return Ok(()) };
        self.ask_for_processor(context);
        Err(Refusal::Limited { retry_after_ms: wait.as_millis().max(1) as u64 })
    }

    /// Counts nanoseconds in microseconds: most calls take less than one, so that the rest is left to chance.
    fn spend(&mut self, used: Duration, context: &mut Context<Self>) {
        let nanos = used.as_nanos() as u64;
        let chance = self.local.seed() % 1_000;
        let micros = (nanos + chance) / 1_000;
        if micros > 0 {
            self.processor.spend(i32::try_from(micros).unwrap_or(i32::MAX));
            self.ask_for_processor(context);
        }
    }

    fn ask_for_processor(&mut self, context: &mut Context<Self>) {
        let clock = self.local.env.kernel.clock.clone();
        if !self.processor.wants(PROCESSOR_LOW, || clock.now()) {
            return;
        }
        let lease = Lease { subject: Subject::Processor(self.key.clone()), tokens: PROCESSOR_LEASE };
        let limiter = self.local.env.limiter.lease.clone();
        context.then(async move { limiter.call(lease).await }, move |object, leased, _| {
            object.processor.receive(leased.ok(), clock.now());
        });
    }

    /// Counts a call and its failure: for the quarantine of the object, and for the rollback of the version.
    /// `script` is the one that ran, if that is not the object's own.
    fn count(&mut self, script: Option<&Arc<Script>>, outcome: &Result<(), Failure>) {
        let Body::Scripted(scripted) = &self.body else { return };
        // That too many requests are parked is the doing of those who ask.
        let failed = !matches!(outcome, Ok(()) | Err(Failure::Thrown(_) | Failure::Budget(Budget::Parked)));
        if let Some(named) = &scripted.follows
            && named.count(script.unwrap_or(&scripted.script), failed)
        {
            let suspect = crate::library::Suspect(named.clone());
            // A library that is too busy now is told by the next bad version, or by the operator.
            let _busy = self.local.env.suspect.tell(suspect);
        }
        if !failed {
            return;
        }
        self.failures = self.failures.saturating_add(1);
        let counts = matches!(outcome, Err(Failure::Budget(_) | Failure::Panicked(_)));
        let env = self.local.env.clone();
        if counts && self.extras().fail(&env) {
            self.with_scripted(|scripted| scripted.quarantined = true);
            self.tell_quarantine(true, "after repeated failures");
            self.changed();
        }
    }

    /// Takes over what a handler left: its state and what it asked for. If the object deletes itself and the store does
    /// not take that, nothing has happened.
    pub(super) fn commit(
        &mut self,
        state: Option<State>,
        mut actions: Actions,
        context: &mut Context<Self>,
    ) -> Result<(), Refusal> {
        if std::mem::take(&mut actions.delete_self) {
            let left = match &self.body {
                Body::Scripted(scripted) => self.left_by(scripted),
                _ => Body::Gone,
            };
            self.change(left, context)?;
            self.carry_out(actions, context);
            self.forsake_parked();
            return Ok(());
        }
        if let Some(state) = state {
            self.with_scripted(|scripted| scripted.state = state);
            self.changed();
        }
        self.carry_out_with_timer(actions, context);
        Ok(())
    }

    /// As [`Object::commit`], but what is answered from now on waits until it is durable. If the store does not take it,
    /// nothing has happened.
    pub(super) fn commit_now(
        &mut self,
        state: Option<State>,
        actions: Actions,
        context: &mut Context<Self>,
    ) -> Result<(), Refusal> {
        self.commit_with(state, actions, context, |_| ())
    }

    /// As [`Object::commit_now`], with whatever else changes.
    pub(super) fn commit_with(
        &mut self,
        state: Option<State>,
        mut actions: Actions,
        context: &mut Context<Self>,
        change: impl FnOnce(&mut Scripted),
    ) -> Result<(), Refusal> {
        if actions.delete_self {
            return self.commit(state, actions, context);
        }
        let (local, timer) = (self.local.clone(), actions.timer.take());
        self.write_with(context, |scripted| {
            if let Some(state) = state {
                scripted.state = state;
            }
            if let Some(seconds) = timer {
                scripted.set_timer(seconds, &local);
            }
            change(scripted);
        })?;
        self.carry_out(actions, context);
        Ok(())
    }

    fn carry_out_with_timer(&mut self, mut actions: Actions, context: &mut Context<Self>) {
        if let (Some(seconds), Body::Scripted(scripted)) = (actions.timer.take(), &mut self.body) {
            scripted.set_timer(seconds, &self.local);
            let dues = scripted.dues();
            self.changed();
            self.arm(dues);
        }
        self.carry_out(actions, context);
    }

    /// Carries out what needs no write: log lines, answers to parked requests, and what was asked of the network.
    pub(super) fn carry_out(&mut self, actions: Actions, context: &mut Context<Self>) {
        if !actions.log.is_empty() {
            self.log(actions.log);
        }
        self.reply_to_parked(actions.replies);
        self.act(actions.network, context);
    }

    /// Whoever waits for a reply of what the object was waits in vain, and nothing that it asked is answered to it.
    pub(super) fn forsake_parked(&mut self) {
        self.forsake_actions();
        if let Some(extras) = &mut self.extras {
            let text = "the object that was to reply is gone; try again".to_owned();
            extras.end_parked(&Refusal::Unavailable(text));
        }
    }

    fn reply_to_parked(&mut self, replies: Vec<(usize, Value)>) {
        if replies.is_empty() {
            return;
        }
        for (responder, value) in self.extras().take_parked(replies) {
            self.answer(responder, found(value));
        }
    }
}

/// What a put on a scripted object comes to.
enum Decision {
    /// The put's condition does not hold.
    NotWanted,
    /// The incoming object takes the place of this one, which has asked for this before it goes.
    Replace(Actions),
    /// This one stays, with what its handler changed.
    Keep(Option<State>, Actions),
}

fn found(value: Value) -> Reply {
    if value == Value::Nil { Reply::Absent } else { Reply::Value(value) }
}
