//! The library: the node's scripts, by name and by hash.
//!
//! Owns the versions of every name. Compiles on its own thread, so that no object waits while another's script is read.
//! Promises that a version is durable before it is in use, and that a version which does not compile replaces nothing.
//! It never runs a handler.

mod built_in;
mod by_hash;
mod folder;
mod names;
mod sources;

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use comet_kernel::contract::aso::{Clear, Refusal, ScriptChoice};
use comet_kernel::contract::library::{
    DropScript, LibraryError, ListScripts, LoadScript, RollbackScript, ScriptSummary, ShowScript,
};
use comet_kernel::contract::routing::TravellingScript;
use comet_kernel::contract::storage::{self, NamedVersion, WriteScript};
use comet_kernel::contract::timer::DisarmAll;
use comet_kernel::events::Kind;
use comet_kernel::handle::CallError;
use comet_kernel::reply::pair;
use comet_kernel::{Actor, Context, Handler, Message, RequestId, Responder, ScriptHash, UnixMillis, Work, limits};

use self::by_hash::{fetch, find_or_store};
use self::folder::Folder;
use self::names::stored_names;
use self::sources::{Sources, stored_sources};
use crate::catalogue::Named;
use crate::env::Env;
use crate::sandbox::Script;
use crate::shard::{End, Fate, Hold};

pub(crate) use self::built_in::BUILT_IN;

/// How often the watched folder is looked at: a saved file is live within a second.
const FOLDER_INTERVAL: Duration = Duration::from_millis(400);
/// The origin of scripts that come with the binary.
const BUILT_IN_ORIGIN: &str = "built-in";

/// Asks for a script that the catalogue does not hold: known by hash, or given as source.
#[derive(Clone, Debug)]
pub(crate) struct Fetch(pub ScriptChoice);

impl Message for Fetch {
    type Reply = Result<Arc<Script>, Refusal>;
    const NAME: &'static str = "aso::Fetch";
}

/// Tells that a version of a named script fails too often.
#[derive(Clone, Debug)]
pub(crate) struct Suspect(pub Arc<Named>);

impl Message for Suspect {
    type Reply = ();
    const NAME: &'static str = "aso::Suspect";
}

/// The library.
#[derive(Debug)]
pub(crate) struct Library {
    env: Arc<Env>,
    /// The stored versions of each name, newest last. Built-in scripts that nobody replaced are not among them.
    versions: BTreeMap<Arc<str>, Vec<NamedVersion>>,
    /// Scripts that came by themselves lately, oldest first.
    lately: VecDeque<Arc<Script>>,
    sources: Sources,
    folder: Option<Folder>,
}

impl Library {
    /// A library that reads its names from storage when it starts.
    pub fn new(env: Arc<Env>, folder: Option<PathBuf>) -> Self {
        Library {
            env,
            versions: BTreeMap::new(),
            lately: VecDeque::new(),
            sources: Sources::default(),
            folder: folder.map(Folder::new),
        }
    }

    /// Reads the names from storage; tries again until storage answers. Until then no name is known and every message
    /// waits, so that no object runs a built-in script in the place of a loaded version of the same name.
    fn read_names(&mut self, context: &mut Context<Self>) {
        let env = self.env.clone();
        let stored = async move { (stored_names(&env).await, stored_sources(&env).await) };
        context.hold(stored, |library, (names, sources), context| {
            for (name, versions, source) in names {
                library.adopt_stored(&name, versions, source.as_deref());
            }
            library.adopt_built_in();
            library.adopt_sources(sources, context);
            library.look_into_folder(context);
        });
    }

