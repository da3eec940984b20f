//! How an object's changes reach the disk.
//!
//! A put, an update or a removal is written at once and answered when it is durable. What handlers change otherwise is
//! written behind: the first change sets a flush, and every change until then goes with it.

use comet_kernel::contract::aso::{Call, Refusal, Reply};
use comet_kernel::contract::storage::{Before, Former, Write, WriteError};
use comet_kernel::directory::CallResponder;
use comet_kernel::events::Kind;
use comet_kernel::handle::CallError;
use comet_kernel::record::Dues;
use comet_kernel::settings::Durability;
use comet_kernel::{Context, Pending, Record, Work, limits};

use super::{Birth, Body, Made, Object, Retiring, Scripted, footprint};
use crate::env::Env;
use crate::sandbox::Actions;
use crate::shard::Leave;

impl Object {
    /// Writes the put that made the object; answers it, and everything after it, once it is durable. If the write cannot be
    /// sent only the disk knows what was there before.
    pub(super) fn first_write(&mut self, birth: Birth, context: &mut Context<Self>) {
        let Body::Scripted(scripted) = std::mem::replace(&mut self.body, Body::Gone) else {
            unreachable!("an object is born with its script")
        };
        let Birth { responder, reply, actions, note, caused } = birth;
        self.links.caused = caused;
        let made = Made { scripted: *scripted, actions, note };
        if !self.install(made, Actions::default(), responder, reply, context) {
            return self.fail("the store takes no writes", context);
        }
        if !matches!(self.body, Body::Scripted(_)) {
            self.leave();
        }
    }

    /// Makes the object something else, durably, carries out what that brings with it, and answers. If the write cannot be
    /// sent the object stays what it is.
    pub(super) fn change_and_answer(
        &mut self,
        body: Body,
        actions: Actions,
        responder: CallResponder,
        reply: Reply,
        context: &mut Context<Self>,
    ) {
        match self.change(body, context) {
            Ok(()) => {
                self.carry_out(actions, context);
                self.forsake_parked();
                self.answer(responder, reply);
            }
            Err(refusal) => responder.answer(Err(refusal)),
        }
    }

    /// Changes the object and writes that. If the write cannot be sent the object stays as it is.
    pub(super) fn write_with(
        &mut self,
        context: &mut Context<Self>,
        change: impl FnOnce(&mut Scripted),
    ) -> Result<(), Refusal> {
        let Body::Scripted(scripted) = &mut self.body else { unreachable!("only scripted objects come here") };
        let former = scripted.clone();
        change(scripted);
        let written = self.write_now(context);
        if written.is_err() {
            self.body = Body::Scripted(former);
        }
        written
    }

    /// Makes the object something else and writes that. If the write cannot be sent the object stays what it is.
    pub(super) fn change(&mut self, body: Body, context: &mut Context<Self>) -> Result<(), Refusal> {
        let former = std::mem::replace(&mut self.body, body);
        match self.write_now(context) {
            Ok(()) => {
                if matches!(self.body, Body::Gone | Body::Plain(_)) {
                    self.leave();
                }
                Ok(())
            }
            Err(refusal) => {
                self.body = former;
                Err(refusal)
            }
        }
    }

    /// Sends the object as it is now to storage. What is answered from now on waits until it is durable; under
    /// `durability = none` nothing waits, and the object is written at the next flush.
    pub(super) fn write_now(&mut self, context: &mut Context<Self>) -> Result<(), Refusal> {
        if self.epoch != self.local.epoch.get() {
            return Err(Refusal::Unavailable("the store was cleared meanwhile; try again".to_owned()));
        }
        if self.local.still.get() {
            return Err(Refusal::Unavailable("the store is being cleared; try again".to_owned()));
        }
        self.local.env.may_write(self.flush.dirty)?;
        let record = self.record();
        if !waits(&self.local.env) {
            self.arm(Former::of(record.as_deref()).dues);
            self.weigh(record.as_deref());
            self.changed();
            return Ok(());
        }
        let write = Write { key: self.key.clone(), record: record.clone(), former: self.former, behind: false };
        let pending = match self.local.env.storage.write.ask(write) {
            Ok(pending) => pending,
            Err(refused) => return Err(Refusal::Unavailable(format!("the store: {}", refused.reason))),
        };
        let number = self.pipeline.send();
        self.written(record.as_deref());
        context.then(pending, move |object, outcome, context| match failure(outcome.map_err(CallError::from)) {
            None => {
                object.pipeline.done(number);
                object.retire_if_done(context);
            }
            Some(reason) => object.fail(&reason, context),
        });
        Ok(())
    }

