//! Scripts by their hash: found among those in use, read from storage, or kept for those who will come with an object
//! that runs them.

use std::sync::Arc;

use comet_kernel::contract::aso::{Refusal, ScriptChoice};
use comet_kernel::contract::library::{Describe, Description, KeepSource, LibraryError};
use comet_kernel::contract::routing::TravellingScript;
use comet_kernel::contract::storage::{ReadScript, WriteScript};
use comet_kernel::{Context, Handler, Responder, ScriptHash, Work};

use super::{BUILT_IN, Library, durable};
use crate::env::Env;
use crate::sandbox::{self, Script};

/// Scripts that came by themselves lately, held so that the objects that follow them find them compiled.
const LATELY: usize = 64;

impl Handler<KeepSource> for Library {
    fn handle(
        &mut self,
        KeepSource { source }: KeepSource,
        responder: Responder<Result<ScriptHash, LibraryError>>,
        context: &mut Context<Self>,
    ) {
        let hash = ScriptHash::of(&source);
        if self.lately.iter().any(|script| script.hash() == hash) {
            self.sources.touch(hash);
            return responder.answer(Ok(hash));
        }
        let script = match self.env.sandbox.compile(&source) {
            Ok(script) => script,
            Err(error) => return responder.answer(Err(LibraryError::BadScript(error.to_string()))),
        };
        if let Err(error) = self.check_room(hash, context) {
            return responder.answer(Err(error));
        }
        let write = WriteScript { sources: vec![source], name: None };
        let storage = self.env.storage.write_script.clone();
        context.then(async move { storage.call(write).await }, move |library, outcome, context| {
            responder.answer(durable(outcome).map(|()| {
                library.add_source(hash, context);
                let script = library.env.catalogue.keep(script);
                if library.lately.len() >= LATELY {
                    library.lately.pop_front();
                }
                library.lately.push_back(script);
                hash
            }));
        });
    }
}

impl Handler<Describe> for Library {
    fn handle(
        &mut self,
        Describe { hash }: Describe,
        responder: Responder<Result<Option<Description>, LibraryError>>,
        context: &mut Context<Self>,
    ) {
        self.sources.touch(hash);
        let env = self.env.clone();
        let found = async move { fetch(&env, hash).await };
        context.then(found, move |_, found, _| {
            responder.answer(match found {
                Ok(script) => Ok(Some(describe(&script))),
                Err(Refusal::NoScript(_)) => Ok(None),
                Err(Refusal::BadScript(reason)) => Err(LibraryError::BadScript(reason)),
                Err(refusal) => Err(LibraryError::Unavailable(refusal.to_string())),
            });
        });
    }
}

fn describe(script: &Script) -> Description {
    Description {
        source: script.source().clone(),
        merges: script.handles(sandbox::Handler::Merge),
        publisher: script.publisher().map(ToString::to_string),
    }
}

pub(super) async fn find_or_store(env: &Env, choice: ScriptChoice) -> Result<Arc<Script>, Refusal> {
    match choice {
        ScriptChoice::Named { name, .. } => {
            let named = env.catalogue.named(&name).ok_or_else(|| Refusal::NoScript(name.to_string()))?;
            Ok(named.current().script.clone())
        }
        ScriptChoice::Hash(hash) | ScriptChoice::Travelled(TravellingScript { hash, .. }) => fetch(env, hash).await,
        ScriptChoice::Source(source) => {
            let script = env.sandbox.compile(&source).map_err(|error| Refusal::BadScript(error.to_string()))?;
            let write = WriteScript { sources: vec![source], name: None };
            durable(env.storage.write_script.call(write).await)
                .map_err(|error| Refusal::Unavailable(error.to_string()))?;
            Ok(env.catalogue.keep(script))
        }
    }
}

pub(super) async fn fetch(env: &Env, hash: ScriptHash) -> Result<Arc<Script>, Refusal> {
    if let Some(script) = env.catalogue.find(hash) {
        return Ok(script);
    }
    let unavailable =
        |reason: String| Refusal::Unavailable(format!("the script {} cannot be read: {reason}", hash.short()));
    let stored = env.storage.read_script.call(ReadScript { hash }).await;
    let stored = stored.map_err(|error| unavailable(error.to_string()))?;
    let source = stored.map_err(|error| unavailable(error.to_string()))?;
    // A built-in script may be wanted before it is stored.
    let built_in = || BUILT_IN.iter().map(|(_, source)| *source).find(|source| ScriptHash::of(source) == hash);
    let source = source.or_else(|| built_in().map(Arc::from)).ok_or_else(|| Refusal::NoScript(hash.to_string()))?;
    let script = env.sandbox.compile(&source).map_err(|error| Refusal::BadScript(error.to_string()))?;
    Ok(env.catalogue.keep(script))
}
