//! Setting aside what cannot be read of a journal, so that the rest can be.
//!
//! Batches do not build on each other: each says what stands under its keys from then on. So a batch that is spoilt costs
//! what it alone has changed, and only where no later batch and no table has it. What is spoilt is written to a file of
//! its own and is on the disk before the journal without it takes the journal's place.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::journals;
use super::walk::Walk;

/// The folder in the data directory for pieces of journals that cannot be read.
const ASIDE: &str = "aside";

/// Takes out of the journals in `folder` what cannot be read. What was taken out, in words for the operator.
pub(crate) fn mend(data: &Path, folder: &Path) -> io::Result<Vec<String>> {
    let mut told = Vec::new();
    for path in journals(folder)? {
        let walk = Walk::through(&path)?;
        if !walk.damaged.is_empty() {
            let text = set_aside(data, &path, &walk)?;
            tracing::error!("{text}");
            told.push(text);
        }
    }
    Ok(told)
}

/// How many pieces of journals lie in the data directory.
pub(crate) fn pieces(data: &Path) -> u64 {
    fs::read_dir(data.join(ASIDE)).map_or(0, |files| files.count() as u64)
}

fn set_aside(data: &Path, path: &Path, walk: &Walk) -> io::Result<String> {
    let aside = vacant(data, path)?;
    copy(path, &walk.damaged, &aside)?;
    let mended = path.with_extension("jnl.new");
    copy(path, &walk.whole, &mended)?;
    fs::rename(&mended, path)?;
    sync_folder(path)?;
    let bytes: u64 = walk.damaged.iter().map(|range| range.end - range.start).sum();
    Ok(format!(
        "the journal {} is damaged: {bytes} bytes of it cannot be read and were set aside in {}; what they changed, and \
         neither a later write nor a table has, is as it was before: compare with a copy of the data directory",
        path.display(),
        aside.display()
    ))
}

/// A name for a piece of this journal that no file has.
fn vacant(data: &Path, journal: &Path) -> io::Result<PathBuf> {
    let folder = data.join(ASIDE);
    fs::create_dir_all(&folder)?;
    let name = journal.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut names = (0_u64..).map(|number| folder.join(format!("{name}.{number}")));
    names.find(|path| !path.exists()).ok_or_else(|| io::ErrorKind::AlreadyExists.into())
}

/// Makes a file of these parts of another, durably.
fn copy(from: &Path, parts: &[Range<u64>], to: &Path) -> io::Result<()> {
    let (mut source, mut target) = (File::open(from)?, File::create(to)?);
    for part in parts {
        source.seek(SeekFrom::Start(part.start))?;
        io::copy(&mut source.by_ref().take(part.end - part.start), &mut target)?;
    }
    target.sync_all()?;
    sync_folder(to)
}

/// Makes the name of a file outlast the loss of power.
fn sync_folder(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}
