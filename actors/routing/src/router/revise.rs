//! Changes that are worked out from what is there: edits and ends of life.
//!
//! What is there is surveyed, the change is worked out here, and a lead makes it if it still has the version that the
//! change is for (see `lead`). If somebody else was faster, the change is worked out again from what is there now. The other
//! nodes get a plain value whole, so that one which missed a change is right again, whatever it had; a scripted object keeps
//! its state on each node, and so gets the change alone.

use std::rc::Rc;
use std::sync::Arc;

use comet_kernel::contract::aso::{Edit, EndCondition, Lifetime, Refusal, Reply};
use comet_kernel::{Key, Record, UnixMillis, Value};

use super::Outcome;
use super::change::{longest_life, quorum, remove, stamp};
use super::lead::{Decision, Leads, follows, overtaken, pause};
use super::net::{Behalf, Net, Replica};
use super::sign::Terms;
use super::spread::spread;
use super::survey::{Survey, survey};
use super::votes::Votes;
use crate::wire::{Ask, Condition as Travelling, Stamp};

/// How often a change is worked out again because somebody else was faster. Of a few nodes that change one key as fast as
/// they can, each loses every other time.
const TRIES: u32 = 32;
/// So many tries follow each other at once; then there is a wait, by chance, so that nodes in step get out of it.
const IN_A_ROW: u32 = 4;

/// A change of one version.
struct Revised {
    value: Value,
    expires: Option<UnixMillis>,
}

/// What came of one try.
enum Try {
    Over(Outcome),
    /// Somebody else was faster: this is there now, if the lead has said so.
    Overtaken(Replica, Option<Arc<Record>>),
}

/// Puts a value that is computed from the present one.
pub(super) async fn edit(net: Rc<Net>, behalf: Rc<Behalf>, key: Key, edit: Edit) -> Outcome {
    let outcome = revise(net, behalf, key, |present| {
        let value = edit.apply(present.map(|record| &record.value))?;
        let expires = present.and_then(|record| record.expires);
        Ok(Some(Revised { value, expires }))
    });
    outcome.await.unwrap_or_else(Outcome::refused)
}

/// Changes when the object ends, if the condition holds.
pub(super) async fn expire(
    net: Rc<Net>,
    behalf: Rc<Behalf>,
    key: Key,
    (lifetime, condition): (Lifetime, EndCondition),
) -> Outcome {
    let (now, longest) = (net.unix(), longest_life(&net));
    let (mut applied, mut ended, mut former) = (false, false, None);
    let outcome = revise(net.clone(), behalf.clone(), key.clone(), |present| {
        (applied, ended) = (false, false);
        let Some(present) = present else { return Ok(None) };
        let expires = lifetime.end(present.expires, now, longest);
        former = present.expires;
        applied = condition.holds(former, expires);
        ended = applied && expires.is_some_and(|end| end <= now);
        let changes = applied && !ended && expires != former;
        Ok(changes.then(|| Revised { value: present.value.clone(), expires }))
    });
    let mut outcome = outcome.await.unwrap_or_else(Outcome::refused);
    if ended && outcome.reply.is_ok() {
        outcome = remove(net, behalf, key).await;
    }
    outcome.reply = outcome.reply.map(|_| Reply::Expired { applied, former });
    outcome
}

/// Works a change out until it is made. Replies the new value, or `Absent` if there is nothing to change.
async fn revise(
    net: Rc<Net>,
    behalf: Rc<Behalf>,
    key: Key,
    mut work_out: impl FnMut(Option<&Record>) -> Result<Option<Revised>, Refusal>,
) -> Result<Outcome, Refusal> {
    let mut replicas = net.replicas(&key, net.replication()).await;
    let mut found = survey(&net, &behalf, &key, &replicas).await?;
    let mut leads = Leads::default();
    for number in 0..TRIES {
        let present = found.live(&net).cloned();
        check_owner(present.as_deref(), &behalf)?;
        let Some(revised) = work_out(present.as_deref())? else { return Ok(Ok(Reply::Absent).into()) };
        if let Some(wanted) = present.as_ref().and_then(|record| record.provenance.as_ref()?.replicas) {
            replicas = net.replicas(&key, usize::from(wanted)).await;
        }
        let place = Place { net: &net, behalf: &behalf, key: &key, replicas: &replicas };
        let tried = match &present {
            Some(base) => place.change(&mut leads, &found, base, revised).await?,
            None => place.create(&mut leads, &found, revised).await?,
        };
        found = match tried {
            Try::Over(outcome) => return Ok(outcome),
            Try::Overtaken(lead, Some(newest))
                if number % IN_A_ROW < IN_A_ROW - 1
                    && follows(&net, &found, &newest, &lead)
                    && net.check(&key, &newest, &lead).is_ok() =>
            {
                found.leads.retain(|other| *other != lead);
                let behind = found.leads.clone();
                found.leads.insert(0, lead);
                Survey { newest: Some(newest), leads: found.leads, behind }
            }
            Try::Overtaken(..) => {
                pause(&net).await;
                survey(&net, &behalf, &key, &replicas).await?
            }
        };
        leads.saw(&found);
    }
    Err(overtaken())
}

