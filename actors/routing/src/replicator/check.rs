//! Comparisons, for the fuzzer.

use std::cell::Cell;

use comet_kernel::Key;

use super::exchange::batches;
use super::plan::{Entry, Own, Plan};
use crate::wire::check::written;
use crate::wire::{Ask, Framed, Item};

/// The bodies of the frames in which a node compares these objects with a peer, given by key, version and state; none
/// for one that would be too long. With each, the keys that are in it.
pub fn comparisons(objects: &[(Key, u64, u64)]) -> Vec<(Vec<Key>, Option<Vec<u8>>)> {
    let entries: Vec<_> = objects.iter().map(|(key, version, state)| entry(key, *version, *state)).collect();
    let frame = |batch: &[&Entry]| {
        let items: Vec<_> = batch.iter().map(|entry| entry.item.clone()).collect();
        let keys = items.iter().map(|item| item.key.clone()).collect();
        (keys, written(&Framed { id: u64::MAX, left_ms: u32::MAX, body: Ask::Compare { items } }))
    };
    batches(&entries.iter().collect::<Vec<_>>()).into_iter().map(frame).collect()
}

fn entry(key: &Key, version: u64, state: u64) -> Entry {
    let plan = Plan { targets: Vec::new(), own: Own::Stays, replicas: 1, holders: 1, patient: false };
    Entry {
        item: Item { key: key.clone(), version, state },
        plan,
        kib: 1,
        confirmed: Cell::new(0),
        answered: Cell::new(0),
        stale: Cell::new(false),
    }
}
