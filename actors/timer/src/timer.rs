//! The actor that wakes objects.
//!
//! It holds the next due moment of every object on this node, reads them from storage when it starts, and sends each
//! object a [`Op::Tick`] when its time has come. It promises to do so **at least once**: an entry is forgotten only when
//! the object has answered, and whatever stays unanswered is tried again, with growing waits. An object must therefore
//! expect ticks that come late, twice or too early, and answer each with the moment at which it is due next.
//!
//! It never sends more than [`IN_FLIGHT`] ticks at once, however much is due: the rest waits its turn. It adds no jitter:
//! an object that computes its next moment adds `timer.jitter_percent` to it then, so that the moment it stored and the
//! one it told the timer are the same. It writes nothing: storage keeps the index of what is due in step with the records.
//!
//! The index is read again from time to time. What an object told while the timer was being restarted, and storage had
//! not yet committed, is found then.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use comet_kernel::contract::aso::{Call, Op, Refusal, Reply};
use comet_kernel::contract::storage::{self, ReadDues};
use comet_kernel::contract::timer::{Arm, DisarmAll, ReadTimers, Service, Timers};
use comet_kernel::directory::{Asked, Directory};
use comet_kernel::handle::CallError;
use comet_kernel::supervisor::{ActorSpec, Backoff, Child};
use comet_kernel::{
    Actor, Caller, Clock, Context, Handler, Kernel, Key, Message, Moment, Request, Responder, Thread, UnixMillis, Work,
    limits,
};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::agenda::{Agenda, Tick};

/// Ticks under way at once: enough to keep every shard busy, too few to fill a shard's mailbox.
pub const IN_FLIGHT: usize = 512;
/// How long a tick may stay unanswered.
const DEADLINE: Duration = Duration::from_secs(10);
/// The waits before a tick, or a page of the index, is tried again.
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(30) };
/// The wall clock is looked at this often at least, as nothing tells when it jumps.
const GLANCE: Duration = Duration::from_secs(1);
/// How long after its end the index is read again.
const SWEEP: Duration = Duration::from_secs(600);
/// Keys remembered as disarmed while the index is being read. Past it a disarmed object may get one tick too many.
const DISARMED: usize = 100_000;

/// The timer's place in the tree: an actor named `timer` on a thread of its own. `node` is who its ticks come from.
pub fn child(
    kernel: &Kernel,
    storage: &storage::Service,
    directory: &Directory,
    service: &Service,
    node: Arc<Caller>,
) -> Child {
    let (clock, storage, directory) = (kernel.clock.clone(), storage.clone(), directory.clone());
    let factory = move || Ok(Timer::new(&clock, &storage, &directory, &node, StdRng::from_os_rng()));
    ActorSpec::new("timer", &Thread::new("timer"), factory)
        .mailbox(limits::SHARED_MAILBOX)
        .serves(&service.arm)
        .serves(&service.disarm_all)
        .serves(&service.read_timers)
        .into()
}

/// Wakes objects.
#[derive(Debug)]
pub struct Timer {
    clock: Clock,
    storage: storage::Service,
    directory: Directory,
    node: Arc<Caller>,
    random: StdRng,
    agenda: Agenda,
    reading: Option<Reading>,
    loaded: bool,
    in_flight: usize,
    /// When it looks at the agenda next, if it has planned to.
    glance: Option<Moment>,
    delivered: u64,
    retried: u64,
}

/// A reading of the index, page by page.
#[derive(Debug, Default)]
struct Reading {
    after: Option<(UnixMillis, Key)>,
    failures: usize,
    /// Everything was disarmed while a page was on its way: that page counts for nothing.
    outdated: bool,
    /// What was disarmed since the reading began: a page that was read before must not bring it back.
    disarmed: HashSet<Key>,
}

/// Why a tick must be sent again.
#[derive(Debug)]
enum Miss {
    Refused(Refusal),
    /// The object answered something else than [`Reply::Ticked`].
    Mistaken,
    /// The object ended before it answered, or took too long.
    Silent,
}

impl Timer {
    fn new(
        clock: &Clock,
        storage: &storage::Service,
        directory: &Directory,
        node: &Arc<Caller>,
        random: StdRng,
    ) -> Self {
        Timer {
            clock: clock.clone(),
            storage: storage.clone(),
            directory: directory.clone(),
            node: node.clone(),
            random,
            agenda: Agenda::default(),
            reading: None,
            loaded: false,
            in_flight: 0,
            glance: None,
            delivered: 0,
            retried: 0,
        }
    }

    /// Sends what is due, as far as it may, and plans when to look again.
    fn turn(&mut self, context: &mut Context<Self>) {
        let (now, unix) = (self.clock.now(), self.clock.unix());
        if self.glance.is_some_and(|glance| glance <= now) {
            self.glance = None;
        }
        while self.in_flight < IN_FLIGHT {
            let Some(tick) = self.agenda.next(now, unix) else { break };
            self.send(tick, now, context);
        }
        // With as much under way as may be, the next landing is what there is to wait for.
        if self.in_flight < IN_FLIGHT {
            self.plan(now, unix, context);
        }
    }

