//! The contract of storage: durable records, scripts, and the index of what is due.
//!
//! ```text
//!     aso, timer, gateway, admin
//!  -> storage                              (this contract)
//!     fjall, on the disk
//! ```
//!
//! Two actors serve it: the writer, which commits everything that waits in its mailbox as one batch, and the reader. A
//! read sees every write that was answered before the read was asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use crate::clock::{Clock, UnixMillis};
use crate::handle::Handle;
use crate::identity::ScriptHash;
use crate::key::Key;
use crate::message::Message;
use crate::record::{Dues, Record};
use crate::reply::Pending;
use crate::request::Request;

/// Puts or removes one record, and keeps the index of what is due and the count of objects in step, in one atomic
/// step. Answers once the change is as durable as `storage.durability` promises.
#[derive(Clone, Debug)]
pub struct Write {
    /// Which object.
    pub key: Key,
    /// The record; none removes it.
    pub record: Option<Arc<Record>>,
    /// What the index held for the key before: the writer does not read to find out, unless it has refused a write of that
    /// key. What was sent behind that one may be mistaken.
    pub former: Former,
    /// Whether somebody waits for the answer to be durable. A change made by a handler is written behind: it is
    /// committed with the next batch but does not cause an `fsync`.
    pub behind: bool,
}

/// What stood in the database under a key before a write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Former {
    /// Whether there was an object; a tombstone is none.
    pub present: bool,
    /// What the index held for it.
    pub dues: Dues,
    /// The rest is not known: the record cannot be read. It counts as lost once something is written in its place.
    pub unread: bool,
}

impl Former {
    /// What stood there cannot be read.
    pub const UNREAD: Former = Former { present: true, dues: Dues { tick: None, expiry: None }, unread: true };

    /// What stands in the database once `record` is written.
    pub fn of(record: Option<&Record>) -> Self {
        Former {
            present: record.is_some_and(|record| record.removed().is_none()),
            dues: record.map(Record::dues).unwrap_or_default(),
            unread: false,
        }
    }
}

/// A write that an object has sent, and how it stood before.
pub type Flushing = (Pending<Result<(), WriteError>>, Before);

/// How an object stood before a flush: the shard keeps it for the object until the flush is done.
#[derive(Clone, Copy, Debug)]
pub struct Before {
    /// What the disk had.
    pub former: Former,
    /// How many writes had been sent.
    pub sent: u64,
}

/// Reads one record.
#[derive(Clone, Debug)]
pub struct Read {
    /// Which object.
    pub key: Key,
    /// The request that it is read for, if there is one: whoever traces that sees this hop.
    pub request: Option<Request>,
}

/// Reads keys in their order in the database. Places that are damaged are passed over, and counted in
/// [`Status::damaged_places`].
#[derive(Clone, Debug)]
pub struct Scan {
    /// Starts behind this key; from the first if none.
    pub after: Option<Key>,
    /// At most this many keys, up to [`crate::limits::PAGE_ITEMS`]; fewer if their records reach
    /// [`crate::limits::PAGE_BYTES`] together.
    pub limit: usize,
}

/// One page of a scan.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The keys with their records, as far as they could be read.
    pub items: Vec<(Key, Arc<Record>)>,
    /// Where the next page starts; none if this was the last.
    pub next: Option<Key>,
}

/// Reads the index of what is due, in the order of time. Places that are damaged are passed over, as by [`Scan`].
#[derive(Clone, Debug)]
pub struct ReadDues {
    /// Starts behind this entry; from the first if none.
    pub after: Option<(UnixMillis, Key)>,
    /// At most this many entries.
    pub limit: usize,
}

/// Stores the source of a script under its hash, and how a name stands, in one atomic and durable step.
#[derive(Clone, Debug)]
pub struct WriteScript {
    /// Sources to keep; those that are stored already cost nothing.
    pub sources: Vec<Arc<str>>,
    /// The name to set, with its versions, newest last; an empty list forgets the name.
    pub name: Option<(Arc<str>, Vec<NamedVersion>)>,
}

/// One version of a named script.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedVersion {
    /// The source's hash.
    pub hash: ScriptHash,
    /// Who loaded it.
    pub origin: String,
    /// When.
    pub loaded: UnixMillis,
}

/// Reads the source of a script.
#[derive(Clone, Debug)]
pub struct ReadScript {
    /// Its hash.
    pub hash: ScriptHash,
}

/// Reads the hashes of stored sources, in their order.
#[derive(Clone, Debug)]
pub struct ReadSources {
    /// Starts behind this hash; from the first if none.
    pub after: Option<ScriptHash>,
    /// At most this many; fewer are the last.
    pub limit: usize,
}

/// Removes sources, in one atomic step. For the library, which alone knows what uses them.
#[derive(Clone, Debug)]
pub struct DropSources {
    /// Their hashes.
    pub hashes: Vec<ScriptHash>,
}

/// Reads every named script.
#[derive(Clone, Debug)]
pub struct ReadNames;

