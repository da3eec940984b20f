//! What hosting promises, tried out between a storage, a timer and a limiter that the tests hold in their hands, on a
//! clock that they move.

mod clearing;
mod durability;
mod failures;
mod library;
mod loading;
mod passivation;
mod plain;
mod quarantine;
mod scripted;
mod store;
mod timers;
mod world;
