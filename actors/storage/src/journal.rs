//! The journals of a database that is closed: what is damaged is set aside, what opening cuts off is told.
//!
//! The journal of a node that was killed may end in a batch that is not whole; fjall cuts it off, as nobody was told that
//! it was written. The ends of the journals are looked up before and after, and a difference is reported.

mod mend;
mod walk;

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

pub(crate) use self::mend::{mend, pieces};

/// Bytes that are looked through at once.
const CHUNK: usize = 64 << 10;

/// The journals of a database, and where each ends.
pub(crate) struct Journals(Vec<(PathBuf, u64)>);

impl Journals {
    /// Looks up the journals in the folder of a database that is closed.
    pub(crate) fn look(folder: &Path) -> io::Result<Self> {
        let ends = journals(folder)?.into_iter().map(|path| end(&path).map(|end| (path, end)));
        ends.collect::<io::Result<_>>().map(Journals)
    }

    /// What was cut off them since, in words for the operator. Journals that are not needed any more are gone.
    pub(crate) fn cut(&self) -> Option<String> {
        let cut = |(path, end): &(PathBuf, u64)| fs::metadata(path).map_or(0, |now| end.saturating_sub(now.len()));
        let bytes: u64 = self.0.iter().map(cut).sum();
        (bytes > 0).then(|| {
            format!(
                "the journal ended in {bytes} bytes that are no whole batch, and they were cut off: if the node was killed \
                 they are a write that was not answered, else they are damage"
            )
        })
    }
}

/// The journals in the folder of a database.
fn journals(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut journals = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "jnl") {
            journals.push(path);
        }
    }
    Ok(journals)
}

/// Where the last byte stands that is not zero: room is set aside for a journal before it is written.
fn end(path: &Path) -> io::Result<u64> {
    let mut file = File::open(path)?;
    let mut chunk = vec![0; CHUNK];
    // A file system that knows no holes, or a file that is empty, makes us look from the file's end.
    let hole = rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(0)).ok();
    let mut end = hole.map_or_else(|| file.metadata().map(|file| file.len()), Ok)?;
    while end > 0 {
        let start = end.saturating_sub(CHUNK as u64);
        let part = &mut chunk[..(end - start) as usize];
        file.seek(io::SeekFrom::Start(start))?;
        file.read_exact(part)?;
        if let Some(last) = part.iter().rposition(|byte| *byte != 0) {
            return Ok(start + last as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_journal_is_where_its_zeros_begin() {
        let folder = tempfile::tempdir().expect("there is room for a test");
        let path = folder.path().join("0.jnl");
        for length in [0, 1, CHUNK - 1, CHUNK, 3 * CHUNK + 7] {
            fs::write(&path, vec![7; length]).expect("writable");
            File::options().write(true).open(&path).and_then(|file| file.set_len(8 << 20)).expect("writable");
            assert_eq!(end(&path).expect("readable"), length as u64);
        }
        fs::write(&path, "").expect("writable");
        assert_eq!(end(&path).expect("readable"), 0);
    }
}
