//! A node from its start to its end.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use comet_kernel::exit::Exit;
use comet_kernel::{Clock, Kernel, Settings};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::identity;
use crate::tree::{self, Node};

/// What a node needs to know.
#[derive(Clone, Debug)]
pub struct Options {
    /// The checked configuration.
    pub settings: Settings,
    /// The data directory.
    pub data: PathBuf,
}

/// Runs a node until it is told to stop or cannot go on.
///
/// # Errors
///
/// Why the node did not start, or could not go on. What was acknowledged is on the disk in either case.
pub fn run(options: Options) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&options.settings.log.filter)
        .with_context(|| format!("log.filter {:?} is not understood", options.settings.log.filter))?;
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
    actix::System::new().block_on(serve(options))
}

/// The admin socket of a node with this configuration.
pub fn socket(settings: &Settings, data: &Path) -> PathBuf {
    match settings.admin.socket.as_str() {
        "" => data.join("admin.sock"),
        socket => PathBuf::from(socket),
    }
}

async fn serve(options: Options) -> anyhow::Result<()> {
    let Options { settings, data } = options;
    comet_storage::prepare(&data, &settings.storage)?;
    let id = identity::load_or_make(&data)?;
    let kernel = Kernel::new(Clock::machine());
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let socket = socket(&settings, &data);
    let mut node = tree::start(&kernel, &settings, &data, &socket, &id).await.map_err(|reason| anyhow!(reason))?;
    announce(&node, &data, &socket)?;
    tokio::select! {
        exit = node.tree.failed() => return Err(anyhow!("the node cannot go on: {exit}")),
        () = node.shutdown.notified() => {}
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    tracing::info!("stopping");
    tokio::select! {
        exit = node.tree.stop() => match exit {
            Exit::Stopped => Ok(()),
            exit => Err(anyhow!("the node did not stop as it should: {exit}")),
        },
        // Whoever asks twice does not want to wait; what was acknowledged is on the disk all the same.
        _ = interrupt.recv() => Err(anyhow!("stopped at once, without writing out what handlers changed last")),
    }
}

/// Says where the node serves. The address is the last word, for whoever starts nodes on free ports.
fn announce(node: &Node, data: &Path, socket: &Path) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "data in {}, admin socket {}", data.display(), socket.display())?;
    writeln!(stdout, "serving on {}", node.resp)?;
    Ok(stdout.flush()?)
}
