//! `comet keys`: the keys with which publishers sign scripts.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use comet_kernel::NodeId;
use ed25519_dalek::SigningKey;
use serde_json::json;

use super::failure::Failure;
use super::output::Output;
use crate::identity;

/// Keys of publishers. Nothing here needs a node.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Keys,
}

#[derive(Debug, Subcommand)]
enum Keys {
    /// Make a key, in a file that nobody else can read. Ends with code 1 if the file is there already.
    New(Of),
    /// Print the public half of a key: what `aso.publishers` of a node must hold to trust its signatures.
    Show(Of),
}

#[derive(Debug, clap::Args)]
struct Of {
    /// The file with the key.
    #[arg(default_value = "publisher.key", value_name = "FILE")]
    file: PathBuf,
}

/// Runs a command.
pub(super) fn run(args: Args, output: &mut Output) -> Result<(), Failure> {
    let (file, key) = match args.command {
        Keys::New(Of { file }) => {
            let key = SigningKey::from_bytes(&rand::random());
            keep(&file, &key)?;
            (file, key)
        }
        Keys::Show(Of { file }) => {
            let key = read(&file)?;
            (file, key)
        }
    };
    let public = publisher(&key);
    if output.json {
        return output.json(&json!({ "file": file.display().to_string(), "publisher": public.as_str() }));
    }
    output.line(public.as_str())
}

/// The public half as the configuration and signature lines write it.
pub(super) fn publisher(key: &SigningKey) -> NodeId {
    NodeId::from_public_key(key.verifying_key().as_bytes())
}

/// The key in a file.
pub(super) fn read(path: &Path) -> Result<SigningKey, Failure> {
    let secret = File::open(path)
        .map_err(|error| {
            let path = path.display();
            Failure::Usage(format!("cannot read the key {path}: {error}; `comet keys new {path}` makes one"))
        })
        .and_then(|file| identity::read(file, path).map_err(|error| Failure::Usage(format!("{error:#}"))))?;
    Ok(SigningKey::from_bytes(&secret))
}

/// Writes a key to a file that must not be there yet.
fn keep(path: &Path, key: &SigningKey) -> Result<(), Failure> {
    let shown = path.display();
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = opened.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Failure::Refused(format!("{shown} is there already and is left as it is; name another file"))
        }
        _ => Failure::Usage(format!("cannot make the key {shown}: {error}")),
    })?;
    file.write_all(key.as_bytes()).and_then(|()| file.sync_all()).map_err(|error| {
        let _half_a_key_is_none = std::fs::remove_file(path);
        Failure::Unavailable(format!("cannot write the key {shown}: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::tests::printed;
    use std::os::unix::fs::PermissionsExt;

    fn keys(command: Keys) -> (String, Result<(), Failure>) {
        let mut outcome = Ok(());
        let text = printed(false, false, |output| outcome = run(Args { command }, output));
        (text, outcome)
    }

    #[test]
    fn a_key_is_made_once_for_its_owner_alone_and_shows_its_public_half() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("k");
        let (made, outcome) = keys(Keys::New(Of { file: file.clone() }));
        assert_eq!(outcome, Ok(()));
        assert!(made.starts_with("12D3KooW") && NodeId::from_text(made.trim()).public_key().is_some(), "{made}");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(keys(Keys::Show(Of { file: file.clone() })), (made.clone(), Ok(())));
        let (_, again) = keys(Keys::New(Of { file: file.clone() }));
        assert_eq!(again.unwrap_err().code(), 1);
        assert_eq!(keys(Keys::Show(Of { file })), (made, Ok(())), "it was left as it is");
    }

    #[test]
    fn what_is_no_key_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("k");
        let (_, missing) = keys(Keys::Show(Of { file: file.clone() }));
        assert!(missing.unwrap_err().to_string().contains("comet keys new"));
        std::fs::write(&file, "short").unwrap();
        let (_, short) = keys(Keys::Show(Of { file }));
        let short = short.unwrap_err();
        assert!(short.code() == 2 && short.to_string().contains("5 bytes"), "{short}");
    }
}
