//! A node from its start to its end.

mod files;
mod network;
pub mod pages;

use std::io::{IsTerminal, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow};
use comet_kernel::contract::routing;
use comet_kernel::exit::Exit;
use comet_kernel::{Clock, Kernel, Settings};
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tracing_subscriber::EnvFilter;

use crate::config::ConfigError;
use crate::identity;
use crate::tree::{self, Medium, Node, StartError};

/// What a node needs to know.
#[derive(Clone, Debug)]
pub struct Options {
    /// The checked configuration.
    pub settings: Settings,
    /// The data directory.
    pub data: PathBuf,
    /// Whether the end of standard input lets the node finish its work and end: its parent has gone.
    pub until_stdin_closes: bool,
    /// Whether a program reads where the node serves.
    pub json: bool,
}

/// Runs a node until it is told to stop or cannot go on.
///
/// # Errors
///
/// Why the node did not start, or could not go on; a [`ConfigError`] if the configuration is to blame. What was
/// acknowledged is on the disk in any case.
pub fn run(options: Options) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&options.settings.log.filter)
        .with_context(|| format!("log.filter {:?} is not understood", options.settings.log.filter))?;
    let colours = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr);
    // What cannot be logged is lost: to say so on a standard error that is full or closed would end the node.
    log.log_internal_errors(false).init();
    actix::System::new().block_on(serve(options))
}

/// The admin socket of a node with this configuration.
pub fn socket(settings: &Settings, data: &Path) -> PathBuf {
    match settings.admin.socket.as_str() {
        "" => data.join("admin.sock"),
        socket => PathBuf::from(socket),
    }
}

/// What there is to say if whoever reaches the machine is served.
fn open_to_everyone(settings: &Settings) -> Option<String> {
    let listen: SocketAddr = settings.gateway.listen.parse().ok()?;
    let open = settings.gateway.users.is_empty() && !listen.ip().to_canonical().is_loopback();
    open.then(|| {
        format!(
            "gateway.listen is {listen} and gateway.users is empty: whoever reaches that address reads, replaces and \
             removes every object without a password; name users in the configuration, or listen on 127.0.0.1"
        )
    })
}

async fn serve(options: Options) -> anyhow::Result<()> {
    let Options { mut settings, data, until_stdin_closes, json } = options;
    if let Some(files) = files::raise() {
        let threads = tree::shards(&settings) as u64 + settings.gateway.threads;
        files::bound(&mut settings, files, threads).inspect(|less| tracing::warn!("{less}"));
    }
    open_to_everyone(&settings).inspect(|danger| tracing::warn!("{danger}"));
    comet_storage::prepare(&data, &settings.storage)?;
    let identity = identity::load_or_make(&data)?;
    let kernel = Kernel::new(Clock::machine());
    let _ends_with_the_runtime = actix::spawn(pages::grow(kernel.clock.clone()));
    let mut words = Words::listen(until_stdin_closes)?;
    let started = tree::start(&kernel, &settings, &data, &identity, Medium::SOCKETS).await;
    let mut node = started.map_err(|error| match error {
        StartError::Network(reason) => ConfigError::Network(reason).into(),
        StartError::Actor(reason) => anyhow!(reason),
    })?;
    let shutdown = node.shutdown.clone();
    tokio::select! {
        exit = node.tree.failed() => return Err(anyhow!("the node cannot go on: {exit}")),
        () = shutdown.notified() => {}
        () = words.stop() => {}
        served = open(&kernel, &settings, node.network.as_ref(), |listening| {
            let place = Place { data: &data, socket: &socket(&settings, &data), joins_at: listening, resp: node.resp };
            if json { place.document() } else { place.lines() }
        }) => served?,
    }
    tracing::info!("stopping");
    tokio::select! {
        exit = close(&kernel, &settings, node) => match exit {
            Exit::Stopped => Ok(()),
            exit => Err(anyhow!("the node did not stop as it should: {exit}")),
        },
        // Whoever asks twice does not want to wait; what was acknowledged is on the disk all the same.
        _ = words.interrupt.recv() => Err(anyhow!("stopped at once, without writing out what handlers changed last")),
    }
}

