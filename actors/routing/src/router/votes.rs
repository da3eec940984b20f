//! What the replicas of a key say to a change, and what that comes to.

use std::sync::Arc;

use comet_kernel::contract::aso::{Refusal, Reply};
use comet_kernel::{Key, Record};

use super::change::Mark;
use super::net::{Failure, Net, Replica};
use crate::wire::Answer;

/// The answers to one change, as they come.
#[derive(Debug)]
pub(super) struct Votes {
    wanted: usize,
    stored: usize,
    /// Those that have something newer, as they say.
    late: usize,
    kept: usize,
    refusals: Vec<(Refusal, usize)>,
    failed: usize,
    /// The records that were replaced, or are newer, each once, and who said so.
    formers: Vec<(Arc<Record>, Replica)>,
    /// What is there instead, and who said so.
    present: Option<(Arc<Record>, Replica)>,
    /// What tells the change from others.
    mark: Mark,
    /// The version that the change makes, if it is for one version only.
    revision: Option<u64>,
    removes: bool,
}

impl Votes {
    /// Decides with so many answers.
    pub(super) fn new(wanted: usize, mark: Mark) -> Self {
        Votes {
            wanted,
            mark,
            stored: 0,
            late: 0,
            kept: 0,
            refusals: Vec::new(),
            failed: 0,
            formers: Vec::new(),
            present: None,
            revision: None,
            removes: false,
        }
    }

    /// For a change of one version to another: a node that has a newer one is past it, and one that has an older one has
    /// missed something, and has no say.
    pub(super) fn of_a_revision(mut self, version: u64) -> Self {
        self.revision = Some(version);
        self
    }

    /// For a removal.
    pub(super) fn of_a_removal(mut self) -> Self {
        self.removes = true;
        self
    }

    pub(super) fn count(&mut self, replica: &Replica, answer: Result<Answer, Failure>) {
        match answer {
            Ok(Answer::Stored { former } | Answer::Removed { former }) => {
                let late = former.as_ref().is_some_and(|former| self.mark.is_beaten_by(former));
                *if late { &mut self.late } else { &mut self.stored } += 1;
                self.note(former, replica);
            }
            Ok(Answer::Kept { present }) => match self.revision {
                Some(version) if present.as_ref().is_some_and(|present| present.version > version) => self.stored += 1,
                Some(_) => self.failed += 1,
                None => {
                    self.kept += 1;
                    self.present = self.present.take().or(present.map(|record| (record, replica.clone())));
                }
            },
            Ok(Answer::Refused(refusal)) => match self.refusals.iter_mut().find(|(known, _)| *known == refusal) {
                Some((_, number)) => *number += 1,
                None => self.refusals.push((refusal, 1)),
            },
            Ok(_) | Err(_) => self.failed += 1,
        }
    }

    fn note(&mut self, former: Option<Arc<Record>>, replica: &Replica) {
        let Some(former) = former else { return };
        match self.formers.iter_mut().find(|(known, _)| *known == former) {
            // This node's own needs no check.
            Some((_, of)) if *replica == Replica::Here => *of = Replica::Here,
            Some(_) => {}
            None => self.formers.push((former, replica.clone())),
        }
    }

    /// Where the newest former stands. Of two of one version this node's own is preferred.
    fn newest(&self) -> Option<usize> {
        let rank = |at: &usize| {
            let (record, replica) = &self.formers[*at];
            (record.version, *replica == Replica::Here)
        };
        (0..self.formers.len()).max_by_key(rank)
    }

    /// The newest record that was replaced, or is newer.
    fn former(&self) -> Option<&Arc<Record>> {
        self.newest().map(|at| &self.formers[at].0)
    }

    /// How many nodes hold what was replaced, if that is more than `wanted`.
    pub(super) fn beyond(&self, net: &Net, key: &Key, wanted: usize) -> Option<usize> {
        let copies = |record: &Record| net.copies(record.provenance.as_deref());
        let wider = self.formers.iter().filter(|(record, _)| copies(record) > wanted);
        wider.filter(|(record, replica)| net.may_show(key, record, replica)).map(|(record, _)| copies(record)).max()
    }

    /// What a peer says is or was there is shown to a client only if it was put as it says. The next version goes past all
    /// that they say: what one of them makes up must not hide what another has.
    pub(super) fn hide_what_is_forged(&mut self, net: &Net, key: &Key) {
        self.formers.iter().for_each(|(former, _)| net.saw(former.version));
        while let Some(at) = self.newest() {
            let (record, replica) = &self.formers[at];
            if net.may_show(key, record, replica) {
                break;
            }
            self.formers.swap_remove(at);
        }
        self.present = self.present.take().filter(|(record, replica)| net.may_show(key, record, replica));
    }

    fn refused(&self) -> usize {
        self.refusals.iter().map(|(_, number)| number).sum()
    }

    /// Whether enough have answered. Some that say they have something newer may lie, and where a quorum has not stored it
    /// yet a change is not made: the others are waited for.
    pub(super) fn are_enough(&self) -> bool {
        let spoken = self.stored + self.kept + self.refused() >= self.wanted;
        self.have_stored() || self.late >= self.wanted || (spoken && self.objection().is_some())
    }

