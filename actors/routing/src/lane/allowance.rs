//! How much a peer may ask, and how much it may send.
//!
//! `governor` does the arithmetic (the generic cell rate algorithm), on the kernel's clock. A peer may ask a second's worth
//! of requests at once, and send a second's worth of bytes. Bytes are counted in whole KiB, because governor counts time in
//! whole nanoseconds: at 256 MiB in a second a byte takes less than four of them.

use std::num::NonZeroU32;
use std::time::Duration;

use comet_kernel::Clock;
use comet_kernel::settings::Network;
use governor::clock::Clock as _;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use super::input::READ_BYTES;

const KIB: usize = 1 << 10;

type Bucket = RateLimiter<NotKeyed, InMemoryState, Pace, NoOpMiddleware<Nanos>>;

/// The buckets of one peer, from which all its lanes take.
#[derive(Debug)]
pub(crate) struct Allowance {
    pace: Pace,
    requests: Bucket,
    /// Requests that the bucket holds.
    most: NonZeroU32,
    kib: Bucket,
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

impl Allowance {
    /// Full buckets.
    ///
    /// # Panics
    ///
    /// If a rate is 0, does not fit into 32 bits, or is so low that a bucket does not hold what is read at once; the ranges
    /// of the settings see to it that none is.
    pub fn new(clock: &Clock, network: &Network) -> Self {
        let pace = Pace(clock.clone());
        let whole =
            |rate: u64| u32::try_from(rate).ok().and_then(NonZeroU32::new).expect("the settings bound every rate");
        let bucket = |rate: u64| RateLimiter::direct_with_clock(Quota::per_second(whole(rate)), pace.clone());
        let most = whole(network.peer_requests_per_second);
        assert!(network.peer_kib_per_second >= (READ_BYTES / KIB) as u64, "a bucket holds what is read at once");
        let (requests, kib) = (bucket(network.peer_requests_per_second), bucket(network.peer_kib_per_second));
        Allowance { pace, requests, most, kib }
    }

    /// Takes one request from the bucket; says how long to wait if there is none.
    pub fn request(&self) -> Result<(), Duration> {
        self.requests.check().map_err(|refused| refused.wait_time_from(self.pace.now()))
    }

    /// Takes so many more for a request that asks for much, or all that the bucket holds after one if that is less; says how
    /// long to wait if there are not enough.
    pub fn more(&self, number: usize) -> Result<(), Duration> {
        let number = u32::try_from(number).unwrap_or(u32::MAX).min(self.most.get() - 1);
        let Some(number) = NonZeroU32::new(number) else { return Ok(()) };
        let taken = self.requests.check_n(number).expect("the bucket holds as many");
        taken.map_err(|refused| refused.wait_time_from(self.pace.now()))
    }

    /// Takes so many bytes from the bucket, at most what is read at once, and says how many of them are less than a KiB and
    /// still to be taken; says how long to wait if there are not enough.
    pub fn bytes(&self, number: usize) -> Result<usize, Duration> {
        let Some(kib) = NonZeroU32::new((number / KIB) as u32) else { return Ok(number) };
        match self.kib.check_n(kib).expect("a bucket holds what is read at once") {
            Ok(()) => Ok(number % KIB),
            Err(refused) => Err(refused.wait_time_from(self.pace.now())),
        }
    }
}
