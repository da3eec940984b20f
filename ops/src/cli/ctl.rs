//! `comet ctl`: supervision of a node through its admin socket.

mod actors;
mod events;
mod network;
mod objects;

use std::ffi::OsString;

use clap::Subcommand;
use comet_kernel::contract::admin::Command;
use comet_kernel::{Key, limits};
use serde_json::json;

use super::admin::{Address, Admin};
use super::failure::Failure;
use super::output::Output;
use super::value::checked;

/// Commands go to the admin actor of the node, which answers even when everything else is stuck. Every change is on
/// record in the node's events.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    address: Address,
    #[command(subcommand)]
    command: Ctl,
}

#[derive(Debug, Subcommand)]
enum Ctl {
    /// The actors of the node as the tree of their supervision.
    Tree,
    /// The actors of the node and what passes through their mailboxes.
    Ps,
    /// One actor and its own figures.
    Inspect(Actor),
    /// Stop an actor as it wants to be stopped, and start a fresh one.
    Restart(Actor),
    /// Make an actor hold its messages back.
    Suspend(Actor),
    /// Let a suspended actor go on.
    Resume(Actor),
    /// The objects that the node stores.
    Objects {
        /// Only keys that match: `*` stands for any text, `?` for any one byte, `[a-z]` for one of a class.
        #[arg(value_parser = pattern)]
        pattern: Option<String>,
        /// At most so many.
        #[arg(long, default_value_t = 1_000)]
        limit: u64,
    },
    /// One object, with its log.
    Object(Object),
    /// The objects whose handlers are off.
    Quarantine,
    /// Turn the handlers of an object off.
    Isolate(Object),
    /// Turn the handlers of an object on again.
    Release(Object),
    /// What happens on the node from now on.
    Events {
        /// Go on until interrupted, which is what happens unless --count is given.
        #[arg(long, conflicts_with = "count")]
        follow: bool,
        /// End after so many events.
        #[arg(long, value_name = "N")]
        count: Option<u64>,
    },
    /// The nodes that this one is connected with.
    Peers,
    /// The routing table: the nodes that this one knows, by how many bits their places share with its own.
    Buckets,
    /// How the node stands in the network.
    Network,
    /// Look a key up in the network: which nodes are nearest to it, and which version each holds.
    Lookup {
        #[command(flatten)]
        object: Object,
        /// Show the way as well: who was asked, and how long each took.
        #[arg(long)]
        path: bool,
    },
    /// Compare what the node stores with its neighbours now, and wait until that is done.
    Replicate,
    /// Let the node finish its work and end. A node of a network hands its objects over to others first.
    Shutdown,
}

#[derive(Debug, clap::Args)]
struct Actor {
    /// The actor's path, or as much of its end as no other actor has: `timer` for `node/timer`.
    actor: String,
}

#[derive(Debug, clap::Args)]
struct Object {
    /// The object's key.
    key: OsString,
}

/// Runs a command.
pub(super) fn run(args: Args, output: &mut Output) -> Result<(), Failure> {
    let mut admin = Admin::connect(&args.address)?;
    match args.command {
        Ctl::Tree => actors::tree(&mut admin, output),
        Ctl::Ps => actors::list(&mut admin, output),
        Ctl::Inspect(Actor { actor }) => actors::inspect(&mut admin, &actor, output),
        Ctl::Restart(Actor { actor }) => {
            let path = actors::resolve(&mut admin, &actor)?;
            order(&mut admin, Command::Restart { path: path.clone() }, &format!("{path} restarted"), output)
        }
        Ctl::Suspend(Actor { actor }) => {
            let path = actors::resolve(&mut admin, &actor)?;
            order(&mut admin, Command::Suspend { path: path.clone() }, &format!("{path} suspended"), output)
        }
        Ctl::Resume(Actor { actor }) => {
            let path = actors::resolve(&mut admin, &actor)?;
            order(&mut admin, Command::Resume { path: path.clone() }, &format!("{path} resumed"), output)
        }
        Ctl::Objects { pattern, limit } => objects::list(&mut admin, Command::Objects { pattern, limit }, output),
        Ctl::Quarantine => objects::list(&mut admin, Command::Quarantine, output),
        Ctl::Object(object) => objects::show(&mut admin, object.key()?, output),
        Ctl::Isolate(object) => {
            let key = object.key()?;
            order(&mut admin, Command::Isolate { key: key.clone() }, &format!("handlers of {key} are off"), output)
        }
        Ctl::Release(object) => {
            let key = object.key()?;
            order(&mut admin, Command::Release { key: key.clone() }, &format!("handlers of {key} are on"), output)
        }
        Ctl::Events { follow: _, count } => events::follow(&mut admin, count, output),
        Ctl::Peers => network::peers(&mut admin, output),
        Ctl::Buckets => network::buckets(&mut admin, output),
        Ctl::Network => network::status(&mut admin, output),
        Ctl::Lookup { object, path } => network::look_up(&mut admin, object.key()?, path, output),
        Ctl::Replicate => order(&mut admin, Command::Replicate, "every object has been compared", output),
        Ctl::Shutdown => order(&mut admin, Command::Shutdown, "the node finishes its work and ends", output),
    }
}

impl Object {
    fn key(&self) -> Result<Key, Failure> {
        Ok(Key::new(checked(&self.key)?).expect("it has just been checked"))
    }
}

/// Has something done, and says so.
pub(super) fn order(admin: &mut Admin, command: Command, done: &str, output: &mut Output) -> Result<(), Failure> {
    admin.order(command)?;
    if output.json { output.json(&json!({ "done": true })) } else { output.line(done) }
}

fn pattern(text: &str) -> Result<String, String> {
    match text.len() {
        0..=limits::PATTERN_BYTES => Ok(text.to_owned()),
        length => Err(format!("the pattern has {length} bytes; at most {} are allowed", limits::PATTERN_BYTES)),
    }
}
