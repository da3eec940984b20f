//! The watched folder: a saved file becomes a script.
//!
//! Looks at the folder instead of being told: that works on every file system, misses nothing, and a look at a few
//! hundred files costs less than a millisecond, twice a second.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use comet_kernel::limits;

/// A watched folder.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    seen: HashMap<PathBuf, Stamp>,
    reported: Option<String>,
}

/// What tells that a file was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
    /// Whether it is a regular file: to read anything else could last for ever.
    regular: bool,
}

/// A file that is new or was changed, by name and source; or why it, or the folder, cannot be read.
pub(super) type Change = Result<(Arc<str>, Arc<str>), String>;

impl Folder {
    pub fn new(path: PathBuf) -> Self {
        Folder { path, seen: HashMap::new(), reported: None }
    }

    /// What has changed since the last look. A problem with the folder itself is told once.
    pub fn changes(&mut self) -> Vec<Change> {
        let files = match self.files() {
            Ok(files) => files,
            Err(error) => {
                let problem = format!("scripts.dir {} cannot be read: {error}", self.path.display());
                let news = self.reported.as_ref() != Some(&problem);
                self.reported = Some(problem.clone());
                return if news { vec![Err(problem)] } else { Vec::new() };
            }
        };
        self.reported = None;
        self.seen.retain(|path, _| files.contains_key(path));
        let mut changes = Vec::new();
        for (path, stamp) in files {
            if self.seen.insert(path.clone(), stamp) != Some(stamp) {
                changes.push(read(&path, stamp));
            }
        }
        changes
    }

    /// A file could not be taken now: the next look tells of it again.
    pub fn forget(&mut self, name: &str) {
        self.seen.retain(|path, _| path.file_stem().and_then(|stem| stem.to_str()) != Some(name));
    }

    fn files(&self) -> std::io::Result<HashMap<PathBuf, Stamp>> {
        let mut files = HashMap::new();
        for entry in std::fs::read_dir(&self.path)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "rhai") && files.len() < limits::SCRIPT_NAMES {
                // A file may vanish between the two calls; it is not there then.
                if let Ok(metadata) = std::fs::metadata(&path) {
                    let modified = metadata.modified().ok();
                    files.insert(path, Stamp { modified, bytes: metadata.len(), regular: metadata.is_file() });
                }
            }
        }
        Ok(files)
    }
}

fn read(path: &Path, Stamp { bytes, regular, .. }: Stamp) -> Change {
    let problem = |reason: String| format!("{}: {reason}", path.display());
    if !regular {
        return Err(problem("no regular file; a script is read from one".to_owned()));
    }
    if bytes > limits::SCRIPT_BYTES as u64 {
        return Err(problem(format!("{bytes} bytes; a script has at most {}", limits::SCRIPT_BYTES)));
    }
    let source = std::fs::read_to_string(path).map_err(|error| problem(error.to_string()))?;
    let name = path.file_stem().and_then(|stem| stem.to_str()).ok_or_else(|| problem("its name is not text".into()))?;
    Ok((name.into(), source.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_tells_each_saved_file_once() {
        let directory = tempfile::tempdir().expect("a temporary folder");
        let mut folder = Folder::new(directory.path().to_owned());
        assert_eq!(folder.changes(), vec![]);
        std::fs::write(directory.path().join("a.rhai"), "fn onGet() { 1 }").expect("writable");
        std::fs::write(directory.path().join("notes.txt"), "none").expect("writable");
        assert_eq!(folder.changes(), vec![Ok(("a".into(), "fn onGet() { 1 }".into()))]);
        assert_eq!(folder.changes(), vec![]);
        std::fs::write(directory.path().join("a.rhai"), "fn onGet() { 22 }").expect("writable");
        assert_eq!(folder.changes(), vec![Ok(("a".into(), "fn onGet() { 22 }".into()))]);
        folder.forget("a");
        assert_eq!(folder.changes(), vec![Ok(("a".into(), "fn onGet() { 22 }".into()))]);
    }

    #[test]
    fn what_is_no_file_is_told_once_and_not_read() {
        let directory = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir(directory.path().join("a.rhai")).expect("writable");
        let pipe = directory.path().join("b.rhai");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0)
            .expect("made");
        std::fs::write(directory.path().join("c.rhai"), "fn onGet() { 1 }").expect("writable");
        let mut folder = Folder::new(directory.path().to_owned());
        let (told, tells) = std::sync::mpsc::sync_channel(1);
        std::thread::spawn(move || told.send((folder.changes(), folder.changes())));
        let (first, second) = tells.recv_timeout(std::time::Duration::from_secs(10)).expect("nobody hangs");
        let problems: Vec<_> = first.iter().filter_map(|change| change.as_ref().err()).collect();
        assert_eq!((first.len(), problems.len()), (3, 2), "{first:?}");
        assert!(problems.iter().all(|problem| problem.contains("no regular file")), "{problems:?}");
        assert!(first.contains(&Ok(("c".into(), "fn onGet() { 1 }".into()))));
        assert_eq!(second, vec![]);
    }

    #[test]
    fn a_missing_folder_is_told_once() {
        let mut folder = Folder::new(PathBuf::from("/nowhere/at/all"));
        assert_eq!(folder.changes().len(), 1);
        assert_eq!(folder.changes(), vec![]);
    }
}
