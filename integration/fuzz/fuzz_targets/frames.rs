//! What peers send over a lane, in whatever pieces: a greeting, and then requests; and the bodies of frames on their
//! own, which may be answers too. What is understood is the same however it is cut, and after it was written and read
//! again.

#![no_main]

use comet_fuzz::{framed, within_bounds};
use comet_routing::check::{body, stream};
use libfuzzer_sys::fuzz_target;

/// Bytes before the body in a seed: how the stream is cut, the greeting and the body's length.
fn body_of(bytes: &[u8]) -> &[u8] {
    let hello = bytes.first_chunk::<4>().map_or(0, |length| u32::from_be_bytes(*length) as usize);
    bytes.get(hello.saturating_add(8)..).unwrap_or(bytes)
}

fuzz_target!(|input: &[u8]| {
    let Some((piece, bytes)) = input.split_first() else { return };
    let (whole, end) = within_bounds(bytes.len(), 0, || stream(bytes, bytes.len()));
    assert_eq!(stream(bytes, usize::from(*piece)), (whole.clone(), end), "pieces make a difference");
    assert_eq!(stream(&framed(&whole), usize::MAX), (whole, None), "what a node writes it does not understand");
    for bytes in [bytes, body_of(bytes)] {
        if let Some(written) = within_bounds(bytes.len(), 0, || body(bytes)) {
            assert_eq!(body(&written).as_ref(), Some(&written), "what a node writes it does not understand");
        }
    }
});
