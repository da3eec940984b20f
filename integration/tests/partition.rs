//! Networks that are cut into parts, and slow ones: every node on a host of its own. Skipped where the machine does not let
//! tests make network namespaces.

#![allow(clippy::unwrap_used, reason = "a test that unwraps in vain fails, as it should")]

use std::time::Duration;

use comet_integration::cluster::check::{self, Ledger};
use comet_integration::cluster::hosts::Hosts;
use comet_integration::cluster::{Builder, Cluster};
use comet_integration::wait::eventually;
use redis::Commands as _;

const PATIENCE: Duration = Duration::from_secs(60);

/// Nodes that hold each other to the rules about addresses, private ones too.
fn strict(hosts: Hosts, nodes: usize) -> Builder {
    let quick = Cluster::quick().set("network.group_private", true).set("network.request_timeout_ms", 500);
    quick.set("dht.replication", 6).set("dht.write_quorum", 2).hosts(hosts).nodes(nodes)
}

#[test]
fn both_sides_of_a_partition_take_writes_and_agree_when_it_is_healed() {
    let Some(hosts) = Hosts::new(6) else { return };
    let cluster = strict(hosts, 6).start();
    let mut near = cluster[0].connect();
    let mut far = cluster[5].connect();
    let mut ledger = Ledger::default();
    for number in 0..20 {
        ledger.write(&mut near, &format!("before:{number}")).unwrap();
        let () = near.set(format!("both:{number}"), "before").unwrap();
    }
    ledger.check(&cluster, PATIENCE);
    cluster.hosts().unwrap().part(&[3, 4, 5]);
    for (connection, side) in [(&mut near, "near"), (&mut far, "far")] {
        eventually(PATIENCE, "the side takes writes", || connection.set::<_, _, ()>(side, side).is_ok());
        for number in 0..20 {
            let key = format!("{side}:{number}");
            eventually(PATIENCE, "the side takes writes", || ledger.write(connection, &key).is_ok());
            let both = format!("both:{number}");
            eventually(PATIENCE, "the side takes writes", || connection.set::<_, _, ()>(&both, side).is_ok());
        }
    }
    cluster.hosts().unwrap().heal();
    cluster.wait_until_joined();
    ledger.check(&cluster, PATIENCE);
    for number in cluster.live() {
        let mut connection = cluster[number].connect();
        eventually(PATIENCE, "the later write of both sides is everywhere", || {
            (0..20).all(|key| connection.get::<_, String>(format!("both:{key}")).unwrap() == "far")
        });
    }
    let keys: Vec<&str> = ledger.keys().collect();
    check::converged(&cluster, &keys, 6, PATIENCE);
    check::budgets(&cluster);
}

#[test]
fn delay_and_loss_cost_time_and_nothing_else() {
    let Some(hosts) = Hosts::new(4) else { return };
    if (0..4).any(|number| hosts.disturb(number, 20, 2).is_none()) {
        return;
    }
    let cluster = strict(hosts, 4).start();
    let mut connection = cluster[1].connect();
    let mut ledger = Ledger::default();
    for number in 0..30 {
        let key = format!("k{number}");
        eventually(PATIENCE, "the write is taken", || ledger.write(&mut connection, &key).is_ok());
    }
    ledger.check(&cluster, PATIENCE);
    check::budgets(&cluster);
}
