//! Quotas: how many bytes the objects that one node has put take here.
//!
//! When the router starts, it walks through what this node stores and counts it, in small pages and beside everything else.
//! What changes meanwhile ahead of the walk is counted when the walk comes by; until it is over, a node may put a
//! [`MEANWHILE`]th of its quota, so that however often this node is restarted nobody takes much more than that beyond it.
//!
//! A record counts with what it takes besides its key and value, so that many small ones do not pass for little, and so does
//! a tombstone while it is kept. What this node itself has put is not counted. What a peer hands over that others have put
//! counts for the peer as well: see `handed`.
//!
//! What was replaced or removed is taken off again, as far as the answer tells it; what ended by its time to live, was
//! dropped as surplus or gave way to a copy is not. So the figures grow past the truth, and before anybody is refused for
//! them all is counted anew: the walk begins while there is room left, and its figures take the place of the old ones when
//! it is over. What takes no more room than what the same node has put there is never refused, nor is the removal of
//! anything that is there.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use comet_kernel::contract::aso::Refusal;
use comet_kernel::contract::storage::{Page, Scan};
use comet_kernel::{Key, Moment, Record, Value};
use tokio::sync::Notify;

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
/// How long at least, after all was counted, before it is counted anew: [`EASE`] times as long as it took, if that is more.
const REST: Duration = Duration::from_secs(5 * 60);
/// See [`REST`]: counting takes no more than a third of the time, however much is stored.
const EASE: u32 = 2;
/// How long before a page that could not be read is read again.
const AGAIN: Duration = Duration::from_secs(1);

/// Bytes by the node that put them.
#[derive(Debug)]
pub(super) struct Quota {
    /// What one node may take; 0 is no limit.
    limit: u64,
    /// This node, as it stands in signatures.
    own: Arc<str>,
    /// As the last walk has counted, and what has changed since; before the first is over, what nodes have put since it
    /// began.
    taken: Accounts,
    /// What peers hand over.
    pub(super) handed: Handed,
    walk: Option<Walk>,
    /// When the next walk may begin; none before the first is over.
    rested: Option<Moment>,
    /// Tells whoever walks that a walk begins.
    begins: Rc<Notify>,
}

/// How far what is stored has been counted.
#[derive(Debug)]
struct Walk {
    began: Moment,
    /// The last key of the pages that were; none before the first.
    after: Option<Key>,
    /// What has changed ahead of the walk since the page under way was asked for: by whom it is now, and how large.
    changed: HashMap<Key, (Arc<str>, u64)>,
    counted: Accounts,
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
        Quota {
            limit,
            own: own.clone(),
            taken: Accounts::default(),
            handed: Handed::new(now),
            walk: (limit > 0).then(|| Walk::new(now)),
            rested: None,
            begins: Rc::default(),
        }
    }

    /// Whether there is anything left to be counted.
    fn is_partial(&self) -> bool {
        self.walk.is_some()
    }

    /// Counts a page of what is stored.
    fn count(&mut self, page: Page, now: Moment) {
        let Some(mut walk) = self.walk.take() else { return };
        for (key, record) in page.items {
            let by = record.provenance.as_ref().map(|it| it.by.clone());
            if let Some(by) = by.filter(|by| *by != self.own && !walk.changed.contains_key(&key)) {
                walk.counted.add(&by, cost_of(&key, &record));
            }
        }
        for (key, (by, bytes)) in walk.changed.drain() {
            if page.next.as_ref().is_none_or(|end| key <= *end) {
                walk.counted.add(&by, bytes);
            }
        }
        walk.after = page.next;
        if walk.after.is_some() {
            self.walk = Some(walk);
            return;
        }
        self.taken = walk.counted;
        self.rested = Some(now + REST.max(EASE * now.since(walk.began)));
    }

    /// Refuses what a peer brings past the quota of who has put it, or past what it may hand over.
    pub(super) fn check(&mut self, delivery: &Delivery, now: Moment) -> Result<(), Refusal> {
        if self.limit == 0 {
            return Ok(());
        }
        if delivery.by != self.own {
            self.check_signer(&delivery.by, delivery.bytes, now)?;
        }
        self.handed.check(delivery, self.limit, now)
    }

    fn check_signer(&mut self, by: &str, bytes: u64, now: Moment) -> Result<(), Refusal> {
        let taken = self.taken.of(by) + bytes;
        if let (None, Some(walk)) = (self.rested, &self.walk) {
            return match walk.counted.of(by) + bytes {
                counted if counted > self.limit => Err(self.is_full(by)),
                _ if taken > self.limit / MEANWHILE => Err(counting()),
                _ => Ok(()),
            };
        }
        if taken > self.limit / 4 * 3 {
            self.begin_walk(now);
        }
        match taken {
            taken if taken <= self.limit => Ok(()),
            _ if self.is_partial() => Err(counting()),
            _ => Err(self.is_full(by)),
        }
    }

    fn is_full(&self, by: &str) -> Refusal {
        let mib = self.limit >> 20;
        let why = format!("objects put by {by} take all of the {mib} MiB that one node has here: see dht.quota_mib");
        Refusal::Forbidden(why.into())
    }

    /// Begins to count all anew, unless that is under way or was a short while ago.
    fn begin_walk(&mut self, now: Moment) {
        if self.walk.is_none() && self.rested.is_some_and(|rested| rested <= now) {
            self.walk = Some(Walk::new(now));
            self.begins.notify_one();
        }
    }

    /// Counts what a peer has brought, and takes off what it has replaced.
    pub(super) fn took(&mut self, key: &Key, delivery: &Delivery, former: Option<&Record>) {
        self.handed.count(delivery);
        let bytes = if delivery.by == self.own { 0 } else { delivery.bytes };
        self.replaced(key, &delivery.by, bytes, former);
    }

    fn replaced(&mut self, key: &Key, by: &Arc<str>, bytes: u64, former: Option<&Record>) {
        let former = former.and_then(|former| Some((&former.provenance.as_ref()?.by, cost_of(key, former))));
        let mut accounts = vec![&mut self.taken];
        if let Some(walk) = &mut self.walk {
            if walk.after.as_ref().is_none_or(|after| key > after) {
                walk.note(key, by, bytes);
            } else {
                accounts.push(&mut walk.counted);
            }
        }
        for accounts in accounts {
            accounts.add(by, bytes);
            if let Some((by, bytes)) = former {
                accounts.take(by, bytes);
            }
        }
    }
}

