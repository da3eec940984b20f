//! Requests of peers: each is checked, then put to this node's own copy.
//!
//! The transport has proven who the peer is, and nothing else. A change must say who made it, and carry that node's
//! signature, be it the peer itself; it must not come from the future, nor live for ever, nor make somebody else an owner;
//! and what one node's puts take here is bounded. How long an object lives its signer has said: `aso.max_ttl_seconds` holds
//! for what is put through this node, and a copy cannot end earlier than it was signed for.

use std::rc::Rc;
use std::sync::Arc;

use comet_kernel::contract::aso::{Arrived, Refusal};
use comet_kernel::contract::library::Describe;
use comet_kernel::provenance::Removal;
use comet_kernel::{Caller, Key, NodeId, Provenance, Record, Request, ScriptHash, UnixMillis, Value, limits};

use super::handed::Delivery;
use super::net::{Net, seen_as};
use super::quota::{cost, cost_of};
use super::script::as_put;
use super::sign::{self, Forgery};
use super::{here, script, unavailable};
use crate::messages::{Compare, Serve};
use crate::wire::{Answer, Ask, Asker, NODES, Node, Place, Stamp};

/// The longest name of a gateway's user, and the longest address of a client, in bytes.
const NAME_BYTES: usize = 256;
/// The longest name of an owner, in bytes: a node, and perhaps a user of its gateway.
const OWNER_BYTES: usize = 2 * NAME_BYTES;

/// Serves a request of a peer.
pub(super) async fn serve(net: Rc<Net>, serve: Serve) -> Answer {
    let Serve { from, ask, deadline } = serve;
    if net.clock().now() >= deadline {
        return Answer::Refused(unavailable("the request came too late"));
    }
    let request = Request::until(deadline);
    match ask {
        Ask::Compare { items } => compare(&net, from, items).await,
        Ask::Script { hash } => source(&net, hash).await,
        Ask::Nearest { place, n } => nearest(&net, place, n),
        Ask::Arrive { key, record, caused } => {
            let arriving = arrive(&net, from, key, record, request.caused_by(caused));
            arriving.await.unwrap_or_else(Answer::Refused)
        }
        Ask::Copy { .. } => copy(&net, ask, from, request).await,
        ask => call(&net, from, ask, request).await.unwrap_or_else(Answer::Refused),
    }
}

/// A question or a change on behalf of somebody.
async fn call(net: &Rc<Net>, from: Arc<Caller>, ask: Ask, request: Request) -> Result<Answer, Refusal> {
    let nobody = Asker::default();
    let asker = asker(&ask).unwrap_or(&nobody);
    check_asker(asker)?;
    let caused = asker.caused;
    let is_plain = asker.user.is_none() && asker.client == from.client;
    let caller = if is_plain { from.clone() } else { Arc::new(seen_as(Caller::clone(&from), asker)) };
    check_change(net, &ask, &from.id)?;
    let Some(change) = Change::of(net, &ask, &from.id) else {
        return Ok(here::ask(net, ask, caller, request.caused_by(caused)).await);
    };
    check_quota(net, &change.key, &change.delivery, &from, &request).await?;
    if let Some(hash) = change.script {
        script::ensure(net, hash, &NodeId::from_text(&from.id), request.deadline).await?;
    }
    let answer = here::ask(net, ask, caller, request.caused_by(caused)).await;
    change.count(net, &answer);
    Ok(answer)
}

/// What a change means for the quotas and for the library.
pub(super) struct Change {
    key: Key,
    version: u64,
    delivery: Delivery,
    script: Option<ScriptHash>,
}

impl Change {
    /// What an ask of this node's or of a peer changes, if it does.
    pub(super) fn of(net: &Net, ask: &Ask, from: &Arc<str>) -> Option<Self> {
        let (key, stamp, bytes) = match ask {
            Ask::Put { key, value, stamp, .. } | Ask::Revise { key, value: Some(value), stamp, .. } => {
                (key, stamp, cost(key, value))
            }
            Ask::Remove { key, stamp, .. } => (key, stamp, cost(key, &Value::Nil)),
            _ => return None,
        };
        // Where a revision goes, the script is already.
        let script = stamp.provenance.script.filter(|_| matches!(ask, Ask::Put { .. }));
        let delivery = delivery(net, from, key, &stamp.provenance, bytes);
        Some(Change { key: key.clone(), version: stamp.version, delivery, script })
    }

