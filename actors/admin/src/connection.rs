//! One client, from its hello to its end.
//!
//! Requests are served one after another. Every wait has a deadline: for the hello, for the next request, for the client
//! to take an answer. Only a client that follows events may stay for ever.

use std::sync::Arc;
use std::time::Duration;

use comet_kernel::contract::admin::{Answer, Command, Frame, Hello, VERSION};
use comet_kernel::{Clock, limits};
use tokio::net::UnixStream;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;

use crate::client::version_mismatch;
use crate::office::Office;
use crate::socket::authenticate;
use crate::wire::{Wire, WireError};

/// How long a client may take over its hello.
const GREETING: Duration = Duration::from_secs(5);
/// How long a client may stay without asking anything.
const IDLE: Duration = Duration::from_secs(300);
/// How long a client may take over one answer.
const TAKING: Duration = Duration::from_secs(60);

/// The way back to the client for the answers to one request.
#[derive(Debug)]
pub(crate) struct Outlet<'a> {
    wire: &'a mut Wire,
    clock: &'a Clock,
    id: u64,
}

impl Outlet<'_> {
    /// Sends one answer; resolves when the socket has taken it. An answer that is too long becomes a refusal.
    pub(crate) async fn send(&mut self, answer: Answer) -> Result<(), WireError> {
        match self.try_send(answer).await {
            Err(WireError::TooLong(size)) => {
                let most = limits::ADMIN_FRAME_BYTES;
                let text = format!("the answer has {size} bytes and a frame holds {most}; ask for less");
                self.try_send(Answer::Refused(text)).await
            }
            sent => sent,
        }
    }

    async fn try_send(&mut self, answer: Answer) -> Result<(), WireError> {
        let frame = Frame { id: self.id, body: answer };
        let sent = self.clock.timeout(TAKING, self.wire.send(&frame)).await;
        sent.unwrap_or(Err(WireError::Stalled(TAKING.as_secs())))
    }
}

/// Serves a client. `full` says why it cannot be served, if it cannot.
pub(crate) async fn run(
    stream: UnixStream,
    full: Option<String>,
    office: Arc<Office>,
    mut closing: watch::Receiver<bool>,
) {
    let peer = full.map_or_else(|| authenticate(&stream), Err);
    let mut wire = Wire::new(stream);
    let served = async {
        if let Some(uid) = greet(&mut wire, peer, &office).await? {
            while let Some(Frame { id, body }) = next(&mut wire, &office.kernel.clock, &mut closing).await? {
                let mut outlet = Outlet { wire: &mut wire, clock: &office.kernel.clock, id };
                match body {
                    Command::Events => follow(&mut outlet, &office, &mut closing).await?,
                    command => office.serve(command, uid, &mut outlet).await?,
                }
            }
        }
        Ok::<_, WireError>(())
    };
    if let Err(error) = served.await {
        tracing::debug!(%error, "admin connection ended");
    }
}

/// Exchanges hellos. The uid of a client that may go on.
async fn greet(wire: &mut Wire, peer: Result<u32, String>, office: &Office) -> Result<Option<u32>, WireError> {
    let clock = &office.kernel.clock;
    let heard = clock.timeout(GREETING, wire.receive::<Hello>()).await;
    let refusal = match (peer, heard) {
        (_, None) => Some(format!("no hello within {} s", GREETING.as_secs())),
        (_, Some(Ok(None))) => return Ok(None),
        (_, Some(Err(WireError::Broken(error)))) => return Err(error.into()),
        (_, Some(Err(error))) => Some(error.to_string()),
        (_, Some(Ok(Some(hello)))) if hello.protocol != Hello::own().protocol => {
            Some("this is the admin socket of a comet node, and the hello is another program's".to_owned())
        }
        (_, Some(Ok(Some(hello)))) if hello.version != VERSION => Some(version_mismatch(hello.version, VERSION)),
        (Err(reason), _) => Some(reason),
        (Ok(uid), _) => {
            wire.send(&Hello::own()).await?;
            return Ok(Some(uid));
        }
    };
    let hello = refusal.map_or_else(Hello::own, Hello::refusing);
    // The client has sent one frame at most, so its socket has room for this one and the send does not wait.
    wire.send(&hello).await.map(|()| None)
}

/// The client's next request; `None` when it has gone, or has to go.
async fn next(
    wire: &mut Wire,
    clock: &Clock,
    closing: &mut watch::Receiver<bool>,
) -> Result<Option<Frame<Command>>, WireError> {
    let stirs = tokio::select! {
        stirs = wire.stirs() => stirs?,
        () = clock.sleep(IDLE) => false,
        () = closed(closing) => false,
    };
    if !stirs {
        return Ok(None);
    }
    match clock.timeout(GREETING, wire.receive()).await {
        Some(Err(WireError::Malformed(reason))) => {
            let text = format!("the request cannot be read ({reason}); the client may be newer than the node");
            wire.send(&Frame { id: 0, body: Answer::Refused(text) }).await.map(|()| None)
        }
        Some(received) => received,
        None => Err(WireError::Stalled(GREETING.as_secs())),
    }
}

/// Sends events until the client asks for something else, goes, or has to go.
async fn follow(
    outlet: &mut Outlet<'_>,
    office: &Office,
    closing: &mut watch::Receiver<bool>,
) -> Result<(), WireError> {
    let mut events = office.kernel.events.follow();
    loop {
        let answer = tokio::select! {
            event = events.recv() => match event {
                Ok(event) => Answer::Event(event),
                Err(RecvError::Lagged(missed)) => Answer::Missed(missed),
                Err(RecvError::Closed) => break,
            },
            stirs = outlet.wire.stirs() => {
                if stirs? {
                    break;
                }
                return Ok(());
            }
            () = closed(closing) => break,
        };
        outlet.send(answer).await?;
    }
    outlet.send(Answer::End).await
}

/// Resolves when the actor stops or has died.
async fn closed(closing: &mut watch::Receiver<bool>) {
    // An error says that the actor is gone without a word.
    let _either = closing.wait_for(|closing| *closing).await;
}
