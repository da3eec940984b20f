//! Networks of nodes for tests.
//!
//! | module | what |
//! |---|---|
//! | here | real processes, on the loopback interface or each in a network namespace of its own |
//! | [`hosts`] | network namespaces: partitions, delay, loss |
//! | [`memory`] | nodes within this process, on the memory transport, with a seed |
//! | [`check`] | what has to hold of every network after whatever was done to it |
//!
//! The first node begins the network, the others join it. A node that is started again keeps its address.

pub mod check;
pub mod hosts;
pub mod memory;

use std::ops::{Index, IndexMut};
use std::time::Duration;

use comet_kernel::Key;
use comet_kernel::contract::admin::{Answer, Command};
use comet_kernel::contract::routing::{NetworkStatus, Path};
use comet_kernel::neighbours::DENSE;

use self::hosts::Hosts;
use crate::node::{Builder as NodeBuilder, Node};
use crate::wait::eventually;

/// How long a network may take to become one.
const JOIN: Duration = Duration::from_secs(90);
/// Nodes that start at once: each takes a core until it serves.
const AT_ONCE: usize = 4;

/// A network of nodes in processes of their own. They are killed when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
    running: Vec<bool>,
    // Taken away after the processes that live in it.
    hosts: Option<Hosts>,
}

/// What a network is started with.
#[derive(Debug, Default)]
pub struct Builder {
    nodes: usize,
    settings: Vec<(String, String)>,
    hosts: Option<Hosts>,
}

impl Builder {
    /// How many nodes there are.
    pub fn nodes(mut self, nodes: usize) -> Self {
        self.nodes = nodes;
        self
    }

    /// Sets a field of the configuration of every node: `section.field`.
    pub fn set(mut self, field: &str, value: impl std::fmt::Display) -> Self {
        self.settings.push((field.to_owned(), value.to_string()));
        self
    }

    /// Runs each node in a network namespace of its own.
    pub fn hosts(mut self, hosts: Hosts) -> Self {
        self.hosts = Some(hosts);
        self
    }

    /// Starts the nodes and waits until each knows all others.
    ///
    /// # Panics
    ///
    /// If a node does not start, or they do not find each other.
    pub fn start(self) -> Cluster {
        let first = self.node(0).start();
        let seed = first.joins().first().expect("a node that listens says where").clone();
        let mut nodes = vec![first];
        let numbers: Vec<usize> = (1..self.nodes).collect();
        for group in numbers.chunks(AT_ONCE) {
            let builders: Vec<_> =
                group.iter().map(|&number| self.node(number).set("network.bootstrap", &seed)).collect();
            nodes.extend(std::thread::scope(|scope| {
                let starts: Vec<_> = builders.into_iter().map(|builder| scope.spawn(|| builder.start())).collect();
                starts.into_iter().map(|start| start.join().expect("the node starts")).collect::<Vec<_>>()
            }));
        }
        let cluster = Cluster { running: vec![true; nodes.len()], nodes, hosts: self.hosts };
        cluster.wait_until_joined();
        cluster
    }

    fn node(&self, number: usize) -> NodeBuilder {
        let host = self.hosts.as_ref().map(|hosts| hosts.host(number));
        let listen = host.as_ref().map_or_else(|| "/ip4/127.0.0.1/tcp/0".to_owned(), hosts::Host::listen);
        // A dozen nodes share two cores: what a pool of threads each would cost is not what is tested.
        let builder = Node::builder().set("log.filter", "warn").set("aso.shards", 1).set("network.listen", listen);
        let builder = self.settings.iter().fold(builder, |builder, (field, value)| builder.set(field, value));
        match host {
            Some(host) => builder.host(host),
            None => builder,
        }
    }
}

impl Cluster {
    /// What a network is started with: nothing but defaults, yet.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// As the defaults, but for nodes that compare what they store within a second of a change, and each few seconds.
    pub fn quick() -> Builder {
        Cluster::builder().set("dht.neighbour_delay_ms", 200).set("dht.replicate_interval_seconds", 3)
    }

    /// How many nodes there are, those that do not run included.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The numbers of the nodes that run.
    pub fn live(&self) -> Vec<usize> {
        (0..self.len()).filter(|&number| self.running[number]).collect()
    }

