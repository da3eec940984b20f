//! Where a node's configuration comes from: a file, `COMET_*` of the environment, flags.
//!
//! The kernel puts the layers together and checks them; here they are read.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use comet_kernel::Settings;
use comet_kernel::settings::{File, SettingsError};
use tracing_subscriber::EnvFilter;

/// Variables of the environment that stand for flags of the command line and are no fields of the configuration.
const FLAGS: [&str; 5] = ["COMET_DATA", "COMET_SOCKET", "COMET_NODE", "COMET_USER", "COMET_PASSWORD"];

/// A field and its value, as flags give them: `section.field=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// `section.field`.
    pub field: String,
    /// The value as text.
    pub value: String,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: std::io::Error,
    },
    /// A variable is not text.
    #[error("the variable {0} of the environment is not UTF-8 text; unset it or write it in UTF-8")]
    NotText(String),
    /// The network cannot be what the configuration wants it to be.
    #[error("{0}; `comet config` shows every field")]
    Network(String),
    /// What the layers say is wrong.
    #[error("{0}; `comet config` shows every field with its range")]
    Wrong(#[from] SettingsError),
}

/// Reads the layers and puts them together.
pub fn load(
    file: Option<&Path>,
    environment: impl Iterator<Item = (OsString, OsString)>,
    assignments: &[Assignment],
) -> Result<Settings, ConfigError> {
    let text = match file {
        Some(path) => {
            let read = std::fs::read_to_string(path);
            Some(read.map_err(|reason| ConfigError::Unreadable { path: path.to_owned(), reason })?)
        }
        None => None,
    };
    let name = file.map_or(String::new(), |path| path.display().to_string());
    let file = text.as_deref().map(|text| File { name: &name, text });
    let flags: Vec<_> = assignments.iter().map(|flag| (flag.field.as_str(), flag.value.clone())).collect();
    let settings = Settings::layered(file, variables(environment)?, &flags)?;
    check(&settings)?;
    Ok(settings)
}

/// What the kernel cannot check.
fn check(settings: &Settings) -> Result<(), ConfigError> {
    let filter = &settings.log.filter;
    let malformed = |field: &str, reason: String| SettingsError::Malformed { field: field.to_owned(), reason };
    if let Err(error) = EnvFilter::try_new(filter) {
        let reason = format!("{filter:?} is no filter ({error}); write a level such as info, or info,comet_aso=debug");
        return Err(malformed("log.filter", reason).into());
    }
    if settings.network.listen.is_empty() && !settings.network.bootstrap.is_empty() {
        let reason = "names nodes to join, and network.listen is empty; give an address to listen on with --p2p, such \
                      as /ip4/0.0.0.0/tcp/7380";
        return Err(malformed("network.bootstrap", reason.to_owned()).into());
    }
    Ok(())
}

/// The variables that are fields of the configuration.
fn variables(environment: impl Iterator<Item = (OsString, OsString)>) -> Result<HashMap<String, String>, ConfigError> {
    let mut variables = HashMap::new();
    for (name, value) in environment {
        let Ok(name) = name.into_string() else { continue };
        if name.starts_with("COMET_") && !FLAGS.contains(&name.as_str()) {
            let value = value.into_string().map_err(|_| ConfigError::NotText(name.clone()))?;
            variables.insert(name, value);
        }
    }
    Ok(variables)
}

impl std::str::FromStr for Assignment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not section.field=value, such as aso.cpu_ms=10");
        let (field, value) = text.split_once('=').ok_or_else(wrong)?;
        let field = field.trim();
        if !Settings::FIELDS.contains(&field) {
            return Err(format!("there is no field {field:?}; `comet config` shows every field"));
        }
        Ok(Assignment { field: field.to_owned(), value: value.trim().to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> impl Iterator<Item = (OsString, OsString)> {
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.into(), value.into())).collect();
        pairs.into_iter()
    }

    #[test]
    fn the_shipped_file_is_the_annotated_defaults() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/comet.toml");
        let shipped = std::fs::read_to_string(path).unwrap();
        assert!(shipped == Settings::annotated(), "write it anew: comet config > ops/comet.toml");
    }

    #[test]
    fn flags_override_the_environment_which_overrides_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("comet.toml");
        std::fs::write(&path, "[aso]\ncpu_ms = 5\nshards = 1\nitems = 500\n").unwrap();
        let variables = [("COMET_ASO__CPU_MS", "7"), ("COMET_ASO__SHARDS", "3"), ("COMET_USER", "me"), ("HOME", "/")];
        let flags = ["aso.shards=4".parse().unwrap()];
        let settings = load(Some(&path), environment(&variables), &flags).unwrap();
        assert_eq!((settings.aso.items, settings.aso.cpu_ms, settings.aso.shards), (500, 7, 4));
    }

    #[test]
    fn errors_name_the_file_and_the_field() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mine.toml");
        let missing = load(Some(&path), environment(&[]), &[]).unwrap_err().to_string();
        assert!(missing.contains("mine.toml"), "{missing}");
        for (text, field) in [("[aso]\ncpu_ms = 0\n", "aso.cpu_ms"), ("[aso]\ncpu = 1\n", "cpu"), ("[aso", "line 1")] {
            std::fs::write(&path, text).unwrap();
            let error = load(Some(&path), environment(&[]), &[]).unwrap_err().to_string();
            assert!(error.contains("mine.toml") && error.contains(field), "{error}");
        }
    }

    #[test]
    fn what_cannot_work_is_found_at_the_start() {
        for (flag, wanted) in [
            ("log.filter=comet=loud", "log.filter"),
            ("network.bootstrap=/ip4/127.0.0.1/tcp/1", "--p2p"),
            ("aso.publishers=nobody", "aso.publishers[0]"),
            ("storage.durability=sometimes", "always"),
            ("storage.durability=sometimes", "storage.durability"),
        ] {
            let error = load(None, environment(&[]), &[flag.parse().unwrap()]).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }

    #[test]
    fn a_flag_names_a_field_that_exists() {
        assert!("aso.cpu_ms=10".parse::<Assignment>().is_ok());
        for (wrong, reason) in [("aso.cpu_ms", "section.field=value"), ("aso.cpu=10", "comet config"), ("", "is not")] {
            let error = wrong.parse::<Assignment>().unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }
}
