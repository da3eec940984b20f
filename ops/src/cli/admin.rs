//! The way to a node's admin actor, for commands that ask one thing after another.

use std::path::{Path, PathBuf};
use std::time::Duration;

use comet_admin::{Client, ClientError};
use comet_kernel::Clock;
use comet_kernel::contract::admin::{Answer, Command};

use super::failure::Failure;

/// How long a node may take over an answer. Longer than it gives itself for a restart.
const PATIENCE: Duration = Duration::from_secs(90);

/// Which node.
#[derive(Debug, clap::Args)]
pub(super) struct Address {
    /// The node's data directory, in which its admin socket is.
    #[arg(long, global = true, value_name = "DIR", default_value = "./comet-data", env = "COMET_DATA")]
    data: PathBuf,
    /// The admin socket itself, if the node's configuration puts it elsewhere.
    #[arg(long, global = true, value_name = "PATH", env = "COMET_SOCKET")]
    socket: Option<PathBuf>,
}

impl Address {
    /// The node with this data directory.
    pub(super) fn of(data: &Path) -> Self {
        Address { data: data.to_owned(), socket: None }
    }
}

/// A connection to the admin actor.
pub(super) struct Admin {
    runtime: tokio::runtime::Runtime,
    client: Client,
    clock: Clock,
}

impl Admin {
    /// Connects to the node.
    pub(super) fn connect(address: &Address) -> Result<Self, Failure> {
        let socket = address.socket.clone().unwrap_or_else(|| address.data.join("admin.sock"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::Unavailable(format!("cannot wait for a node: {error}")))?;
        let clock = Clock::machine();
        let client = runtime.block_on(clock.timeout(PATIENCE, Client::connect(&socket)));
        let client = client.unwrap_or(Err(ClientError::HungUp)).map_err(failure)?;
        Ok(Admin { runtime, client, clock })
    }

    /// Asks for something that has one answer. A refusal is a failure.
    pub(super) fn ask(&mut self, command: Command) -> Result<Answer, Failure> {
        self.send(command)?;
        self.next()
    }

    /// Asks for something that is done without a word.
    pub(super) fn order(&mut self, command: Command) -> Result<(), Failure> {
        match self.ask(command)? {
            Answer::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Asks for something that has several answers.
    pub(super) fn send(&mut self, command: Command) -> Result<(), Failure> {
        self.runtime.block_on(self.client.send(command)).map_err(failure)
    }

    /// The next of several answers.
    pub(super) fn next(&mut self) -> Result<Answer, Failure> {
        let answer = self.runtime.block_on(self.clock.timeout(PATIENCE, self.client.next()));
        let late = || Failure::Unavailable(format!("the node has not answered within {} s", PATIENCE.as_secs()));
        judge(answer.ok_or_else(late)?)
    }

    /// The next answer of a stream that may be silent for as long as it likes.
    pub(super) fn wait(&mut self) -> Result<Answer, Failure> {
        judge(self.runtime.block_on(self.client.next()))
    }
}

fn judge(answer: Result<Answer, ClientError>) -> Result<Answer, Failure> {
    match answer.map_err(failure)? {
        Answer::Refused(reason) => Err(Failure::Refused(reason)),
        Answer::Unavailable(reason) => Err(Failure::Unavailable(reason)),
        answer => Ok(answer),
    }
}

fn failure(error: ClientError) -> Failure {
    match error {
        ClientError::NoNode { ref reason, .. } if reason.kind() == std::io::ErrorKind::PermissionDenied => {
            Failure::Refused(format!("{error}; ask as the node's user or as root"))
        }
        ClientError::NoNode { .. } => Failure::NoNode(format!(
            "{error}; start one with `comet node`, or name its data directory with --data or its socket with --socket"
        )),
        ClientError::NotComet(_) => Failure::NoNode(format!("{error}; name the right one with --data or --socket")),
        ClientError::Refused(_) => Failure::Refused(error.to_string()),
        ClientError::Wire(_) | ClientError::HungUp => Failure::Unavailable(error.to_string()),
    }
}

/// The node answered something that does not answer the question.
pub(super) fn unexpected(answer: &Answer) -> Failure {
    Failure::Unavailable(format!("the node gave an answer of another kind ({answer:?}); use the node's own `comet`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_node_the_error_says_where_it_was_sought_and_what_to_do() {
        let address = Address { data: "/nowhere/at-all".into(), socket: None };
        let Err(failure) = Admin::connect(&address) else { panic!("there is a node") };
        assert_eq!(failure.code(), 3);
        let text = failure.to_string();
        assert!(text.contains("/nowhere/at-all/admin.sock") && text.contains("comet node"), "{text}");
    }
}
