//! What objects take in memory, and how long a node takes to start beside many.

use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use comet_integration::wait::look;
use tempfile::TempDir;

use crate::Bench;
use crate::load::{KEYS, key, send, value};
use crate::report::{Row, bytes, in_seconds, seconds};
use crate::server::Server;

/// Objects of the large store.
const STORED: usize = 1_000_000;
/// Writes between a start and a crash.
const LATEST: usize = 10_000;
/// Gets after which memory is read again.
const FEW: usize = 100;
/// How long memory must not have changed to count as settled.
const CALM: Duration = Duration::from_millis(500);

/// Memory of an active read counter beyond its value.
pub(crate) fn object(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let folder = TempDir::with_prefix("comet-bench-")?;
    // With a flush the database's memory would be counted as the objects'.
    let settings =
        ["storage.durability=none", "storage.flush_interval_ms=60000", "storage.cache_mib=1", "aso.memory_mib=1024"];
    let value = value();
    let put = |number| ["ASO.PUT", &key(number), &value, "SCRIPT", "read_counter"].map(str::to_owned).to_vec();
    let node = Server::comet(bench, folder.path(), &settings)?;
    send(node.port(), KEYS, put)?;
    node.stop()?;
    // The database has its files then, and memory is not full of what loading left.
    let node = Server::comet(bench, folder.path(), &settings)?;
    let passive = settled(&node)?;
    let mut connection = node.connect()?;
    for number in 0..KEYS {
        let (_value, count): (String, u64) = redis::cmd("GET").arg(key(number)).query(&mut connection)?;
        ensure!(count == 1, "a read counter that was read once counts {count}");
    }
    let each = (settled(&node)? - passive) / KEYS as f64 - value.len() as f64;
    Ok(vec![Row::at_most("active read counter beyond its value", each, 1_500.0, bytes)])
}

/// A million stored objects.
pub(crate) fn stored(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let folder = TempDir::with_prefix("comet-bench-")?;
    let count = if bench.quick { STORED / 10 } else { STORED };
    let value = value();
    let set = |number| ["SET", &key(number), &value].map(str::to_owned).to_vec();
    let node = Server::comet(bench, folder.path(), &[])?;
    send(node.port(), count, set)?;
    drop(node);
    let (node, after_load) = first_get(bench, folder.path())?;
    node.stop()?;
    let (node, after_stop) = first_get(bench, folder.path())?;
    let idle = settled(&node)?;
    let mut connection = node.connect()?;
    for number in (0..count).step_by(count / FEW) {
        let read: String = redis::cmd("GET").arg(key(number)).query(&mut connection)?;
        ensure!(read == value, "a value came back as {read:?}");
    }
    let used = settled(&node)?;
    send(node.port(), LATEST, set)?;
    drop(node);
    let (node, after_crash) = first_get(bench, folder.path())?;
    node.stop()?;
    let objects = format!("{count} stored objects");
    Ok(vec![
        Row::at_most(format!("resident, {objects}, idle"), idle, 150e6, bytes),
        Row::at_most(format!("resident, {objects}, after {FEW} gets"), used, 150e6, bytes),
        Row::at_most(format!("start to first get, {objects}, after a stop"), after_stop, 0.5, seconds),
        Row::at_most(format!("start to first get, {LATEST} writes before kill -9"), after_crash, 0.5, seconds),
        Row::at_most("start to first get, kill -9 right after loading", after_load, 0.5, seconds),
    ])
}

/// Starts a node; how long it took until a get was answered.
fn first_get(bench: &Bench, data: &Path) -> anyhow::Result<(Server, f64)> {
    let start = bench.clock.now();
    let node = Server::comet(bench, data, &[])?;
    let read: Option<String> = redis::cmd("GET").arg(key(0)).query(&mut node.connect()?)?;
    let took = bench.clock.now().since(start);
    ensure!(read.is_some(), "an acknowledged value is not there after a start");
    Ok((node, in_seconds(took)))
}

/// Resident bytes once they do not change any more.
fn settled(node: &Server) -> anyhow::Result<f64> {
    let mut last = node.resident()?;
    for _ in 0..20 {
        // Nothing tells that a process has calmed down but that nothing changes.
        let _changed = look(CALM, || None::<()>);
        let now = node.resident()?;
        if (now - last).abs() < 256e3 {
            return Ok(now);
        }
        last = now;
    }
    Ok(last)
}
