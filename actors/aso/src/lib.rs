//! The hosting of active storage objects.
//!
//! | module | what |
//! |---|---|
//! | [`hosting`] | the branch of the supervision tree: the way in |
//! | `library` | the actor that owns named scripts; built-in scripts; the watched folder |
//! | `shard` | the actors that own plain values and activate objects |
//! | `object` | one actor for each active object |
//! | `plain` | what calls do to a plain value: pure decisions |
//! | `terms` | what a new version has besides value and script; tombstones |
//! | `births` | what making objects may cost a shard |
//! | `arrival` | what becomes of a copy from another node |
//! | `pipeline` | answers that wait for the disk |
//! | `catalogue` | compiled scripts, shared by all |
//! | `env` | what the actors of this crate share |
//! | [`sandbox`] | scripts: compiled, metered, run |

pub mod hosting;
pub mod sandbox;

mod arrival;
mod births;
mod catalogue;
mod env;
mod library;
mod object;
mod pipeline;
mod plain;
mod shard;
mod terms;
