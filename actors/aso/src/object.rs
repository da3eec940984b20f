//! The object actor: one active storage object.
//!
//! Owns the object's state, its parked requests and its log. Promises that handlers of the object run one at a time, that
//! a handler which fails leaves no trace, and that what it answers about a put, an update or a removal is durable. It
//! never touches another object, and nothing it does can stop its shard for longer than a handler's budget.
//!
//! An object that is removed, or replaced by a plain value, keeps its actor until its shard retires it. So does one of
//! which a write has failed; the calls that come to it meanwhile are served by its successor, in their order.

mod allowance;
mod arrivals;
mod extras;
mod handlers;
mod network;
mod rates;
mod revisions;
mod scripted;
mod writes;

use std::rc::Rc;
use std::sync::Arc;

use comet_kernel::contract::aso::{Call, Info, Op, Put, Refusal, Reply, ScriptChoice};
use comet_kernel::contract::storage::Former;
use comet_kernel::directory::CallResponder;
use comet_kernel::{Actor, Context, Handler, Key, Record, Work};

use self::allowance::Allowance;
use self::extras::Extras;
use self::network::Links;
use crate::env::Local;
use crate::library::Fetch;
use crate::pipeline::Pipeline;
use crate::plain::{self, Verdict};
use crate::sandbox::Actions;
use crate::terms::{Origin, Replaced, Terms, replayed, tombstone_here};

pub(crate) use self::extras::quarantine_intensity;
pub(crate) use self::scripted::{Found, Made, Scripted, footprint, travelled};
pub(crate) use self::writes::{failure, waits};

/// An object may use the processor time of so many whole calls before the limiter has granted it any.
const FIRST_PROCESSOR_LEASE_CALLS: i32 = 2;

/// One active storage object.
#[derive(Debug)]
pub(crate) struct Object {
    local: Rc<Local>,
    key: Key,
    epoch: u64,
    body: Body,
    former: Former,
    pipeline: Pipeline,
    flush: Flush,
    /// The bytes of memory that the directory was told last.
    weight: usize,
    retiring: Option<Box<Retiring>>,
    birth: Option<Box<Birth>>,
    processor: Allowance,
    calls: u32,
    failures: u32,
    links: Links,
    extras: Option<Box<Extras>>,
}

/// What the object is now.
#[derive(Debug)]
enum Body {
    Gone,
    Plain(Arc<Record>),
    Scripted(Box<Scripted>),
    /// A write has failed, so that only the disk knows. Calls wait here until the shard takes them back.
    Fallen(Vec<(Call, CallResponder)>),
}

/// Whether what handlers changed still has to be written.
#[derive(Clone, Copy, Debug, Default)]
struct Flush {
    dirty: bool,
    /// The shard knows, and will ask for it.
    queued: bool,
}

/// The put or the copy that made the object, to be answered once it is durable.
#[derive(Debug)]
pub(crate) struct Birth {
    pub responder: CallResponder,
    pub reply: Reply,
    pub actions: Actions,
    /// How many objects stand behind the put.
    pub caused: u8,
    pub note: Option<String>,
}

/// The shard's wish that the object goes.
#[derive(Debug)]
struct Retiring {
    responder: CallResponder,
    force: bool,
}

impl Object {
    /// An object as it was stored.
    pub fn stored(local: Rc<Local>, key: Key, scripted: Scripted, former: Former) -> Self {
        let epoch = local.epoch.get();
        let processor = FIRST_PROCESSOR_LEASE_CALLS * local.env.settings.cpu_ms as i32 * 1_000;
        Object {
            local,
            key,
            epoch,
            body: Body::Scripted(Box::new(scripted)),
            former,
            pipeline: Pipeline::default(),
            flush: Flush::default(),
            weight: 0,
            retiring: None,
            birth: None,
            processor: Allowance::new(processor),
            calls: 0,
            failures: 0,
            links: Links::default(),
            extras: None,
        }
    }

    /// An object that a put has just made, in the place of what `former` says.
    pub fn born(local: Rc<Local>, key: Key, scripted: Scripted, former: Former, birth: Birth) -> Self {
        Object { birth: Some(Box::new(birth)), ..Object::stored(local, key, scripted, former) }
    }

    fn extras(&mut self) -> &mut Extras {
        self.extras.get_or_insert_default()
    }

    /// The record of what the object is now.
    fn record(&self) -> Option<Arc<Record>> {
        match &self.body {
            Body::Gone | Body::Fallen(_) => None,
            Body::Plain(record) => Some(record.clone()),
            Body::Scripted(scripted) => Some(Arc::new(scripted.record())),
        }
    }

    /// What callers get to see of the object that a call replaced or removed. A script alone decides who sees its value.
    fn former_record(&self) -> Option<Arc<Record>> {
        let now = self.local.env.unix();
        self.record().filter(|record| record.is_live(now)).map(|record| plain::shown(&record))
    }

