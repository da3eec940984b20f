//! The admin actor: how the operator sees into the node and changes it, through a Unix socket.
//!
//! It owns the socket, promises an answer within a tenth of a second about the actors of the node even when every
//! object is stuck, and never decides anything by itself: each command is carried out by the actor that owns the matter.
//!
//! | what | module |
//! |---|---|
//! | the actor: who may connect, how many | [`admin`] |
//! | one client from its hello to its end | `connection` |
//! | what each command does | `office` |
//! | the socket file | `socket` |
//! | frames, and the client's half | `wire`, [`client`] |
//! | what the fuzzer drives of all this | [`check`] |

pub mod admin;
pub mod check;
pub mod client;
mod connection;
mod office;
mod socket;
mod wire;

pub use admin::{Parts, child};
pub use client::{Client, ClientError};
