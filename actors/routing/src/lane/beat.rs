//! The one timer of a lane.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use comet_kernel::Clock;

use super::SWEEP;

/// Says every [`SWEEP`] that it is time to look for what has waited too long, as long as the lane is busy: a node has
/// hundreds of lanes, and most of them are idle.
pub(super) struct Beat {
    clock: Clock,
    next: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Beat {
    pub fn new(clock: &Clock) -> Self {
        Beat { clock: clock.clone(), next: None }
    }

    /// Whether it is time. Wakes the task when it will be.
    pub fn poll(&mut self, busy: bool, task: &mut Context<'_>) -> bool {
        if self.next.is_none() && !busy {
            return false;
        }
        let next = self.next.get_or_insert_with(|| self.clock.sleep(SWEEP));
        let due = next.as_mut().poll(task) == Poll::Ready(());
        if due {
            self.next = None;
        }
        due
    }
}
