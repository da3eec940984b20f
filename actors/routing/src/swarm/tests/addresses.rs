//! How nodes find each other by addresses of all sorts, and whom they do not want.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use libp2p::PeerId;

use super::node::Node;
use super::shake::Shake;
use super::*;
use crate::swarm::address::Address;

/// Both ask each other.
async fn assert_connected(one: &Node, two: &Node) {
    eventually("both know each other", || one.knows(two) && two.knows(one)).await;
    assert_eq!(two.ask(one).await, Ok(said(two)));
    assert_eq!(one.ask(two).await, Ok(said(one)));
}

fn has_ipv6() -> bool {
    let has = TcpListener::bind("[::1]:0").is_ok();
    if !has {
        println!("skipped: needs IPv6");
    }
    has
}

/// Whether what is sent to everybody in the local network comes back.
fn has_multicast() -> bool {
    let heard = || -> std::io::Result<usize> {
        let (group, socket) = (Ipv4Addr::new(224, 0, 0, 251), UdpSocket::bind("0.0.0.0:0")?);
        socket.join_multicast_v4(&group, &Ipv4Addr::UNSPECIFIED)?;
        socket.set_read_timeout(Some(Duration::from_secs(1)))?;
        socket.send_to(b"comet", (group, socket.local_addr()?.port()))?;
        socket.recv(&mut [0; 8])
    };
    let heard = heard();
    if let Err(error) = &heard {
        println!("skipped: needs multicast: {error}");
    }
    heard.is_ok()
}

#[actix::test]
async fn ipv6_carries_requests() {
    for listen in ["/ip6/::1/tcp/0", "/ip6/::1/udp/0/quic-v1"].iter().filter(|_| has_ipv6()) {
        let (one, two) = pair([listen, listen]).await;
        assert_connected(&one, &two).await;
    }
}

#[actix::test]
async fn a_node_that_listens_on_all_of_ipv6_is_reached_there() {
    if has_ipv6() {
        let one = Node::start(1, "/ip6/::/tcp/0", &[]).await;
        let listening = one.listening().await;
        let port = listening.split('/').nth(4).unwrap();
        let two = Node::start(2, "/ip6/::1/tcp/0", &[seed(1, &format!("/ip6/::1/tcp/{port}"))]).await;
        assert_connected(&one, &two).await;
    }
}

#[actix::test]
async fn a_seed_may_have_a_name() {
    let one = Node::start(1, TCP, &[]).await;
    let named = one.listening().await.replace("/ip4/127.0.0.1/", "/dns4/localhost/");
    let two = Node::start(2, TCP, &[named]).await;
    assert_connected(&one, &two).await;
}

#[actix::test]
async fn nodes_of_the_local_network_find_each_other_if_they_may() {
    if has_multicast() {
        let start = |number| Node::with(number, "/ip4/0.0.0.0/tcp/0", &[], |network| network.mdns = true);
        let (one, two) = (start(801).await.unwrap(), start(802).await.unwrap());
        assert_connected(&one, &two).await;
    }
}

#[actix::test]
async fn a_seed_that_appears_later_is_joined() {
    let listen = memory();
    let two = Node::start(2, &memory(), &[seed(1, &listen)]).await;
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert!(!two.has_joined(), "there is nobody yet");
    let one = Node::start(1, &listen, &[]).await;
    assert_connected(&one, &two).await;
    eventually("it has joined", || two.has_joined()).await;
}

#[actix::test]
async fn who_blocks_a_peer_does_not_call_it_either() {
    let id = |number| seed(number, "").split("/p2p/").nth(1).unwrap().to_owned();
    let other = Node::start(2, &memory(), &[]).await;
    let seeds = [other.listening().await];
    let blocking = Node::with(1, &memory(), &seeds, |network| network.block = List(vec![id(2)])).await.unwrap();
    let allowing = Node::with(3, &memory(), &seeds, |network| network.allow = List(vec![id(4)])).await.unwrap();
    let friend = Node::start(4, &memory(), &[allowing.listening().await]).await;
    assert_connected(&friend, &allowing).await;
    for node in [&blocking, &allowing] {
        assert!(matches!(node.ask(&other).await, Err(SendError::Unreachable(_))));
        assert!(matches!(other.ask(node).await, Err(SendError::Unreachable(_))));
        assert!(!node.knows(&other) && !other.knows(node));
    }
}

