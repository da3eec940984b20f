//! The Redis protocol as clients send it, in whatever pieces: how it is cut must not matter, and the same requests as
//! Redis's clients write them are the same. Words are read as JSON, and as patterns of keys, too.

#![no_main]

use comet_fuzz::within_bounds;
use comet_gateway::{check, check_json};
use comet_kernel::Pattern;
use libfuzzer_sys::fuzz_target;

/// What a client that has not logged in may send: so many words of so many bytes.
const STRANGER: (usize, usize) = (10, 16 << 10);

/// Requests as Redis's clients write them. Those without words are left out, for no client sends them.
fn written(requests: &[Vec<Vec<u8>>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for words in requests.iter().filter(|words| !words.is_empty()) {
        bytes.extend(format!("*{}\r\n", words.len()).into_bytes());
        for word in words {
            bytes.extend(format!("${}\r\n", word.len()).into_bytes());
            bytes.extend_from_slice(word);
            bytes.extend_from_slice(b"\r\n");
        }
    }
    bytes
}

fn json(word: &[u8]) {
    if let Some(text) = within_bounds(word.len(), 0, || check_json(word)) {
        assert_eq!(check_json(text.as_bytes()).as_ref(), Some(&text), "what is written as JSON is not read so");
    }
}

fn patterns(words: &[Vec<u8>]) {
    let [pattern, key, ..] = words else { return };
    let Some(matcher) = Pattern::new(pattern) else { return };
    let matches = matcher.matches(key);
    assert!(!matches || pattern.contains(&b'*') || key.len() <= pattern.len(), "{pattern:?} is taken for {key:?}");
    let literal: Vec<u8> = key.iter().flat_map(|byte| [b'\\', *byte]).collect();
    assert!(Pattern::new(&literal).is_none_or(|it| it.matches(key)), "{key:?} is not taken for itself");
}

fuzz_target!(|input: (u8, bool, &[u8])| {
    let (piece, stranger, bytes) = input;
    let (mut requests, end) = within_bounds(bytes.len(), 0, || check(bytes, bytes.len().max(1), stranger));
    let cut = check(bytes, usize::from(piece) + 1, stranger);
    assert_eq!((&requests, &end), (&cut.0, &cut.1), "pieces make a difference");
    requests.retain(|words| !words.is_empty());
    let most = |words: &Vec<Vec<u8>>| words.len() <= STRANGER.0 && words.iter().all(|word| word.len() <= STRANGER.1);
    let stranger = stranger && requests.iter().all(most);
    assert_eq!(check(&written(&requests), usize::MAX, stranger), (requests.clone(), None), "not what was written");
    json(bytes);
    for words in requests {
        words.iter().for_each(|word| json(word));
        patterns(&words);
    }
});
