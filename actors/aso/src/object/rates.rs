//! How often an object may be called, by everyone and by each caller, if the configuration limits that.
//!
//! The limiter owns the buckets. The object spends a lease of several tokens by itself; when it is used up the mailbox waits
//! for the next one, so that no call is refused while there are tokens in the bucket.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use comet_kernel::contract::aso::{Call, Op, Refusal};
use comet_kernel::contract::limiter::{Lease, Subject};
use comet_kernel::directory::CallResponder;
use comet_kernel::{Context, Work};

use super::Object;
use super::allowance::{Allowance, May};

/// Leases that the tokens of a second are dealt in, and the most tokens of one lease.
const SHARES: u64 = 16;
const LARGEST: u64 = 1_024;
/// Callers whose leases an object keeps. What is left of the lease of one who called longer ago is lost.
const CALLERS: usize = 64;
/// How long the limiter may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// The leases of one object.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    everyone: Allowance,
    /// Those of callers, latest last.
    callers: VecDeque<(Arc<str>, Allowance)>,
}

/// What a call comes to.
enum Toll {
    Paid,
    Refused(Duration),
    /// A lease is used up.
    Due(Lease),
}

impl Rates {
    fn of(&mut self, subject: &Subject) -> &mut Allowance {
        match subject {
            Subject::CallerAtObject(caller, _) => self.of_caller(caller),
            _ => &mut self.everyone,
        }
    }

    fn of_caller(&mut self, caller: &Arc<str>) -> &mut Allowance {
        let known = self.callers.iter().position(|(other, _)| other == caller);
        let found = known.and_then(|position| self.callers.remove(position));
        if self.callers.len() == CALLERS {
            self.callers.pop_front();
        }
        self.callers.push_back(found.unwrap_or_else(|| (caller.clone(), Allowance::default())));
        &mut self.callers.back_mut().expect("it was put there").1
    }
}

impl Object {
    /// Serves a call unless it comes too soon after others.
    pub(super) fn admit(&mut self, call: Call, responder: CallResponder, context: &mut Context<Self>) {
        match self.toll(&call) {
            Toll::Paid => self.serve(call, responder, context),
            Toll::Refused(wait) => {
                responder.answer(Err(Refusal::Limited { retry_after_ms: wait.as_millis().max(1) as u64 }));
            }
            Toll::Due(lease) => self.take_lease(lease, call, responder, context),
        }
    }

    /// Takes the tokens for a call, or none of them if one is not there.
    fn toll(&mut self, call: &Call) -> Toll {
        let settings = &self.local.env.settings;
        let rates = [settings.calls_per_second, settings.caller_calls_per_second];
        if rates == [0, 0] || !matches!(call.op, Op::Get { .. } | Op::Put(_) | Op::Edit(_) | Op::Revise(_) | Op::Remove)
        {
            return Toll::Paid;
        }
        let key = &self.key;
        let subjects = [Subject::Object(key.clone()), Subject::CallerAtObject(call.caller.id.clone(), key.clone())];
        let limited: Vec<_> = subjects.into_iter().zip(rates).filter(|(_, rate)| *rate > 0).collect();
        let now = self.local.env.now();
        let leases = &mut self.extras().rates;
        for (subject, rate) in &limited {
            let lease = leases.of(subject);
            match lease.may(|| now) {
                May::Go => {}
                May::Wait(_) if lease.wants(1, || now) => {
                    let tokens = (rate / SHARES).clamp(1, LARGEST) as u32;
                    return Toll::Due(Lease { subject: subject.clone(), tokens });
                }
                May::Wait(wait) => return Toll::Refused(wait),
            }
        }
        for (subject, _) in &limited {
            leases.of(subject).spend(1);
        }
        Toll::Paid
    }

    fn take_lease(&mut self, lease: Lease, call: Call, responder: CallResponder, context: &mut Context<Self>) {
        let (env, subject) = (self.local.env.clone(), lease.subject.clone());
        let clock = env.kernel.clock.clone();
        let granted = async move { env.kernel.clock.timeout(PATIENCE, env.limiter.lease.call(lease)).await };
        context.hold(granted, move |object, granted, context| {
            object.extras().rates.of(&subject).receive(granted.and_then(Result::ok), clock.now());
            object.admit(call, responder, context);
        });
    }
}
