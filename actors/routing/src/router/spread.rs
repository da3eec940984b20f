//! Spreading: a change goes to all nodes of its key at once, and is answered when a quorum has spoken.

use std::rc::Rc;

use comet_kernel::Key;
use futures::StreamExt;
use futures::future::LocalBoxFuture;
use futures::stream::FuturesUnordered;

use super::Outcome;
use super::net::{Behalf, Failure, Net, Replica};
use super::votes::Votes;
use crate::wire::{Answer, Ask};

type Said = (Replica, Result<Answer, Failure>);

/// Sends a change to these nodes. `votes` may have the answers of others already.
pub(super) async fn spread(
    net: Rc<Net>,
    behalf: Rc<Behalf>,
    key: Key,
    ask: Ask,
    replicas: Vec<Replica>,
    mut votes: Votes,
) -> Outcome {
    let mut running: FuturesUnordered<LocalBoxFuture<'static, Said>> = FuturesUnordered::new();
    for replica in replicas {
        let (net, behalf, ask) = (net.clone(), behalf.clone(), ask.clone());
        running.push(Box::pin(async move {
            let answer = net.ask(&replica, ask, &behalf).await;
            (replica, answer)
        }));
    }
    while !votes.are_enough() {
        let Some((replica, answer)) = running.next().await else { break };
        votes.count(&replica, answer);
    }
    votes.hide_what_is_forged(&net, &key);
    let (reply, stored) = (votes.verdict(), votes.have_stored());
    let rest = async move {
        while let Some((replica, answer)) = running.next().await {
            votes.count(&replica, answer);
        }
        if votes.need_mending() {
            net.mend(&key);
        }
    };
    Outcome { reply, stored, rest: Some(Box::pin(rest)) }
}
