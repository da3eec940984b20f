//! Splits, lies and garbage.

use super::*;
use crate::words::Words;

const KNOWN: bool = false;
const STRANGER: bool = true;

/// Every request in these bytes when they come `chunk` at a time, and the error that ends them, if one does.
fn parse(bytes: &[u8], chunk: usize, stranger: bool) -> (Vec<Vec<Vec<u8>>>, Option<ProtocolError>) {
    let (mut parser, mut buffer, mut requests) = (Parser::default(), Vec::new(), Vec::new());
    for chunk in bytes.chunks(chunk) {
        buffer.extend_from_slice(chunk);
        loop {
            match parser.advance(&mut buffer, stranger) {
                Ok(Progress::Incomplete) => break,
                Err(error) => return (requests, Some(error)),
                Ok(Progress::Complete) => {
                    let words = Words::new(&buffer, parser.spans());
                    requests.push(words.iter().map(<[u8]>::to_vec).collect());
                    let taken = parser.next();
                    buffer.drain(..taken);
                }
            }
        }
    }
    (requests, None)
}

fn error(bytes: &[u8]) -> String {
    parse(bytes, bytes.len(), KNOWN).1.map_or_else(|| "none".to_owned(), |error| error.to_string())
}

#[test]
fn requests_are_the_same_wherever_the_bytes_are_split() {
    let bytes = b"*2\r\n$3\r\nGET\r\n$3\r\na\r\n\r\nPING \"a b\"\r\n\r\n*0\r\n*-1\r\n\
                  *3\r\n$3\r\nSET\r\n$0\r\n\r\n$1\r\n\xff\r\nget  k\n";
    let (whole, end) = parse(bytes, bytes.len(), KNOWN);
    assert_eq!(end, None);
    let expected: Vec<Vec<Vec<u8>>> = vec![
        vec![b"GET".into(), b"a\r\n".into()],
        vec![b"PING".into(), b"a b".into()],
        vec![],
        vec![],
        vec![],
        vec![b"SET".into(), b"".into(), b"\xff".into()],
        vec![b"get".into(), b"k".into()],
    ];
    assert_eq!(whole, expected);
    for chunk in 1..bytes.len() {
        assert_eq!(parse(bytes, chunk, KNOWN), (expected.clone(), None), "in chunks of {chunk}");
    }
}

#[test]
fn what_is_not_the_protocol_ends_with_the_error_that_redis_gives() {
    let cases: [(&[u8], &str); 17] = [
        (b"*a\r\n", "invalid multibulk length"),
        (b"*\r\n", "invalid multibulk length"),
        (b"*1000000\r\n", "invalid multibulk length"),
        (b"*99999999999999999999\r\n", "invalid multibulk length"),
        (b"*1\r\n+OK\r\n", "expected '$', got '+'"),
        (b"*1\r\n\x1b", "expected '$', got '\\x1b'"),
        (b"*1\r\n\r", "expected '$', got '\\r'"),
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"*1\r\n$\r\n", "invalid bulk length"),
        (b"*1\r\n$1x\r\n", "invalid bulk length"),
        (b"*1\r\n$104857600\r\n", "invalid bulk length"),
        (b"*1\r\n$18446744073709551615\r\n", "invalid bulk length"),
        (b"*1\r\n$9223372036854775807\r\n", "invalid bulk length"),
        (b"*2\r\n$3\r\nGET\r\n$1200000\r\n", "invalid bulk length"),
        (b"SET k \"v\r\n", "unbalanced quotes in request"),
        (b"*1\r\n$ 1\r\n", "invalid bulk length"),
        (b"*--1\r\n", "invalid multibulk length"),
    ];
    for (bytes, text) in cases {
        assert_eq!(error(bytes), format!("ERR Protocol error: {text}"), "{}", bytes.escape_ascii());
    }
}

#[test]
fn lines_without_an_end_are_refused() {
    for (first, text) in [("a", "too big inline request"), ("*", "too big mbulk count string")] {
        assert_eq!(
            error((first.to_owned() + &"1".repeat(LINE_BYTES + 1)).as_bytes()),
            format!("ERR Protocol error: {text}")
        );
    }
    let word = "*1\r\n$".to_owned() + &"1".repeat(LINE_BYTES + 1);
    assert_eq!(error(word.as_bytes()), "ERR Protocol error: too big bulk count string");
}

#[test]
fn a_stranger_may_send_little() {
    let (words, long) = (b"*11\r\n", b"*1\r\n$16385\r\n");
    assert_eq!(parse(words, 100, STRANGER).1, Some(ProtocolError::StrangerWords));
    assert_eq!(parse(long, 100, STRANGER).1, Some(ProtocolError::StrangerLength));
    assert_eq!((parse(words, 100, KNOWN).1, parse(long, 100, KNOWN).1), (None, None));
}

#[test]
fn all_words_together_may_not_be_longer_than_a_request() {
    let word = format!("$65536\r\n{}\r\n", "x".repeat(65_536));
    let bytes = format!("*100\r\n{}", word.repeat(100));
    assert_eq!(error(bytes.as_bytes()), "ERR Protocol error: invalid bulk length");
}

#[test]
fn a_claim_reserves_nothing() {
    let mut parser = Parser::default();
    let mut buffer = format!("*{}\r\n$1000000\r\n", limits::RESP_REQUEST_WORDS).into_bytes();
    assert_eq!(parser.advance(&mut buffer, KNOWN), Ok(Progress::Incomplete));
    assert_eq!(parser.spans.capacity(), 0);
}

#[test]
fn most_words_that_a_request_may_have_are_understood() {
    let bytes = format!("*{}\r\n{}", limits::RESP_REQUEST_WORDS, "$1\r\na\r\n".repeat(limits::RESP_REQUEST_WORDS));
    let (requests, end) = parse(bytes.as_bytes(), 4_096, KNOWN);
    assert_eq!((requests.len(), requests[0].len(), end), (1, limits::RESP_REQUEST_WORDS, None));
}

#[test]
fn garbage_never_panics_and_never_reads_past_its_end() {
    // A small generator of our own: any sequence will do, as long as it is the same each time.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let alphabet = b"*$\r\n0123456789-+ab\"'\\ \x00\xff";
    for _ in 0..20_000 {
        let mut bytes = Vec::new();
        for _ in 0..24 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.push(alphabet[(state % alphabet.len() as u64) as usize]);
        }
        let whole = parse(&bytes, bytes.len(), KNOWN);
        assert_eq!(parse(&bytes, 1, KNOWN), whole, "{}", bytes.escape_ascii());
    }
}
