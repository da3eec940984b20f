//! Quotas: how many bytes the objects that one node has put take here.
//!
//! When the router starts, it walks through what this node stores and counts it, in small pages and beside everything else.
//! What changes meanwhile ahead of the walk is counted when the walk comes by; until it is over, a node may put a
//! [`MEANWHILE`]th of its quota, so that however often this node is restarted nobody takes much more than that beyond it.
//!
//! A record counts with what it takes besides its key and value, so that many small ones do not pass for little. What this
//! node itself has put is not counted. What a peer hands over that others have put counts for the peer as well: see `handed`.
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
use comet_kernel::{Key, Moment, Record, Value};

use super::accounts::Accounts;
use super::handed::{Delivery, Handed};
use super::net::Net;

/// What a record takes on the disk besides its key and value, about: who put it, the signature, the version, its place in
/// the index.
const RECORD: u64 = 256;
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
    /// This node, as it stands in signatures.
    own: Arc<str>,
    taken: Accounts,
    handed: Handed,
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
    fresh: Accounts,
}

/// What a value under its key counts.
pub(super) fn cost(key: &Key, value: &Value) -> u64 {
    RECORD + size(key, value)
}

/// What a record under its key counts.
pub(super) fn cost_of(key: &Key, record: &Record) -> u64 {
    RECORD + size_of(key, record)
}

/// Bytes of a value under its key.
fn size(key: &Key, value: &Value) -> u64 {
    (key.as_bytes().len() + value.encoded_size()) as u64
}

/// Bytes of a record under its key.
pub(super) fn size_of(key: &Key, record: &Record) -> u64 {
    let state = record.active.as_ref().map_or(0, |active| active.state.encoded_size());
    size(key, &record.value) + state as u64
}

impl Quota {
    /// Of what is stored nothing has been counted yet.
    pub(super) fn new(limit: u64, own: &Arc<str>, now: Moment) -> Self {
        let walk = (limit > 0).then(Walk::default);
        Quota { limit, own: own.clone(), taken: Accounts::default(), handed: Handed::new(now), walk }
    }

    /// Whether there is anything left to be counted.
    fn is_partial(&self) -> bool {
        self.walk.is_some()
    }

    /// Counts a page of what is stored.
    fn count(&mut self, page: Page) {
        let Some(mut walk) = self.walk.take() else { return };
        for (key, record) in page.items {
            let by = record.provenance.as_ref().filter(|it| it.removed.is_none()).map(|it| it.by.clone());
            if let Some(by) = by.filter(|by| *by != self.own && !walk.changed.contains_key(&key)) {
                self.taken.add(&by, cost_of(&key, &record));
            }
        }
        for (key, (by, bytes)) in walk.changed.drain() {
            if page.next.as_ref().is_none_or(|end| key <= *end) {
                self.taken.add(&by, bytes);
            }
        }
        walk.after = page.next;
        self.walk = walk.after.is_some().then_some(walk);
    }

    /// Refuses what a peer brings past the quota of who has put it, or past what it may hand over.
    pub(super) fn check(&mut self, delivery: &Delivery, now: Moment) -> Result<(), Refusal> {
        if self.limit == 0 {
            return Ok(());
        }
        if delivery.by != self.own {
            self.check_signer(&delivery.by, delivery.bytes)?;
        }
        self.handed.check(delivery, self.limit, now)
    }

    fn check_signer(&self, by: &str, bytes: u64) -> Result<(), Refusal> {
        let taken = self.taken.of(by);
        let fresh = self.walk.as_ref().map(|walk| bytes + walk.fresh.of(by));
        if fresh.is_some_and(|fresh| fresh > self.limit / MEANWHILE) {
            let why = "what is stored here is still being counted for dht.quota_mib; try again";
            return Err(Refusal::Unavailable(why.to_owned()));
        }
        if taken + fresh.unwrap_or(bytes) <= self.limit {
            return Ok(());
        }
        let mib = self.limit >> 20;
        let why = format!("objects put by {by} take all of the {mib} MiB that one node has here: see dht.quota_mib");
        Err(Refusal::Forbidden(why.into()))
    }

    /// Counts what a peer has brought, and takes off what it has replaced.
    pub(super) fn took(&mut self, key: &Key, delivery: &Delivery, former: Option<&Record>) {
        self.handed.count(delivery);
        let bytes = if delivery.by == self.own { 0 } else { delivery.bytes };
        self.replaced(key, &delivery.by, bytes, former);
    }

