//! `comet node`: from flags to the options of a node.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::failure::Failure;
use crate::config::{self, Assignment, ConfigError};
use crate::node::{self, Options};

/// Flags override the environment (COMET_SECTION__FIELD), which overrides the file, which overrides the defaults.
///
/// The node prints the address that it serves on when it is ready. SIGTERM and SIGINT let it finish its work and end; a
/// node of a network hands its objects over to others first.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration; `comet config` prints one to start from.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where everything is stored.
    #[arg(long, value_name = "DIR", default_value = "./comet-data", env = "COMET_DATA")]
    data: PathBuf,
    /// Where to listen for Redis clients; port 0 picks a free one. The same as `--set gateway.listen=`.
    #[arg(long, value_name = "ADDR:PORT")]
    resp: Option<SocketAddr>,
    /// Where to listen for other nodes, such as /ip4/0.0.0.0/tcp/7380 or /ip4/0.0.0.0/udp/7380/quic-v1; port 0 picks a
    /// free one. May be given several times. Without it the node stays alone. The same as `--set network.listen=`.
    #[arg(long, value_name = "MULTIADDR")]
    p2p: Vec<String>,
    /// A node to join, as it says itself: `joins at …`. May be given several times. Without it the node begins a network.
    /// The same as `--set network.bootstrap=`.
    #[arg(long, value_name = "MULTIADDR")]
    bootstrap: Vec<String>,
    /// Finishes and ends when standard input does, and so with the process that holds its other end.
    #[arg(long, hide = true)]
    until_stdin_closes: bool,
    /// Sets a field of the configuration; may be given several times.
    #[arg(long, value_name = "SECTION.FIELD=VALUE")]
    set: Vec<Assignment>,
}

/// Runs a node until it is told to stop.
pub(super) fn run(args: Args, json: bool) -> Result<(), Failure> {
    let mut assignments = args.set;
    if let Some(address) = args.resp {
        assignments.push(Assignment { field: "gateway.listen".to_owned(), value: address.to_string() });
    }
    for (field, addresses) in [("network.listen", args.p2p), ("network.bootstrap", args.bootstrap)] {
        if !addresses.is_empty() {
            assignments.push(Assignment { field: field.to_owned(), value: addresses.join(",") });
        }
    }
    let settings = config::load(args.config.as_deref(), std::env::vars_os(), &assignments)
        .map_err(|error| Failure::Usage(error.to_string()))?;
    let options = Options { settings, data: args.data, until_stdin_closes: args.until_stdin_closes, json };
    node::run(options).map_err(|error| match error.downcast_ref::<ConfigError>() {
        Some(wrong) => Failure::Usage(wrong.to_string()),
        None => Failure::Refused(format!("{error:#}")),
    })
}
