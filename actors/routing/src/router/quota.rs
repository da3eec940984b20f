//! Quotas: how many bytes the objects that one node has put take here.
//!
//! When the router starts, it walks through what this node stores and counts it, in small pages and beside everything else.
//! What changes meanwhile ahead of the walk is counted when the walk comes by; until it is over, a node may put a
//! [`MEANWHILE`]th of its quota, so that however often this node is restarted nobody takes much more than that beyond it.
//!
//! What was replaced or removed is taken off again, as far as the answer tells it; what ended by its time to live or was
//! dropped as surplus is not, before the next start. So the figure is a bound against a node that fills others' disks, not
//! an account.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use comet_kernel::contract::aso::Refusal;
use comet_kernel::contract::storage::{Page, Scan};
use comet_kernel::{Key, Record, Value};

use super::net::Net;

/// Nodes that are counted each for itself. Past it the rest share one account.
const NODES: usize = 8_192;
/// Before everything that is stored has been counted, a node may put one part in so many of its quota.
const MEANWHILE: u64 = 16;
/// Records of one page of the walk.
const PAGE: usize = 128;
/// Changes that are noted while one page is read; what goes beyond may be counted wrong.
const CHANGED: usize = 1 << 16;
/// How long before a page that could not be read is read again.
const AGAIN: Duration = Duration::from_secs(1);

/// Bytes by the node that put them.
#[derive(Debug)]
pub(super) struct Quota {
    /// What one node may take; 0 is no limit.
    limit: u64,
    taken: HashMap<Arc<str>, u64, ahash::RandomState>,
    others: u64,
    walk: Option<Walk>,
}

/// How far what is stored has been counted.
#[derive(Debug, Default)]
struct Walk {
    /// The last key of the pages that were; none before the first.
    after: Option<Key>,
    /// What has changed ahead of the walk since the page under way was asked for: by whom it is now, and how large.
    changed: HashMap<Key, (Arc<str>, u64)>,
    /// What nodes have put since it began.
    fresh: HashMap<Arc<str>, u64>,
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
    /// Of what is stored nothing has been counted yet.
    pub(super) fn new(limit: u64) -> Self {
        let walk = (limit > 0).then(Walk::default);
        Quota { limit, taken: HashMap::default(), others: 0, walk }
    }

    /// Whether there is anything left to be counted.
    fn is_partial(&self) -> bool {
        self.walk.is_some()
    }

    /// Counts a page of what is stored. What this node itself has put is not counted.
    fn count(&mut self, own: &str, page: Page) {
        let Some(mut walk) = self.walk.take() else { return };
        for (key, record) in page.items {
            let by = record.provenance.as_ref().filter(|it| it.removed.is_none()).map(|it| it.by.clone());
            if let Some(by) = by.filter(|by| **by != *own && !walk.changed.contains_key(&key)) {
                *self.account(&by) += size_of(&key, &record);
            }
        }
        for (key, (by, bytes)) in walk.changed.drain() {
            if bytes > 0 && page.next.as_ref().is_none_or(|end| key <= *end) {
                *self.account(&by) += bytes;
            }
        }
        walk.after = page.next;
        self.walk = walk.after.is_some().then_some(walk);
    }

    /// Refuses what a node puts past its quota.
    pub(super) fn check(&self, by: &Arc<str>, bytes: u64) -> Result<(), Refusal> {
        let account = self.taken.get(by).copied();
        let taken = account.unwrap_or(if self.taken.len() < NODES { 0 } else { self.others });
        let fresh = self.walk.as_ref().map(|walk| bytes + walk.fresh(by));
        if fresh.is_some_and(|fresh| fresh > self.limit / MEANWHILE) {
            let why = "what is stored here is still being counted for dht.quota_mib; try again";
            return Err(Refusal::Unavailable(why.to_owned()));
        }
        if self.limit == 0 || taken + fresh.unwrap_or(bytes) <= self.limit {
            return Ok(());
        }
        let mib = self.limit >> 20;
        let why = format!("objects put by {by} take all of the {mib} MiB that one node has here: see dht.quota_mib");
        Err(Refusal::Forbidden(why.into()))
    }

    /// Counts what a node has put, and takes off what it has replaced.
    pub(super) fn replaced(&mut self, key: &Key, by: &Arc<str>, bytes: u64, former: Option<&Record>) {
        if let Some(walk) = &mut self.walk {
            walk.put(by, bytes);
            if walk.after.as_ref().is_none_or(|after| key > after) {
                walk.note(key, by, bytes);
                return;
            }
        }
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

impl Walk {
    /// What a node has put since the walk began. Those past [`NODES`] share one account, under no name.
    fn fresh(&self, by: &str) -> u64 {
        self.fresh.get(by).or_else(|| self.fresh.get("")).copied().unwrap_or_default()
    }

    fn put(&mut self, by: &Arc<str>, bytes: u64) {
        let known = self.fresh.len() < NODES || self.fresh.contains_key(by);
        *self.fresh.entry(if known { by.clone() } else { "".into() }).or_default() += bytes;
    }

    fn note(&mut self, key: &Key, by: &Arc<str>, bytes: u64) {
        if self.changed.len() < CHANGED {
            self.changed.insert(key.clone(), (by.clone(), bytes));
        }
    }
}

/// Counts all that is stored, page by page.
pub(super) async fn count_stored(net: Rc<Net>) {
    let mut after = None;
    while net.quota.borrow().is_partial() {
        match net.env.storage.scan.call(Scan { after: after.clone(), limit: PAGE }).await {
            Ok(Ok(page)) => {
                after.clone_from(&page.next);
                net.quota.borrow_mut().count(net.signer.by(), page);
            }
            failure => {
                tracing::debug!(?failure, "what is stored could not be counted; it will be tried again");
                net.clock().sleep(AGAIN).await;
            }
        }
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
        quota.count("me", Page::default());
        quota.check(&greedy, bytes).expect("it fits");
        quota.replaced(&key, &greedy, bytes, None);
        assert!(matches!(quota.check(&greedy, bytes), Err(Refusal::Forbidden(_))));
        quota.check(&modest, bytes).expect("each has its own");
        quota.replaced(&key, &modest, 0, Some(&big));
        quota.check(&greedy, bytes).expect("it fits again");
        assert!(quota.taken.is_empty(), "nothing is remembered of who takes nothing");
    }

    #[test]
    fn what_changes_while_it_is_counted_is_counted_once() {
        let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| Key::new(name.as_bytes()).expect("short"));
        let by: Arc<str> = "somebody".into();
        let stored = |key: &Key, value: &str| (key.clone(), Arc::new(record(&by, value)));
        let size = |value: &str| size_of(&a, &record(&by, value));
        let mut quota = Quota::new(1 << 20);
        // While the first page is read, one of its records is replaced, one is added, and one far ahead.
        quota.replaced(&a, &by, size("longer"), Some(&record(&by, "old")));
        quota.replaced(&b, &by, size("new"), None);
        quota.replaced(&d, &by, size("far"), None);
        quota.count("me", Page { items: vec![stored(&a, "old"), stored(&c, "c")], next: Some(c.clone()) });
        assert_eq!(quota.taken[&by], size("longer") + size("new") + size("c"));
        // What is behind the walk counts at once.
        quota.replaced(&a, &by, size("x"), Some(&record(&by, "longer")));
        quota.count("me", Page { items: vec![stored(&d, "far")], next: None });
        assert_eq!(quota.taken[&by], size("x") + size("new") + size("c") + size("far"));
        assert!(!quota.is_partial());
    }
}
