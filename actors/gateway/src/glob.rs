//! Patterns of listing commands: `*`, `?`, `[a-z]`, `[^a]` and `\` as Redis has them.
//!
//! Not recursive, and linear for each `*`: only the last `*` is ever tried again, because an earlier one that took more
//! could not make anything match that the last one cannot. So a hostile pattern costs at most its length times the
//! text's, both of which are bounded.

/// Whether the whole text matches the pattern.
pub(crate) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on if what follows the last star does not match: behind the star, one byte further in the text.
    let mut again = None;
    loop {
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            again = Some((p, t));
            continue;
        }
        match (text.get(t), one(&pattern[p..])) {
            (None, None) => return true,
            (None, Some(_)) => return false,
            (Some(byte), Some((length, set))) if set.holds(*byte) => (p, t) = (p + length, t + 1),
            _ => match again {
                Some((star, start)) => {
                    (p, t) = (star, start + 1);
                    again = Some((star, t));
                }
                None => return false,
            },
        }
    }
}

/// What one place of a pattern takes.
enum Set<'a> {
    Any,
    Byte(u8),
    Class { items: &'a [u8], negated: bool },
}

/// The place at the start of a pattern without a star there, and its length; none at the end.
fn one(pattern: &[u8]) -> Option<(usize, Set<'_>)> {
    match pattern {
        [] => None,
        [b'?', ..] => Some((1, Set::Any)),
        [b'\\', byte, ..] => Some((2, Set::Byte(*byte))),
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
            Some((length, Set::Class { items: &rest[start..end], negated }))
        }
        [byte, ..] => Some((1, Set::Byte(*byte))),
    }
}

impl Set<'_> {
    fn holds(&self, byte: u8) -> bool {
        match self {
            Set::Any => true,
            Set::Byte(expected) => *expected == byte,
            Set::Class { items, negated } => class_holds(items, byte) != *negated,
        }
    }
}

fn class_holds(mut items: &[u8], byte: u8) -> bool {
    loop {
        items = match items {
            [] => return false,
            [b'\\', item, rest @ ..] => {
                if *item == byte {
                    return true;
                }
                rest
            }
            [first, b'-', last, rest @ ..] => {
                if (*first.min(last)..=*first.max(last)).contains(&byte) {
                    return true;
                }
                rest
            }
            [item, rest @ ..] => {
                if *item == byte {
                    return true;
                }
                rest
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_in_redis() {
        let yes = [
            ("*", ""),
            ("*", "abc"),
            ("a*c", "abbc"),
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
            assert!(matches(pattern.as_bytes(), text.as_bytes()), "{pattern} matches {text}");
        }
        let no =
            [("a*c", "abb"), ("a?c", "ac"), ("h[^e]llo", "hello"), ("h[a-b]llo", "hcllo"), ("\\*", "a"), ("", "a")];
        for (pattern, text) in no {
            assert!(!matches(pattern.as_bytes(), text.as_bytes()), "{pattern} does not match {text}");
        }
    }

    #[test]
    fn a_hostile_pattern_of_stars_ends_at_once() {
        let (pattern, text) = ("*a".repeat(128), "a".repeat(1_023) + "b");
        assert!(!matches(pattern.as_bytes(), text.as_bytes()));
        for pattern in ["[", "[^", "[\\", "\\", "[a-", "*[", "[]"] {
            matches(pattern.as_bytes(), b"text");
        }
    }
}
