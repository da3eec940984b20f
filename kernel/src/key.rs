//! Keys: the names of objects.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::limits;

/// A key: any byte string of 1 to [`limits::KEY_BYTES`] bytes. A copy costs a counter.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Arc<[u8]>);

/// Why bytes are no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The key has no bytes.
    #[error("the key is empty; a key has 1 to {} bytes", limits::KEY_BYTES)]
    Empty,
    /// The key has this many bytes, which is too many.
    #[error("the key has {0} bytes; a key has 1 to {max} bytes", max = limits::KEY_BYTES)]
    TooLong(usize),
}

impl Key {
    /// The key with these bytes.
    pub fn new(bytes: &[u8]) -> Result<Self, KeyError> {
        match bytes.len() {
            0 => Err(KeyError::Empty),
            1..=limits::KEY_BYTES => Ok(Key(bytes.into())),
            length => Err(KeyError::TooLong(length)),
        }
    }

    /// The key's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The key's place in the network: SHA-256 of its bytes.
    pub fn place(&self) -> [u8; 32] {
        place(&self.0)
    }

    /// The key's `n`-th child as scripts know it: SHA-256 applied `n` times; the key itself for 0.
    pub fn child(&self, n: usize) -> Key {
        let mut bytes = self.0.clone();
        for _ in 0..n {
            bytes = Sha256::digest(&bytes).as_slice().into();
        }
        Key(bytes)
    }
}

/// The place of a key with these bytes.
pub fn place(key: &[u8]) -> [u8; 32] {
    Sha256::digest(key).into()
}

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

/// Prints readable keys as they are and escapes every byte that could act on a terminal.
impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.escape_ascii(), formatter)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Key({self})")
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = serde_bytes::ByteBuf::deserialize(deserializer)?;
        Key::new(&bytes).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_1_to_1024_bytes() {
        assert_eq!(Key::new(b""), Err(KeyError::Empty));
        assert!(Key::new(&[0; limits::KEY_BYTES]).is_ok());
        assert_eq!(Key::new(&[0; limits::KEY_BYTES + 1]), Err(KeyError::TooLong(limits::KEY_BYTES + 1)));
    }

    #[test]
    fn a_printed_key_cannot_act_on_a_terminal() {
        let key = Key::new(b"a\x1b[2J\n").expect("short");
        assert_eq!(key.to_string(), "a\\x1b[2J\\n");
    }

    #[test]
    fn children_chain() {
        let key = Key::new(b"k").expect("short");
        assert_eq!(key.child(0), key);
        assert_eq!(key.child(2), key.child(1).child(1));
    }
}
