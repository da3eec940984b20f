//! What actors say to each other.

use crate::request::Request;

/// A message, and what answers it.
pub trait Message: Send + 'static {
    /// The answer.
    type Reply: Send + 'static;
    /// The name for metrics and traces.
    const NAME: &'static str;

    /// Id, deadline and trace, for the messages that are requests of a client.
    fn request(&self) -> Option<&Request> {
        None
    }

    /// A finer name for traces, for messages that carry one of several operations.
    fn label(&self) -> &'static str {
        Self::NAME
    }
}