/// Removes every record and every due entry; scripts and names stay.
#[derive(Clone, Debug)]
pub struct Clear;

/// Answers how the database stands.
#[derive(Clone, Debug)]
pub struct ReadStatus;

/// How the database stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Records stored.
    pub objects: u64,
    /// Records that could not be read and were set aside, or were replaced because their place is damaged.
    pub unreadable: u64,
    /// Pieces of journals that could not be read: they are files in the folder `aside` of the data directory.
    pub journal_pieces: u64,
    /// Damaged places in the tables that listings and the reading of dues have passed over since the start. What stands
    /// there is in no list.
    pub damaged_places: u64,
    /// Why the store takes no writes now, if it does not.
    pub read_only: Option<String>,
    /// Bytes free on the file system of the data directory.
    pub disk_free: u64,
    /// Bytes that the database takes on the disk.
    pub disk_used: u64,
    /// Batches committed since the start.
    pub commits: u64,
    /// Changes committed since the start.
    pub writes: u64,
}

/// Why a write did not happen. The record is as it was before.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum WriteError {
    /// The disk is full, or nearly: the store is read-only until there is room.
    #[error("{0}")]
    ReadOnly(String),
    /// The database refused. The store is read-only until it accepts a write again.
    #[error("{0}")]
    Failed(String),
}

/// Why a read failed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ReadError {
    /// The stored bytes are no record: they were set aside, where `comet ctl inspect storage` counts them.
    #[error("the record of {key} is unreadable ({reason}); it was set aside")]
    Unreadable {
        /// Whose record.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The place in the database where the record stands, if it is there at all, is damaged. It stays so until something
    /// is written under the key.
    #[error("the record of {key} cannot be read: {reason}; or put it anew or remove it, without conditions")]
    Damaged {
        /// Whose record.
        key: String,
        /// What the database says.
        reason: String,
    },
    /// The database failed. Another try may succeed.
    #[error("{0}")]
    Failed(String),
}

impl Message for Read {
    type Reply = Result<Option<Arc<Record>>, ReadError>;
    const NAME: &'static str = "storage::Read";

    fn request(&self) -> Option<&Request> {
        self.request.as_ref()
    }
}

crate::messages! {
    "storage":
    Write -> Result<(), WriteError>;
    WriteScript -> Result<(), WriteError>;
    Clear -> Result<(), WriteError>;
    Scan -> Result<Page, ReadError>;
    ReadDues -> Result<Vec<(UnixMillis, Key)>, ReadError>;
    ReadScript -> Result<Option<Arc<str>>, ReadError>;
    ReadSources -> Result<Vec<ScriptHash>, ReadError>;
    DropSources -> Result<(), WriteError>;
    ReadNames -> Result<Vec<(Arc<str>, Vec<NamedVersion>)>, ReadError>;
    ReadStatus -> Status;
}

/// The way to storage.
#[derive(Clone, Debug)]
pub struct Service {
    /// See [`Write`].
    pub write: Handle<Write>,
    /// See [`WriteScript`].
    pub write_script: Handle<WriteScript>,
    /// See [`Clear`].
    pub clear: Handle<Clear>,
    /// See [`Read`].
    pub read: Handle<Read>,
    /// See [`Scan`].
    pub scan: Handle<Scan>,
    /// See [`ReadDues`].
    pub read_dues: Handle<ReadDues>,
    /// See [`ReadScript`].
    pub read_script: Handle<ReadScript>,
    /// See [`ReadSources`].
    pub read_sources: Handle<ReadSources>,
    /// See [`DropSources`].
    pub drop_sources: Handle<DropSources>,
    /// See [`ReadNames`].
    pub read_names: Handle<ReadNames>,
    /// See [`ReadStatus`].
    pub read_status: Handle<ReadStatus>,
    /// Whether writes are taken now.
    pub gate: Gate,
}

impl Service {
    /// A way to nobody yet.
    pub fn vacant(clock: &Clock) -> Self {
        Service {
            write: Handle::vacant(clock),
            write_script: Handle::vacant(clock),
            clear: Handle::vacant(clock),
            read: Handle::vacant(clock),
            scan: Handle::vacant(clock),
            read_dues: Handle::vacant(clock),
            read_script: Handle::vacant(clock),
            read_sources: Handle::vacant(clock),
            drop_sources: Handle::vacant(clock),
            read_names: Handle::vacant(clock),
            read_status: Handle::vacant(clock),
            gate: Gate::default(),
        }
    }
}

/// Whether the store takes writes: what writers ask before they acknowledge a write that nobody waits for. Copies share
/// it.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<AtomicBool>);

impl Gate {
    /// Whether writes are refused now.
    pub fn is_shut(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Shuts or opens the gate; whether that changed anything. For storage.
    pub fn set_shut(&self, shut: bool) -> bool {
        self.0.swap(shut, Ordering::Relaxed) != shut
    }
}