    fn adopt_stored(&mut self, name: &Arc<str>, versions: Vec<NamedVersion>, source: Option<&str>) {
        match source.map(|source| self.env.sandbox.compile(source)) {
            Some(Ok(script)) => {
                let loaded = versions.last().map_or(UnixMillis(0), |newest| newest.loaded);
                self.adopt(name, script, loaded);
                self.versions.insert(name.clone(), versions);
            }
            unusable => {
                let reason = match unusable {
                    Some(Err(error)) => error.to_string(),
                    _ => "its source is not stored".to_owned(),
                };
                self.env.kernel.events.publish(Kind::Script, &**name, format!("cannot be used: {reason}"));
            }
        }
    }

    fn adopt_built_in(&self) {
        for (name, source) in BUILT_IN {
            if !self.versions.contains_key(*name) {
                self.adopt(&(*name).into(), self.compile_built_in(source), UnixMillis(0));
            }
        }
        // An object refers to its script by hash. Should a later binary come with another version of a built-in
        // script, the one that the object runs must still be found.
        let sources = BUILT_IN.iter().map(|(_, source)| (*source).into()).collect();
        if self.env.storage.write_script.tell(WriteScript { sources, name: None }).is_err() {
            tracing::warn!("the built-in scripts could not be stored; they will be at the next start");
        }
    }

    fn compile_built_in(&self, source: &str) -> Script {
        self.env.sandbox.compile(source).expect("the built-in scripts compile; a test sees to it")
    }

    /// Makes a name stand for a script at the start. After a restart of the library it may do so already.
    fn adopt(&self, name: &Arc<str>, script: Script, loaded: UnixMillis) {
        let present = self.env.catalogue.named(name).map(|named| named.current().script.hash());
        if present != Some(script.hash()) {
            let script = self.env.catalogue.keep(script);
            self.env.catalogue.set(name, script, loaded, false);
        }
    }

    fn load(
        &mut self,
        load: LoadScript,
        responder: Responder<Result<ScriptHash, LibraryError>>,
        context: &mut Context<Self>,
    ) {
        let (script, versions) = match self.prepare(&load) {
            Ok(prepared) => prepared,
            Err(error) => return responder.answer(Err(error)),
        };
        let hash = script.hash();
        if versions.last().is_some_and(|present| present.hash == hash) {
            return responder.answer(Ok(hash));
        }
        let versions = self.with_version(versions, &load, hash);
        let text = format!("version {} loaded by {}", hash.short(), load.by);
        let sources = vec![load.source.clone()];
        self.commit(load.name, sources, versions, script, text, context, move |outcome| {
            responder.answer(outcome.map(|()| hash));
        });
    }

    /// Checks a load and compiles it. Gives the versions that the name has now.
    fn prepare(&self, load: &LoadScript) -> Result<(Arc<Script>, Vec<NamedVersion>), LibraryError> {
        if !is_name(&load.name) {
            return Err(LibraryError::BadName(load.name.to_string()));
        }
        if self.env.catalogue.named(&load.name).is_none() && self.env.catalogue.len() >= limits::SCRIPT_NAMES {
            return Err(LibraryError::TooMany(limits::SCRIPT_NAMES));
        }
        let script = self.env.sandbox.compile(&load.source).map_err(|error| {
            LibraryError::BadScript(format!("{}:{}:{}: {}", load.name, error.line, error.column, error.message))
        })?;
        Ok((self.env.catalogue.keep(script), self.versions_with_built_in(&load.name)))
    }

    /// One version more; the oldest is forgotten if there are too many.
    fn with_version(&self, mut versions: Vec<NamedVersion>, load: &LoadScript, hash: ScriptHash) -> Vec<NamedVersion> {
        versions.push(NamedVersion { hash, origin: load.by.clone(), loaded: self.env.unix() });
        let surplus = versions.len().saturating_sub(limits::SCRIPT_VERSIONS);
        versions.drain(..surplus);
        versions
    }

