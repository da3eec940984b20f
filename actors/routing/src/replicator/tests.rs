//! Networks of replicators, and what must become of their copies.

mod answering;
mod draining;
mod pace;
mod settling;
mod world;

use std::sync::Arc;
use std::time::Duration;

use comet_kernel::provenance::Removal;
use comet_kernel::{Neighbour, Record, Value};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use self::world::{Manner, START, World, key, plain, provenance, removed, scripted};

const SIZE: usize = 12;
const REPLICAS: usize = 4;
const OBJECTS: usize = 150;

async fn world(seed: u64) -> World {
    World::new(seed, SIZE, REPLICAS as u64).await
}

#[actix::test]
async fn after_nodes_have_died_every_object_has_all_its_copies_again_on_the_nearest() {
    for seed in 0..5 {
        let world = world(seed).await;
        world.fill(&world.nodes, OBJECTS, REPLICAS);
        let (dead, living) = world.nodes.split_at(REPLICAS - 1);
        world.set(dead, Manner::Dead);
        world.meet(living);
        world.round_each(living).await;
        world.assert_exact(living, OBJECTS, REPLICAS);
    }
}

#[actix::test]
async fn surplus_copies_vanish_once_the_nearest_have_theirs() {
    for seed in 0..5 {
        let world = world(seed).await;
        world.fill(&world.nodes[..8], OBJECTS, REPLICAS);
        world.round_each(&world.nodes).await;
        world.assert_exact(&world.nodes, OBJECTS, REPLICAS);
    }
}

#[actix::test]
async fn the_newest_version_wins_everywhere() {
    for seed in 0..5 {
        let world = world(seed).await;
        for number in 0..OBJECTS {
            for (rank, node) in World::nearest(&world.nodes, &key(number), REPLICAS).iter().enumerate() {
                world.store(node, &key(number), plain(1 + ((number + rank) % REPLICAS) as u64));
            }
        }
        world.round_each(&world.nodes).await;
        for number in 0..OBJECTS {
            let copies = world.copies(&key(number));
            assert!(copies.values().all(|copy| copy.version == REPLICAS as u64), "{copies:?}");
        }
    }
}

#[actix::test]
async fn copies_in_different_states_become_one_if_their_script_merges() {
    let world = world(1).await;
    for (number, merges) in [(0, true), (1, false)] {
        for (rank, node) in World::nearest(&world.nodes, &key(number), REPLICAS).iter().enumerate() {
            world.store(node, &key(number), scripted(7, rank as i64, merges));
        }
    }
    world.round_each(&world.nodes).await;
    let greatest = Value::Int(REPLICAS as i64 - 1);
    assert!(world.copies(&key(0)).values().all(|copy| copy.value == greatest));
    let untouched = |node: &Arc<Neighbour>| world.at(node, |site| site.arrived.contains(&key(1)));
    assert!(!world.nodes.iter().any(untouched), "copies that do not merge have nothing to tell each other");
}

#[actix::test]
async fn a_tombstone_takes_the_place_of_older_copies() {
    let world = world(2).await;
    let holders = World::nearest(&world.nodes, &key(0), REPLICAS);
    world.store_on(&holders, &key(0), &plain(1));
    world.store(&holders[2], &key(0), removed(2, Removal::Everywhere));
    world.round_each(&world.nodes).await;
    let copies = world.copies(&key(0));
    assert_eq!(copies.len(), REPLICAS);
    assert!(copies.values().all(|copy| copy.removed() == Some(Removal::Everywhere)));
}

#[actix::test]
async fn the_mark_of_a_copy_that_removed_itself_stays_where_it_is_and_keeps_the_copy_away() {
    let world = world(3).await;
    let holders = World::nearest(&world.nodes, &key(0), REPLICAS);
    world.store_on(&holders, &key(0), &plain(1));
    world.store(&holders[1], &key(0), removed(1, Removal::Here));
    world.store(&World::nearest(&world.nodes, &key(1), 1)[0], &key(1), removed(1, Removal::Here));
    world.round_each(&world.nodes).await;
    assert_eq!(world.copy(&holders[1], &key(0)).and_then(|copy| copy.removed()), Some(Removal::Here));
    assert_eq!(world.copies(&key(0)).values().filter(|copy| copy.removed().is_none()).count(), REPLICAS - 1);
    assert_eq!(world.copies(&key(1)).len(), 1);
}

#[actix::test]
async fn the_mark_of_a_newer_copy_is_not_fetched_even_if_it_is_offered() {
    let world = world(3).await;
    let holders = World::nearest(&world.nodes, &key(0), REPLICAS);
    world.set(&holders[1..2], Manner::Boasts);
    world.store(&holders[0], &key(0), plain(1));
    world.store(&holders[1], &key(0), removed(2, Removal::Here));
    world.round(&holders[0]).await;
    assert_eq!(world.copy(&holders[0], &key(0)).map(|copy| copy.version), Some(1));
}

