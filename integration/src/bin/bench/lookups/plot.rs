//! The plot, as text of SVG: two panels over one axis of sizes.

use std::fmt::Write as _;

use super::Line;

/// One size of network.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    pub(crate) nodes: f64,
    pub(crate) mean: f64,
    pub(crate) p99: f64,
}

/// One figure over all sizes.
#[derive(Debug)]
pub(crate) struct Panel {
    pub(crate) title: &'static str,
    pub(crate) measured: Vec<Point>,
    pub(crate) simulated: Vec<Point>,
    /// Through the means of large networks, over the binary logarithm of the size.
    pub(crate) line: Line,
}

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 420.0;
/// The plotting area of a panel, without titles and labels.
const AREA: (f64, f64) = (390.0, 270.0);
const TOP: f64 = 70.0;
const LEFT: [f64; 2] = [60.0, 540.0];
/// Decades of nodes on the axis: from 10 to 10^6, with a little room at the end.
const DECADES: (f64, f64) = (1.0, 6.2);
const MEAN: &str = "#0b62a4";
const P99: &str = "#c8541c";
const MEASURED: &str = "#2e8b3d";

/// The whole plot.
pub(crate) fn draw(panels: &[Panel; 2]) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         font-family=\"Helvetica, Arial, sans-serif\" font-size=\"13\" fill=\"#222\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    for (panel, left) in panels.iter().zip(LEFT) {
        draw_panel(&mut svg, panel, left);
    }
    legend(&mut svg);
    svg.push_str("</svg>\n");
    svg
}

fn draw_panel(svg: &mut String, panel: &Panel, left: f64) {
    let highest = panel.measured.iter().chain(&panel.simulated).map(|point| point.p99).fold(0.0, f64::max);
    let step = step(highest);
    let steps = (highest / step).ceil();
    let x = |nodes: f64| left + AREA.0 * (nodes.log10() - DECADES.0) / (DECADES.1 - DECADES.0);
    let y = |figure: f64| TOP + AREA.1 * (1.0 - figure / (step * steps));
    text(svg, left, TOP - 22.0, "start", &format!("<tspan font-weight=\"bold\">{}</tspan>", panel.title));
    for number in 0..=steps as u32 {
        let figure = f64::from(number) * step;
        line(svg, (left, y(figure)), (left + AREA.0, y(figure)), "#ddd");
        text(svg, left - 8.0, y(figure) + 4.0, "end", &format!("{figure}"));
    }
    for (decade, label) in [(1, "10"), (2, "100"), (3, "1,000"), (4, "10,000"), (5, "100,000"), (6, "1,000,000")] {
        let at = x(10_f64.powi(decade));
        line(svg, (at, TOP + AREA.1), (at, TOP + AREA.1 + 5.0), "#222");
        text(svg, at, TOP + AREA.1 + 20.0, "middle", label);
    }
    line(svg, (left, TOP + AREA.1), (left + AREA.0, TOP + AREA.1), "#222");
    text(svg, left + AREA.0 / 2.0, TOP + AREA.1 + 40.0, "middle", "nodes (logarithmic)");
    let fitted = |nodes: f64| (x(nodes), y(panel.line.start + panel.line.rise * nodes.log2()));
    line(svg, fitted(800.0), fitted(1_250_000.0), MEAN);
    for point in &panel.simulated {
        dot(svg, (x(point.nodes), y(point.p99)), P99);
        dot(svg, (x(point.nodes), y(point.mean)), MEAN);
    }
    for point in &panel.measured {
        line(svg, (x(point.nodes), y(point.mean)), (x(point.nodes), y(point.p99)), MEASURED);
        square(svg, (x(point.nodes), y(point.mean)), MEASURED);
    }
}

fn legend(svg: &mut String) {
    let (left, at) = (LEFT[0], 24.0);
    square(svg, (left + 6.0, at - 4.0), MEASURED);
    text(svg, left + 18.0, at, "start", "measured: mean, and a line up to 99 of 100");
    dot(svg, (left + 406.0, at - 4.0), MEAN);
    text(svg, left + 418.0, at, "start", "simulated: mean");
    dot(svg, (left + 548.0, at - 4.0), P99);
    text(svg, left + 560.0, at, "start", "99 of 100");
    line(svg, (left + 650.0, at - 4.0), (left + 676.0, at - 4.0), MEAN);
    text(svg, left + 682.0, at, "start", "straight line over log N");
}

/// A round distance of the lines of the grid, for four to eight of them.
fn step(highest: f64) -> f64 {
    let power = 10_f64.powf((highest / 4.0).log10().floor());
    [5.0, 2.0, 1.0].into_iter().map(|part| part * power).find(|step| highest / step >= 3.0).unwrap_or(power)
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64), colour: &str) {
    let ((x1, y1), (x2, y2)) = (from, to);
    let _infallible = writeln!(
        svg,
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\" stroke-width=\"1.2\"/>"
    );
}

fn dot(svg: &mut String, at: (f64, f64), colour: &str) {
    let _infallible = writeln!(svg, "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\" fill=\"{colour}\"/>", at.0, at.1);
}

fn square(svg: &mut String, at: (f64, f64), colour: &str) {
    let (x, y) = (at.0 - 4.0, at.1 - 4.0);
    let _infallible = writeln!(svg, "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"8\" height=\"8\" fill=\"{colour}\"/>");
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, words: &str) {
    let _infallible = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>");
}
