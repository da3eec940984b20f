//! Publishers' signatures of scripts.
//!
//! A signed script ends in a line `// comet-signature: PUBLISHER SIGNATURE`: the publisher's public key, written like a
//! peer id, and 128 hexadecimal digits of an Ed25519 signature over every byte before that line. To the language it is a
//! comment, and the script's hash covers it.

use std::sync::Arc;

use comet_kernel::identity::NodeId;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use rhai::Position;

use super::blob;
use super::failure::CompileError;

/// What a signature line opens with.
const MARK: &str = "// comet-signature:";

/// What the last line of a source says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signed<'a> {
    /// It is no signature.
    Not,
    /// A signature that this publisher made over the source above it.
    By(&'a str),
    /// A signature in the name of this publisher, who did not make it over the source above it.
    Wrong(&'a str),
    /// It opens like a signature and is none.
    Malformed,
}

/// The source without its signature line, and that line if there is one.
pub fn split(source: &str) -> (&str, Option<&str>) {
    let text = source.trim_end_matches(['\n', '\r']);
    let start = text.rfind('\n').map_or(0, |end| end + 1);
    let line = &text[start..];
    if line.starts_with(MARK) { (&source[..start], Some(line)) } else { (source, None) }
}

/// Whose signature a source carries.
pub fn read(source: &str) -> Signed<'_> {
    let (signed, Some(line)) = split(source) else { return Signed::Not };
    let mut words = line[MARK.len()..].split_whitespace();
    let (Some(publisher), Some(digits), None) = (words.next(), words.next(), words.next()) else {
        return Signed::Malformed;
    };
    let signature = blob::unhex(digits).and_then(|bytes| <[u8; 64]>::try_from(bytes).ok());
    let (Some(public), Some(signature)) = (NodeId::from_text(publisher).public_key(), signature) else {
        return Signed::Malformed;
    };
    let signature = Signature::from_bytes(&signature);
    let right = VerifyingKey::from_bytes(&public)
        .is_ok_and(|public| public.verify_strict(signed.as_bytes(), &signature).is_ok());
    if right { Signed::By(publisher) } else { Signed::Wrong(publisher) }
}

/// The source with this publisher's signature line in the place of any that it has.
pub fn sign(source: &str, key: &SigningKey) -> String {
    let (unsigned, _) = split(source);
    let end = if unsigned.is_empty() || unsigned.ends_with('\n') { "" } else { "\n" };
    let signed = format!("{unsigned}{end}");
    let signature = blob::hex(&key.sign(signed.as_bytes()).to_bytes());
    let publisher = NodeId::from_public_key(key.verifying_key().as_bytes());
    format!("{signed}{MARK} {publisher} {signature}\n")
}

/// The publisher who signed a source, if it is one of those that are trusted. Whoever else has signed it, it counts as
/// unsigned; a wrong signature in a trusted name is an error.
pub(super) fn publisher(source: &str, trusted: &[Arc<str>]) -> Result<Option<Arc<str>>, CompileError> {
    let find = |name: &str| trusted.iter().find(|other| ***other == *name).cloned();
    let error = |message: String| {
        let line = source.trim_end_matches(['\n', '\r']).split('\n').count();
        Err(CompileError::at(Position::new(u16::try_from(line).unwrap_or(u16::MAX), 1), message))
    };
    match read(source) {
        Signed::Not => Ok(None),
        Signed::By(name) => Ok(find(name)),
        Signed::Wrong(name) if find(name).is_none() => Ok(None),
        Signed::Wrong(name) => error(format!(
            "the signature does not fit: the script was changed after {name} signed it; sign it again with `comet script \
             sign`, or remove this line"
        )),
        Signed::Malformed => error(format!(
            "a signature line reads `{MARK} PUBLISHER SIGNATURE`, as `comet script sign` writes it; sign the script again, \
             or remove this line"
        )),
    }
}
