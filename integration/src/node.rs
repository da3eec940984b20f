//! A node for a test: the real binary in a process of its own, on a free port, with a data directory of its own.
//!
//! It is killed when it is dropped. What it writes to standard error is kept, as far as it is not too much.

mod memory;
mod output;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use comet_admin::Client;
use comet_kernel::contract::admin::{Answer, Command as Ask};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

pub use self::memory::{anonymous, resident};
use self::output::{Kept, Lines};
use crate::cluster::hosts::Host;
use crate::wait::look;

/// How long a node may take to serve. A debug build on a busy machine, with a journal to replay, is the worst case.
const START: Duration = Duration::from_secs(60);
/// How long a node may take to finish its work.
const STOP: Duration = Duration::from_secs(60);
/// How long a node that writes no more may take to be gone.
const END: Duration = Duration::from_secs(10);
/// How long a client waits for an answer before the test fails.
const PATIENCE: Duration = Duration::from_secs(60);
/// The last words of the line that tells where a node serves.
const SERVING: &str = "serving on ";
/// The words before an address that other nodes reach it at.
const JOINS: &str = "joins at ";

/// A node that runs, or has been ended by the test.
#[derive(Debug)]
pub struct Node {
    settings: Vec<String>,
    data: PathBuf,
    host: Option<Host>,
    ulimit: Option<String>,
    running: Option<Running>,
    // Removed after the child has ended: fields are dropped in this order.
    _temporary: Option<TempDir>,
}

/// What a node is started with.
#[derive(Debug, Default)]
pub struct Builder {
    settings: Vec<String>,
    data: Option<PathBuf>,
    host: Option<Host>,
    ulimit: Option<String>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    resp: SocketAddr,
    joins: Vec<String>,
    stderr: Kept,
}

impl Builder {
    /// Sets a field of the configuration: `section.field`.
    pub fn set(mut self, field: &str, value: impl std::fmt::Display) -> Self {
        self.settings.push(format!("{field}={value}"));
        self
    }

    /// A data directory that stays when the node is dropped. Without it, there is a temporary one.
    pub fn data(mut self, folder: impl Into<PathBuf>) -> Self {
        self.data = Some(folder.into());
        self
    }

    /// Runs the node in a network namespace of its own.
    pub fn host(mut self, host: Host) -> Self {
        self.host = Some(host);
        self
    }

    /// Starts the node behind the shell's `ulimit` with these words, such as `-n 1024`.
    pub fn ulimit(mut self, words: &str) -> Self {
        self.ulimit = Some(words.to_owned());
        self
    }

    /// Starts the node and waits until it serves.
    ///
    /// # Panics
    ///
    /// If it does not, with what it wrote to standard error.
    pub fn start(self) -> Node {
        let temporary = match self.data {
            Some(_) => None,
            None => Some(TempDir::with_prefix("comet-node-").expect("the machine has a folder for temporary files")),
        };
        let data = self.data.or_else(|| temporary.as_ref().map(|folder| folder.path().join("data")));
        let data = data.expect("one of the two is there");
        let Builder { settings, host, ulimit, .. } = self;
        let mut node = Node { settings, data, host, ulimit, running: None, _temporary: temporary };
        node.restart();
        node
    }

    /// Starts a node that is expected not to serve: how it ended, and what it wrote to standard error.
    ///
    /// # Panics
    ///
    /// If it serves, or neither serves nor ends in time.
    pub fn start_in_vain(self) -> (ExitStatus, String) {
        let data = self.data.expect("a start in vain is about a folder that is there");
        match Running::start(&data, &self.settings, comet()) {
            Err(Failure::Ended { status, stderr }) => (status, stderr),
            Err(late) => panic!("{late}"),
            Ok(running) => panic!("it serves on {}", running.resp),
        }
    }
}

impl Node {
    /// What a node is started with: a free port, a temporary folder, the defaults.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A node with the defaults.
    pub fn start() -> Node {
        Node::builder().start()
    }

    /// Where it serves Redis clients.
    pub fn resp(&self) -> SocketAddr {
        self.running().resp
    }

    /// The addresses at which other nodes join it; none if it is alone.
    pub fn joins(&self) -> &[String] {
        &self.running().joins
    }

