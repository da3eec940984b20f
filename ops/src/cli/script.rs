//! `comet script`: scripts before they reach a node, and the named scripts of one.

mod check;
mod library;
mod sign;

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use clap::Subcommand;
use comet_aso::sandbox::{Budgets, Node, Sandbox};
use comet_kernel::contract::admin::Command;
use comet_kernel::neighbours::Neighbours;
use comet_kernel::{Clock, NodeId};

use super::admin::{Address, Admin};
use super::ctl::order;
use super::failure::Failure;
use super::output::Output;

/// `check`, `sign`, `functions` and `definitions` need no node.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    address: Address,
    #[command(subcommand)]
    command: Script,
}

#[derive(Debug, Subcommand)]
enum Script {
    /// Find the errors of scripts without running them. Ends with code 1 if there are any.
    Check {
        /// The files; `-` is standard input.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Sign a script: nodes that trust the publisher let it reach any key. The file is written anew, with the signature in
    /// its last line; every later change needs a new one.
    Sign {
        /// The script.
        file: PathBuf,
        /// The publisher's key, as `comet keys new` makes it.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
    /// Load a version of a named script into the node. Objects that follow the name take it over.
    Load {
        /// The script's name.
        #[arg(required_unless_present = "all", requires = "file")]
        name: Option<String>,
        /// The source; `-` is standard input.
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
        /// Load every NAME.rhai of a folder as NAME.
        #[arg(long, value_name = "DIR", conflicts_with_all = ["name", "file"])]
        all: Option<PathBuf>,
    },
    /// The node's named scripts.
    List,
    /// The source of a named script.
    Show(Named),
    /// Forget a name. Objects that follow it stay with the version they have.
    Drop(Named),
    /// Go back to the former version of a name.
    Rollback(Named),
    /// Every function that a script can see.
    Functions,
    /// The definition file for editors.
    Definitions,
}

#[derive(Debug, clap::Args)]
struct Named {
    /// The script's name.
    name: String,
}

/// Runs a command.
pub(super) fn run(args: Args, output: &mut Output) -> Result<(), Failure> {
    let connect = || Admin::connect(&args.address);
    match args.command {
        Script::Check { files } => check::check(&files, output),
        Script::Sign { file, key } => sign::sign(&file, &key, output),
        Script::Load { all: Some(folder), .. } => library::load_all(&mut connect()?, &folder, output),
        Script::Load { name: Some(name), file: Some(file), .. } => library::load(&mut connect()?, name, &file, output),
        Script::Load { .. } => unreachable!("a name comes with a file, and without one there is a folder"),
        Script::List => library::list(&mut connect()?, output),
        Script::Show(Named { name }) => library::show(&mut connect()?, name, output),
        Script::Drop(Named { name }) => {
            order(&mut connect()?, Command::DropScript { name: name.clone() }, &format!("{name} dropped"), output)
        }
        Script::Rollback(Named { name }) => library::rollback(&mut connect()?, name, output),
        Script::Functions => {
            let functions = sandbox().functions();
            if output.json { output.json(&functions) } else { output.text(&(functions.join("\n") + "\n")) }
        }
        Script::Definitions => {
            let definitions = sandbox().definitions();
            if output.json { output.json(&definitions) } else { output.text(&definitions) }
        }
    }
}

/// A sandbox as nodes have them, on no node.
fn sandbox() -> Sandbox {
    let node = Node {
        id: NodeId::from_public_key(&[0; 32]),
        ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
        neighbours: Neighbours::none(),
    };
    Sandbox::new(Budgets::default(), node, Clock::machine())
}
