//! The greeting: each side tells what it speaks, and one that does not suit the other is told why.

use std::future::poll_fn;

use futures::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::input::Input;
use super::output::Output;
use super::{LaneError, Terms};
use crate::wire::codec;
use crate::wire::{Hello, VERSION};

/// Longest greeting in bytes. Whoever is no node yet gets no more memory than that.
pub(super) const HELLO_BYTES: usize = 1 << 10;

const PROTOCOL: &str = "comet";

/// A stream over which both sides have greeted, and what came behind the greeting.
pub(super) struct Greeted<S> {
    pub stream: S,
    pub input: Input,
    pub output: Output,
}

/// Greets, and waits for the greeting of the other side.
pub(super) async fn greet<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    terms: &Terms,
) -> Result<Greeted<S>, LaneError> {
    let greeting = async {
        let mut greeted = Greeted { stream, input: Input::default(), output: Output::default() };
        greeted.say(&Hello::ours(None)).await?;
        let theirs = greeted.hear().await?;
        theirs.check()?;
        Ok(greeted)
    };
    terms.clock.timeout(terms.patience, greeting).await.unwrap_or(Err(LaneError::Silent))
}

/// Waits for the greeting of the other side, and returns it; tells the other side if it does not suit.
pub(super) async fn welcome<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    terms: &Terms,
) -> Result<Greeted<S>, LaneError> {
    let greeting = async {
        let mut greeted = Greeted { stream, input: Input::default(), output: Output::default() };
        let theirs = greeted.hear().await?;
        let verdict = theirs.check();
        let refusal = verdict.as_ref().err().map(|_| theirs.objection());
        greeted.say(&Hello::ours(refusal)).await?;
        if verdict.is_err() {
            // What is dropped may be reset, and the reason lost.
            greeted.stream.close().await?;
        }
        verdict.map(|()| greeted)
    };
    terms.clock.timeout(terms.patience, greeting).await.unwrap_or(Err(LaneError::Silent))
}

impl<S: AsyncRead + AsyncWrite + Unpin> Greeted<S> {
    async fn say(&mut self, hello: &Hello) -> Result<(), LaneError> {
        self.output.push(hello)?;
        Ok(poll_fn(|task| self.output.poll_drain(&mut self.stream, task)).await?)
    }

    async fn hear(&mut self) -> Result<Hello, LaneError> {
        loop {
            if let Some(frame) = self.input.next(HELLO_BYTES)? {
                return Ok(codec::decode(frame)?);
            }
            if poll_fn(|task| self.input.poll_fill(&mut self.stream, task)).await? == 0 {
                return Err(LaneError::HungUp);
            }
        }
    }
}

impl Hello {
    fn ours(refusal: Option<String>) -> Self {
        Hello { protocol: PROTOCOL.to_owned(), version: VERSION, refusal }
    }

    fn check(&self) -> Result<(), LaneError> {
        if self.protocol != PROTOCOL {
            return Err(LaneError::Stranger(self.protocol.clone()));
        }
        if self.version != VERSION {
            return Err(LaneError::Version(self.version));
        }
        self.refusal.clone().map_or(Ok(()), |reason| Err(LaneError::Refused(reason)))
    }

    /// What the one who greeted so is told.
    fn objection(&self) -> String {
        format!("this node speaks comet {VERSION}; you speak {} {}", self.protocol.escape_debug(), self.version)
    }
}
