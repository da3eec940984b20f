//! Puts and removals: this node stamps and signs them, and they are the same change on every node.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use comet_kernel::contract::aso::{Condition, Lifetime, Put, Refusal, Reply};
use comet_kernel::contract::routing::TravellingScript;
use comet_kernel::provenance::Removal;
use comet_kernel::{Key, Record, UnixMillis, Value, limits};

use super::lead::{Decision, Leads, follows, overtaken, pause};
use super::net::{Behalf, Net, Replica};
use super::sign::Terms;
use super::spread::spread;
use super::survey::{Survey, survey};
use super::votes::Votes;
use super::{Outcome, script};
use crate::wire::{Ask, Condition as Travelling, Stamp};

/// How often a change gets a newer version because its first was older than what is there: the clock of this node is
/// behind another one's, and what is put later must not lose to what was put before. Past that it is acknowledged if a
/// quorum has stored it, and not otherwise: one node that always claims something newer does not keep others from putting.
const RESTAMPS: usize = 4;

/// How often a conditional put is tried again because something else is there than was found.
const TRIES: usize = 32;

/// Puts an object on the nodes of its key.
pub(super) async fn put(net: Rc<Net>, behalf: Rc<Behalf>, key: Key, put: Put) -> Outcome {
    let mut leads = Leads::default();
    let tries = if put.condition == Condition::Always { RESTAMPS } else { TRIES };
    for attempt in 1..=tries {
        let change = match prepare(&net, &behalf, &key, &put).await {
            Ok(Ready::Put(change)) => change,
            Ok(Ready::Kept(present)) => return Ok(Reply::Kept { present }).into(),
            Err(refusal) => return Outcome::refused(refusal),
        };
        if let Some((_, survey)) = &change.found {
            leads.saw(survey);
        }
        let Some(outcome) = change.run(&net, &behalf, &key, &mut leads).await else {
            pause(&net).await;
            continue;
        };
        if !outcome.gave_way() || (attempt == tries && outcome.stored) {
            return outcome;
        }
    }
    Outcome::refused(overtaken())
}

/// Removes an object from the nodes of its key, and leaves a tombstone there.
pub(super) async fn remove(net: Rc<Net>, behalf: Rc<Behalf>, key: Key) -> Outcome {
    let replicas = net.replicas(&key, net.replication()).await;
    for attempt in 1..=RESTAMPS {
        let end = net.unix().after(Duration::from_secs(limits::TOMBSTONE_SECONDS));
        let terms = Terms { removed: Some(Removal::Everywhere), ..Terms::default() };
        // The tombstone of an owned object must be known as its owner's, and whether it is owned only its nodes know.
        let owner = Some(behalf.caller.id.clone());
        let stamp = stamp(&net, &key, &Value::Nil, Some(end), owner, terms);
        let votes = Votes::new(quorum(&net, replicas.len()), stamp.mark()).of_a_removal();
        let ask = Ask::Remove { key: key.clone(), stamp, asker: behalf.asker.clone() };
        let outcome = spread(net.clone(), behalf.clone(), key.clone(), ask, replicas.clone(), votes).await;
        if !outcome.gave_way() || (attempt == RESTAMPS && outcome.stored) {
            return outcome;
        }
    }
    Outcome::refused(overtaken())
}

/// How many of so many nodes must have stored a change.
pub(super) fn quorum(net: &Net, replicas: usize) -> usize {
    (net.dht().write_quorum as usize).min(replicas)
}

