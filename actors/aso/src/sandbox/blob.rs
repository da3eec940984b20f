//! Bytes as scripts see them: an opaque, shared, immutable `blob`.
//!
//! The engine has a blob type of its own, which it copies at every use and counts byte by byte. Ours costs a counter
//! to copy and can be passed through a handler, stored, replied, indexed and compared, but not be built byte by byte.

use std::sync::Arc;

/// Bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob(pub Arc<[u8]>);

impl Blob {
    /// Lower-case hexadecimal digits, two for each byte.
    pub fn hex(&self) -> String {
        hex(&self.0)
    }
}

/// Lower-case hexadecimal digits, two for each byte.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// The bytes that hexadecimal digits of either case stand for, two for each byte.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    text.as_bytes().chunks_exact(2).map(|pair| Some((digit(pair[0])? * 16 + digit(pair[1])?) as u8)).collect()
}
