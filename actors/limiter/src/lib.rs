//! The limiter: every token bucket and every account of processor time, leased out.
//!
//! | module | owns |
//! |---|---|
//! | [`limiter`] | the actor: one bank for each kind of bucket, and what it has granted |
//! | `bank` | the buckets of one kind, which share a rate |
//! | `buckets` | what is remembered of each bucket, in bounded memory |

mod bank;
mod buckets;
pub mod limiter;

pub use limiter::child;
