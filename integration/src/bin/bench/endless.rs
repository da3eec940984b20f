//! What a handler that never ends costs: how long until it is ended, and how long gets of other objects wait meanwhile.

use std::time::Duration;

use anyhow::ensure;
use tempfile::TempDir;

use crate::Bench;
use crate::load::{key, send, value};
use crate::report::{Row, in_seconds, quantile, seconds};
use crate::server::Server;

/// Objects that are read meanwhile.
const OTHERS: usize = 1_000;
/// Objects with an endless handler. Each is called once, long before it would be quarantined.
const ENDLESS: usize = 1_000;

/// Measures under the default budgets, in which the operations end it, and with so many operations that the time does.
pub(crate) fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let mut rows = measure(bench, "endless handler", &[])?;
    rows.extend(measure(bench, "endless handler, time budget", &["aso.operations=10000000"])?);
    Ok(rows)
}

fn measure(bench: &Bench, what: &str, settings: &[&str]) -> anyhow::Result<Vec<Row>> {
    let folder = TempDir::with_prefix("comet-bench-")?;
    let node = Server::comet(bench, folder.path(), settings)?;
    let value = value();
    let put = |key: String, source: &str| ["ASO.PUT", &key, &value, "SOURCE", source].map(str::to_owned).to_vec();
    send(node.port(), OTHERS, |number| put(key(number), "fn onGet() { this.value }"))?;
    send(node.port(), ENDLESS, |number| put(format!("endless:{number}"), "fn onGet() { loop { } }"))?;
    let lasts = Duration::from_secs(if bench.quick { 2 } else { 8 });
    let (ended, waits) = std::thread::scope(|scope| {
        let endless = scope.spawn(|| call_endless(bench, &node, lasts));
        let waits = get_others(bench, &node, lasts);
        anyhow::Ok((endless.join().expect("the caller does not panic")?, waits?))
    })?;
    let (mut ended, mut waits) = (ended, waits);
    Ok(vec![
        Row::at_most(format!("{what}: ended after, p99"), quantile(&mut ended, 0.99), 0.025, seconds),
        Row::at_most(format!("{what}: gets of others, p99"), quantile(&mut waits, 0.99), 0.05, seconds),
        Row::figure(format!("{what}: gets of others, median"), seconds(quantile(&mut waits, 0.5))),
    ])
}

/// Calls one endless handler after the other; how long each call took.
fn call_endless(bench: &Bench, node: &Server, lasts: Duration) -> anyhow::Result<Vec<f64>> {
    let mut connection = node.connect()?;
    let start = bench.clock.now();
    let mut took = Vec::new();
    while took.len() < ENDLESS && bench.clock.now().since(start) < lasts {
        let before = bench.clock.now();
        let answer = redis::cmd("GET").arg(format!("endless:{}", took.len())).query::<String>(&mut connection);
        let code = answer.as_ref().err().and_then(redis::RedisError::code);
        ensure!(code == Some("BUDGET"), "an endless handler ended with {answer:?}");
        took.push(in_seconds(bench.clock.now().since(before)));
    }
    Ok(took)
}

/// Gets other objects, one after the other; how long each get took.
fn get_others(bench: &Bench, node: &Server, lasts: Duration) -> anyhow::Result<Vec<f64>> {
    let mut connection = node.connect()?;
    let start = bench.clock.now();
    let mut took = Vec::new();
    while bench.clock.now().since(start) < lasts {
        let before = bench.clock.now();
        let _value: String = redis::cmd("GET").arg(key(took.len() % OTHERS)).query(&mut connection)?;
        took.push(in_seconds(bench.clock.now().since(before)));
    }
    Ok(took)
}