/// Waits until the node has joined its network, if it has one, has it said where the node serves, and stays.
async fn open(
    kernel: &Kernel,
    settings: &Settings,
    network: Option<&routing::Service>,
    announce: impl FnOnce(&[String]) -> String,
) -> anyhow::Result<()> {
    let listening = match network {
        Some(network) => network::join(kernel, settings, network).await.listening,
        None => Vec::new(),
    };
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{}", announce(&listening))?;
    stdout.flush()?;
    drop(stdout);
    std::future::pending().await
}

/// Where a node serves.
#[derive(Debug)]
struct Place<'a> {
    data: &'a Path,
    socket: &'a Path,
    joins_at: &'a [String],
    resp: SocketAddr,
}

impl Place<'_> {
    /// For people. The address is the last word, for whoever starts nodes on free ports.
    fn lines(&self) -> String {
        let mut lines = vec![format!("data in {}, admin socket {}", self.data.display(), self.socket.display())];
        lines.extend(self.joins_at.iter().map(|address| format!("joins at {address}")));
        lines.push(format!("serving on {}", self.resp));
        lines.join("\n")
    }

    /// For programs: one document on one line.
    fn document(&self) -> String {
        let (data, socket) = (self.data.to_string_lossy(), self.socket.to_string_lossy());
        json!({ "data": data, "socket": socket, "joins_at": self.joins_at, "resp": self.resp }).to_string()
    }
}

/// Hands over what others need, and stops every actor.
async fn close(kernel: &Kernel, settings: &Settings, node: Node) -> Exit {
    if let Some(network) = &node.network {
        network::drain(kernel, settings, network).await;
    }
    node.tree.stop().await
}

/// The words of those who may stop the node from outside.
struct Words {
    interrupt: Signal,
    terminate: Signal,
    parent_gone: Arc<Notify>,
}

impl Words {
    fn listen(until_stdin_closes: bool) -> anyhow::Result<Self> {
        let interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
        let terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        let parent_gone = Arc::new(Notify::new());
        if until_stdin_closes {
            let gone = parent_gone.clone();
            // The thread ends with the process, for a read cannot be taken back.
            std::thread::spawn(move || {
                let mut nothing_is_meant_by_it = [0; 64];
                while matches!(std::io::stdin().read(&mut nothing_is_meant_by_it), Ok(1..)) {}
                gone.notify_one();
            });
        }
        Ok(Words { interrupt, terminate, parent_gone })
    }

    /// Resolves when somebody wants the node to stop.
    async fn stop(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = self.parent_gone.notified() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use comet_kernel::settings::User;

    #[test]
    fn a_node_without_users_says_so_if_it_listens_to_more_than_its_own_machine() {
        let mut settings = Settings::default();
        let mut warned = |listen: &str| {
            listen.clone_into(&mut settings.gateway.listen);
            open_to_everyone(&settings).is_some_and(|warning| warning.contains(listen))
        };
        for listen in ["0.0.0.0:7379", "[::]:7379", "192.0.2.1:1", "[::ffff:192.0.2.1]:1"] {
            assert!(warned(listen), "{listen}");
        }
        for listen in ["127.0.0.1:7379", "[::1]:7379", "127.1.2.3:1", "[::ffff:127.0.0.1]:1"] {
            assert!(!warned(listen), "{listen}");
        }
        let user = User { name: "ann".to_owned(), password_sha256: "0".repeat(64), operator: false };
        settings.gateway.users.push(user);
        "0.0.0.0:7379".clone_into(&mut settings.gateway.listen);
        assert_eq!(open_to_everyone(&settings), None);
    }
}