#[actix::test]
async fn a_crowd_on_one_host_that_claims_addresses_elsewhere_gets_three_places() {
    let first = Node::with(0, TCP, &[], |network| network.group_private = true).await.unwrap();
    let seeds = [first.listening().await];
    let mut crowd = Vec::new();
    for number in 1..=8 {
        // Whoever calls from there calls from 127.0.0.1.
        crowd.push(Node::start(number, &format!("/ip4/127.0.{number}.1/tcp/0"), &seeds).await);
    }
    eventually("the crowd is connected", || crowd.iter().all(|node| node.knows(&first))).await;
    eventually("three are known", || first.known() >= 4).await;
    assert_eq!((first.status().await.peers, first.known()), (8, 4));
}

#[actix::test]
async fn of_many_nodes_that_are_named_in_one_address_group_few_are_dialled() {
    let one = Node::with(1, TCP, &[], |network| network.group_private = true).await.unwrap();
    let doors: Vec<_> = (0..10).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let peers: Vec<_> = doors.iter().map(|_| PeerId::random()).collect();
    let claim = |(door, peer): (&TcpListener, &PeerId)| {
        let address = door.local_addr().unwrap();
        wire::Node { id: peer.to_base58().into(), ip: address.ip(), port: address.port(), quic: false }
    };
    let nodes = doors.iter().zip(&peers).map(claim).collect();
    one.env.hear.call(Hear { nodes }).await.unwrap();
    for refused in join_all(peers.iter().map(|peer| one.ask_peer(*peer))).await {
        assert!(matches!(refused, Err(SendError::Unreachable(_))), "{refused:?}");
    }
    let knocked = doors.iter().filter(|door| door.set_nonblocking(true).and_then(|()| door.accept()).is_ok());
    assert_eq!(knocked.count(), 3);
}

#[actix::test]
async fn a_node_that_is_not_dialled_because_of_its_address_group_is_not_forgotten_for_that() {
    let one = Node::with(1, TCP, &[], |network| network.group_private = true).await.unwrap();
    let seeds = [one.listening().await];
    let two = Node::start(2, TCP, &seeds).await;
    assert_connected(&one, &two).await;
    two.plan.reach.wall_off(vec![Address::parse(&seeds[0].parse().unwrap()).unwrap()]);
    let claim =
        |port| wire::Node { id: PeerId::random().to_base58().into(), ip: [127, 0, 0, 1].into(), port, quic: false };
    one.env.hear.call(Hear { nodes: (1..=3).map(claim).collect() }).await.unwrap();
    let refused = async {
        while !matches!(one.ask(&two).await, Err(SendError::Unreachable(why)) if why.contains("of its group")) {
            // A publication in between makes it known again.
            one.plan.reach.know(std::iter::empty());
            one.shake.call(Shake::Disconnect(vec![two.peer])).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), refused).await.expect("it is not dialled");
    let three = Node::start(3, TCP, &seeds).await;
    eventually("what is known was published", || one.knows(&three)).await;
    assert!(one.knows(&two));
}

#[actix::test]
async fn a_private_address_that_is_only_named_is_not_dialled_by_a_public_node() {
    let one = Node::with(1, TCP, &[], |network| network.external = List(vec!["/ip4/8.8.8.8/tcp/1".to_owned()]));
    let one = one.await.unwrap();
    let two = Node::start(2, TCP, &[]).await;
    let port = two.listening().await.split('/').nth(4).unwrap().parse().unwrap();
    let claim = wire::Node { id: two.id.as_str().into(), ip: [127, 0, 0, 1].into(), port, quic: false };
    one.env.hear.call(Hear { nodes: vec![claim] }).await.unwrap();
    assert!(matches!(one.ask(&two).await, Err(SendError::Unreachable(_))));
    assert_eq!((one.known(), two.known()), (1, 1));
}
