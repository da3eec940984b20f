//! What making objects may cost a shard.
//!
//! An object that does not exist yet has no account of processor time, and whoever puts it chooses its key. So the caller
//! pays for what a script does when its object is made (its fields, `onPut`, `onArrive`), and all of them together leave the
//! shard half of its time for the objects that it has. Both are averages over [`WINDOW`]: an object is made within
//! microseconds, so that nobody comes near them who does not want to.

use std::time::Duration;

use comet_kernel::contract::aso::Refusal;
use comet_kernel::{Caller, Moment};

/// What is not used is kept for this long.
const WINDOW: Duration = Duration::from_secs(10);
/// One in so many seconds is for making objects, and one in so many for those of one caller.
const EVERYONE: u32 = 2;
const CALLER: u32 = 4;
/// Accounts of callers. Two whose hashes meet share one; how they are hashed nobody knows beforehand.
const ACCOUNTS: usize = 256;

/// The accounts of one shard.
#[derive(Debug)]
pub(crate) struct Births {
    everyone: Account,
    callers: Box<[Account]>,
    hasher: ahash::RandomState,
}

/// Processor time that was used and has not been earned yet.
#[derive(Clone, Copy, Debug, Default)]
struct Account {
    debt: Duration,
    settled: Moment,
}

impl Account {
    /// Sets what was earned since the last time against the debt. One in `part` seconds is earned.
    fn settle(&mut self, part: u32, now: Moment) {
        self.debt = self.debt.saturating_sub(now.since(self.settled) / part);
        self.settled = now;
    }

    /// How long it takes until the debt is one that may be.
    fn wait(&self, part: u32) -> Duration {
        self.debt.saturating_sub(WINDOW / part) * part
    }
}

impl Default for Births {
    fn default() -> Self {
        let callers = vec![Account::default(); ACCOUNTS].into();
        Births { everyone: Account::default(), callers, hasher: ahash::RandomState::new() }
    }
}

impl Births {
    /// Whether an object of this caller may be made now. `own` is the id of this node.
    pub fn may(&mut self, caller: &Caller, own: &str, now: Moment) -> Result<(), Refusal> {
        let account = self.of(caller, own);
        account.settle(CALLER, now);
        let wait = account.wait(CALLER);
        self.everyone.settle(EVERYONE, now);
        let wait = wait.max(self.everyone.wait(EVERYONE));
        if wait.is_zero() {
            return Ok(());
        }
        // Rounded up, so that whoever waits that long finds the debt earned.
        Err(Refusal::Limited { retry_after_ms: wait.as_nanos().div_ceil(1_000_000) as u64 })
    }

    /// Has the caller pay for what was used.
    pub fn spend(&mut self, caller: &Caller, own: &str, used: Duration) {
        self.of(caller, own).debt += used;
        self.everyone.debt += used;
    }

    /// Clients of this node's gateway are told apart by their addresses and users. What another node says of its own is a
    /// claim: it pays for all of them.
    fn of(&mut self, caller: &Caller, own: &str) -> &mut Account {
        let node = caller.id.split('/').next().unwrap_or_default();
        let host = caller.client.rsplit_once(':').map_or("", |(host, _)| host);
        let hash = if node == own { self.hasher.hash_one((&*caller.id, host)) } else { self.hasher.hash_one(node) };
        &mut self.callers[hash as usize % ACCOUNTS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    fn caller(id: &str, client: &str) -> Caller {
        Caller { id: id.into(), ip: IpAddr::from([10, 0, 0, 1]), port: 1, client: client.into() }
    }

    fn at(seconds: u64) -> Moment {
        Moment::default() + Duration::from_secs(seconds)
    }

    /// Somebody whose account is none of theirs.
    fn stranger_to(births: &mut Births, others: &[&Caller]) -> Caller {
        let account = |births: &mut Births, caller: &Caller| std::ptr::from_ref(births.of(caller, "own")).addr();
        let taken: Vec<_> = others.iter().map(|other| account(births, other)).collect();
        let mut named = (0..).map(|number| caller(&format!("peer{number}"), ""));
        named.find(|caller| !taken.contains(&account(births, caller))).expect("there are many accounts")
    }

    #[test]
    fn who_makes_dear_objects_has_to_wait_and_others_need_not() {
        let mut births = Births::default();
        let eve = caller("eve", "");
        let ann = stranger_to(&mut births, &[&eve]);
        births.spend(&eve, "own", Duration::from_millis(2_500));
        assert_eq!(births.may(&eve, "own", at(0)), Ok(()), "a quarter of ten seconds");
        births.spend(&eve, "own", Duration::from_millis(20));
        assert_eq!(births.may(&eve, "own", at(0)), Err(Refusal::Limited { retry_after_ms: 80 }));
        assert_eq!(births.may(&ann, "own", at(0)), Ok(()));
        assert_eq!(births.may(&eve, "own", at(1)), Ok(()), "a quarter of a second is earned");
    }

    #[test]
    fn all_callers_together_leave_the_shard_half_of_its_time() {
        let mut births = Births::default();
        let (eve, eva) = (caller("eve", ""), caller("eva", ""));
        let ann = stranger_to(&mut births, &[&eve, &eva]);
        births.spend(&eve, "own", Duration::from_millis(2_500));
        births.spend(&eva, "own", Duration::from_millis(2_600));
        assert_eq!(births.may(&ann, "own", at(0)), Err(Refusal::Limited { retry_after_ms: 200 }));
        assert_eq!(births.may(&ann, "own", at(1)), Ok(()));
    }

    #[test]
    fn a_node_pays_for_whoever_it_says_that_asks_through_it() {
        let mut births = Births::default();
        births.spend(&caller("peer/ann", "10.0.0.7:1"), "own", Duration::from_secs(3));
        assert!(births.may(&caller("peer/eve", "10.0.0.8:2"), "own", at(0)).is_err());
        births.spend(&caller("own", "10.0.0.7:1"), "own", Duration::from_millis(1_900));
        let mut debt = |client: &str| births.of(&caller("own", client), "own").debt;
        assert!(debt("10.0.0.7:2") >= Duration::from_millis(1_900), "another connection of the same client");
        let others = (8..99).filter(|host| debt(&format!("10.0.0.{host}:1")).is_zero());
        assert!(others.count() > 50, "few share an account");
    }
}
