//! What comes over a lane, for the fuzzer.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use comet_kernel::limits;
use futures::AsyncRead;

use super::LaneError;
use super::hello::HELLO_BYTES;
use super::input::Input;
use crate::wire::check::again;
use crate::wire::{Ask, Framed, Hello, codec};

/// What the serving side of a lane understands of what comes over it in pieces of so many bytes: the bodies of the
/// greeting and of the requests, as it would write them itself, and why the lane ends if that is not because the peer
/// hangs up.
pub fn stream(bytes: &[u8], piece: usize) -> (Vec<Vec<u8>>, Option<String>) {
    let (mut stream, mut input, mut bodies) = (Pieces { bytes, piece }, Input::default(), Vec::new());
    let end = loop {
        match take(&mut input, &mut bodies) {
            Err(error) => break Some(error),
            Ok(true) => continue,
            Ok(false) => {}
        }
        let polled = input.poll_fill(&mut stream, &mut Context::from_waker(Waker::noop()));
        match polled {
            Poll::Ready(Ok(0)) => break (!input.is_empty()).then_some(LaneError::HungUp),
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(_)) | Poll::Pending => unreachable!("bytes in memory are always there"),
        }
    };
    (bodies, end.map(|error| error.to_string()))
}

/// Whether there was a frame.
fn take(input: &mut Input, bodies: &mut Vec<Vec<u8>>) -> Result<bool, LaneError> {
    let greeted = !bodies.is_empty();
    let limit = if greeted { limits::PEER_FRAME_BYTES } else { HELLO_BYTES };
    let Some(frame) = input.next(limit)? else { return Ok(false) };
    let body = if greeted {
        codec::decode::<Framed<Ask>>(frame)?;
        again::<Framed<Ask>>(frame)
    } else {
        codec::decode::<Hello>(frame)?;
        again::<Hello>(frame)
    };
    bodies.push(body.unwrap_or_default());
    Ok(true)
}

/// Bytes that come in pieces.
struct Pieces<'a> {
    bytes: &'a [u8],
    piece: usize,
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let number = self.piece.max(1).min(buffer.len()).min(self.bytes.len());
        let (piece, rest) = self.bytes.split_at(number);
        buffer[..number].copy_from_slice(piece);
        self.bytes = rest;
        Poll::Ready(Ok(number))
    }
}
