//! The supervisor at work: one task, one signal at a time.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::mpsc;

use super::child::{Link, Live};
use super::policy::{Failures, Restart};
use super::{Spec, join};
use crate::clock::Moment;
use crate::events::Kind;
use crate::exit::{Exit, Guard};
use crate::kernel::Kernel;
use crate::limits;
use crate::registry::{Action, Entry, Order, Status};
use crate::reply::Pending;

/// What wakes a supervisor.
#[derive(Debug)]
pub(super) enum Signal {
    /// A child ended.
    Exited { index: usize, generation: u64, exit: Exit },
    /// Make every child hold its messages back, or let it go on.
    Suspend(bool),
    /// Stop everything and end.
    Stop,
}

/// How long a child that did not stop in time may take to hear that it is killed.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Why the supervisor's loop ends.
enum End {
    Stopped,
    TooManyFailures(String),
}

/// A supervisor.
pub(super) struct Supervisor {
    spec: Rc<Spec>,
    kernel: Kernel,
    path: Arc<str>,
    entry: Arc<Entry>,
    slots: Vec<Slot>,
    failures: Failures,
    random: StdRng,
    sender: mpsc::Sender<Signal>,
    signals: mpsc::Receiver<Signal>,
    /// Signals that came while the supervisor waited for another one.
    backlog: VecDeque<Signal>,
    orders: mpsc::Receiver<Order>,
    next_probe: Moment,
}

/// One child over all its lives.
struct Slot {
    entry: Arc<Entry>,
    /// Tells the lives apart, so that the late end of a former one is not taken for the end of this one.
    generation: u64,
    live: Option<Box<dyn Live>>,
    due: Option<Moment>,
    probe: Option<(Moment, Pending<()>)>,
}

impl Supervisor {
    pub(super) fn new(spec: Rc<Spec>, kernel: Kernel, path: Arc<str>) -> Self {
        // Every child has one end under way at most, beside those of lives that were abandoned.
        let (sender, signals) = mpsc::channel(limits::SYSTEM_MAILBOX);
        let (control, orders) = mpsc::channel(16);
        let slots = spec.children.iter().map(|child| Slot {
            entry: kernel.registry.enter(
                &join(&path, child.id),
                child.start.supervises(),
                child.start.meters(),
                Some(control.clone()),
            ),
            generation: 0,
            live: None,
            due: None,
            probe: None,
        });
        let slots = slots.collect();
        let entry = kernel.registry.own_entry(&path);
        Supervisor {
            failures: Failures::new(spec.intensity),
            random: StdRng::from_os_rng(),
            next_probe: kernel.clock.now() + spec.probe.every,
            backlog: VecDeque::new(),
            spec,
            kernel,
            path,
            entry,
            slots,
            sender,
            signals,
            orders,
        }
    }

    pub(super) fn signals(&self) -> mpsc::Sender<Signal> {
        self.sender.clone()
    }

    /// Starts every child in order; stops those that started if one does not.
    pub(super) async fn start_all(&mut self) -> Result<(), String> {
        for index in 0..self.slots.len() {
            if let Err(reason) = self.start(index).await {
                self.stop_range(0..index).await;
                return Err(format!("{}: {reason}", self.slots[index].entry.path));
            }
        }
        self.kernel.registry.note(&self.entry, Status::Running);
        Ok(())
    }

    /// Supervises until told to stop, or until failures come too fast.
    pub(super) async fn run(mut self) -> Exit {
        let end = loop {
            if let Err(end) = self.step().await {
                break end;
            }
        };
        self.kernel.registry.note(&self.entry, Status::Stopping);
        self.stop_range(0..self.slots.len()).await;
        self.kernel.registry.note(&self.entry, Status::Ended);
        match end {
            End::Stopped => Exit::Stopped,
            End::TooManyFailures(reason) => {
                self.kernel.events.publish(Kind::Escalated, &*self.path, &*reason);
                Exit::Escalated(reason)
            }
        }
    }

    async fn step(&mut self) -> Result<(), End> {
        let wake = self.kernel.clock.sleep_until(self.next_wake());
        let signal = if let Some(signal) = self.backlog.pop_front() {
            signal
        } else {
            tokio::select! {
                Some(signal) = self.signals.recv() => signal,
                Some(order) = self.orders.recv() => return self.obey(order).await,
                () = wake => return self.wake().await,
            }
        };
        match signal {
            Signal::Stop => Err(End::Stopped),
            Signal::Suspend(held) => {
                (0..self.slots.len()).for_each(|index| self.suspend(index, held));
                Ok(())
            }
            Signal::Exited { index, generation, exit } if generation == self.slots[index].generation => {
                self.child_ended(index, exit).await
            }
            Signal::Exited { .. } => Ok(()),
        }
    }

