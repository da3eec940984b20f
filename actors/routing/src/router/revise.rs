//! Changes that are worked out from what is there: edits and ends of life.
//!
//! What is there is surveyed, the change is worked out here, and the lead makes it if it still has the version that the
//! change is for. If somebody else was faster, the change is worked out again from what the lead has now. The other nodes
//! get a plain value whole, so that one which missed a change is right again, whatever it had; a scripted object keeps its
//! state on each node, and so gets the change alone.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use comet_kernel::contract::aso::{Condition, Edit, EndCondition, Lifetime, Refusal, Reply};
use comet_kernel::{Key, Record, UnixMillis, Value};

use super::change::{Change, longest_life, quorum, remove, stamp};
use super::net::{Behalf, Net, Replica};
use super::sign::Terms;
use super::spread::spread;
use super::survey::{Survey, survey};
use super::votes::Votes;
use super::{Outcome, unavailable};
use crate::wire::{Answer, Ask, Condition as Travelling};

/// How often a change is worked out again because somebody else was faster. Of a few nodes that change one key as fast as
/// they can, each loses every other time.
const TRIES: u32 = 32;
/// So many tries follow each other at once; then there is a wait, by chance, so that nodes in step get out of it.
const IN_A_ROW: u32 = 4;
/// The longest of these waits.
const JITTER: Duration = Duration::from_millis(10);

/// A change of one version.
struct Revised {
    value: Value,
    expires: Option<UnixMillis>,
}

/// What came of one try.
enum Try {
    Over(Outcome),
    /// Somebody else was faster: this is there now, if the lead has said so.
    Overtaken(Option<Arc<Record>>),
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
    for number in 0..TRIES {
        let present = found.live(&net).cloned();
        check_owner(present.as_deref(), &behalf)?;
        let Some(revised) = work_out(present.as_deref())? else { return Ok(Ok(Reply::Absent).into()) };
        if let Some(wanted) = present.as_ref().and_then(|record| record.provenance.as_ref()?.replicas) {
            replicas = net.replicas(&key, usize::from(wanted)).await;
        }
        let lead = found.lead.clone();
        let tried = match &present {
            Some(base) => change(&net, &behalf, &key, &replicas, &lead, base, revised).await?,
            None => create(&net, &behalf, &key, &replicas, &lead, revised).await?,
        };
        match tried {
            Try::Over(outcome) => return Ok(outcome),
            Try::Overtaken(Some(newest))
                if number % IN_A_ROW < IN_A_ROW - 1 && net.check(&key, &newest, &lead).is_ok() =>
            {
                found = Survey { newest: Some(newest), lead };
            }
            Try::Overtaken(_) => {
                net.clock().sleep(JITTER.mul_f64(net.random() as f64 / u64::MAX as f64)).await;
                found = survey(&net, &behalf, &key, &replicas).await?;
            }
        }
    }
    Err(unavailable("others change the object all the time; try again"))
}

/// An owned object is changed by its owner only.
fn check_owner(present: Option<&Record>, behalf: &Behalf) -> Result<(), Refusal> {
    match present.and_then(|record| record.owner.as_deref()) {
        Some(owner) if *owner != *behalf.caller.id => Err(Refusal::Owned(owner.to_owned())),
        _ => Ok(()),
    }
}

/// Nothing is there: the first value is put on condition that nothing is there still.
async fn create(
    net: &Rc<Net>,
    behalf: &Rc<Behalf>,
    key: &Key,
    replicas: &[Replica],
    lead: &Replica,
    revised: Revised,
) -> Result<Try, Refusal> {
    let Revised { value, expires } = revised;
    let stamp = stamp(net, key, &value, expires, None, Terms::default());
    let mark = stamp.mark();
    let lead = Some((Condition::IfAbsent, lead.clone()));
    let change = Box::new(Change { value: value.clone(), script: None, stamp, replicas: replicas.to_vec(), lead });
    let mut outcome = change.run(net.clone(), behalf.clone(), key.clone()).await;
    if outcome.is_late(&mark) {
        return Ok(Try::Overtaken(None));
    }
    outcome.reply = match outcome.reply {
        Ok(Reply::Kept { present }) => return Ok(Try::Overtaken(present)),
        Ok(_) => Ok(Reply::Value(value)),
        Err(refusal) => Err(refusal),
    };
    Ok(Try::Over(outcome))
}

/// Changes one version: at the lead, then everywhere.
async fn change(
    net: &Rc<Net>,
    behalf: &Rc<Behalf>,
    key: &Key,
    replicas: &[Replica],
    lead: &Replica,
    base: &Record,
    revised: Revised,
) -> Result<Try, Refusal> {
    let Revised { value, expires } = revised;
    let origin = base.provenance.as_deref();
    let terms = Terms {
        script: origin.and_then(|provenance| provenance.script),
        replicas: origin.and_then(|provenance| provenance.replicas),
        removed: None,
    };
    let stamp = stamp(net, key, &value, expires, base.owner.clone(), terms);
    let new_value = (value != base.value).then(|| value.clone());
    let (asker, base_version) = (behalf.asker.clone(), base.version);
    let revision = Ask::Revise { key: key.clone(), base: base_version, value: new_value, stamp: stamp.clone(), asker };
    let mut votes = Votes::new(quorum(net, replicas.len()), stamp.mark()).of_a_revision(stamp.version);
    match net.ask(lead, revision.clone(), behalf).await {
        Ok(Answer::Stored { former }) => votes.count(lead, Ok(Answer::Stored { former })),
        // The script has kept what is there: that is the outcome of the edit.
        Ok(Answer::Kept { present: Some(present) }) if present.version == base_version => {
            return Ok(Try::Over(Ok(Reply::Value(present.value.clone())).into()));
        }
        Ok(Answer::Kept { present }) => return Ok(Try::Overtaken(present.filter(|record| record.is_live(net.unix())))),
        Ok(Answer::Absent) => return Ok(Try::Overtaken(None)),
        Ok(Answer::Refused(refusal)) => return Err(refusal),
        Err(failure) if failure.is_harmless() => return Ok(Try::Overtaken(None)),
        Ok(_) => return Err(unavailable("the node that leads the object makes no sense")),
        Err(failure) => return Err(Refusal::Unavailable(format!("the node that leads the object: {failure}"))),
    }
    let ask = if base.active.is_none() { whole(key, &value, stamp, behalf) } else { revision };
    let others = replicas.iter().filter(|replica| *replica != lead).cloned().collect();
    let mut outcome = spread(net.clone(), behalf.clone(), key.clone(), ask, others, votes).await;
    outcome.reply = outcome.reply.map(|_| Reply::Value(value));
    Ok(Try::Over(outcome))
}

fn whole(key: &Key, value: &Value, stamp: crate::wire::Stamp, behalf: &Behalf) -> Ask {
    let (key, value, asker) = (key.clone(), value.clone(), behalf.asker.clone());
    Ask::Put { key, value, script: None, condition: Travelling::Always, stamp, asker }
}
