//! Why a lane ended, or never was one.

use std::io;

use crate::wire::VERSION;
use crate::wire::codec::FrameError;

/// Why a lane ended. What was asked over it may or may not have taken effect.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaneError {
    /// The peer said something that is no frame.
    #[error("the node sent {0}")]
    Frame(#[from] FrameError),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Stream(#[from] io::Error),
    /// At the other end is another program.
    #[error("the other end speaks {0:?} and not comet; check the address")]
    Stranger(String),
    /// The peer speaks another version. Nothing was asked.
    #[error("the node speaks version {0} of the protocol and this one version {VERSION}; update the older of them")]
    Version(u32),
    /// The peer does not serve this lane. Nothing was asked.
    #[error("the node refused: {0:?}")]
    Refused(String),
    /// The peer did not greet in time. Nothing was asked.
    #[error("the node did not greet in time")]
    Silent,
    /// The peer answered what was never asked.
    #[error("the node answered a request {0} that was never made")]
    NeverAsked(u64),
    /// The peer did not send the rest of a frame, or did not read what was sent to it.
    #[error("the node did not keep up")]
    Stalled,
    /// The peer ended the lane.
    #[error("the node hung up")]
    HungUp,
}
