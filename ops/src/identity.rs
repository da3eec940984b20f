//! Who the node is: an Ed25519 key in the data directory, made at the first start and kept.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, bail};
use comet_kernel::NodeId;
use ed25519_dalek::SigningKey;

/// The file in the data directory: 32 bytes, readable by nobody else.
const FILE: &str = "identity.key";

/// Reads the node's key, or makes one.
pub fn load_or_make(data: &Path) -> anyhow::Result<NodeId> {
    let path = data.join(FILE);
    let secret = match OpenOptions::new().read(true).open(&path) {
        Ok(file) => read(file, &path)?,
        Err(error) if error.kind() == ErrorKind::NotFound => make(data, &path)?,
        Err(error) => return Err(error).with_context(|| format!("cannot read the node's key {}", path.display())),
    };
    Ok(NodeId::from_public_key(SigningKey::from_bytes(&secret).verifying_key().as_bytes()))
}

fn read(file: std::fs::File, path: &Path) -> anyhow::Result<[u8; 32]> {
    let mut secret = Vec::new();
    file.take(33).read_to_end(&mut secret).with_context(|| format!("cannot read the node's key {}", path.display()))?;
    match <[u8; 32]>::try_from(secret) {
        Ok(secret) => Ok(secret),
        Err(other) => bail!(
            "{} has {} bytes; a node's key has 32: restore it from a backup, or move it away to get a new identity",
            path.display(),
            other.len()
        ),
    }
}

/// Makes a key under another name first, so that a node that is killed meanwhile leaves no half of one.
fn make(data: &Path, path: &Path) -> anyhow::Result<[u8; 32]> {
    let secret: [u8; 32] = rand::random();
    let unfinished = data.join(format!("{FILE}.new"));
    let context = || format!("cannot write the node's key {}", path.display());
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&unfinished)
        .with_context(context)?;
    file.write_all(&secret).with_context(context)?;
    file.sync_all().with_context(context)?;
    std::fs::rename(&unfinished, path).with_context(context)?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_keeps_its_identity() {
        let data = tempfile::tempdir().expect("a temporary folder");
        let first = load_or_make(data.path()).expect("made");
        assert_eq!(load_or_make(data.path()).expect("read"), first);
    }

    #[test]
    fn a_damaged_key_is_refused_and_kept() {
        let data = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(data.path().join(FILE), b"short").expect("writable");
        let error = load_or_make(data.path()).expect_err("damaged").to_string();
        assert!(error.contains("5 bytes"), "{error}");
        assert_eq!(std::fs::read(data.path().join(FILE)).expect("kept"), b"short");
    }
}
