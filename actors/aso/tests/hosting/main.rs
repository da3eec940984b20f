//! What hosting promises, tried out between a storage, a timer and a limiter that the tests hold in their hands, on a
//! clock that they move.

mod apart;
mod arrivals;
mod clearing;
mod consent;
mod durability;
mod failures;
mod library;
mod loading;
mod lost_scripts;
mod network;
mod passivation;
mod plain;
mod quarantine;
mod rates;
mod scripted;
mod sources;
mod stamps;
mod store;
mod timers;
mod unread;
mod world;
