//! What a shard does with plain values.
//!
//! A change is applied in memory at once and answered when storage has it. Until then the directory shows the key as
//! changing, so that reads come here and wait with the rest. Under `durability = none` nobody waits: the new value stands
//! in the directory at once.

use std::sync::Arc;

use comet_kernel::contract::aso::{Call, Condition, Lifetime, Op, Refusal, Reply};
use comet_kernel::contract::storage::{Former, Read, Write};
use comet_kernel::directory::{CallResponder, Presence};
use comet_kernel::handle::CallError;
use comet_kernel::record::Dues;
use comet_kernel::{Context, Key, Record, Value};

use super::{Busy, Changing, Shard, Waiting};
use crate::object::{Found, failure, travelled, waits};
use crate::pipeline::Pipeline;
use crate::plain::{self, Verdict};

impl Shard {
    /// A call on a plain value that has writes under way.
    pub(super) fn act_on_changing(&mut self, call: Call, responder: CallResponder, context: &mut Context<Self>) {
        let Some(Busy::Changing(changing)) = self.busy.get(&call.key) else { unreachable!("the key is being changed") };
        if let Some(reason) = &changing.unread {
            let reason = reason.clone();
            return self.act_on_unread(call, responder, reason, context);
        }
        let (present, former) = (changing.present.clone(), changing.former);
        self.act_on_plain(call, responder, present, former, context);
    }

    /// A call on what cannot be read. Only what asks for nothing that was there can be done: it takes its place.
    fn act_on_unread(&mut self, call: Call, responder: CallResponder, reason: String, context: &mut Context<Self>) {
        match (&call.op, &call.stamp) {
            (Op::Remove, None) => {
                let reply = Reply::Removed { former: Some(Arc::new(Record::plain(0, Value::Nil))) };
                self.write(&call.key, None, Former::UNREAD, responder, reply, context);
            }
            (Op::Put(put), _) if put.condition != Condition::Always || put.lifetime == Lifetime::Keep => {
                responder.answer(Err(Refusal::Unavailable(reason)));
            }
            (Op::Put(_) | Op::Remove | Op::Arrive(_), _) => {
                self.act_on_plain(call, responder, None, Former::UNREAD, context);
            }
            _ => responder.answer(Err(Refusal::Unavailable(reason))),
        }
    }

    /// A call on a plain value, or on nothing, that no write is under way for.
    pub(super) fn act_on_settled(
        &mut self,
        call: Call,
        responder: CallResponder,
        present: Option<Arc<Record>>,
        context: &mut Context<Self>,
    ) {
        // The script may have come meanwhile.
        let lost = present.as_ref().is_some_and(|record| record.active.is_some());
        if lost && !self.behind.contains(&call.key) {
            self.local.env.directory.remove(&call.key);
            return self.load_for(call, responder, false, context);
        }
        let behind = self.behind.former(&call.key);
        let former = behind.unwrap_or_else(|| Former::of(present.as_deref()));
        self.act_on_plain(call, responder, present, former, context);
    }

    /// `former` is what the disk has, or will have when the writes under way are done.
    fn act_on_plain(
        &mut self,
        call: Call,
        responder: CallResponder,
        present: Option<Arc<Record>>,
        former: Former,
        context: &mut Context<Self>,
    ) {
        let Call { key, caller, request, op, stamp } = call;
        self.local.hear(&op, stamp.as_deref());
        let now = self.local.circumstances(&key, &caller, stamp.as_deref());
        let verdict = plain::decide(op, present.as_ref(), now, |replaced| self.local.next_version(replaced));
        match verdict {
            Err(refusal) => responder.answer(Err(refusal)),
            Ok(Verdict::Answer(reply)) => self.answer_plain(&key, responder, reply),
            Ok(Verdict::Write(record, reply)) => {
                self.write(&key, record.map(Arc::new), former, responder, reply, context);
            }
            Ok(Verdict::Conceive(put)) => {
                let call = Call { key, caller, request, op: Op::Put(put), stamp };
                self.bring_script(call, (present, former), responder, context);
            }
            Ok(Verdict::Adopt(record)) => {
                let call = Call { key, caller, request, op: Op::Arrive(record), stamp };
                self.bring_script(call, (present, former), responder, context);
            }
        }
    }

    /// A put or a copy that makes a scripted object of the key. The writes under way have to be done first, and the script
    /// found.
    fn bring_script(
        &mut self,
        call: Call,
        replaced: (Option<Arc<Record>>, Former),
        responder: CallResponder,
        context: &mut Context<Self>,
    ) {
        if self.is_changing(&call.key) {
            return self.defer(call, responder);
        }
        let choice = match &call.op {
            Op::Put(put) => put.script.clone(),
            Op::Arrive(record) => record.active.as_deref().map(|active| travelled(&active.script)),
            _ => None,
        };
        let choice = choice.expect("only what comes with a script makes a scripted object");
        let unread = match self.busy.remove(&call.key) {
            Some(Busy::Changing(changing)) => changing.unread,
            _ => None,
        };
        match Found::in_catalogue(&self.local.env.catalogue, &choice) {
            Some(found) => self.conceive(call, found, replaced, responder),
            None => self.fetch(choice, call, responder, (replaced.0, unread), context),
        }
    }

