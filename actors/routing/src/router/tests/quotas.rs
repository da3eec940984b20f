//! Quotas: what one node may put on another, and hand over to it.

use std::sync::Arc;
use std::time::Duration;

use comet_kernel::contract::aso::{Arrived, Refusal, Reply};
use comet_kernel::provenance::Removal;
use comet_kernel::{Record, UnixMillis, Value};

use super::serving::ask;
use super::world::{START, World, key, lock, put_of, settings, stamp_of, text};
use crate::router::sign::{Signer, Terms};
use crate::wire::{Answer, Ask, Asker};

/// A network in which a node may put one MiB on another, once what is stored has been counted.
async fn world(nodes: usize) -> World {
    let mut settings = settings();
    settings.dht.quota_mib = 1;
    let world = World::with(nodes, &settings).await;
    world.idle().await;
    world
}

fn is_past_its_quota(answer: &Answer) -> bool {
    matches!(answer, Answer::Refused(Refusal::Forbidden(why)) if why.contains("dht.quota_mib"))
}

/// A copy of 250 KB, signed with a key that was made for it.
fn made_up(number: u8, name: &str) -> Ask {
    let record = Record::plain(START.0 << 16, text(&"x".repeat(250_000)));
    let signer = Signer::new(&[number; 32]);
    let provenance = Some(Box::new(signer.sign(&key(name), &record, Terms::default())));
    Ask::Arrive { key: key(name), record: Arc::new(Record { provenance, ..record }), caused: 0 }
}

/// How many copies of made-up signers a node takes from another, under keys that come one after the other.
async fn handed_over(world: &World, to: usize, from: usize, names: impl Iterator<Item = String>) -> usize {
    let from = world.nodes[from].id.clone();
    for (number, name) in names.take(100).enumerate() {
        let answer = world.serve(to, &from, made_up(100 + number as u8, &name)).await;
        if answer != Answer::Arrived(Arrived::Taken) {
            assert!(is_past_its_quota(&answer), "{answer:?}");
            return number;
        }
    }
    panic!("there is no end to it")
}

#[actix::test]
async fn one_peer_hands_over_so_much_and_no_more_whatever_signers_it_makes_up() {
    let world = world(3).await;
    let names = (0..).map(|number| format!("k{number}"));
    let taken = handed_over(&world, 0, 1, names).await;
    assert_eq!(taken, (16 << 20) / 250_260, "sixteen quotas");
    let own = put_of("own", &world.nodes[1].signed("own", |_| (), Terms::default()));
    let peers = [world.nodes[1].id.clone(), world.nodes[2].id.clone()];
    assert!(matches!(world.serve(0, &peers[0], own).await, Answer::Stored { .. }), "its own have their own room");
    let other = world.serve(0, &peers[1], made_up(99, "other")).await;
    assert_eq!(other, Answer::Arrived(Arrived::Taken), "another has its own");
}

#[actix::test]
async fn of_what_belongs_elsewhere_one_peer_hands_over_no_more_than_it_may_put() {
    let world = world(40).await;
    let far = |name: &String| world.near(&key(name)).iter().skip(20).any(|node| *node == 0);
    let names = || (0..).map(|number| format!("k{number}"));
    assert_eq!(handed_over(&world, 0, 1, names().filter(far)).await, (1 << 20) / 250_260);
    let near = names().filter(|name| !far(name));
    assert!(handed_over(&world, 0, 2, near).await > 60, "a neighbour brings what this node should store");
}

