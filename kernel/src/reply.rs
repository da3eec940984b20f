//! Answers: the way back from an actor to whoever asked it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use crate::request::RequestId;

/// Answers one message. An actor may keep it and answer later; if it is dropped, the asker gets [`NoAnswer`].
#[derive(Debug)]
pub struct Responder<R> {
    id: RequestId,
    channel: Option<oneshot::Sender<(RequestId, R)>>,
}

impl<R> Responder<R> {
    /// The id of the request that this answers.
    pub fn id(&self) -> RequestId {
        self.id
    }

    /// Answers. Whoever asked may have stopped waiting; that is not an error of the one who answers.
    pub fn answer(self, reply: R) {
        if let Some(channel) = self.channel {
            let _asker_may_be_gone = channel.send((self.id, reply));
        }
    }

    /// Whether nobody waits for the answer any more.
    pub fn is_abandoned(&self) -> bool {
        self.channel.as_ref().is_none_or(oneshot::Sender::is_closed)
    }

    /// Waits until nobody waits for the answer any more.
    pub async fn abandoned(&mut self) {
        if let Some(channel) = &mut self.channel {
            channel.closed().await;
        }
    }

    /// A responder for a message whose answer nobody wants.
    pub fn nobody() -> Self {
        Responder { id: RequestId::fresh(), channel: None }
    }
}

/// An answer to come.
#[derive(Debug)]
#[must_use = "a request whose answer nobody reads should be told, not asked"]
pub struct Pending<R> {
    id: RequestId,
    channel: oneshot::Receiver<(RequestId, R)>,
}

/// The actor died, or was stopped, before it answered. What the request was to change may or may not have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the actor ended before it answered; try again")]
pub struct NoAnswer;

/// A responder and the answer it will give, for the request of this id.
pub fn pair<R>(id: RequestId) -> (Responder<R>, Pending<R>) {
    let (sender, receiver) = oneshot::channel();
    (Responder { id, channel: Some(sender) }, Pending { id, channel: receiver })
}

impl<R> Pending<R> {
    /// The answer if it is there already; `Ok(None)` if it is still to come.
    pub fn try_take(&mut self) -> Result<Option<R>, NoAnswer> {
        match self.channel.try_recv() {
            Ok(answer) => Ok(Some(self.open(answer))),
            Err(oneshot::error::TryRecvError::Empty) => Ok(None),
            Err(oneshot::error::TryRecvError::Closed) => Err(NoAnswer),
        }
    }

    fn open(&self, (id, reply): (RequestId, R)) -> R {
        assert_eq!(id, self.id, "an answer carries the id of its request");
        reply
    }
}

impl<R> Future for Pending<R> {
    type Output = Result<R, NoAnswer>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.channel)
            .poll(context)
            .map(|answer| answer.map(|answer| self.open(answer)).map_err(|_| NoAnswer))
    }
}
