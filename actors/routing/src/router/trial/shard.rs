//! A shard that keeps records in a map, and a library that keeps sources in a list: what the contract says of a node of a
//! network, without any script that runs. An object with a script answers a get with its value, as a handler would.

use std::collections::HashMap;
use std::sync::Arc;

use comet_kernel::contract::aso::{Arrived, Call, Condition, Op, Put, Refusal, Reply, Revision, ScriptChoice, Stamp};
use comet_kernel::contract::library::{Describe, Description, KeepSource, LibraryError, ScriptSummary, ShowScript};
use comet_kernel::contract::storage::{Page, ReadError, Scan};
use comet_kernel::directory::CallResponder;
use comet_kernel::record::{Active, ScriptRef, is_timely};
use comet_kernel::{Actor, Caller, Clock, Context, Handler, Key, Record, Responder, ScriptHash, UnixMillis, Value};

use super::{Shared, lock};

/// What a shard holds, and how it behaves.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    pub records: HashMap<Key, Arc<Record>>,
    /// Every call it got.
    pub calls: Vec<Call>,
    /// Answers every change with this.
    pub refusal: Option<Refusal>,
    /// Keeps what is there whenever something is put on it.
    pub keeps: bool,
    /// Keeps calls and does not answer them.
    pub hung: bool,
    pub held: Vec<CallResponder>,
}

#[derive(Debug)]
pub(crate) struct Shard {
    shelf: Shared<Shelf>,
    clock: Clock,
}

impl Shard {
    pub(crate) fn new(shelf: &Shared<Shelf>, clock: &Clock) -> Self {
        Shard { shelf: shelf.clone(), clock: clock.clone() }
    }
}

impl Actor for Shard {}

impl Handler<Call> for Shard {
    fn handle(&mut self, call: Call, responder: CallResponder, _: &mut Context<Self>) {
        let mut shelf = lock(&self.shelf);
        shelf.calls.push(call.clone());
        if shelf.hung {
            shelf.held.push(responder);
            return;
        }
        responder.answer(shelf.decide(call, self.clock.unix()));
    }
}

impl Shelf {
    fn decide(&mut self, call: Call, now: UnixMillis) -> Result<Reply, Refusal> {
        let Call { key, caller, op, stamp, .. } = call;
        // Whether a revision has the right base is told before anything is written.
        if let (Some(refusal), false) = (&self.refusal, op.reads() || matches!(op, Op::Revise(_))) {
            return Err(refusal.clone());
        }
        let present = self.records.get(&key).cloned();
        let live = present.clone().filter(|record| record.is_live(now));
        // What is from the future stands against nothing.
        let standing = present.clone().filter(|record| is_timely(record.version, now));
        match op {
            Op::Get { .. } => Ok(match live {
                Some(record) if record.active.is_some() => Reply::Value(record.value.clone()),
                Some(record) => Reply::Plain(record),
                None => Reply::Absent,
            }),
            Op::Copy => Ok(present.map_or(Reply::Absent, Reply::Plain)),
            Op::Log => Ok(live.map_or(Reply::Absent, |_| Reply::Log(vec!["a line".to_owned()]))),
            Op::Put(put) => self.put(key, &caller, *put, &stamp.expect(STAMPED), standing, live),
            Op::Revise(revision) => self.revise(key, *revision, &stamp.expect(STAMPED), standing, live),
            Op::Remove => self.remove(key, &caller, &stamp.expect(STAMPED), standing, live),
            Op::Drop { version } => {
                let same = present.is_some_and(|present| present.version == version);
                let dropped = same && self.records.remove(&key).is_some();
                Ok(Reply::Value(Value::Bool(dropped)))
            }
            Op::Arrive(record) => self.arrive(key, record, standing, live).map(Reply::Arrived),
            _ => Ok(Reply::Absent),
        }
    }

    fn put(
        &mut self,
        key: Key,
        caller: &Caller,
        put: Put,
        stamp: &Stamp,
        standing: Option<Arc<Record>>,
        live: Option<Arc<Record>>,
    ) -> Result<Reply, Refusal> {
        if let Some(present) = late(standing, stamp) {
            return Ok(Reply::Stored { former: present });
        }
        check_owner(live.as_deref(), caller)?;
        let kept = match put.condition {
            Condition::Always => self.keeps && live.is_some(),
            Condition::IfAbsent => live.is_some(),
            Condition::IfPresent => live.is_none(),
        };
        if kept {
            return Ok(Reply::Kept { present: live });
        }
        let active = put.script.map(|choice| {
            let ScriptChoice::Travelled(script) = choice else { panic!("{choice:?}") };
            let script = ScriptRef { hash: script.hash, follows: script.follows };
            Box::new(Active { script, state: Value::Nil, timer: None, quarantined: false })
        });
        self.store(key, Record { active, ..stamped(put.value, stamp) });
        Ok(Reply::Stored { former: live })
    }

    fn revise(
        &mut self,
        key: Key,
        revision: Revision,
        stamp: &Stamp,
        standing: Option<Arc<Record>>,
        live: Option<Arc<Record>>,
    ) -> Result<Reply, Refusal> {
        match late(standing, stamp) {
            Some(None) => return Ok(Reply::Stored { former: None }),
            Some(present) => return Ok(Reply::Kept { present }),
            None => {}
        }
        let Some(present) = live.clone().filter(|record| record.version == revision.base) else {
            return Ok(Reply::Kept { present: live });
        };
        if let Some(refusal) = &self.refusal {
            return Err(refusal.clone());
        }
        let value = revision.value.unwrap_or_else(|| present.value.clone());
        self.store(key, Record { active: present.active.clone(), ..stamped(value, stamp) });
        Ok(Reply::Stored { former: live })
    }

