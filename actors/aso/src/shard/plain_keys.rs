//! What a shard does with plain values.
//!
//! A change is applied in memory at once and answered when storage has it. Until then the directory shows the key as
//! changing, so that reads come here and wait with the rest. Under `durability = none` nobody waits: the new value stands
//! in the directory at once.

use std::sync::Arc;

use comet_kernel::contract::aso::{Call, Op, Refusal, Reply};
use comet_kernel::contract::storage::{Former, Write};
use comet_kernel::directory::{CallResponder, Presence};
use comet_kernel::handle::CallError;
use comet_kernel::{Context, Key, Record, Work};

use super::{Busy, Changing, Shard, Waiting};
use crate::object::{Found, failure, waits};
use crate::pipeline::Pipeline;
use crate::plain::{self, Circumstances, Verdict};

impl Shard {
    /// A call on a plain value, or on a key that holds nothing.
    pub(super) fn act_on_plain(&mut self, call: Call, responder: CallResponder, context: &mut Context<Self>) {
        let Call { key, caller, request, op } = call;
        let (present, former) = self.present(&key);
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
                if self.is_changing(&key) {
                    let call = Call { key, caller, request, op: Op::Put(put) };
                    return self.defer(call, responder);
                }
                let choice = put.script.clone().expect("only a put with a script is conceived");
                let found = Found::in_catalogue(&self.local.env.catalogue, &choice);
                self.busy.remove(&key);
                match found {
                    Some(found) => {
                        self.conceive(&key, &caller, &put, found, (present, former), responder, context);
                    }
                    None => {
                        let call = Call { key, caller, request, op: Op::Put(put) };
                        self.fetch(choice, call, responder, present, context);
                    }
                }
            }
        }
    }

    fn present(&self, key: &Key) -> (Option<Arc<Record>>, Former) {
        match self.busy.get(key) {
            Some(Busy::Changing(changing)) => (changing.present.clone(), changing.former),
            _ => {
                let settled = self.local.env.directory.settled(key);
                let former = Former::of(settled.as_deref());
                (settled, former)
            }
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
        let acknowledged = waits(&self.local.env);
        let write = Write { key: key.clone(), record: record.clone(), former, behind: !acknowledged };
        let now_former = Former::of(record.as_deref());
        if !acknowledged && !self.is_changing(key) {
            if let Err(refused) = self.local.env.storage.write.tell(write) {
                return responder.answer(Err(Refusal::Unavailable(format!("the store: {}", refused.reason))));
            }
            self.local.arm_if_changed(key, former.dues, now_former.dues);
            self.show(key, record);
            return responder.answer(Ok(reply));
        }
        let pending = match self.local.env.storage.write.ask(write) {
            Ok(pending) => pending,
            Err(refused) => {
                return responder.answer(Err(Refusal::Unavailable(format!("the store: {}", refused.reason))));
            }
        };
        self.local.arm_if_changed(key, former.dues, now_former.dues);
        let changing = self.changing(key);
        changing.present = record;
        changing.former = now_former;
        let number = changing.pipeline.send();
        changing.pipeline.answer(responder, reply);
        let (key, epoch) = (key.clone(), self.local.epoch.get());
        context.then(pending, move |shard, outcome, context| {
            if shard.local.epoch.get() == epoch {
                shard.written(&key, number, failure(outcome.map_err(CallError::from)), context);
            }
        });
    }

    /// Shows a value to every thread without waiting for storage. The key is in the middle of nothing, or of finding out
    /// that nothing is there.
    fn show(&mut self, key: &Key, record: Option<Arc<Record>>) {
        if let Some(Busy::Changing(changing)) = self.busy.get_mut(key) {
            changing.former = Former::of(record.as_deref());
            changing.present = record;
            return;
        }
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
                pipeline: Pipeline::default(),
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
        match failure {
            None => {
                changing.pipeline.done(number);
                self.settle(key, context);
            }
            Some(reason) => {
                // What is in memory is not what is on the disk: the next call reads it again.
                changing.pipeline.fail(&reason);
                let deferred = std::mem::take(&mut changing.deferred);
                self.busy.remove(key);
                self.local.env.directory.remove(key);
                self.drain(deferred, context);
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
