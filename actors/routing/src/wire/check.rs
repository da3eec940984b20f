//! Bodies of frames, for the fuzzer.

use bytes::BytesMut;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

use super::codec::{self, HEAD};
use super::{Answer, Ask, Framed, Hello};

/// What a node understands of the body of a frame, a greeting, a request or an answer, as it would write that itself;
/// none if it understands nothing, or would write more than a frame takes.
///
/// A peer that asks too often is told so by the id of a request that is not read any further: panics if that is not the
/// id of the request as it is understood.
pub fn body(bytes: &[u8]) -> Option<Vec<u8>> {
    again::<Hello>(bytes).or_else(|| {
        let id = codec::decode::<Framed<Ask>>(bytes).ok().map(|ask| ask.id);
        let skimmed = codec::decode::<Framed<IgnoredAny>>(bytes).ok().map(|any| any.id);
        assert!(id.is_none() || id == skimmed, "the request {id:?} is refused as {skimmed:?}");
        again::<Framed<Ask>>(bytes).or_else(|| again::<Framed<Answer>>(bytes))
    })
}

/// Whether a node understands the body of a frame.
pub fn understands(bytes: &[u8]) -> bool {
    body(bytes).is_some()
}

/// What is understood, as this node would write it.
pub(crate) fn again<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Option<Vec<u8>> {
    codec::decode::<T>(bytes).ok().and_then(|message| written(&message))
}

/// The body of the frame that a message makes.
pub(crate) fn written<T: Serialize + for<'de> Deserialize<'de>>(message: &T) -> Option<Vec<u8>> {
    let mut frame = BytesMut::new();
    codec::encode(message, &mut frame).ok()?;
    Some(frame[HEAD..].to_vec())
}
