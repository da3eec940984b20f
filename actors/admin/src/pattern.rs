//! Patterns of keys: `*` stands for any bytes, `?` for any one byte, everything else for itself.
//!
//! The pattern runs as an automaton whose states are the bits of a few words: a byte of the key costs the same few
//! operations whatever the pattern, so that no pattern can make a list slow (CVE-2024-31228 in Redis, whose matcher
//! recursed on each `*`).

use comet_kernel::limits::PATTERN_BYTES;

/// One bit for each state: one before each byte of the pattern, and one behind the last.
const WORDS: usize = PATTERN_BYTES / 64 + 1;

type States = [u64; WORDS];

/// A pattern, ready to match.
pub(crate) struct Pattern {
    /// For each byte of a key, the states that it leads on from.
    steps: Box<[States; 256]>,
    /// The states that any byte leaves as they are: those at a `*`.
    stays: States,
    /// The state behind the last byte of the pattern.
    end: usize,
}

impl Pattern {
    /// The pattern that this text writes; none if it is longer than patterns may be.
    pub(crate) fn new(text: &[u8]) -> Option<Self> {
        if text.len() > PATTERN_BYTES {
            return None;
        }
        let mut pattern = Pattern { steps: Box::new([[0; WORDS]; 256]), stays: [0; WORDS], end: 0 };
        for byte in text {
            let (word, bit) = place(pattern.end);
            match byte {
                b'*' => pattern.stays[word] |= bit,
                b'?' => pattern.steps.iter_mut().for_each(|states| states[word] |= bit),
                byte => pattern.steps[usize::from(*byte)][word] |= bit,
            }
            pattern.end += usize::from(*byte != b'*');
        }
        Some(pattern)
    }

    /// Whether the pattern matches all of the key.
    pub(crate) fn matches(&self, key: &[u8]) -> bool {
        let mut states = [0; WORDS];
        states[0] = 1;
        for byte in key {
            let step = &self.steps[usize::from(*byte)];
            let mut carried = 0;
            for word in 0..WORDS {
                let moved = states[word] & step[word];
                let stayed = states[word] & self.stays[word];
                states[word] = (moved << 1) | carried | stayed;
                carried = moved >> 63;
            }
        }
        let (word, bit) = place(self.end);
        states[word] & bit != 0
    }
}

fn place(state: usize) -> (usize, u64) {
    (state / 64, 1 << (state % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, key: &str) -> bool {
        Pattern::new(pattern.as_bytes()).expect("short").matches(key.as_bytes())
    }

    #[test]
    fn a_star_stands_for_any_bytes_and_a_question_mark_for_one() {
        for (pattern, key) in
            [("*", "x"), ("user:*", "user:"), ("*:7", "user:7"), ("u?er", "user"), ("a*b*c", "aXbYbc")]
        {
            assert!(matches(pattern, key), "{pattern} {key}");
        }
        for (pattern, key) in [("", "x"), ("?", "xy"), ("user", "user:"), ("a*b", "ab:"), ("**?", "")] {
            assert!(!matches(pattern, key), "{pattern} {key}");
        }
    }

    #[test]
    fn it_agrees_with_the_definition_on_all_short_patterns_and_keys() {
        fn by_definition(pattern: &[u8], key: &[u8]) -> bool {
            match (pattern.first(), key.first()) {
                (None, key) => key.is_none(),
                (Some(b'*'), _) => (0..=key.len()).any(|skipped| by_definition(&pattern[1..], &key[skipped..])),
                (Some(b'?'), Some(_)) => by_definition(&pattern[1..], &key[1..]),
                (Some(byte), Some(other)) => byte == other && by_definition(&pattern[1..], &key[1..]),
                (Some(_), None) => false,
            }
        }
        let words = |letters: &[u8]| {
            let mut words = vec![Vec::new()];
            for from in 0.. {
                if words[from].len() == 5 {
                    return words;
                }
                words.extend(letters.iter().map(|letter| [&words[from][..], &[*letter]].concat()).collect::<Vec<_>>());
            }
            unreachable!("the words grow")
        };
        for text in words(b"ab*?") {
            let pattern = Pattern::new(&text).expect("short");
            for key in words(b"ab") {
                assert_eq!(pattern.matches(&key), by_definition(&text, &key), "{text:?} {key:?}");
            }
        }
    }

    #[test]
    fn the_longest_pattern_is_held_to_its_last_byte() {
        let text = "x".repeat(PATTERN_BYTES);
        assert!(matches(&text, &text));
        assert!(!matches(&text, &text[1..]));
        assert!(matches(&"*?".repeat(PATTERN_BYTES / 2), &"y".repeat(1_000)));
        assert!(Pattern::new(&[b'*'; PATTERN_BYTES + 1]).is_none());
    }
}
