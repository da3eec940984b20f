//! Networks of nodes on this machine: what the issue of the network asks to be shown, beside OpenDHT where that can do the
//! same.
//!
//! | module | what |
//! |---|---|
//! | `client` | clients that measure, and those that go on while nodes die |
//! | `store` | puts and gets in a network of 64 nodes; what an idle node takes |
//! | `failures` | half of the nodes killed at once; all restarted; churn; a partition |
//! | `pair` | what two nodes carry between them |

pub(crate) mod client;
pub(crate) mod failures;
pub(crate) mod pair;
pub(crate) mod store;

use comet_integration::cluster::{Builder, Cluster};

use crate::Bench;

/// Nodes of a full run.
const NODES: usize = 64;

/// How many nodes a network has.
pub(crate) fn nodes(bench: &Bench) -> usize {
    if bench.quick { 24 } else { NODES }
}

/// A network of nodes with the defaults.
pub(crate) fn plain() -> Builder {
    Cluster::builder().set("log.filter", "error")
}

/// Starts one, or says why not: a network that does not come up panics, as tests want it to.
pub(crate) fn start(builder: Builder) -> anyhow::Result<Cluster> {
    caught(|| builder.start())
}

/// Does something that panics when it fails.
pub(crate) fn caught<T>(action: impl FnOnce() -> T) -> anyhow::Result<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(action)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        anyhow::anyhow!("{}", text.unwrap_or("it panicked"))
    })
}
