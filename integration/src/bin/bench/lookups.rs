//! What a look-up costs as the network grows: hops and requests for a thousand to a million nodes, by a simulation of the
//! rules without sockets. It writes a plot next to the table that it prints.

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
use crate::report::{Row, quantile};

/// As nodes are configured: see the swarm of the routing actor.
const RULES: Rules = Rules { parallel: 8, disjoint: true };
/// Sizes of the networks that are simulated.
const SIZES: [usize; 10] = [1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000];

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

/// Simulates, prints, plots; the rows say whether costs grow as the logarithm of the size.
pub(crate) fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let look_ups = if bench.quick { 300 } else { 2_000 };
    let costs: Vec<Costs> = SIZES.iter().map(|&nodes| simulate(nodes, look_ups)).collect();
    println!("{}", table(&costs));
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("lookups.svg");
    let panels = [
        panel("Hops to the node nearest to the key", &costs, |costs| costs.hops),
        panel("Requests of one look-up", &costs, |costs| costs.requests),
    ];
    std::fs::write(&file, plot::draw(&panels)).with_context(|| format!("{} cannot be written", file.display()))?;
    println!("plotted in {}", file.display());
    Ok(vec![growth("hops", &costs, |costs| costs.hops.mean), growth("requests", &costs, |costs| costs.requests.mean)])
}

fn simulate(nodes: usize, look_ups: usize) -> Costs {
    let network = Network::new(nodes, nodes as u64);
    let mut random = Random::new(1);
    let mut once = || {
        let (from, place) = (random.below(network.len()) as u32, random.number());
        look_up(&network, from, place, RULES, &mut random)
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

fn table(costs: &[Costs]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    table.set_header([
        "nodes",
        "hops, mean",
        "hops, p99",
        "requests, mean",
        "requests, p99",
        "of the 20 nearest found",
    ]);
    for costs in costs {
        let Costs { nodes, hops, requests, recall } = costs;
        let figures = [(hops.mean, 2), (hops.p99, 0), (requests.mean, 1), (requests.p99, 0)];
        let figures = figures.map(|(figure, decimals)| format!("{figure:.decimals$}"));
        let mut cells = vec![nodes.to_string()];
        cells.extend(figures);
        cells.push(format!("{:.2} %", recall * 100.0));
        table.add_row(cells);
    }
    table.column_iter_mut().for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    table
}

fn panel(title: &'static str, costs: &[Costs], figure: impl Fn(&Costs) -> Spread) -> Panel {
    let point = |costs: &Costs| {
        let Spread { mean, p99 } = figure(costs);
        Point { nodes: costs.nodes as f64, mean, p99 }
    };
    let points: Vec<Point> = costs.iter().map(point).collect();
    let line = Line::through(points.iter().map(|point| (point.nodes.log2(), point.mean)));
    Panel { title, points, line }
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
        let costs = simulate(2_000, 50);
        assert!(costs.recall > 0.95 && (1.0..4.0).contains(&costs.hops.mean), "{costs:?}");
        assert!((20.0..200.0).contains(&costs.requests.mean), "{costs:?}");
    }
}
