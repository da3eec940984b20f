//! How a shard lets the store be cleared: it stands still until it is known what became of that.
//!
//! Meanwhile nothing of it is sent to storage, which would come behind the clearing. Its keys are out of the directory, so
//! that calls come here and wait; what comes to its end is acted on later. If the store was cleared, everything in memory
//! is forgotten. If it refused, the shard goes on with everything as it was.

use std::fmt;

use comet_kernel::directory::{CallResponder, Presence};
use comet_kernel::{Context, Handler, Key, Message, Pending, Responder, Work, limits};

use super::{Busy, Shard, Waiting, wait};
use comet_kernel::contract::aso::Call;

/// Stand still until this says how the clearing has ended.
#[derive(Debug)]
pub(crate) struct Hold(pub Pending<End>);

impl Message for Hold {
    type Reply = ();
    const NAME: &'static str = "aso::Hold";
}

/// The end of a clearing.
#[derive(Debug)]
pub(crate) struct End {
    pub fate: Fate,
    /// Whoever wants to know that the shard goes on.
    pub done: Responder<()>,
}

/// What became of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is empty.
    Cleared,
    /// It has everything that it had.
    Untouched,
    /// Either: whoever knew it has ended. The disk will show.
    Unknown,
}

/// What waits for the end of a clearing.
#[derive(Default)]
pub(super) struct Clearing {
    /// What was in memory, and how many bytes that takes.
    kept: Vec<(Key, Presence, usize)>,
    /// What has come to its end, in order.
    late: Vec<Late>,
    calls: Waiting,
}

type Late = Box<dyn FnOnce(&mut Shard, &mut Context<Shard>)>;

impl fmt::Debug for Clearing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Clearing").field("kept", &self.kept.len()).finish_non_exhaustive()
    }
}

impl Clearing {
    pub fn wait(&mut self, call: Call, responder: CallResponder) {
        wait(&mut self.calls, limits::SHARED_MAILBOX, call, responder);
    }
}

impl Handler<Hold> for Shard {
    fn handle(&mut self, Hold(end): Hold, responder: Responder<()>, context: &mut Context<Self>) {
        // Whoever cleared before has ended without a word.
        self.end_clearing(Fate::Unknown, context);
        self.local.still.set(true);
        self.clearing = Some(Clearing { kept: self.take_out(), ..Clearing::default() });
        let epoch = self.local.epoch.get();
        context.then(end, move |shard, end, context| {
            let End { fate, done } = end.unwrap_or_else(|_| End { fate: Fate::Unknown, done: Responder::nobody() });
            if shard.local.epoch.get() == epoch {
                shard.end_clearing(fate, context);
            }
            done.answer(());
        });
        responder.answer(());
    }
}

impl Shard {
    /// Acts on what a future gives, unless the store was cleared meanwhile; if that is being tried, at its end.
    pub(super) fn unless_cleared<F, O>(
        &self,
        context: &mut Context<Self>,
        future: F,
        finish: impl FnOnce(&mut Shard, O, &mut Context<Self>) + 'static,
    ) where
        F: Future<Output = O> + 'static,
        O: 'static,
    {
        let epoch = self.local.epoch.get();
        context.then(future, move |shard, output, context| {
            shard.when_free(context, move |shard, context| {
                if shard.local.epoch.get() == epoch {
                    finish(shard, output, context);
                }
            });
        });
    }

    /// Acts now, or at the end of the clearing that is being tried.
    pub(super) fn when_free(
        &mut self,
        context: &mut Context<Self>,
        act: impl FnOnce(&mut Shard, &mut Context<Self>) + 'static,
    ) {
        match &mut self.clearing {
            Some(clearing) => clearing.late.push(Box::new(act)),
            None => act(self, context),
        }
    }

    fn end_clearing(&mut self, fate: Fate, context: &mut Context<Self>) {
        let Some(Clearing { kept, late, calls }) = self.clearing.take() else { return };
        self.local.still.set(false);
        let mut waiting = Waiting::new();
        if fate == Fate::Untouched {
            let env = &self.local.env;
            for (key, presence, bytes) in kept {
                env.directory.insert(&key, presence, bytes, env.now());
            }
        } else {
            waiting = self.forget();
        }
        for act in late {
            act(self, context);
        }
        waiting.extend(calls);
        if fate == Fate::Unknown {
            self.held = Some(waiting);
            self.await_former_life(context);
        } else {
            self.drain(waiting, context);
        }
    }

    /// Forgets everything but the calls that wait.
    fn forget(&mut self) -> Waiting {
        self.local.epoch.set(self.local.epoch.get() + 1);
        let mut waiting = self.held.take().unwrap_or_default();
        for (_, busy) in self.busy.drain() {
            match busy {
                Busy::Loading(calls) | Busy::Retiring(_, _, calls) => waiting.extend(calls),
                Busy::Changing(mut changing) => {
                    changing.pipeline.fail("the store was cleared meanwhile");
                    waiting.extend(changing.deferred);
                }
            }
        }
        self.hand.clear();
        self.behind.clear();
        self.local.pressed.borrow_mut().clear();
        self.deaths.clear();
        waiting
    }

    /// Takes every key of this shard out of the directory.
    pub(super) fn take_out(&self) -> Vec<(Key, Presence, usize)> {
        let env = &self.local.env;
        let now = env.now();
        let out = env.directory.keys_of(self.number, false).into_iter().filter_map(|key| {
            let (_, bytes) = env.directory.idle(&key, now)?;
            Some((key.clone(), env.directory.remove(&key)?, bytes))
        });
        out.collect()
    }
}
