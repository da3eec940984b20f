//! Several nodes, one store: every node can be asked for everything.

#![allow(clippy::unwrap_used, reason = "a test that unwraps in vain fails, as it should")]

use std::time::Duration;

use comet_integration::cluster::check::{self, Ledger};
use comet_integration::cluster::memory::MemoryCluster;
use comet_integration::cluster::{Builder, Cluster};
use comet_integration::node::Node;
use comet_integration::wait::eventually;
use comet_kernel::Settings;
use redis::{Commands as _, Connection};

const PATIENCE: Duration = Duration::from_secs(30);

fn small() -> Builder {
    Cluster::quick().set("dht.replication", 3).set("dht.write_quorum", 2)
}

fn connections(cluster: &Cluster) -> Vec<Connection> {
    cluster.live().into_iter().map(|number| cluster[number].connect()).collect()
}

#[test]
fn what_is_put_through_one_node_is_read_changed_and_removed_through_any() {
    let cluster = small().nodes(5).start();
    let mut connections = connections(&cluster);
    let nodes = connections.len();
    let mut ledger = Ledger::default();
    for number in 0..60 {
        ledger.write(&mut connections[number % nodes], &format!("k{number}")).unwrap();
    }
    for connection in &mut connections {
        assert_eq!(ledger.missing(connection), Vec::<String>::new(), "what is acknowledged is there at once");
    }
    for number in (0..60).filter(|number| number % 2 == 0) {
        ledger.write(&mut connections[(number + 1) % nodes], &format!("k{number}")).unwrap();
    }
    ledger.check(&cluster, PATIENCE);
    let mut versions = check::Versions::default();
    let keys: Vec<&str> = ledger.keys().collect();
    versions.check(&cluster, keys.iter().copied());
    check::converged(&cluster, &keys, 3, PATIENCE);
    versions.check(&cluster, keys.iter().copied());
    for number in 0..60 {
        let removed: u64 = connections[(number + 2) % nodes].del(format!("k{number}")).unwrap();
        assert_eq!(removed, 1, "k{number}");
    }
    for connection in &mut connections {
        eventually(PATIENCE, "nothing is left", || {
            (0..60).all(|number| connection.get::<_, Option<u64>>(format!("k{number}")).unwrap().is_none())
        });
    }
    check::replies(&cluster, &mut connections);
    check::budgets(&cluster);
}