    fn replaced(&mut self, key: &Key, by: &Arc<str>, bytes: u64, former: Option<&Record>) {
        if let Some(walk) = &mut self.walk {
            walk.fresh.add(by, bytes);
            if walk.after.as_ref().is_none_or(|after| key > after) {
                walk.note(key, by, bytes);
                return;
            }
        }
        self.taken.add(by, bytes);
        if let Some((former, provenance)) = former.and_then(|former| Some((former, former.provenance.as_ref()?))) {
            self.taken.take(&provenance.by, cost_of(key, former));
        }
    }
}

impl Walk {
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
                net.quota.borrow_mut().count(page);
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
    use comet_kernel::provenance::Signature;
    use comet_kernel::{Clock, Provenance, UnixMillis};

    fn record(by: &Arc<str>, value: &str) -> Record {
        let signature = Signature([0; 64]);
        let provenance = Provenance { by: by.clone(), signature, script: None, replicas: None, removed: None };
        Record { provenance: Some(Box::new(provenance)), ..Record::plain(1, Value::from(value)) }
    }

    fn quota(limit: u64) -> Quota {
        Quota::new(limit, &"me".into(), Clock::manual(UnixMillis(0)).now())
    }

    fn put(by: &Arc<str>, bytes: u64) -> Delivery {
        Delivery { from: by.clone(), by: by.clone(), bytes, far: false }
    }

    #[test]
    fn a_node_takes_no_more_than_its_quota_and_gets_back_what_it_replaces() {
        let now = Clock::manual(UnixMillis(0)).now();
        let (key, greedy, modest) = (Key::new(b"k").expect("short"), Arc::from("greedy"), Arc::from("modest"));
        let big = record(&greedy, &"x".repeat(90));
        let bytes = cost_of(&key, &big);
        let mut quota = quota(bytes + 10);
        quota.count(Page::default());
        quota.check(&put(&greedy, bytes), now).expect("it fits");
        quota.took(&key, &put(&greedy, bytes), None);
        assert!(matches!(quota.check(&put(&greedy, bytes), now), Err(Refusal::Forbidden(_))));
        quota.check(&put(&modest, bytes), now).expect("each has its own");
        quota.took(&key, &put(&modest, 0), Some(&big));
        quota.check(&put(&greedy, bytes), now).expect("it fits again");
    }

    #[test]
    fn small_records_do_not_pass_for_little() {
        let small = record(&"somebody".into(), "");
        assert!(cost_of(&Key::new(b"k").expect("short"), &small) > 256);
    }

    #[test]
    fn what_this_node_has_put_itself_comes_back_without_counting_for_its_quota() {
        let now = Clock::manual(UnixMillis(0)).now();
        let mut quota = quota(100);
        quota.count(Page::default());
        let back = Delivery { from: "peer".into(), ..put(&"me".into(), 300) };
        quota.check(&back, now).expect("it is its own");
        quota.took(&Key::new(b"k").expect("short"), &back, None);
        assert_eq!(quota.taken.of("me"), 0);
    }

    #[test]
    fn what_changes_while_it_is_counted_is_counted_once() {
        let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| Key::new(name.as_bytes()).expect("short"));
        let by: Arc<str> = "somebody".into();
        let stored = |key: &Key, value: &str| (key.clone(), Arc::new(record(&by, value)));
        let size = |value: &str| cost_of(&a, &record(&by, value));
        let mut quota = quota(1 << 20);
        // While the first page is read, one of its records is replaced, one is added, and one far ahead.
        quota.took(&a, &put(&by, size("longer")), Some(&record(&by, "old")));
        quota.took(&b, &put(&by, size("new")), None);
        quota.took(&d, &put(&by, size("far")), None);
        quota.count(Page { items: vec![stored(&a, "old"), stored(&c, "c")], next: Some(c.clone()) });
        assert_eq!(quota.taken.of(&by), size("longer") + size("new") + size("c"));
        // What is behind the walk counts at once.
        quota.took(&a, &put(&by, size("x")), Some(&record(&by, "longer")));
        quota.count(Page { items: vec![stored(&d, "far")], next: None });
        assert_eq!(quota.taken.of(&by), size("x") + size("new") + size("c") + size("far"));
        assert!(!quota.is_partial());
    }
}