#[actix::test]
async fn what_one_node_puts_is_bounded_and_others_are_not_concerned() {
    let mut settings = settings();
    settings.dht.quota_mib = 1;
    let world = World::with(3, &settings).await;
    let put = |node: usize, name: &str| {
        let record =
            world.nodes[node].signed(name, |record| record.value = text(&"x".repeat(400_000)), Terms::default());
        put_of(name, &record)
    };
    let (greedy, modest) = (world.nodes[1].id.clone(), world.nodes[2].id.clone());
    world.idle().await;
    for name in ["a", "b"] {
        assert!(matches!(world.serve(0, &greedy, put(1, name)).await, Answer::Stored { .. }));
    }
    let refused = world.serve(0, &greedy, put(1, "c")).await;
    assert!(
        matches!(&refused, Answer::Refused(Refusal::Forbidden(why)) if why.contains("dht.quota_mib")),
        "{refused:?}"
    );
    assert!(matches!(world.serve(0, &modest, put(2, "c")).await, Answer::Stored { .. }));
    let change = |record: &mut Record| {
        record.version += 1;
        record.value = Value::Nil;
        record.expires = Some(UnixMillis(START.0 + 1_000));
    };
    let gone = world.nodes[1].signed("a", change, Terms { removed: Some(Removal::Everywhere), ..Terms::default() });
    let remove = Ask::Remove { key: key("a"), stamp: stamp_of(&gone), asker: Asker::default() };
    assert!(matches!(world.serve(0, &greedy, remove).await, Answer::Removed { .. }));
    assert!(matches!(world.serve(0, &greedy, put(1, "d")).await, Answer::Stored { .. }));
}

#[actix::test]
async fn a_restart_forgets_nothing_of_what_others_have_put() {
    let mut settings = settings();
    settings.dht.quota_mib = 1;
    let mut world = World::with(3, &settings).await;
    let record = |world: &World, name: &str, bytes: usize| {
        world.nodes[1].signed(name, |record| record.value = text(&"x".repeat(bytes)), Terms::default())
    };
    let greedy = world.nodes[1].id.clone();
    for number in 0..600 {
        let name = format!("k{number}");
        let put = put_of(&name, &record(&world, &name, 1_000));
        assert!(matches!(world.serve(0, &greedy, put).await, Answer::Stored { .. }));
    }
    world.restart(0).await;
    // While it counts, a sixteenth may come.
    let (small, big) = (put_of("s", &record(&world, "s", 20_000)), put_of("b", &record(&world, "b", 500_000)));
    assert!(matches!(world.serve(0, &greedy, small).await, Answer::Stored { .. }));
    world.idle().await;
    let refused = world.serve(0, &greedy, big).await;
    assert!(
        matches!(&refused, Answer::Refused(Refusal::Forbidden(why)) if why.contains("dht.quota_mib")),
        "{refused:?}"
    );
    let fits = put_of("f", &record(&world, "f", 200_000));
    assert!(matches!(world.serve(0, &greedy, fits).await, Answer::Stored { .. }));
}

#[actix::test]
async fn a_change_that_its_peer_has_given_up_counts_all_the_same() {
    let mut settings = settings();
    settings.dht.quota_mib = 1;
    let world = World::with(3, &settings).await;
    world.idle().await;
    let put = |name: &str| {
        let change = |record: &mut Record| record.value = text(&"x".repeat(600_000));
        put_of(name, &world.nodes[1].signed(name, change, Terms::default()))
    };
    lock(&world.nodes[0].shelf).hung = true;
    let given_up = ask(&world, 0, 1, put("a"));
    world.until(|| lock(&world.nodes[0].shelf).held.len() == 1).await;
    drop(given_up);
    world.idle().await;
    lock(&world.nodes[0].shelf).hung = false;
    let held = lock(&world.nodes[0].shelf).held.remove(0);
    held.answer(Ok(Reply::Stored { former: None }));
    world.idle().await;
    let answer = world.serve(0, &world.nodes[1].id, put("b")).await;
    assert!(matches!(answer, Answer::Refused(_)), "both are too much: {answer:?}");
}

#[actix::test]
async fn what_has_ended_by_its_time_to_live_gives_its_room_back() {
    let world = world(3).await;
    let greedy = world.nodes[1].id.clone();
    let mut taken = 0;
    for number in 0..30 {
        let name = format!("k{number}");
        let change = |record: &mut Record| record.value = text(&"x".repeat(100_000));
        let put = put_of(&name, &world.nodes[1].signed(&name, change, Terms::default()));
        taken += usize::from(matches!(world.serve(0, &greedy, put).await, Answer::Stored { .. }));
        world.idle().await;
        // A minute later it is gone, and nobody has said so.
        world.clock.advance(Duration::from_secs(60));
        lock(&world.nodes[0].shelf).records.clear();
    }
    assert_eq!(taken, 30);
}

