//! The timer: every object's next due moment, and the ticks that tell the objects, at least once.
//!
//! | module | owns |
//! |---|---|
//! | [`timer`] | the actor: what it is told, what it loads, what it sends |
//! | `agenda` | what is due when, what is under way, what is tried again: a pure value |

mod agenda;
pub mod timer;

pub use timer::child;