    /// Sets a field of the configuration, from the next start on.
    pub fn set(&mut self, field: &str, value: impl std::fmt::Display) {
        self.settings.push(format!("{field}={value}"));
    }

    /// What the node answers on its admin socket, or why it does not.
    ///
    /// # Errors
    ///
    /// The text of whatever went wrong.
    pub fn ask(&self, ask: Ask) -> Result<Answer, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let socket = self.socket();
        runtime.expect("the machine has room for a runtime").block_on(async {
            let mut client = Client::connect(&socket).await.map_err(|error| error.to_string())?;
            client.ask(ask).await.map_err(|error| error.to_string())
        })
    }

    /// Its data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Its admin socket.
    pub fn socket(&self) -> PathBuf {
        self.data.join("admin.sock")
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.running().child.id()
    }

    /// Whether its process lives.
    pub fn lives(&mut self) -> bool {
        self.running.as_mut().is_some_and(|running| matches!(running.child.try_wait(), Ok(None)))
    }

    /// A connection that speaks RESP 3.
    pub fn connect(&self) -> redis::Connection {
        self.connection("?protocol=resp3")
    }

    /// A connection that speaks RESP 2.
    pub fn connect_resp2(&self) -> redis::Connection {
        self.connection("")
    }

    /// How a `redis` client of any kind finds the node; it speaks RESP 3.
    pub fn client(&self) -> redis::Client {
        redis::Client::open(format!("redis://{}/?protocol=resp3", self.resp())).expect("the address is well-formed")
    }

    fn connection(&self, options: &str) -> redis::Connection {
        let client = redis::Client::open(format!("redis://{}/{options}", self.resp())).expect("well-formed");
        let connect = || client.get_connection_with_timeout(PATIENCE).expect("a node that serves takes connections");
        let connection = match &self.host {
            Some(host) => host.within(connect),
            None => connect(),
        };
        connection.set_read_timeout(Some(PATIENCE)).expect("not zero");
        connection.set_write_timeout(Some(PATIENCE)).expect("not zero");
        connection
    }

    /// What the command line prints when it is run with these words against this node.
    ///
    /// # Panics
    ///
    /// If it ends with another code than 0.
    pub fn comet(&self, words: &[&str]) -> String {
        let Output { status, stdout, stderr } = self.try_comet(words);
        assert!(status.success(), "comet {words:?}: {status}: {}", String::from_utf8_lossy(&stderr));
        String::from_utf8(stdout).expect("the command line prints text")
    }

    /// Runs the command line with these words against this node, however it ends.
    pub fn try_comet(&self, words: &[&str]) -> Output {
        let mut command = comet();
        command.args(words).env("COMET_DATA", &self.data);
        if let Some(running) = &self.running {
            command.env("COMET_NODE", running.resp.to_string());
        }
        command.output().expect("the binary has been built")
    }

    /// What `comet ctl inspect` prints with these words once the actor tells of its work: a busy machine makes one silent
    /// whose answer takes longer than a glance.
    ///
    /// # Panics
    ///
    /// If the actor stays silent.
    pub fn inspect(&self, words: &[&str]) -> String {
        let words = [&["ctl", "inspect"], words].concat();
        let mut told = String::new();
        let speaks = look(PATIENCE, || {
            told = self.comet(&words);
            let silent = told.contains("\"Silent\"") || told.contains("none: ");
            (!silent).then_some(())
        });
        assert!(speaks.is_some(), "it tells nothing of its work: {told}");
        told
    }

    /// One of the figures that an actor tells of its work.
    ///
    /// # Panics
    ///
    /// If there is no such figure.
    pub fn figure(&self, actor: &str, kind: &str, name: &str) -> serde_json::Value {
        let json = self.inspect(&[actor, "--json"]);
        let told: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
        let figure = told["figures"][0][kind].get(name);
        figure.unwrap_or_else(|| panic!("no {kind} {name} in {json}")).clone()
    }

    /// Bytes of memory that are the node's own and resident: without the pages of files.
    pub fn rss(&self) -> u64 {
        anonymous(self.pid())
    }

    /// The most bytes that were resident since the last [`Node::forget_peak`], or the start.
    pub fn peak_rss(&self) -> u64 {
        memory::peak(self.pid())
    }

    /// Has the peak begin anew.
    pub fn forget_peak(&self) {
        memory::forget_peak(self.pid());
    }

    /// What it wrote to standard error since it was started last: the last megabyte.
    pub fn stderr(&self) -> String {
        self.running().stderr.text()
    }

    /// Kills it as a crash of the machine would, without a chance to write anything.
    pub fn kill9(&mut self) {
        let mut running = self.running.take().expect("it runs");
        running.kill();
    }

    /// Asks it to finish its work and end.
    ///
    /// # Panics
    ///
    /// If it does not end in time, or not with code 0.
    pub fn terminate(&mut self) {
        let mut running = self.running.take().expect("it runs");
        running.signal(Signal::TERM);
        match running.wait(STOP) {
            Some(status) if status.success() => {}
            ended => panic!("SIGTERM ended it with {ended:?}: {}", running.stderr.text()),
        }
    }

    /// Starts it again on the same data and with the same settings, on another port. Kills it first if it runs.
    ///
    /// # Panics
    ///
    /// If it does not serve.
    pub fn restart(&mut self) {
        self.running = None;
        let mut command = comet();
        if let Some(words) = &self.ulimit {
            let mut shell = Command::new("sh");
            shell.args(["-c", &format!("ulimit {words} && exec \"$0\" \"$@\"")]);
            command = behind(shell, &command);
        }
        if let Some(host) = &self.host {
            command = host.command(&command);
        }
        let running = Running::start(&self.data, &self.settings, command);
        self.running = Some(running.unwrap_or_else(|failure| panic!("{failure}")));
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("the test has not ended it")
    }
}