/// An owned object is changed by its owner only.
fn check_owner(present: Option<&Record>, behalf: &Behalf) -> Result<(), Refusal> {
    match present.and_then(|record| record.owner.as_deref()) {
        Some(owner) if *owner != *behalf.caller.id => Err(Refusal::Owned(owner.to_owned())),
        _ => Ok(()),
    }
}

/// Where one try is made.
struct Place<'a> {
    net: &'a Rc<Net>,
    behalf: &'a Rc<Behalf>,
    key: &'a Key,
    replicas: &'a [Replica],
}

impl Place<'_> {
    /// Nothing is there: the first value is put on condition that nothing is there still.
    async fn create(&self, leads: &mut Leads, found: &Survey, revised: Revised) -> Result<Try, Refusal> {
        let Revised { value, expires } = revised;
        let stamp = stamp(self.net, self.key, &value, expires, None, Terms::default());
        let put = Ask::Put {
            key: self.key.clone(),
            value: value.clone(),
            script: None,
            condition: Travelling::IfAbsent,
            stamp: stamp.clone(),
            asker: self.behalf.asker.clone(),
        };
        let votes = Votes::new(quorum(self.net, self.replicas.len()), stamp.mark());
        let everywhere = self.whole(&value, stamp.clone());
        self.decide(leads, found, (put, everywhere, &stamp), votes, value).await
    }

    /// Changes one version: at a lead, then everywhere.
    async fn change(&self, leads: &mut Leads, found: &Survey, base: &Record, revised: Revised) -> Result<Try, Refusal> {
        let Revised { value, expires } = revised;
        let origin = base.provenance.as_deref();
        let terms = Terms {
            script: origin.and_then(|provenance| provenance.script),
            replicas: origin.and_then(|provenance| provenance.replicas),
            removed: None,
        };
        let stamp = stamp(self.net, self.key, &value, expires, base.owner.clone(), terms);
        // Without its value nobody could check the signature of a plain value; that of a scripted object does not cover it.
        let new_value = (base.active.is_none() || value != base.value).then(|| value.clone());
        let (key, asker) = (self.key.clone(), self.behalf.asker.clone());
        let revision = Ask::Revise { key, base: base.version, value: new_value, stamp: stamp.clone(), asker };
        let votes = Votes::new(quorum(self.net, self.replicas.len()), stamp.mark()).of_a_revision(stamp.version);
        let everywhere = if base.active.is_none() { self.whole(&value, stamp.clone()) } else { revision.clone() };
        self.decide(leads, found, (revision, everywhere, &stamp), votes, value).await
    }

    /// Has a lead make the change, then sends it everywhere else.
    async fn decide(
        &self,
        leads: &mut Leads,
        found: &Survey,
        (first, everywhere, stamp): (Ask, Ask, &Stamp),
        mut votes: Votes,
        value: Value,
    ) -> Result<Try, Refusal> {
        let mark = stamp.mark();
        let about = (self.key, &first, &mark);
        let (lead, answer) = match leads.decide(self.net, self.behalf, about, found, self.replicas.len()).await {
            Decision::Made(lead, answer) => (lead, answer),
            Decision::Overtaken(lead, present) => return Ok(Try::Overtaken(lead, present)),
            // The script has kept what is there: that is the outcome of the edit.
            Decision::Over(Ok(Reply::Kept { present })) => {
                let kept = present.or(found.newest.clone()).map_or(Value::Nil, |record| record.value.clone());
                return Ok(Try::Over(Ok(Reply::Value(kept)).into()));
            }
            Decision::Over(reply) => return reply.map(|reply| Try::Over(Ok(reply).into())),
        };
        let others = self.replicas.iter().filter(|replica| **replica != lead).cloned().collect();
        votes.count(&lead, Ok(answer));
        let (net, behalf, key) = (self.net.clone(), self.behalf.clone(), self.key.clone());
        let mut outcome = spread(net, behalf, key, everywhere, others, votes).await;
        // Something newer may be there by now, and rest on this change: it was made.
        outcome.reply = outcome.reply.map(|_| Reply::Value(value));
        Ok(Try::Over(outcome))
    }

    /// The change as a put.
    fn whole(&self, value: &Value, stamp: Stamp) -> Ask {
        let (key, value, asker) = (self.key.clone(), value.clone(), self.behalf.asker.clone());
        Ask::Put { key, value, script: None, condition: Travelling::Always, stamp, asker }
    }
}
