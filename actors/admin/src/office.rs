//! What each command does: checks it, puts it on record, has it carried out by the actor that owns the matter, answers.

mod actors;
mod network;
mod objects;
mod scripts;

use std::time::Duration;

use comet_kernel::contract::admin::{Answer, Command};
use comet_kernel::events::Kind;
use comet_kernel::handle::CallError;
use comet_kernel::registry::Action;
use comet_kernel::{Handle, Kernel, Message, limits};

use crate::admin::Parts;
use crate::connection::Outlet;
use crate::wire::WireError;

/// How long an object, the library or storage may take over an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest path of an actor in bytes.
const PATH_BYTES: usize = 256;

/// Carries out commands. All connections share it.
#[derive(Debug)]
pub(crate) struct Office {
    pub(crate) kernel: Kernel,
    pub(crate) parts: Parts,
}

impl Office {
    /// Carries out one command of the user `uid` and sends its answers.
    pub(crate) async fn serve(&self, command: Command, uid: u32, outlet: &mut Outlet<'_>) -> Result<(), WireError> {
        if let Err(reason) = check(&command) {
            return outlet.send(Answer::Refused(reason)).await;
        }
        let audit = change(&command);
        if let Some((subject, verb)) = &audit {
            self.kernel.events.publish(Kind::Audit, subject, format!("{verb} by user {uid}"));
        }
        let answer = match command {
            Command::Objects { pattern, limit } => return self.objects(pattern, limit, outlet).await,
            Command::Quarantine => return self.quarantine(outlet).await,
            Command::Shutdown => {
                outlet.send(Answer::Done).await?;
                self.parts.shutdown.notify_one();
                return Ok(());
            }
            command => self.answer(command).await,
        };
        if let (Some((subject, verb)), Answer::Refused(reason) | Answer::Unavailable(reason)) = (audit, &answer) {
            self.kernel.events.publish(Kind::Audit, subject, format!("{verb} by user {uid} failed: {reason}"));
        }
        outlet.send(answer).await
    }

    /// The answer to a command that has one.
    async fn answer(&self, command: Command) -> Answer {
        match command {
            Command::Actors => self.actors(),
            Command::Inspect { path } => self.inspect(&path).await,
            Command::Restart { path } => self.order(&path, Action::Restart).await,
            Command::Suspend { path } => self.order(&path, Action::Suspend).await,
            Command::Resume { path } => self.order(&path, Action::Resume).await,
            Command::Object { key } => self.object(&key).await,
            Command::Isolate { key } => self.isolate(&key, true).await,
            Command::Release { key } => self.isolate(&key, false).await,
            Command::LoadScript { name, source } => self.load_script(name, source).await,
            Command::ListScripts => self.list_scripts().await,
            Command::ShowScript { name } => self.show_script(name).await,
            Command::DropScript { name } => self.drop_script(name).await,
            Command::RollbackScript { name } => self.rollback_script(name).await,
            Command::Peers => self.peers().await,
            Command::Buckets => self.buckets().await,
            Command::LookUp { key } => self.look_up(key).await,
            Command::Network => self.network().await,
            Command::Replicate => self.replicate().await,
            Command::Objects { .. } | Command::Quarantine | Command::Events | Command::Shutdown => {
                unreachable!("commands with several answers, or with work after the answer, are served apart")
            }
        }
    }

    /// Asks an actor, and waits for at most [`PATIENCE`].
    async fn ask<M: Message>(&self, handle: &Handle<M>, message: M) -> Result<M::Reply, Answer> {
        self.ask_within(PATIENCE, handle, message).await
    }

    /// Asks an actor for what takes its time.
    async fn ask_within<M: Message>(
        &self,
        patience: Duration,
        handle: &Handle<M>,
        message: M,
    ) -> Result<M::Reply, Answer> {
        match self.kernel.clock.timeout(patience, handle.call(message)).await {
            Some(Ok(reply)) => Ok(reply),
            Some(Err(error @ (CallError::Refused { .. } | CallError::NoAnswer(_)))) => {
                Err(Answer::Unavailable(error.to_string()))
            }
            None => Err(late(M::NAME, patience)),
        }
    }
}

/// Nobody knows yet whether what was asked will be done.
fn late(what: &str, patience: Duration) -> Answer {
    let seconds = patience.as_secs();
    Answer::Unavailable(format!("{what} was not answered within {seconds} s; `comet ctl ps` shows who is behind"))
}

/// Whether the command is small enough to be put on record and passed on.
fn check(command: &Command) -> Result<(), String> {
    let bounded = |what: &str, text: &str, most: usize| match text.len() {
        length if length > most => Err(format!("{what} has {length} bytes; at most {most} are allowed")),
        _ => Ok(()),
    };
    match command {
        Command::Inspect { path }
        | Command::Restart { path }
        | Command::Suspend { path }
        | Command::Resume { path } => bounded("the path", path, PATH_BYTES),
        Command::Objects { pattern: Some(pattern), .. } => bounded("the pattern", pattern, limits::PATTERN_BYTES),
        Command::LoadScript { name, source } => {
            bounded("the name", name, limits::SCRIPT_NAME_BYTES)?;
            bounded("the script", source, limits::SCRIPT_BYTES)
        }
        Command::ShowScript { name } | Command::DropScript { name } | Command::RollbackScript { name } => {
            bounded("the name", name, limits::SCRIPT_NAME_BYTES)
        }
        _ => Ok(()),
    }
}

/// What a command changes, and how, if it changes anything.
fn change(command: &Command) -> Option<(String, &'static str)> {
    let change = match command {
        Command::Restart { path } => (path.clone(), "restart"),
        Command::Suspend { path } => (path.clone(), "suspend"),
        Command::Resume { path } => (path.clone(), "resume"),
        Command::Isolate { key } => (key.to_string(), "isolate"),
        Command::Release { key } => (key.to_string(), "release"),
        Command::LoadScript { name, .. } => (name.clone(), "load script"),
        Command::DropScript { name } => (name.clone(), "drop script"),
        Command::RollbackScript { name } => (name.clone(), "roll back script"),
        Command::Replicate => ("node".to_owned(), "replicate"),
        Command::Shutdown => ("node".to_owned(), "shutdown"),
        Command::Actors
        | Command::Inspect { .. }
        | Command::Objects { .. }
        | Command::Object { .. }
        | Command::Quarantine
        | Command::Events
        | Command::ListScripts
        | Command::ShowScript { .. }
        | Command::Peers
        | Command::Buckets
        | Command::LookUp { .. }
        | Command::Network => return None,
    };
    Some(change)
}
