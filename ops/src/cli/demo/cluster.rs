//! The nodes of a demo, from their start until all know each other.

use std::time::Duration;

use comet_kernel::contract::admin::{Answer, Command};
use comet_kernel::neighbours::DENSE;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tempfile::TempDir;

use super::End;
use super::interrupt::Interrupt;
use super::member::Member;
use crate::cli::admin::{Address, Admin};
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::table::Table;

/// How long the nodes may take to find each other.
const CONVERGENCE: Duration = Duration::from_secs(60);
/// How long between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// A network on this machine. Its nodes end and its data goes when it is dropped.
pub(super) struct Cluster {
    pub(super) members: Vec<Member>,
    // Removed after the nodes have ended: fields are dropped in this order.
    folder: TempDir,
}

impl Cluster {
    /// Starts so many nodes, and waits until each knows the others, as far as it ever will.
    pub(super) fn start(nodes: usize, interrupt: &Interrupt) -> Result<Self, End> {
        let folder = TempDir::with_prefix("comet-demo-")
            .map_err(|error| Failure::Unavailable(format!("cannot make a folder for temporary data: {error}")))?;
        let bar = progress(nodes);
        let mut cluster = Cluster { members: Vec::new(), folder };
        let mut first = Member::spawn(1, cluster.folder.path(), None)?;
        first.wait_until_it_serves(interrupt)?;
        let seed = first.joins.clone();
        cluster.members.push(first);
        bar.inc(1);
        for number in 2..=nodes {
            cluster.members.push(Member::spawn(number, cluster.folder.path(), Some(&seed))?);
        }
        for member in &mut cluster.members[1..] {
            member.wait_until_it_serves(interrupt)?;
            bar.inc(1);
        }
        cluster.converge(interrupt, &bar)?;
        bar.finish_and_clear();
        Ok(cluster)
    }

    fn converge(&self, interrupt: &Interrupt, bar: &ProgressBar) -> Result<(), End> {
        bar.set_position(0);
        bar.set_message("nodes know the others");
        let mut looks = CONVERGENCE.as_millis() / LOOK.as_millis();
        for member in &self.members {
            let mut admin = Admin::connect(&Address::of(&member.data))?;
            while !knows(&mut admin, self.members.len().min(DENSE))? {
                if looks == 0 {
                    return Err(member.failure("has not found the others in time; try fewer --nodes").into());
                }
                looks -= 1;
                interrupt.pause(LOOK)?;
            }
            bar.inc(1);
        }
        Ok(())
    }

    /// Says how to talk to the nodes.
    pub(super) fn introduce(&self, output: &mut Output) -> Result<(), Failure> {
        if output.json {
            return self.members.iter().try_for_each(|member| {
                let Member { number, data, resp, joins, .. } = member;
                output.json(&json!({ "node": number, "resp": resp, "data": data, "joins_at": joins }))
            });
        }
        output
            .line(&format!("{} nodes are one network, each on its own ports of this machine:", self.members.len()))?;
        let mut table = Table::new(&["node", "talk to it", "look into it"]);
        for member in &self.members {
            table.row([
                member.number.to_string(),
                format!("redis-cli -p {}", member.resp.port()),
                format!("comet ctl --data {} network", member.data.display()),
            ]);
        }
        output.text(&format!("\n{table}\n"))
    }
}

impl Drop for Cluster {
    /// The nodes end beside each other; each is waited for when it is dropped itself.
    fn drop(&mut self) {
        self.members.iter_mut().for_each(Member::let_go);
    }
}

/// Whether a node knows so many, itself included, and is done with comparing what it stores.
fn knows(admin: &mut Admin, nodes: usize) -> Result<bool, Failure> {
    match admin.ask(Command::Network) {
        Ok(Answer::Network(status)) => Ok(status.known >= nodes && status.settled),
        Ok(other) => Err(crate::cli::admin::unexpected(&other)),
        Err(Failure::Unavailable(_)) => Ok(false),
        Err(failure) => Err(failure),
    }
}

fn progress(nodes: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos} of {len} {msg}").expect("the template is well-formed");
    ProgressBar::new(nodes as u64).with_style(style).with_message("nodes serve")
}
