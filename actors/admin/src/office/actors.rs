//! Commands about actors. They rest on the registry, which answers whatever the actors are at.

use std::time::Duration;

use comet_kernel::contract::admin::{ActorRow, Answer, Figures, MailRow};
use comet_kernel::contract::limiter::ReadBuckets;
use comet_kernel::contract::routing::ReadNetwork;
use comet_kernel::contract::storage::ReadStatus;
use comet_kernel::contract::timer::ReadTimers;
use comet_kernel::registry::{Action, Listing, OrderError};
use comet_kernel::{Handle, Message};

use super::Office;
use crate::admin::NAME;

/// How long an actor may take to tell about its work. Short enough for the node's answer to stay within 100 ms.
const GLANCE: Duration = Duration::from_millis(50);
/// How long a supervisor may take over an order: longer than its children may take to stop.
const ORDERED: Duration = Duration::from_secs(60);

impl Office {
    /// Every actor.
    pub(super) fn actors(&self) -> Answer {
        let mut rows: Vec<_> = self.kernel.registry.list().into_iter().map(row).collect();
        in_order_of_the_tree(&mut rows);
        Answer::Actors(rows)
    }

    /// One actor, with its own figures.
    pub(super) async fn inspect(&self, path: &str) -> Answer {
        match self.kernel.registry.find(path) {
            Some(listing) => Answer::Actor(row(listing), self.figures(path).await),
            None => Answer::Refused(OrderError::NoSuchActor(path.to_owned()).to_string()),
        }
    }

    /// Has a supervisor do something with an actor.
    pub(super) async fn order(&self, path: &str, action: Action) -> Answer {
        let supervisor = self.kernel.registry.find(path).is_some_and(|listing| listing.supervisor);
        if supervisor && action != Action::Restart {
            return Answer::Refused(format!("{path} is a supervisor and holds no messages; name one of its actors"));
        }
        if action == Action::Suspend && path.ends_with(&format!("/{NAME}")) {
            return Answer::Refused(format!(
                "{path} is whom the operator talks to; who holds it back could not let it go on"
            ));
        }
        match self.kernel.clock.timeout(ORDERED, self.kernel.registry.order(path, action)).await {
            Some(Ok(())) => Answer::Done,
            Some(Err(error @ (OrderError::NoSuchActor(_) | OrderError::Root(_)))) => Answer::Refused(error.to_string()),
            Some(Err(error @ (OrderError::Unavailable(_) | OrderError::NotStarted { .. }))) => {
                Answer::Unavailable(error.to_string())
            }
            None => Answer::Unavailable(format!(
                "the supervisor of {path} is not done after {} s; `comet ctl tree` shows how far it is",
                ORDERED.as_secs()
            )),
        }
    }

    /// What the actor of this path tells about its work. One of the names on a path says which part of the node it is.
    async fn figures(&self, path: &str) -> Vec<Figures> {
        let parts = &self.parts;
        let part = path.split('/').find(|name| ["storage", "timer", "limiter", "aso", "routing"].contains(name));
        let figures = match part {
            Some("storage") => self.glance(&parts.storage.read_status, ReadStatus, Figures::Storage).await,
            Some("timer") => self.glance(&parts.timer.read_timers, ReadTimers, Figures::Timers).await,
            Some("limiter") => self.glance(&parts.limiter.read_buckets, ReadBuckets, Figures::Buckets).await,
            Some("aso") => {
                let size = parts.aso.directory.size();
                Figures::Memory { keys: size.keys as u64, active: size.active as u64, bytes: size.bytes as u64 }
            }
            Some("routing") => match &parts.network {
                Some(network) => self.glance(&network.read_network, ReadNetwork, Figures::Network).await,
                None => return Vec::new(),
            },
            _ => return Vec::new(),
        };
        vec![figures]
    }

    async fn glance<M: Message>(&self, handle: &Handle<M>, ask: M, figures: fn(M::Reply) -> Figures) -> Figures {
        match self.kernel.clock.timeout(GLANCE, handle.call(ask)).await {
            Some(Ok(reply)) => figures(reply),
            Some(Err(error)) => Figures::Silent(error.to_string()),
            None => Figures::Silent(format!("{} was not answered within {} ms", M::NAME, GLANCE.as_millis())),
        }
    }
}

/// Puts each actor behind its supervisor, and siblings in the order in which they were started.
fn in_order_of_the_tree(rows: &mut [ActorRow]) {
    let first_seen: std::collections::HashMap<String, usize> =
        rows.iter().enumerate().map(|(place, row)| (row.path.clone(), place)).collect();
    rows.sort_by_cached_key(|row| {
        let ends = row.path.match_indices('/').map(|(end, _)| end).chain([row.path.len()]);
        ends.map(|end| first_seen.get(&row.path[..end]).copied().unwrap_or(usize::MAX)).collect::<Vec<_>>()
    });
}

fn row(listing: Listing) -> ActorRow {
    let mail = listing.mail.into_iter().map(|(message, reading)| MailRow {
        message: message.to_owned(),
        depth: reading.depth,
        taken: reading.taken,
        refused: reading.refused,
        wait_ns: reading.wait_ns,
    });
    ActorRow {
        path: listing.path,
        supervisor: listing.supervisor,
        status: listing.status.to_string(),
        seconds: listing.seconds,
        restarts: listing.restarts,
        last_exit: listing.last_exit,
        mail: mail.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actors_stand_behind_their_supervisors() {
        let row = |path: &str| ActorRow {
            path: path.to_owned(),
            supervisor: false,
            status: "running".to_owned(),
            seconds: 0,
            restarts: 0,
            last_exit: None,
            mail: Vec::new(),
        };
        let mut rows =
            ["root/storage", "root/aso", "root/admin", "root", "root/aso/shard-1", "root/aso/shard-0"].map(row);
        in_order_of_the_tree(&mut rows);
        let paths: Vec<_> = rows.iter().map(|row| row.path.as_str()).collect();
        assert_eq!(paths, ["root", "root/storage", "root/aso", "root/aso/shard-1", "root/aso/shard-0", "root/admin"]);
    }
}
