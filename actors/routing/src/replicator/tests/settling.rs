//! When a node's own copies pass for up to date.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use comet_kernel::registry::Action;

use super::world::{Manner, World, plain};
use super::{OBJECTS, REPLICAS, world};
use crate::replicator::SETTLING;

#[actix::test]
async fn a_node_is_settled_only_after_it_has_compared_what_it_stores() {
    let world = world(8).await;
    world.fill(&world.nodes, OBJECTS, REPLICAS);
    let node = &world.nodes[0];
    let settled = world.env(node).service.settled;
    for other in &world.nodes[1..] {
        world.at(other, |site| {
            let newer = site.records.keys().map(|key| (key.clone(), Arc::new(plain(2)))).collect();
            site.records = newer;
        });
    }
    world.at(node, |site| site.broken_disk = true);
    world.changed(node, &world.nodes[1..], &[], true).await;
    world.rest().await;
    assert!(!settled.is_set());
    world.at(node, |site| site.broken_disk = false);
    world.clock.advance(Duration::from_secs(15));
    world.until(|| settled.is_set()).await;
    assert!(world.at(node, |site| site.records.values().all(|record| record.version == 2)));
}

#[actix::test]
async fn a_round_that_passed_over_damaged_places_settles_nothing_and_is_not_made_again_before_its_time() {
    let world = world(8).await;
    world.fill(&world.nodes, OBJECTS, REPLICAS);
    let node = &world.nodes[0];
    let settled = world.env(node).service.settled;
    world.at(node, |site| site.damaged_places = 1);
    world.changed(node, &world.nodes[1..], &[], true).await;
    world.until(|| world.at(node, |site| site.pages) > 0).await;
    world.rest().await;
    let pages = world.at(node, |site| site.pages);
    for _ in 0..100 {
        world.clock.advance(Duration::from_secs(3));
        world.rest().await;
    }
    assert!(!settled.is_set());
    assert!(world.at(node, |site| site.pages) <= pages + 1, "a change among the neighbours makes a round of its own");
    world.round(node).await;
    assert!(!settled.is_set());
    world.at(node, |site| site.damaged_places = 0);
    world.round(node).await;
    assert!(settled.is_set());
}

#[actix::test]
async fn a_node_that_hears_from_too_few_is_settled_after_some_rounds() {
    for manner in [Manner::Dead, Manner::Boasts] {
        let world = world(8).await;
        world.fill(&world.nodes, OBJECTS, REPLICAS);
        let node = &world.nodes[0];
        let settled = world.env(node).service.settled;
        world.set(&world.nodes[1..], manner);
        if manner == Manner::Boasts {
            world.nodes[1..].iter().for_each(|other| world.at(other, |site| site.records.clear()));
        }
        world.changed(node, &[], &[], true).await;
        for rounds in 1..SETTLING as usize {
            world.until(|| world.at(node, |site| site.pages) == rounds).await;
            world.rest().await;
            assert!(!settled.is_set(), "{manner:?}");
            world.clock.advance(Duration::from_secs(3));
        }
        world.until(|| settled.is_set()).await;
    }
}

#[actix::test]
async fn peers_that_cannot_read_what_they_store_make_nothing_certain() {
    let world = world(8).await;
    world.fill(&world.nodes, OBJECTS, REPLICAS);
    let node = &world.nodes[0];
    world.nodes[1..].iter().for_each(|other| world.at(other, |site| site.broken_disk = true));
    world.changed(node, &world.nodes[1..], &[], true).await;
    world.passing(world.round(node)).await;
    assert!(!world.env(node).service.settled.is_set());
}

#[actix::test]
async fn a_node_alone_with_nothing_is_settled_at_once() {
    let world = World::new(9, 1, 8).await;
    let settled = world.env(&world.nodes[0]).service.settled;
    world.rest().await;
    assert!(!settled.is_set(), "it has not joined");
    world.changed(&world.nodes[0], &[], &[], true).await;
    world.until(|| settled.is_set()).await;
}

#[actix::test]
async fn a_node_whose_replicator_was_restarted_while_alone_is_settled_at_once() {
    let world = World::new(24, 1, 8).await;
    let env = world.env(&world.nodes[0]);
    env.joined.store(true, Ordering::Release);
    env.kernel.registry.order("node/replicator", Action::Restart).await.unwrap();
    world.until(|| env.service.settled.is_set()).await;
}

#[actix::test]
async fn a_node_that_has_missed_a_change_is_settled_when_it_has_compared_again_and_can_store_what_it_lacked() {
    let world = world(8).await;
    world.fill(&world.nodes, OBJECTS, REPLICAS);
    let node = &world.nodes[0];
    let env = world.env(node);
    world.changed(node, &world.nodes[1..], &[], true).await;
    env.joined.store(true, Ordering::Release);
    world.until(|| env.service.settled.is_set()).await;
    env.storage.gate.set_shut(true);
    env.service.settled.miss();
    let key = world.at(node, |site| site.records.keys().next().expect("it stores something").clone());
    env.mend.tell(crate::messages::Mend { key }).expect("it lives");
    for other in &world.nodes[1..] {
        world.at(other, |site| site.records.values_mut().for_each(|record| *record = Arc::new(plain(2))));
    }
    let pass = async || {
        for _ in 0..5 {
            world.rest().await;
            world.clock.advance(Duration::from_secs(15));
        }
        world.at(node, |site| (site.pages, site.arrived.len()))
    };
    let (pages, fetched) = pass().await;
    assert!(!env.service.settled.is_set(), "what it lacks it could not store");
    assert_eq!(fetched, 0);
    assert_eq!(pass().await, (pages, 0), "it waits until it can store something");
    env.storage.gate.set_shut(false);
    world.clock.advance(Duration::from_secs(15));
    world.until(|| env.service.settled.is_set()).await;
    assert!(world.at(node, |site| site.records.values().all(|record| record.version == 2)));
}
