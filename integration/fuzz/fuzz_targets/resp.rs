//! The Redis protocol as clients send it, in whatever pieces: how it is cut must not matter.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, bool, &[u8])| {
    let (piece, stranger, bytes) = input;
    let whole = comet_gateway::check(bytes, bytes.len().max(1), stranger);
    let cut = comet_gateway::check(bytes, usize::from(piece) + 1, stranger);
    assert_eq!(whole, cut);
});
