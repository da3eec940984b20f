//! Comet's kernel: contracts and mechanism, no behaviour and no I/O.
//!
//! | layer | modules |
//! |---|---|
//! | what is talked about | [`key`] [`pattern`] [`value`] [`record`] [`provenance`] [`identity`] |
//! | what is said | [`contract`] [`message`] [`request`] [`reply`] |
//! | how it gets there | [`handle`] [`meter`] [`directory`] [`neighbours`] [`objects`] |
//! | who says it, and who looks after them | [`actor`] [`exit`] [`nursery`] [`supervisor`] [`thread`] [`registry`] [`events`] |
//! | what everything rests on | [`kernel`] [`clock`] [`settings`] [`limits`] |

pub mod actor;
pub mod change;
pub mod clock;
pub mod contract;
pub mod directory;
mod errands;
pub mod events;
pub mod exit;
pub mod handle;
pub mod identity;
pub mod kernel;
pub mod key;
pub mod limits;
pub mod message;
pub mod meter;
pub mod neighbours;
pub mod nursery;
pub mod objects;
pub mod pattern;
pub mod provenance;
pub mod record;
pub mod registry;
pub mod reply;
pub mod request;
pub mod settings;
pub mod supervisor;
pub mod thread;
pub mod value;

pub use actor::{Actor, Context, Handler, Work};
pub use clock::{Clock, Moment, UnixMillis};
pub use handle::{Door, Handle};
pub use identity::{Caller, NodeId, ScriptHash};
pub use kernel::Kernel;
pub use key::Key;
pub use message::Message;
pub use neighbours::{Neighbour, Neighbours};
pub use objects::Objects;
pub use pattern::Pattern;
pub use provenance::Provenance;
pub use record::Record;
pub use reply::{Pending, Responder};
pub use request::{Request, RequestId, Trace};
pub use settings::Settings;
pub use thread::Thread;
pub use value::Value;
