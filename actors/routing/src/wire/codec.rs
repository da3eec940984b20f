//! Frames: how messages become bytes on a lane, and bytes messages.
//!
//! Every byte read here was written by a peer, which may be anyone. So a length is checked before anything is reserved
//! for it, claimed numbers of items reserve nothing (serde sees to that), nesting is bounded before it can cost a stack,
//! and a frame with anything behind its message is malformed.

use bytes::{BufMut, BytesMut};
use comet_kernel::limits;
use rmp_serde::{Deserializer, Serializer};
use serde::{Deserialize, Serialize};

/// Bytes of the length in front of each frame.
pub(crate) const HEAD: usize = 4;

/// How deeply a frame may nest: the value of an object, and around it the record, the request and the frame.
const DEPTH: usize = limits::VALUE_DEPTH + 16;

/// Why bytes are no frame, or a message does not become one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    /// The frame is longer than it may be. Nothing was reserved for it.
    #[error("a frame of {size} bytes; at most {limit} are allowed")]
    TooLong { size: usize, limit: usize },
    /// The bytes are not what a node of this version says.
    #[error("a malformed frame of {size} bytes: {reason}")]
    Malformed { size: usize, reason: String },
}

/// Appends a message as one frame. If it is too long, `out` is as it was before.
pub(crate) fn encode<T: Serialize>(message: &T, out: &mut BytesMut) -> Result<(), FrameError> {
    let start = out.len();
    out.put_u32(0);
    message
        .serialize(&mut Serializer::new((&mut *out).writer()).with_struct_map())
        .expect("everything that nodes say has a form in MessagePack, and memory takes every write");
    let size = out.len() - start - HEAD;
    match u32::try_from(size) {
        Ok(length) if size <= limits::PEER_FRAME_BYTES => {
            out[start..start + HEAD].copy_from_slice(&length.to_be_bytes());
            Ok(())
        }
        _ => {
            out.truncate(start);
            Err(FrameError::TooLong { size, limit: limits::PEER_FRAME_BYTES })
        }
    }
}

/// Reads the body of one frame.
pub(crate) fn decode<'de, T: Deserialize<'de>>(body: &'de [u8]) -> Result<T, FrameError> {
    let malformed = |reason| FrameError::Malformed { size: body.len(), reason };
    let mut decoder = Deserializer::from_read_ref(body);
    decoder.set_max_depth(DEPTH);
    let message = T::deserialize(&mut decoder).map_err(|error| malformed(error.to_string()))?;
    // The decoder does not tell how far it came. A boolean takes one marker and looks at nothing behind it, so that it lacks
    // a marker at the end of the bytes and nowhere else.
    match bool::deserialize(&mut decoder) {
        Err(rmp_serde::decode::Error::InvalidMarkerRead(_)) => Ok(message),
        Ok(_) | Err(_) => Err(malformed("more bytes follow its message".to_owned())),
    }
}

/// The body of the frame that `bytes` begin with, once all of it is there.
pub(crate) fn body(bytes: &[u8], limit: usize) -> Result<Option<&[u8]>, FrameError> {
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() else { return Ok(None) };
    let size = u32::from_be_bytes(*head) as usize;
    if size > limit {
        return Err(FrameError::TooLong { size, limit });
    }
    Ok(rest.get(..size))
}

/// How many bytes the frame takes that `bytes` begin with; 0 if that is not known yet. It is what a peer claims.
pub(crate) fn whole(bytes: &[u8]) -> usize {
    bytes.first_chunk::<HEAD>().map_or(0, |head| HEAD + u32::from_be_bytes(*head) as usize)
}

#[cfg(test)]
mod tests;
