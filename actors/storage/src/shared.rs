//! What writer and reader share: the open database, and what is known of the store.
//!
//! It outlives both actors: when one of them fails, the next finds the database open. The database's folder is locked
//! while it is open, so it could not be opened a second time beside a thread that was abandoned while it used it.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, TryLockError};
use std::time::Duration;

use comet_kernel::contract::storage::Status;
use comet_kernel::settings;

use crate::changes::Changes;
use crate::directory::{OpenError, check_openable, prepare_on};
use crate::open::{found, open};
use crate::space::Space;
use crate::store::{Persist, Store, Told};
use crate::table::Table;

/// Damaged places that are told apart.
const GAPS: usize = 1_000;

/// What writer and reader share.
pub(crate) struct Shared {
    /// The data directory.
    pub(crate) directory: PathBuf,
    /// How the database is configured.
    pub(crate) settings: settings::Storage,
    space: Arc<dyn Space>,
    /// None while the database is closed. Reads and commits hold it for reading.
    store: RwLock<Option<Store>>,
    /// What was told of the store that could not be opened again yet.
    told: Mutex<Option<Told>>,
    /// Held during a commit, so that commits of an abandoned writer cannot mix with those of its successor.
    commits: Mutex<()>,
    /// The number of the writer's present life; 0 until the database was opened for the first time.
    life: AtomicU64,
    read_only: Mutex<Option<String>>,
    /// Damaged places that listings have passed over.
    gaps: Mutex<HashSet<(Table, Vec<u8>)>>,
    batches: AtomicU64,
    writes: AtomicU64,
}

impl Shared {
    /// A store that is closed.
    pub(crate) fn new(directory: &Path, settings: &settings::Storage, space: Arc<dyn Space>) -> Self {
        Shared {
            directory: directory.to_owned(),
            settings: settings.clone(),
            space,
            store: RwLock::new(None),
            told: Mutex::default(),
            commits: Mutex::new(()),
            life: AtomicU64::new(0),
            read_only: Mutex::new(None),
            gaps: Mutex::default(),
            batches: AtomicU64::new(0),
            writes: AtomicU64::new(0),
        }
    }

    /// Begins a writer's life: opens the database unless it is open, and makes one if there is none, but not in the place
    /// of one that was open already: its disk may have gone, and may come back. The writer before has no life from now on.
    pub(crate) fn begin(&self) -> Result<u64, OpenError> {
        // What an abandoned thread holds is open.
        if let Some(mut store) = self.try_exclusive()
            && store.is_none()
        {
            if self.life.load(Ordering::SeqCst) == 0 {
                prepare_on(&self.directory, &self.settings, &*self.space)?;
                found(&self.directory, &self.settings)?;
            } else {
                check_openable(&self.directory)?;
            }
            self.open_into(&mut store)?;
        }
        Ok(self.life.fetch_add(1, Ordering::SeqCst) + 1)
    }