    /// Tells the directory what the object takes in memory, if that is no longer roughly what it was told last. Who grows
    /// leaves memory sooner.
    fn weigh(&mut self, record: Option<&Record>) {
        let log = self.extras.as_ref().map_or(0, |extras| extras.log_bytes());
        let bytes = record.map_or(0, |record| footprint(self.key.as_bytes().len(), record)) + log;
        if bytes.abs_diff(self.weight) > self.weight / 4 && self.local.env.directory.weigh(&self.key, bytes) {
            self.weight = bytes;
        }
    }

    /// Appends lines to the object's log.
    pub(super) fn log(&mut self, lines: Vec<String>) {
        self.extras().append(lines);
        self.weigh_log();
    }

    /// Appends a line of the node's own to the object's log.
    pub(super) fn note(&mut self, line: &str) {
        self.extras().note(line);
        self.weigh_log();
    }

    fn weigh_log(&mut self) {
        if self.extras().has_grown() {
            let record = self.record();
            self.weigh(record.as_deref());
        }
    }

    /// Notes that a write was sent.
    fn written(&mut self, record: Option<&Record>) {
        self.weigh(record);
        let now = Former::of(record);
        self.arm(now.dues);
        self.former = now;
        self.flush.dirty = false;
    }

    /// Tells the timer when the object is due, unless it knows. While a change waits for its flush, what the disk has is
    /// not what the timer was told last.
    pub(super) fn arm(&self, dues: Dues) {
        let unknown = self.flush.dirty && dues.next().is_some();
        let known = if unknown { Dues::default() } else { self.former.dues };
        self.local.arm_if_changed(&self.key, known, dues);
    }

    /// Notes that a handler changed the object: it is written when the shard next asks for what is to be flushed.
    pub(super) fn changed(&mut self) {
        self.flush.dirty = true;
        if !std::mem::replace(&mut self.flush.queued, true) {
            self.local.dirty.borrow_mut().push_back(self.key.clone());
        }
    }

    /// Sends what handlers changed to storage. The shard awaits the outcome, and says so if it is bad. Nothing is sent to a
    /// store that takes no writes: until the refusal came back, the object would not know that it has to keep its changes.
    pub(super) fn flush(&mut self, responder: CallResponder) {
        if let Err(refusal) = self.local.env.may_write(self.flush.dirty) {
            // The shard asks again.
            return responder.answer(Err(refusal));
        }
        self.flush.queued = false;
        // Once the store was cleared, what this object holds must not come back.
        let wanted = self.flush.dirty && self.epoch == self.local.epoch.get();
        let under_way = wanted.then(|| self.write_behind()).flatten();
        responder.answer(Ok(Reply::Flushing(under_way.map(Box::new))));
    }

    fn write_behind(&mut self) -> Option<(Pending<Result<(), WriteError>>, Before)> {
        if self.local.still.get() {
            self.changed();
            return None;
        }
        let record = self.record();
        let write = Write { key: self.key.clone(), record: record.clone(), former: self.former, behind: true };
        let Ok(pending) = self.local.env.storage.write.ask(write) else {
            self.changed();
            return None;
        };
        let before = Before { former: self.former, sent: self.pipeline.sent() };
        self.written(record.as_deref());
        Some((pending, before))
    }

    /// A flush did not reach the disk. It is tried again, unless a write that was sent later holds all that it held.
    pub(super) fn unflushed(&mut self, before: Before) {
        if self.pipeline.sent() == before.sent {
            self.former = before.former;
            self.changed();
        }
    }

    /// A write failed: the object in memory is not the one on the disk. It ends when its shard takes back the calls that
    /// come too late for it, and they start from the disk.
    fn fail(&mut self, reason: &str, context: &mut Context<Self>) {
        self.pipeline.fail(reason);
        if matches!(self.body, Body::Fallen(_)) {
            return;
        }
        self.body = Body::Fallen(Vec::new());
        self.epoch = u64::MAX;
        self.forsake_parked();
        if let Some(retiring) = self.retiring.take() {
            // Nothing comes behind the wish that it goes.
            retiring.responder.answer(Ok(Reply::Stranded(Vec::new())));
            context.finish();
        } else if !self.leave() {
            context.finish();
        }
    }

