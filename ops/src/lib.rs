//! The product: the binary `comet`, the wiring of its actors, its command line.
//!
//! | module | what |
//! |---|---|
//! | [`cli`] | what can be said on the command line |
//! | [`config`] | where a node's configuration comes from |
//! | [`node`] | a node from its start to its end |
//! | [`tree`] | its supervision tree: every actor is named there, once |
//! | [`identity`] | its key |

pub mod cli;
pub mod config;
pub mod identity;
pub mod node;
pub mod tree;