    /// The versions of a name; the built-in one, if there is one, is the first.
    fn versions_with_built_in(&self, name: &Arc<str>) -> Vec<NamedVersion> {
        if let Some(versions) = self.versions.get(name) {
            return versions.clone();
        }
        let built_in = BUILT_IN.iter().find(|(built_in, _)| **built_in == **name);
        let version = built_in.map(|(_, source)| NamedVersion {
            hash: ScriptHash::of(source),
            origin: BUILT_IN_ORIGIN.to_owned(),
            loaded: self.env.unix(),
        });
        version.into_iter().collect()
    }

    /// Makes a name's versions durable, then in use.
    #[expect(clippy::too_many_arguments, reason = "what is to be stored, what is to be used, what is to be told")]
    fn commit(
        &mut self,
        name: Arc<str>,
        sources: Vec<Arc<str>>,
        versions: Vec<NamedVersion>,
        script: Arc<Script>,
        text: String,
        context: &mut Context<Self>,
        finish: impl FnOnce(Result<(), LibraryError>) + 'static,
    ) {
        let write = WriteScript { sources, name: Some((name.clone(), versions.clone())) };
        let storage = self.env.storage.write_script.clone();
        context.hold(async move { storage.call(write).await }, move |library, outcome, context| {
            finish(durable(outcome).map(|()| {
                library.add_source(script.hash(), context);
                let watched = versions.len() > 1;
                let loaded = versions.last().map_or(UnixMillis(0), |newest| newest.loaded);
                library.versions.insert(name.clone(), versions);
                library.env.catalogue.set(&name, script, loaded, watched);
                library.env.kernel.events.publish(Kind::Script, &*name, text);
            }));
        });
    }

    fn rollback(
        &mut self,
        name: Arc<str>,
        why: String,
        context: &mut Context<Self>,
        finish: impl FnOnce(Result<ScriptHash, LibraryError>) + 'static,
    ) {
        if self.env.catalogue.named(&name).is_none() {
            return finish(Err(LibraryError::NoScript(name.to_string())));
        }
        let mut versions = self.versions_with_built_in(&name);
        versions.pop();
        let Some(former) = versions.last_mut() else {
            return finish(Err(LibraryError::NoFormerVersion(name.to_string())));
        };
        // To go back is to load it again: what was put meanwhile goes back as well.
        former.loaded = self.env.unix();
        let hash = former.hash;
        let env = self.env.clone();
        context.hold(async move { fetch(&env, hash).await }, move |library, script, context| match script {
            Ok(script) => {
                let text = format!("rolled back to version {} {why}", hash.short());
                library.commit(name, Vec::new(), versions, script, text, context, move |outcome| {
                    finish(outcome.map(|()| hash));
                });
            }
            Err(refusal) => finish(Err(LibraryError::Unavailable(refusal.to_string()))),
        });
    }

    fn look_into_folder(&mut self, context: &mut Context<Self>) {
        let Some(folder) = &mut self.folder else { return };
        for change in folder.changes() {
            match change {
                Ok((name, source)) => {
                    let present = self.env.catalogue.named(&name).map(|named| named.current().script.hash());
                    if present == Some(ScriptHash::of(&source)) {
                        continue;
                    }
                    let load = LoadScript { name: name.clone(), source, by: format!("{name}.rhai in scripts.dir") };
                    let events = self.env.kernel.events.clone();
                    let (responder, pending) = comet_kernel::reply::pair(comet_kernel::RequestId::fresh());
                    self.load(load, responder, context);
                    context.then(pending, move |library, outcome, _| {
                        let Ok(Err(error)) = outcome else { return };
                        if let (LibraryError::Unavailable(_), Some(folder)) = (&error, &mut library.folder) {
                            folder.forget(&name);
                        }
                        events.publish(Kind::Script, &*name, format!("not loaded: {error}"));
                    });
                }
                Err(problem) => self.env.kernel.events.publish(Kind::Script, "scripts.dir", problem),
            }
        }
        let clock = self.env.kernel.clock.clone();
        context.after(&clock, FOLDER_INTERVAL, Library::look_into_folder);
    }

