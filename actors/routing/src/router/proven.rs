//! Signatures that were found right lately.
//!
//! Verifying one costs more than everything else that a get does, and gives the same outcome each time: what is read again
//! and again is verified once. Only what was right is remembered, so that forgeries push nothing out.

use std::cell::RefCell;
use std::collections::HashSet;

use sha2::{Digest, Sha256};

/// Signatures in one generation; two are kept, of 32 bytes each.
const GENERATION: usize = 4_096;

/// The digests of signatures that were right, in two generations: when the young one is full, the old one is forgotten.
#[derive(Default)]
struct Proven {
    young: HashSet<[u8; 32], ahash::RandomState>,
    old: HashSet<[u8; 32], ahash::RandomState>,
}

thread_local! {
    // The outcome does not depend on who asks: all that verify on a thread may share what they know.
    static PROVEN: RefCell<Proven> = RefCell::default();
}

/// Whether the signature of `by` under a claim is right, by memory or by `verify`.
pub(super) fn once(by: &str, claim: &[u8; 32], signature: &[u8; 64], verify: impl FnOnce() -> bool) -> bool {
    let digest = Sha256::new().chain_update(claim).chain_update(signature).chain_update(by).finalize().into();
    PROVEN.with_borrow_mut(|proven| {
        if proven.young.contains(&digest) || proven.old.contains(&digest) {
            return true;
        }
        let right = verify();
        if right {
            proven.remember(digest);
        }
        right
    })
}

impl Proven {
    fn remember(&mut self, digest: [u8; 32]) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(digest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_signature_is_verified_once_and_a_wrong_one_each_time() {
        let (claim, signature) = ([1; 32], [2; 64]);
        assert!(!once("somebody", &claim, &signature, || false));
        assert!(once("somebody", &claim, &signature, || true));
        assert!(once("somebody", &claim, &signature, || panic!("it is known")));
        assert!(!once("another", &claim, &signature, || false));
        assert!(!once("somebody", &[3; 32], &signature, || false));
        assert!(!once("somebody", &claim, &[3; 64], || false));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut proven = Proven::default();
        for number in 0..3 * GENERATION {
            proven.remember(Sha256::digest(number.to_be_bytes()).into());
        }
        assert!(proven.young.len() + proven.old.len() <= 2 * GENERATION);
    }
}
