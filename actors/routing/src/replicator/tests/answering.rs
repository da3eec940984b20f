//! What a comparison is answered with.

use std::sync::Arc;

use comet_kernel::contract::aso::Refusal;
use comet_kernel::provenance::Removal;
use comet_kernel::{Caller, Neighbour, NodeId};
use futures::FutureExt;

use super::world::{START, World, key, plain, removed, scripted};
use crate::messages::Compare;
use crate::swarm::place;
use crate::wire::{Answer, Item};

#[actix::test]
async fn a_comparison_is_answered_by_what_is_here_and_what_should_be() {
    let world = World::new(16, 60, 3).await;
    let order = World::nearest(&world.nodes, &key(0), 60);
    let (near, far, from) = (&order[0], &order[59], &order[1]);
    let item = |number, version, state| Item { key: key(number), version, state };
    for (present, asked, expected) in [
        (None, item(0, 5, 0), "wanted"),
        (Some(plain(4)), item(0, 5, 0), "wanted"),
        (Some(plain(5)), item(0, 5, 0), "held"),
        (Some(plain(6)), item(0, 5, 0), "newer"),
        (Some(removed(5, Removal::Here)), item(0, 5, 0), "held"),
        (Some(removed(6, Removal::Here)), item(0, 5, 0), "declined"),
        (Some(removed(6, Removal::Everywhere)), item(0, 5, 0), "newer"),
        (Some(scripted(5, 1, true)), item(0, 5, 99), "wanted"),
        (Some(scripted(5, 1, false)), item(0, 5, 99), "held"),
        (None, item(0, (START.0 + 600_000) << 16, 0), "declined"),
        (Some(plain((START.0 + 600_000) << 16)), item(0, 5, 0), "wanted"),
    ] {
        world.at(near, |site| site.records.clear());
        if let Some(record) = present {
            world.store(near, &key(0), record);
        }
        assert_eq!(word(world.compare(near, from, vec![asked.clone()]).await), expected, "{asked:?}");
    }
    assert_eq!(word(world.compare(far, from, vec![item(0, 5, 0)]).await), "declined", "it is none of its business");
}

#[actix::test]
async fn a_node_that_cannot_read_its_copy_does_not_say_how_it_stands() {
    let world = World::new(16, 2, 3).await;
    world.at(&world.nodes[0], |site| site.broken_disk = true);
    let item = Item { key: key(0), version: 5, state: 0 };
    let answer = world.compare(&world.nodes[0], &world.nodes[1], vec![item]).await;
    assert!(matches!(answer, Answer::Refused(Refusal::Unavailable(_))), "{answer:?}");
}

/// Compares with a node so many times, and counts how often it is refused at once.
async fn refused(world: &World, node: &Neighbour, from: &NodeId, times: usize) -> usize {
    let (door, from) = (world.env(node).compare, Arc::new(Caller::node(from)));
    let items = vec![Item { key: key(0), version: 1, state: 0 }; 500];
    let compare = || door.ask(Compare { from: from.clone(), items: items.clone() }).expect("it lives");
    let asked: Vec<_> = (0..times).map(|_| compare()).collect();
    world.rest().await;
    // Those that were not refused go on, whether anybody waits for them or not.
    let answered = asked.into_iter().filter_map(FutureExt::now_or_never);
    answered.filter(|answer| matches!(answer, Ok(Answer::Refused(_)))).count()
}

#[actix::test]
async fn a_peer_that_compares_without_end_leaves_room_for_others_and_strangers_leave_room_for_neighbours() {
    let world = World::new(26, 2, 3).await;
    let node = &world.nodes[0];
    world.at(node, |site| site.hung_disk = true);
    let id = |number| NodeId::from_public_key(&[number; 32]);
    assert_eq!(refused(&world, node, &id(0), 100).await, 96);
    for number in 1..8 {
        assert_eq!(refused(&world, node, &id(number), 4).await, 0, "stranger {number}");
    }
    assert_eq!(refused(&world, node, &id(8), 4).await, 4, "half is for neighbours");
    let place = place(&id(8).as_str().parse().expect("a peer id"));
    let neighbour = Neighbour { id: id(8), place, ..Neighbour::clone(&world.nodes[1]) };
    world.env(node).service.neighbours.publish(Neighbour::clone(node), [Arc::new(neighbour)]);
    assert_eq!(refused(&world, node, &id(8), 4).await, 0);
}

fn word(answer: Answer) -> &'static str {
    let Answer::Compared { wanted, newer, declined } = answer else { panic!("{answer:?}") };
    match (wanted.len(), newer.len(), declined.len()) {
        (0, 0, 0) => "held",
        (1, 0, 0) => "wanted",
        (0, 1, 0) => "newer",
        (0, 0, 1) => "declined",
        _ => panic!("one item, one word"),
    }
}