    fn remove(
        &mut self,
        key: Key,
        caller: &Caller,
        stamp: &Stamp,
        standing: Option<Arc<Record>>,
        live: Option<Arc<Record>>,
    ) -> Result<Reply, Refusal> {
        if let Some(present) = late(standing, stamp) {
            return Ok(Reply::Removed { former: present });
        }
        check_owner(live.as_deref(), caller)?;
        self.store(key, stamped(Value::Nil, stamp));
        Ok(Reply::Removed { former: live })
    }

    fn arrive(
        &mut self,
        key: Key,
        record: Arc<Record>,
        standing: Option<Arc<Record>>,
        live: Option<Arc<Record>>,
    ) -> Result<Arrived, Refusal> {
        match standing {
            Some(present) if present.version == record.version => Ok(Arrived::Same),
            Some(present) if present.version > record.version => Ok(Arrived::Outdated(present.version)),
            _ => match live.as_ref().filter(|live| live.provenance.is_some()).and_then(|live| live.owner.as_deref()) {
                Some(owner) if record.owner.as_deref() != Some(owner) => Err(Refusal::Owned(owner.to_owned())),
                _ => {
                    self.records.insert(key, record);
                    Ok(Arrived::Taken)
                }
            },
        }
    }

    fn store(&mut self, key: Key, record: Record) {
        self.records.insert(key, Arc::new(record));
    }
}

/// What is there, if a change is not newer; nothing if that is this very change.
#[allow(clippy::option_option, reason = "late or not, and then what is there")]
fn late(present: Option<Arc<Record>>, stamp: &Stamp) -> Option<Option<Arc<Record>>> {
    let present = present.filter(|present| present.version >= stamp.version)?;
    let same = present.version == stamp.version
        && present.provenance.as_ref().is_some_and(|provenance| provenance.by == stamp.provenance.by);
    Some((!same).then_some(present))
}

fn check_owner(live: Option<&Record>, caller: &Caller) -> Result<(), Refusal> {
    match live.and_then(|record| record.owner.as_deref()) {
        Some(owner) if *owner != *caller.id => Err(Refusal::Owned(owner.to_owned())),
        _ => Ok(()),
    }
}

fn stamped(value: Value, stamp: &Stamp) -> Record {
    let provenance = Some(Box::new(stamp.provenance.clone()));
    let (expires, owner) = (stamp.expires, stamp.owner.clone());
    Record { expires, owner, provenance, ..Record::plain(stamp.version, value) }
}

/// What a shard holds, as storage reads it.
#[derive(Debug)]
pub(crate) struct Disk(Shared<Shelf>);

impl Disk {
    pub(crate) fn new(shelf: &Shared<Shelf>) -> Self {
        Disk(shelf.clone())
    }
}

impl Actor for Disk {}

impl Handler<Scan> for Disk {
    fn handle(&mut self, scan: Scan, responder: Responder<Result<Page, ReadError>>, _: &mut Context<Self>) {
        let shelf = lock(&self.0);
        let ahead = shelf.records.iter().filter(|(key, _)| scan.after.as_ref().is_none_or(|after| *key > after));
        let mut items: Vec<_> = ahead.map(|(key, record)| (key.clone(), record.clone())).collect();
        items.sort_by(|(a, _), (b, _)| a.cmp(b));
        let more = items.len() > scan.limit;
        items.truncate(scan.limit);
        let next = items.last().filter(|_| more).map(|(key, _)| key.clone());
        responder.answer(Ok(Page { items, next }));
    }
}

/// Without a stamp a change comes from a node that is alone.
const STAMPED: &str = "routers stamp what they change";

/// Keeps sources.
#[derive(Debug)]
pub(crate) struct Library(Shared<Vec<Arc<str>>>);

impl Library {
    pub(crate) fn new(sources: &Shared<Vec<Arc<str>>>) -> Self {
        Library(sources.clone())
    }
}

impl Actor for Library {}

type Answered<T> = Responder<Result<T, LibraryError>>;

impl Handler<Describe> for Library {
    fn handle(&mut self, ask: Describe, responder: Answered<Option<Description>>, _: &mut Context<Self>) {
        let known = lock(&self.0).iter().find(|source| ScriptHash::of(source) == ask.hash).cloned();
        let described = known.map(|source| Description { source, merges: false, publisher: None });
        responder.answer(Ok(described));
    }
}

impl Handler<KeepSource> for Library {
    fn handle(&mut self, keep: KeepSource, responder: Answered<ScriptHash>, _: &mut Context<Self>) {
        let hash = ScriptHash::of(&keep.source);
        lock(&self.0).push(keep.source);
        responder.answer(Ok(hash));
    }
}

/// Every source goes by the name of its text.
impl Handler<ShowScript> for Library {
    fn handle(&mut self, show: ShowScript, responder: Answered<ScriptSummary>, _: &mut Context<Self>) {
        let known = lock(&self.0).contains(&show.name);
        responder.answer(if known {
            Ok(ScriptSummary {
                name: show.name.to_string(),
                hash: ScriptHash::of(&show.name).to_string(),
                versions: 1,
                origin: "operator".to_owned(),
                bytes: show.name.len(),
                handlers: Vec::new(),
                calls: 0,
                failures: 0,
                source: None,
            })
        } else {
            Err(LibraryError::NoScript(show.name.to_string()))
        });
    }
}
