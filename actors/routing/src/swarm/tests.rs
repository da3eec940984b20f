//! Swarms that talk with each other, within one process and over sockets of this machine.

mod addresses;
mod node;
mod shake;
mod trouble;

use std::time::Duration;

use comet_kernel::registry::Action;
use comet_kernel::settings::List;
use comet_kernel::{Clock, Key, Value, limits};
use futures::future::join_all;
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

use self::node::{Node, PATIENCE, eventually, memory, secret, seed};
use super::book::distance;
use crate::messages::{Find, Hear, SendError};
use crate::wire::{self, Answer};

const TCP: &str = "/ip4/127.0.0.1/tcp/0";
const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";

fn said(node: &Node) -> Answer {
    Answer::Value(Value::Text(node.id.as_str().into()))
}

/// Two nodes that know each other.
async fn pair(listen: [&str; 2]) -> (Node, Node) {
    let one = Node::start(1, listen[0], &[]).await;
    let seed = one.listening().await;
    let two = Node::start(2, listen[1], &[seed]).await;
    eventually("both know each other", || one.knows(&two) && two.knows(&one)).await;
    (one, two)
}

/// So many nodes, which all join the first one. They share one thread, so that they come in groups.
async fn network(size: u16) -> Vec<Node> {
    let first = memory();
    let seed = [seed(0, &first)];
    let mut nodes = vec![Node::start(0, &first, &[]).await];
    let others: Vec<_> = (1..size).map(|number| (number, memory())).collect();
    for group in others.chunks(5) {
        nodes.extend(join_all(group.iter().map(|(number, listen)| Node::start(*number, listen, &seed))).await);
        eventually("the group has joined", || nodes.iter().all(Node::has_joined)).await;
    }
    nodes
}

/// The part of the true eight nearest nodes to random places that the nodes know.
fn recall(nodes: &[Node]) -> f64 {
    let mut random = StdRng::seed_from_u64(1);
    let (mut right, mut all) = (0, 0);
    for node in nodes {
        for _ in 0..4 {
            let mut place = [0; 32];
            random.fill_bytes(&mut place);
            let mut nearest: Vec<_> = nodes.iter().collect();
            nearest.sort_by_key(|node| distance(&node.place, &place));
            let known = node.env.service.neighbours.nearest(&place, 8);
            right += known.iter().filter(|known| nearest[..8].iter().any(|node| node.id == known.id)).count();
            all += 8;
        }
    }
    f64::from(right as u32) / f64::from(all)
}

#[actix::test]
async fn two_nodes_find_and_ask_each_other() {
    let (one, two) = pair([&memory(), &memory()]).await;
    assert_eq!(one.ask(&two).await, Ok(said(&one)));
    assert_eq!(two.ask(&one).await, Ok(said(&two)));
    eventually("the second has joined", || two.has_joined()).await;
    let key = Key::new(b"key").unwrap();
    let found = two.env.find.call(Find { key: key.clone(), n: 8 }).await.unwrap();
    assert_eq!(found, two.env.service.neighbours.nearest(&key.place(), 8));
    assert_eq!(found.len(), 2);
    let peers = two.peers().await;
    assert_eq!((peers.len(), peers[0].outgoing, peers[0].sent, peers[0].received), (1, true, 1, 1));
    assert!(peers[0].agent.as_ref().is_some_and(|agent| agent.starts_with("comet/")), "{peers:?}");
}

#[actix::test]
async fn a_node_with_nobody_to_join_has_joined_at_once_and_finds_itself() {
    let node = Node::start(1, &memory(), &[]).await;
    eventually("it has joined", || node.has_joined()).await;
    let found = node.env.find.call(Find { key: Key::new(b"key").unwrap(), n: 8 }).await.unwrap();
    assert_eq!(found.iter().map(|found| &found.id).collect::<Vec<_>>(), [&node.id]);
}