    fn plan(&mut self, now: Moment, unix: UnixMillis, context: &mut Context<Self>) {
        let Some(wait) = self.agenda.wait(now, unix) else { return };
        let at = now + wait.min(GLANCE);
        if self.glance.is_none_or(|glance| glance > at) {
            self.glance = Some(at);
            context.at(&self.clock, at, Self::turn);
        }
    }

    fn send(&mut self, tick: Tick, now: Moment, context: &mut Context<Self>) {
        self.in_flight += 1;
        let end = now + DEADLINE;
        let request = Request::until(end);
        let call = Call { key: tick.key.clone(), request, caller: self.node.clone(), op: Op::Tick, stamp: None };
        let asked = self.directory.ask(call, now, false);
        let clock = self.clock.clone();
        let flight = async move {
            let answer = match asked {
                Asked::Done(answer) => Some(answer),
                Asked::Later(pending) => clock.timeout_at(end, pending).await.and_then(Result::ok),
            };
            match answer {
                Some(Ok(Reply::Ticked { next })) => Ok(next),
                Some(Ok(_)) => Err(Miss::Mistaken),
                Some(Err(refusal)) => Err(Miss::Refused(refusal)),
                None => Err(Miss::Silent),
            }
        };
        context.then(flight, |timer, outcome, context| {
            timer.in_flight -= 1;
            timer.land(tick, outcome);
            timer.turn(context);
        });
    }

    fn land(&mut self, tick: Tick, outcome: Result<Option<UnixMillis>, Miss>) {
        match outcome {
            Ok(next) => {
                self.delivered += 1;
                self.agenda.taken(tick, next);
            }
            Err(miss) => {
                self.retried += 1;
                tracing::debug!(key = %tick.key, ?miss, "tick missed");
                let least = match miss {
                    Miss::Refused(Refusal::Limited { retry_after_ms }) => Duration::from_millis(retry_after_ms),
                    Miss::Refused(_) | Miss::Mistaken | Miss::Silent => Duration::ZERO,
                };
                let random = &mut self.random;
                self.agenda.missed(tick, self.clock.now(), |failures| BACKOFF.wait(failures, random).max(least));
            }
        }
    }

    /// Starts to read the index from its beginning.
    fn read_index(&mut self, context: &mut Context<Self>) {
        self.reading = Some(Reading::default());
        self.read_page(context);
    }

    fn read_page(&mut self, context: &mut Context<Self>) {
        let Some(reading) = &self.reading else { return };
        let question = ReadDues { after: reading.after.clone(), limit: limits::PAGE_ITEMS };
        let read_dues = self.storage.read_dues.clone();
        context.then(async move { read_dues.call(question).await }, Self::take_page);
    }

    fn take_page(&mut self, answer: Result<Page, CallError>, context: &mut Context<Self>) {
        let Some(reading) = &mut self.reading else { return };
        let page = match answer {
            _ if reading.outdated => {
                *reading = Reading::default();
                return self.read_page(context);
            }
            Ok(Ok(page)) => page,
            failure => {
                reading.failures += 1;
                let wait = BACKOFF.wait(reading.failures, &mut self.random);
                tracing::warn!(?failure, ?wait, "the index of timers could not be read; it is tried again");
                return context.after(&self.clock, wait, Self::read_page);
            }
        };
        reading.failures = 0;
        let Some(last) = page.last() else {
            self.reading = None;
            self.loaded = true;
            return context.after(&self.clock, SWEEP, Self::read_index);
        };
        reading.after = Some(last.clone());
        for (due, key) in page {
            if !reading.disarmed.contains(&key) {
                self.agenda.learn(key, due);
            }
        }
        self.turn(context);
        self.read_page(context);
    }

    fn note_arm(&mut self, arm: &Arm) {
        let Some(reading) = &mut self.reading else { return };
        if arm.due.is_some() {
            reading.disarmed.remove(&arm.key);
        } else if reading.disarmed.len() < DISARMED {
            reading.disarmed.insert(arm.key.clone());
        }
    }
}

type Page = <ReadDues as Message>::Reply;

impl Actor for Timer {
    fn started(&mut self, context: &mut Context<Self>) {
        self.read_index(context);
    }
}

impl Handler<Arm> for Timer {
    fn handle(&mut self, arm: Arm, responder: Responder<()>, context: &mut Context<Self>) {
        self.note_arm(&arm);
        self.agenda.arm(arm.key, arm.due);
        responder.answer(());
        self.turn(context);
    }
}

impl Handler<DisarmAll> for Timer {
    fn handle(&mut self, _: DisarmAll, responder: Responder<()>, _: &mut Context<Self>) {
        self.agenda.clear();
        if let Some(reading) = &mut self.reading {
            reading.outdated = true;
        }
        responder.answer(());
    }
}

impl Handler<ReadTimers> for Timer {
    fn handle(&mut self, _: ReadTimers, responder: Responder<Timers>, _: &mut Context<Self>) {
        let unix = self.clock.unix().0;
        responder.answer(Timers {
            armed: self.agenda.len() as u64,
            loaded: self.loaded,
            delivered: self.delivered,
            retried: self.retried,
            next_ms: self.agenda.earliest().map(|due| due.0.wrapping_sub(unix) as i64),
        });
    }
}
