//! Network namespaces: every node on a host of its own, as far as the network is concerned.
//!
//! ```text
//!   hub: bridge 0   bridge 1          the links of one side of a partition move to bridge 1
//!         | |   |
//!        n0 n1  n2                    10.73.1.1, 10.73.2.1, … each in an address group of its own
//! ```
//!
//! Nothing is made outside namespaces that are made here, and these are gone when the value is dropped, or at the next
//! use by another process if this one was killed.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::node::behind;

/// Distinguishes those of one process.
static MADE: AtomicUsize = AtomicUsize::new(0);
/// What all names begin with.
const PREFIX: &str = "comet-";

/// Hosts that can all reach each other, until they are parted.
#[derive(Debug)]
pub struct Hosts {
    hub: String,
    hosts: Vec<Host>,
}

/// One host. Copies are the same host.
#[derive(Clone, Debug)]
pub struct Host {
    name: String,
    number: usize,
}

impl Hosts {
    /// So many hosts, or none if this machine does not let us: it takes root and `iproute2`. Where
    /// `COMET_REQUIRE_NAMESPACES` is 1, it panics instead.
    pub fn new(count: usize) -> Option<Self> {
        sweep();
        let hub = format!("{PREFIX}{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        // From here on, what there is goes when this value does.
        let mut hosts = Hosts { hub, hosts: Vec::new() };
        match hosts.make(count) {
            Ok(()) => Some(hosts),
            Err(reason) => {
                let required = std::env::var("COMET_REQUIRE_NAMESPACES").is_ok_and(|flag| flag == "1");
                assert!(!required, "no network namespaces, and COMET_REQUIRE_NAMESPACES=1 asks for them: {reason}");
                println!("skipped: needs network namespaces: {reason}");
                None
            }
        }
    }

    fn make(&mut self, count: usize) -> Result<(), String> {
        ip(&["netns", "add", &self.hub])?;
        for bridge in ["bridge0", "bridge1"] {
            self.at_hub(&["link", "add", bridge, "type", "bridge"])?;
            self.at_hub(&["link", "set", bridge, "up"])?;
        }
        for number in 0..count {
            let host = Host { name: format!("{}-{number}", self.hub), number };
            let (link, address) = (host.link(), format!("{}/16", host.address()));
            ip(&["netns", "add", &host.name])?;
            self.hosts.push(host.clone());
            self.at_hub(&["link", "add", &link, "type", "veth", "peer", "name", "eth0", "netns", &host.name])?;
            self.at_hub(&["link", "set", &link, "master", "bridge0", "up"])?;
            ip(&["-n", &host.name, "address", "add", &address, "dev", "eth0"])?;
            ip(&["-n", &host.name, "link", "set", "eth0", "up"])?;
            ip(&["-n", &host.name, "link", "set", "lo", "up"])?;
        }
        Ok(())
    }

    /// One of the hosts.
    pub fn host(&self, number: usize) -> Host {
        self.hosts[number].clone()
    }

    /// Cuts these hosts off from the others; they still reach each other.
    pub fn part(&self, numbers: &[usize]) {
        self.plug(numbers, "bridge1");
    }

    /// Lets all hosts reach each other again.
    pub fn heal(&self) {
        let all: Vec<usize> = (0..self.hosts.len()).collect();
        self.plug(&all, "bridge0");
    }

    fn plug(&self, numbers: &[usize], bridge: &str) {
        for &number in numbers {
            self.at_hub(&["link", "set", &self.hosts[number].link(), "master", bridge]).expect("the link is there");
        }
    }

    /// Delays everything that reaches a host and drops a part of it. None if the machine's kernel cannot do that.
    pub fn disturb(&self, number: usize, milliseconds: u32, loss_percent: u32) -> Option<()> {
        let (delay, loss) = (format!("{milliseconds}ms"), format!("{loss_percent}%"));
        let link = self.hosts[number].link();
        let words = ["netns", "exec", &self.hub, "tc", "qdisc", "replace", "dev", &link, "root", "netem"];
        match ip(&[&words[..], &["delay", &delay, "loss", &loss]].concat()) {
            Ok(()) => Some(()),
            Err(reason) => {
                println!("skipped: needs netem: {reason}");
                None
            }
        }
    }

    fn at_hub(&self, words: &[&str]) -> Result<(), String> {
        ip(&[&["-n", &self.hub], words].concat())
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for name in self.hosts.iter().map(|host| &host.name).chain([&self.hub]) {
            // What was never made cannot be taken away.
            let _gone = ip(&["netns", "delete", name]);
        }
    }
}

impl Host {
    /// Its address. Every host has an address group (/24) to itself.
    pub fn address(&self) -> String {
        format!("10.73.{}.1", self.number + 1)
    }

    /// Where a node on it listens for others.
    pub fn listen(&self) -> String {
        format!("/ip4/{}/tcp/7380", self.address())
    }

    /// The hub's end of its cable.
    fn link(&self) -> String {
        format!("n{}", self.number)
    }

    /// The same command, on this host.
    pub fn command(&self, command: &Command) -> Command {
        let mut namespace = Command::new("ip");
        namespace.args(["netns", "exec", &self.name]);
        behind(namespace, command)
    }

    /// Does something on this host, such as making a connection: a socket stays where it was made.
    ///
    /// # Panics
    ///
    /// If the host has gone, or what is done panics.
    pub fn within<T: Send>(&self, action: impl FnOnce() -> T + Send) -> T {
        let file = File::open(Path::new("/run/netns").join(&self.name)).expect("the namespace is there");
        std::thread::scope(|scope| {
            let there = scope.spawn(move || {
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).expect("root may do this");
                action()
            });
            there.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

/// Takes away what processes left that were killed.
fn sweep() {
    let Ok(entries) = std::fs::read_dir("/run/netns") else { return };
    for name in entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()) {
        let process = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            let _gone = ip(&["netns", "delete", &name]);
        }
    }
}

fn ip(words: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(words).output().map_err(|error| format!("iproute2 is missing: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("ip {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}