#[actix::test]
async fn tcp_and_quic_both_carry_requests() {
    for listen in [TCP, QUIC] {
        let (one, two) = pair([listen, listen]).await;
        assert_eq!(two.ask(&one).await, Ok(said(&two)), "{listen}");
        assert_eq!(one.ask(&two).await, Ok(said(&one)), "{listen}");
    }
}

#[actix::test]
async fn many_nodes_soon_know_who_is_nearest_to_any_place() {
    let nodes = network(16).await;
    // To look costs as much as to converge, so it is not done all the time.
    let mut looks = 0;
    let looked = || {
        looks += 1;
        looks % 20 == 0 && recall(&nodes) > 0.99
    };
    eventually("nearly everyone is known where it matters", looked).await;
    let key = Key::new(b"some key").unwrap();
    let mut nearest: Vec<_> = nodes.iter().collect();
    nearest.sort_by_key(|node| distance(&node.place, &key.place()));
    let found = nodes[9].env.find.call(Find { key, n: 8 }).await.unwrap();
    let found: Vec<_> = found.iter().map(|node| &node.id).collect();
    assert_eq!(found, nearest[..8].iter().map(|node| &node.id).collect::<Vec<_>>());
}

#[actix::test]
async fn a_node_that_dies_is_soon_nobodys_neighbour() {
    let mut nodes = network(12).await;
    eventually("all know each other", || nodes.iter().all(|node| node.known() == 12)).await;
    let mut dead = nodes.remove(5);
    let told = |node: &Node, id| {
        let heard = node.heard.lock().unwrap();
        heard.iter().any(|changed| changed.left.iter().any(|left| left.id == id))
    };
    dead.stop().await;
    let took = eventually("it is gone", || nodes.iter().all(|node| !node.knows(&dead))).await;
    assert!(
        took < nodes[0].plan.ping,
        "the end of its connections tells, before any question that it leaves open: {took:?}"
    );
    eventually("replicators are told", || nodes.iter().all(|node| told(node, dead.id.clone()))).await;
    assert!(matches!(nodes[0].ask(&dead).await, Err(SendError::Unreachable(_))));
}

#[actix::test]
async fn a_node_that_comes_back_is_known_again_though_nobody_is_told_of_it() {
    let (mut one, two) = pair([TCP, TCP]).await;
    let listening = one.listening().await;
    one.stop().await;
    eventually("it is gone", || two.known() == 1).await;
    let listen = listening.split("/p2p/").next().unwrap();
    let one = Node::start(1, listen, &[]).await;
    eventually("it is back", || two.knows(&one) && one.knows(&two)).await;
}

