//! Who was here and cannot be reached now. After a partition each half has only this to find the other by.

use std::collections::HashMap;
use std::time::Duration;

use comet_kernel::Moment;
use libp2p::PeerId;

use super::address::Address;

/// Nodes that are remembered after they have gone.
const REMEMBERED: usize = 1_024;
/// How long a node is remembered.
const MEMORY: Duration = Duration::from_secs(2 * 3_600);
/// How long to wait before the first attempt; doubled after each.
const FIRST: Duration = Duration::from_secs(2);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(60);
/// Nodes that went within this time of each other may have gone for the same reason, and be back together.
const TOGETHER: Duration = Duration::from_secs(60);

/// Who is gone.
#[derive(Debug)]
pub(crate) struct Departed {
    nodes: HashMap<PeerId, Gone>,
    longest: Duration,
}

#[derive(Debug)]
struct Gone {
    addresses: Vec<Address>,
    since: Moment,
    attempts: u32,
    due: Moment,
}

impl Departed {
    /// Nobody is gone. After a partition all nodes are to agree within the interval of replication, so that a quarter of it
    /// is the longest that a node may go untried.
    pub fn new(interval: Duration) -> Self {
        Departed { nodes: HashMap::new(), longest: LONGEST.min(interval / 4) }
    }

    /// Remembers a node. If too many are gone, the one that has been for longest is forgotten.
    pub fn remember(&mut self, peer: PeerId, addresses: Vec<Address>, now: Moment) {
        if self.nodes.len() >= REMEMBERED
            && let Some(first) = self.nodes.iter().min_by_key(|(_, gone)| gone.since).map(|(peer, _)| *peer)
        {
            self.nodes.remove(&first);
        }
        let due = now + FIRST.min(self.longest);
        self.nodes.insert(peer, Gone { addresses, since: now, attempts: 0, due });
    }

    /// It is back: those that went when it went are tried at once.
    pub fn forget(&mut self, peer: &PeerId, now: Moment) {
        let Some(back) = self.nodes.remove(peer) else { return };
        let apart = |gone: &Gone| gone.since.since(back.since).max(back.since.since(gone.since));
        for gone in self.nodes.values_mut().filter(|gone| apart(gone) < TOGETHER) {
            gone.due = gone.due.min(now);
        }
    }

    /// Up to `n` nodes to try now, and where; those first that have waited for longest. The next attempt is later; `jitter`
    /// stretches the wait.
    pub fn due(
        &mut self,
        n: usize,
        now: Moment,
        mut jitter: impl FnMut(Duration) -> Duration,
    ) -> Vec<(PeerId, Vec<Address>)> {
        self.nodes.retain(|_, gone| now.since(gone.since) < MEMORY);
        let mut due: Vec<_> = self.nodes.iter_mut().filter(|(_, gone)| gone.due <= now).collect();
        due.sort_by_key(|(_, gone)| gone.due);
        let tried = due.into_iter().take(n).map(|(peer, gone)| {
            gone.attempts += 1;
            gone.due = now + jitter(self.longest.min(FIRST * 2_u32.pow(gone.attempts.min(10))));
            (*peer, gone.addresses.clone())
        });
        tried.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn a_node_that_is_gone_is_tried_less_and_less_often_and_then_forgotten() {
        let mut departed = Departed::new(HOUR);
        let (peer, start) = (PeerId::random(), Moment::default());
        departed.remember(peer, Vec::new(), start);
        assert!(departed.due(8, start, |wait| wait).is_empty());
        let mut now = start;
        let mut tried = Vec::new();
        for _ in 0..3 * 3_600 {
            now = now + Duration::from_secs(1);
            tried.extend(departed.due(8, now, |wait| wait).iter().map(|_| now.elapsed().as_secs()));
        }
        assert_eq!(tried[..6], [2, 6, 14, 30, 62, 122]);
        assert!(tried.last().is_some_and(|last| *last < MEMORY.as_secs()) && departed.nodes.is_empty());
    }

    #[test]
    fn however_long_it_was_away_a_node_is_tried_four_times_in_an_interval_of_replication() {
        let mut departed = Departed::new(Duration::from_secs(10));
        let at = |milliseconds: u64| Moment::default() + Duration::from_millis(milliseconds);
        departed.remember(PeerId::random(), Vec::new(), at(0));
        let tried = (0..3_600_000).step_by(500).filter(|now| !departed.due(8, at(*now), |wait| wait).is_empty());
        let tried: Vec<_> = tried.collect();
        assert!(tried.windows(2).all(|pair| pair[1] - pair[0] <= 2_500), "{:?}", &tried[..9]);
    }

    #[test]
    fn with_one_that_is_back_those_are_tried_that_went_with_it() {
        let mut departed = Departed::new(HOUR);
        let at = |seconds| Moment::default() + Duration::from_secs(seconds);
        let [one, other, earlier] = [(); 3].map(|()| PeerId::random());
        departed.remember(earlier, Vec::new(), at(0));
        departed.remember(one, Vec::new(), at(100));
        departed.remember(other, Vec::new(), at(110));
        for now in 100..200 {
            departed.due(8, at(now), |wait| wait);
        }
        assert!(departed.due(8, at(200), |wait| wait).is_empty());
        departed.forget(&one, at(200));
        let tried: Vec<_> = departed.due(8, at(200), |wait| wait).into_iter().map(|(peer, _)| peer).collect();
        assert_eq!(tried, [other]);
    }

    #[test]
    fn only_so_many_are_remembered() {
        let mut departed = Departed::new(HOUR);
        for _ in 0..REMEMBERED + 10 {
            departed.remember(PeerId::random(), Vec::new(), Moment::default());
        }
        assert_eq!(departed.nodes.len(), REMEMBERED);
    }
}
