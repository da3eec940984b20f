//! What a look-up costs as the network grows: hops and requests, measured with 16 to 256 nodes within this process, and
//! simulated for 16 to a million by the same rules without sockets. It writes a plot next to the table that it prints.
//!
//! A real node of a small network knows more than its routing table: everybody whom it has met. So hops that are measured
//! may be fewer than those of the simulation, which goes by the tables alone.

mod measured;
mod network;
mod plot;
mod search;

use std::path::Path;

use anyhow::Context;
use comet_integration::random::Random;
use comfy_table::{CellAlignment, Table, presets};

use self::network::Network;
use self::plot::{Panel, Point};
use self::search::{Found, Rules, look_up};
use crate::Bench;
use crate::report::{Row, quantile, seconds};

/// As nodes are configured: see the swarm of the routing actor.
const RULES: Rules = Rules { parallel: 3, disjoint: true };
/// With more paths, for comparison.
const MORE_PATHS: Rules = Rules { parallel: 8, disjoint: true };
/// Sizes of the networks that are measured.
const MEASURED: [usize; 3] = [16, 64, 256];
/// Sizes of the networks that are simulated: the smallest for comparison with what is measured, the others for growth.
const SIMULATED: [usize; 13] =
    [16, 64, 256, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000];
/// From here on, growth is looked at: in smaller networks everybody knows most others.
const LARGE: usize = 1_000;

/// What look-ups in a network of one size came to.
#[derive(Debug)]
struct Costs {
    nodes: usize,
    hops: Spread,
    requests: Spread,
    recall: f64,
}

/// A figure of many look-ups.
#[derive(Clone, Copy, Debug)]
struct Spread {
    mean: f64,
    p99: f64,
}

impl Spread {
    fn of(mut figures: Vec<f64>) -> Self {
        let mean = mean(&figures);
        Spread { mean, p99: quantile(&mut figures, 0.99) }
    }
}

/// Measures, simulates, prints, plots; the rows say whether costs grow as the logarithm of the size.
pub(crate) fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let (look_ups, measured) = if bench.quick { (300, &MEASURED[..2]) } else { (2_000, &MEASURED[..]) };
    let measured = measured.iter().map(|&nodes| measured::measure(bench, nodes)).collect::<anyhow::Result<Vec<_>>>()?;
    let (measured, took): (Vec<Costs>, Vec<f64>) = measured.into_iter().unzip();
    let simulated: Vec<Costs> = SIMULATED.iter().map(|&nodes| simulate(nodes, RULES, look_ups)).collect();
    println!("{}", table(&measured, &simulated));
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("lookups.svg");
    let panel = |title, figure: fn(&Costs) -> Spread| panel(title, &measured, &simulated, figure);
    let panels = [
        panel("Hops to the node nearest to the key", |costs| costs.hops),
        panel("Requests of one look-up", |costs| costs.requests),
    ];
    std::fs::write(&file, plot::draw(&panels)).with_context(|| format!("{} cannot be written", file.display()))?;
    println!("plotted in {}", file.display());
    let large: Vec<Costs> = simulated.into_iter().filter(|costs| costs.nodes >= LARGE).collect();
    let largest = large.last().expect("sizes are listed above");
    let more_paths = simulate(largest.nodes, MORE_PATHS, look_ups);
    let mut rows =
        vec![growth("hops", &large, |costs| costs.hops.mean), growth("requests", &large, |costs| costs.requests.mean)];
    let what = format!("requests of a look-up, {} nodes, if there were 8 paths instead of 3", largest.nodes);
    rows.push(Row::figure(what, format!("{:.1}", more_paths.requests.mean)));
    rows.extend(measured.iter().zip(took).map(|(costs, took)| {
        Row::figure(format!("{} nodes within a process: median time of a look-up", costs.nodes), seconds(took))
    }));
    Ok(rows)
}

