//! A reading: the answers to one get, or to the survey before a change, as they come, and which of them counts.
//!
//! Any of the nodes may lie. What it sends is held against these rules:
//!
//! - A record, a tombstone, or the answer of a script counts only with the signature of the node that put the object. It
//!   is checked when it matters, newest first: most gets need one check, whatever the number of answers.
//! - The newest counts. A node that replays an old version, whose signature is good, is outdone by the others that were
//!   asked at the same time: they have as long again as the first good answer took.
//! - An owned object gives way to what its owner's node has signed, and to nothing else. Where two nodes contradict each
//!   other in this, all are asked, and what more of them say holds.
//! - What a single node says of its own put is asked of all the others as well: it may be the first to have it, or make it
//!   up. It does not count if so many do not have it that it was never acknowledged.
//! - That there is nothing is believed once so many nodes have said so that no acknowledged put can have escaped them.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use comet_kernel::contract::aso::{Refusal, Reply};
use comet_kernel::{Key, Record};

use super::net::{Failure, Net, Replica};
use super::race::{HEDGE, Landed, Race};
use super::survey::Survey;
use super::unavailable;
use crate::messages::SendError;
use crate::wire::{Answer, Ask};

/// The others have at least this long after the first good answer: between nodes of one machine a millisecond is nothing.
const LINGER: Duration = Duration::from_millis(5);

/// When a reading is over.
#[derive(Clone, Copy, Debug)]
pub(super) enum Enough {
    /// With so many answers of any kind, and something among them: the newest counts.
    Newest(usize),
    /// With so many that have something: all of them count.
    Several(usize),
}

/// What a node has.
struct Found {
    rank: usize,
    replica: Replica,
    reply: Result<Reply, Refusal>,
    /// What is signed; none for what is no object.
    claim: Option<Arc<Record>>,
    /// Whether a script has answered.
    handled: bool,
}

