//! How many more requests a connection may make, if the configuration limits that.
//!
//! The limiter owns the bucket of a client's address. A connection spends a lease of many tokens by itself, and asks
//! for the next one in the background when half is spent, so that only its first requests wait for a lease. Its first
//! lease is of one token, and each is twice as large as the one before, because what a connection has not spent is lost
//! with it: many connections of few requests must not use up what their address may.

use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use comet_kernel::contract::limiter::{Lease, Leased, Subject};
use comet_kernel::{Handle, Moment, Pending};

use crate::error_line::ErrorLine;

/// Leases that a full second's tokens are dealt in, so that connections of one address can share them.
const SHARES: u64 = 16;
/// Most tokens of one lease.
const LARGEST: u64 = 1_024;

/// The tokens of one connection.
#[derive(Debug)]
pub(crate) struct Allowance {
    limiter: Handle<Lease>,
    ip: IpAddr,
    /// Tokens to ask for at once, at most.
    share: u32,
    /// Tokens that were asked for last.
    lease: u32,
    tokens: u32,
    asked: Option<Pending<Leased>>,
    refused_until: Moment,
}

/// Whether a request may start.
#[derive(Debug, PartialEq)]
pub(crate) enum Permit {
    /// It may.
    Granted,
    /// That will be known later; the connection is woken then.
    Unknown,
    /// It may not.
    Refused(ErrorLine),
}

impl Allowance {
    /// The allowance of a client at `ip`; none if requests are not limited.
    pub(crate) fn new(limiter: &Handle<Lease>, ip: IpAddr, requests_per_second: u64) -> Option<Self> {
        let share = (requests_per_second / SHARES).clamp(1, LARGEST) as u32;
        (requests_per_second > 0).then(|| Allowance {
            limiter: limiter.clone(),
            ip: ip.to_canonical(),
            share,
            lease: 0,
            tokens: 0,
            asked: None,
            refused_until: Moment::default(),
        })
    }

    /// Spends a token on one request.
    pub(crate) fn spend(&mut self, now: Moment, context: &mut Context<'_>) -> Permit {
        let mut heard = self.hear(now, context);
        if self.tokens == 0 && self.may_ask(now) {
            self.asked = self.ask();
            heard = self.hear(now, context);
        }
        match (self.tokens, heard) {
            (0, Poll::Pending) => Permit::Unknown,
            (0, Poll::Ready(())) => Permit::Refused(self.refusal(now)),
            _ => {
                self.tokens -= 1;
                if self.lease > 1 && self.tokens <= self.lease / 2 && self.may_ask(now) {
                    // If nobody takes the question it is asked again with the next request.
                    self.asked = self.ask();
                }
                Permit::Granted
            }
        }
    }

    fn may_ask(&self, now: Moment) -> bool {
        self.asked.is_none() && self.refused_until <= now
    }

    fn refusal(&self, now: Moment) -> ErrorLine {
        if self.refused_until <= now {
            return ErrorLine::fixed("UNAVAILABLE the limiter does not answer; try again");
        }
        let wait = self.refused_until.since(now).as_millis().max(1);
        ErrorLine::new(format!("LIMITED retry after {wait} ms"))
    }

    fn ask(&mut self) -> Option<Pending<Leased>> {
        self.lease = (2 * self.lease).clamp(1, self.share);
        let lease = Lease { subject: Subject::Client(self.ip), tokens: self.lease };
        self.limiter.ask(lease).ok()
    }

    /// Takes in the answer to a question if it is there.
    fn hear(&mut self, now: Moment, context: &mut Context<'_>) -> Poll<()> {
        let Some(asked) = &mut self.asked else { return Poll::Ready(()) };
        let Poll::Ready(answer) = Future::poll(Pin::new(asked), context) else { return Poll::Pending };
        self.asked = None;
        match answer {
            Ok(Leased::Granted { tokens }) => self.tokens += tokens,
            Ok(Leased::Refused { retry_after_ms }) => {
                self.refused_until = now + Duration::from_millis(retry_after_ms.max(1));
            }
            // The limiter is being restarted.
            Err(_) => {}
        }
        Poll::Ready(())
    }
}
