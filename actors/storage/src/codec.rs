//! How values are written: a byte with the format's version, a checksum over the rest, and MessagePack.
//!
//! Maps carry names, so that a later version may add fields and an earlier one ignores them. The database checks its own
//! blocks as well; the checksum here also covers what happens between our memory and the block.

use std::sync::Arc;

use comet_kernel::contract::storage::NamedVersion;
use comet_kernel::{Record, ScriptHash};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The version that is written. A reader refuses others by name, so that a newer node's data is not taken for damage.
const VERSION: u8 = 1;
/// Version and checksum.
const HEADER: usize = 5;

/// Why bytes could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    /// They end within the header.
    #[error("it has {0} bytes, fewer than a header")]
    Short(usize),
    /// Another version of Comet wrote them, or the first byte is damaged.
    #[error("it has format {0}, and this version reads format {VERSION}")]
    Version(u8),
    /// They are not what was written.
    #[error("its checksum does not match")]
    Checksum,
    /// They are what was written but do not hold what they should.
    #[error("it does not decode: {0}")]
    Decode(String),
    /// A key or a source is not UTF-8 text.
    #[error("it is not text")]
    Text,
    /// A source does not have the hash under which it stands.
    #[error("it does not have its hash")]
    Hash,
}

/// Appends `value` to `bytes`.
pub(crate) fn encode<T: Serialize>(value: &T, bytes: &mut Vec<u8>) {
    let start = bytes.len();
    bytes.extend_from_slice(&[VERSION, 0, 0, 0, 0]);
    let mut serializer = rmp_serde::Serializer::new(&mut *bytes).with_struct_map();
    value.serialize(&mut serializer).expect("writing to memory does not fail, and every stored type has a form");
    let checksum = crc32fast::hash(&bytes[start + HEADER..]);
    bytes[start + 1..start + HEADER].copy_from_slice(&checksum.to_le_bytes());
}

/// The record that was written.
pub(crate) fn record(bytes: &[u8]) -> Result<Record, Unreadable> {
    decode(bytes)
}

/// The versions of a name that were written under it.
pub(crate) fn versions(name: &[u8], bytes: &[u8]) -> Result<(Arc<str>, Vec<NamedVersion>), Unreadable> {
    let name = std::str::from_utf8(name).map_err(|_| Unreadable::Text)?;
    Ok((name.into(), decode(bytes)?))
}

/// The source of a script. Its key is its checksum.
pub(crate) fn source(hash: &[u8], bytes: &[u8]) -> Result<Arc<str>, Unreadable> {
    let source = std::str::from_utf8(bytes).map_err(|_| Unreadable::Text)?;
    if ScriptHash::of(source).as_bytes() != hash {
        return Err(Unreadable::Hash);
    }
    Ok(source.into())
}

/// What was written.
fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Unreadable> {
    let Some((header, body)) = bytes.split_first_chunk::<HEADER>() else { return Err(Unreadable::Short(bytes.len())) };
    let [version, checksum @ ..] = *header;
    if version != VERSION {
        return Err(Unreadable::Version(version));
    }
    if crc32fast::hash(body) != u32::from_le_bytes(checksum) {
        return Err(Unreadable::Checksum);
    }
    rmp_serde::from_slice(body).map_err(|error| Unreadable::Decode(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use comet_kernel::{UnixMillis, Value};

    fn encoded<T: Serialize>(value: &T) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(value, &mut bytes);
        bytes
    }

    #[test]
    fn a_record_comes_back_as_it_was_written() {
        let mut record = Record::plain(7, Value::Array(vec![Value::Nil, Value::Float(0.5), Value::from("text")]));
        record.expires = Some(UnixMillis(99));
        assert_eq!(decode::<Record>(&encoded(&record)), Ok(record));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let bytes = encoded(&Record::plain(7, Value::from("some text")));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode::<Record>(&flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_record_cut_anywhere_is_noticed() {
        let bytes = encoded(&Record::plain(7, Value::from("some text")));
        for length in 0..bytes.len() {
            assert!(decode::<Record>(&bytes[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn fields_of_a_later_version_are_ignored() {
        #[derive(Serialize)]
        struct Later {
            version: u64,
            mood: &'static str,
            value: Value,
        }
        let later = Later { version: 7, mood: "sunny", value: Value::Int(1) };
        assert_eq!(decode::<Record>(&encoded(&later)), Ok(Record::plain(7, Value::Int(1))));
    }
}