    /// Uses the database.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&Store) -> Result<T, String>) -> Result<T, String> {
        let store = self.store.read().unwrap_or_else(PoisonError::into_inner);
        store.as_ref().map_or_else(|| Err("the database is closed; try again".to_owned()), work)
    }

    /// Uses the database for a change, for the writer whose life this is.
    pub(crate) fn change<T>(&self, life: u64, work: impl FnOnce(&Store) -> Result<T, String>) -> Result<T, String> {
        let _one_at_a_time = self.commits.lock().unwrap_or_else(PoisonError::into_inner);
        self.check(life)?;
        self.with(work)
    }

    /// Commits changes.
    pub(crate) fn commit(&self, life: u64, changes: &Changes, persist: Persist) -> Result<(), String> {
        self.change(life, |store| store.commit(changes, persist))?;
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.writes.fetch_add(changes.writes, Ordering::Relaxed);
        Ok(())
    }

    /// Removes every object.
    pub(crate) fn clear(&self, life: u64) -> Result<(), String> {
        let _one_at_a_time = self.commits.lock().unwrap_or_else(PoisonError::into_inner);
        self.check(life)?;
        let mut store = self.store.write().unwrap_or_else(PoisonError::into_inner);
        store.as_mut().map_or_else(|| Err("the database is closed; try again".to_owned()), Store::clear)?;
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.writes.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Closes a database that takes no writes any more, and opens it again. It stays open for reads while it could not be
    /// opened again: its folder has gone, or its disk takes no files.
    pub(crate) fn reopen(&self) -> Result<(), String> {
        check_openable(&self.directory).map_err(|error| error.to_string())?;
        let Some(mut store) = self.try_exclusive() else {
            return Err("the database is unsound and in use; it is opened again when nobody uses it".to_owned());
        };
        if let Some(store) = store.take() {
            *self.told.lock().unwrap_or_else(PoisonError::into_inner) = Some(store.told());
        }
        self.open_into(&mut store).map_err(|error| error.to_string())
    }

    fn open_into(&self, store: &mut Option<Store>) -> Result<(), OpenError> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        *store = Some(open(&self.directory, &self.settings, *told)?);
        *told = None;
        Ok(())
    }

    /// Ends a writer's life: brings everything to the disk and closes the database, unless somebody still uses it, or it
    /// could not be opened again for the next writer.
    pub(crate) fn end(&self, life: u64, patience: Duration) -> Result<(), String> {
        self.check(life)?;
        let openable = check_openable(&self.directory).is_ok();
        match self.try_exclusive().filter(|_| openable) {
            Some(mut store) => store.take().map_or(Ok(()), |store| store.close(patience)),
            None => self.with(|store| store.persist(Persist::Disk)),
        }
    }

    /// Whether this is the writer's present life, and it was not given up as stuck.
    pub(crate) fn is_present(&self, life: u64) -> bool {
        self.life.load(Ordering::SeqCst) == life
    }

    /// Bytes free on the disk; `u64::MAX` if the file system does not tell.
    pub(crate) fn free(&self) -> u64 {
        self.space.free(&self.directory).unwrap_or(u64::MAX)
    }

    /// Says why the store takes no writes, or that it does.
    pub(crate) fn set_read_only(&self, reason: Option<String>) {
        *self.read_only.lock().unwrap_or_else(PoisonError::into_inner) = reason;
    }

    /// Notes that listings pass over a place behind this key; whether that is news.
    pub(crate) fn note_gap(&self, table: Table, after: &[u8]) -> bool {
        let mut gaps = self.gaps.lock().unwrap_or_else(PoisonError::into_inner);
        gaps.len() < GAPS && gaps.insert((table, after.to_vec()))
    }

    /// How the store stands.
    pub(crate) fn status(&self) -> Status {
        let counts = |store: &Store| Ok((store.objects(), store.unreadable(), store.pieces(), store.disk_used()));
        let (objects, unreadable, journal_pieces, disk_used) = self.with(counts).unwrap_or_default();
        Status {
            objects,
            unreadable,
            journal_pieces,
            damaged_places: self.gaps.lock().unwrap_or_else(PoisonError::into_inner).len() as u64,
            read_only: self.read_only.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            disk_free: self.free(),
            disk_used,
            commits: self.batches.load(Ordering::Relaxed),
            writes: self.writes.load(Ordering::Relaxed),
        }
    }

    fn check(&self, life: u64) -> Result<(), String> {
        if self.is_present(life) {
            return Ok(());
        }
        Err("another writer has taken over; try again".to_owned())
    }

    /// The database, if nobody uses it now.
    fn try_exclusive(&self) -> Option<std::sync::RwLockWriteGuard<'_, Option<Store>>> {
        match self.store.try_write() {
            Ok(store) => Some(store),
            Err(TryLockError::Poisoned(store)) => Some(store.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use comet_kernel::contract::storage::Former;
    use comet_kernel::{Key, Record, Value};

    use super::*;
    use crate::space::FileSystem;

    #[test]
    fn a_database_that_was_open_is_not_made_anew_where_its_folder_has_gone() {
        let parent = tempfile::tempdir().expect("a temporary folder");
        let (directory, gone) = (parent.path().join("data"), parent.path().join("gone"));
        let shared = Shared::new(&directory, &settings::Storage::default(), Arc::new(FileSystem));
        let life = shared.begin().expect("it opens");
        shared.end(life, Duration::from_secs(1)).expect("it closes");
        std::fs::rename(&directory, &gone).expect("renamed");
        assert!(matches!(shared.begin(), Err(OpenError::Gone { .. })));
        assert!(!directory.exists(), "nothing was put in its place");
        std::fs::rename(&gone, &directory).expect("renamed back");
        shared.begin().expect("it opens again");
    }

    #[test]
    fn a_database_that_could_not_be_opened_again_stays_open_for_reads() {
        let directory = tempfile::tempdir().expect("a temporary folder");
        let shared = Shared::new(directory.path(), &settings::Storage::default(), Arc::new(FileSystem));
        let mut life = shared.begin().expect("it opens");
        let mut changes = Changes::default();
        changes.set(Table::Objects, "k".into(), Some("v".into()));
        shared.commit(life, &changes, Persist::Disk).expect("it is written");
        let (store, aside) = (directory.path().join("store"), directory.path().join("aside"));
        let is_there = || shared.with(|store| store.contains(Table::Objects, b"k"));
        // A folder in a file's place is as little use as a file on a disk that takes no writes any more.
        for name in ["lock", "probe"] {
            let path = store.join(name);
            let was_there = std::fs::rename(&path, &aside).is_ok();
            std::fs::create_dir(&path).expect("made");
            shared.reopen().expect_err(name);
            assert_eq!(is_there(), Ok(true), "{name} after a reopening");
            let _unwritten = shared.end(life, Duration::from_secs(1));
            life = shared.begin().expect(name);
            assert_eq!(is_there(), Ok(true), "{name} after a restart of the writer");
            std::fs::remove_dir(&path).expect("removed");
            if was_there {
                std::fs::rename(&aside, &path).expect("renamed back");
            }
            shared.reopen().expect("it opens again");
            assert_eq!(is_there(), Ok(true), "{name} after all");
        }
    }

    #[test]
    fn a_clear_that_failed_has_not_happened_though_its_last_write_reached_the_disk() {
        let directory = tempfile::tempdir().expect("a temporary folder");
        let shared = Shared::new(directory.path(), &settings::Storage::default(), Arc::new(FileSystem));
        let life = shared.begin().expect("it opens");
        let key = Key::new(b"k").expect("short");
        let is_there = || shared.with(|store| Ok(store.get(Table::Objects, key.as_bytes())?.is_some()));
        let mut changes = Changes::default();
        changes.record(&key, Some(&Record::plain(1, Value::from("v"))), Former::default());
        shared.commit(life, &changes, Persist::Disk).expect("it is written");
        // As a clear does it, up to the moment at which the disk fails.
        shared.with(|store| store.write_clear().map(drop)).expect("it is written");
        shared.reopen().expect("it opens again");
        assert_eq!((is_there(), shared.status().objects), (Ok(true), 1));
        shared.clear(life).expect("it is cleared");
        shared.reopen().expect("it opens again");
        assert_eq!((is_there(), shared.status().objects), (Ok(false), 0));
    }
}
