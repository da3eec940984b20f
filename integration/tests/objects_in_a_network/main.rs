//! Objects in a network of nodes: what the applications that use it do for their users, and what no object may do.
//!
//! All tests share one network, on which none touches a key of another. The last node is the greedy one: only the test of
//! quotas puts through it.

#![allow(clippy::unwrap_used, reason = "a test that unwraps in vain fails, as it should")]

mod applications;
mod rules;
mod signatures;
mod world;
