//! The gateway: any Redis client can read and write the node.
//!
//! It owns the TCP listener and the connections, and nothing of what is stored: every answer comes from the objects
//! through [`comet_kernel::Objects`], wherever in the network they are, or from the actors of storage and limiter. A
//! connection's requests are answered in the order in which they came, and behave as if each were carried out before the
//! next.
//!
//! The path of a get: `connection` reads and starts requests → `parser` finds the words → `command` finds the command →
//! `command::strings` starts the get → `session` asks the objects → `encoder` writes the answer.
//!
//! | layer | modules |
//! |---|---|
//! | who is there | `gateway` (what the wiring sees), `listener` (the actor), `connection`, `tally` |
//! | bytes | `parser`, `inline`, `encoder` |
//! | what is said | `words`, `command` and its families, `frame`, `error_line` |
//! | who says it | `session`, `users`, `allowance` |
//! | what is under way | `answers`, `gather`, `unanswered`, `unread` |
//! | listing keys | `cursors` |

mod allowance;
mod answers;
mod command;
mod connection;
mod cursors;
mod encoder;
mod error_line;
mod frame;
mod gateway;
mod gather;
mod inline;
mod listener;
mod parser;
mod session;
mod tally;
mod unanswered;
mod unread;
mod users;
mod words;

pub use command::check_json;
pub use gateway::{Bound, Parts, child};
pub use parser::check;
