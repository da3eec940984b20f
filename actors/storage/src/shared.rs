//! What writer and reader share: the open database, and what is known of the store.
//!
//! It outlives both actors: when one of them fails, the next finds the database open. The database's folder is locked
//! while it is open, so it could not be opened a second time beside a thread that was abandoned while it used it.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockWriteGuard, TryLockError};
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

/// What has to hold when the database is opened again.
#[derive(Default)]
struct Owed {
    /// What was told of it.
    told: Option<Told>,
    /// What puts back what commits that failed were to change: they may have reached the disk.
    undo: Option<Changes>,
}

/// What writer and reader share.
pub(crate) struct Shared {
    /// The data directory.
    pub(crate) directory: PathBuf,
    /// How the database is configured.
    pub(crate) settings: settings::Storage,
    space: Arc<dyn Space>,
    /// None while the database is closed. Reads and commits hold it for reading.
    store: RwLock<Option<Store>>,
    /// Outlives the writer whose commit has failed.
    owed: Mutex<Owed>,
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
            owed: Mutex::default(),
            commits: Mutex::new(()),
            life: AtomicU64::new(0),
            read_only: Mutex::new(None),
            gaps: Mutex::default(),
            batches: AtomicU64::new(0),
            writes: AtomicU64::new(0),
        }
    }

    /// Begins a writer's life: opens the database unless it is open and sound, and makes one if there is none, but not in
    /// the place of one that was open already: its disk may have gone, and may come back. The writer before has no life
    /// from now on.
    pub(crate) fn begin(&self) -> Result<u64, OpenError> {
        // What an abandoned thread holds is open.
        if let Some(mut store) = self.try_exclusive()
            && !store.as_ref().is_some_and(Store::is_sound)
        {
            match self.prepare() {
                Ok(()) => {
                    drop(self.take(&mut store));
                    self.open_into(&mut store)?;
                }
                // It is read until it can be opened again.
                Err(_) if store.is_some() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.life.fetch_add(1, Ordering::SeqCst) + 1)
    }

    /// Sees to it that there is a database that can be opened.
    fn prepare(&self) -> Result<(), OpenError> {
        if self.life.load(Ordering::SeqCst) > 0 {
            return check_openable(&self.directory);
        }
        prepare_on(&self.directory, &self.settings, &*self.space)?;
        found(&self.directory, &self.settings)
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

    /// Commits changes. If that fails they have not happened, also after the database was opened again.
    pub(crate) fn commit(&self, life: u64, changes: &Changes, persist: Persist) -> Result<(), String> {
        self.change(life, |store| {
            self.settle(store)?;
            store.commit(changes, persist).inspect_err(|_| self.owe(store.undo(changes)))
        })?;
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.writes.fetch_add(changes.writes, Ordering::Relaxed);
        Ok(())
    }

    /// Removes every object.
    pub(crate) fn clear(&self, life: u64) -> Result<(), String> {
        let _one_at_a_time = self.commits.lock().unwrap_or_else(PoisonError::into_inner);
        self.check(life)?;
        let mut store = self.store.write().unwrap_or_else(PoisonError::into_inner);
        let store = store.as_mut().ok_or("the database is closed; try again")?;
        self.settle(store)?;
        store.clear()?;
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.writes.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Makes a database take writes that took none: opens it again if that is what it takes, and puts back what was to
    /// change.
    pub(crate) fn recover(&self, life: u64) -> Result<(), String> {
        if !self.with(|store| Ok(store.is_sound())).unwrap_or(false) {
            self.reopen()?;
        }
        self.change(life, |store| self.settle(store))
    }

    /// Closes a database that takes no writes any more, and opens it again. It stays open for reads while it could not be
    /// opened again: its folder has gone, or its disk takes no files.
    fn reopen(&self) -> Result<(), String> {
        check_openable(&self.directory).map_err(|error| error.to_string())?;
        let Some(mut store) = self.try_exclusive() else {
            return Err("the database is unsound and in use; it is opened again when nobody uses it".to_owned());
        };
        drop(self.take(&mut store));
        self.open_into(&mut store).map_err(|error| error.to_string())
    }

    /// Opens the database. Nobody reads from it before what is owed holds.
    fn open_into(&self, store: &mut Option<Store>) -> Result<(), OpenError> {
        let told = self.owed().told;
        let opened = open(&self.directory, &self.settings, told)?;
        self.settle(&opened)
            .map_err(|reason| OpenError::Unopened { path: self.directory.clone(), reason: io::Error::other(reason) })?;
        self.owed().told = None;
        *store = Some(opened);
        Ok(())
    }

    /// Takes the database away, and notes what was told of it.
    fn take(&self, store: &mut Option<Store>) -> Option<Store> {
        let taken = store.take()?;
        self.owed().told = Some(taken.told());
        Some(taken)
    }

    /// Notes how a commit that failed is undone.
    fn owe(&self, undo: Result<Changes, String>) {
        match undo {
            Ok(undo) => self.owed().undo.get_or_insert_default().add(undo),
            Err(reason) => tracing::warn!(reason, "a refused write may turn out to be written after all"),
        }
    }

    /// Puts back what commits that failed were to change.
    fn settle(&self, store: &Store) -> Result<(), String> {
        let mut owed = self.owed();
        owed.undo.as_ref().map_or(Ok(()), |undo| store.restore(undo))?;
        owed.undo = None;
        Ok(())
    }

    fn owed(&self) -> MutexGuard<'_, Owed> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a writer's life: brings everything to the disk and closes the database, unless somebody still uses it, or it
    /// could not be opened again for the next writer. What was refused is not left for the next start to replay, if the
    /// disk lets it be undone.
    pub(crate) fn end(&self, life: u64, patience: Duration) -> Result<(), String> {
        self.check(life)?;
        let recovered = self.recover(life);
        let openable = check_openable(&self.directory).is_ok();
        let ended = match self.try_exclusive().filter(|_| openable) {
            Some(mut store) => self.take(&mut store).map_or(Ok(()), |store| store.close(patience)),
            None => self.with(|store| store.persist(Persist::Disk)),
        };
        recovered.and(ended)
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
    fn try_exclusive(&self) -> Option<RwLockWriteGuard<'_, Option<Store>>> {
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

    /// Changes that set one value.
    fn one(key: &str, value: &[u8]) -> Changes {
        let mut changes = Changes::default();
        changes.set(Table::Objects, key.into(), Some(value.into()));
        changes
    }

    fn value(shared: &Shared, key: &str) -> Result<Option<Vec<u8>>, String> {
        shared.with(|store| Ok(store.get(Table::Objects, key.as_bytes())?.map(|value| value.to_vec())))
    }

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
        shared.commit(life, &one("k", b"v"), Persist::Disk).expect("it is written");
        let (store, aside) = (directory.path().join("store"), directory.path().join("aside"));
        let is_there = || shared.with(|store| store.contains(Table::Objects, b"k"));
        // A folder in a file's place is as little use as a file on a disk that takes no writes any more.
        for name in ["lock", "probe", "keyspaces"] {
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
    fn a_clear_that_failed_has_not_happened_after_a_restart_of_the_writer_either() {
        let directory = tempfile::tempdir().expect("a temporary folder");
        let shared = Shared::new(directory.path(), &settings::Storage::default(), Arc::new(FileSystem));
        let life = shared.begin().expect("it opens");
        shared.commit(life, &one("k", b"v"), Persist::Disk).expect("it is written");
        shared.with(|store| store.write_clear().map(drop)).expect("it is written");
        shared.end(life, Duration::from_secs(1)).expect("it closes");
        shared.begin().expect("it opens again");
        assert_eq!(value(&shared, "k"), Ok(Some(b"v".to_vec())));
    }

    #[test]
    fn a_writer_that_begins_has_a_database_that_takes_writes_though_the_one_before_left_it_unsound() {
        let directory = tempfile::tempdir().expect("a temporary folder");
        let shared = Shared::new(directory.path(), &settings::Storage::default(), Arc::new(FileSystem));
        let life = shared.begin().expect("it opens");
        let (tables, gone) = (directory.path().join("store/keyspaces"), directory.path().join("gone"));
        std::fs::rename(&tables, &gone).expect("renamed");
        // New files cannot be made any more.
        let big = vec![7; 1 << 20];
        let fails = (0..1_000).find(|_| shared.commit(life, &one("big", &big), Persist::System).is_err());
        assert!(fails.is_some(), "it goes on writing");
        std::fs::rename(&gone, &tables).expect("renamed back");
        let life = shared.begin().expect("it begins");
        shared.commit(life, &one("k", b"v"), Persist::Disk).expect("it is written");
        assert_eq!(value(&shared, "big"), Ok(Some(big)));
    }

    #[test]
    fn a_refused_write_is_undone_before_anybody_reads_from_the_database_again() {
        let directory = tempfile::tempdir().expect("a temporary folder");
        let shared = Shared::new(directory.path(), &settings::Storage::default(), Arc::new(FileSystem));
        let mut life = shared.begin().expect("it opens");
        // As a commit does it whose write reaches the disk and whose fsync fails.
        let refuse = |key: &str| {
            let changes = one(key, b"refused");
            shared.owe(shared.with(|store| store.undo(&changes)));
            shared.with(|store| store.commit(&changes, Persist::Disk)).expect("it is written");
        };
        shared.commit(life, &one("k", b"old"), Persist::Disk).expect("it is written");
        refuse("k");
        refuse("l");
        shared.reopen().expect("it opens again");
        assert_eq!((value(&shared, "k"), value(&shared, "l")), (Ok(Some(b"old".to_vec())), Ok(None)));

        refuse("k");
        shared.end(life, Duration::from_secs(1)).expect("it closes");
        life = shared.begin().expect("it opens again");
        assert_eq!(value(&shared, "k"), Ok(Some(b"old".to_vec())), "another writer");

        // Nor does undoing it reach what was written after it.
        refuse("k");
        shared.commit(life, &one("k", b"new"), Persist::Disk).expect("it is written");
        shared.reopen().expect("it opens again");
        assert_eq!(value(&shared, "k"), Ok(Some(b"new".to_vec())));
        refuse("k");
        shared.clear(life).expect("it is cleared");
        shared.reopen().expect("it opens again");
        assert_eq!(value(&shared, "k"), Ok(None), "it came back after a clear");
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