#[test]
fn of_all_who_put_a_key_if_it_is_absent_one_wins_and_increments_from_everywhere_add_up() {
    let cluster = small().nodes(4).start();
    let wins: Vec<Vec<String>> = std::thread::scope(|scope| {
        let start = |number: usize| {
            let mut connection = cluster[number].connect();
            scope.spawn(move || {
                let put = |connection: &mut Connection, key: &String| {
                    redis::cmd("SET").arg(&[key, &number.to_string(), "NX"]).query::<Option<String>>(connection)
                };
                let keys = (0..15).map(|key| format!("one:{key}"));
                let won = keys.filter(|key| put(&mut connection, key).unwrap().is_some()).collect();
                for _ in 0..15 {
                    let _sum: i64 = connection.incr("sum", 1).unwrap();
                }
                won
            })
        };
        let clients: Vec<_> = (0..4).map(start).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let mut winners: Vec<_> = wins.iter().flatten().collect();
    winners.sort();
    winners.dedup();
    assert_eq!((winners.len(), wins.iter().map(Vec::len).sum::<usize>()), (15, 15), "{wins:?}");
    for mut connection in connections(&cluster) {
        eventually(PATIENCE, "the sum is right", || connection.get::<_, i64>("sum").unwrap() == 60);
        for (number, keys) in wins.iter().enumerate() {
            for key in keys {
                eventually(PATIENCE, "the winner's value is there", || {
                    connection.get::<_, usize>(key).unwrap() == number
                });
            }
        }
    }
}

#[test]
fn an_object_runs_on_the_nodes_that_hold_it_and_an_owned_one_obeys_its_owner_alone() {
    let cluster = small().nodes(4).start();
    let mut connections = connections(&cluster);
    let put = |words: &[&str]| {
        let mut command = redis::cmd("ASO.PUT");
        command.arg(words);
        command
    };
    let () = put(&["page", "hello", "SCRIPT", "read_counter"]).query(&mut connections[0]).unwrap();
    for connection in &mut connections {
        let (value, count): (String, u64) = connection.get("page").unwrap();
        assert_eq!(value, "hello");
        assert!(count >= 1);
    }
    let () = put(&["mine", "1", "OWNED"]).query(&mut connections[1]).unwrap();
    for (number, connection) in connections.iter_mut().enumerate() {
        assert_eq!(connection.get::<_, u32>("mine").unwrap(), 1);
        if number != 1 {
            assert!(connection.set::<_, _, ()>("mine", 2).is_err(), "node {number} is not the owner");
            assert!(connection.del::<_, u32>("mine").is_err(), "node {number} is not the owner");
        }
    }
    let () = put(&["mine", "3", "OWNED"]).query(&mut connections[1]).unwrap();
    eventually(PATIENCE, "the owner's put is there", || connections[3].get::<_, u32>("mine").unwrap() == 3);
}

#[test]
fn a_node_with_another_key_or_nobody_to_join_stays_alone_and_serves() {
    let folder = tempfile::tempdir().unwrap();
    let key = |name: &str, digit: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, digit.repeat(64)).unwrap();
        path.display().to_string()
    };
    let (ours, theirs) = (key("ours", "a"), key("theirs", "b"));
    let cluster = small().set("network.key_file", ours).nodes(2).start();
    let seed = cluster[0].joins()[0].clone();
    let start = |key: Option<String>, bootstrap: String| {
        let builder = Node::builder().set("network.listen", "/ip4/127.0.0.1/tcp/0").set("network.bootstrap", bootstrap);
        match key {
            Some(key) => builder.set("network.key_file", key).start(),
            None => builder.start(),
        }
    };
    // An address at which nobody listens, of an identity that nobody has.
    let nobody = format!("/ip4/127.0.0.1/tcp/1/p2p/{}", seed.rsplit('/').next().unwrap());
    std::thread::scope(|scope| {
        let cases = [(Some(theirs), seed.clone()), (None, seed.clone()), (None, nobody)];
        for (key, bootstrap) in cases {
            scope.spawn(move || {
                let alone = start(key, bootstrap);
                let () = alone.connect().set("k", "mine").unwrap();
                assert_eq!(alone.connect().get::<_, String>("k").unwrap(), "mine");
                let told = alone.comet(&["ctl", "network", "--json"]);
                let told: serde_json::Value = serde_json::from_str(&told).unwrap();
                assert_eq!((&told["known"], &told["peers"]), (&1.into(), &0.into()), "{told}");
            });
        }
    });
    assert_eq!(cluster.status(0).known, 2, "the network has not taken in strangers");
    assert_eq!(cluster[0].connect().get::<_, Option<String>>("k").unwrap(), None);
}

#[test]
fn nodes_within_one_process_find_each_other_and_whatever_is_looked_up() {
    actix::System::new().block_on(async {
        let cluster = MemoryCluster::start(6, 42, &Settings::default()).await.unwrap();
        for number in 0..6 {
            let path = cluster.look_up(number, "somewhere").await.unwrap();
            assert_eq!(path.holders.len(), 6, "{path:?}");
            assert!(path.holders.iter().all(|holder| holder.error.is_none()), "{path:?}");
        }
        let first = cluster.look_up(0, "somewhere").await.unwrap().holders;
        let last = cluster.look_up(5, "somewhere").await.unwrap().holders;
        let ids = |holders: Vec<comet_kernel::contract::routing::Holder>| -> Vec<String> {
            holders.into_iter().map(|holder| holder.id).collect()
        };
        assert_eq!(ids(first), ids(last), "all agree on who is nearest");
        cluster.stop().await;
    });
}
