//! Routing: the network of nodes.
//!
//! | part | what it does |
//! |---|---|
//! | [`spec`] | the branch of the supervision tree: swarm, router, replicator, in this order |
//! | [`wire`] | what nodes say to each other, and how it is written into frames |
//! | `lane` | one long-lived substream to a peer, with many requests under way |
//! | `swarm` | the actor that owns libp2p: connections, the routing table, who is near |
//! | `router` | the actor that carries calls to the nodes which store an object, and serves the calls of peers |
//! | `replicator` | the actor that keeps as many copies of each object as there should be |
//! | [`check`] | what the fuzzer drives of all this |
//! | `messages`, `tally` | what these actors say to each other, and what they count |
//! | `room` | how much of them peers may take |

pub mod check;
mod lane;
mod messages;
mod replicator;
mod room;
mod router;
pub mod spec;
mod swarm;
mod tally;
pub mod wire;

#[cfg(feature = "trial")]
pub use router::trial;
