//! The database while it is open: its tables, atomic batches, reads.

use std::io::ErrorKind;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fjall::{Database, Guard, Keyspace, KeyspaceCreateOptions, PersistMode, UserKey, UserValue};

use crate::changes::Changes;
use crate::table::Table;

/// Bytes of writes that a table gathers in memory before they become a file. Small, as they are what a start replays.
const MEMTABLE: u64 = 8 << 20;
/// Bytes of writes after which every table makes a file of what it gathered. Without it a table with few writes holds
/// back the removal of old journals (fjall#261), and a start would read all of them.
const BALANCE: u64 = 8 << 20;
/// Gathered writes that wait to become a file, in one table, past which writes should wait. fjall itself stops the
/// thread at four, and for ever if its own threads have died.
const SEALED: usize = 2;
/// Where the tables that can be cleared are now.
const GENERATION: &[u8] = b"generation";
/// How many objects there are.
const OBJECTS: &[u8] = b"objects";
/// How many records were set aside.
const UNREADABLE: &[u8] = b"unreadable";

/// How far a batch must get before it counts as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Persist {
    /// The memory of this process.
    Memory,
    /// The memory of the operating system: survives the end of this process.
    System,
    /// The disk: survives the loss of power.
    Disk,
}

impl Persist {
    fn mode(self) -> Option<PersistMode> {
        match self {
            Persist::Memory => None,
            Persist::System => Some(PersistMode::Buffer),
            // A journal's length and blocks are part of what fdatasync keeps; its times are not needed.
            Persist::Disk => Some(PersistMode::SyncData),
        }
    }
}

/// A database that is open.
pub(crate) struct Store {
    database: Database,
    tables: [Keyspace; Table::ALL.len()],
    generation: u64,
    objects: AtomicU64,
    unreadable: AtomicU64,
    /// Bytes written since every table last made a file.
    unbalanced: AtomicU64,
    /// What opening found, until it is told.
    news: Mutex<Vec<String>>,
    pieces: u64,
}

/// Entries of a table, in order.
pub(crate) type Entries = Box<dyn Iterator<Item = fjall::Result<(UserKey, UserValue)>>>;

/// What stands under a key.
pub(crate) enum Found {
    Nothing,
    Value(UserValue),
    /// The file that may hold it is damaged, as these words say.
    Damage(String),
}

/// What was told of the store before it took no writes any more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    generation: u64,
    objects: u64,
}

/// What opening found out about the journals.
pub(crate) struct News {
    /// What was set aside or cut off now, in words for the operator.
    pub(crate) texts: Vec<String>,
    /// How many pieces were set aside, now and earlier.
    pub(crate) pieces: u64,
}

impl Store {
    /// The store in a database whose tables are there, and the news of its opening. A clear that has failed, as far as
    /// anybody was `told`, has not happened, though its last write may have reached the disk.
    pub(crate) fn over(database: Database, news: News, told: Option<Told>) -> fjall::Result<Self> {
        let meta = database.keyspace(&Table::Meta.keyspace(0), options)?;
        if let Some(told) = told
            && told.generation != generation(&meta)?
        {
            let mut batch = database.batch().durability(Some(PersistMode::SyncAll));
            batch.insert(&meta, GENERATION, told.generation.to_be_bytes());
            batch.insert(&meta, OBJECTS, told.objects.to_be_bytes());
            batch.commit()?;
        }
        let generation = generation(&meta)?;
        let (objects, unreadable) = (number(&meta, OBJECTS)?, number(&meta, UNREADABLE)?);
        let tables = tables(&database, generation)?;
        for name in database.list_keyspace_names() {
            if !tables.iter().any(|table| table.name() == &name) {
                // A clear was interrupted after it took effect, or before.
                database.delete_keyspace(database.keyspace(&name, options)?)?;
            }
        }
        Ok(Store {
            database,
            tables,
            generation,
            objects: objects.into(),
            unreadable: unreadable.into(),
            unbalanced: AtomicU64::new(0),
            news: news.texts.into(),
            pieces: news.pieces,
        })
    }

