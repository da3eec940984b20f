//! What two nodes carry between them: gets of 100 bytes that one node has and the other is asked for, 64 in flight, over TCP
//! on the loopback interface. Both nodes run in this process and share its cores.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use comet_kernel::contract::aso::{Op, Put};
use comet_kernel::contract::routing::ReadNetwork;
use comet_kernel::settings::{Durability, List};
use comet_kernel::{Clock, Kernel, Key, Settings, Value};
use comet_ops::identity::{self, Identity};
use comet_ops::tree::{self, Medium, Node};
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::Bench;
use crate::asker::Asker;
use crate::report::{Row, in_seconds, median, rate};

/// Keys that the other node holds.
const KEYS: usize = 1_000;
/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Measures.
pub(crate) fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let folder = TempDir::with_prefix("comet-bench-")?;
    let measured = actix::System::new().block_on(async {
        let (holder, _) = start(bench, &folder.path().join("holder"), Vec::new()).await?;
        let joins = listening(&holder).await?;
        let (asker, who) = start(bench, &folder.path().join("asker"), joins).await?;
        met(bench, &asker).await?;
        let measured = measure(bench, &asker, &who).await;
        asker.tree.stop().await;
        holder.tree.stop().await;
        measured
    })?;
    let what = "gets of 100 bytes from another node, 64 in flight";
    Ok(vec![Row::at_least(what, measured, 100_000.0, rate)])
}

async fn start(bench: &Bench, data: &Path, bootstrap: Vec<String>) -> anyhow::Result<(Node, Identity)> {
    let mut settings = Settings::default();
    settings.storage.durability = Durability::None;
    settings.gateway.listen = String::from("127.0.0.1:0");
    settings.network.listen = List(vec![String::from("/ip4/127.0.0.1/tcp/0")]);
    settings.network.bootstrap = List(bootstrap);
    settings.network.peer_requests_per_second = 10_000_000;
    settings.aso.shards = 1;
    (settings.dht.replication, settings.dht.write_quorum) = (1, 1);
    comet_storage::prepare(data, &settings.storage)?;
    let identity = identity::load_or_make(data)?;
    let kernel = Kernel::new(bench.clock.clone());
    let node = tree::start(&kernel, &settings, data, &identity, Medium::SOCKETS).await;
    Ok((node.map_err(|error| anyhow!("{error}"))?, identity))
}

async fn listening(node: &Node) -> anyhow::Result<Vec<String>> {
    let network = node.network.as_ref().context("it listens")?;
    Ok(network.read_network.call(ReadNetwork).await?.listening)
}

async fn met(bench: &Bench, node: &Node) -> anyhow::Result<()> {
    let network = node.network.as_ref().context("it listens")?;
    let deadline = bench.clock.now() + PATIENCE;
    while bench.clock.now() < deadline {
        let status = network.read_network.call(ReadNetwork).await?;
        if status.settled && status.known == 2 {
            return Ok(());
        }
        bench.clock.sleep(Duration::from_millis(20)).await;
    }
    bail!("the two nodes have not met")
}

/// On the thread of the objects, as connections are.
async fn measure(bench: &Bench, node: &Node, who: &Identity) -> anyhow::Result<f64> {
    let network = node.network.as_ref().context("it listens")?;
    let keys = (0..).map(|number: u32| Key::new(format!("key:{number}").as_bytes()).expect("it is short"));
    let keys: Vec<Key> = keys.filter(|key| !network.neighbours.is_near(&key.place(), 1)).take(KEYS).collect();
    let (objects, clock) = (node.objects.clone(), bench.clock.clone());
    let asker = Asker::new(move |call, now| objects.ask(call, now, false), &clock, &who.id);
    let gets = if bench.quick { 200_000 } else { 1_000_000 };
    let (sender, receiver) = oneshot::channel();
    node.threads[0].run(move || {
        actix::spawn(async move {
            let _the_bench_waits = sender.send(gets_a_second(&asker, &clock, &keys, gets).await);
        });
    });
    receiver.await.context("the thread of the objects ended")?
}

async fn gets_a_second(asker: &Asker, clock: &Clock, keys: &[Key], gets: usize) -> anyhow::Result<f64> {
    asker.ask(&Op::Put(Box::new(Put::plain(Value::from("v".repeat(100).as_str())))), keys.iter()).await?;
    let get = Op::Get { payload: Value::Nil };
    asker.ask(&get, keys.iter().cycle().take(gets / 10)).await?;
    let mut rates = Vec::new();
    for _ in 0..5 {
        let before = clock.now();
        asker.ask(&get, keys.iter().cycle().take(gets / 5)).await?;
        rates.push((gets / 5) as f64 / in_seconds(clock.now().since(before)));
    }
    Ok(median(&mut rates))
}
