//! Who the node is: an Ed25519 key in the data directory, made at the first start and kept.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, bail};
use comet_kernel::NodeId;
use ed25519_dalek::SigningKey;

/// The file in the data directory: 32 bytes, readable by nobody else.
const FILE: &str = "identity.key";

/// The node's key, and the peer id that others know it by.
#[derive(Clone)]
pub struct Identity {
    /// The peer id.
    pub id: NodeId,
    /// The Ed25519 secret.
    pub secret: [u8; 32],
}

impl Identity {
    /// The identity of this secret.
    pub fn of(secret: [u8; 32]) -> Self {
        let public = SigningKey::from_bytes(&secret).verifying_key();
        Identity { id: NodeId::from_public_key(public.as_bytes()), secret }
    }
}

/// The secret is not shown.
impl fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Identity({})", self.id)
    }
}

/// Reads the node's key, or makes one.
pub fn load_or_make(data: &Path) -> anyhow::Result<Identity> {
    let path = data.join(FILE);
    let secret = match OpenOptions::new().read(true).open(&path) {
        Ok(file) => read(file, &path)?,
        Err(error) if error.kind() == ErrorKind::NotFound => make(data, &path)?,
        Err(error) => return Err(error).with_context(|| format!("cannot read the node's key {}", path.display())),
    };
    Ok(Identity::of(secret))
}

/// The key in an open file; its path is for errors.
pub(crate) fn read(file: std::fs::File, path: &Path) -> anyhow::Result<[u8; 32]> {
    let mut secret = Vec::new();
    file.take(33).read_to_end(&mut secret).with_context(|| format!("cannot read the key {}", path.display()))?;
    match <[u8; 32]>::try_from(secret) {
        Ok(secret) => Ok(secret),
        Err(other) => bail!(
            "{} has {} bytes; a key has 32: restore it from a backup, or move it away to get a new identity",
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
        let second = load_or_make(data.path()).expect("read");
        assert_eq!((second.id, second.secret), (first.id.clone(), first.secret));
        assert!(!format!("{first:?}").contains(&format!("{:?}", first.secret)), "the secret stays one");
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
