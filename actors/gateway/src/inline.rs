//! A line of words as people type them, with the quotes and escapes that Redis knows.

use crate::words::Span;

/// A quote that is not closed, or behind whose end the word goes on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unbalanced;

/// Finds the words of a line that starts where its buffer starts. A word is never longer than its spelling, so quotes
/// and escapes are undone in place and a span can tell where the word lies.
pub(crate) fn split(line: &mut [u8], spans: &mut Vec<Span>) -> Result<(), Unbalanced> {
    let mut read = 0;
    while let Some(skipped) = line[read..].iter().position(|byte| !byte.is_ascii_whitespace()) {
        read += skipped;
        let start = read;
        let mut write = start;
        while let Some(&byte) = line.get(read) {
            match byte {
                byte if byte.is_ascii_whitespace() => break,
                b'"' | b'\'' => {
                    (read, write) = unquote(line, read, write)?;
                    if line.get(read).is_some_and(|next| !next.is_ascii_whitespace()) {
                        return Err(Unbalanced);
                    }
                }
                _ => {
                    line[write] = byte;
                    (read, write) = (read + 1, write + 1);
                }
            }
        }
        spans.push((start as u32, write as u32));
    }
    Ok(())
}

/// Undoes the quotes that open at `read`; where reading and writing go on.
fn unquote(line: &mut [u8], read: usize, write: usize) -> Result<(usize, usize), Unbalanced> {
    let quote = line[read];
    let (mut read, mut write) = (read + 1, write);
    loop {
        let (byte, length) = match &line[read..] {
            [] => return Err(Unbalanced),
            [byte, ..] if *byte == quote => return Ok((read + 1, write)),
            [b'\\', b'\'', ..] if quote == b'\'' => (b'\'', 2),
            [b'\\', b'x', high, low, ..] if quote == b'"' && high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                (digit(*high) << 4 | digit(*low), 4)
            }
            [b'\\', escaped, ..] if quote == b'"' => (unescape(*escaped), 2),
            [byte, ..] => (*byte, 1),
        };
        line[write] = byte;
        (read, write) = (read + length, write + 1);
    }
}

fn unescape(letter: u8) -> u8 {
    match letter {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

fn digit(hexadecimal: u8) -> u8 {
    match hexadecimal {
        b'0'..=b'9' => hexadecimal - b'0',
        letter => letter.to_ascii_lowercase() - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Result<Vec<Vec<u8>>, Unbalanced> {
        let (mut line, mut spans) = (line.as_bytes().to_vec(), Vec::new());
        split(&mut line, &mut spans)?;
        Ok(spans.iter().map(|&(start, end)| line[start as usize..end as usize].to_vec()).collect())
    }

    #[test]
    fn words_are_parted_by_blanks_and_held_together_by_quotes() {
        assert_eq!(
            words(" set  k\t\"a b\" 'c d' "),
            Ok(vec![b"set".into(), b"k".into(), b"a b".into(), b"c d".into()])
        );
        assert_eq!(words("set k \"\""), Ok(vec![b"set".into(), b"k".into(), b"".into()]));
        assert_eq!(words("   "), Ok(Vec::new()));
    }

    #[test]
    fn escapes_are_undone_as_redis_undoes_them() {
        assert_eq!(words(r#""\x41\n\"\q\xZZ" '\'\n'"#), Ok(vec![b"A\n\"qxZZ".into(), b"'\\n".into()]));
        assert_eq!(words("a\"b c\""), Ok(vec![b"ab c".into()]));
    }

    #[test]
    fn a_quote_that_is_not_closed_or_closed_within_a_word_is_refused() {
        for line in ["\"a", "'a", "\"a\"b", "\"a\\", "'a'\"b\""] {
            assert_eq!(words(line), Err(Unbalanced), "{line}");
        }
    }
}
