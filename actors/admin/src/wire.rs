//! Frames on the socket: four bytes of length, big-endian, and that many bytes of MessagePack.
//!
//! A length is a claim: it is held against the cap, and memory grows with what arrives, not with what is announced.

use std::io;

use comet_kernel::limits::ADMIN_FRAME_BYTES;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufStream};
use tokio::net::UnixStream;

/// One end of a connection.
#[derive(Debug)]
pub(crate) struct Wire<S = UnixStream>(BufStream<S>);

/// Why a frame did not get through.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The socket failed, or its other end went away within a frame.
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    /// A frame is longer than frames may be.
    #[error("a frame of {0} bytes; at most {ADMIN_FRAME_BYTES} are allowed")]
    TooLong(usize),
    /// A frame is not what is expected here.
    #[error("a frame that cannot be read: {0}")]
    Malformed(String),
    /// The other end takes nothing.
    #[error("the other end has taken nothing for {0} s")]
    Stalled(u64),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(crate) fn new(stream: S) -> Self {
        Wire(BufStream::new(stream))
    }

    /// Sends a frame, and returns when the socket has taken it whole. A frame that is too long is not begun.
    pub(crate) async fn send<T: Serialize>(&mut self, frame: &T) -> Result<(), WireError> {
        let bytes = rmp_serde::to_vec_named(frame).map_err(|error| WireError::Malformed(error.to_string()))?;
        if bytes.len() > ADMIN_FRAME_BYTES {
            return Err(WireError::TooLong(bytes.len()));
        }
        self.0.write_u32(bytes.len() as u32).await?;
        self.0.write_all(&bytes).await?;
        Ok(self.0.flush().await?)
    }

    /// Receives a frame; `None` if the other end has gone and left no part of one.
    pub(crate) async fn receive<T: DeserializeOwned>(&mut self) -> Result<Option<T>, WireError> {
        if !self.stirs().await? {
            return Ok(None);
        }
        let length = self.0.read_u32().await? as usize;
        if length > ADMIN_FRAME_BYTES {
            return Err(WireError::TooLong(length));
        }
        let mut bytes = Vec::new();
        (&mut self.0).take(length as u64).read_to_end(&mut bytes).await?;
        if bytes.len() < length {
            return Err(WireError::Broken(io::ErrorKind::UnexpectedEof.into()));
        }
        rmp_serde::from_slice(&bytes).map(Some).map_err(|error| WireError::Malformed(error.to_string()))
    }

    /// Resolves when something has arrived (true) or the other end has gone (false). Takes nothing, and may be dropped
    /// at any time.
    pub(crate) async fn stirs(&mut self) -> Result<bool, WireError> {
        Ok(!self.0.fill_buf().await?.is_empty())
    }
}