    /// Whether a quorum has stored the change, whatever others have that is newer.
    pub(super) fn have_stored(&self) -> bool {
        self.stored >= self.wanted
    }

    /// Whether something newer is there, unless that was hidden as forged.
    pub(super) fn are_late(&self) -> bool {
        self.former().is_some_and(|former| self.mark.is_beaten_by(former))
    }

    /// Whether the replicas are not in one state, or some may lack the change.
    pub(super) fn need_mending(&self) -> bool {
        self.stored > 0 && self.failed + self.late + self.kept + self.refused() > 0
    }

    /// What they say against the change, if as many do as are for it: what is acknowledged must hold.
    fn objection(&self) -> Option<Result<Reply, Refusal>> {
        let made = self.stored + self.late;
        match self.refusals.iter().max_by_key(|(_, number)| *number) {
            Some((refusal, number)) if *number >= made && *number >= self.kept => Some(Err(refusal.clone())),
            _ if self.kept >= made => {
                Some(Ok(Reply::Kept { present: self.present.as_ref().map(|(record, _)| record.clone()) }))
            }
            _ => None,
        }
    }

    /// What most of them say. That the change was made, or gave way to something newer, a quorum has to say: which of both
    /// [`Votes::have_stored`] tells.
    pub(super) fn verdict(&self) -> Result<Reply, Refusal> {
        let no_quorum = Err(Refusal::NoQuorum { stored: self.stored, wanted: self.wanted });
        if self.stored + self.late + self.kept + self.refused() < self.wanted {
            return no_quorum;
        }
        if let Some(objection) = self.objection() {
            return objection;
        }
        if self.stored + self.late < self.wanted {
            return no_quorum;
        }
        let former = self.former().cloned();
        Ok(if self.removes { Reply::Removed { former } } else { Reply::Stored { former } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use comet_kernel::Value;

    /// None stands for a failure.
    fn votes(answers: impl IntoIterator<Item = Option<Answer>>) -> Votes {
        let mut votes = Votes::new(3, Mark { version: u64::MAX, by: "me".into() });
        for answer in answers {
            votes.count(&Replica::Here, answer.ok_or(Failure::Senseless));
        }
        votes
    }

    const STORED: Option<Answer> = Some(Answer::Stored { former: None });
    const KEPT: Option<Answer> = Some(Answer::Kept { present: None });

    fn thrown(text: &str) -> Answer {
        Answer::Refused(Refusal::Thrown(text.to_owned()))
    }

    #[test]
    fn failures_have_no_say() {
        let few = votes([STORED, None, STORED, None]);
        assert_eq!(few.verdict().expect_err("two are too few"), Refusal::NoQuorum { stored: 2, wanted: 3 });
        assert!(few.need_mending());
        assert!(matches!(votes([STORED, None, STORED, STORED]).verdict(), Ok(Reply::Stored { .. })));
    }

    #[test]
    fn the_majority_of_a_quorum_decides() {
        assert!(!votes([STORED, KEPT, STORED]).are_enough(), "two are no quorum");
        let split = votes([STORED, KEPT, STORED]).verdict();
        assert_eq!(split.expect_err("nobody else answers"), Refusal::NoQuorum { stored: 2, wanted: 3 });
        assert!(matches!(votes([STORED, KEPT, STORED, STORED]).verdict(), Ok(Reply::Stored { .. })));
        assert!(votes([KEPT, STORED, KEPT]).are_enough());
        assert!(matches!(votes([KEPT, STORED, KEPT]).verdict(), Ok(Reply::Kept { .. })));
        let refusals = votes([Some(thrown("a")), Some(thrown("b")), Some(thrown("b"))]);
        assert_eq!(refusals.verdict().expect_err("refused"), Refusal::Thrown("b".to_owned()));
        assert!(matches!(votes([STORED, KEPT, Some(thrown("a"))]).verdict(), Err(Refusal::Thrown(_))));
    }

    #[test]
    fn one_that_says_it_has_something_newer_stands_for_itself_alone() {
        let newer = || {
            let former = Some(Arc::new(Record::plain(u64::MAX, Value::Nil)));
            Some(Answer::Stored { former })
        };
        assert!(!votes([newer(), STORED, STORED]).are_enough());
        assert!(!votes([newer(), STORED, STORED]).have_stored());
        assert!(votes([newer(), STORED, STORED, STORED]).have_stored());
        assert!(votes([newer(), newer(), newer()]).are_enough());
        let lost = votes([newer(), newer(), STORED]);
        assert!(matches!(lost.verdict(), Ok(Reply::Stored { former: Some(_) })));
        assert!(lost.are_late() && !lost.have_stored(), "it gave way");
    }

    #[test]
    fn the_newest_former_is_told() {
        let former = |version| {
            let record = Record::plain(version, Value::Int(version as i64));
            Some(Answer::Stored { former: Some(Arc::new(record)) })
        };
        let Ok(Reply::Stored { former: Some(former) }) = votes([former(1), former(3), former(2)]).verdict() else {
            panic!("stored");
        };
        assert_eq!(former.version, 3);
    }
}
