//! A lane: one long-lived substream to a peer, with many requests under way.
//!
//! | part | what it does |
//! |---|---|
//! | [`Lane`] | the side that asks: gives out ids, finds who waits for an answer, ends what waits too long |
//! | [`serve`] | the side that answers: hands requests to the router, many at once, and writes what comes back |
//! | [`Terms`] | what holds between this node and one peer: its rates, its counters, how long it may take to greet |
//! | `hello` | the greeting, in which each side tells what it speaks |
//! | `input`, `output` | bytes that came and bytes that go |
//! | `beat` | the one timer of a lane, which runs only while there is something to look after |
//! | `pace` | whether the peer reads, and sends the rest of what it began |
//! | [`Budget`] | what all lanes that this node serves may hold together |
//!
//! What makes a lane fast is that bytes gather: a request is written into the buffer when it is sent, an answer when it is
//! there, and the task that owns the stream writes all that has gathered at once, when it next runs. It reads all that has
//! come at once as well. Neither side starts a task or a timer for a request.
//!
//! What makes it safe is that everything is bounded: requests under way and bytes unsent on the side that asks; requests
//! under way, their bytes, and bytes unsent on the side that answers, which stops reading when it reaches a bound, so that a
//! peer which does not read its answers finds that it cannot write. It reckons with answers as long as those before; what
//! is longer, and finds too much unsent, is refused to the peer in place of being kept. The question that a peer gave up, or
//! whose lane has ended, is given up here too, and so is its work in the router; a change goes on to its end, and takes of
//! the room that the router has for this peer until then. A lane over which nothing moves though something waits to is
//! given up as well. All lanes that this node serves have one budget: a long frame is not read before there is room for it,
//! and what finds none later is refused.
//!
//! Everything here runs on the network's thread: nothing is locked, and nothing is `Send`.

mod allowance;
mod asking;
mod beat;
mod budget;
pub(crate) mod check;
mod error;
mod hello;
mod input;
mod output;
mod pace;
mod serving;
mod terms;

#[cfg(test)]
mod tests;

use std::time::Duration;

use comet_kernel::limits;

pub(crate) use self::asking::Lane;
pub(crate) use self::budget::Budget;
pub(crate) use self::error::LaneError;
pub(crate) use self::serving::serve;
pub(crate) use self::terms::{Terms, Traffic};

/// Bytes that may wait to be written before a request is refused, or no more are read. One frame may go past it.
const UNSENT_BYTES: usize = 4 << 20;

/// Bytes of answers that may wait for a peer that reads slowly. One frame may go past it; what finds so many waiting is
/// refused in place of being kept.
const ANSWERED_BYTES: usize = 4 * UNSENT_BYTES;

/// So many requests may be under way however long their answers may be.
const FEW_REQUESTS: usize = 16;

/// Bytes that the requests take which a peer may have under way on one lane. One request may go past it.
const SERVED_BYTES: usize = 4 << 20;

/// How often a lane looks for what has waited too long.
const SWEEP: Duration = Duration::from_millis(250);

/// How many rounds of reading and writing a lane may make before others on the thread have their turn.
const ROUNDS: usize = 16;

const _: () = assert!(UNSENT_BYTES > limits::PEER_FRAME_BYTES && SERVED_BYTES > limits::PEER_FRAME_BYTES);
