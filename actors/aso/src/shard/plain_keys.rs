//! What a shard does with plain values.
//!
//! A change is applied in memory at once and answered when storage has it. Until then the directory shows the key as
//! changing, so that reads come here and wait with the rest. Under `durability = none` nobody waits: the new value stands
//! in the directory at once.

use std::sync::Arc;

use comet_kernel::contract::aso::{Call, Op, Put, Refusal, Reply};
use comet_kernel::contract::storage::{Former, Read, Write};
use comet_kernel::directory::{CallResponder, Presence};
use comet_kernel::handle::CallError;
use comet_kernel::record::Dues;
use comet_kernel::{Context, Key, Record, Work};

use super::{Busy, Changing, Shard, Waiting};
use crate::object::{Found, failure, waits};
use crate::pipeline::Pipeline;
use crate::plain::{self, Circumstances, Verdict};

impl Shard {
    /// A call on a plain value that has writes under way.
    pub(super) fn act_on_changing(&mut self, call: Call, responder: CallResponder, context: &mut Context<Self>) {
        let Some(Busy::Changing(changing)) = self.busy.get(&call.key) else { unreachable!("the key is being changed") };
        let (present, former) = (changing.present.clone(), changing.former);
        self.act_on_plain(call, responder, present, former, context);
    }

    /// A call on a plain value, or on nothing, that no write is under way for.
    pub(super) fn act_on_settled(
        &mut self,
        call: Call,
        responder: CallResponder,
        present: Option<Arc<Record>>,
        context: &mut Context<Self>,
    ) {
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
        let Call { key, caller, request, op } = call;
        let env = &self.local.env;
        let now = Circumstances { now: env.unix(), max_ttl: env.max_ttl(), caller: &caller };
        let verdict = plain::decide(op, present.as_ref(), now, |replaced| self.local.next_version(replaced));
        match verdict {
            Err(refusal) => responder.answer(Err(refusal)),
            Ok(Verdict::Answer(reply)) => self.answer_plain(&key, responder, reply),
            Ok(Verdict::Write(record, reply)) => {
                self.write(&key, record.map(Arc::new), former, responder, reply, context);
            }
            Ok(Verdict::Conceive(put)) => {
                let replaced = (present, former);
                let call = Call { key, caller, request, op: Op::Put(put.clone()) };
                self.put_script(call, &put, replaced, responder, context);
            }
        }
    }

    /// A put that makes a scripted object of the key. The writes under way have to be done first, and the script found.
    fn put_script(
        &mut self,
        call: Call,
        put: &Put,
        replaced: (Option<Arc<Record>>, Former),
        responder: CallResponder,
        context: &mut Context<Self>,
    ) {
        if self.is_changing(&call.key) {
            return self.defer(call, responder);
        }
        let choice = put.script.clone().expect("only a put with a script is conceived");
        self.busy.remove(&call.key);
        match Found::in_catalogue(&self.local.env.catalogue, &choice) {
            Some(found) => {
                self.behind.forget(&call.key);
                self.conceive(&call, put, found, replaced, responder);
            }
            None => self.fetch(choice, call, responder, replaced.0, context),
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
        let number = changing.pipeline.send();
        changing.pipeline.answer(responder, reply);
        self.last_write = self.last_write.max(number);
        let (key, epoch) = (key.clone(), self.local.epoch.get());
        context.then(pending, move |shard, outcome, context| {
            if shard.local.epoch.get() == epoch {
                shard.written(&key, number, failure(outcome.map_err(CallError::from)), context);
            }
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
            Some(record) => self.remember(key, record),
            None => {
                self.local.env.directory.remove(key);
            }
        }
        self.drain(changing.deferred, context);
    }
}
