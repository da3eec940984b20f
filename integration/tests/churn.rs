//! Nodes that die, leave and come back, while clients go on.

#![allow(clippy::unwrap_used, reason = "a test that unwraps in vain fails, as it should")]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use comet_integration::cluster::check::{self, Ledger};
use comet_integration::cluster::{Builder, Cluster};
use comet_integration::wait::{eventually, look};

const PATIENCE: Duration = Duration::from_secs(60);

fn small(replication: u32, quorum: u32) -> Builder {
    Cluster::quick().set("dht.replication", replication).set("dht.write_quorum", quorum)
}

fn write(cluster: &Cluster, count: usize) -> Ledger {
    let mut ledger = Ledger::default();
    let live = cluster.live();
    let mut connections: Vec<_> = live.iter().map(|&number| cluster[number].connect()).collect();
    for number in 0..count {
        let through = number % connections.len();
        ledger.write(&mut connections[through], &format!("k{number}")).unwrap();
    }
    ledger
}

#[test]
fn half_of_the_nodes_may_die_at_once_and_everything_is_there_and_soon_as_often_as_before() {
    let mut cluster = small(5, 3).nodes(8).start();
    let ledger = write(&cluster, 60);
    let keys: Vec<&str> = ledger.keys().collect();
    check::converged(&cluster, &keys, 5, PATIENCE);
    let mut versions = check::Versions::default();
    versions.check(&cluster, keys.iter().copied());
    for number in [1, 3, 5, 7] {
        cluster.kill9(number);
    }
    for number in cluster.live() {
        let mut connection = cluster[number].connect();
        assert_eq!(ledger.missing(&mut connection), Vec::<String>::new(), "through node {number}, at once");
    }
    check::converged(&cluster, &keys, 4, PATIENCE);
    for number in [1, 3, 5, 7] {
        cluster.restart(number);
    }
    cluster.wait_until_joined();
    check::converged(&cluster, &keys, 5, PATIENCE);
    versions.check(&cluster, keys.iter().copied());
    ledger.check(&cluster, PATIENCE);
    check::budgets(&cluster);
}

/// Writes keys of its own through whichever node answers, until it is told to stop.
fn work(cluster: &[std::net::SocketAddr], name: usize, stop: &AtomicBool, rounds: &AtomicUsize) -> Ledger {
    let (mut ledger, mut turn, mut failed) = (Ledger::default(), name, 0);
    let open = |turn: usize| {
        let address = cluster[turn % cluster.len()];
        redis::Client::open(format!("redis://{address}/")).unwrap().get_connection_with_timeout(PATIENCE).ok()
    };
    let mut connection = None;
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        number = (number + 1) % 20;
        let key = format!("w{name}:{number}");
        let written = match connection.take().or_else(|| open(turn)) {
            Some(mut open) => match ledger.write(&mut open, &key) {
                Ok(()) => {
                    connection = Some(open);
                    true
                }
                Err(_) => false,
            },
            None => false,
        };
        failed = if written { 0 } else { failed + 1 };
        turn += usize::from(!written);
        assert!(failed < 1_000, "no node takes a write any more");
        rounds.fetch_add(usize::from(written), Ordering::Relaxed);
    }
    ledger
}

#[test]
fn all_nodes_are_restarted_one_after_the_other_under_load_and_nothing_acknowledged_is_lost() {
    let mut cluster = small(3, 2).set("dht.drain_seconds", 5).nodes(5).start();
    let addresses: Vec<_> = (0..5).map(|number| cluster[number].resp()).collect();
    let (stop, rounds) = (AtomicBool::new(false), AtomicUsize::new(0));
    let ledger = std::thread::scope(|scope| {
        let (stop, rounds, addresses) = (&stop, &rounds, &addresses);
        let clients: Vec<_> = (0..2).map(|name| scope.spawn(move || work(addresses, name, stop, rounds))).collect();
        for number in 0..5 {
            let before = rounds.load(Ordering::Relaxed);
            cluster.stop(number);
            cluster.restart(number);
            cluster.wait_until_joined();
            let went_on = look(PATIENCE, || (rounds.load(Ordering::Relaxed) > before + 50).then_some(()));
            assert!(went_on.is_some(), "writes go on after node {number} was restarted");
        }
        stop.store(true, Ordering::Relaxed);
        let mut ledger = Ledger::default();
        for client in clients {
            ledger.merge(client.join().unwrap());
        }
        ledger
    });
    assert_eq!(ledger.len(), 40);
    ledger.check(&cluster, PATIENCE);
    let keys: Vec<&str> = ledger.keys().collect();
    check::converged(&cluster, &keys, 3, PATIENCE);
    check::budgets(&cluster);
}

#[test]
fn what_was_replaced_by_something_that_has_ended_does_not_come_back_with_a_node_that_missed_that() {
    let mut cluster = small(4, 2).nodes(4).start();
    let keys: Vec<String> = (0..10).map(|number| format!("k{number}")).collect();
    let named: Vec<&str> = keys.iter().map(String::as_str).collect();
    let put = |cluster: &Cluster, value: &str, lifetime: &[&str]| {
        let mut connection = cluster[0].connect();
        for key in &keys {
            redis::cmd("SET").arg(key).arg(value).arg(lifetime).exec(&mut connection).unwrap();
        }
    };
    let seen = |cluster: &Cluster, number: usize| -> Vec<Option<String>> {
        redis::cmd("MGET").arg(&keys).query(&mut cluster[number].connect()).unwrap()
    };
    put(&cluster, "old", &[]);
    check::converged(&cluster, &named, 4, PATIENCE);
    cluster.kill9(3);
    put(&cluster, "new", &["PX", "5000"]);
    let nothing = vec![None; keys.len()];
    eventually(PATIENCE, "what was put last ends", || seen(&cluster, 0) == nothing);
    cluster.restart(3);
    cluster.wait_until_joined();
    for number in cluster.live() {
        assert_eq!(seen(&cluster, number), nothing, "through node {number}, at once");
    }
    cluster.replicate();
    let stored = |number: usize| redis::cmd("DBSIZE").query::<u64>(&mut cluster[number].connect()).unwrap();
    eventually(PATIENCE, "nobody has the old values", || cluster.live().into_iter().all(|number| stored(number) == 0));
}

#[test]
fn a_node_that_is_asked_to_end_hands_over_what_it_alone_has() {
    let mut cluster = small(1, 1).nodes(3).start();
    let ledger = write(&cluster, 60);
    cluster.stop(1);
    ledger.check(&cluster, PATIENCE);
    cluster.stop(2);
    eventually(PATIENCE, "the last node knows that it is alone", || cluster.status(0).known == 1);
    ledger.check(&cluster, PATIENCE);
}
