//! A node that lies, each in its own way.

use std::collections::HashMap;
use std::sync::Arc;

use comet_kernel::contract::aso::{Arrived, Refusal};
use comet_kernel::provenance::Removal;
use comet_kernel::{Actor, Context, Handler, Key, Record, Responder, UnixMillis, Value, limits};

use super::{Shared, lock};
use crate::messages::Serve;
use crate::router::sign::{Signer, Terms};
use crate::wire::{Answer, Ask, Asker, Condition, Item, Node, Stamp};

/// How a node lies when it is asked for an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// It never answers.
    Silence,
    /// It says that there is nothing.
    Absence,
    /// It changes the value under the signature of whoever put it.
    Change,
    /// It makes a newer version in the name of whoever put it.
    Impersonation,
    /// It makes itself the owner, with a newer version of its own.
    Usurpation,
    /// It tells the version that it saw first.
    Replay,
    /// It says that a script has answered.
    Script,
    /// It says that the object has refused.
    Refusal,
    /// It says that the object was removed.
    Burial,
    /// It tells another object that it knows.
    Confusion,
}

impl Lie {
    /// All of them.
    pub(crate) const ALL: [Lie; 10] = [
        Lie::Silence,
        Lie::Absence,
        Lie::Change,
        Lie::Impersonation,
        Lie::Usurpation,
        Lie::Replay,
        Lie::Script,
        Lie::Refusal,
        Lie::Burial,
        Lie::Confusion,
    ];
}

/// What it was told of a key: first and last.
type Memory = HashMap<Key, (Record, Record)>;

/// A liar. It takes a router's place.
#[derive(Debug)]
pub(crate) struct Liar {
    lie: Lie,
    signer: Signer,
    memory: Shared<Memory>,
    /// Those that wait for ever.
    waiting: Vec<Responder<Answer>>,
}

impl Liar {
    pub(crate) fn new(lie: Lie, secret: &[u8; 32], memory: &Shared<Memory>) -> Self {
        Liar { lie, signer: Signer::new(secret), memory: memory.clone(), waiting: Vec::new() }
    }

    /// What it answers, if it answers. Changes are acknowledged, and not made.
    pub(crate) fn answer(&self, ask: Ask) -> Option<Answer> {
        if let Some(lie) = self.decide(&ask) {
            return Some(lie);
        }
        Some(match ask {
            Ask::Get { key, .. } | Ask::Copy { key } => return self.tell(&key),
            Ask::Put { key, value, stamp, .. } => {
                self.remember(key, Record { value, ..stamp.into_record() });
                Answer::Stored { former: None }
            }
            Ask::Remove { key, stamp, .. } => {
                self.remember(key, stamp.into_record());
                Answer::Removed { former: None }
            }
            Ask::Arrive { key, record, .. } => {
                self.remember(key, Arc::unwrap_or_clone(record));
                Answer::Arrived(Arrived::Taken)
            }
            Ask::Revise { .. } => Answer::Stored { former: None },
            Ask::Compare { items } => {
                let newer = items.into_iter().map(|item| item.key).collect();
                Answer::Compared { wanted: Vec::new(), newer, declined: Vec::new() }
            }
            Ask::Script { .. } => Answer::Source(Some("fn onGet() { \"forged\" }".into())),
            Ask::Log { .. } => Answer::Absent,
            Ask::Nearest { .. } => Answer::Nodes((0..20).map(nobody).collect()),
        })
    }

    /// What it says if it is to decide about a change, besides that it is made.
    fn decide(&self, ask: &Ask) -> Option<Answer> {
        let key = match ask {
            Ask::Put { condition: Condition::Always, .. } => return None,
            Ask::Put { key, .. } | Ask::Revise { key, .. } => key,
            _ => return None,
        };
        let known = lock(&self.memory).get(key).cloned();
        let kept = |record: Option<Record>| Some(Answer::Kept { present: record.map(Arc::new) });
        match (self.lie, known) {
            (Lie::Refusal, _) => Some(Answer::Refused(Refusal::Thrown("forged".to_owned()))),
            (Lie::Absence, _) => kept(None),
            (Lie::Usurpation, Some((_, last))) => kept(Some(self.own(key, &last, None))),
            (Lie::Replay, Some((first, _))) => kept(Some(first)),
            _ => None,
        }
    }

    fn remember(&self, key: Key, record: Record) {
        let mut memory = lock(&self.memory);
        memory.entry(key).and_modify(|(_, last)| *last = record.clone()).or_insert_with(|| (record.clone(), record));
    }

