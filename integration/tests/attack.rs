//! Strangers at the port where nodes meet.

#![allow(clippy::unwrap_used, reason = "a test that unwraps in vain fails, as it should")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use comet_integration::cluster::Cluster;
use comet_integration::cluster::check::{self, Ledger};
use comet_integration::random::Random;
use comet_integration::wait::eventually;

const PATIENCE: Duration = Duration::from_secs(30);

fn address(cluster: &Cluster, number: usize) -> SocketAddr {
    let joins = &cluster[number].joins()[0];
    let port = joins.split('/').nth(4).and_then(|port| port.parse().ok()).expect("/ip4/ADDRESS/tcp/PORT/…");
    SocketAddr::from(([127, 0, 0, 1], port))
}

#[test]
fn bytes_of_strangers_do_no_harm() {
    let cluster = Cluster::quick().nodes(3).start();
    let mut connections: Vec<_> = cluster.live().iter().map(|&number| cluster[number].connect()).collect();
    let mut ledger = Ledger::default();
    let mut random = Random::new(5);
    for round in 0..60 {
        let mut stranger = TcpStream::connect(address(&cluster, round % 3)).unwrap();
        stranger.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        // Some begin as a peer does, some never do.
        if round % 2 == 0 {
            stranger.write_all(b"\x13/multistream/1.0.0\n\x07/noise\n").unwrap();
        }
        let bytes: Vec<u8> = (0..random.below(70_000)).map(|_| random.number() as u8).collect();
        // The node may hang up in the middle.
        let _taken = stranger.write_all(&bytes);
        let _answer = stranger.read(&mut [0; 1_000]);
        ledger.write(&mut connections[round % 3], &format!("k{}", round % 20)).unwrap();
    }
    // As many as hold a connection and say nothing.
    let idle: Vec<_> = (0..200).filter_map(|_| TcpStream::connect(address(&cluster, 0)).ok()).collect();
    assert!(idle.len() > 100);
    ledger.check(&cluster, PATIENCE);
    for number in cluster.live() {
        eventually(PATIENCE, "the nodes know each other and nobody else", || cluster.status(number).known == 3);
    }
    drop(idle);
    check::replies(&cluster, &mut connections);
    check::budgets(&cluster);
}
