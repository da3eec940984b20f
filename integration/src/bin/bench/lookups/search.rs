//! One iterative look-up, by the rules of the library that nodes look up with: the nearest nodes known are asked for nearer
//! ones, several at once, until the nearest [`BUCKET`] have all answered.
//!
//! On disjoint paths, there are as many searches as requests at once; each node is asked once, and only the search that
//! asked it learns from its answer, so that liars mislead one path at most. Round trips differ by chance, up to the double
//! of the shortest.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use comet_integration::random::Random;

use super::network::{BUCKET, Network};

/// The shortest round trip.
const ROUND_TRIP: usize = 1_000;

/// How nodes look up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Requests at once on one path; the number of paths, if they are disjoint.
    pub(crate) parallel: usize,
    /// Whether paths are disjoint.
    pub(crate) disjoint: bool,
}

/// What a look-up came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    /// Hops to the node nearest to the key: 1 if the node that looks up knew it; none if it was not found.
    pub(crate) hops: Option<u32>,
    /// Nodes that were asked.
    pub(crate) requests: u32,
    /// How many of the nodes nearest to the key were found, as a part of them.
    pub(crate) recall: f64,
}

/// Looks a place up from a node.
pub(crate) fn look_up(network: &Network, from: u32, place: u64, rules: Rules, random: &mut Random) -> Found {
    let known: Vec<u32> = network.known(from, place);
    let count = if rules.disjoint { rules.parallel } else { 1 };
    let path = Path::new(network, place, rules.parallel, &known);
    let mut search = Search { paths: vec![path; count], turn: 0, asked: HashMap::new() };
    // By the moments when answers come: a round trip takes one to two units of time.
    let (mut under_way, mut now) = (BTreeSet::new(), 0);
    loop {
        while let Some(node) = search.next() {
            under_way.insert((now + ROUND_TRIP + random.below(ROUND_TRIP), node));
        }
        let Some((moment, node)) = under_way.pop_first() else { break };
        now = moment;
        let mut named = network.known(node, place);
        named.retain(|node| *node != from);
        search.answered(network, node, &named);
    }
    let nearest: Vec<u32> = network.nearest(place).into_iter().filter(|node| *node != from).collect();
    let found = nearest.iter().filter(|node| search.asked.contains_key(node)).count();
    Found {
        hops: nearest.first().and_then(|node| search.asked.get(node)).map(|asked| asked.hop),
        requests: search.asked.len() as u32,
        recall: found as f64 / nearest.len() as f64,
    }
}

/// All paths of a look-up.
struct Search {
    paths: Vec<Path>,
    turn: usize,
    asked: HashMap<u32, Asked>,
}

/// A node that was asked.
struct Asked {
    path: usize,
    hop: u32,
    answered: bool,
}

impl Search {
    /// The next node to ask; none while every path waits, or when all have ended.
    fn next(&mut self) -> Option<u32> {
        for _ in 0..self.paths.len() {
            let path = self.turn;
            self.turn = (self.turn + 1) % self.paths.len();
            while let Some((distance, node, hop)) = self.paths[path].next() {
                match self.asked.get(&node) {
                    None => {
                        self.asked.insert(node, Asked { path, hop, answered: false });
                        return Some(node);
                    }
                    Some(asked) if asked.answered => self.paths[path].answered(distance, &[]),
                    Some(_) => {}
                }
            }
        }
        None
    }

    fn answered(&mut self, network: &Network, node: u32, named: &[u32]) {
        let asked = self.asked.get_mut(&node).expect("who answers was asked");
        asked.answered = true;
        for (number, path) in self.paths.iter_mut().enumerate() {
            let named = if number == asked.path { named } else { &[] };
            let candidates: Vec<_> = named.iter().map(|&node| path.candidate(network, node, asked.hop + 1)).collect();
            path.answered(network.distance(node, path.place), &candidates);
        }
    }
}

/// One path of a look-up.
#[derive(Clone, Debug)]
struct Path {
    place: u64,
    parallel: usize,
    /// By their distance.
    candidates: BTreeMap<u64, Candidate>,
    waiting: usize,
    /// Answers since the last that brought the path further.
    in_vain: usize,
    ended: bool,
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    node: u32,
    hop: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Known,
    Asked,
    Answered,
}

impl Path {
    fn new(network: &Network, place: u64, parallel: usize, known: &[u32]) -> Self {
        let candidates = BTreeMap::new();
        let mut path = Path { place, parallel, candidates, waiting: 0, in_vain: 0, ended: false };
        path.candidates = known.iter().map(|&node| path.candidate(network, node, 1)).collect();
        path
    }

    fn candidate(&self, network: &Network, node: u32, hop: u32) -> (u64, Candidate) {
        (network.distance(node, self.place), Candidate { node, hop, state: State::Known })
    }

    /// A path that gets no further asks all that are left of the nearest at once.
    fn is_full(&self) -> bool {
        let stalled = self.in_vain >= self.parallel;
        self.waiting >= if stalled { BUCKET.max(self.parallel) } else { self.parallel }
    }

    fn next(&mut self) -> Option<(u64, u32, u32)> {
        let full = self.is_full();
        if self.ended || full {
            return None;
        }
        let mut nearest_answered = Some(0);
        for (distance, candidate) in &mut self.candidates {
            match candidate.state {
                State::Asked => nearest_answered = None,
                State::Answered => {
                    nearest_answered = nearest_answered.map(|count| count + 1);
                    if nearest_answered == Some(BUCKET) {
                        self.ended = true;
                        return None;
                    }
                }
                State::Known => {
                    candidate.state = State::Asked;
                    self.waiting += 1;
                    return Some((*distance, candidate.node, candidate.hop));
                }
            }
        }
        self.ended = self.waiting == 0;
        None
    }

    fn answered(&mut self, distance: u64, named: &[(u64, Candidate)]) {
        match self.candidates.get_mut(&distance) {
            Some(candidate) if candidate.state == State::Asked && !self.ended => candidate.state = State::Answered,
            _ => return,
        }
        self.waiting -= 1;
        let reach = self.candidates.keys().nth(BUCKET - 1).copied();
        let mut further = reach.is_none();
        for &(distance, candidate) in named {
            if let Entry::Vacant(entry) = self.candidates.entry(distance) {
                entry.insert(candidate);
                further |= reach.is_some_and(|reach| distance < reach);
            }
        }
        self.in_vain = if further { 0 } else { (self.in_vain + 1).min(self.parallel) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(nodes: usize, rules: Rules) -> Vec<Found> {
        let network = Network::new(nodes, 1);
        let mut random = Random::new(2);
        let once = |_| look_up(&network, random.below(nodes) as u32, random.number(), rules, &mut random);
        (0..100).map(once).collect()
    }

    #[test]
    fn a_look_up_finds_the_nearest_and_asks_a_small_part_of_all() {
        for disjoint in [false, true] {
            let all = search(5_000, Rules { parallel: 3, disjoint });
            assert!(all.iter().all(|found| found.hops.is_some() && found.recall > 0.9), "{all:?}");
            assert!(all.iter().all(|found| found.requests < 300), "{all:?}");
        }
    }

    #[test]
    fn among_few_nodes_everybody_is_known_and_asked() {
        for found in search(12, Rules { parallel: 3, disjoint: true }) {
            assert_eq!((found.hops, found.requests), (Some(1), 11));
        }
    }
}
