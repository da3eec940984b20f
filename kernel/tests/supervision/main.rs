//! What supervision promises, tried out through the kernel's public API.

mod escalation;
mod failure;
mod mail;
mod nursery;
mod stopping;
mod strategy;
mod worker;