    /// Commits changes in one atomic step. After an error the database takes no writes until it is opened again, and
    /// what becomes of these changes then is open.
    pub(crate) fn commit(&self, changes: &Changes, persist: Persist) -> Result<(), String> {
        let mut batch = self.database.batch().durability(persist.mode());
        for (table, key, value) in changes.entries() {
            match value {
                Some(value) => batch.insert(self.table(table), key.clone(), value.clone()),
                None => batch.remove(self.table(table), key.clone()),
            }
        }
        let objects = self.objects().saturating_add_signed(changes.objects);
        let unreadable = self.unreadable().saturating_add_signed(changes.unreadable);
        if changes.objects != 0 {
            batch.insert(self.table(Table::Meta), OBJECTS, objects.to_be_bytes());
        }
        if changes.unreadable != 0 {
            batch.insert(self.table(Table::Meta), UNREADABLE, unreadable.to_be_bytes());
        }
        batch.commit().map_err(words)?;
        self.objects.store(objects, Ordering::Relaxed);
        self.unreadable.store(unreadable, Ordering::Relaxed);
        self.balance(changes.bytes() as u64);
        Ok(())
    }

    /// The changes that put back what `changes` were to change, counts included.
    pub(crate) fn undo(&self, changes: &Changes) -> Result<Changes, String> {
        let mut undo = Changes::default();
        let counts = [OBJECTS, UNREADABLE].map(UserKey::from);
        let entries = changes.entries().map(|(table, key, _)| (table, key));
        for (table, key) in entries.chain(counts.iter().map(|key| (Table::Meta, key))) {
            undo.set(table, key.clone(), self.get(table, key)?);
        }
        Ok(undo)
    }

    /// Commits what [`Store::undo`] gave.
    pub(crate) fn restore(&self, undo: &Changes) -> Result<(), String> {
        self.commit(undo, Persist::Disk)?;
        let meta = self.table(Table::Meta);
        self.objects.store(number(meta, OBJECTS).map_err(words)?, Ordering::Relaxed);
        self.unreadable.store(number(meta, UNREADABLE).map_err(words)?, Ordering::Relaxed);
        Ok(())
    }

    /// Brings what was committed as far as `persist` says.
    pub(crate) fn persist(&self, persist: Persist) -> Result<(), String> {
        persist.mode().map_or(Ok(()), |mode| self.database.persist(mode).map_err(words))
    }

    /// What was told of the store so far.
    pub(crate) fn told(&self) -> Told {
        Told { generation: self.generation, objects: self.objects() }
    }

    /// Whether the database takes writes. It does not once a write or a merge of files has failed.
    pub(crate) fn is_sound(&self) -> bool {
        self.persist(Persist::System).is_ok()
    }

    /// Whether gathered writes wait to become files, so that the next batch had better wait too.
    pub(crate) fn is_congested(&self) -> bool {
        self.tables.iter().any(|table| table.sealed_memtable_count() >= SEALED)
    }

    /// Puts empty tables in the place of objects and dues, in one atomic and durable step.
    pub(crate) fn clear(&mut self) -> Result<(), String> {
        let (generation, fresh) = self.write_clear()?;
        let former = std::mem::replace(&mut self.tables, fresh);
        self.generation = generation;
        self.objects.store(0, Ordering::Relaxed);
        for table in [Table::Objects, Table::Due] {
            if let Err(error) = self.database.delete_keyspace(former[table as usize].clone()) {
                tracing::warn!(reason = words(error), "a cleared table stays on the disk until the next start");
            }
        }
        Ok(())
    }

    /// Writes that empty tables stand in the place of those of objects and dues. Gives them, and their generation.
    pub(crate) fn write_clear(&self) -> Result<(u64, [Keyspace; Table::ALL.len()]), String> {
        let generation = self.generation + 1;
        let fresh = tables(&self.database, generation).map_err(words)?;
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        batch.insert(self.table(Table::Meta), GENERATION, generation.to_be_bytes());
        batch.insert(self.table(Table::Meta), OBJECTS, 0_u64.to_be_bytes());
        batch.commit().map_err(words)?;
        Ok((generation, fresh))
    }

    /// Brings everything to the disk and closes the database. Makes files of gathered writes, so that the next start has
    /// none to replay, unless the database is unsound or that takes longer than `patience`.
    pub(crate) fn close(self, patience: Duration) -> Result<(), String> {
        const PAUSE: Duration = Duration::from_millis(2);
        self.persist(Persist::Disk)?;
        self.make_files()?;
        let mut pauses = patience.as_millis() / PAUSE.as_millis();
        while pauses > 0 && self.tables.iter().any(|table| table.sealed_memtable_count() > 0) && self.is_sound() {
            std::thread::sleep(PAUSE);
            pauses -= 1;
        }
        self.persist(Persist::Disk)
    }