    fn dispatch(&mut self, call: Call, responder: CallResponder, context: &mut Context<Self>) {
        match call.op {
            Op::Flush => return self.flush(responder),
            Op::Unflushed(before) => return self.unflushed(before),
            Op::Retire { force } => return self.retire(force, responder, context),
            _ => {}
        }
        if matches!(self.body, Body::Fallen(_)) {
            return self.strand(call, responder, context);
        }
        if self.pipeline.is_full() {
            let text = "too much is waiting for the object; try again".to_owned();
            return responder.answer(Err(Refusal::Unavailable(text)));
        }
        self.admit(call, responder, context);
    }

    fn serve(&mut self, call: Call, responder: CallResponder, context: &mut Context<Self>) {
        self.links.caused = call.request.caused;
        self.local.hear(&call.op, call.stamp.as_deref());
        let version = self.replaced().version;
        if let Some(reply) = replayed(&call.op, call.stamp.as_deref(), version, self.local.env.unix(), || self.record())
        {
            return self.answer(responder, reply);
        }
        self.end_if_expired();
        if matches!(
            call.op,
            Op::Get { .. } | Op::Put(_) | Op::Edit(_) | Op::Revise(_) | Op::Remove | Op::Arrive(_) | Op::Tick
        ) {
            self.upgrade(context);
        }
        if !matches!(self.body, Body::Scripted(_)) {
            return self.act_as_plain(call, responder, context);
        }
        let Call { caller, op, stamp, request, .. } = call;
        if matches!(op, Op::Get { .. } | Op::Put(_) | Op::Edit(_) | Op::Remove) {
            self.remember_caller(&caller);
        }
        let origin = Origin { caller, stamp };
        match op {
            Op::Get { payload } => self.get(origin.caller, payload, request.deadline, responder, context),
            Op::Put(put) => self.put(origin, put, responder, context),
            Op::Edit(edit) => self.edit(&origin.caller, &edit, responder, context),
            Op::Revise(revision) => self.revise(&origin, *revision, responder, context),
            Op::Remove => self.remove(&origin, responder, context),
            Op::Arrive(record) => self.arrive(origin, record, responder, context),
            Op::Drop { version } => self.drop_copy(version, responder, context),
            Op::Tick => self.tick(responder, context),
            Op::Expire(lifetime, condition) => {
                self.expire(&origin.caller, (lifetime, condition), responder, context);
            }
            Op::Quarantine(on) => self.quarantine(on, "by order", responder, context),
            Op::Peek | Op::Copy => self.answer(responder, self.record().map_or(Reply::Absent, Reply::Plain)),
            Op::Info => self.answer(responder, self.info()),
            Op::Log => {
                self.answer(responder, Reply::Log(self.extras.as_ref().map_or(Vec::new(), |extras| extras.log())));
            }
            Op::Flush | Op::Unflushed(_) | Op::Retire { .. } => unreachable!("handled above"),
        }
    }

    /// Answers once everything that the answer rests on is durable.
    fn answer(&mut self, responder: CallResponder, reply: Reply) {
        self.pipeline.answer(responder, reply);
    }

    /// Nobody waits for the end of a life: it, or its mark, goes to the disk with the next flush. Who reads the record there
    /// sees that it has ended.
    fn end_if_expired(&mut self) {
        let end = match &self.body {
            Body::Gone | Body::Fallen(_) => None,
            Body::Plain(record) => record.end(),
            Body::Scripted(scripted) => scripted.expires,
        };
        if end.is_some_and(|end| end <= self.local.env.unix()) {
            let mark = self.record().and_then(|record| record.mark(self.local.env.unix()));
            self.body = mark.map_or(Body::Gone, |mark| Body::Plain(Arc::new(mark)));
            self.forsake_parked();
            self.changed();
            self.leave();
        }
    }

    /// The object has no script any more: the rules of plain values hold.
    fn act_as_plain(&mut self, call: Call, responder: CallResponder, context: &mut Context<Self>) {
        let Call { caller, op, stamp, .. } = call;
        let origin = Origin { caller, stamp };
        let present = self.record();
        let now = self.circumstances(&origin);
        let verdict = plain::decide(op, present.as_ref(), now, |replaced| self.local.next_version(replaced));
        match verdict {
            Err(refusal) => responder.answer(Err(refusal)),
            Ok(Verdict::Answer(reply)) => self.answer(responder, reply),
            Ok(Verdict::Write(record, reply)) => {
                let body = record.map_or(Body::Gone, |record| Body::Plain(Arc::new(record)));
                self.change_and_answer(body, Actions::default(), responder, reply, context);
            }
            Ok(Verdict::Conceive(put)) => self.replace(origin, put, Actions::default(), responder, context),
            Ok(Verdict::Adopt(record)) => self.adopt(origin, record, responder, context),
        }
    }

