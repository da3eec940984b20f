//! One connection: reads requests, starts them, and writes their answers in order.
//!
//! It is one future and not an actor, because nothing is ever sent to it but bytes and answers. Each time it is woken
//! it reads what is there, starts every complete request, takes the answers that are there, and writes them with one
//! call to the operating system. It takes in no more while as much is under way or unwritten as [`Answers`] allows.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use comet_kernel::{Moment, limits};
use futures::future::LocalBoxFuture;
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;

use crate::allowance::{Allowance, Permit};
use crate::answers::{Answers, Started};
use crate::command;
use crate::error_line::ErrorLine;
use crate::frame::Frame;
use crate::gateway::Common;
use crate::parser::{Parser, Progress};
use crate::session::Session;
use crate::unread::Unread;
use crate::words::{Words, is};

/// Room for input to begin with; it doubles when a read fills it, up to the largest.
const SMALLEST_READ: usize = 4 << 10;
const LARGEST_READ: usize = 64 << 10;
/// Rounds before the other tasks of the thread get their turn.
const ROUNDS: usize = 8;
/// How long a connection may still take for what is under way when the node stops.
const DRAIN: Duration = Duration::from_secs(5);
/// How long between two looks at whether a client reads what waits for it.
const LOOK: Duration = Duration::from_secs(10);
/// Bytes that a client has to have read by then, if unread answers take much memory.
const PACE: usize = 512 << 10;

/// Serves a client until it goes, or the node stops.
pub(crate) async fn run(common: Arc<Common>, id: u64, stream: std::net::TcpStream, peer: SocketAddr) {
    match prepare(stream) {
        Ok(stream) => {
            let mut connection = Connection::new(Session::new(common, id, peer), stream);
            let end = poll_fn(|context| connection.poll(context)).await;
            tracing::trace!(%peer, ?end, "a connection ended");
        }
        Err(error) => tracing::debug!(%peer, %error, "a connection was lost at once"),
    }
}

fn prepare(stream: std::net::TcpStream) -> std::io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    // A client whose machine is gone would otherwise count as a connection for ever.
    rustix::net::sockopt::set_socket_keepalive(&stream, true)?;
    rustix::net::sockopt::set_tcp_keepidle(&stream, Duration::from_secs(300))?;
    TcpStream::from_std(stream)
}

type Alarm = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Whether a line is one of a request by HTTP. A web page can make a browser send anything to this machine, commands in
/// the body of a request included, so that no line of such a request may be taken for a command. Redis looks for the
/// same.
fn is_http(word: &[u8]) -> bool {
    is(word, "POST") || is(word, "Host:")
}

/// Why a connection ended.
#[derive(Debug)]
enum End {
    /// The client left, or was asked to, and has its answers.
    Closed,
    /// The socket failed.
    Lost,
    /// The client said nothing for too long.
    Idle,
    /// The client read too slowly while answers that nobody had read took much memory.
    Slow,
    /// The node stops.
    Stopped,
}

struct Connection {
    stream: TcpStream,
    session: Session,
    allowance: Option<Allowance>,
    input: BytesMut,
    /// The client has sent its last byte, and may still read.
    input_ended: bool,
    /// How much room the next read gets.
    room: usize,
    parser: Parser,
    answers: Answers,
    output: Vec<u8>,
    /// Bytes of the output that are written.
    written: usize,
    /// What the output takes, for the bound of all connections together.
    unread: Unread,
    /// When to look whether the client reads; none while nothing waits for it.
    look: Option<Moment>,
    /// Bytes that it has read since the last look.
    taken: usize,
    /// The output has been held back once, for the answers that may come in the same turn of the thread.
    held_back: bool,
    /// When the client last sent or took a byte.
    last_heard: Moment,
    alarm: Option<(Moment, Alarm)>,
    stopping: LocalBoxFuture<'static, ()>,
    /// When the connection ends although something is under way, once the node stops.
    drain_until: Option<Moment>,
}

