//! Nodes that die, are restarted, come and go, and lose sight of each other.

use std::time::Duration;

use anyhow::{Context, ensure};
use comet_integration::cluster::Cluster;
use comet_integration::cluster::check::{Ledger, in_full};
use comet_integration::cluster::hosts::Hosts;
use comet_integration::random::Random;
use comet_integration::wait::look;
use redis::Commands as _;

use super::client::{connect, meanwhile, measure};
use super::{caught, nodes, plain, start};
use crate::Bench;
use crate::load::value;
use crate::report::{Row, count, in_seconds, percent, quantile, seconds};

/// Copies of each object where half of the nodes die.
const COPIES: usize = 20;
/// How long something may take to come right before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// Half of the nodes killed at once: what can be read then, and how soon there are as many copies again.
pub(crate) fn killed(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let (nodes, objects, interval) = (nodes(bench), if bench.quick { 200 } else { 500 }, 20);
    let builder = plain().nodes(nodes).set("dht.replication", COPIES).set("dht.replicate_interval_seconds", interval);
    let mut cluster = start(builder)?;
    let (value, keys) = (value(), (0..objects).map(|number| format!("k{number}")).collect::<Vec<_>>());
    let put = measure(&bench.clock, cluster[0].resp(), 4, objects, |connection, number| {
        connection.set::<_, _, ()>(&keys[number], &value).map(|()| true)
    })?;
    ensure!(put.failed == 0, "{} puts failed", put.failed);
    let names = || keys.iter().map(String::as_str);
    let full = look(PATIENCE, || (in_full(&cluster, names(), COPIES) == objects).then_some(()));
    full.context("not every object has all of its copies before the nodes are killed")?;
    (1..nodes).step_by(2).for_each(|number| cluster.kill9(number));
    let killed = bench.clock.now();
    let mut get = measure(&bench.clock, cluster[2].resp(), 1, objects, |connection, number| {
        connection.get::<_, Option<String>>(&keys[number]).map(|found| found.as_ref() == Some(&value))
    })?;
    let what = format!("{} of {nodes} nodes killed, {objects} objects", nodes / 2);
    let whole = objects as f64;
    let readable = Row::at_least(format!("{what}: readable at once"), get.took.len() as f64, whole, count);
    let p99 = if get.took.is_empty() { f64::INFINITY } else { quantile(&mut get.took, 0.99) };
    // Two intervals after the nodes died, whatever happened before.
    let _passed =
        look(Duration::from_secs(2 * interval).saturating_sub(bench.clock.now().since(killed)), || None::<()>);
    let back = in_full(&cluster, names(), COPIES) as f64 / whole;
    Ok(vec![
        readable,
        Row::at_most(format!("{what}: p99 of a get then"), p99, 0.25, seconds),
        Row::at_least("copies back to the factor after two intervals", back, 0.99, percent),
    ])
}

/// All nodes restarted, one after the other, under load.
pub(crate) fn restarted(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let nodes = if bench.quick { 8 } else { 32 };
    let mut cluster = start(plain().nodes(nodes))?;
    let addresses: Vec<_> = (0..nodes).map(|number| cluster[number].resp()).collect();
    let account = meanwhile(4, &addresses, || {
        for number in 0..nodes {
            cluster.stop(number);
            cluster.restart(number);
        }
    })?;
    let lost = lost(&cluster, &account.ledger)?;
    let what = format!("rolling restart of {nodes} nodes");
    Ok(vec![
        Row::at_most(format!("{what}: of {} keys, acknowledged writes lost", account.ledger.len()), lost, 0.0, count),
        Row::at_most(format!("{what}: of {} gets, failed twice", account.gets), account.failed as f64, 0.0, count),
    ])
}

