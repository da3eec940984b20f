//! How a node that stops hands its objects over.

use std::time::Duration;

use super::world::{Manner, key, plain};
use super::{OBJECTS, REPLICAS, world};

#[actix::test]
async fn a_node_that_stops_hands_everything_over() {
    let world = world(4).await;
    world.fill(&world.nodes, OBJECTS, REPLICAS);
    let (leaving, staying) = world.nodes.split_first().expect("there are nodes");
    let stored = world.at(leaving, |site| site.records.len());
    assert_eq!(world.drain(leaving).await, stored as u64);
    world.at(leaving, |site| site.manner = Manner::Dead);
    world.assert_exact(staying, OBJECTS, REPLICAS);
}

#[actix::test]
async fn handing_over_ends_in_time_even_if_nobody_answers() {
    let world = world(4).await;
    world.fill(&world.nodes[..1], OBJECTS, 1);
    world.set(&world.nodes[1..], Manner::Mute);
    let begun = world.clock.now();
    assert_eq!(world.passing(world.drain(&world.nodes[0])).await, 0);
    assert!(world.clock.now().since(begun) <= Duration::from_secs(21));
}

#[actix::test]
async fn a_drain_does_not_wait_for_a_round_which_is_made_afterwards() {
    let world = world(18).await;
    let (node, others) = world.nodes.split_first().expect("there are nodes");
    world.store(node, &key(0), plain(1));
    world.set(others, Manner::Mute);
    let env = world.env(node);
    let round = env.service.replicate.ask(comet_kernel::contract::routing::Replicate).expect("it lives");
    world.rest().await;
    world.set(others, Manner::Honest);
    assert_eq!(world.drain(node).await, 1);
    round.await.expect("the round was made up for");
    assert_eq!(world.at(node, |site| site.pages), 3);
}
