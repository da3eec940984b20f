//! Frames on the admin socket, either way: what is understood is the same after it was written and read again. The
//! operator's own programs send them: lists in lists may reserve what they claim, as far as serde lets them.

#![no_main]

use comet_admin::check::{answered, asked};
use comet_fuzz::{CLAIMED, framed, within_bounds};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for read in [asked, answered] {
        let (bodies, _end) = within_bounds(bytes.len(), 2 * CLAIMED, || read(bytes));
        assert_eq!(read(&framed(&bodies)), (bodies, None), "what is written here is not understood");
    }
});
