//! Room on the disk: how much is free, and how much must stay so.

use std::fmt;
use std::io;
use std::path::Path;

/// Tells how much room there is. An argument, so that a test can fill a disk that has room.
pub trait Space: fmt::Debug + Send + Sync {
    /// Bytes that this node may still write to the file system of `directory`.
    fn free(&self, directory: &Path) -> io::Result<u64>;
}

/// Asks the file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct FileSystem;

impl Space for FileSystem {
    fn free(&self, directory: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(directory)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// Bytes in people's words.
pub(crate) fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}
