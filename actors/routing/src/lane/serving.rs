//! The side of a lane that answers.

use std::borrow::Cow;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use comet_kernel::contract::aso::Refusal;
use comet_kernel::reply::NoAnswer;
use comet_kernel::{Caller, Handle, Moment, Pending, limits};
use futures::stream::{FuturesUnordered, StreamExt};
use futures::{AsyncRead, AsyncWrite};
use serde::de::IgnoredAny;

use super::beat::Beat;
use super::budget::Share;
use super::hello::{Greeted, welcome};
use super::input::Input;
use super::output::Output;
use super::pace::Pace;
use super::{ANSWERED_BYTES, FEW_REQUESTS, LaneError, ROUNDS, SERVED_BYTES, Terms, UNSENT_BYTES};
use crate::messages::Serve;
use crate::wire::codec::{self, FrameError, HEAD};
use crate::wire::{Answer, Ask, Framed};

/// Longest that a request may be under way, in milliseconds, whatever its peer says: as long as `network.request_timeout_ms`
/// may ever be.
const LONGEST_MS: u32 = 60_000;

/// Memory that an item of an array or a map may take besides its bytes in the frame: the first field of a map takes a leaf
/// of the tree, and two bytes to write.
const ITEM_BYTES: usize = 544;

/// Records that a request may have looked at before it counts for more than one. To compare a record costs less than to get
/// it.
const READS_OF_A_REQUEST: usize = 8;

/// What a peer is told when the budget of all lanes does not cover what it asks for.
const OVERLOADED: &str = "this node holds too much for others right now; try again";

/// Serves a lane that a peer opened until it ends: answers what the router answers. An error if the peer is to blame, or
/// the connection.
pub(crate) async fn serve<S>(
    stream: S,
    caller: Arc<Caller>,
    router: Handle<Serve>,
    terms: Terms,
) -> Result<(), LaneError>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let Greeted { stream, input, output } = welcome(stream, &terms).await?;
    let mut server = Server {
        stream,
        input,
        came: terms.clock.now(),
        unpaid: Unpaid::default(),
        listens: false,
        heard: Pace::new(terms.patience),
        wrote: Pace::new(terms.patience),
        tray: Tray::new(output, Share::new(&terms.budget), caller, router),
        beat: Beat::new(&terms.clock),
        terms,
    };
    poll_fn(|task| server.poll(task)).await
}

struct Server<S> {
    stream: S,
    input: Input,
    /// When bytes came last: the time that is left for a request counts from here, however long it lies in the input.
    came: Moment,
    unpaid: Unpaid,
    /// Whether it waits for more bytes: not while it has enough, or no room for them.
    listens: bool,
    heard: Pace,
    wrote: Pace,
    tray: Tray,
    beat: Beat,
    terms: Terms,
}

