//! The contracts between actors, one file each: messages, replies, errors.
//!
//! ```text
//!        gateway   admin                          edges: sockets in, contracts out
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
pub mod limiter;
pub mod storage;
pub mod timer;