#[actix::test]
async fn a_swarm_that_is_restarted_serves_again_where_it_was() {
    for [listen, other] in [[TCP, TCP], [QUIC, QUIC], [&memory(), &memory()]] {
        let (one, two) = pair([listen, other]).await;
        let listening = one.listening().await;
        one.env.kernel.registry.order("routing/swarm", Action::Restart).await.unwrap();
        assert!(one.knows(&two), "what was known still is");
        assert_eq!(one.ask(&two).await, Ok(said(&one)), "{listen}");
        let clock = Clock::machine();
        while two.ask(&one).await != Ok(said(&two)) || one.status().await.listening != [listening.clone()] {
            assert!(clock.now().elapsed() < PATIENCE, "{listen}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[actix::test]
async fn an_address_that_is_in_use_is_refused_with_its_field_and_what_to_do() {
    for listen in [TCP, QUIC] {
        let one = Node::start(1, listen, &[]).await;
        let taken = one.listening().await;
        let taken = taken.split("/p2p/").next().unwrap();
        let refused = Node::with(2, taken, &[], |_| ()).await.err().expect("it is in use");
        let expected = format!("network.listen[0] {taken}: address already in use; ");
        assert!(refused.contains(&expected) && refused.contains("choose another port"), "{refused}");
    }
}

#[actix::test]
async fn without_the_pre_shared_key_nobody_connects() {
    let folder = std::env::temp_dir().join(format!("comet-swarm-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let key = |name: &str, digit: &str| {
        let file = folder.join(name);
        std::fs::write(&file, digit.repeat(64) + "\n").unwrap();
        file.to_string_lossy().into_owned()
    };
    let (right, wrong) = (key("right", "a"), key("wrong", "b"));
    let start = |number, seeds: Vec<String>, file: &str| {
        let file = file.to_owned();
        async move { Node::with(number, TCP, &seeds, |network| network.key_file = file).await }
    };
    let one = start(1, Vec::new(), &right).await.unwrap();
    let seeds = vec![one.listening().await];
    let friend = start(2, seeds.clone(), &right).await.unwrap();
    let stranger = start(3, seeds.clone(), &wrong).await.unwrap();
    let nobody = Node::start(4, TCP, &seeds).await;
    eventually("the friend is known", || one.knows(&friend) && friend.knows(&one)).await;
    for outsider in [&stranger, &nobody] {
        assert!(matches!(outsider.ask(&one).await, Err(SendError::Unreachable(_))));
        assert_eq!(outsider.known(), 1);
    }
    assert_eq!(one.known(), 2);
    let refused = Node::with(5, QUIC, &[], |network| network.key_file.clone_from(&right)).await;
    assert!(refused.err().expect("a key needs TCP").contains("over TCP alone"));
    std::fs::remove_dir_all(folder).unwrap();
}

#[actix::test]
async fn who_is_blocked_or_not_allowed_does_not_connect() {
    let id = |number| seed(number, "").split("/p2p/").nth(1).unwrap().to_owned();
    let block = List(vec![id(2)]);
    let allow = List(vec![id(3)]);
    let blocking = Node::with(1, &memory(), &[], |network| network.block = block).await.unwrap();
    let allowing = Node::with(4, &memory(), &[], |network| network.allow = allow).await.unwrap();
    let seeds = [blocking.listening().await, allowing.listening().await];
    let outsider = Node::start(2, &memory(), &seeds).await;
    let friend = Node::start(3, &memory(), &seeds).await;
    eventually("the friend is known", || blocking.knows(&friend) && allowing.knows(&friend)).await;
    for node in [&blocking, &allowing] {
        assert!(matches!(outsider.ask(node).await, Err(SendError::Unreachable(_))));
        assert!(!node.knows(&outsider));
    }
}

#[actix::test]
async fn with_private_addresses_counted_a_crowd_on_one_host_gets_three_places() {
    let listen = memory();
    let change = |network: &mut comet_kernel::settings::Network| network.group_private = true;
    let first = Node::with(0, &listen, &[], change).await.unwrap();
    let seeds = [first.listening().await];
    let seeds = &seeds;
    let crowd = join_all((1..=8).map(|number| async move { Node::start(number, &memory(), seeds).await })).await;
    eventually("the crowd is connected", || crowd.iter().all(|node| node.knows(&first))).await;
    eventually("three are known", || first.known() == 4).await;
    assert_eq!(first.status().await.peers, 8);
    assert_eq!(first.known(), 4);
}

#[actix::test]
async fn a_node_that_is_only_named_is_dialled_and_known_once_it_has_proven_itself() {
    let one = Node::start(1, &memory(), &[]).await;
    let listen = memory();
    let two = Node::start(2, &listen, &[]).await;
    let port = |listen: &str| listen.rsplit('/').next().unwrap().parse().unwrap();
    let claim = |id: &str, port| wire::Node { id: id.into(), ip: [127, 0, 0, 1].into(), port, quic: false };
    let liar = seed(9, "").split("/p2p/").nth(1).unwrap().to_owned();
    let nodes = vec![claim(two.id.as_str(), port(&listen)), claim(&liar, port(&listen)), claim(&liar, 60_000)];
    one.env.hear.call(Hear { nodes }).await.unwrap();
    eventually("the honest one is known", || one.knows(&two)).await;
    assert_eq!(one.known(), 2);
    assert_ne!(secret(2), secret(9));
}
