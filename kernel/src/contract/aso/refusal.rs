//! Why an object did not do what it was asked for.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// Why a call was refused. In every case but [`Refusal::Unavailable`] the object is as it was before.
#[derive(Clone, Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
pub enum Refusal {
    /// The script threw this, or refused by returning `false`.
    #[error("{0}")]
    Thrown(String),
    /// The script ran out of this.
    #[error("{0}")]
    Budget(Budget),
    /// The script failed: an operation on wrong types, a function that does not exist, a division by zero.
    #[error("{0}")]
    Failed(String),
    /// A rate or a processor-time account is used up.
    #[error("retry after {retry_after_ms} ms")]
    Limited {
        /// When another try may succeed.
        retry_after_ms: u64,
    },
    /// Handlers are off until the operator releases the object.
    #[error("handlers are off after repeated failures; the operator can release the object")]
    Quarantined,
    /// There is no script of this name or hash.
    #[error("no script {0}; ASO.SCRIPT LIST shows the names")]
    NoScript(String),
    /// The script does not compile: file or name, line, column and reason.
    #[error("{0}")]
    BadScript(String),
    /// The object belongs to somebody else.
    #[error("the object belongs to {0}")]
    Owned(String),
    /// The operation needs a value of another type.
    #[error("{0}")]
    WrongType(Cow<'static, str>),
    /// The value or the edit's result does not fit.
    #[error("{0}")]
    NotANumber(Cow<'static, str>),
    /// Something is larger than the contract allows.
    #[error("{what} has {size} bytes; at most {limit} are allowed")]
    TooBig {
        /// What is too big.
        what: Cow<'static, str>,
        /// How big it is.
        size: usize,
        /// How big it may be.
        limit: usize,
    },
    /// A value has more items than the contract allows.
    #[error("{what} has more than {limit} items in its arrays and maps, which is the most")]
    TooManyItems {
        /// What has them.
        what: Cow<'static, str>,
        /// How many it may have.
        limit: usize,
    },
    /// The request was parked by the script and nobody answered in time.
    #[error("no answer within {0} ms")]
    TimedOut(u64),
    /// Fewer nodes than the write quorum have stored the change. It may be on some, and may yet reach the others.
    #[error("{stored} of {wanted} nodes have stored it; try again")]
    NoQuorum {
        /// How many have.
        stored: usize,
        /// How many had to.
        wanted: usize,
    },
    /// The script asked for what an object may not do.
    #[error("{0}")]
    Forbidden(Cow<'static, str>),
    /// The node cannot do it now: a full mailbox, a full disk, an actor that is being restarted. A put that is refused
    /// so may or may not have taken effect if its actor died while it was under way; everything else left no trace.
    #[error("{0}")]
    Unavailable(String),
}

/// Which budget a handler ran out of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error, Serialize, Deserialize)]
pub enum Budget {
    /// Operations of one handler call.
    #[error("operations")]
    Operations,
    /// Processor time of one handler call.
    #[error("time")]
    Time,
    /// Length of a string, array or map, or the nesting of a value.
    #[error("size")]
    Size,
    /// Bytes that one handler call may hold at once.
    #[error("memory")]
    Memory,
    /// Serialized state.
    #[error("state")]
    State,
    /// Depth of calls.
    #[error("depth")]
    Depth,
    /// DHT actions of one event.
    #[error("actions")]
    Actions,
    /// Requests parked at one object.
    #[error("parked")]
    Parked,
}
