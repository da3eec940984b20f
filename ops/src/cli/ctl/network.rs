//! The network as the node sees it: peers, routing table, the way to a key.

use std::fmt::Write as _;

use comet_kernel::Key;
use comet_kernel::contract::admin::{Answer, Command};
use comet_kernel::contract::routing::{Bucket, Holder, Hop, NetworkStatus, Path, Peer};
use serde_json::{Value as Json, json};

use crate::cli::admin::{Admin, unexpected};
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::table::Table;
use crate::cli::{figures, json as documents};

/// `comet ctl peers`.
pub(super) fn peers(admin: &mut Admin, output: &mut Output) -> Result<(), Failure> {
    match admin.ask(Command::Peers)? {
        Answer::Peers(peers) if output.json => peers.iter().try_for_each(|peer| output.json(peer)),
        Answer::Peers(peers) => output.text(&tabulate_peers(&peers)),
        other => Err(unexpected(&other)),
    }
}

/// `comet ctl buckets`.
pub(super) fn buckets(admin: &mut Admin, output: &mut Output) -> Result<(), Failure> {
    match admin.ask(Command::Buckets)? {
        Answer::Buckets(buckets) if output.json => buckets.iter().try_for_each(|bucket| output.json(bucket)),
        Answer::Buckets(buckets) => output.text(&tabulate_buckets(&buckets)),
        other => Err(unexpected(&other)),
    }
}

/// `comet ctl network`.
pub(super) fn status(admin: &mut Admin, output: &mut Output) -> Result<(), Failure> {
    match admin.ask(Command::Network)? {
        Answer::Network(status) if output.json => output.json(&status),
        Answer::Network(status) => output.text(&describe(&status)),
        other => Err(unexpected(&other)),
    }
}

/// `comet ctl lookup`. `hops` shows the way besides its end.
pub(super) fn look_up(admin: &mut Admin, key: Key, hops: bool, output: &mut Output) -> Result<(), Failure> {
    match admin.ask(Command::LookUp { key: key.clone() })? {
        Answer::Path(path) if output.json => {
            let mut document = documents::key(&key);
            document.insert("holders".to_owned(), json!(path.holders));
            if hops {
                document.insert("hops".to_owned(), json!(path.hops));
            }
            document.insert("took_us".to_owned(), json!(path.took_us));
            output.json(&Json::Object(document))
        }
        Answer::Path(path) => output.text(&tabulate_path(&path, hops)),
        other => Err(unexpected(&other)),
    }
}

/// What an actor of routing tells about its work, with the names.
pub(super) fn tell(status: &NetworkStatus) -> Vec<(&'static str, String)> {
    vec![
        ("peers", status.peers.to_string()),
        ("nodes known", status.known.to_string()),
        ("settled", if status.settled { "yes" } else { "not yet" }.to_owned()),
        ("look-ups", status.look_ups.to_string()),
        ("requests for them", status.look_up_requests.to_string()),
        ("copies sent", status.copies_sent.to_string()),
        ("copies taken", status.copies_taken.to_string()),
        ("copies dropped", status.copies_dropped.to_string()),
        ("refused", status.refused.to_string()),
    ]
}

fn describe(status: &NetworkStatus) -> String {
    let mut table = Table::new(&[]);
    table.row(["node", &status.id]);
    status.listening.iter().for_each(|address| table.row(["joins at", address]));
    for (name, figure) in tell(status) {
        table.row([name, figure.as_str()]);
    }
    table.to_string()
}

fn tabulate_peers(peers: &[Peer]) -> String {
    let mut table = Table::new(&[
        "peer", "address", "dialled", "for", "ping", "runs", "sent", "answered", "failed", "received", "limited",
    ]);
    for peer in peers {
        let [sent, answered, failed, received, limited] =
            [peer.sent, peer.answered, peer.failed, peer.received, peer.limited].map(|figure| figure.to_string());
        table.row([
            peer.id.clone(),
            peer.address.clone(),
            if peer.outgoing { "by us" } else { "by it" }.to_owned(),
            figures::seconds(peer.connected_seconds),
            peer.ping_us.map_or("-".to_owned(), microseconds),
            peer.agent.clone().unwrap_or_else(|| "-".to_owned()),
            sent,
            answered,
            failed,
            received,
            limited,
        ]);
    }
    table.figures(&[6, 7, 8, 9, 10]);
    table.to_string()
}

