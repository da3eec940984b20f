//! The data directory: whose it is, and whether a database can live there.
//!
//! A marker file says that a directory is Comet's and in which format, so that a node never takes over a folder that
//! holds something else. The database is made under another name and renamed when it is whole: a first start that is
//! interrupted leaves nothing that a second one could trip over.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use comet_kernel::settings;

use crate::space::{FileSystem, Space, mib};

/// The file that makes a directory Comet's.
const MARKER: &str = "comet.format";
/// What the marker says: the format of the whole directory.
const FORMAT: &str = "1";
/// What may lie in a directory that counts as empty: file systems put it there.
const FOUND: &str = "lost+found";

/// A file that is made to see whether the disk takes any. One that is left by a node that was killed is in nobody's way.
const PROBE: &str = "probe";
/// Bytes in it: as much as opening a database may write before it serves.
const PROBED: usize = 64 << 10;

/// Why there is no database. Nothing has been changed but for what the message says.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory cannot be made, or nothing can be written there.
    #[error("cannot write to {}: {reason}; give this user the right to, or name another data directory", path.display())]
    Unwritable {
        /// The directory or the file in it.
        path: PathBuf,
        /// What the operating system says.
        reason: io::Error,
    },
    /// There is a file where the directory should be.
    #[error("{} is a file; name a directory, or move the file away", path.display())]
    File {
        /// The path.
        path: PathBuf,
    },
    /// The directory holds something that is not Comet's.
    #[error(
        "{} is not empty and not a data directory of Comet (it has no {MARKER}); name another, or an empty one",
        path.display()
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
    },
    /// Another process has the database open.
    #[error("another node uses {}; stop it, or name another data directory", path.display())]
    Busy {
        /// The directory.
        path: PathBuf,
    },
    /// Another version of Comet wrote the directory.
    #[error(
        "{} has format {found:?}, and this version of Comet reads format {FORMAT:?}; use the version that wrote it",
        path.display()
    )]
    Format {
        /// The directory.
        path: PathBuf,
        /// What its marker says.
        found: String,
    },
    /// There is too little room for a new database. One that exists already opens, and takes no writes.
    #[error(
        "{} are free on the disk of {}, and {} must stay free (storage.min_free_mib); make room, or lower the setting",
        mib(*free), path.display(), mib(*needed)
    )]
    Full {
        /// The directory.
        path: PathBuf,
        /// Bytes free.
        free: u64,
        /// Bytes that must be.
        needed: u64,
    },
    /// The database's files are not as it left them.
    #[error(
        "the database in {} is damaged: {reason}; restore the directory from a copy, or move it away and start empty",
        path.display()
    )]
    Damaged {
        /// The folder of the database.
        path: PathBuf,
        /// What it says.
        reason: String,
    },
    /// The database was open in this process, and its folder is not there any more.
    #[error("the folder of the database, {}, has gone; attach its disk again, or put it back", path.display())]
    Gone {
        /// The folder of the database.
        path: PathBuf,
    },
    /// The operating system did not let the database be opened, and the database is not to blame.
    #[error("the database in {} cannot be opened: {reason}; remove the cause and start again", path.display())]
    Unopened {
        /// The folder of the database.
        path: PathBuf,
        /// What the operating system says.
        reason: io::Error,
    },
}

/// Makes sure that a database can live in `directory`, and makes the directory if there is none. What else a node keeps
/// in its data directory may be put there after this.
pub fn prepare(directory: &Path, settings: &settings::Storage) -> Result<(), OpenError> {
    prepare_on(directory, settings, &FileSystem)
}

/// [`prepare`] with the room that `space` tells of.
pub(crate) fn prepare_on(directory: &Path, settings: &settings::Storage, space: &dyn Space) -> Result<(), OpenError> {
    if directory.exists() && !directory.is_dir() {
        return Err(OpenError::File { path: directory.to_owned() });
    }
    fs::create_dir_all(directory).map_err(unwritable(directory))?;
    check_marker(directory)?;
    if folder(directory).exists() {
        return check_lock(directory);
    }
    let needed = settings.min_free_mib << 20;
    match space.free(directory) {
        Ok(free) if free < needed => Err(OpenError::Full { path: directory.to_owned(), free, needed }),
        // A file system that does not tell may have room.
        _ => Ok(()),
    }
}

/// Where in the data directory the database lies.
pub(crate) fn folder(directory: &Path) -> PathBuf {
    directory.join("store")
}

