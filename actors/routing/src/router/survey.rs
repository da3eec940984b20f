//! A survey: what the nearest nodes hold now, before a change that depends on it.
//!
//! A few of the nearest nodes are asked at once and the newest version counts, because the nearest one may have joined a
//! moment ago, or may have missed a change. The nearest node that has the newest version leads the change: it decides
//! which of two changes of that version came first.

use std::rc::Rc;
use std::sync::Arc;

use comet_kernel::contract::aso::Refusal;
use comet_kernel::{Key, Record};

use super::net::{Behalf, Net, Replica};
use super::race::{Landed, gather};
use super::unavailable;
use crate::wire::{Answer, Ask};

/// What was found.
#[derive(Debug)]
pub(super) struct Survey {
    /// The newest record, tombstones included.
    pub newest: Option<Arc<Record>>,
    /// The nearest node that has it. If none has anything, the nearest that did not fail, even if it has not answered yet:
    /// whoever asks at the same time has to come to the same one.
    pub lead: Replica,
}

impl Survey {
    /// The object that a client can see.
    pub(super) fn live(&self, net: &Net) -> Option<&Arc<Record>> {
        self.newest.as_ref().filter(|record| record.is_live(net.unix()))
    }
}

/// Asks the nearest of these nodes for their copies, and the next ones as long as none answers.
pub(super) async fn survey(
    net: &Rc<Net>,
    behalf: &Rc<Behalf>,
    key: &Key,
    replicas: &[Replica],
) -> Result<Survey, Refusal> {
    let ordered = trusted_first(net, replicas);
    for few in ordered.chunks(net.read_parallel()) {
        let landed = gather(net, behalf, Ask::Copy { key: key.clone() }, few.to_vec()).await;
        let failed = |replica: &&Replica| landed.iter().any(|it| it.replica == **replica && it.answer.is_err());
        let nearest = few.iter().find(|replica| !failed(replica)).cloned();
        if let Some(survey) = newest(net, key, landed, nearest) {
            return Ok(survey);
        }
    }
    Err(unavailable("none of the nodes that hold the object answers; try again"))
}

/// Nearest first; this node last while what it stores may be out of date.
fn trusted_first(net: &Net, replicas: &[Replica]) -> Vec<Replica> {
    let mut ordered = replicas.to_vec();
    if !net.env.service.settled.is_set() {
        ordered.sort_by_key(|replica| *replica == Replica::Here);
    }
    ordered
}

/// None if no node has answered. `nearest` leads if none has anything.
fn newest(net: &Net, key: &Key, landed: Vec<Landed>, nearest: Option<Replica>) -> Option<Survey> {
    let mut absent = false;
    let mut found: Vec<(Arc<Record>, Replica)> = Vec::new();
    for Landed { replica, answer, .. } in landed {
        match answer {
            Ok(Answer::Record(record)) => found.push((record, replica)),
            Ok(Answer::Absent) => absent = true,
            _ => {}
        }
    }
    // Stable: of those with the same version the nearest stays first. Most often one check is all that is needed.
    found.sort_by_key(|(record, _)| std::cmp::Reverse(record.version));
    let genuine = found.into_iter().find(|(record, replica)| net.check(key, record, replica).is_ok());
    match genuine {
        Some((record, replica)) => Some(Survey { newest: Some(record), lead: replica }),
        None => Some(Survey { newest: None, lead: nearest.filter(|_| absent)? }),
    }
}
