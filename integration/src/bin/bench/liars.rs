//! What clients get from a network in which a fifth of the nodes lies, each in a way of its own.
//!
//! All nodes run within this process, on the memory transport; the liars answer in the place of their routers.

use comet_routing::trial::{self, Size};

use crate::Bench;
use crate::network;
use crate::report::{Row, count, percent};

/// The seed of the nodes, the lies and the calls.
const SEED: u64 = 1;

/// Runs the trial.
pub(crate) fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let size = if bench.quick {
        Size { nodes: 50, liars: 10, objects: 100, gets: 1_000 }
    } else {
        Size { nodes: 100, liars: 20, objects: 300, gets: 5_000 }
    };
    let figures = network::caught(|| actix::System::new().block_on(trial::run(size, SEED)))?;
    println!("{figures:?}");
    let of = format!("{} of {} nodes lie", size.liars, size.nodes);
    let correct = figures.correct as f64 / figures.gets as f64;
    Ok(vec![
        Row::at_least(format!("{of}: gets that are correct, of {}", figures.gets), correct, 0.99, percent),
        Row::at_most(format!("{of}: forged objects accepted"), figures.forged_accepted as f64, 0.0, count),
    ])
}