#[actix::test]
async fn a_single_object_is_mended_after_a_short_time_and_no_other_is_touched() {
    let world = world(6).await;
    let holders = World::nearest(&world.nodes, &key(0), REPLICAS);
    (0..20).for_each(|number| world.store(&holders[0], &key(number), plain(1)));
    world.mend(&holders[0], &key(0)).await;
    world.rest().await;
    assert_eq!(world.copies(&key(0)).len(), 1);
    world.clock.advance(Duration::from_secs(3));
    world.until(|| world.copies(&key(0)).len() == REPLICAS).await;
    assert!((1..20).all(|number| world.copies(&key(number)).len() == 1));
    assert_eq!(world.at(&holders[0], |site| site.pages), 0, "nothing is walked through for one object");
}

#[actix::test]
async fn an_object_that_is_not_stored_here_is_mended_with_its_newest_copy() {
    let world = world(6).await;
    let order = World::nearest(&world.nodes, &key(0), SIZE);
    world.store(&order[0], &key(0), plain(1));
    world.store(&order[1], &key(0), plain(2));
    let afar = &order[SIZE - 1];
    world.mend(afar, &key(0)).await;
    world.clock.advance(Duration::from_secs(3));
    world
        .until(|| order[..REPLICAS].iter().all(|node| world.copy(node, &key(0)).is_some_and(|it| it.version == 2)))
        .await;
    assert_eq!(world.copy(afar, &key(0)), None);
}

#[actix::test]
async fn nothing_lives_longer_for_being_copied_and_what_has_ended_is_not_sent() {
    let world = world(10).await;
    let holders = World::nearest(&world.nodes, &key(0), REPLICAS);
    let end = START.after(Duration::from_secs(60));
    let ending = Record { expires: Some(end), ..plain(1) };
    world.store(&holders[0], &key(0), ending);
    let ended = Record { expires: Some(START), ..plain(1) };
    let other = World::nearest(&world.nodes, &key(1), REPLICAS);
    world.store(&other[0], &key(1), ended);
    world.clock.advance(Duration::from_secs(30));
    world.round_each(&world.nodes).await;
    let copies = world.copies(&key(0));
    assert_eq!(copies.len(), REPLICAS);
    assert!(copies.values().all(|copy| copy.expires == Some(end)));
    assert_eq!(world.copies(&key(1)).len(), 1);
}

#[actix::test]
async fn a_change_among_the_neighbours_concerns_only_the_objects_that_it_moves() {
    let world = world(11).await;
    let (new, old) = world.nodes.split_first().expect("there are nodes");
    world.meet(old);
    world.fill(old, OBJECTS, REPLICAS);
    world.meet(&world.nodes);
    for node in old {
        world.changed(node, std::slice::from_ref(new), &[], false).await;
    }
    world.rest().await;
    assert!(world.at(new, |site| site.records.is_empty()), "changes that follow each other make one round");
    world.clock.advance(Duration::from_secs(3));
    let moved: Vec<_> =
        (0..OBJECTS).filter(|number| World::nearest(&world.nodes, &key(*number), REPLICAS).contains(new)).collect();
    world.until(|| world.at(new, |site| site.records.len()) == moved.len()).await;
    world.rest().await;
    let arrived = world.at(new, |site| site.arrived.len());
    assert!(arrived <= 2 * moved.len(), "{arrived} copies of {} objects: two senders are enough", moved.len());
    let compared = |node: &Arc<_>| world.at(node, |site| site.compared.clone());
    let all: Vec<_> = world.nodes.iter().flat_map(compared).collect();
    assert!(all.iter().all(|item| moved.iter().any(|number| key(*number) == item.key)));
    world.clock.advance(Duration::from_secs(3));
    world.rest().await;
    // The very next keeps its copy until a round is about everything.
    assert!(moved.iter().all(|number| world.copies(&key(*number)).len() == REPLICAS + 1));
    world.round_each(&world.nodes).await;
    world.assert_exact(&world.nodes, OBJECTS, REPLICAS);
}

#[actix::test]
async fn what_the_first_senders_cannot_send_the_others_send_later() {
    let world = world(12).await;
    let order = World::nearest(&world.nodes, &key(0), SIZE);
    let (new, last) = (&order[0], &order[REPLICAS]);
    // Only the last in line has a copy: it leaves the sending to the others first.
    world.store(last, &key(0), plain(1));
    world.changed(last, std::slice::from_ref(new), &[], false).await;
    world.clock.advance(Duration::from_secs(3));
    world.until(|| world.at(new, |site| !site.compared.is_empty())).await;
    world.rest().await;
    assert_eq!(world.copy(new, &key(0)), None);
    world.clock.advance(Duration::from_secs(3));
    world.until(|| world.copy(new, &key(0)).is_some()).await;
}

