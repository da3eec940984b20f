//! The sources that are stored, and the sweep of those that nothing uses.
//!
//! Whoever puts an object, and every peer whose objects this node stores, leaves sources behind. Once enough have come, the
//! library looks through all records for the scripts that they run, and removes the sources that neither a record nor a
//! named version nor anything in memory uses.
//!
//! An object may be put with a stored source while the records are being looked through, behind the place that was reached.
//! So a source is spared, too, if it was in memory when the sweep began, or if the library was asked for it since the sweep
//! before this one began: there is no other way from a stored source to an object. While sources are removed the library
//! answers nobody.

use std::collections::HashSet;
use std::time::Duration;

use comet_kernel::contract::library::LibraryError;
use comet_kernel::contract::storage::{DropSources, ReadSources, ReadStatus, Scan};
use comet_kernel::events::Kind;
use comet_kernel::{Context, Moment, ScriptHash, Work, limits};

use super::{BUILT_IN, Library, durable};
use crate::env::Env;

/// How long the store is left alone between two sweeps.
const REST: Duration = Duration::from_secs(60);

/// The sources that are stored.
#[derive(Debug, Default)]
pub(super) struct Sources {
    stored: HashSet<ScriptHash>,
    /// Those that were stored or asked for since the last sweep began.
    touched: HashSet<ScriptHash>,
    /// How many there may be before they are swept.
    most: usize,
    sweeping: bool,
    /// When the last sweep ended.
    swept: Option<Moment>,
}

impl Sources {
    /// Notes that somebody may be about to use a source.
    pub(super) fn touch(&mut self, hash: ScriptHash) {
        if self.stored.contains(&hash) {
            self.touched.insert(hash);
        }
    }

    fn ended(&mut self, now: Moment) {
        self.sweeping = false;
        self.swept = Some(now);
        self.most = self.stored.len() + limits::SOURCES_SWEPT;
    }
}

impl Library {
    /// Notes the sources that were stored when the node started.
    pub(super) fn adopt_sources(&mut self, stored: HashSet<ScriptHash>, context: &mut Context<Self>) {
        self.sources.stored = stored;
        self.sources.most = self.named() + BUILT_IN.len() + limits::SOURCES_SWEPT;
        self.sweep_if_due(context);
    }

    /// Notes a source that was stored.
    pub(super) fn add_source(&mut self, hash: ScriptHash, context: &mut Context<Self>) {
        self.sources.stored.insert(hash);
        self.sources.touched.insert(hash);
        self.sweep_if_due(context);
    }

    /// Whether one more source without a name may be stored. Those that are stored already cost nothing.
    pub(super) fn check_room(&mut self, hash: ScriptHash, context: &mut Context<Self>) -> Result<(), LibraryError> {
        self.sources.touch(hash);
        let stored = &self.sources.stored;
        if stored.contains(&hash) || stored.len() < limits::SOURCES + self.named() {
            return Ok(());
        }
        self.sweep_if_due(context);
        let text = "the node keeps as many scripts without a name as it may; remove objects with scripts of their own, \
                    or put them with named scripts";
        Err(LibraryError::Unavailable(text.to_owned()))
    }

    fn named(&self) -> usize {
        self.versions.values().map(Vec::len).sum()
    }

    fn sweep_if_due(&mut self, context: &mut Context<Self>) {
        let now = self.env.now();
        let rests = self.sources.swept.is_some_and(|swept| now.since(swept) < REST);
        let most = self.sources.most.min(limits::SOURCES + self.named());
        if rests || self.sources.stored.len() < most || std::mem::replace(&mut self.sources.sweeping, true) {
            return;
        }
        let mut used = std::mem::take(&mut self.sources.touched);
        used.extend(self.env.catalogue.hashes());
        let env = self.env.clone();
        context.then(async move { with_those_of_records(&env, used).await }, |library, used, context| match used {
            Ok(used) => library.remove_all_but(&used, context),
            Err(reason) => {
                library.sources.ended(library.env.now());
                let text = format!("scripts that nothing uses could not be looked for: {reason}");
                library.env.kernel.events.publish(Kind::Script, "library", text);
            }
        });
    }

    fn remove_all_but(&mut self, used: &HashSet<ScriptHash>, context: &mut Context<Self>) {
        let named = self.versions.values().flatten().map(|version| version.hash);
        let named: HashSet<_> = named.chain(BUILT_IN.iter().map(|(_, source)| ScriptHash::of(source))).collect();
        let spared = |hash: &&ScriptHash| [used, &self.sources.touched, &named].iter().any(|set| set.contains(hash));
        let hashes: HashSet<_> = self.sources.stored.iter().filter(|hash| !spared(hash)).copied().collect();
        let drop = DropSources { hashes: hashes.iter().copied().collect() };
        let storage = self.env.storage.drop_sources.clone();
        context.hold(async move { storage.call(drop).await }, move |library, outcome, _| {
            let text = match durable(outcome) {
                Ok(()) => {
                    library.sources.stored.retain(|hash| !hashes.contains(hash));
                    format!("{} scripts without a name that nothing uses were removed", hashes.len())
                }
                Err(error) => format!("scripts that nothing uses could not be removed: {error}"),
            };
            library.sources.ended(library.env.now());
            library.env.kernel.events.publish(Kind::Script, "library", text);
        });
    }
}

/// These scripts and those that stored objects run.
async fn with_those_of_records(env: &Env, mut used: HashSet<ScriptHash>) -> Result<HashSet<ScriptHash>, String> {
    let mut after = None;
    loop {
        let page = env.storage.scan.call(Scan { after, limit: limits::PAGE_ITEMS }).await;
        let page = page.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        let active = page.items.iter().filter_map(|(_, record)| record.active.as_deref());
        used.extend(active.map(|active| active.script.hash));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    // What stands in a damaged place is in no page, and may be readable by its key all the same.
    let status = env.storage.read_status.call(ReadStatus).await.map_err(|error| error.to_string())?;
    match status.damaged_places {
        0 => Ok(used),
        places => Err(format!("{places} places of the database are damaged, and objects there may use them")),
    }
}

/// Every stored source. One that cannot be read is in nobody's way.
pub(super) async fn stored_sources(env: &Env) -> HashSet<ScriptHash> {
    let (mut stored, mut after) = (HashSet::new(), None);
    loop {
        match env.storage.read_sources.call(ReadSources { after, limit: limits::PAGE_ITEMS }).await {
            Ok(Ok(page)) => {
                after = page.last().copied();
                let more = page.len() == limits::PAGE_ITEMS;
                stored.extend(page);
                if !more {
                    return stored;
                }
            }
            failed => {
                tracing::warn!(?failed, "not every stored script could be counted");
                return stored;
            }
        }
    }
}
