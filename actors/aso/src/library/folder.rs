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

type Stamp = (Option<SystemTime>, u64);

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
                    files.insert(path, (metadata.modified().ok(), metadata.len()));
                }
            }
        }
        Ok(files)
    }
}

fn read(path: &Path, (_, bytes): Stamp) -> Change {
    let problem = |reason: String| format!("{}: {reason}", path.display());
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
    fn a_missing_folder_is_told_once() {
        let mut folder = Folder::new(PathBuf::from("/nowhere/at/all"));
        assert_eq!(folder.changes().len(), 1);
        assert_eq!(folder.changes(), vec![]);
    }
}
