//! The compiled scripts, shared by every shard: by hash, and by name.
//!
//! One compiled copy serves every object that uses it. Names hold their present version; versions nobody uses any more
//! are forgotten, and compiled again from storage should an object come back to them.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use comet_kernel::{ScriptHash, UnixMillis};
use dashmap::DashMap;

use crate::sandbox::Script;

/// Of a new version's first calls, this many are watched.
const WATCHED_CALLS: u32 = 100;
/// With more failures than this among them the version is rolled back.
const TOLERATED_FAILURES: u32 = WATCHED_CALLS / 10;

/// The compiled scripts of a node.
#[derive(Debug, Default)]
pub(crate) struct Catalogue {
    by_hash: DashMap<ScriptHash, Weak<Script>>,
    by_name: DashMap<Arc<str>, Arc<Named>>,
    /// Names that were dropped while objects followed them: should such a name come back, they follow it again.
    dropped: DashMap<Arc<str>, Weak<Named>>,
}

/// A name and the version that it stands for now.
#[derive(Debug)]
pub(crate) struct Named {
    pub name: Arc<str>,
    current: ArcSwap<Version>,
    /// Changes with the version, so that an object finds out by reading one number whether it is up to date.
    stamp: AtomicU64,
}

/// One version of a named script on this node, since it was loaded or the node started.
#[derive(Debug)]
pub(crate) struct Version {
    pub script: Arc<Script>,
    /// When it was loaded into this node; 0 if it came with the binary.
    pub loaded: UnixMillis,
    /// Whether there is something to go back to.
    watched: bool,
    calls: AtomicU64,
    failures: AtomicU64,
    watched_failures: AtomicU32,
}

impl Catalogue {
    /// The compiled script of this hash, if somebody uses it now.
    pub fn find(&self, hash: ScriptHash) -> Option<Arc<Script>> {
        self.by_hash.get(&hash)?.upgrade()
    }

    /// Makes a compiled script known. If another copy is in use already, that one is returned and serves on.
    pub fn keep(&self, script: Script) -> Arc<Script> {
        let hash = script.hash();
        if let Some(present) = self.find(hash) {
            return present;
        }
        let script = Arc::new(script);
        self.by_hash.insert(hash, Arc::downgrade(&script));
        // Every script costs its compilation, which is dear beside a sweep of what nobody uses any more.
        self.by_hash.retain(|_, script| script.strong_count() > 0);
        script
    }

    /// The hashes of all compiled scripts that somebody uses now.
    pub fn hashes(&self) -> Vec<ScriptHash> {
        self.by_hash.iter().filter(|script| script.strong_count() > 0).map(|script| *script.key()).collect()
    }

    /// What a name stands for.
    pub fn named(&self, name: &str) -> Option<Arc<Named>> {
        self.by_name.get(name).map(|named| named.clone())
    }

    /// Every name.
    pub fn names(&self) -> Vec<Arc<Named>> {
        let mut names: Vec<_> = self.by_name.iter().map(|named| named.value().clone()).collect();
        names.sort_by(|a, b| a.name.cmp(&b.name));
        names
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Makes a name stand for a script. With `watched`, the version is rolled back should it fail too often.
    pub fn set(&self, name: &Arc<str>, script: Arc<Script>, loaded: UnixMillis, watched: bool) {
        let version = Arc::new(Version {
            script,
            loaded,
            watched,
            calls: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            watched_failures: AtomicU32::new(0),
        });
        let dropped = || self.dropped.remove(name).and_then(|(_, named)| named.upgrade());
        match self.named(name).or_else(dropped) {
            Some(named) => {
                named.current.store(version);
                named.stamp.fetch_add(1, Ordering::Release);
                self.by_name.insert(name.clone(), named);
            }
            None => {
                let named = Named { name: name.clone(), current: ArcSwap::new(version), stamp: AtomicU64::new(1) };
                self.by_name.insert(name.clone(), Arc::new(named));
            }
        }
    }

    /// Forgets a name.
    pub fn forget(&self, name: &str) {
        self.dropped.retain(|_, named| named.strong_count() > 0);
        if let Some((name, named)) = self.by_name.remove(name) {
            self.dropped.insert(name, Arc::downgrade(&named));
        }
    }
}

impl Named {
    /// The present version.
    pub fn current(&self) -> Arc<Version> {
        self.current.load_full()
    }

    /// A number that changes with the version.
    pub fn stamp(&self) -> u64 {
        self.stamp.load(Ordering::Acquire)
    }

    /// Counts a handler call of an object that follows the name. True if the version has just proved to be bad.
    pub fn count(&self, script: &Arc<Script>, failed: bool) -> bool {
        let version = self.current.load();
        if !Arc::ptr_eq(&version.script, script) {
            return false;
        }
        let calls = version.calls.fetch_add(1, Ordering::Relaxed);
        if !failed {
            return false;
        }
        version.failures.fetch_add(1, Ordering::Relaxed);
        if !version.watched || calls >= u64::from(WATCHED_CALLS) {
            return false;
        }
        version.watched_failures.fetch_add(1, Ordering::Relaxed) == TOLERATED_FAILURES
    }
}

impl Version {
    /// Whether there is something to go back to, and more of the first calls failed than may.
    pub fn is_bad(&self) -> bool {
        self.watched && self.watched_failures.load(Ordering::Relaxed) > TOLERATED_FAILURES
    }

    /// Handler calls and failures so far.
    pub fn counts(&self) -> (u64, u64) {
        (self.calls.load(Ordering::Relaxed), self.failures.load(Ordering::Relaxed))
    }
}