/// Bytes that were read and not yet taken from the peer's allowance.
#[derive(Default)]
struct Unpaid {
    bytes: usize,
    wait: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

/// Requests under way, and answers that were not written yet.
struct Tray {
    output: Output,
    /// What the lane holds of the budget of all lanes.
    share: Share,
    /// Bytes for which there is room in the input: what came, or the frame of which it is a part.
    input: usize,
    served: FuturesUnordered<Served>,
    /// What the requests under way take, roughly.
    bytes: usize,
    /// How long answers have been of late, on average.
    typical: usize,
    caller: Arc<Caller>,
    router: Handle<Serve>,
}

/// A request under way.
struct Served {
    id: u64,
    deadline: Moment,
    bytes: usize,
    pending: Pending<Answer>,
}

impl Future for Served {
    type Output = (u64, usize, Result<Answer, NoAnswer>);

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.pending).poll(task));
        Poll::Ready((self.id, self.bytes, answer))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Server<S> {
    fn poll(&mut self, task: &mut Context<'_>) -> Poll<Result<(), LaneError>> {
        for _ in 0..ROUNDS {
            let taken = self.take()?;
            let Some(came) = self.read(task)? else { return Poll::Ready(self.ended()) };
            let mut answered = self.tray.collect(UNSENT_BYTES, task);
            let written = self.write(task)?;
            if !written {
                answered |= self.tray.collect(usize::MAX, task);
            }
            let swept = self.sweep(task)?;
            self.tray.account();
            // Each of these may have made room for another; if none did, each has seen to it that the task is woken.
            if !(taken || came || answered || written || swept) {
                return Poll::Pending;
            }
        }
        task.waker().wake_by_ref();
        Poll::Pending
    }

    /// Takes requests from what came. Whether there was one.
    fn take(&mut self) -> Result<bool, LaneError> {
        if self.input.is_empty() {
            return Ok(false);
        }
        let (now, mut taken) = (self.terms.clock.now(), false);
        while !self.tray.is_full() {
            let Some(frame) = self.input.next(limits::PEER_FRAME_BYTES)? else { break };
            taken = true;
            self.heard.moved_frame();
            self.tray.input = self.tray.input.saturating_sub(HEAD + frame.len());
            self.terms.traffic.received.add(1);
            if let Err(wait) = self.terms.allowance.request() {
                self.terms.traffic.limited.add(1);
                let Framed::<IgnoredAny> { id, .. } = codec::decode(frame)?;
                self.tray.refuse(id, Refusal::Limited { retry_after_ms: whole_millis(wait) });
                continue;
            }
            let request: Framed<Ask> = codec::decode(frame)?;
            if let Err(wait) = self.terms.allowance.more(request.body.reads() / READS_OF_A_REQUEST) {
                self.terms.traffic.limited.add(1);
                self.tray.refuse(request.id, Refusal::Limited { retry_after_ms: whole_millis(wait) });
                continue;
            }
            let deadline = self.came + Duration::from_millis(u64::from(request.left_ms.min(LONGEST_MS)));
            if deadline > now {
                self.tray.serve(request, deadline, frame.len());
            }
        }
        Ok(taken)
    }

    /// Reads once, unless as much as may be is under way, the peer has sent more than it may, or there is no room for the
    /// frame that has begun. Whether anything came; none if nothing will any more.
    fn read(&mut self, task: &mut Context<'_>) -> Result<Option<bool>, LaneError> {
        self.listens =
            !self.tray.is_full() && self.unpaid.pay(&self.terms, task) && self.tray.admit(self.input.needed());
        if !self.listens {
            return Ok(Some(false));
        }
        match self.input.poll_fill(&mut self.stream, task)? {
            Poll::Pending => Ok(Some(false)),
            Poll::Ready(0) => Ok(None),
            Poll::Ready(number) => {
                self.came = self.terms.clock.now();
                self.unpaid.bytes += number;
                self.heard.moved(number);
                self.tray.input = self.tray.input.max(self.input.len());
                Ok(Some(true))
            }
        }
    }

    /// Writes what waits. Whether anything could be written.
    fn write(&mut self, task: &mut Context<'_>) -> Result<bool, LaneError> {
        let output = &mut self.tray.output;
        let before = output.len();
        match output.poll_drain(&mut self.stream, task) {
            Poll::Ready(Err(error)) => Err(error.into()),
            Poll::Ready(Ok(())) | Poll::Pending => {
                self.wrote.moved(before - output.len());
                Ok(output.len() < before)
            }
        }
    }

    /// Gives up what has waited too long, and a peer that does not keep up. Whether it was time for that. What waits for
    /// room is looked at again then, too.
    fn sweep(&mut self, task: &mut Context<'_>) -> Result<bool, LaneError> {
        let mut swept = false;
        while self.beat.poll(self.tray.holds_memory() || self.input.holds_memory(), task) {
            swept = true;
            let now = self.terms.clock.now();
            self.tray.forget(now);
            let mute = self.heard.is_lost(self.listens && !self.input.is_empty(), now);
            if self.wrote.is_lost(self.tray.output.len() > 0, now) || mute {
                return Err(LaneError::Stalled);
            }
            if self.tray.served.is_empty() {
                self.tray.output.rest();
                self.input.rest();
            }
        }
        Ok(swept)
    }

    fn ended(&self) -> Result<(), LaneError> {
        if self.input.is_empty() { Ok(()) } else { Err(LaneError::HungUp) }
    }
}

impl Unpaid {
    /// Whether the peer's allowance covers what was read. If not, the task is woken when it may.
    fn pay(&mut self, terms: &Terms, task: &mut Context<'_>) -> bool {
        loop {
            if let Some(wait) = &mut self.wait {
                if wait.as_mut().poll(task).is_pending() {
                    return false;
                }
                self.wait = None;
            }
            match terms.allowance.bytes(self.bytes) {
                Ok(rest) => {
                    self.bytes = rest;
                    return true;
                }
                Err(wait) => self.wait = Some(terms.clock.sleep(wait)),
            }
        }
    }
}