/// The longest life that this node gives an object.
pub(super) fn longest_life(net: &Net) -> Option<Duration> {
    let seconds = net.env.settings.aso.max_ttl_seconds;
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

/// A new version, signed by this node.
pub(super) fn stamp(
    net: &Net,
    key: &Key,
    value: &Value,
    expires: Option<UnixMillis>,
    owner: Option<Arc<str>>,
    terms: Terms,
) -> Stamp {
    let version = net.version();
    // A claim on a scripted object does not cover its value; copying one that is large would be for nothing.
    let value = if terms.script.is_some() { Value::Nil } else { value.clone() };
    let record = Record { expires, owner, ..Record::plain(version, value) };
    let provenance = net.signer.sign(key, &record, terms);
    Stamp { version, provenance, expires, owner: record.owner }
}

/// What is left to do of a put.
enum Ready {
    Put(Box<Change>),
    /// Its condition does not hold.
    Kept(Option<Arc<Record>>),
}

/// A put that has its version.
pub(super) struct Change {
    pub value: Value,
    pub script: Option<TravellingScript>,
    pub stamp: Stamp,
    pub replicas: Vec<Replica>,
    /// The condition, and what was found: a lead decides whether it still holds.
    pub found: Option<(Condition, Survey)>,
}

async fn prepare(net: &Rc<Net>, behalf: &Rc<Behalf>, key: &Key, put: &Put) -> Result<Ready, Refusal> {
    put.check()?;
    let Put { value, script, lifetime, condition, owned, replicas: number } = put.clone();
    let script = match script {
        Some(choice) => Some(script::resolve(net, choice).await?),
        None => None,
    };
    let number = number.filter(|number| *number > 0).map(|number| number.min(limits::REPLICAS));
    let wanted = number.map_or(net.replication(), usize::from);
    let depends = condition != Condition::Always || lifetime == Lifetime::Keep;
    let mut replicas = net.replicas(key, if depends { wanted.max(net.replication()) } else { wanted }).await;
    let mut present = None;
    let mut found = None;
    if depends {
        // What is there may lie on more nodes than are to hold what takes its place, and only those decide.
        let mut survey = survey(net, behalf, key, &replicas).await?;
        replicas.truncate(wanted);
        survey.leads.retain(|lead| replicas.contains(lead));
        let live = survey.live(net);
        // Where the condition fails already for what was found, that is what stays.
        if (condition == Condition::IfAbsent && live.is_some()) || (condition == Condition::IfPresent && live.is_none())
        {
            return Ok(Ready::Kept(live.cloned()));
        }
        present = live.and_then(|record| record.expires);
        found = (condition != Condition::Always).then_some((condition, survey));
    }
    let expires = lifetime.end(present, net.unix(), longest_life(net));
    let owner = owned.then(|| behalf.caller.id.clone());
    let terms = Terms { script: script.as_ref().map(|script| script.hash), replicas: number, removed: None };
    let stamp = stamp(net, key, &value, expires, owner, terms);
    Ok(Ready::Put(Box::new(Change { value, script, stamp, replicas, found })))
}

/// What tells a version from every other. Two nodes may come to the same number within a millisecond, once in a while.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    pub version: u64,
    pub by: Arc<str>,
}

impl Stamp {
    pub(super) fn mark(&self) -> Mark {
        Mark { version: self.version, by: self.provenance.by.clone() }
    }
}

impl Mark {
    /// Whether a record that was there makes a change with this mark too late.
    pub(super) fn is_beaten_by(&self, former: &Record) -> bool {
        let by = former.provenance.as_ref().map(|provenance| &provenance.by);
        former.version > self.version || (former.version == self.version && by != Some(&self.by))
    }
}

impl Outcome {
    /// Whether a put or a removal came too late with its version: something newer is there, or so many say so that no
    /// quorum has stored it, whatever there was to show for it.
    pub(super) fn gave_way(&self) -> bool {
        matches!(self.reply, Ok(Reply::Stored { .. } | Reply::Removed { .. })) && (self.late || !self.stored)
    }
}

impl Change {
    /// Has a lead decide if there is a condition, then goes to everyone else. None if something else is there than was
    /// found.
    pub(super) async fn run(
        self: Box<Self>,
        net: &Rc<Net>,
        behalf: &Rc<Behalf>,
        key: &Key,
        leads: &mut Leads,
    ) -> Option<Outcome> {
        let mut votes = Votes::new(quorum(net, self.replicas.len()), self.stamp.mark());
        let mut others = self.replicas.clone();
        if let Some((condition, survey)) = &self.found {
            let ask = self.ask(key, *condition, behalf);
            let decision = leads.decide(net, behalf, (key, &ask, &self.stamp.mark()), survey, others.len()).await;
            match decision {
                Decision::Made(lead, answer) => {
                    others.retain(|replica| *replica != lead);
                    votes.count(&lead, Ok(answer));
                }
                Decision::Overtaken(lead, Some(present))
                    if *condition == Condition::IfAbsent
                        && follows(net, survey, &present, &lead)
                        && net.may_show(key, &present, &lead) =>
                {
                    return Some(Ok(Reply::Kept { present: Some(present) }).into());
                }
                Decision::Overtaken(..) => return None,
                Decision::Over(reply) => return Some(reply.into()),
            }
        }
        let ask = self.ask(key, Condition::Always, behalf);
        Some(spread(net.clone(), behalf.clone(), key.clone(), ask, others, votes).await)
    }

    pub(super) fn ask(&self, key: &Key, condition: impl Into<Travelling>, behalf: &Behalf) -> Ask {
        Ask::Put {
            key: key.clone(),
            value: self.value.clone(),
            script: self.script.clone(),
            condition: condition.into(),
            stamp: self.stamp.clone(),
            asker: behalf.asker.clone(),
        }
    }
}