fn tabulate_buckets(buckets: &[Bucket]) -> String {
    let mut table = Table::new(&["shared bits", "peer", "connected", "addresses"]);
    for (bucket, peer) in buckets.iter().flat_map(|bucket| bucket.peers.iter().map(move |peer| (bucket, peer))) {
        let connected = if peer.connected { "yes" } else { "-" };
        table.row([&bucket.shared_bits.to_string(), &peer.id, connected, &peer.addresses.join(" ")]);
    }
    table.figures(&[0]);
    table.to_string()
}

fn tabulate_path(path: &Path, hops: bool) -> String {
    let mut text = String::new();
    if hops {
        let _infallible = writeln!(text, "{}", tabulate_hops(&path.hops));
    }
    let _infallible = write!(text, "{}", tabulate_holders(&path.holders));
    let asked = path.hops.len();
    let _infallible = writeln!(text, "{asked} nodes asked for the way, {} in all", microseconds(path.took_us));
    text
}

fn tabulate_hops(hops: &[Hop]) -> String {
    let mut table = Table::new(&["hop", "asked", "shared bits", "took", "learnt"]);
    for hop in hops {
        table.row([
            hop.distance.to_string(),
            hop.id.clone(),
            hop.shared_bits.to_string(),
            hop.took_us.map_or("no answer".to_owned(), microseconds),
            hop.learnt.to_string(),
        ]);
    }
    table.figures(&[0, 2, 4]);
    table.to_string()
}

fn tabulate_holders(holders: &[Holder]) -> String {
    let mut table = Table::new(&["nearest", "shared bits", "holds version", "address"]);
    for holder in holders {
        let holds = match (&holder.error, holder.version) {
            (Some(error), _) => format!("? {error}"),
            (None, None) => "-".to_owned(),
            (None, Some(version)) if holder.removed => format!("{version}, removed"),
            (None, Some(version)) => version.to_string(),
        };
        table.row([holder.id.clone(), holder.shared_bits.to_string(), holds, holder.address.clone()]);
    }
    table.figures(&[1]);
    table.to_string()
}

fn microseconds(microseconds: u64) -> String {
    figures::nanoseconds(microseconds.saturating_mul(1_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_says_of_itself_cannot_act_on_the_terminal() {
        let agent = Some("comet\u{1b}[2J".to_owned());
        let peer = Peer { id: "12D3".to_owned(), agent, ping_us: Some(250), sent: 7, ..Peer::default() };
        let text = tabulate_peers(&[peer]);
        assert!(text.contains("comet\\u{1b}[2J") && text.contains("250 µs") && text.contains("by it"), "{text}");
    }

    #[test]
    fn a_look_up_shows_who_holds_what_and_the_way_if_asked() {
        let holder = |id: &str, version, removed, error: Option<&str>| Holder {
            id: id.to_owned(),
            version,
            removed,
            error: error.map(str::to_owned),
            ..Holder::default()
        };
        let holders = vec![
            holder("a", Some(7), false, None),
            holder("b", Some(8), true, None),
            holder("c", None, false, None),
            holder("d", None, false, Some("gone")),
        ];
        let hops = vec![Hop { id: "h".to_owned(), distance: 1, took_us: None, ..Hop::default() }];
        let path = Path { hops, holders, took_us: 1_500 };
        let text = tabulate_path(&path, false);
        for part in ["8, removed", "? gone", "1 nodes asked", "1500 µs"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("no answer"));
        assert!(tabulate_path(&path, true).contains("no answer"));
    }

    #[test]
    fn buckets_are_listed_peer_by_peer() {
        let peer = |id: &str| comet_kernel::contract::routing::BucketPeer { id: id.to_owned(), ..Default::default() };
        let text = tabulate_buckets(&[
            Bucket { shared_bits: 0, peers: vec![peer("a"), peer("b")] },
            Bucket { shared_bits: 3, peers: vec![peer("c")] },
        ]);
        assert_eq!(text.lines().count(), 4, "{text}");
    }

    #[test]
    fn the_network_is_described_with_the_addresses_to_join_at() {
        let listening = vec!["/ip4/127.0.0.1/tcp/1/p2p/x".to_owned()];
        let text = describe(&NetworkStatus { listening, known: 5, ..NetworkStatus::default() });
        assert!(text.contains("/ip4/127.0.0.1/tcp/1/p2p/x") && text.contains("not yet"), "{text}");
    }
}
