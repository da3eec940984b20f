//! `comet node`: from flags to the options of a node.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::failure::Failure;
use crate::config::{self, Assignment};
use crate::node::{self, Options};

/// Flags override the environment (COMET_SECTION__FIELD), which overrides the file, which overrides the defaults.
///
/// The node prints the address that it serves on when it is ready. SIGTERM and SIGINT let it finish its work and end.
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
    /// Sets a field of the configuration; may be given several times.
    #[arg(long, value_name = "SECTION.FIELD=VALUE")]
    set: Vec<Assignment>,
}

/// Runs a node until it is told to stop.
pub(super) fn run(args: Args) -> Result<(), Failure> {
    let mut assignments = args.set;
    if let Some(address) = args.resp {
        assignments.push(Assignment { field: "gateway.listen".to_owned(), value: address.to_string() });
    }
    let settings = config::load(args.config.as_deref(), std::env::vars_os(), &assignments)
        .map_err(|error| Failure::Usage(error.to_string()))?;
    node::run(Options { settings, data: args.data }).map_err(|error| Failure::Refused(format!("{error:#}")))
}
