//! Open files: as many as the system gives, and how many of them connections may take.
//!
//! Clients and other nodes are strangers, and each connection of theirs is an open file. However many come, the database
//! has to open its files, and the operator has to get in.

use comet_kernel::Settings;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Open files that connections leave alone: the 256 that the database keeps open, and as many for what it writes and for
/// the node itself.
const KEPT: u64 = 512;
/// Open files of a thread that waits for events.
const OF_A_THREAD: u64 = 4;
/// Open files that a connection to another node stands for: while some are made others are there.
const OF_A_PEER: u64 = 2;

/// Raises what this process may open to what the system lets it. How many files that is; none: any number.
pub(super) fn raise() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    match setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    }
}

/// Holds connections to what is left of so many open files in a node with so many threads: half of them at least. What
/// there is to say about that, if it is less than the configuration wants.
pub(super) fn bound(settings: &mut Settings, files: u64, threads: u64) -> Option<String> {
    let kept = KEPT + settings.admin.max_connections + OF_A_THREAD * threads;
    let left = files - kept.min(files / 2);
    let (clients, peers) = (settings.gateway.max_connections, settings.network.max_connections);
    let networked = !settings.network.listen.is_empty();
    let wanted = clients + if networked { peers * OF_A_PEER } else { 0 };
    if wanted <= left {
        return None;
    }
    let network = &mut settings.network.max_connections;
    *network = peers.min(left / 2 / OF_A_PEER).max(4);
    let of_peers = if networked { *network * OF_A_PEER } else { 0 };
    settings.gateway.max_connections = clients.min(left.saturating_sub(of_peers)).max(1);
    let needed = wanted + kept;
    Some(format!(
        "this process may open {files} files, and its configuration wants {needed}: there will be at most {} connections \
         of clients and {} of nodes, where gateway.max_connections is {clients} and network.max_connections {peers}; \
         raise the limit (`ulimit -Hn`, LimitNOFILE of systemd), or lower these fields",
        settings.gateway.max_connections, settings.network.max_connections
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounded(files: u64, listen: &str) -> (u64, u64, Option<String>) {
        let mut settings = Settings::default();
        settings.network.listen.0.extend((!listen.is_empty()).then(|| listen.to_owned()));
        let warning = bound(&mut settings, files, 4);
        (settings.gateway.max_connections, settings.network.max_connections, warning)
    }

    #[test]
    fn connections_are_as_configured_where_there_are_files_enough() {
        assert_eq!(bounded(16_384, "/ip4/127.0.0.1/tcp/0"), (10_000, 512, None));
        assert_eq!(bounded(u64::MAX, ""), (10_000, 512, None));
    }

    #[test]
    fn connections_leave_files_to_the_database_and_the_operator() {
        for files in [16, 64, 256, 1_024, 4_096, 10_240] {
            for listen in ["", "/ip4/127.0.0.1/tcp/0"] {
                let (clients, peers, warning) = bounded(files, listen);
                let taken = clients + if listen.is_empty() { 0 } else { peers * OF_A_PEER };
                // Of 16 files, four peers and one client take nine.
                let left = (files - (files / 2).min(560)).max(9);
                assert!(taken <= left && taken > left / 4, "{taken} of {files}");
                let warning = warning.expect("these are too few");
                assert!(warning.contains(&files.to_string()) && warning.contains(&clients.to_string()), "{warning}");
            }
        }
    }
}
