//! Leads: the nodes that decide about a change which depends on what is there, one after the other.
//!
//! The nearest node that answers decides which of two changes of one version came first. Were it the nearest that has the
//! newest version, two who ask while a change spreads would find different ones, and one of their changes would be lost. A
//! lead that has missed the newest version gets it first. It may lie like any other, so its word goes only so far:
//!
//! - That it has made the change is one voice of the quorum, as with any change.
//! - That something else is there meanwhile is looked into by a new survey. A lead that has said so [`STRIKES`] times while
//!   the surveys found nothing of the kind is passed over. So is this node itself, which does not lie, but may be unable
//!   to store what it has missed.
//! - That the change is refused, or that a script keeps what is there, holds when as many leads as make a quorum say so.
//! - One that does not answer may have made the change. The next one gets the very same change, with the same version,
//!   which takes effect once wherever it arrives. If that one says that something else is there, nobody knows whether that
//!   builds on this change: the client is told so, and nothing is done twice.
//!
//! What is left to a liar that leads: it may let two changes of one version pass that are made at the same moment, so that
//! the older one is lost.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use comet_kernel::contract::aso::{Refusal, Reply};
use comet_kernel::{Key, NodeId, Record};

use super::change::{Mark, quorum};
use super::net::{Behalf, Failure, Net, Replica};
use super::reading::gives_way;
use super::survey::Survey;
use super::unavailable;
use super::votes::Votes;
use crate::wire::{Answer, Ask};

/// So often a lead may say that something else is there although a survey does not find it: the others may hear of it later.
const STRIKES: u32 = 3;
/// The longest wait before a survey is made again.
const JITTER: Duration = Duration::from_millis(10);

/// Who may decide about one change.
#[derive(Debug, Default)]
pub(super) struct Leads {
    /// How often each has said what no survey has found.
    strikes: HashMap<Replica, u32>,
    /// Who has said that something else is there than this version, if nobody has looked yet.
    suspect: Option<(Replica, Option<u64>)>,
}

/// What was decided.
#[derive(Debug)]
pub(super) enum Decision {
    /// The lead has made the change, and answered this.
    Made(Replica, Answer),
    /// The lead says that something else is there: this, if it has said so.
    Overtaken(Replica, Option<Arc<Record>>),
    /// The change is refused, or a script keeps what is there.
    Over(Result<Reply, Refusal>),
}

impl Leads {
    /// Has the first lead decide that can.
    pub(super) async fn decide(
        &mut self,
        net: &Rc<Net>,
        behalf: &Behalf,
        (key, ask, mark): (&Key, &Ask, &Mark),
        survey: &Survey,
        replicas: usize,
    ) -> Decision {
        let mut votes = Votes::new(quorum(net, replicas), mark.clone());
        let mut unknown = None;
        for lead in survey.leads.iter().filter(|lead| !self.is_passed_over(lead)) {
            if votes.are_enough() {
                break;
            }
            survey.catch_up(net, behalf, key, lead).await;
            let answer = net.ask(lead, ask.clone(), behalf).await;
            match other(survey, mark, &answer) {
                Some(_) if unknown.is_some() => break,
                Some(present) => {
                    self.suspect(lead, survey);
                    if let Some(record) = &present {
                        net.saw(record.version);
                    }
                    return Decision::Overtaken(lead.clone(), present);
                }
                None => {}
            }
            match answer {
                Ok(answer @ Answer::Stored { .. }) => return Decision::Made(lead.clone(), answer),
                Err(failure) if !failure.is_harmless() => {
                    unknown.get_or_insert(failure);
                }
                answer => votes.count(lead, answer),
            }
        }
        Decision::Over(conclude(net, key, votes, unknown))
    }

    /// Takes note of what a survey has found since.
    pub(super) fn saw(&mut self, survey: &Survey) {
        if let Some((lead, version)) = self.suspect.take()
            && survey.version() == version
        {
            *self.strikes.entry(lead).or_default() += 1;
        }
    }

    fn suspect(&mut self, lead: &Replica, survey: &Survey) {
        self.suspect = Some((lead.clone(), survey.version()));
    }

    fn is_passed_over(&self, lead: &Replica) -> bool {
        self.strikes.get(lead).is_some_and(|strikes| *strikes >= STRIKES)
    }
}

/// What is there instead of what the survey has found, if the answer says so.
#[allow(clippy::option_option, reason = "whether something else is there, and then what")]
fn other(survey: &Survey, mark: &Mark, answer: &Result<Answer, Failure>) -> Option<Option<Arc<Record>>> {
    match answer {
        Ok(Answer::Stored { former: Some(former) }) if mark.is_beaten_by(former) => Some(Some(former.clone())),
        Ok(Answer::Kept { present }) => {
            let keeps = survey.newest.as_ref().is_some_and(|newest| {
                newest.active.is_some() && present.as_ref().is_some_and(|present| present.version == newest.version)
            });
            (!keeps).then(|| present.clone())
        }
        Ok(Answer::Absent) => Some(None),
        _ => None,
    }
}

/// Nobody has made the change.
fn conclude(net: &Net, key: &Key, mut votes: Votes, unknown: Option<Failure>) -> Result<Reply, Refusal> {
    if let Some(failure) = unknown.filter(|_| !votes.are_enough()) {
        return Err(Refusal::Unavailable(format!("the node that decides about the object: {failure}; try again")));
    }
    votes.hide_what_is_forged(net, key);
    votes.verdict()
}

/// Whether what a lead says is there now may be taken for it without a survey: somebody else has signed it, and what was
/// found gives way to it.
pub(super) fn follows(net: &Net, survey: &Survey, record: &Record, lead: &Replica) -> bool {
    let own = |node: &NodeId| record.provenance.as_ref().is_some_and(|it| *it.by == *node.as_str());
    let made_up = matches!(lead, Replica::Peer(node) if own(node));
    let fits = survey.newest.as_ref().is_none_or(|old| record.version > old.version && gives_way(old, record));
    !made_up && fits && record.is_live(net.unix())
}

/// Waits a moment, by chance, so that nodes in step get out of it.
pub(super) async fn pause(net: &Net) {
    net.clock().sleep(JITTER.mul_f64(net.random() as f64 / u64::MAX as f64)).await;
}

pub(super) fn overtaken() -> Refusal {
    unavailable("others change the object all the time; try again")
}
