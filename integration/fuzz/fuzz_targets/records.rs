//! Records and values, which peers send and the disk gives back: what is understood keeps the bounds of values, is the
//! same after it was written and read again, and is not believed, for nobody has signed it.

#![no_main]

use comet_fuzz::within_bounds;
use comet_kernel::{Key, Record, UnixMillis, Value, limits};
use comet_routing::check::arrives;
use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde::de::DeserializeOwned;

const NOW: UnixMillis = UnixMillis(1_700_000_000_000);

/// What the bytes say, if anything; panics if it is not the same after it was written and read again.
fn understood<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let it: T = within_bounds(bytes.len(), 0, || rmp_serde::from_slice(bytes).ok())?;
    let written = rmp_serde::to_vec_named(&it).expect("it has a form in MessagePack");
    let again: T = rmp_serde::from_slice(&written).expect("what was written can be read");
    // Bytes are compared, for a number that is none is not equal to itself.
    assert_eq!(written, rmp_serde::to_vec_named(&again).expect("as above"));
    Some(it)
}

fn keeps_its_bounds(value: &Value, bytes: usize) {
    assert!(value.depth() <= limits::VALUE_DEPTH && value.items() <= limits::VALUE_ITEMS);
    let written = rmp_serde::to_vec(value).expect("a value has a form in MessagePack").len();
    assert!(written <= value.encoded_size(), "a value of {written} bytes is taken for {}", value.encoded_size());
    assert!(value.items() <= bytes, "{} items out of {bytes} bytes", value.items());
}

fuzz_target!(|bytes: &[u8]| {
    if let Some(value) = understood::<Value>(bytes) {
        keeps_its_bounds(&value, bytes.len());
    }
    let Some(record) = understood::<Record>(bytes) else { return };
    keeps_its_bounds(&record.value, bytes.len());
    record.active.iter().for_each(|active| keeps_its_bounds(&active.state, bytes.len()));
    let due = record.dues().next();
    assert!(record.end().is_none_or(|end| due.is_some_and(|due| due <= end)));
    assert!(!record.is_live(NOW) || record.removed().is_none());
    let key = Key::new(b"k").expect("it is short");
    assert!(arrives(&key, &record, NOW).is_err(), "forged: {record:?}");
});
