//! The network that all tests share.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use comet_integration::cluster::Cluster;
use comet_integration::node::{Node, comet};
use comet_integration::wait::eventually;
use comet_kernel::Key;
use comet_kernel::contract::admin::{Answer, Command};
use comet_kernel::contract::aso::Info;
use redis::{Connection, FromRedisValue, RedisError, Value, cmd};
use tempfile::TempDir;

/// Longer than anything that a test waits for, on the busiest machine.
pub const SOON: Duration = Duration::from_secs(40);
/// Nodes of the network, the greedy one included.
pub const NODES: usize = 8;
/// Copies of an object.
pub const COPIES: usize = 3;
/// How long a request stays parked, in seconds: longer than it takes to park one at each node.
pub const PARKED: u64 = 20;

/// The network, and the key of the publisher whom its nodes trust.
pub struct World {
    pub cluster: Cluster,
    ids: Vec<String>,
    publisher: PathBuf,
    pub publisher_id: String,
    folder: TempDir,
}

/// One network for all tests that run at the same time. It ends with the last of them.
pub fn world() -> Arc<World> {
    static SHARED: Mutex<Weak<World>> = Mutex::new(Weak::new());
    // A test that fails while it starts the network fails for itself.
    let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let world = Arc::new(World::start());
        *shared = Arc::downgrade(&world);
        world
    })
}

fn settings(publisher: Option<&str>) -> Vec<(&'static str, String)> {
    let mut settings = vec![
        ("dht.replication", COPIES.to_string()),
        ("dht.write_quorum", "2".to_owned()),
        ("dht.quota_mib", "1".to_owned()),
        ("dht.neighbour_delay_ms", "200".to_owned()),
        ("aso.parked_seconds", PARKED.to_string()),
        ("gateway.request_timeout_ms", (PARKED * 1_000 + 5_000).to_string()),
    ];
    settings.extend(publisher.map(|publisher| ("aso.publishers", publisher.to_owned())));
    settings
}

/// A network whose nodes trust this publisher, or none.
pub fn network(nodes: usize, publisher: Option<&str>) -> Cluster {
    let builder = Cluster::builder().nodes(nodes);
    settings(publisher).iter().fold(builder, |builder, (field, value)| builder.set(field, value)).start()
}

/// A node that joins a network later, and trusts this publisher, or none.
pub fn another(cluster: &Cluster, publisher: Option<&str>) -> Node {
    let builder = Node::builder().set("log.filter", "warn").set("aso.shards", 1);
    let builder = builder.set("network.listen", "/ip4/127.0.0.1/tcp/0");
    let builder = builder.set("network.bootstrap", &cluster[0].joins()[0]);
    settings(publisher).iter().fold(builder, |builder, (field, value)| builder.set(field, value)).start()
}

impl World {
    fn start() -> World {
        let folder = TempDir::with_prefix("comet-publisher-").unwrap();
        let (publisher, id) = new_publisher(folder.path(), "publisher.key");
        let cluster = network(NODES, Some(&id));
        let ids = (0..NODES).map(|number| cluster.status(number).id).collect();
        World { cluster, ids, publisher, publisher_id: id, folder }
    }

    /// A source signed by a publisher whom nobody trusts, and who that is.
    pub fn signed_by_a_stranger(&self, application: &str) -> (String, String) {
        let (key, public) = new_publisher(self.folder.path(), application);
        (self.sign(&source(application), &key), public)
    }

    pub fn client(&self, node: usize) -> Connection {
        self.cluster[node].connect()
    }

    pub fn id(&self, node: usize) -> &str {
        &self.ids[node]
    }

    /// The nodes that hold an object, nearest first.
    pub fn holders(&self, key: &str) -> Vec<usize> {
        let holders = self.cluster.look_up(0, key).holders;
        let known = holders.iter().filter_map(|holder| self.ids.iter().position(|id| *id == holder.id));
        let known: Vec<usize> = known.collect();
        assert_eq!(known.len(), COPIES, "{holders:?}");
        known
    }

    /// A node that does not hold it.
    pub fn stranger_to(&self, key: &str) -> usize {
        let holders = self.holders(key);
        (0..NODES).find(|node| !holders.contains(node)).unwrap()
    }

