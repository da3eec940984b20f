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

/// Says what answers each message of a contract, and names it for metrics and traces after the contract.
///
/// ```
/// struct Ring;
/// comet_kernel::messages! { "bell": Ring -> bool; }
/// assert_eq!(<Ring as comet_kernel::Message>::NAME, "bell::Ring");
/// ```
#[macro_export]
macro_rules! messages {
    ($contract:literal: $($message:ident -> $reply:ty;)*) => { $(
        impl $crate::Message for $message {
            type Reply = $reply;
            const NAME: &'static str = concat!($contract, "::", stringify!($message));
        }
    )* };
}
