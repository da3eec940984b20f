//! Comparisons, as one node sends them to another: whatever keys and versions they name, those with keys that can be are
//! understood, and no others.

#![no_main]

use arbitrary::Arbitrary;
use comet_kernel::Key;
use libfuzzer_sys::fuzz_target;
use serde::Serialize;

/// What is compared, in the fuzzer's words.
#[derive(Debug, Arbitrary)]
struct Drawn {
    id: u64,
    left_ms: u32,
    items: Vec<(Vec<u8>, u64, u64)>,
}

/// The same as it travels.
#[derive(Serialize)]
struct Framed<'a> {
    id: u64,
    left_ms: u32,
    body: Ask<'a>,
}

#[derive(Serialize)]
enum Ask<'a> {
    Compare { items: Vec<Item<'a>> },
}

#[derive(Serialize)]
struct Item<'a> {
    #[serde(with = "serde_bytes")]
    key: &'a [u8],
    version: u64,
    state: u64,
}

fuzz_target!(|drawn: Drawn| {
    let possible = drawn.items.iter().all(|(key, _, _)| Key::new(key).is_ok());
    let items = drawn.items.iter().map(|(key, version, state)| Item { key, version: *version, state: *state });
    let framed = Framed { id: drawn.id, left_ms: drawn.left_ms, body: Ask::Compare { items: items.collect() } };
    let body = rmp_serde::to_vec_named(&framed).expect("this has a form in MessagePack");
    assert_eq!(comet_routing::wire::check(&body), possible);
});