/// The command line as users have it, without anything of this process's environment that would configure it.
///
/// # Panics
///
/// If the binary has not been built: `cargo test` and `cargo bench` do that, `cargo run --bin` does not.
pub fn comet() -> Command {
    let mut command = Command::new(binary());
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("COMET_")) {
        command.env_remove(name);
    }
    command
}

/// A command whose last words are another command, in that one's environment.
pub(crate) fn behind(mut first: Command, command: &Command) -> Command {
    first.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => first.env(name, value),
            None => first.env_remove(name),
        };
    }
    first
}

/// The binary next to the running test, or one folder up: tests are built into `deps`.
fn binary() -> PathBuf {
    let own = std::env::current_exe().expect("a process knows its own file");
    let found = own.ancestors().skip(1).take(2).map(|folder| folder.join("comet-under-test")).find(|it| it.exists());
    found.expect("there is a binary next to this one: cargo build -p comet-integration --bins")
}

/// Why a node does not serve.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the node ended instead of serving: {status}: {stderr}")]
    Ended { status: ExitStatus, stderr: String },
    #[error("the node does not serve within {START:?}: {stderr}")]
    Late { stderr: String },
}

impl Running {
    fn start(data: &Path, settings: &[String], mut command: Command) -> Result<Running, Failure> {
        command.args(["node", "--set", "gateway.listen=127.0.0.1:0", "--data"]).arg(data);
        for setting in settings {
            command.args(["--set", setting]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary has been built");
        let lines = Lines::follow(child.stdout.take().expect("it is piped"));
        let stderr = Kept::follow(child.stderr.take().expect("it is piped"));
        // The address is not known yet; from here on the process is killed with its owner.
        let mut running = Running { child, resp: SocketAddr::from(([127, 0, 0, 1], 0)), joins: Vec::new(), stderr };
        let mut joins = Vec::new();
        let served = lines.find(START, |line| {
            joins.extend(line.strip_prefix(JOINS).map(str::to_owned));
            line.strip_prefix(SERVING)?.parse().ok()
        });
        match served {
            Some(resp) => {
                (running.resp, running.joins) = (resp, joins);
                Ok(running)
            }
            // Its output has ended, or it takes too long.
            None => Err(match running.wait(END) {
                Some(status) => Failure::Ended { status, stderr: running.stderr.last_words() },
                None => Failure::Late { stderr: running.stderr.text() },
            }),
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("a child that nobody has waited for can be signalled");
    }

    fn wait(&mut self, deadline: Duration) -> Option<ExitStatus> {
        look(deadline, || self.child.try_wait().expect("it is a child"))
    }

    fn kill(&mut self) {
        // It may have ended already; then there is nothing to kill.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}
