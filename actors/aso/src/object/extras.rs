//! What few objects have, so that the many need not pay for it: parked requests, actions, a log, failures.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use comet_kernel::contract::aso::Refusal;
use comet_kernel::directory::CallResponder;
use comet_kernel::supervisor::{Failures, Intensity};
use comet_kernel::{Caller, Moment, NodeId, Value, limits};

use super::rates::Rates;
use crate::env::Env;

/// What a line of the log takes besides its text.
const LINE_BYTES: usize = 40;
/// An object is weighed when its log takes so many bytes more, or less, than the last time: to weigh it copies its state.
const NOTABLE_BYTES: usize = 1_024;

/// A parked request.
#[derive(Debug)]
struct Parked {
    responder: CallResponder,
    /// When it times out.
    end: Moment,
}

/// What few objects have.
#[derive(Debug, Default)]
pub(crate) struct Extras {
    /// Who waits, oldest first, as the sandbox wants to see them; `requests` holds the rest in the same order.
    callers: Vec<Arc<Caller>>,
    requests: VecDeque<Parked>,
    /// Actions in the network that are under way.
    actions: usize,
    /// The nodes that called last, latest last, if the script uses the network.
    callers_of_late: Vec<NodeId>,
    log: VecDeque<String>,
    /// The bytes of the log when the object was last weighed for its sake.
    log_weighed: usize,
    failures: Option<Failures>,
    /// What is left of the calls that the limiter has granted, if the configuration limits them.
    pub rates: Rates,
    /// When it is seen to that parked requests time out.
    pub waking: Option<Moment>,
    /// A version of the script that the object's `onUpgrade` refused.
    pub refused_upgrade: Option<comet_kernel::ScriptHash>,
}

impl Extras {
    /// Whose requests are parked.
    pub fn parked(&self) -> &[Arc<Caller>] {
        &self.callers
    }

    /// Parks a request, until then at most.
    pub fn park(&mut self, caller: Arc<Caller>, responder: CallResponder, end: Moment) {
        self.callers.push(caller);
        self.requests.push_back(Parked { responder, end });
    }

    /// Takes out parked requests by their position, each with what answers it.
    pub fn take_parked(&mut self, mut replies: Vec<(usize, Value)>) -> Vec<(CallResponder, Value)> {
        // From the last, so that the positions before stay true.
        replies.sort_by_key(|(position, _)| std::cmp::Reverse(*position));
        replies.dedup_by_key(|(position, _)| *position);
        let mut taken = Vec::with_capacity(replies.len());
        for (position, value) in replies {
            if let Some(Parked { responder, .. }) = self.requests.remove(position) {
                self.callers.remove(position);
                taken.push((responder, value));
            }
        }
        taken.reverse();
        taken
    }

    /// Ends the requests whose time is over. When the next one's is, if there is one.
    pub fn time_out(&mut self, now: Moment, patience: Duration) -> Option<Moment> {
        for position in (0..self.requests.len()).rev().filter(|at| self.requests[*at].end <= now).collect::<Vec<_>>() {
            self.callers.remove(position);
            if let Some(Parked { responder, .. }) = self.requests.remove(position) {
                responder.answer(Err(Refusal::TimedOut(patience.as_millis() as u64)));
            }
        }
        self.requests.iter().map(|parked| parked.end).min()
    }

    /// What is left for an object that takes this one's place.
    pub fn successor(&self) -> Option<Extras> {
        let (waking, actions) = (self.waking, self.actions);
        (waking.is_some() || actions > 0).then(|| Extras { actions, waking, ..Extras::default() })
    }

    /// Ends every parked request.
    pub fn end_parked(&mut self, refusal: &Refusal) {
        self.callers.clear();
        for Parked { responder, .. } in self.requests.drain(..) {
            responder.answer(Err(refusal.clone()));
        }
    }

    /// Whether somebody or something is waited for.
    pub fn is_busy(&self) -> bool {
        !self.callers.is_empty() || self.actions > 0
    }

    /// Counts an action that begins; false if as many are under way as may be.
    pub fn begin_action(&mut self) -> bool {
        let room = self.actions < limits::ACTIONS_UNDER_WAY;
        self.actions += usize::from(room);
        room
    }

    /// Counts an action that has ended.
    pub fn end_action(&mut self) {
        self.actions = self.actions.saturating_sub(1);
    }

    /// Notes that this caller's node has called.
    pub fn remember_caller(&mut self, caller: &str) {
        let node = caller.split('/').next().unwrap_or_default();
        let callers = &mut self.callers_of_late;
        if callers.last().is_some_and(|latest| latest.as_str() == node) {
            return;
        }
        callers.retain(|other| other.as_str() != node);
        if callers.len() == limits::REMEMBERED_CALLERS {
            callers.remove(0);
        }
        callers.push(NodeId::from_text(node));
    }

    /// The nodes that called last.
    pub fn callers_of_late(&self) -> Vec<NodeId> {
        self.callers_of_late.clone()
    }

    /// Appends lines to the log ring.
    pub fn append(&mut self, lines: Vec<String>) {
        self.log.extend(lines);
        let surplus = self.log.len().saturating_sub(limits::LOG_LINES);
        self.log.drain(..surplus);
    }

    /// Appends a line of the node's own, which may quote a script: what could act on a terminal is taken out.
    pub fn note(&mut self, line: &str) {
        let printable = line.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
        let mut room = limits::LOG_LINE_BYTES;
        let fitting = printable.take_while(|letter| {
            let fits = letter.len_utf8() <= room;
            room = room.saturating_sub(letter.len_utf8());
            fits
        });
        self.append(vec![fitting.collect()]);
    }

    /// The log ring, oldest line first.
    pub fn log(&self) -> Vec<String> {
        self.log.iter().cloned().collect()
    }

    /// Roughly the bytes that the log takes in memory.
    pub fn log_bytes(&self) -> usize {
        self.log.iter().map(|line| LINE_BYTES + line.len()).sum()
    }

    /// Whether the log takes notably more, or less, than when this was last so.
    pub fn has_grown(&mut self) -> bool {
        let bytes = self.log_bytes();
        let notable = bytes.abs_diff(self.log_weighed) >= NOTABLE_BYTES;
        if notable {
            self.log_weighed = bytes;
        }
        notable
    }

    /// Counts a failure; whether there have been enough for a quarantine.
    pub fn fail(&mut self, env: &Env) -> bool {
        self.failures.get_or_insert_with(|| Failures::new(quarantine_intensity(env))).count(env.now())
    }

    /// Forgets the failures.
    pub fn forgive(&mut self) {
        self.failures = None;
    }
}

/// How many failures lead to a quarantine: the last of the configured number does.
pub(crate) fn quarantine_intensity(env: &Env) -> Intensity {
    let failures = env.settings.quarantine_failures as usize - 1;
    Intensity { failures, within: Duration::from_secs(env.settings.quarantine_seconds) }
}
