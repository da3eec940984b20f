//! Proof that Comet does what it says: the whole node, driven from outside.
//!
//! | module | what |
//! |---|---|
//! | [`node`] | a node of its own for a test: started, asked, killed, started again |
//! | [`wait`] | waiting for a condition with a deadline |
//! | [`client`] | programs that may be missing where the tests run |
//! | [`corpus`] | the hostile scripts: their files, and what they expect |
//!
//! `COMET_REQUIRE_CLIENTS=1` turns a test that skips for want of a program into a failure.

pub mod client;
pub mod corpus;
pub mod node;
pub mod wait;
