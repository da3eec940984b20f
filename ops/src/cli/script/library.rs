//! The named scripts of a node.

use std::path::{Path, PathBuf};

use comet_kernel::contract::admin::{Answer, Command};
use comet_kernel::contract::library::ScriptSummary;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::cli::admin::{Admin, unexpected};
use crate::cli::failure::Failure;
use crate::cli::figures;
use crate::cli::output::Output;
use crate::cli::table::Table;
use crate::cli::value::read_script;

/// The end of a script's file name.
const EXTENSION: &str = "rhai";
/// Digits of a hash that tell scripts apart for people.
const DIGITS: usize = 12;

/// `comet script load NAME FILE`.
pub(super) fn load(admin: &mut Admin, name: String, file: &Path, output: &mut Output) -> Result<(), Failure> {
    let hash = load_one(admin, name.clone(), file)?;
    told(&name, &hash, output)
}

/// `comet script load --all DIR`. Loads what can be loaded, and fails at the end if something could not.
pub(super) fn load_all(admin: &mut Admin, folder: &Path, output: &mut Output) -> Result<(), Failure> {
    let scripts = scripts_of(folder)?;
    let (count, mut failed) = (scripts.len(), 0);
    let style = ProgressStyle::with_template("{bar:40} {pos} of {len} scripts: {msg}");
    let bar = ProgressBar::new(count as u64).with_style(style.expect("the template is well-formed"));
    for (name, file) in scripts {
        bar.set_message(crate::cli::output::harmless(&name));
        match load_one(admin, name.clone(), &file) {
            Ok(hash) => bar.suspend(|| told(&name, &hash, output))?,
            Err(Failure::Refused(reason)) => {
                failed += 1;
                bar.suspend(|| refused(&name, &reason, output))?;
            }
            Err(failure) => return Err(failure),
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    match failed {
        0 => Ok(()),
        _ => Err(Failure::Refused(format!("{failed} of {count} scripts were not loaded"))),
    }
}

/// `comet script list`.
pub(super) fn list(admin: &mut Admin, output: &mut Output) -> Result<(), Failure> {
    let scripts = ask(admin, Command::ListScripts)?;
    if output.json {
        return scripts.iter().try_for_each(|script| output.json(script));
    }
    output.text(&tabulate(&scripts))
}

/// `comet script show`.
pub(super) fn show(admin: &mut Admin, name: String, output: &mut Output) -> Result<(), Failure> {
    let scripts = ask(admin, Command::ShowScript { name })?;
    let Some(script) = scripts.into_iter().next() else {
        return Err(unexpected(&Answer::Scripts(Vec::new())));
    };
    if output.json { output.json(&script) } else { output.text(script.source.as_deref().unwrap_or_default()) }
}

/// `comet script rollback`.
pub(super) fn rollback(admin: &mut Admin, name: String, output: &mut Output) -> Result<(), Failure> {
    match admin.ask(Command::RollbackScript { name: name.clone() })? {
        Answer::Hash(hash) => told(&name, &hash, output),
        other => Err(unexpected(&other)),
    }
}

fn ask(admin: &mut Admin, command: Command) -> Result<Vec<ScriptSummary>, Failure> {
    match admin.ask(command)? {
        Answer::Scripts(scripts) => Ok(scripts),
        other => Err(unexpected(&other)),
    }
}

fn load_one(admin: &mut Admin, name: String, file: &Path) -> Result<String, Failure> {
    let source = read_script(file)?;
    match admin.ask(Command::LoadScript { name, source })? {
        Answer::Hash(hash) => Ok(hash),
        other => Err(unexpected(&other)),
    }
}

/// Says which version a name has now.
fn told(name: &str, hash: &str, output: &mut Output) -> Result<(), Failure> {
    if output.json {
        return output.json(&json!({ "name": name, "hash": hash }));
    }
    output.line(&format!("{name} is {}", short(hash)))
}

fn refused(name: &str, reason: &str, output: &mut Output) -> Result<(), Failure> {
    if output.json {
        return output.json(&json!({ "name": name, "error": reason }));
    }
    output.line(&format!("{name} was not loaded: {reason}"))
}

/// The scripts of a folder by name, in the order of names.
fn scripts_of(folder: &Path) -> Result<Vec<(String, PathBuf)>, Failure> {
    let unreadable =
        |error: std::io::Error| Failure::Usage(format!("cannot read the folder {}: {error}", folder.display()));
    let mut scripts = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_stem().and_then(|name| name.to_str());
        if let (Some(name), true) = (name, path.extension().is_some_and(|extension| extension == EXTENSION)) {
            scripts.push((name.to_owned(), path));
        }
    }
    scripts.sort();
    if scripts.is_empty() {
        return Err(Failure::Usage(format!("there is no file NAME.{EXTENSION} in {}", folder.display())));
    }
    Ok(scripts)
}

fn tabulate(scripts: &[ScriptSummary]) -> String {
    let mut table = Table::new(&["name", "version", "of", "from", "size", "calls", "failures", "handlers"]);
    for script in scripts {
        table.row([
            script.name.clone(),
            short(&script.hash).to_owned(),
            script.versions.to_string(),
            script.origin.clone(),
            figures::bytes(script.bytes as u64),
            script.calls.to_string(),
            script.failures.to_string(),
            script.handlers.join(" "),
        ]);
    }
    table.figures(&[2, 4, 5, 6]);
    table.to_string()
}

fn short(hash: &str) -> &str {
    hash.get(..DIGITS).unwrap_or(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scripts_of_a_folder_are_its_rhai_files_by_name() {
        let folder = tempfile::tempdir().unwrap();
        assert!(scripts_of(folder.path()).unwrap_err().to_string().contains("NAME.rhai"));
        for name in ["b.rhai", "a.rhai", "readme.md"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let names: Vec<_> = scripts_of(folder.path()).unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(scripts_of(Path::new("/nowhere")).unwrap_err().code(), 2);
    }

    #[test]
    fn the_list_shows_where_each_script_comes_from() {
        let script = ScriptSummary {
            name: "counter".to_owned(),
            hash: "0123456789abcdef".to_owned(),
            versions: 2,
            origin: "file\n".to_owned(),
            bytes: 100,
            handlers: vec!["onGet".to_owned(), "onPut".to_owned()],
            calls: 5,
            failures: 1,
            source: None,
        };
        let text = tabulate(&[script]);
        let row: Vec<_> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(row, ["counter", "0123456789ab", "2", "file\\n", "100", "B", "5", "1", "onGet", "onPut"]);
    }
}
