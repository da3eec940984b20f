//! One node of a demo: its process, and how to reach it.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::Duration;

use super::End;
use super::interrupt::Interrupt;
use crate::cli::failure::Failure;

/// How long a node may take to serve.
const START: Duration = Duration::from_secs(60);
/// How long it may take to end by itself.
const STOP: Duration = Duration::from_secs(10);
/// How long between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// Lines of a node's output that wait to be read. It says fewer.
const LINES: usize = 64;
/// Lines of a node's log that explain why it failed.
const TAIL: usize = 8;

/// A node of the demo.
pub(super) struct Member {
    /// Counted from 1.
    pub(super) number: usize,
    /// Its data directory.
    pub(super) data: PathBuf,
    /// Where it serves Redis clients, once it does.
    pub(super) resp: SocketAddr,
    /// What others join at, once it listens.
    pub(super) joins: String,
    child: Child,
    log: PathBuf,
    lines: Receiver<String>,
}

impl Member {
    /// Starts a node. It lives until its standard input is closed, and so never longer than this process.
    pub(super) fn spawn(number: usize, folder: &Path, seed: Option<&str>) -> Result<Self, Failure> {
        let cannot = |error| Failure::Unavailable(format!("cannot start node {number}: {error}"));
        let (data, log) = (folder.join(format!("node-{number}")), folder.join(format!("node-{number}.log")));
        let mut command = Command::new(std::env::current_exe().map_err(cannot)?);
        // What configures the user's own node is not meant for these.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("COMET_")) {
            command.env_remove(name);
        }
        command.args(["node", "--until-stdin-closes", "--resp", "127.0.0.1:0", "--p2p", "/ip4/127.0.0.1/tcp/0"]);
        command.args(["--set", "aso.shards=1", "--set", "dht.drain_seconds=0", "--set", "log.filter=warn"]);
        if let Some(seed) = seed {
            command.args(["--bootstrap", seed]);
        }
        command.arg("--data").arg(&data).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(File::create(&log).map_err(cannot)?).spawn().map_err(cannot)?;
        let lines = follow(child.stdout.take().expect("it is piped"));
        let resp = SocketAddr::from(([127, 0, 0, 1], 0));
        Ok(Member { number, data, resp, joins: String::new(), child, log, lines })
    }

    /// Waits until the node serves.
    pub(super) fn wait_until_it_serves(&mut self, interrupt: &Interrupt) -> Result<(), End> {
        for _ in 0..START.as_millis() / LOOK.as_millis() {
            match self.lines.try_recv() {
                Ok(line) => {
                    if let Some(address) = line.strip_prefix("joins at ") {
                        address.clone_into(&mut self.joins);
                    } else if let Some(resp) = line.strip_prefix("serving on ").and_then(|resp| resp.parse().ok()) {
                        self.resp = resp;
                        return Ok(());
                    }
                }
                Err(TryRecvError::Empty) => interrupt.pause(LOOK)?,
                Err(TryRecvError::Disconnected) => return Err(self.failure("has ended").into()),
            }
        }
        Err(self.failure("does not serve in time").into())
    }

    /// Kills the node as a crash of its machine would. Its process id.
    pub(super) fn kill(&mut self) -> u32 {
        // It may have ended already; then there is nothing to kill.
        let _ended = self.child.kill();
        let _status = self.child.wait();
        self.child.id()
    }

    /// Tells the node to end, and does not wait for it.
    pub(super) fn let_go(&mut self) {
        drop(self.child.stdin.take());
    }

    /// What has gone wrong, and the last words of the node.
    pub(super) fn failure(&self, what: &str) -> Failure {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let last = match &lines[lines.len().saturating_sub(TAIL)..] {
            [] => String::new(),
            last => format!("; its last words: {}", last.join(" | ")),
        };
        Failure::Unavailable(format!("node {} {what}{last}", self.number))
    }
}

impl Drop for Member {
    /// Nothing of the node is left: one that does not end by itself is killed.
    fn drop(&mut self) {
        self.let_go();
        for _ in 0..STOP.as_millis() / LOOK.as_millis() {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(LOOK);
        }
        self.kill();
    }
}

/// The lines that a node prints.
fn follow(stdout: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = sync_channel(LINES);
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
