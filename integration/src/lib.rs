//! Proof that Comet does what it says: the whole node, driven from outside.
//!
//! | module | what |
//! |---|---|
//! | [`node`] | a node of its own for a test: started, asked, killed, started again |
//! | [`cluster`] | networks of nodes: as processes, in namespaces, in this process; what holds of each |
//! | [`wait`] | waiting for a condition with a deadline |
//! | [`client`] | programs that may be missing where the tests run |
//! | [`corpus`] | the hostile scripts: their files, and what they expect |
//! | [`random`] | random numbers from a seed |
//!
//! `COMET_REQUIRE_CLIENTS=1` turns a test that skips for want of a program into a failure.

pub mod client;
pub mod cluster;
pub mod corpus;
pub mod node;
pub mod random;
pub mod wait;