    fn next_wake(&self) -> Moment {
        let due = self.slots.iter().filter_map(|slot| slot.due).min();
        due.map_or(self.next_probe, |due| due.min(self.next_probe))
    }

    /// Starts the children whose wait is over, and looks after the others.
    async fn wake(&mut self) -> Result<(), End> {
        let now = self.kernel.clock.now();
        for index in 0..self.slots.len() {
            if self.slots[index].due.is_some_and(|due| due <= now) {
                self.slots[index].due = None;
                if let Err(reason) = self.start(index).await {
                    return self.child_ended(index, Exit::NotStarted(reason)).await;
                }
            }
        }
        if self.next_probe <= now {
            self.next_probe = now + self.spec.probe.every;
            return self.probe_all(now).await;
        }
        Ok(())
    }

    async fn probe_all(&mut self, now: Moment) -> Result<(), End> {
        for index in 0..self.slots.len() {
            if !self.spec.children[index].probed {
                continue;
            }
            let slot = &mut self.slots[index];
            let unanswered = slot.probe.as_mut().and_then(|(asked, pending)| match pending.try_take() {
                Ok(None) => Some(*asked),
                Ok(Some(())) | Err(_) => None,
            });
            match unanswered {
                Some(asked) if now.since(asked) >= self.spec.probe.deadline => {
                    self.abandon(index);
                    self.child_ended(index, Exit::Stuck).await?;
                }
                Some(_) => {}
                None => slot.probe = slot.live.as_ref().and_then(|live| live.probe()).map(|pending| (now, pending)),
            }
        }
        Ok(())
    }

    /// A child ended: decides who is started again, and when.
    async fn child_ended(&mut self, index: usize, exit: Exit) -> Result<(), End> {
        self.clear(index);
        let child = &self.spec.children[index];
        let restart = child.restart.wanted(&exit);
        self.note_end(index, &exit, restart);
        if !restart {
            self.kernel.registry.note(&self.slots[index].entry, Status::Ended);
            return Ok(());
        }
        let now = self.kernel.clock.now();
        if self.failures.count(now) {
            let path = &self.slots[index].entry.path;
            let intensity = self.spec.intensity;
            return Err(End::TooManyFailures(format!(
                "more than {} failures in {:?}; the last: {path} {exit}",
                intensity.failures, intensity.within
            )));
        }
        let affected = self.spec.strategy.affected(index, self.slots.len());
        self.stop_range(affected.clone()).await;
        let due = now + self.spec.backoff.wait(self.failures.recent(), &mut self.random);
        for other in self.returning(index, affected) {
            let slot = &mut self.slots[other];
            slot.due = Some(due);
            self.kernel.registry.note(&slot.entry, Status::Waiting);
        }
        Ok(())
    }

    /// Those of the affected that are started again because this one is: all but temporary ones.
    fn returning(&self, index: usize, affected: std::ops::Range<usize>) -> Vec<usize> {
        let children = &self.spec.children;
        affected.filter(|other| *other == index || children[*other].restart != Restart::Temporary).collect()
    }

    fn note_end(&self, index: usize, exit: &Exit, restart: bool) {
        let entry = &self.slots[index].entry;
        entry.note_exit(&exit.to_string(), restart);
        if let Exit::Panicked(panic) = exit {
            tracing::error!(actor = &*entry.path, backtrace = panic.backtrace, "actor panicked");
        }
        self.kernel.events.publish(Kind::Ended, &*entry.path, exit.to_string());
    }

    async fn obey(&mut self, order: Order) -> Result<(), End> {
        let found = self.slots.iter().position(|slot| slot.entry.path == order.path);
        let index = found.expect("orders about a child come to its supervisor");
        let carried_out = match order.action {
            Action::Restart => self.restart(index).await,
            Action::Suspend | Action::Resume => {
                self.suspend(index, order.action == Action::Suspend);
                Ok(())
            }
        };
        let Err((failed, reason)) = carried_out else {
            order.done.answer(Ok(()));
            return Ok(());
        };
        order.done.answer(Err(format!("{} did not start: {reason}", self.slots[failed].entry.path)));
        self.child_ended(failed, Exit::NotStarted(reason)).await
    }

    /// Stops a child and those that its failure would stop, and starts them again. The first that did not start, and why.
    async fn restart(&mut self, index: usize) -> Result<(), (usize, String)> {
        let affected = self.spec.strategy.affected(index, self.slots.len());
        self.stop_range(affected.clone()).await;
        for other in self.returning(index, affected) {
            self.start(other).await.map_err(|reason| (other, reason))?;
        }
        Ok(())
    }

    fn suspend(&mut self, index: usize, held: bool) {
        let slot = &self.slots[index];
        if let Some(live) = &slot.live {
            live.suspend(held);
            self.kernel.registry.note(&slot.entry, if held { Status::Suspended } else { Status::Running });
        }
    }

