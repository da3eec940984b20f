//! Puts and gets in a network of 64 nodes with one client and with 32, beside OpenDHT; what an idle node takes.
//!
//! The same method for both: values of 100 bytes; puts go to one node and gets to another; a put ends when it is
//! acknowledged, a get with the first value. Comet's figures include the way from the client to the node, OpenDHT's do not.

use anyhow::ensure;
use comet_integration::cluster::Cluster;
use comet_integration::node;
use redis::Commands as _;

use super::client::{Measured, measure};
use crate::Bench;
use crate::dhtnode::DhtNodes;
use crate::load::value;
use crate::report::{Row, bytes, count, median, rate, seconds};

/// Operations of one client; 32 clients do four times as many.
fn operations(bench: &Bench) -> usize {
    if bench.quick { 200 } else { 1_000 }
}

/// What either network came to.
struct Figures {
    put: f64,
    get: f64,
    puts: f64,
    gets: f64,
    resident: f64,
    /// Of this, what is not the file of the program, which all processes share.
    own: f64,
}

/// Measures both networks, one after the other. OpenDHT keeps values in memory, so that the rows beside it are of nodes
/// without durability; what the defaults cost is told, too.
pub(crate) fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let nodes = super::nodes(bench);
    let ours = comet(bench, nodes, "none")?;
    let (size, put, get) = (format!("{nodes} nodes"), "median of a put", "median of a get");
    let mut rows = match open_dht(bench, nodes) {
        Ok(theirs) => vec![
            Row::no_more(format!("{size}: {put}"), ours.put, theirs.put, seconds),
            Row::no_more(format!("{size}: {get}"), ours.get, theirs.get, seconds),
            Row::ratio(format!("{size}: puts, 32 in flight"), ours.puts, theirs.puts, Some(10.0)),
            Row::ratio(format!("{size}: gets, 32 in flight"), ours.gets, theirs.gets, Some(10.0)),
            Row::figure("OpenDHT: resident memory of an idle node", bytes(theirs.resident)),
            Row::figure("  of this, not of the program's file", bytes(theirs.own)),
        ],
        Err(error) => {
            println!("without OpenDHT: {error:#}");
            vec![
                Row::figure(format!("{size}: {put}"), seconds(ours.put)),
                Row::figure(format!("{size}: {get}"), seconds(ours.get)),
                Row::figure(format!("{size}: puts, 32 in flight"), rate(ours.puts)),
                Row::figure(format!("{size}: gets, 32 in flight"), rate(ours.gets)),
            ]
        }
    };
    let durable = comet(bench, nodes, "always")?;
    rows.push(Row::figure(format!("{size}: {put}, durable"), seconds(durable.put)));
    rows.push(Row::figure(format!("{size}: puts, 32 in flight, durable"), rate(durable.puts)));
    rows.push(Row::at_most("resident memory of an idle node", ours.resident, 25e6, bytes));
    rows.push(Row::figure("  of this, not of the program's file, which all share", bytes(ours.own)));
    Ok(rows)
}

fn comet(bench: &Bench, nodes: usize, durability: &str) -> anyhow::Result<Figures> {
    let cluster = super::start(super::plain().nodes(nodes).set("storage.durability", durability))?;
    let pids = || (0..cluster.len()).map(|number| cluster[number].pid());
    let (resident, own) = (typical(pids(), node::resident), typical(pids(), node::anonymous));
    let one = operations(bench);
    let (put, get) = both(bench, &cluster, "one", 1, one)?;
    let (puts, gets) = both(bench, &cluster, "many", 32, one * 4)?;
    let (mut put, mut get) = (put.took, get.took);
    Ok(Figures { put: median(&mut put), get: median(&mut get), puts: puts.rate, gets: gets.rate, resident, own })
}

/// Puts through one node, gets through another.
fn both(
    bench: &Bench,
    cluster: &Cluster,
    name: &str,
    at_once: usize,
    many: usize,
) -> anyhow::Result<(Measured, Measured)> {
    let value = value();
    let key = |number: usize| format!("{name}:{number}");
    let put = measure(&bench.clock, cluster[1].resp(), at_once, many, |connection, number| {
        connection.set::<_, _, ()>(key(number), &value).map(|()| true)
    })?;
    let get = measure(&bench.clock, cluster[2].resp(), at_once, many, |connection, number| {
        connection.get::<_, Option<String>>(key(number)).map(|found| found.as_ref() == Some(&value))
    })?;
    let failed = put.failed + get.failed;
    ensure!(failed == 0, "{} of {many} puts and gets failed", count(failed as f64));
    Ok((put, get))
}

/// The median of what processes take.
fn typical(pids: impl Iterator<Item = u32>, what: fn(u32) -> u64) -> f64 {
    median(&mut pids.map(|pid| what(pid) as f64).collect::<Vec<_>>())
}

fn open_dht(bench: &Bench, nodes: usize) -> anyhow::Result<Figures> {
    let network = DhtNodes::start(nodes)?;
    let figures = network.measure(operations(bench))?;
    Ok(Figures {
        put: figures.get("one_put_seconds")?,
        get: figures.get("one_get_seconds")?,
        puts: figures.get("many_put_rate")?,
        gets: figures.get("many_get_rate")?,
        resident: typical(network.pids(), node::resident),
        own: typical(network.pids(), node::anonymous),
    })
}
