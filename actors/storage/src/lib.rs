//! The storage actor: the embedded database, group commit, durable records.
//!
//! It owns the data directory's database, promises what `storage.durability` says of every write that it answered, and
//! never lets a record vanish in silence: what cannot be read is set aside, counted and reported. It knows nothing of
//! what records mean; it alone knows fjall.
//!
//! | layer | modules |
//! |---|---|
//! | who serves the contract | `spec` wires `writer` and `reader` |
//! | what the writer decides by | `gathered` `space` |
//! | what both hold | `shared` |
//! | the database | `store` `walk` `table` `changes` `codec` |
//! | how it is opened, and the folder it lies in | `open` `journal` `directory` |

mod changes;
mod codec;
mod directory;
mod gathered;
mod journal;
mod open;
mod reader;
mod shared;
mod space;
mod spec;
mod store;
mod table;
mod walk;
mod writer;

pub use self::directory::{OpenError, prepare};
pub use self::space::{FileSystem, Space};
pub use self::spec::{spec, spec_on};
