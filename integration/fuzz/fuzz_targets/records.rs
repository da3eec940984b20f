//! Records and values, which peers send and the disk gives back: what is understood is the same after it was written and
//! read again, and what is said about it costs no panic.

#![no_main]

use comet_kernel::{Record, UnixMillis, Value};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(value) = rmp_serde::from_slice::<Value>(bytes) {
        let written = rmp_serde::to_vec_named(&value).expect("a value has a form in MessagePack");
        let again: Value = rmp_serde::from_slice(&written).expect("what was written can be read");
        assert_eq!(written, rmp_serde::to_vec_named(&again).expect("as above"));
    }
    if let Ok(record) = rmp_serde::from_slice::<Record>(bytes) {
        let written = rmp_serde::to_vec_named(&record).expect("a record has a form in MessagePack");
        let again: Record = rmp_serde::from_slice(&written).expect("what was written can be read");
        assert_eq!(written, rmp_serde::to_vec_named(&again).expect("as above"));
        let now = UnixMillis(0);
        let _answers = (record.is_live(now), record.dues().next(), record.removed());
    }
});