/// The answers to one reading, as they come.
pub(super) struct Reading<'a> {
    net: &'a Net,
    key: &'a Key,
    enough: Enough,
    /// Whether what is asked for is no object: then nothing is signed.
    unsigned: bool,
    /// How many must say that there is nothing.
    doubts: usize,
    /// How many are asked before that is believed: after many nodes have died at once, those who take their places have
    /// nothing yet.
    everyone: usize,
    /// Tombstones included.
    found: Vec<Found>,
    /// Those that have nothing, with their ranks.
    nothing: Vec<(usize, Replica)>,
    /// Those whose word was not taken because others do not have it: it may be a change that is about to spread.
    outvoted: Vec<(usize, Replica)>,
    /// Whether a node has what was removed since.
    outlived: bool,
    failed: usize,
    /// Those that failed by keeping silent.
    silent: Vec<Replica>,
    /// What nodes have refused without a proof that a script stands behind it.
    refusal: Option<Refusal>,
    /// What was checked already.
    good: Vec<Arc<Record>>,
    /// How long the first took that has something.
    first: Option<Duration>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(net: &'a Net, key: &'a Key, ask: &Ask, enough: Enough, replicas: usize) -> Self {
        let unsigned = matches!(ask, Ask::Log { .. });
        let doubts = replicas - super::change::quorum(net, replicas) + 1;
        let (found, nothing, silent, good) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let outvoted = Vec::new();
        Reading {
            net,
            key,
            enough,
            unsigned,
            doubts,
            everyone: replicas,
            found,
            nothing,
            outvoted,
            outlived: false,
            failed: 0,
            silent,
            refusal: None,
            good,
            first: None,
        }
    }

    /// There is nobody left to ask: what the others say has to do.
    pub(super) fn believe_most(&mut self) {
        self.everyone = self.doubts;
    }

    /// How many nodes had no say.
    pub(super) fn failed(&self) -> usize {
        self.failed
    }

    /// Those that kept silent since this was asked last.
    pub(super) fn take_silent(&mut self) -> Vec<Replica> {
        std::mem::take(&mut self.silent)
    }

    /// Takes answers until there are enough good ones, or everybody has answered. `width` nodes are asked at once.
    pub(super) async fn run(&mut self, race: &mut Race, width: usize) {
        loop {
            while self.is_open()
                && let Some(landed) = race.next().await
            {
                if !self.count(landed) {
                    race.start(width.saturating_sub(race.under_way()).max(1));
                }
            }
            if matches!(self.enough, Enough::Newest(_))
                && let Some(first) = self.first.take()
            {
                self.wait(race, first.clamp(LINGER, HEDGE)).await;
            }
            if !self.settle(race.is_over()) {
                race.start_all();
                let mut end = self.net.clock().sleep(HEDGE);
                while !self.settle(race.is_over())
                    && let Some(landed) = race.next_until(&mut end).await
                {
                    self.count(landed);
                }
                self.settle(true);
            }
            if race.is_over() || !self.is_open() {
                return;
            }
            race.start(width.saturating_sub(race.under_way()));
        }
    }

    /// Lets those answer that are asked already.
    async fn wait(&mut self, race: &mut Race, patience: Duration) {
        let mut end = self.net.clock().sleep(patience);
        while race.under_way() > 0
            && let Some(landed) = race.next_until(&mut end).await
        {
            self.count(landed);
        }
    }

    /// Whether more answers are wanted.
    pub(super) fn is_open(&self) -> bool {
        let found = self.live().count();
        // A tombstone says more than that a node has nothing.
        let removed = self.found.iter().any(Found::is_gone);
        let believed = self.nothing.len() >= if removed { self.doubts } else { self.everyone };
        match self.enough {
            Enough::Several(wanted) => found < wanted && !(believed && found == 0),
            Enough::Newest(wanted) => found + self.nothing.len() < wanted || (found == 0 && !believed),
        }
    }

    fn live(&self) -> impl Iterator<Item = &Found> {
        self.found.iter().filter(|found| !found.is_gone())
    }

    /// Whether the node had something.
    fn count(&mut self, landed: Landed) -> bool {
        let Landed { rank, replica, answer, took } = landed;
        let (reply, claim, handled) = match answer {
            Ok(Answer::Record(record)) => {
                if !record.is_live(self.net.unix()) {
                    self.nothing.push((rank, replica.clone()));
                    if record.removed().is_some() {
                        let reply = Ok(Reply::Absent);
                        self.found.push(Found { rank, replica, reply, claim: Some(record), handled: false });
                    }
                    return false;
                }
                (Ok(Reply::Plain(record.clone())), Some(record), false)
            }
            Ok(Answer::Handled { stamp, outcome }) => {
                (outcome.map(Reply::Value), Some(Arc::new(stamp.into_record())), true)
            }
            Ok(Answer::Value(value)) if self.unsigned || replica == Replica::Here => {
                (Ok(Reply::Value(value)), None, false)
            }
            Ok(Answer::Absent) => {
                self.nothing.push((rank, replica));
                return false;
            }
            failure => {
                self.fail(replica, failure);
                return false;
            }
        };
        self.first = self.first.or(Some(took));
        self.found.push(Found { rank, replica, reply, claim, handled });
        true
    }

    fn fail(&mut self, replica: Replica, failure: Result<Answer, Failure>) {
        self.failed += 1;
        match failure {
            Ok(Answer::Refused(Refusal::TimedOut(_))) | Err(Failure::Send(SendError::TimedOut))
                if replica != Replica::Here =>
            {
                self.silent.push(replica);
            }
            Ok(Answer::Refused(refusal)) => self.refusal = self.refusal.take().or(Some(refusal)),
            _ => {}
        }
    }

    /// Drops what is forged, as far as it matters, so that the newest is first; and what was removed. False if the newest
    /// is in doubt, and not everybody has been asked yet.
    fn settle(&mut self, everybody: bool) -> bool {
        // Stable: of equals the first to answer counts, and this node's own needs no check.
        self.found.sort_by_key(|found| (Reverse(found.version()), found.replica != Replica::Here));
        while self.weed(0) {
            let rival = self.rival();
            if rival.is_some_and(|rival| !self.weed(rival)) {
                continue;
            }
            if !everybody && (rival.is_some() || self.has_no_witness()) {
                return false;
            }
            if self.is_outvoted() {
                self.outvoted.push((self.found[0].rank, self.found[0].replica.clone()));
                self.drop_all_like(0);
                continue;
            }
            let Some(rival) = rival else { break };
            let loser = if self.supporters(rival) >= self.supporters(0) { 0 } else { rival };
            self.drop_all_like(loser);
        }
        if self.found.first().is_some_and(Found::is_gone) {
            let older = self.found.drain(1..).filter(|found| !found.is_gone());
            let before = self.nothing.len();
            self.nothing.extend(older.map(|found| (found.rank, found.replica)));
            self.outlived |= self.nothing.len() > before;
        }
        if matches!(self.enough, Enough::Several(_)) {
            (0..self.found.len()).rev().for_each(|at| {
                self.weed(at);
            });
        }
        true
    }

    /// Whether there is something good at this place, after what is forged there has been dropped.
    fn weed(&mut self, at: usize) -> bool {
        let Some(found) = self.found.get(at) else { return false };
        let Some(claim) = found.claim.clone() else { return true };
        if self.good.contains(&claim) {
            return true;
        }
        let check = if found.handled { Net::check_script } else { Net::check };
        if check(self.net, self.key, &claim, &found.replica).is_ok() {
            self.good.push(claim);
            return true;
        }
        self.drop(at);
        self.weed(at)
    }

    /// Something owned that does not give way to the newest.
    fn rival(&self) -> Option<usize> {
        let newest = self.found.first()?.claim.as_deref()?;
        let older = self.found.iter().map(|found| found.claim.as_deref());
        older.skip(1).position(|claim| claim.is_some_and(|claim| !gives_way(claim, newest))).map(|at| at + 1)
    }

    /// Whether the newest is what a single node says of its own put: others should have that, too.
    fn has_no_witness(&self) -> bool {
        let Some(Found { replica: Replica::Peer(node), claim: Some(claim), .. }) = self.found.first() else {
            return false;
        };
        let is_own = claim.provenance.as_ref().is_some_and(|provenance| *provenance.by == *node.as_str());
        is_own && self.supporters(0) == 1
    }

    /// Whether the newest is what a single node says of its own put, and so many others do not have it that it was never
    /// acknowledged. It is believed all the same if nobody has anything else: those that have nothing may stand in for nodes
    /// that died, and what the last holder has must not be lost.
    fn is_outvoted(&self) -> bool {
        if !self.has_no_witness() || self.found.len() == 1 {
            return false;
        }
        let own = &self.found[0];
        let wanted = self.replicas_of(own);
        let ranks = self.found.iter().map(|found| found.rank).chain(self.nothing.iter().map(|(rank, _)| *rank));
        let others: BTreeSet<_> = ranks.filter(|rank| *rank < wanted && *rank != own.rank).collect();
        others.len() > wanted - super::change::quorum(self.net, wanted)
    }

    /// How many nodes should have it.
    fn replicas_of(&self, found: &Found) -> usize {
        self.net.copies(found.claim.as_ref().and_then(|claim| claim.provenance.as_deref()))
    }

    /// How many nodes say the same.
    fn supporters(&self, at: usize) -> usize {
        self.found.iter().filter(|found| found.claims_the_same(&self.found[at])).count()
    }

    fn drop_all_like(&mut self, at: usize) {
        let alike: Vec<_> =
            (0..self.found.len()).filter(|other| self.found[*other].claims_the_same(&self.found[at])).collect();
        self.net.env.tally.refused.add(alike.len() as u64);
        alike.into_iter().rev().for_each(|at| self.drop(at));
    }

    /// A node that lies has no say.
    fn drop(&mut self, at: usize) {
        let Found { rank, .. } = self.found.remove(at);
        self.nothing.retain(|(other, _)| *other != rank);
        self.failed += 1;
    }

    /// The reply to whoever asked.
    pub(super) fn conclude(mut self) -> Result<Reply, Refusal> {
        self.repair();
        // A removal is signed as a put is: it is not in doubt because others have nothing to say.
        if self.found.first().is_some_and(Found::is_gone) {
            return Ok(Reply::Absent);
        }
        self.found.retain(|found| !found.is_gone());
        if self.found.is_empty() {
            return self.check_absence().map(|()| Reply::Absent);
        }
        if matches!(self.enough, Enough::Newest(_)) {
            return self.found.swap_remove(0).reply;
        }
        self.found.sort_by_key(|found| found.rank);
        let replies: Vec<_> = self.found.into_iter().map(|found| found.reply).collect();
        if replies.iter().all(Result::is_err) {
            return replies.into_iter().next().expect("one was found");
        }
        Ok(Reply::Several(replies.into_iter().flatten().collect()))
    }

    /// What a change has to start from.
    pub(super) fn survey(mut self) -> Result<Survey, Refusal> {
        self.repair();
        let Some(newest) = self.found.first() else {
            self.check_absence()?;
            return Ok(Survey { newest: None, leads: in_order(self.nothing), behind: Vec::new() });
        };
        let record = newest.claim.clone();
        let others = self.found.iter().filter(|found| !found.claims_the_same(newest));
        let behind = others.map(|found| &found.replica).chain(self.nothing.iter().map(|(_, replica)| replica));
        let behind = behind.cloned().collect();
        let answered = self.found.iter().map(|found| (found.rank, found.replica.clone()));
        let answered = answered.chain(self.nothing).chain(self.outvoted);
        Ok(Survey { newest: record, leads: in_order(answered.collect()), behind })
    }

    /// Whether it is certain that there is nothing; if not, why not.
    fn check_absence(&mut self) -> Result<(), Refusal> {
        let certain = self.nothing.len() >= self.doubts || (self.failed == 0 && !self.nothing.is_empty());
        match self.refusal.take() {
            _ if certain => Ok(()),
            Some(refusal) => Err(refusal),
            None => Err(unavailable(SILENT)),
        }
    }

    /// Tells the replicator if the answers do not fit together.
    fn repair(&self) {
        let Some(first) = self.found.first() else { return };
        let replicas = self.replicas_of(first);
        let differ = self.found.iter().any(|found| found.version() != first.version());
        let missing = !first.is_gone() && self.nothing.iter().any(|(rank, _)| *rank < replicas);
        if differ || missing || self.outlived {
            self.net.mend(self.key);
        }
    }
}

impl Found {
    fn version(&self) -> Option<u64> {
        self.claim.as_ref().map(|claim| claim.version)
    }

    /// Whether it is a tombstone.
    fn is_gone(&self) -> bool {
        self.claim.as_ref().is_some_and(|claim| claim.removed().is_some())
    }

    fn claims_the_same(&self, other: &Found) -> bool {
        let told = |found: &Found| found.claim.as_ref().map(|claim| (claim.version, claim.provenance.clone()));
        told(self) == told(other)
    }
}

/// Nearest first, each once.
fn in_order(mut ranked: Vec<(usize, Replica)>) -> Vec<Replica> {
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.dedup_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, replica)| replica).collect()
}

/// Whether an object gives way to something newer: an owned one only to what its owner's node has signed.
pub(super) fn gives_way(old: &Record, new: &Record) -> bool {
    let Some(owner) = old.owner.as_deref().filter(|_| old.removed().is_none()) else { return true };
    let node = owner.split('/').next().unwrap_or(owner);
    let given_up = new.owner.is_none() && new.provenance.as_ref().is_some_and(|it| *it.by == *node);
    new.owner.as_deref() == Some(owner) || given_up
}

const SILENT: &str = "too few of the nodes that hold the object answer; try again";
