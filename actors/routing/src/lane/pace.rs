//! Whether a peer keeps up.

use std::time::Duration;

use comet_kernel::Moment;

/// Bytes that must move in [`Pace::patience`], if there are so many.
const PIECE: usize = 16 << 10;
/// That is so many times as long as a request may take ...
const REQUESTS: u32 = 3;
/// ... and no shorter than this.
const SHORTEST: Duration = Duration::from_secs(5);

/// Watches the bytes of one direction, and ends a lane whose peer neither sends the rest of a frame nor reads its answers:
/// what it keeps waiting takes memory.
#[derive(Debug)]
pub(super) struct Pace {
    patience: Duration,
    moved: usize,
    since: Option<Moment>,
}

impl Pace {
    /// Nothing waits. A request may take as long as `request`.
    pub fn new(request: Duration) -> Self {
        Pace { patience: (REQUESTS * request).max(SHORTEST), moved: 0, since: None }
    }

    /// So many bytes have moved.
    pub fn moved(&mut self, bytes: usize) {
        self.moved += bytes;
    }

    /// A whole frame has moved, however short.
    pub fn moved_frame(&mut self) {
        self.moved += PIECE;
    }

    /// Whether too little has moved for too long. `waits` says whether the peer is waited for. To be asked now and then.
    pub fn is_lost(&mut self, waits: bool, now: Moment) -> bool {
        if !waits || self.moved >= PIECE {
            (self.moved, self.since) = (0, None);
        }
        waits && now.since(*self.since.get_or_insert(now)) > self.patience
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Moment {
        Moment::default() + Duration::from_secs(second)
    }

    #[test]
    fn who_moves_too_little_is_lost_and_who_is_not_waited_for_is_not() {
        let mut pace = Pace::new(Duration::from_secs(2));
        assert!(!pace.is_lost(false, at(0)) && !pace.is_lost(true, at(1_000)), "it has only begun to wait");
        assert!(!pace.is_lost(true, at(1_006)) && pace.is_lost(true, at(1_007)));
        pace.moved(PIECE);
        assert!(!pace.is_lost(true, at(1_007)) && !pace.is_lost(true, at(1_013)));
        (0..100).for_each(|_| pace.moved(1));
        assert!(pace.is_lost(true, at(1_014)), "drop by drop is too slow");
        assert!(!pace.is_lost(false, at(1_015)) && !pace.is_lost(true, at(1_016)));
        pace.moved_frame();
        assert!(!pace.is_lost(true, at(1_020)) && !pace.is_lost(true, at(1_026)));
    }

    #[test]
    fn where_requests_are_short_a_peer_still_has_some_seconds() {
        let mut pace = Pace::new(Duration::from_millis(50));
        assert!(!pace.is_lost(true, at(0)) && !pace.is_lost(true, at(5)) && pace.is_lost(true, at(6)));
    }
}
