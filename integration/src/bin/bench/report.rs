//! What was measured, beside what was aimed at.

use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};

/// One figure.
#[derive(Debug)]
pub(crate) struct Row {
    what: String,
    comet: String,
    other: String,
    measured: String,
    target: String,
    met: Option<bool>,
}

impl Row {
    /// Two rates as a ratio, which should be this at least.
    pub(crate) fn ratio(what: impl Into<String>, comet: f64, other: f64, target: Option<f64>) -> Self {
        let ratio = comet / other;
        Row {
            what: what.into(),
            comet: format!("{comet:.0}/s"),
            other: format!("{other:.0}/s"),
            measured: format!("{ratio:.2} x"),
            target: target.map_or(String::new(), |target| format!("at least {target:.1} x")),
            met: target.map(|target| ratio >= target),
        }
    }

    /// Two figures of which ours should be no larger than the other; `tell` writes either.
    pub(crate) fn no_more(what: impl Into<String>, comet: f64, other: f64, tell: impl Fn(f64) -> String) -> Self {
        let row = Row::figure(what, format!("{:.2} x", comet / other));
        let target = String::from("at most 1.00 x");
        Row { comet: tell(comet), other: tell(other), target, met: Some(comet <= other), ..row }
    }

    /// A figure that should be this at least; `tell` writes either.
    pub(crate) fn at_least(what: impl Into<String>, measured: f64, target: f64, tell: impl Fn(f64) -> String) -> Self {
        let row = Row::figure(what, tell(measured));
        Row { target: format!("at least {}", tell(target)), met: Some(measured >= target), ..row }
    }

    /// A figure that should be this at most; `tell` writes either.
    pub(crate) fn at_most(what: impl Into<String>, measured: f64, target: f64, tell: impl Fn(f64) -> String) -> Self {
        let row = Row::figure(what, tell(measured));
        Row { target: format!("at most {}", tell(target)), met: Some(measured <= target), ..row }
    }

    /// A figure without a target.
    pub(crate) fn figure(what: impl Into<String>, measured: String) -> Self {
        let nothing = String::new;
        Row { what: what.into(), comet: nothing(), other: nothing(), measured, target: nothing(), met: None }
    }
}

/// Prints rows as a table. `other` is what Comet is measured beside.
pub(crate) fn print(rows: &[Row], other: &str) {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    table.set_header(["what", "comet", other, "measured", "target", ""]);
    for row in rows {
        let verdict = row.met.map_or("", |met| if met { "met" } else { "missed" });
        table.add_row([&row.what, &row.comet, &row.other, &row.measured, &row.target, verdict]);
    }
    for column in 1..4 {
        let column = table.column_mut(column).expect("the header has so many");
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
}

/// The middle of several figures.
///
/// # Panics
///
/// If there is none.
pub(crate) fn median(figures: &mut [f64]) -> f64 {
    quantile(figures, 0.5)
}

/// The figure below which this part of all lies.
///
/// # Panics
///
/// If there is none.
pub(crate) fn quantile(figures: &mut [f64], part: f64) -> f64 {
    assert!(!figures.is_empty(), "something was measured");
    figures.sort_by(f64::total_cmp);
    figures[((figures.len() - 1) as f64 * part).round() as usize]
}

/// Seconds, for people.
pub(crate) fn seconds(seconds: f64) -> String {
    match seconds {
        0.5.. => format!("{seconds:.2} s"),
        0.001.. => format!("{:.1} ms", seconds * 1e3),
        _ => format!("{:.2} us", seconds * 1e6),
    }
}

/// Bytes, for people.
pub(crate) fn bytes(bytes: f64) -> String {
    match bytes {
        1e6.. => format!("{:.1} MB", bytes / 1e6),
        _ => format!("{bytes:.0} B"),
    }
}

/// A part of a whole, for people.
pub(crate) fn percent(part: f64) -> String {
    format!("{:.2} %", part * 100.0)
}

/// A number of things, for people.
pub(crate) fn count(number: f64) -> String {
    format!("{number:.0}")
}

/// A rate, for people.
pub(crate) fn rate(rate: f64) -> String {
    format!("{rate:.0}/s")
}

/// A duration in seconds.
pub(crate) fn in_seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}
