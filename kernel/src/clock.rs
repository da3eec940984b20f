//! The only door to time. Tests hold a clock that moves when they say so.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// A point in monotonic time, counted from the start of the clock that gave it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(Duration);

impl Moment {
    /// How long before `self` the `earlier` moment lies; zero if it lies later.
    pub fn since(self, earlier: Moment) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// Time since the clock started.
    pub fn elapsed(self) -> Duration {
        self.0
    }
}

impl std::ops::Add<Duration> for Moment {
    type Output = Moment;

    fn add(self, duration: Duration) -> Moment {
        Moment(self.0.saturating_add(duration))
    }
}

/// Wall-clock time: milliseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// This much later; the end of time if that lies past it.
    pub fn after(self, duration: Duration) -> Self {
        UnixMillis(self.0.saturating_add(duration.as_millis().min(u128::from(u64::MAX)) as u64))
    }

    /// How long until `later`; zero if it has passed.
    pub fn until(self, later: UnixMillis) -> Duration {
        Duration::from_millis(later.0.saturating_sub(self.0))
    }
}

/// A clock: the machine's, or one that a test moves by hand. Copies share it.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    Machine { start: std::time::Instant },
    Manual(Arc<Manual>),
}

#[derive(Debug)]
struct Manual {
    start: UnixMillis,
    now: watch::Sender<Duration>,
    skew: Mutex<i64>,
}

impl Clock {
    /// The machine's clock.
    pub fn machine() -> Self {
        #[expect(clippy::disallowed_methods, reason = "this is the clock")]
        let start = std::time::Instant::now();
        Clock(Source::Machine { start })
    }

    /// A clock that stands at `start` until [`Clock::advance`] moves it.
    pub fn manual(start: UnixMillis) -> Self {
        Clock(Source::Manual(Arc::new(Manual { start, now: watch::Sender::new(Duration::ZERO), skew: Mutex::new(0) })))
    }

    /// Moves a manual clock and wakes the sleepers whose time has come.
    ///
    /// # Panics
    ///
    /// If this is the machine's clock.
    pub fn advance(&self, by: Duration) {
        match &self.0 {
            Source::Machine { .. } => panic!("only a manual clock can be advanced"),
            Source::Manual(manual) => manual.now.send_modify(|now| *now += by),
        }
    }

    /// Makes the wall clock of a manual clock jump without any time passing, as an administrator's `date` does.
    ///
    /// # Panics
    ///
    /// If this is the machine's clock.
    pub fn jump(&self, milliseconds: i64) {
        match &self.0 {
            Source::Machine { .. } => panic!("only a manual clock can jump"),
            Source::Manual(manual) => {
                *manual.skew.lock().unwrap_or_else(PoisonError::into_inner) += milliseconds;
            }
        }
    }

    /// Monotonic time.
    pub fn now(&self) -> Moment {
        match &self.0 {
            Source::Machine { start } => Moment(start.elapsed()),
            Source::Manual(manual) => Moment(*manual.now.borrow()),
        }
    }

    /// Wall-clock time. It may jump either way.
    pub fn unix(&self) -> UnixMillis {
        match &self.0 {
            Source::Machine { .. } => {
                #[expect(clippy::disallowed_methods, reason = "this is the clock")]
                let now = std::time::SystemTime::now();
                let since = now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
                UnixMillis::default().after(since)
            }
            Source::Manual(manual) => {
                let skew = *manual.skew.lock().unwrap_or_else(PoisonError::into_inner);
                UnixMillis(manual.start.after(*manual.now.borrow()).0.saturating_add_signed(skew))
            }
        }
    }

    /// Sleeps on monotonic time.
    pub fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        self.sleep_until(self.now() + duration)
    }

    /// Sleeps until `moment`; does not sleep if it has passed.
    ///
    /// Whoever has decided on a moment sleeps until it and not for what was left when it looked: a clock that moved in
    /// between would put the end off.
    pub fn sleep_until(&self, moment: Moment) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        match &self.0 {
            Source::Machine { .. } => Box::pin(tokio::time::sleep(moment.since(self.now()))),
            Source::Manual(manual) => {
                let mut now = manual.now.subscribe();
                let end = moment.0;
                let manual = manual.clone();
                Box::pin(async move {
                    // The sender lives as long as `manual`, so waiting cannot fail.
                    let _ = now.wait_for(|now| *now >= end).await;
                    drop(manual);
                })
            }
        }
    }

    /// The future's output, or `None` if `duration` passes first, counted from this call.
    pub fn timeout<F: Future>(&self, duration: Duration, future: F) -> impl Future<Output = Option<F::Output>> {
        self.timeout_at(self.now() + duration, future)
    }

    /// The future's output, or `None` if `moment` comes first.
    ///
    /// Whoever has told another until when it waits waits until then, and not for as long from some later moment.
    pub async fn timeout_at<F: Future>(&self, moment: Moment, future: F) -> Option<F::Output> {
        tokio::select! {
            biased;
            output = future => Some(output),
            () = self.sleep_until(moment) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_manual_clock_wakes_sleepers_only_when_their_time_has_come() {
        let clock = Clock::manual(UnixMillis(1_000));
        let sleeper = tokio::spawn(clock.sleep(Duration::from_secs(2)));
        tokio::task::yield_now().await;
        clock.advance(Duration::from_secs(1));
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished());
        clock.advance(Duration::from_secs(1));
        sleeper.await.expect("sleeper ends");
        assert_eq!(clock.unix(), UnixMillis(3_000));
    }

    #[tokio::test]
    async fn a_moment_to_sleep_until_does_not_move_with_the_clock() {
        let clock = Clock::manual(UnixMillis(0));
        let end = clock.now() + Duration::from_secs(2);
        clock.advance(Duration::from_secs(1));
        let sleep = clock.sleep_until(end);
        clock.advance(Duration::from_secs(1));
        sleep.await;
        clock.sleep_until(end).await;
    }

    #[tokio::test]
    async fn a_wait_until_a_moment_ends_with_it_however_late_it_is_begun() {
        let clock = Clock::manual(UnixMillis(0));
        let wait = clock.timeout_at(clock.now() + Duration::from_secs(1), std::future::pending::<()>());
        clock.advance(Duration::from_secs(1));
        let ended = tokio::time::timeout(Duration::from_secs(20), wait).await;
        assert_eq!(ended, Ok(None), "it ends although the clock stands still from now on");
        assert_eq!(clock.timeout_at(Moment::default(), async { 1 }).await, Some(1), "what is there is taken");
    }

    #[test]
    fn a_jump_moves_the_wall_clock_and_no_other() {
        let clock = Clock::manual(UnixMillis(10_000));
        clock.jump(-3_000);
        assert_eq!((clock.unix(), clock.now()), (UnixMillis(7_000), Moment::default()));
    }
}