    /// Puts another object in this one's place, by the rules of the incoming one. What this one `asked` for before it goes
    /// is carried out if it does.
    fn replace(
        &mut self,
        origin: Origin,
        put: Box<Put>,
        asked: Actions,
        responder: CallResponder,
        context: &mut Context<Self>,
    ) {
        let Some(choice) = put.script.clone() else {
            return self.replace_with_plain(&origin, *put, asked, responder, context);
        };
        let Some(found) = Found::in_catalogue(&self.local.env.catalogue, &choice) else {
            return self.fetch(choice, responder, context, move |object, responder, context| {
                object.replace(origin, put, asked, responder, context);
            });
        };
        let replaced = self.replaced();
        let make = || Scripted::conceive(&self.local, self.circumstances(&origin), &put, found, replaced);
        match self.local.make(&origin.caller, make) {
            Err(refusal) => responder.answer(Err(refusal)),
            Ok(made) => {
                let reply = Reply::Stored { former: self.former_record() };
                let _written = self.install(made, asked, responder, reply, context);
            }
        }
    }

    fn replace_with_plain(
        &mut self,
        origin: &Origin,
        put: Put,
        asked: Actions,
        responder: CallResponder,
        context: &mut Context<Self>,
    ) {
        let next = |replaced| self.local.next_version(replaced);
        let terms = Terms::of_put(&put, self.replaced(), self.circumstances(origin), next);
        let body = Body::Plain(Arc::new(terms.record(put.value)));
        let reply = Reply::Stored { former: self.former_record() };
        self.change_and_answer(body, asked, responder, reply, context);
    }

    fn circumstances<'a>(&'a self, origin: &'a Origin) -> plain::Circumstances<'a> {
        self.local.circumstances(&self.key, &origin.caller, origin.stamp.as_deref())
    }

    /// A scripted object that is new in this place: writes it, and carries out what the former one `asked` for before it
    /// went, and what the new one's first handler did. False if the write cannot be sent; then everything is as it was.
    fn install(
        &mut self,
        made: Made,
        asked: Actions,
        responder: CallResponder,
        reply: Reply,
        context: &mut Context<Self>,
    ) -> bool {
        let Made { mut scripted, mut actions, note } = made;
        if let Some(seconds) = actions.timer.take() {
            scripted.set_timer(seconds, &self.local);
        }
        let gone = std::mem::take(&mut actions.delete_self);
        let body = if gone { self.left_by(&scripted) } else { Body::Scripted(Box::new(scripted)) };
        if let Err(refusal) = self.change(body, context) {
            responder.answer(Err(refusal));
            return false;
        }
        self.carry_out(asked, context);
        self.forsake_parked();
        self.extras = self.extras.take().and_then(|extras| extras.successor()).map(Box::new);
        (self.calls, self.failures) = (0, 0);
        if let Some(note) = note {
            self.note(&note);
        }
        self.carry_out(actions, context);
        self.answer(responder, reply);
        true
    }

    /// What stays when an object deletes itself. In a network other copies live on, and must not come back here.
    fn left_by(&self, scripted: &Scripted) -> Body {
        let env = &self.local.env;
        if !env.networked {
            return Body::Gone;
        }
        let (owner, provenance) = (scripted.owner.clone(), scripted.provenance.clone());
        Body::Plain(Arc::new(tombstone_here(scripted.version, owner, provenance, &env.node, env.unix())))
    }

    /// Has the library read a script, and tries again what needs it. The mailbox waits.
    fn fetch(
        &mut self,
        choice: ScriptChoice,
        responder: CallResponder,
        context: &mut Context<Self>,
        again: impl FnOnce(&mut Self, CallResponder, &mut Context<Self>) + 'static,
    ) {
        let library = self.local.env.fetch.clone();
        context.hold(async move { library.call(Fetch(choice)).await }, |object, fetched, context| match fetched {
            // The script is held here until it has been found in the catalogue.
            Ok(Ok(_script)) => again(object, responder, context),
            Ok(Err(refusal)) => responder.answer(Err(refusal)),
            Err(error) => responder.answer(Err(Refusal::Unavailable(error.to_string()))),
        });
    }

    /// What a change would replace.
    fn replaced(&self) -> Replaced {
        match &self.body {
            Body::Gone | Body::Fallen(_) => Replaced::default(),
            Body::Plain(record) => Replaced::of(Some(record), self.local.env.unix()),
            Body::Scripted(scripted) => {
                Replaced { version: Some(scripted.version), expires: scripted.expires, shadows: scripted.shadows }
            }
        }
    }

    fn info(&self) -> Reply {
        let Body::Scripted(scripted) = &self.body else { return Reply::Absent };
        let info = plain::info(&scripted.record(), self.local.env.unix());
        Reply::Info(Box::new(Info {
            calls: u64::from(self.calls),
            failures: u64::from(self.failures),
            active: true,
            ..info
        }))
    }

    fn with_scripted(&mut self, change: impl FnOnce(&mut Scripted)) {
        if let Body::Scripted(scripted) = &mut self.body {
            change(scripted);
        }
    }
}

impl Actor for Object {
    fn started(&mut self, context: &mut Context<Self>) {
        if let Some(birth) = self.birth.take() {
            self.first_write(*birth, context);
        }
    }
}

impl Handler<Call> for Object {
    fn handle(&mut self, call: Call, responder: CallResponder, context: &mut Context<Self>) {
        self.dispatch(call, responder, context);
    }
}
