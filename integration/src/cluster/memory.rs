//! A network of nodes within this process, on the memory transport: no sockets between them, and chance from a seed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use comet_kernel::contract::routing::{LookUp, NetworkStatus, Path, ReadNetwork};
use comet_kernel::neighbours::DENSE;
use comet_kernel::settings::{Durability, List};
use comet_kernel::{Clock, Kernel, Key, Settings};
use comet_ops::identity::Identity;
use comet_ops::tree::{self, Medium, Node, Transport};
use tempfile::TempDir;

use crate::random::Random;

/// Addresses of the memory transport, which all networks of the process share.
static NEXT: AtomicU64 = AtomicU64::new(1);
/// How long a network may take to become one.
const JOIN: Duration = Duration::from_secs(120);
/// How long between two looks at how far it is.
const LOOK: Duration = Duration::from_millis(50);

/// The network. Its nodes stop with [`MemoryCluster::stop`].
#[derive(Debug)]
pub struct MemoryCluster {
    nodes: Vec<Node>,
    clock: Clock,
    folder: TempDir,
}

impl MemoryCluster {
    /// Starts so many nodes and waits until they have found each other. Must be called on a thread with an actix system.
    ///
    /// # Errors
    ///
    /// Which node did not start, and why, or that they did not find each other.
    pub async fn start(count: usize, seed: u64, settings: &Settings) -> Result<Self, String> {
        let folder = TempDir::with_prefix("comet-memory-").map_err(|error| error.to_string())?;
        let mut random = Random::new(seed);
        let mut cluster = MemoryCluster { nodes: Vec::new(), clock: Clock::machine(), folder };
        let first = NEXT.fetch_add(count as u64, Ordering::Relaxed);
        for number in 0..count {
            let mut secret = [0; 32];
            secret.chunks_mut(8).for_each(|part| part.copy_from_slice(&random.number().to_le_bytes()));
            let identity = Identity::of(secret);
            let bootstrap = match cluster.nodes.first() {
                Some(_) => cluster.status(0).await?.listening,
                None => Vec::new(),
            };
            let settings = of_one(settings, first + number as u64, bootstrap);
            let node = cluster.start_one(number, &settings, &identity, random.number()).await?;
            cluster.nodes.push(node);
        }
        cluster.join().await?;
        Ok(cluster)
    }

    async fn start_one(&self, number: usize, settings: &Settings, who: &Identity, seed: u64) -> Result<Node, String> {
        let kernel = Kernel::new(self.clock.clone());
        let data = self.folder.path().join(number.to_string());
        comet_storage::prepare(&data, &settings.storage).map_err(|error| error.to_string())?;
        let medium = Medium { transport: Transport::Memory, seed: Some(seed) };
        let started = tree::start(&kernel, settings, &data, who, medium).await;
        started.map_err(|error| format!("node {number}: {error}"))
    }

    async fn join(&self) -> Result<(), String> {
        let deadline = self.clock.now() + JOIN;
        for number in 0..self.nodes.len() {
            loop {
                let status = self.status(number).await?;
                if status.settled && status.known >= self.nodes.len().min(DENSE) {
                    break;
                }
                if self.clock.now() > deadline {
                    return Err(format!("node {number} has not joined: {status:?}"));
                }
                self.clock.sleep(LOOK).await;
            }
        }
        Ok(())
    }

    /// The nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// How a node stands in the network.
    ///
    /// # Errors
    ///
    /// Why it does not say.
    pub async fn status(&self, number: usize) -> Result<NetworkStatus, String> {
        let network = self.nodes[number].network.as_ref().ok_or("the node is alone")?;
        network.read_network.call(ReadNetwork).await.map_err(|error| format!("node {number}: {error}"))
    }

    /// Looks a key up from a node.
    ///
    /// # Errors
    ///
    /// Why the node does not.
    pub async fn look_up(&self, number: usize, key: &str) -> Result<Path, String> {
        let key = Key::new(key.as_bytes()).map_err(|error| error.to_string())?;
        let network = self.nodes[number].network.as_ref().ok_or("the node is alone")?;
        network.look_up.call(LookUp { key }).await.map_err(|error| format!("node {number}: {error}"))
    }

    /// Stops all nodes.
    pub async fn stop(self) {
        for node in self.nodes {
            node.tree.stop().await;
        }
    }
}

fn of_one(settings: &Settings, address: u64, bootstrap: Vec<String>) -> Settings {
    let mut settings = settings.clone();
    settings.network.listen = List(vec![format!("/memory/{address}")]);
    settings.network.bootstrap = List(bootstrap);
    settings.gateway.listen = String::from("127.0.0.1:0");
    settings.storage.durability = Durability::None;
    settings.aso.shards = 1;
    settings
}
