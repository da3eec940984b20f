//! Comparisons of what two nodes store. However many objects there are, and however long their keys: each is in one
//! frame, in order, and no frame is longer than the rule says. A frame is understood if its keys can be keys, and
//! otherwise not.

#![no_main]

use arbitrary::Arbitrary;
use comet_fuzz::within_bounds;
use comet_kernel::Key;
use comet_routing::check::{comparisons, understands};
use libfuzzer_sys::fuzz_target;
use serde::Serialize;

/// Items in one comparison at most, and bytes.
const ITEMS: usize = 500;
const BYTES: usize = 256 << 10;

/// Some objects, in the fuzzer's words.
#[derive(Debug, Arbitrary)]
struct Run {
    times: u8,
    /// Of each key.
    length: u16,
    byte: u8,
    version: u64,
    state: u64,
}

/// A comparison as it travels.
#[derive(Serialize)]
struct Framed {
    id: u64,
    left_ms: u32,
    body: Ask,
}

#[derive(Serialize)]
enum Ask {
    Compare { items: Vec<Item> },
}

#[derive(Serialize)]
struct Item {
    #[serde(serialize_with = "as_bytes")]
    key: Vec<u8>,
    version: u64,
    state: u64,
}

fn as_bytes<S: serde::Serializer>(key: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(key)
}

fn told(runs: &[Run]) {
    let item = |run: &Run| Item { key: vec![run.byte; run.length.into()], version: run.version, state: run.state };
    let items: Vec<_> = runs.iter().map(item).collect();
    let possible = items.len() <= ITEMS && items.iter().all(|item| Key::new(&item.key).is_ok());
    let body = rmp_serde::to_vec_named(&Framed { id: 1, left_ms: 1, body: Ask::Compare { items } });
    let body = body.expect("this has a form in MessagePack");
    assert_eq!(within_bounds(body.len(), 0, || understands(&body)), possible);
}

fuzz_target!(|runs: Vec<Run>| {
    let runs = &runs[..runs.len().min(600)];
    told(runs);
    let mut objects = Vec::new();
    for run in &runs[..runs.len().min(20)] {
        let Ok(key) = Key::new(&vec![run.byte; run.length.into()]) else { continue };
        objects.resize(objects.len() + usize::from(run.times), (key, run.version, run.state));
    }
    let mut rest = objects.iter();
    for (keys, body) in comparisons(&objects) {
        assert!(keys.len() <= ITEMS);
        assert!(keys.iter().eq(rest.by_ref().take(keys.len()).map(|(key, _, _)| key)), "each object once, in order");
        let body = body.expect("a comparison fits into a frame");
        assert!(body.len() <= BYTES, "a comparison of {} bytes", body.len());
        assert!(understands(&body), "what a node writes it does not understand");
    }
    assert_eq!(rest.next(), None, "an object is left out");
});
