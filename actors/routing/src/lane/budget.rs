//! What all lanes that this node serves may hold together: identities cost nothing, and each may have lanes.
//!
//! A lane may hold a little in any case, so that small requests are served however many others there are. What goes beyond
//! that comes from the budget, and no lane gets more of it than it leaves to the others: so there is something left for
//! whoever comes next. Who finds too little waits, or is told to try again; nothing ends for it.

use std::cell::Cell;
use std::rc::Rc;

use super::input::READ_BYTES;

/// Bytes that a lane may hold in any case.
pub(super) const FREE_BYTES: usize = READ_BYTES;

/// The budget. Copies share it.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Rc<Sum>);

#[derive(Debug)]
struct Sum {
    limit: usize,
    held: Cell<usize>,
}

/// What one lane holds. It is given back when the lane ends.
#[derive(Debug)]
pub(super) struct Share {
    budget: Budget,
    held: usize,
}

impl Budget {
    /// So many bytes.
    pub fn new(limit: usize) -> Self {
        Budget(Rc::new(Sum { limit, held: Cell::new(0) }))
    }
}

impl Share {
    pub fn new(budget: &Budget) -> Self {
        Share { budget: budget.clone(), held: 0 }
    }

    /// Whether the lane may hold so many bytes in all.
    pub fn fits(&self, bytes: usize) -> bool {
        let sum = &self.budget.0;
        bytes <= FREE_BYTES || sum.held.get() - self.held + 2 * bytes <= sum.limit
    }

    /// The lane holds so many bytes now.
    pub fn hold(&mut self, bytes: usize) {
        let sum = &self.budget.0;
        sum.held.set(sum.held.get() - self.held + bytes);
        self.held = bytes;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.hold(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1 << 10;

    #[test]
    fn no_lane_holds_more_than_it_leaves_to_the_others_and_each_may_hold_a_little() {
        let budget = Budget::new(1_024 * KIB);
        let mut lanes: Vec<_> = (0..8).map(|_| Share::new(&budget)).collect();
        for (lane, most) in lanes.iter_mut().zip([512, 256, 128, 64, 64]) {
            assert!(lane.fits(most * KIB) && !lane.fits(most * KIB + 1));
            lane.hold(most * KIB);
        }
        lanes.remove(0);
        assert!(lanes[6].fits(256 * KIB), "what a lane held that ended is there for others");
        lanes[0].hold(0);
        assert!(lanes[6].fits(384 * KIB) && lanes[0].fits(384 * KIB));
    }
}
