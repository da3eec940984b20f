//! For the fuzzer: what reads the bytes of peers, and decides whether to believe them, behind functions that anyone may
//! call.

pub use crate::lane::check::stream;
pub use crate::replicator::check::comparisons;
pub use crate::router::check::{arrives, sign};
pub use crate::wire::check::{body, understands};