    /// What it says is there.
    fn tell(&self, key: &Key) -> Option<Answer> {
        if self.lie == Lie::Silence {
            return None;
        }
        let memory = lock(&self.memory);
        let Some((first, last)) = memory.get(key) else { return Some(Answer::Absent) };
        let record = match self.lie {
            Lie::Silence | Lie::Absence => return Some(Answer::Absent),
            Lie::Refusal => return Some(Answer::Refused(Refusal::Thrown("forged".to_owned()))),
            Lie::Script => {
                let provenance = *last.provenance.clone()?;
                let stamp = Stamp { version: newer(last), provenance, expires: None, owner: last.owner.clone() };
                return Some(Answer::Handled { stamp, outcome: Ok(forged()) });
            }
            Lie::Change => Record { value: forged(), ..last.clone() },
            Lie::Impersonation => impersonated(Record { value: forged(), ..self.own(key, last, None) }, last),
            Lie::Usurpation if last.owner.is_some() => self.own(key, last, None),
            Lie::Burial if last.owner.is_some() => self.own(key, last, Some(Removal::Everywhere)),
            Lie::Burial => impersonated(self.own(key, last, Some(Removal::Everywhere)), last),
            // What nobody owns, everybody may put.
            Lie::Usurpation | Lie::Replay => first.clone(),
            Lie::Confusion => memory.iter().find(|(other, _)| *other != key)?.1.1.clone(),
        };
        Some(Answer::Record(Arc::new(record)))
    }

    /// A newer version of its own.
    fn own(&self, key: &Key, last: &Record, removed: Option<Removal>) -> Record {
        let value = if removed.is_some() { Value::Nil } else { forged() };
        let expires = removed.map(|_| UnixMillis((last.version >> 16) + limits::TOMBSTONE_SECONDS * 1_000));
        let owner = Some(self.signer.by().clone());
        let record = Record { expires, owner, ..Record::plain(newer(last), value) };
        let provenance = self.signer.sign(key, &record, Terms { removed, ..Terms::default() });
        Record { provenance: Some(Box::new(provenance)), ..record }
    }

    /// What it sends to others unasked, about a key that it was told of: none of it may be taken.
    pub(crate) fn attacks(&self, key: &Key) -> Vec<Ask> {
        let Some((first, last)) = lock(&self.memory).get(key).cloned() else { return Vec::new() };
        let arrive = |record: Record| Ask::Arrive { key: key.clone(), record: Arc::new(record), caused: 0 };
        let garbage = |number: usize| Item { key: key.child(number), version: u64::MAX, state: 1 };
        let mut future = self.own(key, &last, None);
        future.version = u64::MAX;
        let mut attacks = vec![
            arrive(first),
            arrive(Record { value: forged(), ..last.clone() }),
            arrive(Record { expires: Some(UnixMillis(u64::MAX)), ..last.clone() }),
            arrive(impersonated(self.own(key, &last, Some(Removal::Everywhere)), &last)),
            arrive(future),
            Ask::Compare { items: (0..100).map(garbage).collect() },
        ];
        if last.owner.is_some() {
            let (usurped, removal) = (self.own(key, &last, None), self.own(key, &last, Some(Removal::Everywhere)));
            attacks.push(arrive(removal.clone()));
            attacks.push(put(key, &usurped));
            attacks.push(Ask::Remove { key: key.clone(), stamp: stamp_of(&removal), asker: Asker::default() });
        }
        attacks
    }
}

fn forged() -> Value {
    Value::from("forged")
}

pub(crate) fn newer(record: &Record) -> u64 {
    record.version.saturating_add(1 << 20)
}

/// The same in the name of another, with a signature that is not that one's.
fn impersonated(record: Record, of: &Record) -> Record {
    let (mut provenance, by) = (record.provenance.clone(), of.provenance.as_ref().map(|it| it.by.clone()));
    if let (Some(provenance), Some(by)) = (&mut provenance, by) {
        provenance.by = by;
    }
    Record { provenance, owner: of.owner.clone(), ..record }
}

fn stamp_of(record: &Record) -> Stamp {
    let provenance = record.provenance.as_deref().expect("it is signed").clone();
    Stamp { version: record.version, provenance, expires: record.expires, owner: record.owner.clone() }
}

fn put(key: &Key, record: &Record) -> Ask {
    Ask::Put {
        key: key.clone(),
        value: record.value.clone(),
        script: None,
        condition: Condition::Always,
        stamp: stamp_of(record),
        asker: Asker::default(),
    }
}

/// A node that does not exist.
pub(crate) fn nobody(number: u8) -> Node {
    let id = comet_kernel::NodeId::from_public_key(&[200 + number; 32]);
    Node { id: id.as_str().into(), ip: [127, 0, 0, 1].into(), port: 60_000 + u16::from(number), quic: false }
}

impl Actor for Liar {}

impl Handler<Serve> for Liar {
    fn handle(&mut self, serve: Serve, responder: Responder<Answer>, _: &mut Context<Self>) {
        match self.answer(serve.ask) {
            Some(answer) => responder.answer(answer),
            None => self.waiting.push(responder),
        }
    }
}
