//! The actor that owns every bucket.
//!
//! It promises that nobody gets more tokens from a bucket than its rate and burst allow, and that a question is answered
//! at once. It remembers nothing on the disk: after a restart every bucket is full. It never asks anyone anything.

use comet_kernel::contract::limiter::{Buckets, Lease, Leased, ReadBuckets, Service, Subject};
use comet_kernel::settings::{Aso, Gateway};
use comet_kernel::supervisor::{ActorSpec, Child};
use comet_kernel::{Actor, Clock, Context, Handler, Kernel, Responder, Thread, limits};

use crate::bank::Bank;

/// Microseconds in a millisecond: a processor token is one microsecond.
const MICROS: u64 = 1_000;
/// Seconds over which processor time is averaged.
const PROCESSOR_SECONDS: u32 = 10;
/// Seconds of requests and calls that may come at once.
const CALL_SECONDS: u32 = 1;
/// Seconds of actions in the network that an object may ask for at once.
const ACTION_SECONDS: u32 = 2;

/// The limiter's place in the tree, with the rates of this configuration: an actor named `limiter` on a thread of its own.
pub fn child(kernel: &Kernel, gateway: &Gateway, aso: &Aso, service: &Service) -> Child {
    let (clock, gateway, aso) = (kernel.clock.clone(), gateway.clone(), aso.clone());
    ActorSpec::new("limiter", &Thread::new("limiter"), move || Ok(Limiter::new(&clock, &gateway, &aso)))
        .mailbox(limits::SHARED_MAILBOX)
        .serves(&service.lease)
        .serves(&service.read_buckets)
        .into()
}

/// Owns every bucket.
#[derive(Debug)]
pub struct Limiter {
    clients: Bank,
    objects: Bank,
    callers: Bank,
    processors: Bank,
    networks: Bank,
    granted: u64,
    refused: u64,
}

impl Limiter {
    fn new(clock: &Clock, gateway: &Gateway, aso: &Aso) -> Self {
        Limiter {
            clients: Bank::new(clock, gateway.requests_per_second, CALL_SECONDS),
            objects: Bank::new(clock, aso.calls_per_second, CALL_SECONDS),
            callers: Bank::new(clock, aso.caller_calls_per_second, CALL_SECONDS),
            processors: Bank::new(clock, aso.cpu_share_ms * MICROS, PROCESSOR_SECONDS),
            networks: Bank::new(clock, aso.actions_per_second, ACTION_SECONDS),
            granted: 0,
            refused: 0,
        }
    }

    fn bank(&self, subject: &Subject) -> &Bank {
        match subject {
            Subject::Client(_) => &self.clients,
            Subject::Object(_) => &self.objects,
            Subject::CallerAtObject(..) => &self.callers,
            Subject::Processor(_) => &self.processors,
            Subject::Network(_) => &self.networks,
        }
    }
}

impl Actor for Limiter {}

impl Handler<Lease> for Limiter {
    fn handle(&mut self, lease: Lease, responder: Responder<Leased>, _: &mut Context<Self>) {
        let leased = self.bank(&lease.subject).lease(&lease.subject, lease.tokens);
        match leased {
            Leased::Granted { .. } => self.granted += 1,
            Leased::Refused { .. } => self.refused += 1,
        }
        responder.answer(leased);
    }
}

impl Handler<ReadBuckets> for Limiter {
    fn handle(&mut self, _: ReadBuckets, responder: Responder<Buckets>, _: &mut Context<Self>) {
        let banks = [&self.clients, &self.objects, &self.callers, &self.processors, &self.networks];
        let held = banks.map(Bank::held).iter().sum::<usize>() as u64;
        responder.answer(Buckets { held, granted: self.granted, refused: self.refused });
    }
}
