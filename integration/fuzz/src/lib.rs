//! What the targets share: that bytes take no more memory than they may, and that what was understood is understood
//! again.

use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// What a list reserves for the length that it claims: serde goes no farther than a mebibyte.
pub const CLAIMED: usize = 1 << 20;
/// Bytes that any input may take: buffers, tables that are made once, and the text of an error.
const FIXED: usize = 256 << 10;
/// Bytes of memory for each byte of an input. The worst that there is are maps of one field in each other: two bytes
/// each, and the first field takes a leaf of 544 bytes.
const FACTOR: usize = 400;

/// Does something with bytes of a stranger, and panics if it takes more memory than so many bytes may ever take. `more`
/// is allowed besides.
pub fn within_bounds<T>(bytes: usize, more: usize, work: impl FnOnce() -> T) -> T {
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    let done = work();
    let taken = MEMORY.peak_usage().saturating_sub(before);
    assert!(taken <= FIXED + more + FACTOR * bytes, "{bytes} bytes of input took {taken} bytes of memory");
    done
}

/// Frames with their lengths in front.
pub fn framed(bodies: &[Vec<u8>]) -> Vec<u8> {
    bodies.iter().flat_map(|body| [&(body.len() as u32).to_be_bytes()[..], body].concat()).collect()
}