fn simulate(nodes: usize, rules: Rules, look_ups: usize) -> Costs {
    let network = Network::new(nodes, nodes as u64);
    let mut random = Random::new(1);
    let mut once = || {
        let (from, place) = (random.below(network.len()) as u32, random.number());
        look_up(&network, from, place, rules, &mut random)
    };
    let found: Vec<Found> = (0..look_ups).map(|_| once()).collect();
    let hops = found.iter().filter_map(|found| found.hops).map(f64::from).collect();
    Costs {
        nodes,
        hops: Spread::of(hops),
        requests: Spread::of(found.iter().map(|found| f64::from(found.requests)).collect()),
        recall: mean(&found.iter().map(|found| found.recall).collect::<Vec<_>>()),
    }
}

fn mean(figures: &[f64]) -> f64 {
    figures.iter().sum::<f64>() / figures.len() as f64
}

fn table(measured: &[Costs], simulated: &[Costs]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    table.set_header([
        "nodes",
        "",
        "hops, mean",
        "hops, p99",
        "requests, mean",
        "requests, p99",
        "of the nearest found",
    ]);
    let measured = measured.iter().map(|costs| (costs, "measured"));
    for (costs, how) in measured.chain(simulated.iter().map(|costs| (costs, "simulated"))) {
        let Costs { nodes, hops, requests, recall } = costs;
        let figures = [(hops.mean, 2), (hops.p99, 0), (requests.mean, 1), (requests.p99, 0)];
        let figures = figures.map(|(figure, decimals)| format!("{figure:.decimals$}"));
        let mut cells = vec![nodes.to_string(), how.to_owned()];
        cells.extend(figures);
        cells.push(format!("{:.2} %", recall * 100.0));
        table.add_row(cells);
    }
    table.column_iter_mut().for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    table
}

fn panel(title: &'static str, measured: &[Costs], simulated: &[Costs], figure: fn(&Costs) -> Spread) -> Panel {
    let point = |costs: &Costs| {
        let Spread { mean, p99 } = figure(costs);
        Point { nodes: costs.nodes as f64, mean, p99 }
    };
    let simulated: Vec<Point> = simulated.iter().map(point).collect();
    let large = simulated.iter().filter(|point| point.nodes >= LARGE as f64);
    let line = Line::through(large.map(|point| (point.nodes.log2(), point.mean)));
    Panel { title, measured: measured.iter().map(point).collect(), simulated, line }
}

/// How much a figure grows from the smallest network to the largest, beside how much the logarithm of the size does.
fn growth(what: &str, costs: &[Costs], figure: impl Fn(&Costs) -> f64) -> Row {
    let (Some(first), Some(last)) = (costs.first(), costs.last()) else { unreachable!("sizes are listed above") };
    let logarithms = (last.nodes as f64).ln() / (first.nodes as f64).ln();
    let told = format!("{what} of a look-up, {} nodes beside {}: growth", last.nodes, first.nodes);
    Row::at_most(told, figure(last) / figure(first), logarithms, |ratio| format!("{ratio:.2} x"))
}

/// A straight line through points, by least squares.
#[derive(Clone, Copy, Debug)]
struct Line {
    start: f64,
    rise: f64,
}

impl Line {
    fn through(points: impl Iterator<Item = (f64, f64)>) -> Self {
        let (across, up): (Vec<f64>, Vec<f64>) = points.unzip();
        let (middle_across, middle_up) = (mean(&across), mean(&up));
        let product = |left: &[f64], left_middle: f64, right: &[f64], right_middle: f64| {
            left.iter().zip(right).map(|(left, right)| (left - left_middle) * (right - right_middle)).sum::<f64>()
        };
        let both = product(&across, middle_across, &up, middle_up);
        let rise = both / product(&across, middle_across, &across, middle_across);
        Line { start: middle_up - rise * middle_across, rise }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_through_points_on_a_line_is_that_line() {
        let line = Line::through((0..9).map(|at| (f64::from(at), 3.0 + 0.5 * f64::from(at))));
        assert!((line.start - 3.0).abs() < 1e-9 && (line.rise - 0.5).abs() < 1e-9);
    }

    #[test]
    fn the_nearest_is_found_in_few_hops_and_most_of_the_twenty_too() {
        let costs = simulate(2_000, RULES, 50);
        assert!(costs.recall > 0.95 && (1.0..4.0).contains(&costs.hops.mean), "{costs:?}");
        assert!((20.0..200.0).contains(&costs.requests.mean), "{costs:?}");
    }
}
