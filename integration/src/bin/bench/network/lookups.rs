//! Look-ups of real nodes within this process, on the memory transport.

use anyhow::anyhow;
use comet_integration::cluster::memory::MemoryCluster;
use comet_integration::random::Random;
use comet_kernel::Settings;

use crate::Bench;
use crate::report::{Row, in_seconds, median, seconds};

/// Look-ups in a network of each size.
const LOOK_UPS: usize = 100;

/// Measures networks of 16, 64 and 256 nodes.
pub(crate) fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let sizes: &[usize] = if bench.quick { &[16, 64] } else { &[16, 64, 256] };
    let mut rows = Vec::new();
    for &nodes in sizes {
        let Costs { hops, requests, took } = actix::System::new().block_on(measure(bench, nodes))?;
        rows.push(Row::figure(
            format!("{nodes} nodes within a process: hops, requests, median time of a look-up"),
            format!("{hops:.2}, {requests:.1}, {}", seconds(took)),
        ));
    }
    Ok(rows)
}

struct Costs {
    hops: f64,
    requests: f64,
    took: f64,
}

async fn measure(bench: &Bench, nodes: usize) -> anyhow::Result<Costs> {
    let cluster =
        MemoryCluster::start(nodes, nodes as u64, &Settings::default()).await.map_err(|error| anyhow!(error))?;
    let mut random = Random::new(3);
    let (mut hops, mut requests, mut took) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..LOOK_UPS {
        let from = random.below(nodes);
        let before = bench.clock.now();
        let path = cluster.look_up(from, &format!("key:{number}")).await.map_err(|error| anyhow!(error))?;
        took.push(in_seconds(bench.clock.now().since(before)));
        requests.push(path.hops.len() as f64);
        let nearest = path.holders.first().and_then(|holder| path.hops.iter().find(|hop| hop.id == holder.id));
        hops.extend(nearest.map(|hop| f64::from(hop.distance)));
    }
    cluster.stop().await;
    let mean = |figures: &[f64]| figures.iter().sum::<f64>() / figures.len().max(1) as f64;
    Ok(Costs { hops: mean(&hops), requests: mean(&requests), took: median(&mut took) })
}
