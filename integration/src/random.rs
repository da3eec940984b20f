//! Random numbers from a seed, so that what a test does can be done again.

/// A generator (SplitMix64). The same seed gives the same numbers.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Begins with a seed.
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// The next number of 64 bits.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        // The upper half of the product: without a noticeable bias for bounds far below 2^64.
        ((u128::from(self.number()) * bound as u128) >> 64) as usize
    }

    /// A number from 0 to 1, 1 not included.
    pub fn part(&mut self) -> f64 {
        (self.number() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Puts things into an order of chance.
    pub fn shuffle<T>(&mut self, things: &mut [T]) {
        for last in (1..things.len()).rev() {
            things.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_says_everything_and_numbers_stay_below_their_bound() {
        let (mut one, mut other) = (Random::new(7), Random::new(7));
        for bound in 1..1_000 {
            let number = one.below(bound);
            assert!(number < bound && number == other.below(bound));
        }
        assert!((0..1_000).map(|_| one.part()).all(|part| (0.0..1.0).contains(&part)));
    }

    #[test]
    fn shuffled_things_are_all_there() {
        let mut things: Vec<u32> = (0..100).collect();
        Random::new(1).shuffle(&mut things);
        assert_ne!(things, (0..100).collect::<Vec<_>>());
        things.sort_unstable();
        assert_eq!(things, (0..100).collect::<Vec<_>>());
    }
}