    /// Counts it, if it was made. One that came too late has changed nothing; one that somebody else hands on may have been
    /// made before, and must not count for its signer each time.
    pub(super) fn count(&self, net: &Net, answer: &Answer) {
        let (Answer::Stored { former } | Answer::Removed { former }) = answer else { return };
        let former = former.as_deref();
        let mut quota = net.quota.borrow_mut();
        if self.delivery.from != self.delivery.by {
            quota.handed.count(&self.delivery);
        } else if former.is_none_or(|former| former.version < self.version) {
            quota.took(&self.key, &self.delivery, former);
        }
    }
}

/// Refuses what a peer brings past a quota, unless it takes no more room than what the same node has put there before, or
/// than what it removes.
async fn check_quota(
    net: &Net,
    key: &Key,
    delivery: &Delivery,
    from: &Arc<Caller>,
    request: &Request,
) -> Result<(), Refusal> {
    let checked = net.quota.borrow_mut().check(delivery, net.clock().now());
    let Err(refusal) = checked else { return Ok(()) };
    match here::ask(net, Ask::Copy { key: key.clone() }, from.clone(), request.clone()).await {
        Answer::Record(record) if takes_the_place_of(delivery, key, &record) => Ok(()),
        _ => Err(refusal),
    }
}

fn takes_the_place_of(delivery: &Delivery, key: &Key, record: &Record) -> bool {
    let is_of = |provenance: &Provenance| provenance.by == delivery.by;
    let may = delivery.removes || record.provenance.as_deref().is_some_and(is_of);
    may && delivery.bytes <= cost_of(key, record)
}

/// What a peer brings, for the quotas.
fn delivery(net: &Net, from: &Arc<str>, key: &Key, provenance: &Provenance, bytes: u64) -> Delivery {
    let by = provenance.by.clone();
    let far = *from != by && net.is_far(key, provenance.replicas);
    Delivery { from: from.clone(), by, bytes, far, removes: provenance.removed.is_some() }
}

fn asker(ask: &Ask) -> Option<&Asker> {
    match ask {
        Ask::Get { asker, .. } | Ask::Put { asker, .. } | Ask::Revise { asker, .. } | Ask::Remove { asker, .. } => {
            Some(asker)
        }
        _ => None,
    }
}

fn check_cause(objects: u8) -> Result<(), Refusal> {
    if objects > limits::SIGNED_CAUSATION {
        return Err(Refusal::Forbidden("more objects stand behind the request than may".into()));
    }
    Ok(())
}

fn check_asker(asker: &Asker) -> Result<(), Refusal> {
    check_cause(asker.caused)?;
    let longest = asker.client.len().max(asker.user.as_ref().map_or(0, |user| user.len()));
    if longest > NAME_BYTES {
        return Err(Refusal::TooBig { what: "the name of who asks".into(), size: longest, limit: NAME_BYTES });
    }
    Ok(())
}

/// Whether a change was made as it says. What it says becomes a record, and the record is checked.
fn check_change(net: &Net, ask: &Ask, from: &str) -> Result<(), Refusal> {
    let (key, value, stamp, script) = match ask {
        Ask::Put { key, value, stamp, script, .. } => (key, value, stamp, script.as_ref().map(|it| it.hash)),
        Ask::Remove { key, stamp, .. } => (key, &Value::Nil, stamp, None),
        Ask::Revise { key, value, stamp, .. } => {
            (key, value.as_ref().unwrap_or(&Value::Nil), stamp, stamp.provenance.script)
        }
        _ => return Ok(()),
    };
    net.saw(stamp.version);
    let checked = check_stamp(key, value, stamp, script, net.unix()).and_then(|()| match ask {
        // What is there it builds on: it is for whoever has made it to say that.
        Ask::Revise { .. } if *stamp.provenance.by != *from => Err(Forgery::Signature),
        Ask::Remove { .. } => {
            (stamp.provenance.removed == Some(Removal::Everywhere)).then_some(()).ok_or(Forgery::Altered)
        }
        _ => stamp.provenance.removed.is_none().then_some(()).ok_or(Forgery::Altered),
    });
    net.counted(key, from, checked).map_err(forbidden)?;
    check_name("the owner's name", stamp.owner.as_deref(), OWNER_BYTES)?;
    check_size(value)
}

