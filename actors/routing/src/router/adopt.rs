//! Adoption: what this node stored while it was alone becomes an object of the network.
//!
//! A record from that time bears no signature, and no other node believes it. When the replicator meets one, and there are
//! others, this node signs it, as if it had been put through this node when it was:
//!
//! - It stays as old as it is, so that what somebody has put or removed in the network since wins over it.
//! - What somebody else owns in the network stays theirs.
//! - Its owner becomes a user of this node, or this node itself.
//!
//! Where the network wins, the record is dropped here; its place takes what the others hold, if this node is to hold it.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use comet_kernel::contract::aso::{Arrived, Call, Op, Reply};
use comet_kernel::{Key, Record, Request};

use super::here;
use super::net::{Behalf, Net, Replica};
use super::reading::gives_way;
use super::sign::Terms;
use super::survey::survey;
use crate::wire::{Answer, Ask};

/// How long the adoption of one object may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Signs what is stored here under a key and was never signed, if there is anybody else and nobody has anything that wins
/// over it. Answers the record as it is stored then.
pub(super) async fn adopt(net: Rc<Net>, key: Key) -> Option<Arc<Record>> {
    let behalf = Rc::new(Behalf::of_itself(&net, Request::until(net.clock().now() + PATIENCE)));
    let own = |op| {
        let (key, request, caller) = (key.clone(), behalf.request.clone(), behalf.caller.clone());
        here::carry(&net, Call { key, request, caller, op, stamp: None })
    };
    let Ok(Reply::Plain(record)) = own(Op::Copy).await else { return None };
    if record.provenance.is_some() || !record.is_live(net.unix()) {
        return None;
    }
    let mut others = net.replicas(&key, net.replication() + 1).await;
    others.retain(|replica| *replica != Replica::Here);
    if others.is_empty() {
        return None;
    }
    let found = survey(&net, &behalf, &key, &others).await.ok()?;
    // Where the others are silent, this node stands in for them, and hears of its own record only.
    if found.leads.iter().all(|lead| *lead == Replica::Here) {
        return None;
    }
    let signed = Arc::new(signed(&net, &key, &record));
    if found.newest.is_some_and(|theirs| theirs.version >= signed.version || !gives_way(&theirs, &signed)) {
        tracing::debug!(%key, "what was stored here before this node joined gives way to what the network has");
        let _gone_or_changed_meanwhile = own(Op::Drop { version: record.version }).await;
        return None;
    }
    let ask = Ask::Arrive { key: key.clone(), record: signed.clone(), caused: 0 };
    let arrived = here::ask(&net, ask, behalf.caller.clone(), behalf.request.clone()).await;
    (arrived == Answer::Arrived(Arrived::Taken)).then_some(signed)
}

/// The same record with this node's signature. Its version is the very next one, so that it takes the place of the other.
fn signed(net: &Net, key: &Key, record: &Record) -> Record {
    let owner = record.owner.as_deref().map(|owner| net.user(owner));
    let mut signed = Record { version: record.version + 1, owner, ..record.clone() };
    let script = record.active.as_ref().map(|active| active.script.hash);
    signed.provenance = Some(Box::new(net.signer.sign(key, &signed, Terms { script, ..Terms::default() })));
    signed
}
