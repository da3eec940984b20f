//! What a round costs, and whom it leaves alone.

use std::sync::Arc;
use std::time::Duration;

use comet_kernel::Neighbour;

use super::world::{Manner, World, key, plain};
use super::{OBJECTS, REPLICAS, SIZE, world};

#[actix::test]
async fn peers_that_refuse_or_never_answer_or_lie_do_not_stop_a_round() {
    let world = world(5).await;
    let manners = [Manner::Mute, Manner::Refuses, Manner::Dead, Manner::Boasts];
    for (node, manner) in world.nodes[1..].iter().zip(manners) {
        world.at(node, |site| site.manner = manner);
    }
    let node = &world.nodes[0];
    (0..OBJECTS).for_each(|number| world.store(node, &key(number), plain(1)));
    world.passing(world.round(node)).await;
    for number in 0..OBJECTS {
        let nearest = World::nearest(&world.nodes, &key(number), REPLICAS);
        let honest = |node: &&Arc<_>| world.at(node, |site| site.manner == Manner::Honest);
        assert!(nearest.iter().filter(honest).all(|node| world.copy(node, &key(number)).is_some()), "object {number}");
        let complete = nearest.iter().all(|node| world.copy(node, &key(number)).is_some());
        let boast = nearest.iter().any(|node| world.at(node, |site| site.manner == Manner::Boasts));
        assert!(world.copy(node, &key(number)).is_some() || complete || boast, "the only copy of {number} is gone");
    }
}

#[actix::test]
async fn pages_comparisons_and_copies_under_way_are_bounded() {
    let world = World::new(7, 3, 2).await;
    (0..3_500).for_each(|number| world.store(&world.nodes[0], &key(number), plain(1)));
    world.round(&world.nodes[0]).await;
    assert_eq!(world.at(&world.nodes[0], |site| site.pages), 4);
    for node in &world.nodes[1..] {
        let (comparison, asked) = world.at(node, |site| (site.largest_comparison, site.most_asked));
        assert!(comparison <= 500 && asked <= 16, "{comparison} items, {asked} at once");
    }
    world.assert_exact(&world.nodes, 3_500, 2);
}

#[actix::test]
async fn what_another_holder_has_compared_lately_is_not_compared_again() {
    let world = world(14).await;
    world.fill(&world.nodes, OBJECTS, REPLICAS);
    for node in &world.nodes {
        world.changed(node, &[], &[], true).await;
        world.until(|| world.at(node, |site| site.env.service.settled.is_set())).await;
    }
    let compared = || world.nodes.iter().map(|node| world.at(node, |site| site.compared.len())).sum::<usize>();
    let before = compared();
    // By chance, their intervals end one after the other.
    for _ in 0..180 {
        world.clock.advance(Duration::from_secs(10));
        world.rest().await;
    }
    assert!(world.nodes.iter().all(|node| world.at(node, |site| site.pages) == 2), "each has made its round");
    let everything = OBJECTS * REPLICAS * (REPLICAS - 1);
    assert_eq!(before, everything);
    assert!(compared() - before < everything / 2, "{} of {everything}", compared() - before);
}

#[actix::test]
async fn where_the_table_is_thin_the_network_is_asked_once_for_each_region() {
    let world = World::new(15, 60, 3).await;
    let own = &world.nodes[0];
    let near = World::nearest(&world.nodes, &key(0), 60);
    // It knows those around itself and hardly any others.
    let mut known = world.nodes.clone();
    known.sort_by_key(|node| std::array::from_fn::<u8, 32, _>(|at| node.place[at] ^ own.place[at]));
    known.truncate(25);
    world.env(own).service.neighbours.publish(Neighbour::clone(own), known);
    (0..OBJECTS).for_each(|number| world.store(own, &key(number), plain(1)));
    world.round(own).await;
    assert!(world.env(own).tally.look_ups.read() > 0);
    assert!(near[..3].iter().all(|node| world.copy(node, &key(0)).is_some()));
    world.assert_exact(&world.nodes, OBJECTS, 3);
}

#[actix::test]
async fn what_is_wished_during_a_round_makes_one_more() {
    let world = world(17).await;
    let node = &world.nodes[0];
    world.store(node, &key(0), plain(1));
    let (first, second, third) = (world.round(node), world.round(node), world.round(node));
    futures::future::join3(first, second, third).await;
    let pages = world.at(node, |site| site.pages);
    assert!((1..=2).contains(&pages), "{pages}");
}

#[actix::test]
async fn what_was_sent_and_dropped_is_counted() {
    let world = world(20).await;
    let order = World::nearest(&world.nodes, &key(0), SIZE);
    world.store(&order[SIZE - 1], &key(0), plain(1));
    world.round(&order[SIZE - 1]).await;
    let tally = world.env(&order[SIZE - 1]).tally;
    assert_eq!((tally.copies_sent.read(), tally.copies_dropped.read()), (REPLICAS as u64, 1));
}

#[actix::test]
async fn a_peer_with_too_much_to_do_is_asked_again() {
    let world = world(23).await;
    let holders = World::nearest(&world.nodes, &key(0), REPLICAS);
    world.store(&holders[0], &key(0), plain(1));
    world.at(&holders[1], |site| site.busy = 3);
    world.set(&holders[2..3], Manner::Overworked);
    world.passing(world.round(&holders[0])).await;
    assert!(world.copy(&holders[1], &key(0)).is_some());
    assert_eq!(world.copy(&holders[2], &key(0)), None);
    assert!(world.copy(&holders[3], &key(0)).is_some());
}

#[actix::test]
async fn who_comes_back_is_compared_with_although_others_have_compared_everything_lately() {
    let world = world(24).await;
    world.fill(&world.nodes, OBJECTS, REPLICAS);
    let (back, others) = world.nodes.split_first().expect("there are nodes");
    for node in &world.nodes {
        world.changed(node, &[], &[], true).await;
        world.until(|| world.at(node, |site| site.env.service.settled.is_set())).await;
    }
    // While it is away, all its objects are changed, and the others compare them.
    world.set(std::slice::from_ref(back), Manner::Dead);
    let held: Vec<_> = (0..OBJECTS).filter(|number| world.copy(back, &key(*number)).is_some()).collect();
    for number in &held {
        let holders = World::nearest(&world.nodes, &key(*number), REPLICAS);
        holders.iter().filter(|node| *node != back).for_each(|node| world.store(node, &key(*number), plain(2)));
    }
    for node in others {
        world.passing(world.round(node)).await;
    }
    world.set(std::slice::from_ref(back), Manner::Honest);
    for node in others {
        world.changed(node, std::slice::from_ref(back), &[], false).await;
    }
    world.clock.advance(Duration::from_secs(3));
    let is_new = |number: &usize| world.copy(back, &key(*number)).is_some_and(|copy| copy.version == 2);
    world.until(|| held.iter().all(is_new)).await;
}