    /// What a node's own copy tells of itself, and its log; none if there is none.
    pub fn copy(&self, node: usize, key: &str) -> Option<(Info, Vec<String>)> {
        match self.cluster[node].ask(Command::Object { key: Key::new(key.as_bytes()).unwrap() }) {
            // What it knows of others' copies is told without an actor of its own.
            Ok(Answer::Object(info, log)) if info.active => Some((*info, log)),
            _ => None,
        }
    }

    /// The nodes that have a copy.
    pub fn copies(&self, key: &str) -> impl Iterator<Item = usize> {
        (0..NODES).filter(move |node| self.copy(*node, key).is_some())
    }

    /// Handler calls of all copies together.
    pub fn calls(&self, key: &str) -> u64 {
        (0..NODES).filter_map(|node| self.copy(node, key)).map(|(info, _)| info.calls).sum()
    }

    /// Waits until the log of a node's copy has a line with this text.
    pub fn wait_for_log(&self, node: usize, key: &str, text: &str) {
        let mut log = Vec::new();
        eventually(SOON, text, || {
            log = self.copy(node, key).map(|(_, log)| log).unwrap_or_default();
            log.iter().any(|line| line.contains(text))
        });
    }

    /// An application of `scripts/`, signed by the publisher whom all nodes trust.
    pub fn signed(&self, application: &str) -> String {
        self.sign(&source(application), &self.publisher)
    }

    /// Signs a source with the key in a file, as users do.
    fn sign(&self, source: &str, key: &Path) -> String {
        let file = tempfile::Builder::new().suffix(".rhai").tempfile_in(self.folder.path()).unwrap();
        std::fs::write(file.path(), source).unwrap();
        run(&["script".as_ref(), "sign".as_ref(), file.path(), "--key".as_ref(), key]);
        std::fs::read_to_string(file.path()).unwrap()
    }

    /// A get on a connection of its own, through a node, that some copy has parked.
    pub fn parked(&self, node: usize, words: &[&str]) -> JoinHandle<String> {
        let (key, words) = (words[0], words.iter().map(ToString::to_string).collect::<Vec<_>>());
        let (before, mut client) = (self.calls(key), self.client(node));
        let waiting = std::thread::spawn(move || cmd("ASO.GET").arg(words).query::<String>(&mut client).unwrap());
        eventually(SOON, "somebody waits", || self.calls(key) > before);
        waiting
    }
}

/// The source of an application.
pub fn source(application: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts");
    std::fs::read_to_string(folder.join(application).with_extension("rhai")).unwrap()
}

fn new_publisher(folder: &Path, name: &str) -> (PathBuf, String) {
    let file = folder.join(name);
    let public = run(&["keys".as_ref(), "new".as_ref(), &file]);
    (file, public.trim().to_owned())
}

fn run(words: &[&Path]) -> String {
    let output = comet().args(words).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Puts an object with a script of a name.
pub fn put(client: &mut Connection, key: &str, value: &str, script: &str, options: &[&str]) {
    let () = cmd("ASO.PUT").arg(&[key, value, "SCRIPT", script]).arg(options).query(client).unwrap();
}

/// Puts an object with a script of its own.
pub fn put_source(client: &mut Connection, key: &str, value: &str, source: &str, options: &[&str]) {
    let () = cmd("ASO.PUT").arg(&[key, value, "SOURCE", source]).arg(options).query(client).unwrap();
}

pub fn set(client: &mut Connection, key: &str, value: &str) {
    let _ok_or_kept: Value = cmd("SET").arg(&[key, value]).query(client).unwrap();
}

pub fn get<T: FromRedisValue>(client: &mut Connection, words: &[&str]) -> Result<T, RedisError> {
    cmd("ASO.GET").arg(words).query(client)
}

/// What is answered as JSON.
pub fn json(client: &mut Connection, words: &[&str]) -> serde_json::Value {
    let text: String = cmd("ASO.GET").arg(words).arg("JSON").query(client).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Some fields of a map that a script has answered.
pub fn figures(client: &mut Connection, key: &str) -> HashMap<String, Option<i64>> {
    get(client, &[key]).unwrap()
}

/// The error of a refusal, as the client sees it.
pub fn refusal<T: std::fmt::Debug>(outcome: Result<T, RedisError>) -> String {
    let error = outcome.expect_err("it is refused");
    format!("{} {}", error.code().unwrap_or_default(), error.detail().unwrap_or_default())
}