/// Makes a new database with `build`, which is given a folder to make it in. Does nothing if there is one.
pub(crate) fn found(directory: &Path, build: impl FnOnce(&Path) -> Result<(), OpenError>) -> Result<(), OpenError> {
    let whole = folder(directory);
    if whole.exists() {
        return Ok(());
    }
    let unfinished = directory.join("store.new");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).map_err(unwritable(&unfinished))?;
    }
    build(&unfinished)?;
    fs::rename(&unfinished, &whole).map_err(unwritable(&whole))?;
    sync(directory)
}

/// Whether the database that was open before in this process can be opened again, as far as that can be told while it is
/// open: it is there, and its disk takes new files.
pub(crate) fn check_openable(directory: &Path) -> Result<(), OpenError> {
    let path = folder(directory);
    if !path.exists() {
        return Err(OpenError::Gone { path });
    }
    let lock = path.join("lock");
    File::options().read(true).write(true).open(&lock).map_err(unwritable(&lock))?;
    let probe = path.join(PROBE);
    let write = || {
        let mut file = File::create(&probe)?;
        file.write_all(&vec![0; PROBED])?;
        file.sync_all()?;
        fs::remove_file(&probe)
    };
    write().map_err(unwritable(&probe))?;
    check_tables(&path)
}

/// Whether the list of tables in the folder of a database, and each table that holds data, still has the file that names
/// its parts. fjall takes a table without it for unfinished and deletes it, and would make a new list and delete every
/// table if it is the list.
pub(crate) fn check_tables(folder: &Path) -> Result<(), OpenError> {
    let missing = |file: &Path| Err(damaged(folder, file, &io::ErrorKind::NotFound.into()));
    let tables = folder.join("keyspaces");
    let list = tables.join("0").join("current");
    if !list.exists() {
        return missing(&list);
    }
    for entry in fs::read_dir(&tables).map_err(|error| damaged(folder, &tables, &error))? {
        let table = entry.map_err(|error| damaged(folder, &tables, &error))?.path();
        let current = table.join("current");
        let holds_data = || fs::read_dir(table.join("tables")).is_ok_and(|mut files| files.next().is_some());
        if table.is_dir() && !current.exists() && holds_data() {
            return missing(&current);
        }
    }
    Ok(())
}

fn damaged(folder: &Path, file: &Path, error: &io::Error) -> OpenError {
    OpenError::Damaged { path: folder.to_owned(), reason: format!("{}: {error}", file.display()) }
}

/// Names the directory in an error of the operating system.
pub(crate) fn unwritable(path: &Path) -> impl Fn(io::Error) -> OpenError + '_ {
    |reason| OpenError::Unwritable { path: path.to_owned(), reason }
}

/// Whether the directory is Comet's; makes it so if it is empty.
fn check_marker(directory: &Path) -> Result<(), OpenError> {
    let marker = directory.join(MARKER);
    match fs::read_to_string(&marker) {
        Ok(text) if text.trim() == FORMAT => return Ok(()),
        // The start that was to write it was interrupted before anything else could be written.
        Ok(text) if text.is_empty() => {}
        Ok(text) => {
            let found = text.trim().chars().take(32).collect();
            return Err(OpenError::Format { path: directory.to_owned(), found });
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(unwritable(&marker)(error)),
    }
    let names = fs::read_dir(directory).map_err(unwritable(directory))?;
    for name in names {
        let name = name.map_err(unwritable(directory))?.file_name();
        if name != MARKER && name != FOUND {
            return Err(OpenError::Foreign { path: directory.to_owned() });
        }
    }
    let write = || {
        let mut file = File::create(&marker)?;
        writeln!(file, "{FORMAT}")?;
        file.sync_all()
    };
    write().map_err(unwritable(directory))?;
    sync(directory)
}

/// Whether nobody else has the database open, and this user may write to it.
fn check_lock(directory: &Path) -> Result<(), OpenError> {
    let path = folder(directory).join("lock");
    let file = match File::options().read(true).write(true).open(&path) {
        Ok(file) => file,
        // Opening the database will say what is missing.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unwritable(&path)(error)),
    };
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(OpenError::Busy { path: directory.to_owned() }),
        Err(TryLockError::Error(error)) => Err(unwritable(&path)(error)),
        Ok(()) => Ok(()),
    }
}

/// Makes names in the directory outlast the loss of power.
fn sync(directory: &Path) -> Result<(), OpenError> {
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(unwritable(directory))
}