    /// Keeps a call for the object's successor. If there are too many they are not answered, and the next call finds out
    /// that the object has ended.
    pub(super) fn strand(&mut self, call: Call, responder: CallResponder, context: &mut Context<Self>) {
        let Body::Fallen(stranded) = &mut self.body else { unreachable!("only what has fallen strands calls") };
        if stranded.len() < limits::OBJECT_MAILBOX {
            stranded.push((call, responder));
        } else {
            context.finish();
        }
    }

    /// Writes out what is pending, answers, and ends. Unless it is forced to go or memory is short, an object that holds
    /// parked requests or waits for the network stays.
    pub(super) fn retire(&mut self, force: bool, responder: CallResponder, context: &mut Context<Self>) {
        if let Body::Fallen(stranded) = &mut self.body {
            responder.answer(Ok(Reply::Stranded(std::mem::take(stranded))));
            return context.finish();
        }
        self.retiring = Some(Box::new(Retiring { responder, force }));
        if let Some(extras) = &mut self.extras {
            if force {
                extras.end_parked(&Refusal::Unavailable("the node stops".to_owned()));
            } else if extras.is_busy() && !self.local.pressed.borrow().contains(&self.key) {
                return self.refuse_to_retire(context);
            }
        }
        if self.flush.dirty && self.epoch == self.local.epoch.get() {
            let Some((pending, before)) = self.write_behind() else { return self.refuse_to_retire(context) };
            let number = self.pipeline.send();
            context.then(pending, move |object, outcome, context| {
                match failure(outcome.map_err(CallError::from)) {
                    None => object.pipeline.done(number),
                    Some(_) => return object.unwritten(before, context),
                }
                object.retire_if_done(context);
            });
        }
        self.retire_if_done(context);
    }

    /// What was to be written before the object retires was not.
    fn unwritten(&mut self, before: Before, context: &mut Context<Self>) {
        self.former = before.former;
        self.pipeline.fail("the store takes no writes");
        self.changed();
        self.refuse_to_retire(context);
    }

    fn retire_if_done(&mut self, context: &mut Context<Self>) {
        if self.pipeline.is_idle()
            && let Some(retiring) = self.retiring.take()
        {
            if let Some(extras) = &mut self.extras {
                let text = "memory is full, and the object that was to reply had to leave it; try again later";
                extras.end_parked(&Refusal::Unavailable(text.to_owned()));
            }
            retiring.responder.answer(Ok(Reply::Retired));
            context.finish();
        }
    }

    /// The store takes no writes, or somebody waits for this object: it stays, unless it is forced to go.
    fn refuse_to_retire(&mut self, context: &mut Context<Self>) {
        let Some(retiring) = self.retiring.take() else { return };
        if retiring.force {
            let text = "what its handlers changed last is lost: the store takes no writes";
            self.local.env.kernel.events.publish(Kind::Storage, format!("object {}", self.key), text);
            retiring.responder.answer(Ok(Reply::Retired));
            context.finish();
        } else {
            retiring.responder.answer(Ok(Reply::Kept { present: None }));
            // The shard may have looked for it in vain meanwhile.
            self.flush.queued = false;
            if self.flush.dirty {
                self.changed();
            }
        }
    }

    /// Tells the shard that the object needs no actor any more. Whether the shard has room for the word: one that is too
    /// busy finds out by itself when it looks for idle objects.
    pub(super) fn leave(&self) -> bool {
        self.local.shard.get().is_some_and(|shard| shard.tell(Leave(self.key.clone())).is_ok())
    }
}

/// Whether writes are answered only when storage says so. Under `none` nobody waits, unless the store is shut or so far
/// behind that whoever writes has to wait for it.
pub(crate) fn waits(env: &Env) -> bool {
    const BEHIND: u64 = comet_kernel::limits::SHARED_MAILBOX as u64 / 4;
    env.durability != Durability::None || env.storage.gate.is_shut() || env.storage.write.meter().read().depth > BEHIND
}

/// Why a write has not happened, if it has not.
pub(crate) fn failure(outcome: Result<Result<(), WriteError>, CallError>) -> Option<String> {
    match outcome {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(error) => Some(error.to_string()),
    }
}