    fn summary(&self, named: &Named) -> ScriptSummary {
        let version = named.current();
        let stored = self.versions.get(&named.name);
        let (calls, failures) = version.counts();
        let newest = stored.and_then(|versions| versions.last());
        ScriptSummary {
            name: named.name.to_string(),
            hash: version.script.hash().to_string(),
            versions: stored.map_or(1, Vec::len),
            origin: newest.map_or(BUILT_IN_ORIGIN, |newest| &newest.origin).to_owned(),
            bytes: version.script.source().len(),
            handlers: version.script.handlers().into_iter().map(str::to_owned).collect(),
            calls,
            failures,
            source: None,
        }
    }
}

impl Actor for Library {
    fn started(&mut self, context: &mut Context<Self>) {
        self.read_names(context);
    }
}

impl Handler<LoadScript> for Library {
    fn handle(
        &mut self,
        load: LoadScript,
        responder: Responder<Result<ScriptHash, LibraryError>>,
        context: &mut Context<Self>,
    ) {
        self.load(load, responder, context);
    }
}

impl Handler<ListScripts> for Library {
    fn handle(
        &mut self,
        _: ListScripts,
        responder: Responder<Result<Vec<ScriptSummary>, LibraryError>>,
        _: &mut Context<Self>,
    ) {
        responder.answer(Ok(self.env.catalogue.names().iter().map(|named| self.summary(named)).collect()));
    }
}

impl Handler<ShowScript> for Library {
    fn handle(
        &mut self,
        show: ShowScript,
        responder: Responder<Result<ScriptSummary, LibraryError>>,
        _: &mut Context<Self>,
    ) {
        let named = self.env.catalogue.named(&show.name);
        responder.answer(named.ok_or_else(|| LibraryError::NoScript(show.name.to_string())).map(|named| {
            let source = Some(named.current().script.source().to_string());
            ScriptSummary { source, ..self.summary(&named) }
        }));
    }
}

impl Handler<DropScript> for Library {
    fn handle(
        &mut self,
        drop: DropScript,
        responder: Responder<Result<(), LibraryError>>,
        context: &mut Context<Self>,
    ) {
        if !self.versions.contains_key(&drop.name) {
            let built_in = self.env.catalogue.named(&drop.name).is_some();
            let why = if built_in { LibraryError::BuiltIn } else { LibraryError::NoScript };
            return responder.answer(Err(why(drop.name.to_string())));
        }
        let write = WriteScript { sources: Vec::new(), name: Some((drop.name.clone(), Vec::new())) };
        let storage = self.env.storage.write_script.clone();
        context.hold(async move { storage.call(write).await }, move |library, outcome, _| {
            responder.answer(durable(outcome).map(|()| {
                library.versions.remove(&drop.name);
                library.env.catalogue.forget(&drop.name);
                if let Some((name, source)) = BUILT_IN.iter().find(|(name, _)| **name == *drop.name) {
                    library.adopt(&(*name).into(), library.compile_built_in(source), UnixMillis(0));
                }
                library.env.kernel.events.publish(Kind::Script, &*drop.name, "dropped");
            }));
        });
    }
}

impl Handler<RollbackScript> for Library {
    fn handle(
        &mut self,
        rollback: RollbackScript,
        responder: Responder<Result<ScriptHash, LibraryError>>,
        context: &mut Context<Self>,
    ) {
        let why = "by order".to_owned();
        self.rollback(rollback.name, why, context, |outcome| responder.answer(outcome));
    }
}

impl Handler<Suspect> for Library {
    fn handle(&mut self, Suspect(named): Suspect, responder: Responder<()>, context: &mut Context<Self>) {
        responder.answer(());
        // By the time the word arrives another version may be in place.
        if !named.current().is_bad() {
            return;
        }
        let why = "by itself: more than a tenth of its first calls failed".to_owned();
        let events = self.env.kernel.events.clone();
        let name = named.name.clone();
        self.rollback(named.name.clone(), why, context, move |outcome| {
            if let Err(error) = outcome {
                events.publish(Kind::Script, &*name, format!("should be rolled back, but: {error}"));
            }
        });
    }
}

