//! Quotas: how many bytes the objects that one node has put take here.
//!
//! They are counted from what this node has stored for others since the router started, and no farther back: a restart
//! forgets. What was replaced or removed is taken off again, as far as the answer tells it; what ended by its time to live
//! or was dropped as surplus is not. So the figure is a bound against a node that fills others' disks, not an account.

use std::collections::HashMap;
use std::sync::Arc;

use comet_kernel::contract::aso::Refusal;
use comet_kernel::{Key, Record, Value};

/// Nodes that are counted each for itself. Past it the rest share one account.
const NODES: usize = 8_192;

/// Bytes by the node that put them.
#[derive(Debug)]
pub(super) struct Quota {
    /// What one node may take; 0 is no limit.
    limit: u64,
    taken: HashMap<Arc<str>, u64, ahash::RandomState>,
    others: u64,
}

/// Bytes of a value under its key.
pub(super) fn size(key: &Key, value: &Value) -> u64 {
    (key.as_bytes().len() + value.encoded_size()) as u64
}

/// Bytes of a record under its key.
pub(super) fn size_of(key: &Key, record: &Record) -> u64 {
    let state = record.active.as_ref().map_or(0, |active| active.state.encoded_size());
    size(key, &record.value) + state as u64
}

impl Quota {
    pub(super) fn new(limit: u64) -> Self {
        Quota { limit, taken: HashMap::default(), others: 0 }
    }

    /// Refuses what a node puts past its quota.
    pub(super) fn check(&self, by: &Arc<str>, bytes: u64) -> Result<(), Refusal> {
        let account = self.taken.get(by).copied();
        let taken = account.unwrap_or(if self.taken.len() < NODES { 0 } else { self.others });
        if self.limit == 0 || taken + bytes <= self.limit {
            return Ok(());
        }
        let mib = self.limit >> 20;
        let why = format!("objects put by {by} take all of the {mib} MiB that one node has here: see dht.quota_mib");
        Err(Refusal::Forbidden(why.into()))
    }

    /// Counts what a node has put, and takes off what it has replaced.
    pub(super) fn replaced(&mut self, key: &Key, by: &Arc<str>, bytes: u64, former: Option<&Record>) {
        if bytes > 0 {
            *self.account(by) += bytes;
        }
        let Some(former) = former else { return };
        let Some(provenance) = &former.provenance else { return };
        let account = self.account(&provenance.by);
        *account = account.saturating_sub(size_of(key, former));
        if *account == 0 {
            self.taken.remove(&provenance.by);
        }
    }

    fn account(&mut self, by: &Arc<str>) -> &mut u64 {
        if self.taken.len() >= NODES && !self.taken.contains_key(by) {
            return &mut self.others;
        }
        self.taken.entry(by.clone()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use comet_kernel::Provenance;
    use comet_kernel::provenance::Signature;

    fn record(by: &Arc<str>, value: &str) -> Record {
        let signature = Signature([0; 64]);
        let provenance = Provenance { by: by.clone(), signature, script: None, replicas: None, removed: None };
        Record { provenance: Some(Box::new(provenance)), ..Record::plain(1, Value::from(value)) }
    }

    #[test]
    fn a_node_takes_no_more_than_its_quota_and_gets_back_what_it_replaces() {
        let (key, greedy, modest) = (Key::new(b"k").expect("short"), Arc::from("greedy"), Arc::from("modest"));
        let big = record(&greedy, &"x".repeat(90));
        let bytes = size_of(&key, &big);
        let mut quota = Quota::new(100);
        quota.check(&greedy, bytes).expect("it fits");
        quota.replaced(&key, &greedy, bytes, None);
        assert!(matches!(quota.check(&greedy, bytes), Err(Refusal::Forbidden(_))));
        quota.check(&modest, bytes).expect("each has its own");
        quota.replaced(&key, &modest, 0, Some(&big));
        quota.check(&greedy, bytes).expect("it fits again");
        assert!(quota.taken.is_empty(), "nothing is remembered of who takes nothing");
    }
}
