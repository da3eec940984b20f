//! The bodies of frames that peers send: greetings, requests, answers.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let _understood = comet_routing::wire::check(body);
});
