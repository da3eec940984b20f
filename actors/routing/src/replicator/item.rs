//! How an object stands in a comparison.

use comet_kernel::{Key, Record};
use sha2::{Digest, Sha256};

use crate::wire::Item;

/// What a comparison says of a record.
pub(super) fn item(key: &Key, record: &Record) -> Item {
    Item { key: key.clone(), version: record.version, state: state(record) }
}

/// What an item takes in a frame at most, besides its key: the names of three fields, two numbers, and their heads.
const OVERHEAD: usize = 64;

/// Bytes that an item takes in a frame at most.
pub(super) fn size(item: &Item) -> usize {
    item.key.as_bytes().len() + OVERHEAD
}

/// The first eight bytes of the SHA-256 of value and state; 0 for an object without a script, whose value its version
/// stands for.
pub(super) fn state(record: &Record) -> u64 {
    let Some(active) = &record.active else { return 0 };
    let bytes = rmp_serde::to_vec(&(&record.value, &active.state)).expect("values are encoded into memory");
    let digest = Sha256::digest(bytes);
    u64::from_be_bytes(*digest.first_chunk().expect("a digest has 32 bytes"))
}

/// KiB that a record takes in a frame, roughly, and 1 at least.
pub(super) fn kib(record: &Record) -> u32 {
    let state = record.active.as_ref().map_or(0, |active| active.state.encoded_size());
    ((record.value.encoded_size() + state) / 1_024 + 1) as u32
}