fn check_stamp(
    key: &Key,
    value: &Value,
    stamp: &Stamp,
    script: Option<ScriptHash>,
    now: UnixMillis,
) -> Result<(), Forgery> {
    if script != stamp.provenance.script {
        return Err(Forgery::Altered);
    }
    // A claim on a scripted object does not cover its value; copying one that is large would be for nothing.
    let value = if script.is_some() { Value::Nil } else { value.clone() };
    let (expires, owner) = (stamp.expires, stamp.owner.clone());
    let record = Record { expires, owner, ..Record::plain(stamp.version, value) };
    sign::check_claim(key, &record, &stamp.provenance, now)
}

/// What a record may carry besides its signature. Names count in no quota, so that they have to be short.
pub(super) fn check_record(record: &Record) -> Result<(), Refusal> {
    check_name("the owner's name", record.owner.as_deref(), OWNER_BYTES)?;
    let script = record.active.as_ref().and_then(|active| active.script.follows.as_deref());
    check_name("the script's name", script, limits::SCRIPT_NAME_BYTES)?;
    check_size(&record.value)
}

fn check_name(what: &'static str, name: Option<&str>, limit: usize) -> Result<(), Refusal> {
    match name.map_or(0, str::len) {
        size if size > limit => Err(Refusal::TooBig { what: what.into(), size, limit }),
        _ => Ok(()),
    }
}

fn check_size(value: &Value) -> Result<(), Refusal> {
    let size = value.encoded_size();
    let limit = limits::VALUE_BYTES;
    // The few bytes of MessagePack's own heads are not the client's concern.
    if size > limit + 16 {
        return Err(Refusal::TooBig { what: "the value".into(), size, limit });
    }
    Ok(())
}

fn forbidden(forgery: Forgery) -> Refusal {
    Refusal::Forbidden(forgery.to_string().into())
}

/// A copy that a peer stores. It is seldom the signer.
async fn arrive(
    net: &Rc<Net>,
    from: Arc<Caller>,
    key: Key,
    mut record: Arc<Record>,
    request: Request,
) -> Result<Answer, Refusal> {
    net.saw(record.version);
    let checked = sign::check(&key, &record, net.unix());
    net.counted(&key, &from.id, checked).map_err(forbidden)?;
    check_record(&record)?;
    check_cause(request.caused)?;
    let provenance = record.provenance.as_deref().ok_or_else(|| forbidden(Forgery::Unsigned))?;
    let delivery = delivery(net, &from.id, &key, provenance, cost_of(&key, &record));
    check_quota(net, &key, &delivery, &from, &request).await?;
    if let Some(hash) = provenance.script {
        script::ensure(net, hash, &NodeId::from_text(&from.id), request.deadline).await?;
        if record.active.as_ref().is_some_and(|active| active.script.hash != hash) {
            as_put(Arc::make_mut(&mut record));
        }
    }
    let caused = request.caused;
    let answer = here::ask(net, Ask::Arrive { key: key.clone(), record, caused }, from, request).await;
    if answer == Answer::Arrived(Arrived::Taken) {
        net.env.tally.copies_taken.add(1);
        net.quota.borrow_mut().took(&key, &delivery, None);
    }
    Ok(answer)
}

/// What is here for others: the tombstone of a copy that removed itself is about this node alone.
async fn copy(net: &Net, ask: Ask, from: Arc<Caller>, request: Request) -> Answer {
    match here::ask(net, ask, from, request).await {
        Answer::Record(record) if record.removed() == Some(Removal::Here) => Answer::Absent,
        answer => answer,
    }
}

async fn compare(net: &Net, from: Arc<Caller>, items: Vec<crate::wire::Item>) -> Answer {
    match net.env.compare.call(Compare { from, items }).await {
        Ok(answer) => answer,
        Err(error) => Answer::Refused(Refusal::Unavailable(error.to_string())),
    }
}

async fn source(net: &Net, hash: ScriptHash) -> Answer {
    match net.env.aso.describe.call(Describe { hash }).await {
        Ok(Ok(known)) => Answer::Source(known.map(|script| script.source)),
        Ok(Err(error)) => Answer::Refused(Refusal::Unavailable(error.to_string())),
        Err(error) => Answer::Refused(Refusal::Unavailable(error.to_string())),
    }
}

fn nearest(net: &Net, place: Place, n: u8) -> Answer {
    let nodes = net.env.service.neighbours.nearest(&place.0, usize::from(n).min(NODES));
    let named =
        nodes.iter().map(|node| Node { id: node.id.as_str().into(), ip: node.ip, port: node.port, quic: false });
    Answer::Nodes(named.collect())
}
