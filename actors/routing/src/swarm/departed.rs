//! Who was here and cannot be reached now. After a partition each half has only this to find the other by.

use std::collections::HashMap;
use std::time::Duration;

use comet_kernel::Moment;
use libp2p::PeerId;

use super::address::Address;

/// Nodes that are remembered after they have gone.
const REMEMBERED: usize = 1_024;
/// Attempts after which a node is forgotten: about two hours' worth.
const ATTEMPTS: u32 = 120;
/// How long to wait before the first attempt; doubled after each.
const FIRST: Duration = Duration::from_secs(2);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(60);

/// Who is gone.
#[derive(Debug, Default)]
pub(crate) struct Departed(HashMap<PeerId, Gone>);

#[derive(Debug)]
struct Gone {
    addresses: Vec<Address>,
    attempts: u32,
    due: Moment,
}

impl Departed {
    /// Remembers a node. If too many are gone, the one that has been for longest is forgotten.
    pub fn remember(&mut self, peer: PeerId, addresses: Vec<Address>, now: Moment) {
        if self.0.len() >= REMEMBERED
            && let Some(longest) = self.0.iter().max_by_key(|(_, gone)| gone.attempts).map(|(peer, _)| *peer)
        {
            self.0.remove(&longest);
        }
        self.0.insert(peer, Gone { addresses, attempts: 0, due: now + FIRST });
    }

    /// It is back.
    pub fn forget(&mut self, peer: &PeerId) {
        self.0.remove(peer);
    }

    /// Up to `n` nodes to try now, and where. The next attempt is later; `jitter` stretches the wait.
    pub fn due(
        &mut self,
        n: usize,
        now: Moment,
        mut jitter: impl FnMut(Duration) -> Duration,
    ) -> Vec<(PeerId, Vec<Address>)> {
        self.0.retain(|_, gone| gone.attempts < ATTEMPTS);
        let mut due = Vec::new();
        for (peer, gone) in self.0.iter_mut().filter(|(_, gone)| gone.due <= now).take(n) {
            gone.attempts += 1;
            gone.due = now + jitter(LONGEST.min(FIRST * 2_u32.pow(gone.attempts.min(10))));
            due.push((*peer, gone.addresses.clone()));
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_is_gone_is_tried_less_and_less_often_and_then_forgotten() {
        let mut departed = Departed::default();
        let (peer, start) = (PeerId::random(), Moment::default());
        departed.remember(peer, Vec::new(), start);
        assert!(departed.due(8, start, |wait| wait).is_empty());
        let mut now = start;
        let mut tried = Vec::new();
        for _ in 0..3 * 3_600 {
            now = now + Duration::from_secs(1);
            tried.extend(departed.due(8, now, |wait| wait).iter().map(|_| now.elapsed().as_secs()));
        }
        assert_eq!(tried[..5], [2, 6, 14, 30, 62]);
        assert_eq!((tried.len() as u32, departed.0.len()), (ATTEMPTS, 0));
    }

    #[test]
    fn only_so_many_are_remembered() {
        let mut departed = Departed::default();
        for _ in 0..REMEMBERED + 10 {
            departed.remember(PeerId::random(), Vec::new(), Moment::default());
        }
        assert_eq!(departed.0.len(), REMEMBERED);
    }
}
