//! Routers among fakes: a swarm that carries requests within the process, and the shard of a trial.

mod acting;
mod adopting;
mod changing;
mod editing;
mod getting;
mod leading;
mod lying;
mod quotas;
mod scripts;
mod serving;
mod swarm;
mod world;
