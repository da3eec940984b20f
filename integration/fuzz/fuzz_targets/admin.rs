//! Frames on the admin socket, either way: what is understood is the same after it was written and read again.

#![no_main]

use comet_kernel::contract::admin::{Answer, Command, Frame, Hello};
use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde::de::DeserializeOwned;

fn there_and_back<T: Serialize + DeserializeOwned>(body: &[u8]) {
    let Ok(message) = rmp_serde::from_slice::<T>(body) else { return };
    let written = rmp_serde::to_vec_named(&message).expect("what was read has a form in MessagePack");
    let again: T = rmp_serde::from_slice(&written).expect("what was written can be read");
    // Bytes are compared, for a number that is none is not equal to itself.
    assert_eq!(written, rmp_serde::to_vec_named(&again).expect("as above"));
}

fuzz_target!(|body: &[u8]| {
    there_and_back::<Hello>(body);
    there_and_back::<Frame<Command>>(body);
    there_and_back::<Frame<Answer>>(body);
});