    /// Answers when every write under way is durable: the answer may rest on them.
    fn answer_plain(&mut self, key: &Key, responder: CallResponder, reply: Reply) {
        match self.busy.get_mut(key) {
            Some(Busy::Changing(changing)) => changing.pipeline.answer(responder, reply),
            _ => responder.answer(Ok(reply)),
        }
    }

    fn is_changing(&self, key: &Key) -> bool {
        matches!(self.busy.get(key), Some(Busy::Changing(changing)) if !changing.pipeline.is_idle())
    }

    fn defer(&mut self, call: Call, responder: CallResponder) {
        if let Some(Busy::Changing(changing)) = self.busy.get_mut(&call.key) {
            changing.deferred.push_back((call, responder));
        }
    }

    fn write(
        &mut self,
        key: &Key,
        record: Option<Arc<Record>>,
        former: Former,
        responder: CallResponder,
        reply: Reply,
        context: &mut Context<Self>,
    ) {
        if let Err(refusal) = self.local.env.may_write(self.behind.contains(key)) {
            return responder.answer(Err(refusal));
        }
        let now_former = Former::of(record.as_deref());
        let armed = self.armed(key, former);
        let waits = waits(&self.local.env) || self.behind.is_full();
        if !waits && !self.is_changing(key) {
            self.behind.note(key, former);
            self.local.arm_if_changed(key, armed, now_former.dues);
            self.show(key, record);
            return responder.answer(Ok(reply));
        }
        let write = Write { key: key.clone(), record: record.clone(), former, behind: false };
        let pending = match self.local.env.storage.write.ask(write) {
            Ok(pending) => pending,
            Err(refused) => {
                return responder.answer(Err(Refusal::Unavailable(format!("the store: {}", refused.reason))));
            }
        };
        self.local.arm_if_changed(key, armed, now_former.dues);
        self.behind.forget(key);
        let changing = self.changing(key);
        changing.present = record;
        changing.former = now_former;
        changing.unread = None;
        let number = changing.pipeline.send();
        changing.pipeline.answer(responder, reply);
        self.last_write = self.last_write.max(number);
        let key = key.clone();
        self.unless_cleared(context, pending, move |shard, outcome, context| {
            shard.written(&key, number, failure(outcome.map_err(CallError::from)), context);
        });
    }

    /// What the timer was told of a key last: what its value in memory says. The disk may not have that yet.
    fn armed(&self, key: &Key, former: Former) -> Dues {
        if self.busy.contains_key(key) {
            return former.dues;
        }
        Former::of(self.local.env.directory.settled(key).as_deref()).dues
    }

    /// Shows a value to every thread without waiting for storage.
    fn show(&mut self, key: &Key, record: Option<Arc<Record>>) {
        // It was in the middle of finding out that nothing is there.
        self.busy.remove(key);
        match record {
            None => {
                self.local.env.directory.remove(key);
            }
            Some(record) => {
                let bytes = plain::footprint(key.as_bytes().len(), &record);
                self.insert(key, Presence::Plain(record), bytes);
            }
        }
    }

    fn changing(&mut self, key: &Key) -> &mut Changing {
        if !self.busy.contains_key(key) {
            self.insert(key, Presence::Changing, 0);
        }
        let busy = self.busy.entry(key.clone()).or_insert_with(|| {
            Busy::Changing(Changing {
                present: None,
                former: Former::default(),
                unread: None,
                pipeline: Pipeline::after(self.last_write),
                deferred: Waiting::new(),
            })
        });
        match busy {
            Busy::Changing(changing) => changing,
            other => unreachable!("a plain value is written only when it is in the middle of nothing else: {other:?}"),
        }
    }

    fn written(&mut self, key: &Key, number: u64, failure: Option<String>, context: &mut Context<Self>) {
        let Some(Busy::Changing(changing)) = self.busy.get_mut(key) else { return };
        // Storage answers in order, and yet a thread may look at a later answer first. The key may have settled on that
        // and be changing again.
        if changing.pipeline.is_done(number) {
            return;
        }
        match failure {
            None => {
                changing.pipeline.done(number);
                self.settle(key, context);
            }
            Some(reason) => {
                // What is in memory is not what is on the disk, and more may be on its way there.
                changing.pipeline.fail(&reason);
                let deferred = std::mem::take(&mut changing.deferred);
                self.local.env.directory.remove(key);
                self.load(Read { key: key.clone(), request: None }, deferred, true, context);
            }
        }
    }

    /// If no write is under way any more, the value is shown to every thread again.
    pub(super) fn settle(&mut self, key: &Key, context: &mut Context<Self>) {
        match self.busy.get(key) {
            Some(Busy::Changing(changing)) if changing.pipeline.is_idle() => {}
            _ => return,
        }
        let Some(Busy::Changing(changing)) = self.busy.remove(key) else { return };
        match changing.present {
            Some(record) if record.active.is_none() => self.remember(key, record),
            // Nothing, or an object whose script is lost: each call looks for that again.
            _ => {
                self.local.env.directory.remove(key);
            }
        }
        self.drain(changing.deferred, context);
    }
}
