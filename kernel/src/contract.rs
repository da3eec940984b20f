//! The contracts between actors, one file each: messages, replies, errors.
//!
//! ```text
//!        gateway   admin                          edges: sockets in, contracts out
//!           |        |
//!           v        |
//!        routing     |                             which nodes store an object; other nodes
//!           |        |
//!           v        v
//!          aso  <--------  timer                  objects and their scripts; what wakes them
//!           |  \             |
//!           |   `-> limiter  |                    leases of tokens and processor time
//!           v                v
//!         storage  <---------'                    the database
//! ```

pub mod admin;
pub mod aso;
pub mod library;
pub mod limiter;
pub mod routing;
pub mod storage;
pub mod timer;