fn counting() -> Refusal {
    Refusal::Unavailable("what is stored here is still being counted for dht.quota_mib; try again".to_owned())
}

impl Walk {
    fn new(now: Moment) -> Self {
        Walk { began: now, after: None, changed: HashMap::new(), counted: Accounts::default() }
    }

    fn note(&mut self, key: &Key, by: &Arc<str>, bytes: u64) {
        if self.changed.len() < CHANGED {
            self.changed.insert(key.clone(), (by.clone(), bytes));
        }
    }
}

/// Counts all that is stored, page by page, and again whenever a walk begins.
pub(super) async fn count_stored(net: Rc<Net>) {
    let begins = net.quota.borrow().begins.clone();
    loop {
        walk(&net).await;
        begins.notified().await;
    }
}

async fn walk(net: &Net) {
    let mut after = None;
    while net.quota.borrow().is_partial() {
        match net.env.storage.scan.call(Scan { after: after.clone(), limit: PAGE }).await {
            Ok(Ok(page)) => {
                after.clone_from(&page.next);
                net.quota.borrow_mut().count(page, net.clock().now());
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
        Delivery { from: by.clone(), by: by.clone(), bytes, far: false, removes: false }
    }

    #[test]
    fn a_node_takes_no_more_than_its_quota_and_gets_back_what_it_replaces() {
        let now = Clock::manual(UnixMillis(0)).now();
        let (key, greedy, modest) = (Key::new(b"k").expect("short"), Arc::from("greedy"), Arc::from("modest"));
        let big = record(&greedy, &"x".repeat(90));
        let bytes = cost_of(&key, &big);
        let mut quota = quota(bytes + 10);
        quota.count(Page::default(), now);
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
        quota.count(Page::default(), now);
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
        let now = Clock::manual(UnixMillis(0)).now();
        let mut quota = quota(1 << 20);
        // While the first page is read, one of its records is replaced, one is added, and one far ahead.
        quota.took(&a, &put(&by, size("longer")), Some(&record(&by, "old")));
        quota.took(&b, &put(&by, size("new")), None);
        quota.took(&d, &put(&by, size("far")), None);
        quota.count(Page { items: vec![stored(&a, "old"), stored(&c, "c")], next: Some(c.clone()) }, now);
        let counted = |quota: &Quota| quota.walk.as_ref().map(|walk| walk.counted.of(&by));
        assert_eq!(counted(&quota), Some(size("longer") + size("new") + size("c")));
        // What is behind the walk counts at once.
        quota.took(&a, &put(&by, size("x")), Some(&record(&by, "longer")));
        quota.count(Page { items: vec![stored(&d, "far")], next: None }, now);
        assert_eq!(quota.taken.of(&by), size("x") + size("new") + size("c") + size("far"));
        assert!(!quota.is_partial());
    }

    #[test]
    fn before_a_figure_that_has_outgrown_the_truth_refuses_anybody_all_is_counted_anew() {
        let now = Clock::manual(UnixMillis(0)).now();
        let (key, by) = (Key::new(b"k").expect("short"), Arc::from("somebody"));
        let one = put(&by, 10);
        let mut quota = quota(100);
        quota.count(Page::default(), now);
        // What it puts ends by its time to live, which nobody tells.
        for _ in 0..10 {
            quota.check(&one, now).expect("it fits");
            quota.took(&key, &one, None);
        }
        assert!(matches!(quota.check(&one, now), Err(Refusal::Forbidden(_))), "all was counted a moment ago");
        let later = now + REST;
        assert!(matches!(quota.check(&one, later), Err(Refusal::Unavailable(_))), "it is counted anew");
        quota.check(&put(&"another".into(), 10), later).expect("others have room meanwhile");
        quota.count(Page::default(), later);
        for _ in 0..7 {
            quota.check(&one, later).expect("it fits again");
            quota.took(&key, &one, None);
        }
        let early = later + REST;
        quota.check(&one, early).expect("while it is counted");
        assert!(quota.is_partial(), "it is counted before there is no room left");
    }

    #[test]
    fn counting_rests_twice_as_long_as_it_took() {
        let now = Clock::manual(UnixMillis(0)).now();
        let mut quota = quota(100);
        let end = now + Duration::from_secs(3_600);
        quota.count(Page::default(), end);
        quota.begin_walk(end + Duration::from_secs(7_199));
        assert!(!quota.is_partial());
        quota.begin_walk(end + Duration::from_secs(7_200));
        assert!(quota.is_partial());
    }
}