impl Handler<Fetch> for Library {
    fn handle(
        &mut self,
        Fetch(choice): Fetch,
        responder: Responder<Result<Arc<Script>, Refusal>>,
        context: &mut Context<Self>,
    ) {
        let source = match &choice {
            ScriptChoice::Source(source) => Some(ScriptHash::of(source)),
            ScriptChoice::Hash(hash) | ScriptChoice::Travelled(TravellingScript { hash, .. }) => {
                self.sources.touch(*hash);
                None
            }
            ScriptChoice::Named { .. } => None,
        };
        if let Some(Err(error)) = source.map(|hash| self.check_room(hash, context)) {
            return responder.answer(Err(Refusal::Unavailable(error.to_string())));
        }
        let env = self.env.clone();
        context.then(async move { find_or_store(&env, choice).await }, move |library, found, context| {
            if let (Some(hash), Ok(_)) = (source, &found) {
                library.add_source(hash, context);
            }
            responder.answer(found);
        });
    }
}

impl Handler<Clear> for Library {
    /// Holds every shard, has the store cleared, and lets the shards go on: from nothing, or as they were if it refused.
    fn handle(&mut self, _: Clear, responder: Responder<Result<(), Refusal>>, context: &mut Context<Self>) {
        let env = self.env.clone();
        // One at a time: what the end of one lets happen, another must not clear from the disk alone.
        context.hold(async move { clear(&env).await }, |_, outcome, _| responder.answer(outcome));
    }
}

async fn clear(env: &Env) -> Result<(), Refusal> {
    let mut held = Vec::with_capacity(env.holds.len());
    let (outcome, fate) = match hold(env, &mut held).await {
        Ok(()) => clear_store(env).await,
        Err(error) => (Err(unavailable(error)), Fate::Untouched),
    };
    for shard in held {
        let (done, goes_on) = pair(RequestId::fresh());
        shard.answer(End { fate, done });
        // One that has ended holds nothing back.
        let _goes_on = goes_on.await;
    }
    outcome
}

/// Has every shard stand still. Those that do are `held`, and go on when they are told of the end.
async fn hold(env: &Env, held: &mut Vec<Responder<End>>) -> Result<(), CallError> {
    for shard in &env.holds {
        let (end, awaited) = pair(RequestId::fresh());
        shard.call(Hold(awaited)).await?;
        held.push(end);
    }
    Ok(())
}

async fn clear_store(env: &Env) -> (Result<(), Refusal>, Fate) {
    match env.storage.clear.call(storage::Clear).await {
        Ok(Ok(())) => (env.timer.disarm_all.call(DisarmAll).await.map_err(unavailable), Fate::Cleared),
        Ok(Err(error)) => (Err(Refusal::Unavailable(error.to_string())), Fate::Untouched),
        Err(error @ CallError::Refused { .. }) => (Err(unavailable(error)), Fate::Untouched),
        Err(error @ CallError::NoAnswer(_)) => (Err(unavailable(error)), Fate::Unknown),
    }
}

fn unavailable(error: CallError) -> Refusal {
    Refusal::Unavailable(error.to_string())
}

/// What became of a write, in the library's words.
fn durable<E: std::fmt::Display, C: std::fmt::Display>(outcome: Result<Result<(), E>, C>) -> Result<(), LibraryError> {
    match outcome {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(LibraryError::Unavailable(error.to_string())),
        Err(error) => Err(LibraryError::Unavailable(error.to_string())),
    }
}

fn is_name(name: &str) -> bool {
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte);
    (1..=limits::SCRIPT_NAME_BYTES).contains(&name.len())
        && name.bytes().all(letters)
        // What reads as a hash is one.
        && ScriptHash::parse(name).is_none()
}
