//! Patterns of keys as Redis writes them: `*` stands for any bytes, `?` for any one byte, `[a-z]` for one byte of a
//! class, `[^a]` for one outside it, `\` takes the next byte as it is, and everything else stands for itself.
//!
//! The pattern runs as an automaton whose states are the bits of a few words: a byte of the key costs the same few
//! operations whatever the pattern, so that no pattern can make a list slow (CVE-2024-31228 in Redis, whose matcher
//! recursed on each `*`).

use std::fmt;

use crate::limits::PATTERN_BYTES;

/// One bit for each state: one before each place of the pattern, and one behind the last.
const WORDS: usize = PATTERN_BYTES / 64 + 1;

type States = [u64; WORDS];

/// A pattern, ready to match.
pub struct Pattern {
    /// For each byte of a key, the states that it leads on from.
    steps: Box<[States; 256]>,
    /// The states that any byte leaves as they are: those at a `*`.
    stays: States,
    /// The state behind the last place of the pattern.
    end: usize,
}

/// What one place of a pattern takes.
enum Place<'a> {
    /// Any bytes.
    Star,
    Any,
    Byte(u8),
    Class {
        items: &'a [u8],
        negated: bool,
    },
}

impl Pattern {
    /// The pattern that this text writes; none if it is longer than [`PATTERN_BYTES`].
    pub fn new(text: &[u8]) -> Option<Self> {
        if text.len() > PATTERN_BYTES {
            return None;
        }
        let mut pattern = Pattern { steps: Box::new([[0; WORDS]; 256]), stays: [0; WORDS], end: 0 };
        let mut rest = text;
        while let Some((length, place)) = first(rest) {
            pattern.add(&place);
            rest = &rest[length..];
        }
        Some(pattern)
    }

    fn add(&mut self, place: &Place<'_>) {
        let (word, bit) = state(self.end);
        match place {
            Place::Star => {
                self.stays[word] |= bit;
                return;
            }
            Place::Any => self.steps.iter_mut().for_each(|states| states[word] |= bit),
            Place::Byte(byte) => self.steps[usize::from(*byte)][word] |= bit,
            Place::Class { items, negated } => {
                for byte in (0..=u8::MAX).filter(|byte| class_holds(items, *byte) != *negated) {
                    self.steps[usize::from(byte)][word] |= bit;
                }
            }
        }
        self.end += 1;
    }

    /// Whether the pattern matches all of the key.
    pub fn matches(&self, key: &[u8]) -> bool {
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
        let (word, bit) = state(self.end);
        states[word] & bit != 0
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Pattern({} places)", self.end)
    }
}

fn state(number: usize) -> (usize, u64) {
    (number / 64, 1 << (number % 64))
}

/// The first place of a pattern and its length; none at the end.
fn first(pattern: &[u8]) -> Option<(usize, Place<'_>)> {
    Some(match pattern {
        [] => return None,
        [b'*', ..] => (1, Place::Star),
        [b'?', ..] => (1, Place::Any),
        [b'\\', byte, ..] => (2, Place::Byte(*byte)),
        [b'[', rest @ ..] => {
            let negated = rest.first() == Some(&b'^');
            let start = usize::from(negated);
            let mut end = start;
            while end < rest.len() && rest[end] != b']' {
                end += if rest[end] == b'\\' { 2 } else { 1 };
            }
            let end = end.min(rest.len());
            // As in Redis, a class that is not closed ends with the pattern.
            let length = (end + 2).min(pattern.len());
            (length, Place::Class { items: &rest[start..end], negated })
        }
        [byte, ..] => (1, Place::Byte(*byte)),
    })
}

fn class_holds(mut items: &[u8], byte: u8) -> bool {
    loop {
        items = match items {
            [] => return false,
            [b'\\', item, ..] if *item == byte => return true,
            [b'\\', _, rest @ ..] => rest,
            [first, b'-', last, rest @ ..] => {
                if (*first.min(last)..=*first.max(last)).contains(&byte) {
                    return true;
                }
                rest
            }
            [item, ..] if *item == byte => return true,
            [_, rest @ ..] => rest,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, key: &str) -> bool {
        Pattern::new(pattern.as_bytes()).expect("short").matches(key.as_bytes())
    }

    #[test]
    fn patterns_mean_what_they_mean_in_redis() {
        let yes = [
            ("*", ""),
            ("*", "abc"),
            ("user:*", "user:"),
            ("*:7", "user:7"),
            ("a*c", "abbc"),
            ("a*b*c", "aXbYbc"),
            ("a?c", "abc"),
            ("h[ae]llo", "hallo"),
            ("h[^e]llo", "hallo"),
            ("h[a-b]llo", "hbllo"),
            ("h[b-a]llo", "hbllo"),
            ("\\*", "*"),
            ("[\\]]", "]"),
            ("a**b", "ab"),
            ("*a*b*", "xxaxxbxx"),
            ("[a", "a"),
            ("", ""),
        ];
        for (pattern, text) in yes {
            assert!(matches(pattern, text), "{pattern} matches {text}");
        }
        let no = [
            ("a*c", "abb"),
            ("a?c", "ac"),
            ("?", "xy"),
            ("user", "user:"),
            ("**?", ""),
            ("h[^e]llo", "hello"),
            ("h[a-b]llo", "hcllo"),
            ("\\*", "a"),
            ("[]", "]"),
            ("", "a"),
        ];
        for (pattern, text) in no {
            assert!(!matches(pattern, text), "{pattern} does not match {text}");
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

    #[test]
    fn hostile_patterns_end_at_once() {
        assert!(!matches(&"*a".repeat(128), &("a".repeat(1_023) + "b")));
        for pattern in ["[", "[^", "[\\", "\\", "[a-", "*[", "[]"] {
            matches(pattern, "text");
        }
    }
}
