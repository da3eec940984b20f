//! Processor time of one get of a read counter, from the directory to the reply, within this process.
//!
//! The asker runs on the thread of the objects, as connections do unless they are configured to have their own, and keeps
//! 64 gets under way. The process's clock counts everything: what storage spends to write the counters behind, too. The
//! thread's clock counts the asker and the objects only.

use anyhow::Context;
use comet_kernel::contract::aso::{Condition, Lifetime, Op, Put, ScriptChoice};
use comet_kernel::settings::Durability;
use comet_kernel::{Kernel, Key, Settings, Value};
use comet_ops::identity::Identity;
use comet_ops::node::pages;
use comet_ops::tree::{self, Medium};
use rustix::time::{ClockId, clock_gettime};
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::Bench;
use crate::asker::Asker;
use crate::report::{Row, median, seconds};

/// What one get cost.
#[derive(Clone, Copy, Debug)]
struct Cost {
    process: f64,
    thread: f64,
}

/// Measures with few objects, which the processor's caches hold, and with many, which they do not.
pub(crate) fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (objects, target) in [(1_000, 1.5e-6), (100_000, 3.5e-6)] {
        let cost = measure(bench, objects)?;
        rows.push(Row::at_most(format!("processor time of a get, {objects} objects"), cost.process, target, seconds));
        rows.push(Row::figure("  of this, the objects' own thread", seconds(cost.thread)));
    }
    Ok(rows)
}

fn measure(bench: &Bench, objects: usize) -> anyhow::Result<Cost> {
    let folder = TempDir::with_prefix("comet-bench-")?;
    let gets = if bench.quick { 300_000 } else { 2_000_000 };
    actix::System::new().block_on(async {
        let mut settings = Settings::default();
        settings.storage.durability = Durability::None;
        // What is measured ends with the reply; what is written behind comes after it.
        settings.storage.flush_interval_ms = 60_000;
        settings.aso.memory_mib = 1_024;
        settings.aso.shards = 1;
        settings.gateway.listen = String::from("127.0.0.1:0");
        let kernel = Kernel::new(bench.clock.clone());
        let identity = Identity::of([1; 32]);
        let data = folder.path().join("data");
        comet_storage::prepare(&data, &settings.storage)?;
        let node = tree::start(&kernel, &settings, &data, &identity, Medium::SOCKETS).await?;
        let _ends_with_the_runtime = actix::spawn(pages::grow(kernel.clock.clone()));
        let (sender, receiver) = oneshot::channel();
        let directory = node.aso.directory.clone();
        let asker = Asker::new(move |call, now| directory.ask(call, now, false), &kernel.clock, &identity.id);
        let name = |number| Key::new(crate::load::key(number).as_bytes()).expect("it is short");
        let keys: Vec<Key> = (0..objects).map(name).collect();
        node.threads[0].run(move || {
            actix::spawn(async move {
                let _the_bench_waits = sender.send(cost(&asker, &keys, gets).await);
            });
        });
        let cost = receiver.await.context("the thread of the objects ended")?;
        node.tree.stop().await;
        cost
    })
}

async fn cost(asker: &Asker, keys: &[Key], gets: usize) -> anyhow::Result<Cost> {
    let put = Op::Put(Box::new(Put {
        script: Some(ScriptChoice::Named { name: "read_counter".into(), pin: false }),
        lifetime: Lifetime::Endless,
        condition: Condition::Always,
        ..Put::plain(Value::from(crate::load::value().as_str()))
    }));
    asker.ask(&put, keys.iter()).await?;
    let get = Op::Get { payload: Value::Nil };
    // Steps of a prime's length visit all keys in an order that no cache expects.
    let spread = |count: usize| (0..count).map(|number| &keys[number.wrapping_mul(7_919) % keys.len()]);
    asker.ask(&get, spread(gets / 10)).await?;
    let (mut process, mut thread) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        let before = now();
        asker.ask(&get, spread(gets / 5)).await?;
        let after = now();
        process.push((after.process - before.process) / (gets / 5) as f64);
        thread.push((after.thread - before.thread) / (gets / 5) as f64);
    }
    Ok(Cost { process: median(&mut process), thread: median(&mut thread) })
}

fn now() -> Cost {
    let read = |clock| {
        let time = clock_gettime(clock);
        time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
    };
    Cost { process: read(ClockId::ProcessCPUTime), thread: read(ClockId::ThreadCPUTime) }
}