impl Tray {
    fn new(output: Output, share: Share, caller: Arc<Caller>, router: Handle<Serve>) -> Self {
        let served = FuturesUnordered::new();
        Tray { output, share, input: 0, served, bytes: 0, typical: 0, caller, router }
    }

    /// What the lane holds, roughly.
    fn held(&self) -> usize {
        self.input + self.bytes + self.output.len()
    }

    fn account(&mut self) {
        self.share.hold(self.held());
    }

    /// Makes room for so many bytes in the input, if there is any. Whoever has room keeps it until the frame is there, so
    /// that lanes with half a frame each do not wait for each other.
    fn admit(&mut self, needed: usize) -> bool {
        let others = self.bytes + self.output.len();
        if needed > self.input && !self.share.fits(others + needed) {
            return false;
        }
        self.input = self.input.max(needed);
        self.account();
        true
    }

    /// Whether no more may be taken: too much is under way, or the peer does not read its answers.
    fn is_full(&self) -> bool {
        let under_way = self.served.len();
        under_way >= limits::LANE_REQUESTS
            || self.bytes >= SERVED_BYTES
            || self.output.len() >= UNSENT_BYTES
            || (under_way >= FEW_REQUESTS && self.output.len() + under_way * self.typical >= UNSENT_BYTES)
            || (under_way > 0 && !self.share.fits(self.held() + under_way * self.typical))
    }

    fn holds_memory(&self) -> bool {
        !self.served.is_empty() || self.output.holds_memory()
    }

    fn serve(&mut self, Framed { id, body, .. }: Framed<Ask>, deadline: Moment, size: usize) {
        let items = body.items() * ITEM_BYTES;
        let bytes = size + items;
        // There was room for the frame.
        if items > 0 && !self.share.fits(self.held() + bytes) {
            return self.refuse(id, Refusal::Unavailable(OVERLOADED.to_owned()));
        }
        match self.router.ask(Serve { from: self.caller.clone(), ask: body, deadline }) {
            Ok(pending) => {
                self.served.push(Served { id, deadline, bytes, pending });
                self.bytes += bytes;
            }
            Err(refused) => self.refuse(id, Refusal::Unavailable(refused.reason.to_string())),
        }
    }

    /// Takes the answers that are there, until so many bytes wait. Whether there was one.
    fn collect(&mut self, most: usize, task: &mut Context<'_>) -> bool {
        let mut any = false;
        while self.output.len() < most {
            let Poll::Ready(Some((id, bytes, answer))) = self.served.poll_next_unpin(task) else { break };
            any = true;
            self.bytes -= bytes;
            match answer {
                Ok(answer) => self.answer(id, &answer),
                Err(none) => self.refuse(id, Refusal::Unavailable(none.to_string())),
            }
        }
        any
    }

    fn answer(&mut self, id: u64, answer: &Answer) {
        let before = self.output.len();
        let refusal = matches!(answer, Answer::Refused(_));
        if before >= ANSWERED_BYTES && !refusal {
            return self.refuse(id, Refusal::Unavailable("too many answers wait to be read; try again".to_owned()));
        }
        if let Err(FrameError::TooLong { size, limit }) = self.output.push(&Framed { id, left_ms: 0, body: answer }) {
            self.refuse(id, Refusal::TooBig { what: Cow::Borrowed("the answer"), size, limit });
        } else if !refusal && !self.share.fits(self.held()) {
            self.output.cut(before);
            return self.refuse(id, Refusal::Unavailable(OVERLOADED.to_owned()));
        }
        self.account();
        self.typical = (7 * self.typical + (self.output.len() - before)) / 8;
    }

    fn refuse(&mut self, id: u64, refusal: Refusal) {
        self.answer(id, &Answer::Refused(refusal));
    }

    /// Gives up the requests whose time is over: whoever asked has stopped waiting.
    fn forget(&mut self, now: Moment) {
        if self.served.iter().all(|served| served.deadline > now) {
            return;
        }
        self.served = std::mem::take(&mut self.served).into_iter().filter(|served| served.deadline > now).collect();
        self.bytes = self.served.iter().map(|served| served.bytes).sum();
    }
}

/// Rounded up, so that whoever waits that long is served.
fn whole_millis(wait: Duration) -> u64 {
    wait.as_micros().div_ceil(1_000).max(1) as u64
}
