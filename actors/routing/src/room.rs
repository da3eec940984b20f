//! Room: how many requests of peers may be under way, so that no peer takes the room of another, nor all of them that of
//! whoever else needs some.

use std::collections::HashMap;
use std::sync::Arc;

/// Requests of peers that are under way.
#[derive(Debug)]
pub(crate) struct Room {
    of_one: usize,
    all: usize,
    peers: HashMap<Arc<str>, usize, ahash::RandomState>,
}

impl Room {
    /// Nothing is under way. At most so many requests of one peer may be.
    pub(crate) fn new(of_one: usize) -> Self {
        Room { of_one, all: 0, peers: HashMap::default() }
    }

    /// Takes a place for a request of a peer, if there is one: those of all peers stay within `of_all`, which may differ
    /// from peer to peer.
    pub(crate) fn enter(&mut self, peer: &Arc<str>, of_all: usize) -> bool {
        if self.all >= of_all || self.peers.get(peer).is_some_and(|number| *number >= self.of_one) {
            return false;
        }
        self.all += 1;
        *self.peers.entry(peer.clone()).or_default() += 1;
        true
    }

    /// Gives the place back.
    pub(crate) fn leave(&mut self, peer: &Arc<str>) {
        let number = self.peers.get_mut(peer).expect("whoever leaves has entered");
        *number -= 1;
        self.all -= 1;
        if *number == 0 {
            self.peers.remove(peer);
        }
    }

    /// Whether nothing is under way.
    pub(crate) fn is_empty(&self) -> bool {
        self.all == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF_ONE: usize = 4;
    const OF_ALL: usize = 64;
    const OF_STRANGERS: usize = OF_ALL / 2;

    fn entered(room: &mut Room, peer: &str, of_all: usize) -> usize {
        (0..100).filter(|_| room.enter(&peer.into(), of_all)).count()
    }

    #[test]
    fn one_peer_takes_its_own_room_and_all_together_not_everything() {
        let mut room = Room::new(OF_ONE);
        assert_eq!(entered(&mut room, "peer 0", OF_ALL), OF_ONE);
        assert!(room.enter(&"peer 1".into(), OF_ALL), "another one has its own");
        let entered_in_all: usize = (0..100).map(|number| entered(&mut room, &format!("peer {number}"), OF_ALL)).sum();
        assert_eq!(entered_in_all, OF_ALL - OF_ONE - 1);
        assert_eq!(room.all, OF_ALL);
        assert!(!room.enter(&"one more".into(), OF_ALL));
        room.leave(&"peer 0".into());
        assert!(room.enter(&"one more".into(), OF_ALL));
    }

    #[test]
    fn one_peer_has_a_few_places_strangers_have_half_of_all_and_neighbours_find_room() {
        let mut room = Room::new(OF_ONE);
        let both = (entered(&mut room, "one", OF_STRANGERS), entered(&mut room, "two", OF_ALL));
        assert_eq!(both, (OF_ONE, OF_ONE));
        let strangers = (0..100).map(|number| entered(&mut room, &format!("stranger {number}"), OF_STRANGERS));
        assert_eq!(strangers.sum::<usize>(), OF_STRANGERS - 2 * OF_ONE);
        let both = (entered(&mut room, "stranger", OF_STRANGERS), entered(&mut room, "three", OF_ALL));
        assert_eq!(both, (0, OF_ONE));
        let neighbours = (0..100).map(|number| entered(&mut room, &format!("neighbour {number}"), OF_ALL));
        assert_eq!(OF_STRANGERS + OF_ONE + neighbours.sum::<usize>(), OF_ALL);
        room.leave(&"two".into());
        let both = (entered(&mut room, "stranger", OF_STRANGERS), entered(&mut room, "two", OF_ALL));
        assert_eq!(both, (0, 1));
        (0..OF_ONE).for_each(|_| room.leave(&"one".into()));
        assert!(!room.peers.contains_key("one"));
    }

    #[test]
    fn nothing_is_remembered_of_whom_nothing_is_under_way() {
        let (mut room, peer) = (Room::new(OF_ONE), "peer".into());
        assert!(room.enter(&peer, OF_ALL) && room.enter(&peer, OF_ALL));
        room.leave(&peer);
        assert!(!room.is_empty());
        room.leave(&peer);
        assert!(room.is_empty() && room.peers.is_empty());
    }
}
