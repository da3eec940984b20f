//! How keys leave memory: those not used for longest first.
//!
//! A clock's hand goes round the keys. A key that was used since the hand's last visit stays; one that was not
//! leaves if memory is short or its time is up. A plain value just leaves the directory; an object is asked to
//! write out what is pending first. One that somebody waits for, or that waits for the network, stays unless memory
//! is short; then it leaves as it would if the node ended.

use std::time::Duration;

use comet_kernel::contract::aso::{Call, Op, Refusal, Reply};
use comet_kernel::contract::storage::Read;
use comet_kernel::directory::Presence;
use comet_kernel::reply::NoAnswer;
use comet_kernel::{Context, Key, Request, Responder, Work};

use super::{Busy, Shard, Waiting};
use crate::env::Leaving;

/// How often the hand moves while there is room, and while there is too little.
const INTERVAL: Duration = Duration::from_secs(1);
const INTERVAL_WHEN_SHORT: Duration = Duration::from_millis(10);
/// How many keys it visits at the most each time, and how many leave, so that a visit does not hold up calls.
const VISITS: usize = 8_192;
const LEAVES: usize = 1_024;
/// A key that was used within this long stays while memory is only a little short: it would come back at once.
const FRESH: Duration = Duration::from_secs(2);
/// How many objects are retired at once when the node stops.
const RETIRING_AT_ONCE: usize = 256;

/// What an object says that was asked to retire.
type Retired = Result<Result<Reply, Refusal>, NoAnswer>;

impl Shard {
    pub(super) fn sweep_later(&mut self, context: &mut Context<Self>) {
        let clock = self.local.env.kernel.clock.clone();
        let interval = if self.local.env.shortage() > 0 { INTERVAL_WHEN_SHORT } else { INTERVAL };
        context.after(&clock, interval, |shard, context| {
            shard.local.arm_waiting();
            if shard.clearing.is_none() {
                shard.sweep(context);
            }
            shard.sweep_later(context);
        });
    }

    fn sweep(&mut self, context: &mut Context<Self>) {
        let env = self.local.env.clone();
        let now = env.now();
        let idle_limit = Duration::from_secs(env.settings.idle_seconds);
        let mut plain = Vec::new();
        let mut left = 0;
        let mut surplus = env.shortage() / env.directory.shards().len();
        // Past a quarter too much it does not matter any more when a key was used last.
        let spared = if env.shortage() > env.room() / 4 { Duration::ZERO } else { FRESH };
        for _ in 0..VISITS.min(self.hand.len()) {
            let Some(key) = self.hand.pop_front() else { break };
            // A key that is not in memory any more, or is in the middle of something, gets its place back later.
            let Some((idle, bytes)) = env.directory.idle(&key, now) else { continue };
            let leaves = left < LEAVES && (idle >= idle_limit || (surplus > 0 && idle >= spared));
            if !leaves || self.busy.contains_key(&key) || self.behind.contains(&key) {
                self.hand.push_back(key);
                continue;
            }
            surplus = surplus.saturating_sub(bytes);
            left += 1;
            if env.directory.is_active(&key) {
                self.retire(key, false, context);
            } else if let Some(record) = env.directory.settled(&key) {
                plain.push((key, record));
            }
        }
        if plain.is_empty() {
            return;
        }
        // A value may stand in memory only while its write is on the way.
        context.then(env.barrier(), move |shard, done, _| {
            for (key, record) in plain {
                let directory = &shard.local.env.directory;
                let same = directory.settled(&key).is_some_and(|now| std::sync::Arc::ptr_eq(&now, &record));
                let busy = shard.busy.contains_key(&key) || shard.behind.contains(&key);
                if done && same && !busy {
                    directory.remove(&key);
                } else {
                    shard.hand.push_back(key);
                }
            }
        });
    }

    /// Lets an object write out what is pending and end. Calls on its key wait until it has.
    pub(super) fn retire(&mut self, key: Key, force: bool, context: &mut Context<Self>) {
        let env = self.local.env.clone();
        if self.behind.may_fail(&key) {
            return self.behind.postpone(key);
        }
        if self.busy.contains_key(&key) || !env.directory.is_active(&key) {
            return;
        }
        let bytes = env.directory.idle(&key, env.now()).map_or(0, |(_, bytes)| bytes);
        let short = env.shortage() > 0;
        let Some(Presence::Active(door)) = env.directory.remove(&key) else { return };
        let request = Request::until(env.now() + Duration::from_secs(60));
        let call = Call { key: key.clone(), request, caller: env.node.clone(), op: Op::Retire { force }, stamp: None };
        let Ok(pending) = door.ask(call) else {
            // It has died, or its mailbox is full; then it is in use.
            if door.is_open() {
                self.insert(&key, Presence::Active(door), bytes);
            }
            return;
        };
        if short {
            self.local.pressed.borrow_mut().insert(key.clone());
        }
        let leaving = Leaving::new(env, bytes);
        self.busy.insert(key.clone(), Busy::Retiring(door, leaving, Waiting::new()));
        self.unless_cleared(context, pending, move |shard, outcome, context| shard.retired(&key, outcome, context));
    }

    fn retired(&mut self, key: &Key, outcome: Retired, context: &mut Context<Self>) {
        self.local.pressed.borrow_mut().remove(key);
        let Some(Busy::Retiring(door, leaving, waiting)) = self.busy.remove(key) else { return };
        match outcome {
            Ok(Ok(Reply::Retired)) => self.drain(waiting, context),
            Ok(Ok(Reply::Stranded(calls))) => {
                let calls = calls.into_iter().chain(waiting).collect();
                self.load(Read { key: key.clone(), request: None }, calls, true, context);
            }
            _ => {
                // It stays; or it has died, which the next call finds out by its door.
                self.insert(key, Presence::Active(door), leaving.bytes);
                self.drain(waiting, context);
            }
        }
    }

    /// Retires what is to leave before the shard stops, so many at a time, and answers when nothing is left.
    pub(super) fn retire_all(&mut self, done: Responder<()>, context: &mut Context<Self>) {
        while self.busy.len() < RETIRING_AT_ONCE && self.clearing.is_none() && !self.behind.is_under_way() {
            let Some(key) = self.leaving.pop() else { break };
            self.retire(key, true, context);
        }
        let written = self.behind.is_empty() || self.local.env.storage.gate.is_shut();
        let free = self.clearing.is_none() && !self.behind.is_under_way();
        if self.leaving.is_empty() && self.busy.is_empty() && written && free {
            // Calls that were waiting may have brought objects back.
            self.leaving = self.local.env.directory.keys_of(self.number, true);
            if self.leaving.is_empty() {
                return done.answer(());
            }
        }
        let clock = self.local.env.kernel.clock.clone();
        context.after(&clock, Duration::from_millis(1), |shard, context| shard.retire_all(done, context));
    }

    /// Puts a key in memory and on the clock.
    pub(super) fn insert(&mut self, key: &Key, presence: Presence, bytes: usize) {
        let directory = &self.local.env.directory;
        if directory.insert(key, presence, bytes, self.local.env.now()) {
            self.hand.push_back(key.clone());
        }
        // A key that leaves and comes back before the hand visits it stands there twice.
        if self.hand.len() > 2 * directory.size().keys + VISITS {
            self.hand = directory.keys_of(self.number, false).into();
        }
    }
}