#[actix::test]
async fn who_has_taken_all_may_put_less_in_its_place_and_remove() {
    let world = world(3).await;
    let greedy = world.nodes[1].id.clone();
    let record = |version: u64, bytes: usize| {
        let change = |record: &mut Record| {
            record.version += version;
            record.value = text(&"x".repeat(bytes));
        };
        world.nodes[1].signed("k", change, Terms::default())
    };
    let arrive = |record: Record| Ask::Arrive { key: key("k"), record: Arc::new(record), caused: 0 };
    assert!(matches!(world.serve(0, &greedy, put_of("k", &record(0, 1_000_000))).await, Answer::Stored { .. }));
    assert!(is_past_its_quota(&world.serve(0, &greedy, put_of("k", &record(1, 1_000_001))).await));
    assert!(matches!(world.serve(0, &greedy, put_of("k", &record(2, 900_000))).await, Answer::Stored { .. }));
    assert_eq!(world.serve(0, &greedy, arrive(record(3, 900_000))).await, Answer::Arrived(Arrived::Taken));
    assert!(is_past_its_quota(&world.serve(0, &greedy, arrive(record(4, 900_001))).await));
}

#[actix::test]
async fn nobody_uses_up_the_quota_of_another_by_handing_its_puts_on_again_and_again() {
    let world = world(3).await;
    let (victim, other) = (world.nodes[1].id.clone(), world.nodes[2].id.clone());
    let put = |name: &str| {
        let change = |record: &mut Record| record.value = text(&"x".repeat(250_000));
        put_of(name, &world.nodes[1].signed(name, change, Terms::default()))
    };
    assert!(matches!(world.serve(0, &victim, put("a")).await, Answer::Stored { .. }));
    for _ in 0..10 {
        assert!(matches!(world.serve(0, &other, put("a")).await, Answer::Stored { .. }));
    }
    assert!(matches!(world.serve(0, &victim, put("b")).await, Answer::Stored { .. }));
}

#[actix::test]
async fn tombstones_count_for_who_has_removed_and_what_is_there_may_be_removed_all_the_same() {
    let mut world = world(3).await;
    let [mut vandal, owner] = [1, 2].map(|node| world.nodes[node].id.clone());
    let remove = |world: &World, name: &str| {
        let gone = |record: &mut Record| {
            record.version += 1;
            record.value = Value::Nil;
            record.expires = Some(UnixMillis(START.0 + 24 * 3_600_000));
        };
        let terms = Terms { removed: Some(Removal::Everywhere), ..Terms::default() };
        let stamp = stamp_of(&world.nodes[1].signed(name, gone, terms));
        Ask::Remove { key: key(name), stamp, asker: Asker::default() }
    };
    let put = put_of("there", &world.nodes[2].signed("there", |_| (), Terms::default()));
    assert!(matches!(world.serve(0, &owner, put).await, Answer::Stored { .. }));
    // What a record takes, its key, and no value.
    let fit = (1 << 20) / (256 + 16 + 1);
    for number in 0..fit {
        let answer = world.serve(0, &vandal, remove(&world, &format!("nothing {number:08}"))).await;
        assert!(matches!(answer, Answer::Removed { .. }), "{answer:?}");
    }
    assert!(is_past_its_quota(&world.serve(0, &vandal, remove(&world, "nothing one more")).await));
    world.restart(0).await;
    world.idle().await;
    vandal = world.nodes[1].id.clone();
    assert!(is_past_its_quota(&world.serve(0, &vandal, remove(&world, "nothing else")).await), "they are stored");
    assert!(matches!(world.serve(0, &vandal, remove(&world, "there")).await, Answer::Removed { .. }));
}
