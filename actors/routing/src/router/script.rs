//! Scripts that travel: a put goes to other nodes with the hash of its script, and a node that lacks the source asks whoever
//! sent the put, once, however many puts wait for it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use comet_kernel::contract::aso::{Refusal, ScriptChoice};
use comet_kernel::contract::library::{Describe, KeepSource, LibraryError, ShowScript};
use comet_kernel::contract::routing::TravellingScript;
use comet_kernel::handle::CallError;
use comet_kernel::{Moment, NodeId, Record, ScriptHash, limits};
use futures::FutureExt;
use futures::future::{LocalBoxFuture, Shared};

use super::net::Net;
use super::unavailable;
use crate::wire::{Answer, Ask};

/// The sources that are being fetched, by whom and from whom.
pub(super) type Fetches = RefCell<HashMap<(ScriptHash, NodeId), Fetch>>;
type Fetch = Shared<LocalBoxFuture<'static, Result<(), Refusal>>>;

/// Turns the client's choice into what every node understands, and makes sure that this node has the source: the
/// others will ask it.
pub(super) async fn resolve(net: &Net, choice: ScriptChoice) -> Result<TravellingScript, Refusal> {
    match choice {
        ScriptChoice::Named { name, pin } => {
            let shown = answered(net.env.aso.show_script.call(ShowScript { name: name.clone() }).await)?;
            let hash = ScriptHash::parse(&shown.hash).ok_or_else(|| unavailable("the library named no hash"))?;
            Ok(TravellingScript { hash, follows: (!pin).then_some(name) })
        }
        ScriptChoice::Source(source) => {
            let hash = answered(net.env.aso.keep_source.call(KeepSource { source }).await)?;
            Ok(TravellingScript { hash, follows: None })
        }
        ScriptChoice::Hash(hash) => resolved(net, TravellingScript { hash, follows: None }).await,
        ScriptChoice::Travelled(script) => resolved(net, script).await,
    }
}

async fn resolved(net: &Net, script: TravellingScript) -> Result<TravellingScript, Refusal> {
    if is_known(net, script.hash).await? { Ok(script) } else { Err(Refusal::NoScript(script.hash.to_string())) }
}

/// Makes sure that this node has the source of a script, which `sender` has if this node has not.
pub(super) async fn ensure(net: &Rc<Net>, hash: ScriptHash, sender: &NodeId, deadline: Moment) -> Result<(), Refusal> {
    if is_known(net, hash).await? {
        return Ok(());
    }
    let about = (hash, sender.clone());
    let known = net.fetches.borrow().get(&about).cloned();
    let fetch = known.unwrap_or_else(|| {
        let (net, sender) = (net.clone(), sender.clone());
        async move { fetch(&net, hash, &sender, deadline).await }.boxed_local().shared()
    });
    net.fetches.borrow_mut().insert(about.clone(), fetch.clone());
    let fetched = fetch.await;
    net.fetches.borrow_mut().remove(&about);
    fetched
}

/// The hash that every record names is taken from the signature: whoever hands a copy on cannot say which script runs. A
/// version that a named script has reached since is reached here by this node's own library.
pub(super) fn as_put(record: &mut Record) {
    let signed = record.provenance.as_ref().and_then(|provenance| provenance.script);
    if let (Some(active), Some(hash)) = (&mut record.active, signed) {
        active.script.hash = hash;
    }
}

/// Fetches a source on the account of who has it.
async fn fetch(net: &Net, hash: ScriptHash, sender: &NodeId, deadline: Moment) -> Result<(), Refusal> {
    let from = sender.as_str().into();
    net.quota.borrow_mut().handed.bring_script(&from, net.clock().now())?;
    let fetched = bring(net, hash, sender, deadline).await;
    if fetched.is_err() {
        net.quota.borrow_mut().handed.bring_nothing(&from);
    }
    fetched
}

async fn bring(net: &Net, hash: ScriptHash, sender: &NodeId, deadline: Moment) -> Result<(), Refusal> {
    let source = match net.send(sender, Ask::Script { hash }, deadline).await {
        Ok(Answer::Source(Some(source))) => source,
        Ok(_) => return Err(Refusal::NoScript(hash.to_string())),
        Err(failure) => return Err(Refusal::Unavailable(format!("the script could not be fetched: {failure}"))),
    };
    if source.len() > limits::SCRIPT_BYTES || ScriptHash::of(&source) != hash {
        net.env.tally.refused.add(1);
        return Err(Refusal::BadScript(format!("{sender} sent another script than {hash}")));
    }
    answered(net.env.aso.keep_source.call(KeepSource { source }).await)?;
    Ok(())
}

async fn is_known(net: &Net, hash: ScriptHash) -> Result<bool, Refusal> {
    Ok(answered(net.env.aso.describe.call(Describe { hash }).await)?.is_some())
}

fn answered<T>(answer: Result<Result<T, LibraryError>, CallError>) -> Result<T, Refusal> {
    match answer {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(LibraryError::NoScript(name))) => Err(Refusal::NoScript(name)),
        Ok(Err(error @ (LibraryError::BadScript(_) | LibraryError::BadName(_)))) => {
            Err(Refusal::BadScript(error.to_string()))
        }
        Ok(Err(error)) => Err(Refusal::Unavailable(error.to_string())),
        Err(error) => Err(Refusal::Unavailable(error.to_string())),
    }
}
