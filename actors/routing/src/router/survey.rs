//! A survey: what the nearest nodes hold now, before a change that depends on it.
//!
//! It is a reading of copies (see `reading`), so that no node can make up or hide what a change starts from any more than
//! it can for a get. A few of the nearest nodes are asked in any case, because the nearest one may have joined a moment
//! ago, or may have missed a change.

use std::rc::Rc;
use std::sync::Arc;

use comet_kernel::contract::aso::Refusal;
use comet_kernel::{Key, Record};

use super::get::{Start, inquire};
use super::net::{Behalf, Net, Replica};
use super::reading::Enough;
use crate::wire::Ask;

/// What was found.
#[derive(Clone, Debug)]
pub(super) struct Survey {
    /// The newest record, tombstones included.
    pub newest: Option<Arc<Record>>,
    /// The nodes that answered, nearest first: whoever asks at the same time has to come to the same one. See `lead`.
    pub leads: Vec<Replica>,
    /// Those of them that do not have it.
    pub behind: Vec<Replica>,
}

impl Survey {
    /// The object that a client can see.
    pub(super) fn live(&self, net: &Net) -> Option<&Arc<Record>> {
        self.newest.as_ref().filter(|record| record.is_live(net.unix()))
    }

    /// Gives a lead what it has missed, for a change is made where its base is. What came of it the change finds out.
    pub(super) async fn catch_up(&self, net: &Net, behalf: &Behalf, key: &Key, lead: &Replica) {
        if let Some(newest) = self.live(net).filter(|_| self.behind.contains(lead)) {
            let ask = Ask::Arrive { key: key.clone(), record: newest.clone(), caused: 0 };
            let _it_may_fail = net.ask(lead, ask, behalf).await;
        }
    }

    /// The version of what was found.
    pub(super) fn version(&self) -> Option<u64> {
        self.newest.as_ref().map(|record| record.version)
    }
}

/// Asks the nearest of these nodes for their copies, and the others as far as those leave room for doubt.
pub(super) async fn survey(
    net: &Rc<Net>,
    behalf: &Rc<Behalf>,
    key: &Key,
    replicas: &[Replica],
) -> Result<Survey, Refusal> {
    let ask = Ask::Copy { key: key.clone() };
    let enough = Enough::Newest(net.read_parallel());
    inquire(net, behalf, key, ask, replicas, enough, Start::Patient).await.survey()
}
