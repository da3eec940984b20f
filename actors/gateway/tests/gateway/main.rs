//! The gateway over real connections, with fakes behind it.

#[expect(missing_docs, missing_debug_implementations, reason = "a fake for these tests only")]
mod fake;

mod commands;
mod connections;
