//! OpenDHT for comparison: a network of `dhtnode` processes on the loopback interface, and the driver that measures it.
//!
//! The driver is C++, because OpenDHT's library is: `opendht/driver.cpp`, compiled here. It needs the packages `dhtnode`,
//! `libopendht-dev` and `g++`.

use std::collections::HashMap;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail};
use tempfile::TempDir;

/// What tells this network from others that may be within reach.
const NETWORK: &str = "7380";

/// A network of `dhtnode` processes. They are killed when it is dropped.
#[derive(Debug)]
pub(crate) struct DhtNodes {
    children: Vec<Child>,
    port: u16,
    driver: TempDir,
}

/// What the driver measured, by its names.
#[derive(Debug)]
pub(crate) struct Figures(HashMap<String, f64>);

impl Figures {
    /// A figure: seconds or operations a second.
    pub(crate) fn get(&self, name: &str) -> anyhow::Result<f64> {
        self.0.get(name).copied().with_context(|| format!("the driver of OpenDHT did not print {name}"))
    }
}

impl DhtNodes {
    /// Starts so many nodes, each of which knows the first.
    pub(crate) fn start(count: usize) -> anyhow::Result<Self> {
        let mut nodes = DhtNodes { children: Vec::new(), port: free_port()?, driver: compile()? };
        for number in 0..count {
            let port = if number == 0 { nodes.port } else { free_port()? };
            let mut command = Command::new("dhtnode");
            command.args(["-s", "-n", NETWORK, "-p", &port.to_string()]);
            if number > 0 {
                command.args(["-b", &format!("127.0.0.1:{}", nodes.port)]);
            }
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            nodes.children.push(command.spawn().context("dhtnode cannot be started; is it installed?")?);
        }
        Ok(nodes)
    }

    /// Puts and gets: so many one after the other, and four times as many with 32 at once.
    pub(crate) fn measure(&self, operations: usize) -> anyhow::Result<Figures> {
        let mut command = Command::new(self.driver.path().join("driver"));
        let output = command.args([&self.port.to_string(), NETWORK, &operations.to_string()]).output()?;
        if !output.status.success() {
            bail!("the driver of OpenDHT: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let words = text.lines().filter_map(|line| line.split_once(' '));
        let figures =
            Figures(words.filter_map(|(name, figure)| Some((name.to_owned(), figure.parse().ok()?))).collect());
        let failed = figures.get("failed")?;
        if failed > operations as f64 / 10.0 {
            bail!("{failed} operations of OpenDHT failed");
        }
        Ok(figures)
    }

    /// The process ids, to ask the machine about them.
    pub(crate) fn pids(&self) -> impl Iterator<Item = u32> {
        self.children.iter().map(Child::id)
    }
}

impl Drop for DhtNodes {
    fn drop(&mut self) {
        for child in &mut self.children {
            // It may have ended already; then there is nothing to kill.
            let _ended = child.kill();
            let _status = child.wait();
        }
    }
}

/// The driver in a folder of its own.
fn compile() -> anyhow::Result<TempDir> {
    let folder = TempDir::with_prefix("comet-bench-")?;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("opendht/driver.cpp");
    let libraries = ["opendht", "gnutls", "jsoncpp", "fmt", "ssl", "crypto", "pthread"].map(|name| format!("-l{name}"));
    let mut command = Command::new("g++");
    command.args(["-O2", "-std=c++17"]).arg(source).arg("-o").arg(folder.path().join("driver")).args(libraries);
    let output = command.output().context("g++ cannot be run; is it installed?")?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        let reason = reason.lines().find(|line| line.contains("error")).unwrap_or_default();
        bail!("the driver of OpenDHT does not compile ({reason}); is libopendht-dev installed?");
    }
    Ok(folder)
}

fn free_port() -> anyhow::Result<u16> {
    Ok(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
