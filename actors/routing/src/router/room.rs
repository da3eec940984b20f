//! Room: how many requests of peers may be under way, so that no peer takes the room of another, nor all of them that of
//! this node's own clients.

use std::collections::HashMap;
use std::sync::Arc;

use comet_kernel::limits;

/// Requests of one peer: as many as it can have under way on its two lanes. A change whose lane has ended goes on and
/// counts until it is over.
pub(super) const OF_ONE: usize = 2 * limits::LANE_REQUESTS;
/// Requests of all peers together. As many calls again may come from this node's own clients and objects.
const OF_ALL: usize = limits::SHARED_MAILBOX / 2;

/// Requests of peers that are under way.
#[derive(Debug, Default)]
pub(super) struct Room {
    all: usize,
    peers: HashMap<Arc<str>, usize, ahash::RandomState>,
}

impl Room {
    /// Takes a place for a request of a peer, if there is one.
    pub(super) fn enter(&mut self, peer: &Arc<str>) -> bool {
        if self.all >= OF_ALL || self.peers.get(peer).is_some_and(|number| *number >= OF_ONE) {
            return false;
        }
        self.all += 1;
        *self.peers.entry(peer.clone()).or_default() += 1;
        true
    }

    /// Gives the place back.
    pub(super) fn leave(&mut self, peer: &Arc<str>) {
        let Some(number) = self.peers.get_mut(peer) else { return };
        *number -= 1;
        self.all -= 1;
        if *number == 0 {
            self.peers.remove(peer);
        }
    }

    /// Whether nothing is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.all == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const _: () = assert!(OF_ALL + OF_ONE <= limits::SHARED_MAILBOX, "there is room besides");

    #[test]
    fn one_peer_takes_its_own_room_and_all_together_not_everything() {
        let mut room = Room::default();
        let peers: Vec<Arc<str>> = (0..100).map(|number| format!("peer {number}").into()).collect();
        let entered = |room: &mut Room, peer| (0..2 * OF_ONE).filter(|_| room.enter(peer)).count();
        assert_eq!(entered(&mut room, &peers[0]), OF_ONE);
        assert!(room.enter(&peers[1]), "another one has its own");
        let entered_in_all: usize = peers.iter().map(|peer| entered(&mut room, peer)).sum();
        assert_eq!(entered_in_all, OF_ALL - OF_ONE - 1);
        assert_eq!(room.all, OF_ALL);
        assert!(!room.enter(&"one more".into()));
        room.leave(&peers[0]);
        assert!(room.enter(&"one more".into()));
    }

    #[test]
    fn nothing_is_remembered_of_whom_nothing_is_under_way() {
        let (mut room, peer) = (Room::default(), "peer".into());
        assert!(room.enter(&peer) && room.enter(&peer));
        room.leave(&peer);
        assert!(!room.is_empty());
        room.leave(&peer);
        room.leave(&peer);
        assert!(room.is_empty() && room.peers.is_empty());
    }
}
