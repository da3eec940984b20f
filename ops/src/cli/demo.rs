//! `comet demo`: a network on this machine that lasts as long as the command, and a walk through what it does.

mod cluster;
mod interrupt;
mod member;
mod walk;

use self::cluster::Cluster;
use self::interrupt::Interrupt;
use super::failure::Failure;
use super::output::Output;

/// Every node is a process of its own with a data directory of its own and free ports on loopback. When the command ends,
/// however it ends, the nodes end with it; what they stored is removed.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How many nodes.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u8).range(2..=64))]
    nodes: u8,
    /// End after the walk. Without it, the network stays until Ctrl-C.
    #[arg(long)]
    once: bool,
}

/// Why a demo ended before its end.
#[derive(Debug)]
enum End {
    /// Somebody wants it to end.
    Interrupted,
    /// Something failed.
    Failed(Failure),
}

impl From<Failure> for End {
    fn from(failure: Failure) -> Self {
        End::Failed(failure)
    }
}

/// Runs the demo.
pub(super) fn run(args: &Args, output: &mut Output) -> Result<(), Failure> {
    match show(args, output) {
        Ok(()) | Err(End::Interrupted) => Ok(()),
        Err(End::Failed(failure)) => Err(failure),
    }
}

fn show(args: &Args, output: &mut Output) -> Result<(), End> {
    let interrupt = Interrupt::listen()?;
    let mut cluster = Cluster::start(usize::from(args.nodes), &interrupt)?;
    cluster.introduce(output)?;
    walk::walk(&mut cluster, &interrupt, output)?;
    if args.once {
        return Ok(());
    }
    if !output.json {
        let data = cluster.members[0].data.display();
        output.line(&format!("\nWho holds it now, as node 1 finds out: comet ctl --data {data} lookup note --path"))?;
        output.line("The network stays until Ctrl-C, which leaves nothing behind.")?;
    }
    interrupt.wait()
}