    async fn start(&mut self, index: usize) -> Result<(), String> {
        let spec = self.spec.clone();
        let slot = &mut self.slots[index];
        assert!(slot.live.is_none(), "a child is started only after its former life has ended");
        slot.generation += 1;
        self.kernel.registry.note(&slot.entry, Status::Starting);
        let (sender, generation) = (self.sender.clone(), slot.generation);
        let guard = Guard::new(move |exit| {
            // The channel outlasts every child unless the supervisor is gone itself.
            let _supervisor_may_be_gone = sender.try_send(Signal::Exited { index, generation, exit });
        });
        let link = Link { kernel: self.kernel.clone(), path: slot.entry.path.clone(), guard };
        slot.live = Some(spec.children[index].start.start(link).await.inspect_err(|reason| {
            slot.entry.note_exit(reason, false);
            // The guard of the life that did not begin may report its end as well; one report is enough.
            slot.generation += 1;
        })?);
        slot.due = None;
        self.await_start(index).await;
        let entry = &self.slots[index].entry;
        self.kernel.registry.note(entry, Status::Running);
        self.kernel.events.publish(Kind::Started, &*entry.path, "started");
        Ok(())
    }

    /// Waits until a child has gone through `started`, as the next one may rest on what it does there, but no longer than
    /// for any probe. If it panics there, its end is reported as any other; if it is stuck there, the next probe tells.
    async fn await_start(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        let asked = self.kernel.clock.now();
        let Some(mut begun) = slot.live.as_ref().and_then(|live| live.probe()) else { return };
        let in_time = self.kernel.clock.timeout(self.spec.probe.deadline, &mut begun).await.is_some();
        if !in_time && self.spec.children[index].probed {
            slot.probe = Some((asked, begun));
        }
    }

    /// Stops children in reverse order, each after it has finished its work or its time is up. Nobody can send to a child
    /// any more once it is asked to stop, so that what it took in before is all that it has to finish. The children of a
    /// supervisor are asked one by one: until then they may need each other.
    async fn stop_range(&mut self, range: std::ops::Range<usize>) {
        for index in range.rev() {
            self.slots[index].due = None;
            if let Some(live) = &self.slots[index].live {
                let start = &self.spec.children[index].start;
                if !start.supervises() {
                    start.vacate();
                }
                live.stop();
                self.kernel.registry.note(&self.slots[index].entry, Status::Stopping);
                let exit = self.await_end(index, self.spec.children[index].shutdown).await;
                self.clear(index);
                self.note_end(index, &exit, false);
            }
            self.kernel.registry.note(&self.slots[index].entry, Status::Ended);
        }
    }

    /// Waits for the end of one child; keeps what else comes for later.
    async fn await_end(&mut self, awaited: usize, patience: Duration) -> Exit {
        let mut time_is_up = self.kernel.clock.sleep(patience);
        let mut killed = false;
        let earlier = self.backlog.iter().position(|signal| self.is_end_of(signal, awaited));
        if let Some(Signal::Exited { exit, .. }) = earlier.and_then(|position| self.backlog.remove(position)) {
            return exit;
        }
        loop {
            let signal = tokio::select! {
                Some(signal) = self.signals.recv() => signal,
                () = &mut time_is_up => {
                    if std::mem::replace(&mut killed, true) {
                        self.abandon(awaited);
                        return Exit::Killed;
                    }
                    self.kill(awaited);
                    time_is_up = self.kernel.clock.sleep(LAST_WORD);
                    continue;
                }
            };
            match signal {
                Signal::Exited { index, generation, exit }
                    if index == awaited && generation == self.slots[index].generation =>
                {
                    return exit;
                }
                other => self.backlog.push_back(other),
            }
        }
    }

    fn is_end_of(&self, signal: &Signal, awaited: usize) -> bool {
        matches!(signal, Signal::Exited { index, generation, .. }
            if *index == awaited && *generation == self.slots[awaited].generation)
    }

    fn kill(&self, index: usize) {
        if let Some(live) = &self.slots[index].live {
            live.kill();
        }
    }

    /// Gives up a life that cannot be ended: its thread is left behind, and its end, should it come, is nobody's.
    fn abandon(&mut self, index: usize) {
        self.kill(index);
        self.slots[index].generation += 1;
        self.spec.children[index].start.renew();
    }

    fn clear(&mut self, index: usize) {
        self.spec.children[index].start.vacate();
        let slot = &mut self.slots[index];
        slot.live = None;
        slot.probe = None;
    }
}

impl Drop for Supervisor {
    /// Only a supervisor that fails itself still has children. They must not live on beside those that come after them.
    fn drop(&mut self) {
        self.slots.iter().rev().filter_map(|slot| slot.live.as_ref()).for_each(|live| live.stop());
    }
}
