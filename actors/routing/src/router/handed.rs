//! What peers hand over that others have put.
//!
//! Whoever hands a record over proves nothing about its signer: keys cost nothing, and each would have a quota of its own.
//! So what a peer hands over of others counts for the peer, too. A neighbour that fills a new node's disk does what it
//! should, and needs more room than what it puts itself: up to [`SHARE`] quotas in a day, which is all that so many nodes
//! may have here; a larger network has more neighbours that hand over. What this node is nowhere near to no neighbour
//! brings; a script may, and it counts [`SHARE`] times as much: one quota in a day, as if the peer had put it itself.
//!
//! Scripts are counted by their number, whoever has put the objects that they come with: the library keeps so many sources
//! and no more, however small they are.

use std::sync::Arc;
use std::time::Duration;

use comet_kernel::contract::aso::Refusal;
use comet_kernel::{Moment, limits};

use super::accounts::Accounts;

/// How many quotas a peer may hand over in a day.
const SHARE: u64 = 16;
/// New scripts that a peer may bring in a day: an eighth of those that the library keeps.
const SCRIPTS: u64 = limits::SOURCES as u64 / 8;
/// How long what was handed over counts.
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// Bytes by the peer that handed them over today.
#[derive(Debug)]
pub(super) struct Handed {
    accounts: Accounts,
    /// New scripts by the peer that they were fetched from.
    scripts: Accounts,
    /// When the day began.
    began: Moment,
}

/// A record that a peer brings.
#[derive(Clone, Debug)]
pub(super) struct Delivery {
    /// The peer, as the transport has proven it.
    pub from: Arc<str>,
    /// Who has put it, as its signature says.
    pub by: Arc<str>,
    /// What it takes.
    pub bytes: u64,
    /// Whether this node is clearly not one of those that should store it.
    pub far: bool,
    /// Whether it is a tombstone.
    pub removes: bool,
}

impl Delivery {
    /// What counts for the peer besides what counts for the signer.
    fn weight(&self) -> u64 {
        match (self.from == self.by, self.far) {
            (true, _) => 0,
            (false, false) => self.bytes,
            (false, true) => self.bytes.saturating_mul(SHARE),
        }
    }
}

impl Handed {
    pub(super) fn new(now: Moment) -> Self {
        Handed { accounts: Accounts::default(), scripts: Accounts::default(), began: now }
    }

    /// Refuses what a peer hands over beyond its part. `quota` is what one node may put here.
    pub(super) fn check(&mut self, delivery: &Delivery, quota: u64, now: Moment) -> Result<(), Refusal> {
        self.begin_day(now);
        let (weight, from) = (delivery.weight(), &delivery.from);
        if weight == 0 || self.accounts.of(from).saturating_add(weight) <= quota.saturating_mul(SHARE) {
            return Ok(());
        }
        let why =
            format!("{from} has handed over as much of what others have put as it may in a day: see dht.quota_mib");
        Err(Refusal::Forbidden(why.into()))
    }

    /// Counts a new script that is about to be fetched from a peer, unless it has brought as many as it may.
    pub(super) fn bring_script(&mut self, from: &Arc<str>, now: Moment) -> Result<(), Refusal> {
        self.begin_day(now);
        if self.scripts.of(from) >= SCRIPTS {
            return Err(Refusal::Forbidden(
                format!("{from} has brought as many new scripts as it may in a day").into(),
            ));
        }
        self.scripts.add(from, 1);
        Ok(())
    }

    /// The script could not be fetched.
    pub(super) fn bring_nothing(&mut self, from: &Arc<str>) {
        self.scripts.take(from, 1);
    }

    fn begin_day(&mut self, now: Moment) {
        if now.since(self.began) >= DAY {
            *self = Handed::new(now);
        }
    }

    /// Counts what was taken.
    pub(super) fn count(&mut self, delivery: &Delivery) {
        self.accounts.add(&delivery.from, delivery.weight());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use comet_kernel::{Clock, UnixMillis};

    fn delivery(by: usize, far: bool) -> Delivery {
        Delivery { from: "peer".into(), by: format!("signer {by}").into(), bytes: 10, far, removes: false }
    }

    /// How many records by ever new signers one peer may hand over, of 10 bytes each, if a quota is 100 bytes.
    fn taken(handed: &mut Handed, far: bool, now: Moment) -> usize {
        let takes = |by: &usize| {
            let delivery = delivery(*by, far);
            handed.check(&delivery, 100, now).is_ok_and(|()| {
                handed.count(&delivery);
                true
            })
        };
        (0..1_000).take_while(takes).count()
    }

    #[test]
    fn a_peer_hands_over_so_many_quotas_in_a_day_whatever_signers_it_makes_up() {
        let clock = Clock::manual(UnixMillis(0));
        let now = clock.now();
        let mut handed = Handed::new(now);
        assert_eq!(taken(&mut handed, false, now), 160);
        let own = Delivery { by: "peer".into(), ..delivery(0, false) };
        assert!(handed.check(&own, 100, now).is_ok(), "what it puts itself is another matter");
        let other = Delivery { from: "another".into(), ..delivery(0, false) };
        assert!(handed.check(&other, 100, now).is_ok());
        assert_eq!(taken(&mut handed, false, now + DAY), 160, "the next day");
    }

    #[test]
    fn a_peer_brings_so_many_new_scripts_in_a_day_and_what_was_not_there_counts_for_nothing() {
        let now = Clock::manual(UnixMillis(0)).now();
        let (mut handed, peer) = (Handed::new(now), "peer".into());
        for _ in 0..2 * SCRIPTS {
            handed.bring_script(&peer, now).expect("none came before");
            handed.bring_nothing(&peer);
        }
        let brought = (0..2 * SCRIPTS).filter(|_| handed.bring_script(&peer, now).is_ok()).count() as u64;
        assert_eq!(brought, SCRIPTS);
        handed.bring_script(&"another".into(), now).expect("others have brought nothing yet");
        handed.bring_script(&peer, now + DAY).expect("it is another day");
    }

    #[test]
    fn of_what_belongs_elsewhere_a_peer_hands_over_one_quota() {
        let now = Clock::manual(UnixMillis(0)).now();
        assert_eq!(taken(&mut Handed::new(now), true, now), 10);
    }
}
