//! Spreading: a change goes to all nodes of its key at once, and is answered when a quorum has spoken. If this node is one
//! of them it is of that quorum: whoever has put something here finds it here.

use std::rc::Rc;
use std::time::Duration;

use comet_kernel::Key;
use futures::StreamExt;
use futures::future::LocalBoxFuture;
use futures::stream::FuturesUnordered;

use super::Outcome;
use super::net::{Behalf, Failure, Net, Replica};
use super::votes::Votes;
use crate::wire::{Answer, Ask};

/// How long a change waits for this node's own copy when the others are enough: more than handlers hold a shard up.
const PATIENCE: Duration = Duration::from_millis(500);

type Said = (Replica, Result<Answer, Failure>);

/// Sends a change to these nodes. `votes` may have the answers of others already. If what it replaces lies on more nodes, it
/// goes to those as well, after it was answered: else a copy there would outlive it.
pub(super) async fn spread(
    net: Rc<Net>,
    behalf: Rc<Behalf>,
    key: Key,
    ask: Ask,
    replicas: Vec<Replica>,
    mut votes: Votes,
) -> Outcome {
    let asked = replicas.clone();
    let (mut silent_here, mut patience) = (replicas.contains(&Replica::Here), net.clock().sleep(PATIENCE));
    let mut running = send(&net, &behalf, &ask, replicas);
    while !votes.are_enough() || silent_here {
        tokio::select! {
            biased;
            said = running.next() => {
                let Some((replica, answer)) = said else { break };
                silent_here &= replica != Replica::Here;
                votes.count(&replica, answer);
            }
            () = &mut patience, if silent_here => silent_here = false,
        }
    }
    votes.hide_what_is_forged(&net, &key);
    let (reply, stored, late) = (votes.verdict(), votes.have_stored(), votes.are_late());
    let rest = async move {
        while let Some((replica, answer)) = running.next().await {
            votes.count(&replica, answer);
        }
        let mut needs_mending = votes.need_mending();
        if let Some(number) = votes.beyond(&net, &key, copies(&net, &ask)) {
            let mut others = net.replicas(&key, number).await;
            others.retain(|replica| !asked.contains(replica));
            let mut running = send(&net, &behalf, &ask, others);
            while let Some((_, answer)) = running.next().await {
                needs_mending |= answer.is_err();
            }
        }
        if needs_mending {
            net.mend(&key);
        }
    };
    Outcome { reply, stored, late, rest: Some(Box::pin(rest)) }
}

/// How many nodes are to hold what the change makes.
fn copies(net: &Net, ask: &Ask) -> usize {
    match ask {
        Ask::Put { stamp, .. } | Ask::Revise { stamp, .. } | Ask::Remove { stamp, .. } => {
            net.copies(Some(&stamp.provenance))
        }
        _ => net.replication(),
    }
}

fn send(
    net: &Rc<Net>,
    behalf: &Rc<Behalf>,
    ask: &Ask,
    replicas: Vec<Replica>,
) -> FuturesUnordered<LocalBoxFuture<'static, Said>> {
    let sent = replicas.into_iter().map(|replica| -> LocalBoxFuture<'static, Said> {
        let (net, behalf, ask) = (net.clone(), behalf.clone(), ask.clone());
        Box::pin(async move {
            let answer = net.ask(&replica, ask, &behalf).await;
            (replica, answer)
        })
    });
    sent.collect()
}
