//! What has to hold of every network, whatever was done to it.
//!
//! | property | where |
//! |---|---|
//! | acknowledged writes are readable, through every node | [`Ledger::check`] |
//! | versions never go back | [`Versions::check`] |
//! | copies converge to the factor | [`converged`] |
//! | no reply without a request | [`replies`] |
//! | no node is over its budgets | [`budgets`] |

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use comet_kernel::contract::admin::{Answer, Command};
use redis::{Commands as _, Connection, RedisResult};

use super::Cluster;
use crate::wait::look;

/// Most resident memory of a node in a test of a few thousand small objects, in a debug build.
const RESIDENT: u64 = 200 << 20;
/// Most messages that may still wait in the mailboxes of one actor once nobody asks for anything any more.
const WAITING: u64 = 64;

/// What clients were told about their writes. Each key has one writer, who writes growing numbers.
#[derive(Debug, Default)]
pub struct Ledger(BTreeMap<String, Entry>);

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    /// The last number whose write was acknowledged.
    acknowledged: Option<u64>,
    /// The last number whose write was tried.
    tried: u64,
}

impl Ledger {
    /// Writes the next number under a key, and accounts for the answer.
    ///
    /// # Errors
    ///
    /// What the node answered instead, or the connection.
    pub fn write(&mut self, connection: &mut Connection, key: &str) -> RedisResult<()> {
        let entry = self.0.entry(key.to_owned()).or_default();
        entry.tried += 1;
        let number = entry.tried;
        let () = connection.set(key, number)?;
        entry.acknowledged = Some(number);
        Ok(())
    }

    /// Whether a key is read as it was written once, if its first write was acknowledged.
    ///
    /// # Errors
    ///
    /// What the node answered instead, or the connection.
    pub fn reads(&self, connection: &mut Connection, key: &str) -> RedisResult<bool> {
        let Some(entry) = self.0.get(key).filter(|entry| entry.acknowledged.is_some()) else { return Ok(true) };
        let found: Option<u64> = connection.get(key)?;
        Ok(found.is_some_and(|number| (1..=entry.tried).contains(&number)))
    }

    /// Takes in what another writer was told about other keys.
    pub fn merge(&mut self, other: Ledger) {
        self.0.extend(other.0);
    }

    /// The keys.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// How many keys have an acknowledged write.
    pub fn len(&self) -> usize {
        self.0.values().filter(|entry| entry.acknowledged.is_some()).count()
    }

    /// Whether nothing was acknowledged.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Of the keys with an acknowledged write, those that this connection does not find, or finds as they were before it,
    /// with what it found.
    pub fn missing(&self, connection: &mut Connection) -> Vec<String> {
        let wrong = |(key, entry): (&String, &Entry)| {
            let least = entry.acknowledged?;
            match connection.get::<_, Option<u64>>(key) {
                Ok(Some(number)) if (least..=entry.tried).contains(&number) => None,
                found => Some(format!("{key} is {found:?}, and {entry:?}")),
            }
        };
        self.0.iter().filter_map(wrong).collect()
    }

    /// Waits until every node that runs finds every acknowledged write.
    ///
    /// # Panics
    ///
    /// If that takes too long.
    pub fn check(&self, cluster: &Cluster, deadline: Duration) {
        for number in cluster.live() {
            let mut connection = cluster[number].connect();
            let mut missing = Vec::new();
            let found = look(deadline, || {
                missing = self.missing(&mut connection);
                missing.is_empty().then_some(())
            });
            assert!(found.is_some(), "node {number} lacks {} of {}: {missing:?}", missing.len(), self.len());
        }
    }
}

/// The versions that nodes were seen to hold.
#[derive(Debug, Default)]
pub struct Versions(HashMap<(String, String), u64>);

impl Versions {
    /// Looks at who holds which version of these keys.
    ///
    /// # Panics
    ///
    /// If a node holds an older version than it held at a look before.
    pub fn check<'a>(&mut self, cluster: &Cluster, keys: impl IntoIterator<Item = &'a str>) {
        let from = cluster.live()[0];
        for key in keys {
            for holder in cluster.look_up(from, key).holders {
                let Some(version) = holder.version else { continue };
                let seen = self.0.entry((key.to_owned(), holder.id.clone())).or_default();
                assert!(version >= *seen, "{} held version {seen} of {key}, and holds {version}", holder.id);
                *seen = version;
            }
        }
    }
}

/// How many of these keys are held, in their newest version, by all of the `factor` nodes nearest to them.
pub fn in_full<'a>(cluster: &Cluster, keys: impl IntoIterator<Item = &'a str>, factor: usize) -> usize {
    let live = cluster.live();
    let from = live[0];
    let factor = factor.min(live.len());
    let full = |key: &&str| {
        let holders = cluster.look_up(from, key).holders;
        let newest = holders.iter().filter_map(|holder| holder.version).max();
        let holding = holders.iter().take(factor).filter(|holder| holder.version == newest).count();
        newest.is_some() && holding == factor
    };
    keys.into_iter().filter(full).count()
}

/// Waits until every key is held by all of the `factor` nodes nearest to it.
///
/// # Panics
///
/// If that takes too long.
pub fn converged(cluster: &Cluster, keys: &[&str], factor: usize, deadline: Duration) {
    let mut full = 0;
    let done = look(deadline, || {
        full = in_full(cluster, keys.iter().copied(), factor);
        (full == keys.len()).then_some(())
    });
    assert!(done.is_some(), "within {deadline:?}, {full} of {} keys are held {factor} times", keys.len());
}

/// Whether nobody answers what was not asked: the next reply on a connection is to the next request, and no peer has
/// answered more than it was sent.
///
/// # Panics
///
/// If somebody does.
pub fn replies(cluster: &Cluster, connections: &mut [Connection]) {
    for (number, connection) in connections.iter_mut().enumerate() {
        let word = format!("echo {number}");
        let answer: String = redis::cmd("ECHO").arg(&word).query(connection).expect("the connection lives");
        assert_eq!(answer, word, "a reply to something else");
    }
    for number in cluster.live() {
        let Ok(Answer::Peers(peers)) = cluster[number].ask(Command::Peers) else { panic!("node {number} lists peers") };
        for peer in peers {
            assert!(peer.answered + peer.failed <= peer.sent, "answers without requests: {peer:?}");
        }
    }
}

/// Whether every node keeps within its budgets: memory, and mailboxes that empty when nobody asks.
///
/// # Panics
///
/// If a node does not.
pub fn budgets(cluster: &Cluster) {
    for number in cluster.live() {
        let node = &cluster[number];
        let resident = node.rss();
        assert!(resident <= RESIDENT, "node {number} takes {} MiB", resident >> 20);
        let mut deepest = None;
        let empty = look(Duration::from_secs(10), || {
            let Ok(Answer::Actors(actors)) = node.ask(Command::Actors) else { return None };
            let depth =
                |row: &comet_kernel::contract::admin::ActorRow| row.mail.iter().map(|mail| mail.depth).sum::<u64>();
            deepest = actors.iter().map(|row| (depth(row), row.path.clone())).max();
            deepest.as_ref().is_none_or(|(depth, _)| *depth <= WAITING).then_some(())
        });
        assert!(empty.is_some(), "node {number}: {deepest:?} messages wait");
    }
}
