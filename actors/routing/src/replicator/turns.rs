//! Whose comparisons are being answered: each takes memory and reads from the disk, so that there are only so many at once,
//! of one peer only a few, and a part of them is for neighbours, who must have proven an address as well as an identity.

use std::collections::HashMap;
use std::sync::Arc;

/// Comparisons answered at once. Each holds one frame.
const ALL: usize = 64;
/// Those of peers that are no neighbours.
const STRANGERS: usize = ALL / 2;
/// Those of one peer. A round has one under way with each peer; another may follow before its answer is there.
const EACH: usize = 4;

/// Counts the comparisons under way.
#[derive(Debug, Default)]
pub(super) struct Turns {
    all: usize,
    each: HashMap<Arc<str>, usize>,
}

impl Turns {
    /// Counts one more of this peer; false, and nothing counted, if there is no room for it.
    pub fn take(&mut self, peer: &Arc<str>, is_neighbour: bool) -> bool {
        let most = if is_neighbour { ALL } else { STRANGERS };
        if self.all >= most || self.each.get(peer).is_some_and(|count| *count >= EACH) {
            return false;
        }
        self.all += 1;
        *self.each.entry(peer.clone()).or_default() += 1;
        true
    }

    /// One of this peer is answered.
    pub fn give_back(&mut self, peer: &Arc<str>) {
        self.all -= 1;
        let count = self.each.get_mut(peer).expect("it was counted");
        *count -= 1;
        if *count == 0 {
            self.each.remove(peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(turns: &mut Turns, peer: &str, is_neighbour: bool) -> usize {
        (0..100).filter(|_| turns.take(&peer.into(), is_neighbour)).count()
    }

    #[test]
    fn one_peer_has_a_few_turns_strangers_have_half_of_all_and_neighbours_find_room() {
        let mut turns = Turns::default();
        assert_eq!((taken(&mut turns, "one", false), taken(&mut turns, "two", true)), (EACH, EACH));
        let strangers: usize = (0..100).map(|number| taken(&mut turns, &format!("stranger {number}"), false)).sum();
        assert_eq!(strangers, STRANGERS - 2 * EACH);
        assert_eq!((taken(&mut turns, "stranger", false), taken(&mut turns, "three", true)), (0, EACH));
        let neighbours: usize = (0..100).map(|number| taken(&mut turns, &format!("neighbour {number}"), true)).sum();
        assert_eq!(STRANGERS + EACH + neighbours, ALL);
        turns.give_back(&"two".into());
        assert_eq!((taken(&mut turns, "stranger", false), taken(&mut turns, "two", true)), (0, 1));
        (0..EACH).for_each(|_| turns.give_back(&"one".into()));
        assert!(!turns.each.contains_key("one"));
    }
}
