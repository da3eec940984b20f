//! Opening the database, and telling a person why it does not open.
//!
//! fjall mends what it takes for the traces of an interrupted start by deleting it. So a new database is made whole under
//! another name, and one that exists is checked for what fjall would take for such traces before fjall sees it.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use comet_kernel::exit::message_of;
use comet_kernel::settings;
use fjall::Database;

use crate::directory::{self, OpenError, unwritable};
use crate::journal::{Journals, mend, pieces};
use crate::store::{News, Store, Told, generation, options, tables};
use crate::table::Table;

/// Threads that make files of gathered writes, and merge files. With one, a long merge would hold the writes up.
const WORKERS: usize = 2;
/// Files that the database keeps open.
const FILES: usize = 256;

/// Why a step of opening failed.
enum Failure {
    Database(fjall::Error),
    Missing(String),
}

impl From<fjall::Error> for Failure {
    fn from(error: fjall::Error) -> Self {
        Failure::Database(error)
    }
}

/// Makes a database in a prepared data directory if there is none.
pub(crate) fn found(data: &Path, settings: &settings::Storage) -> Result<(), OpenError> {
    directory::found(data, |folder| guard(data, folder, || Ok(tables(&open_database(folder, settings)?, 0).map(drop)?)))
}

/// Opens the database in a data directory. If it was open in this process before, what was `told` of it then holds.
pub(crate) fn open(data: &Path, settings: &settings::Storage, told: Option<Told>) -> Result<Store, OpenError> {
    let folder = directory::folder(data);
    directory::check_tables(&folder)?;
    let unopened = |reason| OpenError::Unopened { path: folder.clone(), reason };
    let mut news = mend(data, &folder).map_err(unopened)?;
    let journals = Journals::look(&folder).map_err(unopened)?;
    guard(data, &folder, || {
        let database = open_database(&folder, settings)?;
        check_presence(&database)?;
        news.extend(journals.cut());
        Ok(Store::over(database, News { texts: news, pieces: pieces(data) }, told)?)
    })
}

fn open_database(folder: &Path, settings: &settings::Storage) -> fjall::Result<Database> {
    Database::builder(folder)
        .cache_size(settings.cache_mib << 20)
        .max_journaling_size(settings.journal_mib << 20)
        .worker_threads(WORKERS)
        .max_cached_files(Some(FILES))
        .open()
}

/// Whether every table is there. Each was when the database was made.
fn check_presence(database: &Database) -> Result<(), Failure> {
    let check = |name: String| if database.keyspace_exists(&name) { Ok(()) } else { Err(Failure::Missing(name)) };
    let meta = Table::Meta.keyspace(0);
    check(meta.clone())?;
    let generation = generation(&database.keyspace(&meta, options)?)?;
    Table::ALL.into_iter().try_for_each(|table| check(table.keyspace(generation)))
}

/// Explains failures. A damaged file may make fjall panic; that is no reason for anyone to panic here.
fn guard<T>(data: &Path, folder: &Path, work: impl FnOnce() -> Result<T, Failure>) -> Result<T, OpenError> {
    let damaged = |reason| OpenError::Damaged { path: folder.to_owned(), reason };
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(Failure::Database(error))) => Err(explain(error, folder, data)),
        Ok(Err(Failure::Missing(table))) => Err(damaged(format!("its table {table} is missing"))),
        Err(panic) => Err(damaged(message_of(&*panic))),
    }
}

/// Why the database did not open.
fn explain(error: fjall::Error, folder: &Path, data: &Path) -> OpenError {
    let path = folder.to_owned();
    match error {
        fjall::Error::Locked => OpenError::Busy { path: data.to_owned() },
        fjall::Error::InvalidVersion(found) => {
            let found = found.map_or_else(|| "unknown".to_owned(), |version| format!("fjall {version}"));
            OpenError::Format { path, found }
        }
        fjall::Error::Io(reason) | fjall::Error::Storage(fjall::LsmError::Io(reason)) => match reason.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => unwritable(folder)(reason),
            // A file that should be there, or ends too early.
            io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => {
                OpenError::Damaged { path, reason: reason.to_string() }
            }
            _ => OpenError::Unopened { path, reason },
        },
        error => OpenError::Damaged { path, reason: error.to_string() },
    }
}