    /// Looks for a value. A damaged file is no failure of the database: it takes writes of the key.
    pub(crate) fn find(&self, table: Table, key: &[u8]) -> Result<Found, String> {
        match self.table(table).get(key) {
            Ok(value) => Ok(value.map_or(Found::Nothing, Found::Value)),
            Err(error) if is_damage(&error) => Ok(Found::Damage(words(error))),
            Err(error) => Err(words(error)),
        }
    }

    /// The value under a key.
    pub(crate) fn get(&self, table: Table, key: &[u8]) -> Result<Option<UserValue>, String> {
        self.table(table).get(key).map_err(words)
    }

    /// Whether there is a value under a key.
    pub(crate) fn contains(&self, table: Table, key: &[u8]) -> Result<bool, String> {
        self.table(table).contains_key(key).map_err(words)
    }

    /// Entries in order.
    pub(crate) fn range(&self, table: Table, from: Bound<&[u8]>) -> Entries {
        let entries = self.table(table).range::<&[u8], _>((from, Bound::Unbounded));
        Box::new(entries.map(Guard::into_inner))
    }

    /// How many objects there are.
    pub(crate) fn objects(&self) -> u64 {
        self.objects.load(Ordering::Relaxed)
    }

    /// How many records were set aside.
    pub(crate) fn unreadable(&self) -> u64 {
        self.unreadable.load(Ordering::Relaxed)
    }

    /// What opening found out about the journals. Tells it once.
    pub(crate) fn take_news(&self) -> Vec<String> {
        std::mem::take(&mut self.news.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many pieces of journals were set aside.
    pub(crate) fn pieces(&self) -> u64 {
        self.pieces
    }

    /// Bytes that the database takes on the disk.
    pub(crate) fn disk_used(&self) -> u64 {
        self.database.disk_space().unwrap_or_default()
    }

    fn table(&self, table: Table) -> &Keyspace {
        &self.tables[table as usize]
    }

    /// Makes files of what every table gathered once there is enough of it.
    fn balance(&self, bytes: u64) {
        if self.unbalanced.fetch_add(bytes, Ordering::Relaxed) + bytes < BALANCE {
            return;
        }
        if let Err(reason) = self.make_files() {
            // What was committed stays committed. If the database is unsound the next commit will tell.
            tracing::warn!(reason, "gathered writes were not made files");
        }
    }

    fn make_files(&self) -> Result<(), String> {
        self.unbalanced.store(0, Ordering::Relaxed);
        self.tables.iter().try_for_each(|table| table.rotate_memtable().map(drop)).map_err(words)
    }
}

/// The tables of a generation, made if they are not there.
pub(crate) fn tables(database: &Database, generation: u64) -> fjall::Result<[Keyspace; Table::ALL.len()]> {
    let opened = Table::ALL.into_iter().rev().map(|table| database.keyspace(&table.keyspace(generation), options));
    let mut opened = opened.collect::<fjall::Result<Vec<_>>>()?;
    opened.reverse();
    Ok(opened.try_into().unwrap_or_else(|_| unreachable!("there is a keyspace for each table")))
}

/// How each table is tuned.
pub(crate) fn options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE)
}

/// Which generation of the tables holds the objects.
pub(crate) fn generation(meta: &Keyspace) -> fjall::Result<u64> {
    number(meta, GENERATION)
}

/// A number in the table of counts; 0 if it was never written.
fn number(meta: &Keyspace, key: &[u8]) -> fjall::Result<u64> {
    let Some(bytes) = meta.get(key)? else { return Ok(0) };
    let bytes = bytes.as_ref().try_into().map_err(|_| fjall::Error::Unrecoverable)?;
    Ok(u64::from_be_bytes(bytes))
}

/// Whether what was read is not what was written. Another try will not read it either.
pub(crate) fn is_damage(error: &fjall::Error) -> bool {
    match error {
        fjall::Error::Storage(fjall::LsmError::Io(error)) => {
            matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::InvalidData)
        }
        fjall::Error::Storage(_) => true,
        _ => false,
    }
}

/// Why the database did not do what it was asked to, in words for people.
pub(crate) fn words(error: fjall::Error) -> String {
    match error {
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => error.to_string(),
        fjall::Error::Storage(fjall::LsmError::ChecksumMismatch { .. }) => {
            "a block of the database's files is damaged; restore the data directory from a copy".to_owned()
        }
        // What failed is often a merge of files in the background, whose error fjall keeps to itself.
        fjall::Error::Poisoned => {
            "an earlier write or a merge of files failed; its disk fails or is full, or one of its files is damaged"
                .to_owned()
        }
        error => error.to_string(),
    }
}
