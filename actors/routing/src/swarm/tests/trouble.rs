//! What swarms do when something goes wrong.

use std::sync::mpsc;

use libp2p::PeerId;

use super::node::Node;
use super::shake::Shake;
use super::*;
use crate::swarm::address::Address;

/// A node on a thread of its own, which can be made to hang.
struct Sleeper {
    peer: PeerId,
    /// Dropped, the thread goes on and ends.
    asleep: Option<mpsc::SyncSender<()>>,
    sleep: mpsc::SyncSender<mpsc::Receiver<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Sleeper {
    fn start(number: u16, seeds: Vec<String>) -> Self {
        let (sleep, orders) = mpsc::sync_channel::<mpsc::Receiver<()>>(1);
        let (tell, told) = mpsc::sync_channel(1);
        let live = move || async move {
            let mut node = Node::start(number, &memory(), &seeds).await;
            tell.send(node.peer).unwrap();
            loop {
                match orders.try_recv() {
                    Ok(until) => while until.recv().is_ok() {},
                    Err(mpsc::TryRecvError::Empty) => tokio::time::sleep(Duration::from_millis(10)).await,
                    Err(mpsc::TryRecvError::Disconnected) => break node.stop().await,
                }
            }
        };
        let thread = std::thread::spawn(move || actix::System::new().block_on(live()));
        Sleeper { peer: told.recv().unwrap(), asleep: None, sleep, thread: Some(thread) }
    }

    fn hang(&mut self) {
        let (asleep, until) = mpsc::sync_channel(0);
        self.sleep.send(until).unwrap();
        asleep.send(()).unwrap();
        self.asleep = Some(asleep);
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let (nobody, _) = mpsc::sync_channel(1);
        (self.sleep, self.asleep) = (nobody, None);
        self.thread.take().unwrap().join().unwrap();
    }
}

#[actix::test]
async fn a_node_that_hangs_costs_little_time_and_is_then_given_up() {
    // More than the request may take and one node of a query; less than a query that waits for all of them, and than the
    // asker would wait.
    const LITTLE: Duration = Duration::from_secs(4);
    let mut took = Vec::new();
    // A machine that was busy with something else cannot be told from an overrun by one look, and an overrun comes back.
    while took.len() < 3 && took.iter().all(|took| *took >= LITTLE) {
        took.push(past_nodes_that_hang().await);
    }
    assert!(took.iter().any(|took| *took < LITTLE), "{took:?}");
}

/// How long a request to a node that hangs and a look-up past two such nodes take. They are given up in the end.
async fn past_nodes_that_hang() -> Duration {
    let (listen, mut nodes) = (memory(), Vec::new());
    for number in 0..4 {
        let seeds = if number == 0 { Vec::new() } else { vec![seed(0, &listen)] };
        let listen = if number == 0 { listen.clone() } else { memory() };
        let node = Node::planned(
            number,
            &listen,
            &seeds,
            |network| network.request_timeout_ms = 500,
            |plan| (plan.ping, plan.pong) = (Duration::from_millis(500), Duration::from_millis(500)),
        );
        nodes.push(node.await.unwrap());
    }
    let mut sleepers: Vec<_> = (10..12).map(|number| Sleeper::start(number, vec![seed(0, &listen)])).collect();
    let (nodes, clock) = (&nodes, Clock::machine());
    eventually("all are known", || nodes.iter().all(|node| node.known() == 6)).await;
    for sleeper in &mut sleepers {
        // Half a second may be too little for the first request of a busy machine.
        let awake = async { while nodes[1].ask_peer(sleeper.peer).await != Ok(said(&nodes[1])) {} };
        tokio::time::timeout(PATIENCE, awake).await.expect("it answers");
        sleeper.hang();
    }
    let began = clock.now();
    assert_eq!(nodes[1].ask_peer(sleepers[0].peer).await, Err(SendError::TimedOut));
    let look_up = nodes[2].env.find.call(Find { key: Key::new(b"key").unwrap(), n: 8 });
    let found = look_up.await.unwrap();
    let took = clock.now().since(began);
    assert!(nodes.iter().all(|node| found.iter().any(|found| found.id == node.id)), "{found:?}");
    let gone = |node: &Node| sleepers.iter().all(|sleeper| !node.knows_peer(sleeper.peer));
    eventually("who hangs is given up", || nodes.iter().all(gone)).await;
    took
}

#[actix::test]
async fn two_halves_that_could_not_reach_each_other_find_each_other_again() {
    let nodes = network(8).await;
    eventually("all know each other", || nodes.iter().all(|node| node.known() == 8)).await;
    let halves = nodes.split_at(4);
    for (here, there) in [halves, (halves.1, halves.0)] {
        let walls: Vec<_> = there.iter().filter_map(|node| Address::parse(&node.plan.listen[0])).collect();
        for node in here {
            node.plan.reach.wall_off(walls.clone());
        }
    }
    for node in halves.0 {
        let peers = halves.1.iter().map(|node| node.peer).collect();
        node.shake.call(Shake::Disconnect(peers)).await.unwrap();
    }
    eventually("each half knows itself", || nodes.iter().all(|node| node.known() == 4)).await;
    assert!(matches!(nodes[0].ask(&nodes[7]).await, Err(SendError::Unreachable(_))));
    for node in &nodes {
        node.plan.reach.wall_off(Vec::new());
    }
    eventually("all know each other again", || nodes.iter().all(|node| node.known() == 8)).await;
    assert_eq!(nodes[0].ask(&nodes[7]).await, Ok(said(&nodes[0])));
}

#[actix::test]
async fn a_crowd_of_strangers_stops_neither_requests_nor_the_search_for_who_is_gone() {
    let (one, two) = pair([&memory(), &memory()]).await;
    let three = Node::start(3, &memory(), &[one.listening().await]).await;
    eventually("the third is known", || one.knows(&three)).await;
    assert_eq!(one.ask(&two).await, Ok(said(&one)));
    let crowd = 2 * limits::KNOWN_NODES + 1_000;
    let visit = |stay| one.shake.call(Shake::Visit { strangers: crowd, stay });
    assert!(visit(false).await.unwrap(), "who is gone takes no room");
    assert_eq!(one.ask(&three).await, Ok(said(&one)), "a peer that nothing was asked of before");
    assert!(visit(true).await.unwrap(), "strangers cannot take the room for those whom this node calls");
    assert_eq!(one.ask(&two).await, Ok(said(&one)), "its lane is open");
}

#[actix::test]
async fn a_node_takes_no_more_connections_than_it_may_and_serves_those_that_it_has() {
    let full = Node::with(0, &memory(), &[], |network| network.max_connections = 4).await.unwrap();
    let seeds = [full.listening().await];
    let mut crowd = Vec::new();
    for number in 1..=6 {
        crowd.push(Node::start(number, &memory(), &seeds).await);
    }
    let mut answers = Vec::new();
    for node in &crowd {
        answers.push(node.ask(&full).await);
    }
    let served = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(served, 3, "one in four is for those that it calls itself: {answers:?}");
    assert!(answers.iter().all(|answer| matches!(answer, Ok(_) | Err(SendError::Unreachable(_)))), "{answers:?}");
    assert_eq!(full.status().await.peers, 3);
    let mut first = crowd.remove(0);
    first.stop().await;
    let room = async {
        while join_all(crowd.iter().map(|node| node.ask(&full))).await.iter().flatten().count() < 3 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, room).await.expect("who leaves makes room");
}

#[actix::test]
async fn a_swarm_that_fails_is_started_again_where_it_was_and_what_rests_on_it_too() {
    for listen in [TCP, QUIC, &memory()] {
        let other = if listen.starts_with("/memory") { memory() } else { listen.to_owned() };
        let (one, two) = pair([listen, &other]).await;
        let listening = one.listening().await;
        let told = one.heard.lock().unwrap().len();
        let _it_is_gone = one.shake.call(Shake::Panic).await;
        eventually("it is back, and tells of who is there", || one.heard.lock().unwrap().len() > told).await;
        let find = |path: &str| one.env.kernel.registry.find(path).unwrap();
        assert_eq!(find("routing/swarm").restarts, 1);
        assert!(find("routing/swarm").last_exit.is_some_and(|exit| exit.contains("a test wants it")));
        let back = async {
            while two.ask(&one).await != Ok(said(&two))
                || one.ask(&two).await != Ok(said(&one))
                || one.status().await.listening != [listening.clone()]
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, back).await.expect("calls work again, at the same address");
    }
}