    /// The namespaces, if nodes have their own.
    pub fn hosts(&self) -> Option<&Hosts> {
        self.hosts.as_ref()
    }

    /// Kills a node as a crash of its machine would.
    pub fn kill9(&mut self, number: usize) {
        self.pin(number);
        self.running[number] = false;
        self.nodes[number].kill9();
    }

    /// Has a node hand over what others need, and end.
    pub fn stop(&mut self, number: usize) {
        self.pin(number);
        self.running[number] = false;
        self.nodes[number].terminate();
    }

    /// Starts a node again that was killed or stopped. It finds the network through any that runs.
    pub fn restart(&mut self, number: usize) {
        self.restart_all(&[number]);
    }

    /// Starts nodes again, all at once.
    pub fn restart_all(&mut self, numbers: &[usize]) {
        let live = self.live();
        let joins: Vec<&str> = live.iter().take(3).map(|&live| self.nodes[live].joins()[0].as_str()).collect();
        let joins = joins.join(",");
        std::thread::scope(|scope| {
            for (number, node) in self.nodes.iter_mut().enumerate() {
                if numbers.contains(&number) {
                    node.set("network.bootstrap", &joins);
                    scope.spawn(|| node.restart());
                }
            }
        });
        for &number in numbers {
            self.running[number] = true;
        }
    }

    /// A node that is started again listens where it did: others look for it there, and clients do.
    fn pin(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        let (address, resp) = (node.joins()[0].clone(), node.resp());
        let (listen, _id) = address.split_once("/p2p/").expect("an address to join at ends in a peer id");
        node.set("network.listen", listen);
        node.set("gateway.listen", resp);
    }

    /// How a node stands in the network.
    ///
    /// # Panics
    ///
    /// If it does not say.
    pub fn status(&self, number: usize) -> NetworkStatus {
        match self.nodes[number].ask(Command::Network) {
            Ok(Answer::Network(status)) => status,
            other => panic!("node {number} does not tell about its network: {other:?}"),
        }
    }

    /// Looks a key up, from a node.
    ///
    /// # Panics
    ///
    /// If the node does not answer.
    pub fn look_up(&self, number: usize, key: &str) -> Path {
        let key = Key::new(key.as_bytes()).expect("tests have short keys");
        match self.nodes[number].ask(Command::LookUp { key }) {
            Ok(Answer::Path(path)) => path,
            other => panic!("node {number} does not look up: {other:?}"),
        }
    }

    /// Has every node compare what it stores with its neighbours now.
    pub fn replicate(&self) {
        for number in self.live() {
            let answer = self.nodes[number].ask(Command::Replicate);
            assert!(matches!(answer, Ok(Answer::Done)), "node {number} does not replicate: {answer:?}");
        }
    }

    /// Waits until every node that runs knows all that do, and has settled among them.
    ///
    /// # Panics
    ///
    /// If that takes too long, with how each node stands.
    pub fn wait_until_joined(&self) {
        let live = self.live();
        // Beyond so many, a node rightly need not know all others.
        let enough = live.len().min(DENSE);
        let stands = |number: &usize| match self.nodes[*number].ask(Command::Network) {
            Ok(Answer::Network(status)) => status.known >= enough && status.settled,
            _ => false,
        };
        let mut open = live.clone();
        let joined = crate::wait::look(JOIN, || {
            open.retain(|number| !stands(number));
            open.is_empty().then_some(())
        });
        if joined.is_none() {
            let stand: Vec<_> = open.iter().map(|&number| self.nodes[number].ask(Command::Network)).collect();
            panic!("within {JOIN:?}, {} of {} nodes have not joined: {stand:?}", open.len(), live.len());
        }
    }

    /// Waits until nodes know that some have gone.
    pub fn wait_until_forgotten(&self, deadline: Duration) {
        let live = self.live();
        eventually(deadline, "nodes that have gone are forgotten", || {
            live.iter().all(|&number| self.status(number).known <= live.len())
        });
    }
}

impl Index<usize> for Cluster {
    type Output = Node;

    fn index(&self, number: usize) -> &Node {
        &self.nodes[number]
    }
}

impl IndexMut<usize> for Cluster {
    fn index_mut(&mut self, number: usize) -> &mut Node {
        &mut self.nodes[number]
    }
}
