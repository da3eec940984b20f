//! The buckets of one kind, which share a rate.
//!
//! `governor` does the arithmetic (the generic cell rate algorithm), on the kernel's clock and on [`Buckets`].

use std::num::NonZeroU32;
use std::time::Duration;

use comet_kernel::Clock;
use comet_kernel::contract::limiter::{Leased, Subject};
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::{Quota, RateLimiter};

use crate::buckets::Buckets;

/// The buckets of one kind. Without a rate it grants everything and holds nothing.
#[derive(Debug)]
pub(crate) struct Bank(Option<Limited>);

#[derive(Debug)]
struct Limited {
    pace: Pace,
    burst: NonZeroU32,
    buckets: Buckets,
    limiter: RateLimiter<Subject, Buckets, Pace, StateInformationMiddleware>,
}

/// The kernel's clock as governor reads it.
#[derive(Clone, Debug)]
struct Pace(Clock);

impl governor::clock::Clock for Pace {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.now().elapsed().into()
    }
}

impl Bank {
    /// Buckets that gain `per_second` tokens in each second and hold as many as they gain in `seconds`. A rate of 0 is no
    /// limit.
    ///
    /// # Panics
    ///
    /// If what a bucket holds does not fit into 32 bits; the ranges of the settings see to it that it does.
    pub(crate) fn new(clock: &Clock, per_second: u64, seconds: u32) -> Self {
        let rate = u32::try_from(per_second).expect("the settings bound every rate");
        Bank(NonZeroU32::new(rate).map(|rate| {
            let burst = rate.checked_mul(NonZeroU32::new(seconds).expect("a burst takes time")).expect("bounded");
            let quota = Quota::per_second(rate).allow_burst(burst);
            let buckets = Buckets::new(clock, quota.burst_size_replenished_in());
            let pace = Pace(clock.clone());
            let limiter = RateLimiter::new(quota, buckets.clone(), pace.clone());
            Limited { pace, burst, buckets, limiter }
        }))
    }

    /// Takes as many of the tokens asked for as there are.
    pub(crate) fn lease(&self, subject: &Subject, tokens: u32) -> Leased {
        match &self.0 {
            None => Leased::Granted { tokens },
            Some(limited) => limited.lease(subject, tokens),
        }
    }

    /// Buckets in memory. Some may have filled up since they were last looked at.
    pub(crate) fn held(&self) -> usize {
        self.0.as_ref().map_or(0, |limited| limited.buckets.len())
    }
}

impl Limited {
    fn lease(&self, subject: &Subject, tokens: u32) -> Leased {
        let wanted = NonZeroU32::new(tokens).unwrap_or(NonZeroU32::MIN).min(self.burst);
        if self.take(subject, wanted) {
            return Leased::Granted { tokens: wanted.get() };
        }
        match self.limiter.check_key(subject) {
            Ok(left) => {
                let rest = NonZeroU32::new(left.remaining_burst_capacity().min(wanted.get() - 1));
                let taken = rest.filter(|rest| self.take(subject, *rest)).map_or(0, NonZeroU32::get);
                Leased::Granted { tokens: 1 + taken }
            }
            Err(refused) => {
                let wait = refused.wait_time_from(governor::clock::Clock::now(&self.pace));
                Leased::Refused { retry_after_ms: whole_millis(wait) }
            }
        }
    }

    fn take(&self, subject: &Subject, tokens: NonZeroU32) -> bool {
        // More than the bucket can ever hold is never asked for, so the outer result cannot be an error.
        matches!(self.limiter.check_key_n(subject, tokens), Ok(Ok(_)))
    }
}

/// Rounded up, so that whoever waits that long finds the token.
fn whole_millis(wait: Duration) -> u64 {
    wait.as_micros().div_ceil(1_000).max(1) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use comet_kernel::UnixMillis;

    fn client(number: u8) -> Subject {
        Subject::Client([127, 0, 0, number].into())
    }

    #[test]
    fn a_bucket_grants_what_it_holds_then_what_it_gains() {
        let clock = Clock::manual(UnixMillis(0));
        let bank = Bank::new(&clock, 10, 1);
        assert_eq!(bank.lease(&client(1), 4), Leased::Granted { tokens: 4 });
        assert_eq!(bank.lease(&client(1), 100), Leased::Granted { tokens: 6 }, "the rest, and no more");
        assert_eq!(bank.lease(&client(1), 1), Leased::Refused { retry_after_ms: 100 });
        clock.advance(Duration::from_millis(100));
        assert_eq!(bank.lease(&client(1), 5), Leased::Granted { tokens: 1 });
    }

    #[test]
    fn whoever_waits_as_long_as_told_gets_a_token() {
        let clock = Clock::manual(UnixMillis(0));
        let bank = Bank::new(&clock, 7, 1);
        assert_eq!(bank.lease(&client(1), 7), Leased::Granted { tokens: 7 });
        for _ in 0..20 {
            let Leased::Refused { retry_after_ms } = bank.lease(&client(1), 1) else { panic!("nothing is left") };
            clock.advance(Duration::from_millis(retry_after_ms));
            assert_eq!(bank.lease(&client(1), 1), Leased::Granted { tokens: 1 });
        }
    }

    #[test]
    fn buckets_do_not_share_tokens() {
        let bank = Bank::new(&Clock::manual(UnixMillis(0)), 3, 1);
        assert_eq!(bank.lease(&client(1), 9), Leased::Granted { tokens: 3 });
        assert_eq!(bank.lease(&client(2), 9), Leased::Granted { tokens: 3 });
        assert_eq!(bank.held(), 2);
    }

    #[test]
    fn without_a_rate_everything_is_granted_and_nothing_is_held() {
        let bank = Bank::new(&Clock::manual(UnixMillis(0)), 0, 1);
        assert_eq!(bank.lease(&client(1), u32::MAX), Leased::Granted { tokens: u32::MAX });
        assert_eq!(bank.held(), 0);
    }

    #[test]
    fn over_a_long_time_nobody_gets_more_than_the_rate_and_one_burst() {
        let clock = Clock::manual(UnixMillis(0));
        let bank = Bank::new(&clock, 1_000, 10);
        let mut total = 0;
        for step in 0..10_000_u64 {
            if let Leased::Granted { tokens } = bank.lease(&client(1), (step % 700) as u32) {
                total += u64::from(tokens);
            }
            clock.advance(Duration::from_millis(7));
        }
        let allowed = 70 * 1_000 + 10 * 1_000;
        assert!(total <= allowed && total > allowed - 100, "{total} of {allowed}");
    }

    #[test]
    fn the_largest_rate_of_the_settings_fits() {
        let bank = Bank::new(&Clock::manual(UnixMillis(0)), 1_000_000_000, 1);
        assert_eq!(bank.lease(&client(1), u32::MAX), Leased::Granted { tokens: 1_000_000_000 });
    }
}