impl Connection {
    fn new(session: Session, stream: TcpStream) -> Self {
        let common = &session.common;
        let mut stop = common.stopping.subscribe();
        let allowance = Allowance::new(&common.limiter.lease, session.peer.ip(), common.settings.requests_per_second);
        Connection {
            stream,
            allowance,
            input: BytesMut::new(),
            input_ended: false,
            room: SMALLEST_READ,
            parser: Parser::default(),
            answers: Answers::new(&common.tally),
            output: Vec::new(),
            written: 0,
            unread: Unread::new(&common.tally),
            look: None,
            taken: 0,
            held_back: false,
            last_heard: session.now,
            session,
            alarm: None,
            stopping: Box::pin(async move {
                // The sender lives as long as the session, so waiting cannot fail.
                let _ = stop.wait_for(|stop| *stop).await;
            }),
            drain_until: None,
        }
    }

    /// Does what can be done now; how the connection ended, if it did.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<End> {
        let worked = self.work(context);
        let output = if self.output.is_empty() { 0 } else { self.output.capacity() };
        self.unread.hold(output);
        match worked {
            Ok(()) => Poll::Pending,
            Err(end) => Poll::Ready(end),
        }
    }

    fn work(&mut self, context: &mut Context<'_>) -> Result<(), End> {
        self.session.read_clock();
        for _ in 0..ROUNDS {
            let mut progress = self.read(context)?;
            progress |= self.start(context);
            progress |= self.answers.take(&mut self.session, &mut self.output, context);
            if self.holds_back() {
                break;
            }
            progress |= self.write(context)?;
            if self.session.closing && self.answers.is_empty() && self.output.is_empty() {
                return Err(if self.drain_until.is_some() { End::Stopped } else { End::Closed });
            }
            if !progress {
                return self.wait(context);
            }
        }
        // There is more to do, but not before the other tasks of the thread had their turn.
        self.heed_stop(context);
        context.waker().wake_by_ref();
        Ok(())
    }

    /// Reads what is there. Whether there was anything.
    fn read(&mut self, context: &mut Context<'_>) -> Result<bool, End> {
        let unparsed = self.input.len() < limits::RESP_REQUEST_BYTES + LARGEST_READ;
        if self.session.closing || self.input_ended || !unparsed || !self.has_room() {
            return Ok(false);
        }
        self.input.reserve(self.room);
        let read = pin!(self.stream.read_buf(&mut self.input)).poll(context);
        match read {
            Poll::Pending => return Ok(false),
            Poll::Ready(Err(_)) => return Err(End::Lost),
            Poll::Ready(Ok(0)) => self.input_ended = true,
            Poll::Ready(Ok(bytes)) => {
                self.last_heard = self.session.now;
                self.session.common.tally.read.fetch_add(bytes as u64, Ordering::Relaxed);
                if bytes >= self.room {
                    self.room = (self.room * 2).min(LARGEST_READ);
                }
            }
        }
        Ok(true)
    }

    /// Starts every request that is there, as far as there is room. Whether there was any.
    fn start(&mut self, context: &mut Context<'_>) -> bool {
        let mut started = 0;
        while !self.session.closing && self.has_room() {
            match self.parser.advance(&mut self.input, self.session.login.is_none()) {
                Ok(Progress::Complete) => {}
                Ok(Progress::Incomplete) => {
                    self.session.closing = self.input_ended;
                    break;
                }
                Err(error) => {
                    self.answer(Started::Done(Frame::Error(ErrorLine::new(error.to_string()))));
                    self.session.closing = true;
                    break;
                }
            }
            if !self.start_one(context) {
                break;
            }
            let taken = self.parser.next();
            self.answers.charge(taken);
            self.input.advance(taken);
            started += 1;
        }
        if started > 0 {
            self.session.common.tally.requests.fetch_add(started, Ordering::Relaxed);
        }
        started > 0
    }

    /// Starts the request that the parser has found, unless it has to wait.
    fn start_one(&mut self, context: &mut Context<'_>) -> bool {
        let words = Words::new(&self.input, self.parser.spans());
        if words.count() == 0 {
            return true;
        }
        if is_http(words.at(0)) {
            tracing::warn!(client = %self.session.peer, "a request by HTTP came; the connection is closed");
            self.session.closing = true;
            return true;
        }
        let command = command::find(words, &self.session);
        if command.as_ref().is_ok_and(|command| command.alone) && !self.answers.is_empty() {
            return false;
        }
        let permit = self.allowance.as_mut().map_or(Permit::Granted, |it| it.spend(self.session.now, context));
        let started = match (permit, command) {
            (Permit::Unknown, _) => return false,
            (Permit::Refused(error), _) | (Permit::Granted, Err(error)) => Err(error),
            (Permit::Granted, Ok(command)) => (command.start)(&mut self.session, words),
        };
        self.answer(started.unwrap_or_else(|error| Started::Done(Frame::Error(error))));
        true
    }

    /// Whether another request may start.
    fn has_room(&self) -> bool {
        self.answers.have_room(self.output.len(), &self.session.common.tally)
    }

    fn answer(&mut self, started: Started) {
        self.answers.enter(started, &self.session, &mut self.output);
    }

    /// Whether to write nothing yet: when some answers are there and others are not, those may come in the same turn of
    /// the thread and go out with the same write. Holds back once only.
    fn holds_back(&mut self) -> bool {
        let hold = !self.held_back && !self.answers.is_empty() && !self.output.is_empty();
        self.held_back = hold;
        hold && self.written == 0 && self.output.len() < LARGEST_READ
    }

    /// Writes as much as the client takes. Whether that was anything.
    fn write(&mut self, context: &mut Context<'_>) -> Result<bool, End> {
        let before = self.written;
        while self.written < self.output.len() {
            match Pin::new(&mut self.stream).poll_write(context, &self.output[self.written..]) {
                Poll::Pending => return Ok(self.written > before),
                Poll::Ready(Ok(0) | Err(_)) => return Err(End::Lost),
                Poll::Ready(Ok(bytes)) => {
                    self.last_heard = self.session.now;
                    self.written += bytes;
                    self.taken += bytes;
                }
            }
        }
        if self.output.is_empty() {
            return Ok(false);
        }
        self.session.common.tally.written.fetch_add(self.written as u64, Ordering::Relaxed);
        self.output.clear();
        self.output.shrink_to(LARGEST_READ);
        self.written = 0;
        self.look = None;
        Ok(true)
    }

    /// Waits for bytes, answers, the end of the node or the end of patience.
    fn wait(&mut self, context: &mut Context<'_>) -> Result<(), End> {
        if self.input.is_empty() && self.room > SMALLEST_READ {
            // A connection that waits should hold little.
            self.input = BytesMut::new();
            self.room = SMALLEST_READ;
        }
        self.heed_stop(context);
        if self.drain_until.is_some() && self.answers.is_empty() && self.output.is_empty() {
            return Err(End::Stopped);
        }
        if self.look.is_none() && !self.output.is_empty() {
            self.look_later();
        }
        while let Some(due) = self.due() {
            if due <= self.session.now {
                return self.end_of_patience(context);
            }
            let clock = &self.session.common.kernel.clock;
            // One alarm serves many requests: it is set for the oldest, and set again when it rings.
            let alarm = match &mut self.alarm {
                Some((at, alarm)) if *at <= due => alarm,
                _ => &mut self.alarm.insert((due, clock.sleep_until(due))).1,
            };
            if alarm.as_mut().poll(context).is_pending() {
                return Ok(());
            }
            self.alarm = None;
            self.session.read_clock();
        }
        Ok(())
    }

    /// Takes no more requests once the node stops.
    fn heed_stop(&mut self, context: &mut Context<'_>) {
        if self.drain_until.is_none() && self.stopping.as_mut().poll(context).is_ready() {
            self.session.closing = true;
            self.drain_until = Some(self.session.now + DRAIN);
        }
    }

    /// When to act although nothing has come.
    fn due(&self) -> Option<Moment> {
        let idle = self.session.common.settings.idle_seconds;
        let idle = (idle > 0).then(|| self.last_heard + Duration::from_secs(idle));
        let due = if self.answers.is_empty() { idle } else { self.answers.due(self.output.len()) };
        self.drain_until.into_iter().chain(due).chain(self.look).min()
    }

    fn look_later(&mut self) {
        self.look = Some(self.session.now + LOOK);
        self.taken = 0;
    }

    fn end_of_patience(&mut self, context: &mut Context<'_>) -> Result<(), End> {
        if self.drain_until.is_some_and(|until| until <= self.session.now) {
            return Err(End::Stopped);
        }
        if self.look.is_some_and(|look| look <= self.session.now) {
            if self.taken < PACE && self.session.common.tally.is_tight() {
                return Err(End::Slow);
            }
            self.look_later();
        } else if self.answers.is_empty() {
            return Err(End::Idle);
        }
        // The next round answers what is overdue.
        context.waker().wake_by_ref();
        Ok(())
    }
}
