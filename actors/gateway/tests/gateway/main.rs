//! The gateway over real connections, with fakes behind it.

mod commands;
mod connections;
mod fake;
mod network;
