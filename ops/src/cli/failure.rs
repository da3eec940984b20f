//! How a command fails: the kinds are the exit codes.

use std::io;

/// Why a command was not done. Each text says what was wrong, where, and what to do next.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// The node refused, or what was asked for is not there.
    #[error("{0}")]
    Refused(String),
    /// What was said on the command line, or stands in a file it names, is wrong.
    #[error("{0}")]
    Usage(String),
    /// There is no node at the address.
    #[error("{0}")]
    NoNode(String),
    /// It cannot be done now; or nobody knows whether it was.
    #[error("{0}")]
    Unavailable(String),
    /// Whoever read the output has gone: `head` does that. Not worth a word.
    #[error("nobody reads the output")]
    NobodyReads,
}

impl Failure {
    /// The exit code of the process.
    pub(super) fn code(&self) -> u8 {
        match self {
            Failure::NobodyReads => 0,
            Failure::Refused(_) => 1,
            Failure::Usage(_) => 2,
            Failure::NoNode(_) => 3,
            Failure::Unavailable(_) => 4,
        }
    }

    /// The output cannot be written.
    pub(super) fn output(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::NobodyReads,
            _ => Failure::Unavailable(format!("cannot write the output: {error}")),
        }
    }
}