/// Nodes that come and go for twenty minutes with sessions of a median of five, faster by a factor that the row tells.
pub(crate) fn churn(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let (nodes, faster) = if bench.quick { (20, 20.0) } else { (50, 5.0) };
    let (median, lasts, beat) = (300.0 / faster, 1_200.0 / faster, 4.0);
    let delay = (3_000.0 / faster) as u64;
    let builder = plain().nodes(nodes).set("dht.neighbour_delay_ms", delay).set("dht.replicate_interval_seconds", 30);
    let mut cluster = start(builder)?;
    // A node that is always there is what clients speak to: it is the network that is measured.
    let addresses = [cluster[0].resp(), cluster[1].resp()];
    let (mut random, mut deaths) = (Random::new(9), 0);
    let account = meanwhile(4, &addresses, || {
        let begin = bench.clock.now();
        while in_seconds(bench.clock.now().since(begin)) < lasts {
            let beat_began = bench.clock.now();
            // As many die in a beat as sessions of this median end in it; those of the beat before come back.
            let dead: Vec<usize> = (0..nodes).filter(|number| !cluster.live().contains(number)).collect();
            let dies = (nodes as f64 * std::f64::consts::LN_2 * beat / median + random.part()) as usize;
            for _ in 0..dies {
                let live: Vec<usize> = cluster.live().into_iter().filter(|number| *number > 1).collect();
                cluster.kill9(live[random.below(live.len())]);
                deaths += 1;
            }
            cluster.restart_all(&dead);
            let rest = Duration::from_secs_f64(beat).saturating_sub(bench.clock.now().since(beat_began));
            let _passed = look(rest, || None::<()>);
        }
    })?;
    let session = nodes as f64 * lasts * std::f64::consts::LN_2 / f64::from(deaths.max(1));
    let good = 1.0 - account.failed as f64 / account.gets.max(1) as f64;
    let what =
        format!("churn of {nodes} nodes, {faster} times as fast: {deaths} deaths, median session {session:.0} s");
    Ok(vec![Row::at_least(format!("{what}: of {} gets, succeed", account.gets), good, 0.999, percent)])
}

/// Both halves of a network write while they cannot see each other.
pub(crate) fn parted(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let (nodes, lasts, interval) = (8, if bench.quick { 15 } else { 60 }, 10);
    let hosts = Hosts::new(nodes).context("this machine does not let us make network namespaces")?;
    let builder = plain().nodes(nodes).hosts(hosts).set("network.group_private", true);
    let cluster = start(builder.set("dht.write_quorum", 2).set("dht.replicate_interval_seconds", interval))?;
    let hosts = cluster.hosts().expect("they were given to it");
    let (mut near, mut far) = (caught(|| cluster[0].connect())?, caught(|| cluster[nodes - 1].connect())?);
    let mut ledgers = [Ledger::default(), Ledger::default()];
    hosts.part(&(nodes / 2..nodes).collect::<Vec<_>>());
    let begin = bench.clock.now();
    let mut number = 0;
    while bench.clock.now().since(begin) < Duration::from_secs(lasts) {
        number += 1;
        for ((connection, side), ledger) in [(&mut near, "near"), (&mut far, "far")].into_iter().zip(&mut ledgers) {
            // Until a side has noticed, writes that need the other fail; those that were acknowledged have to stay.
            let _told = ledger.write(connection, &format!("{side}:{}", number % 100));
            let _told = connection.set::<_, _, ()>(format!("both:{}", number % 20), format!("{number} {side}"));
        }
    }
    hosts.heal();
    let healed = bench.clock.now();
    let agree = || cluster.live().iter().all(|&node| agrees(&cluster, node, &ledgers));
    let agreed = look(PATIENCE, || caught(agree).unwrap_or(false).then(|| in_seconds(bench.clock.now().since(healed))));
    let what = format!("partition of {lasts} s, interval {interval} s: until all nodes agree");
    Ok(vec![Row::at_most(what, agreed.unwrap_or(f64::INFINITY), f64::from(interval), seconds)])
}

/// Whether a node has every acknowledged write, and of the keys that both sides wrote the same as the first node.
fn agrees(cluster: &Cluster, node: usize, ledgers: &[Ledger; 2]) -> bool {
    let (mut one, mut other) = (cluster[0].connect(), cluster[node].connect());
    let same = (0..20).all(|number| {
        let key = format!("both:{number}");
        let found: redis::RedisResult<Option<String>> = one.get(&key);
        found.is_ok() && found.ok() == other.get(&key).ok()
    });
    same && ledgers.iter().all(|ledger| ledger.missing(&mut other).is_empty())
}

/// How many acknowledged writes a node does not find, even after a while.
fn lost(cluster: &Cluster, ledger: &Ledger) -> anyhow::Result<f64> {
    let mut connection = connect(cluster[0].resp())?;
    let mut missing = Vec::new();
    let _all = look(PATIENCE, || {
        missing = ledger.missing(&mut connection);
        missing.is_empty().then_some(())
    });
    Ok(missing.len() as f64)
}
