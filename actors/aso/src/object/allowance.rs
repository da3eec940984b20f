//! What an object may use: leases of tokens from the limiter, spent here without asking.

use std::time::Duration;

use comet_kernel::Moment;
use comet_kernel::contract::limiter::Leased;

/// One lease.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Allowance {
    /// Tokens left. What was used is known only afterwards, so that it may fall below zero.
    left: i32,
    asked: bool,
    refused_until: Option<Moment>,
}

/// Whether something may be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum May {
    /// Yes.
    Go,
    /// Not before so long.
    Wait(Duration),
}

impl Allowance {
    /// A lease of so many tokens, which nobody was asked for.
    pub fn new(tokens: i32) -> Self {
        Allowance { left: tokens, asked: false, refused_until: None }
    }

    /// Whether there is something left to use.
    pub fn may(&self, now: impl FnOnce() -> Moment) -> May {
        if self.left > 0 {
            return May::Go;
        }
        let now = now();
        match self.refused_until {
            Some(until) if until > now => May::Wait(until.since(now)),
            // An answer is under way; it takes about as long as a message.
            _ => May::Wait(Duration::from_millis(1)),
        }
    }

    /// Uses tokens.
    pub fn spend(&mut self, tokens: i32) {
        self.left = self.left.saturating_sub(tokens);
    }

    /// Whether it is time to ask for more than is left; if so, the answer has to come through [`Allowance::receive`].
    pub fn wants(&mut self, low: i32, now: impl FnOnce() -> Moment) -> bool {
        if self.left >= low || self.asked {
            return false;
        }
        let refused = self.refused_until.is_some_and(|until| until > now());
        self.asked = !refused;
        self.asked
    }

    /// Takes the limiter's answer; none if it gave none.
    pub fn receive(&mut self, leased: Option<Leased>, now: Moment) {
        self.asked = false;
        self.refused_until = None;
        match leased {
            Some(Leased::Granted { tokens }) => {
                self.left = self.left.saturating_add(i32::try_from(tokens).unwrap_or(i32::MAX));
            }
            Some(Leased::Refused { retry_after_ms }) => {
                self.refused_until = Some(now + Duration::from_millis(retry_after_ms));
            }
            // A limiter that is being restarted stops nobody for long.
            None => self.refused_until = Some(now + Duration::from_millis(100)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Moment {
        Moment::default() + Duration::from_millis(milliseconds)
    }

    #[test]
    fn an_overspent_lease_stops_its_holder_until_the_limiter_grants_more() {
        let mut lease = Allowance::new(10);
        assert_eq!(lease.may(|| at(0)), May::Go);
        lease.spend(25);
        assert!(lease.wants(5, || at(0)) && !lease.wants(5, || at(0)), "it asks once");
        lease.receive(Some(Leased::Refused { retry_after_ms: 50 }), at(1));
        assert_eq!(lease.may(|| at(11)), May::Wait(Duration::from_millis(40)));
        assert!(!lease.wants(5, || at(11)) && lease.wants(5, || at(51)));
        lease.receive(Some(Leased::Granted { tokens: 20 }), at(52));
        assert_eq!(lease.may(|| at(52)), May::Go);
    }
}
