//! Look-ups of real nodes within this process, on the memory transport.
//!
//! Nodes look places up by themselves to learn who is there; how many requests that takes is read from their tallies. How
//! many hops a key is away is told by the look-up that operators have, which shows every step.

use std::time::Duration;

use anyhow::{Context, anyhow};
use comet_integration::cluster::memory::MemoryCluster;
use comet_integration::random::Random;
use comet_kernel::{Key, Settings};

use super::{Costs, Spread, mean};
use crate::Bench;
use crate::report::{in_seconds, median};

/// Look-ups of keys.
const LOOK_UPS: usize = 100;
/// Look-ups that nodes make by themselves, and how long to wait for so many at most.
const OWN_LOOK_UPS: usize = 100;
const OBSERVED: Duration = Duration::from_secs(20);
/// How long between two looks at the tallies.
const LOOK: Duration = Duration::from_millis(50);

/// What look-ups of so many nodes came to, and the median time that one of a key took, in seconds.
pub(super) fn measure(bench: &Bench, nodes: usize) -> anyhow::Result<(Costs, f64)> {
    actix::System::new().block_on(async {
        let started = MemoryCluster::start(nodes, nodes as u64, &Settings::default()).await;
        let cluster = started.map_err(|error| anyhow!(error))?;
        let requests = own_look_ups(bench, &cluster).await?;
        let keys = keys(bench, &cluster).await?;
        cluster.stop().await;
        let Keys { hops, recall, mut took } = keys;
        let costs = Costs { nodes, hops: Spread::of(hops), requests: Spread::of(requests), recall: mean(&recall) };
        Ok((costs, median(&mut took)))
    })
}

/// The requests of each look-up that nodes made by themselves. Two of one node between two looks count as two equal ones.
async fn own_look_ups(bench: &Bench, cluster: &MemoryCluster) -> anyhow::Result<Vec<f64>> {
    let (mut seen, mut requests) = (tallies(cluster).await?, Vec::new());
    let deadline = bench.clock.now() + OBSERVED;
    while requests.len() < OWN_LOOK_UPS && bench.clock.now() < deadline {
        bench.clock.sleep(LOOK).await;
        let now = tallies(cluster).await?;
        for ((look_ups, all), (former_look_ups, former_all)) in now.iter().zip(&seen) {
            let number = (look_ups - former_look_ups) as usize;
            requests.extend(std::iter::repeat_n((all - former_all) as f64 / number.max(1) as f64, number));
        }
        seen = now;
    }
    anyhow::ensure!(!requests.is_empty(), "no node looked anything up within {OBSERVED:?}");
    Ok(requests)
}

/// How many look-ups each node has made, and the requests of all of them.
async fn tallies(cluster: &MemoryCluster) -> anyhow::Result<Vec<(u64, u64)>> {
    let mut tallies = Vec::with_capacity(cluster.nodes().len());
    for number in 0..cluster.nodes().len() {
        let status = cluster.status(number).await.map_err(|error| anyhow!(error))?;
        tallies.push((status.look_ups, status.look_up_requests));
    }
    Ok(tallies)
}

/// What look-ups of keys came to.
#[derive(Default)]
struct Keys {
    hops: Vec<f64>,
    recall: Vec<f64>,
    took: Vec<f64>,
}

async fn keys(bench: &Bench, cluster: &MemoryCluster) -> anyhow::Result<Keys> {
    let mut places = Vec::new();
    for node in cluster.nodes() {
        let own = node.network.as_ref().and_then(|network| network.neighbours.own());
        places.push(own.context("a node that has joined knows where it listens")?);
    }
    let (mut random, mut keys) = (Random::new(3), Keys::default());
    for number in 0..LOOK_UPS {
        let (from, name) = (random.below(places.len()), format!("key:{number}"));
        let before = bench.clock.now();
        let path = cluster.look_up(from, &name).await.map_err(|error| anyhow!(error))?;
        keys.took.push(in_seconds(bench.clock.now().since(before)));
        let place = Key::new(name.as_bytes()).expect("it is short").place();
        places.sort_by_key(|node| -> [u8; 32] { std::array::from_fn(|at| node.place[at] ^ place[at]) });
        let nearest = &places[..path.holders.len().max(1)];
        let found = nearest.iter().filter(|node| path.holders.iter().any(|holder| *holder.id == *node.id.as_str()));
        keys.recall.push(found.count() as f64 / nearest.len() as f64);
        let hop = path.hops.iter().find(|hop| *hop.id == *nearest[0].id.as_str());
        keys.hops.extend(hop.map(|hop| f64::from(hop.distance)));
    }
    Ok(keys)
}