#[actix::test]
async fn when_a_node_leaves_its_part_goes_to_the_next() {
    let world = world(13).await;
    world.fill(&world.nodes, OBJECTS, REPLICAS);
    let (gone, left) = world.nodes.split_first().expect("there are nodes");
    world.at(gone, |site| site.manner = Manner::Dead);
    world.meet(left);
    for node in left {
        world.changed(node, &[], std::slice::from_ref(gone), false).await;
    }
    world.clock.advance(Duration::from_secs(3));
    world.rest().await;
    world.clock.advance(Duration::from_secs(3));
    let whole = |number| {
        World::nearest(left, &key(number), REPLICAS).iter().all(|node| world.copy(node, &key(number)).is_some())
    };
    world.until(|| (0..OBJECTS).all(whole)).await;
}

#[actix::test]
async fn an_object_has_as_many_copies_as_its_put_asked_for() {
    let world = world(19).await;
    let record = provenance(plain(1), |provenance| provenance.replicas = Some(7));
    world.store(&world.nodes[0], &key(0), record);
    world.round_each(&world.nodes).await;
    let copies = world.copies(&key(0));
    let expected = World::nearest(&world.nodes, &key(0), 7);
    assert!(copies.len() == 7 && expected.iter().all(|node| copies.contains_key(&node.id)));
}

#[actix::test]
async fn an_object_that_changes_during_a_round_is_not_dropped() {
    let world = world(21).await;
    let order = World::nearest(&world.nodes, &key(0), SIZE);
    let last = &order[SIZE - 1];
    world.store(last, &key(0), plain(1));
    world.store_on(&order[..REPLICAS - 1], &key(0), &plain(1));
    world.set(&order[REPLICAS - 1..REPLICAS], Manner::Slow);
    let env = world.env(last);
    let round = env.service.replicate.ask(comet_kernel::contract::routing::Replicate).expect("it lives");
    world.until(|| world.at(&order[REPLICAS - 1], |site| site.asked > 0)).await;
    world.store(last, &key(0), plain(2));
    round.await.expect("it lives");
    assert_eq!(world.copy(last, &key(0)).map(|copy| copy.version), Some(2));
}

/// Nodes die and come back, with what they had, one after the other. Nothing but changes among the neighbours and the
/// passing of time makes rounds.
#[actix::test]
async fn through_churn_nothing_is_lost_and_all_copies_end_up_on_the_nearest() {
    for seed in 30..33 {
        let mut random = StdRng::seed_from_u64(seed);
        let world = world(seed).await;
        let mut living = world.nodes.clone();
        let mut dead = Vec::new();
        world.fill(&living, OBJECTS, REPLICAS);
        for _ in 0..12 {
            let dies = dead.is_empty() || (living.len() > 7 && random.random_bool(0.6));
            let (from, to) = if dies { (&mut living, &mut dead) } else { (&mut dead, &mut living) };
            let node = from.swap_remove(random.random_range(0..from.len()));
            to.push(node.clone());
            let node = std::slice::from_ref(&node);
            world.set(node, if dies { Manner::Dead } else { Manner::Honest });
            world.meet(&living);
            let (joined, left) = if dies { (&[][..], node) } else { (node, &[][..]) };
            for other in &living {
                world.changed(other, joined, left, true).await;
            }
            for _ in 0..4 {
                world.clock.advance(Duration::from_secs(2));
                world.rest().await;
            }
            assert!((0..OBJECTS).all(|number| world.copies(&key(number)).len() >= REPLICAS.min(living.len())));
        }
        for _ in 0..2 * 1_800 / 30 {
            world.clock.advance(Duration::from_secs(30));
            world.rest().await;
        }
        world.assert_exact(&living, OBJECTS, REPLICAS);
    }
}

#[actix::test]
async fn what_was_stored_before_this_node_had_neighbours_is_signed_and_spread() {
    let world = world(25).await;
    let alone = &world.nodes[0];
    world.store(alone, &key(0), Record { provenance: None, ..plain(1) });
    world.env(alone).service.neighbours.publish(Neighbour::clone(alone), Vec::new());
    world.round(alone).await;
    assert!(world.copy(alone, &key(0)).is_some_and(|copy| copy.provenance.is_none()), "it is alone");
    world.meet(&world.nodes);
    world.round(alone).await;
    for node in World::nearest(&world.nodes, &key(0), REPLICAS) {
        assert!(world.copy(&node, &key(0)).is_some_and(|copy| copy.provenance.is_some()));
    }
}
