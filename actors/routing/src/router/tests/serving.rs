//! Requests of peers: what is taken and what is not.

use std::sync::Arc;
use std::time::Duration;

use comet_kernel::contract::aso::{Arrived, Refusal};
use comet_kernel::provenance::{Removal, Signature};
use comet_kernel::{Caller, NodeId, Pending, Record, ScriptHash, UnixMillis, Value, limits};

use super::world::{START, World, key, lock, put_of, stamp_of, text};
use crate::messages::Serve;
use crate::router::SERVED_OF_ONE;
use crate::router::sign::Terms;
use crate::wire::{Answer, Ask, Asker, Item, Place};

fn is_forbidden(answer: &Answer) -> bool {
    matches!(answer, Answer::Refused(Refusal::Forbidden(_)))
}

fn get(asker: Asker) -> Ask {
    Ask::Get { key: key("k"), payload: Value::Nil, asker }
}

#[actix::test]
async fn a_caller_is_the_proven_peer_and_its_users_stand_behind_it() {
    let world = World::of(2).await;
    let peer = world.nodes[1].id.clone();
    let alice = Asker { user: Some("alice".into()), client: "10.1.1.1:5".into(), caused: 0 };
    world.serve(0, &peer, get(alice)).await;
    world.serve(0, &peer, get(Asker::default())).await;
    let calls: Vec<Caller> = lock(&world.nodes[0].shelf).calls.iter().map(|call| (*call.caller).clone()).collect();
    assert_eq!(&*calls[0].id, format!("{peer}/alice"));
    assert_eq!((&*calls[0].client, calls[0].port), ("10.1.1.1:5", 9));
    assert_eq!(&*calls.last().unwrap().id, peer.as_str());
}

#[actix::test]
async fn a_name_that_is_too_long_is_refused() {
    let world = World::of(2).await;
    let asker = Asker { user: Some("x".repeat(300).into()), ..Asker::default() };
    let answer = world.serve(0, &world.nodes[1].id, get(asker)).await;
    assert!(matches!(answer, Answer::Refused(Refusal::TooBig { .. })), "{answer:?}");
}

#[actix::test]
async fn a_put_of_the_signer_is_taken_and_so_is_one_that_is_handed_on_with_its_signature() {
    let world = World::of(4).await;
    let record = world.nodes[1].signed("k", |_| (), Terms::default());
    let signer = world.nodes[1].id.clone();
    let other = world.nodes[2].id.clone();
    assert!(matches!(world.serve(0, &signer, put_of("k", &record)).await, Answer::Stored { .. }));
    assert!(matches!(world.serve(3, &other, put_of("k", &record)).await, Answer::Stored { .. }));
    assert_eq!(world.holders("k", &text("signed")), 2);
}

#[actix::test]
async fn a_forged_put_is_refused_and_counted() {
    let world = World::of(3).await;
    let record = world.nodes[1].signed("k", |_| (), Terms::default());
    let changed = Record { value: text("forged"), ..record.clone() };
    let other = world.nodes[2].id.clone();
    for ask in [put_of("k", &changed), put_of("other", &record)] {
        assert!(is_forbidden(&world.serve(0, &other, ask).await));
    }
    assert_eq!(world.nodes[0].refused(), 2);
    assert!(lock(&world.nodes[0].shelf).records.is_empty());
}

#[actix::test]
async fn what_a_node_says_it_has_signed_itself_is_refused_without_its_signature() {
    let world = World::of(3).await;
    let mut record = world.nodes[1].signed("k", |_| (), Terms::default());
    record.provenance.as_mut().unwrap().signature = Signature([0; 64]);
    let signer = world.nodes[1].id.clone();
    let revise = |base: &Record, value| Ask::Revise {
        key: key("k"),
        base: base.version,
        value,
        stamp: stamp_of(&record),
        asker: Asker::default(),
    };
    let mut removal = stamp_of(&record);
    removal.provenance.removed = Some(Removal::Everywhere);
    removal.expires = Some(START);
    let base = world.nodes[1].signed("k", |record| record.version -= 1, Terms::default());
    world.nodes[0].hold("k", base.clone());
    for ask in [
        put_of("k", &record),
        Ask::Arrive { key: key("k"), record: Arc::new(record.clone()), caused: 0 },
        Ask::Remove { key: key("k"), stamp: removal, asker: Asker::default() },
        revise(&base, Some(record.value.clone())),
        revise(&base, None),
    ] {
        let answer = world.serve(0, &signer, ask.clone()).await;
        assert!(is_forbidden(&answer), "{ask:?}: {answer:?}");
    }
    assert_eq!(world.nodes[0].record("k").as_deref(), Some(&base));
}

#[actix::test]
async fn what_asks_for_more_copies_than_may_be_is_refused() {
    let world = World::of(3).await;
    let record = world.nodes[1].signed("k", |_| (), Terms { replicas: Some(u8::MAX), ..Terms::default() });
    let signer = world.nodes[1].id.clone();
    for ask in [put_of("k", &record), Ask::Arrive { key: key("k"), record: Arc::new(record.clone()), caused: 0 }] {
        assert!(is_forbidden(&world.serve(0, &signer, ask).await));
    }
    assert!(lock(&world.nodes[0].shelf).records.is_empty());
}

#[actix::test]
async fn nobody_puts_in_the_name_of_another_owner() {
    let world = World::of(3).await;
    let (thief, victim) = (world.nodes[1].id.clone(), world.nodes[2].id.clone());
    let owned = |owner: &str| world.nodes[1].signed("k", |record| record.owner = Some(owner.into()), Terms::default());
    assert!(is_forbidden(&world.serve(0, &thief, put_of("k", &owned(victim.as_str()))).await));
    assert!(is_forbidden(&world.serve(0, &thief, put_of("k", &owned("alice"))).await));
    let own = owned(&format!("{thief}/bob"));
    assert!(matches!(world.serve(0, &thief, put_of("k", &own)).await, Answer::Stored { .. }));
}

#[actix::test]
async fn a_version_from_the_future_is_refused() {
    let world = World::of(3).await;
    let future = |record: &mut Record| record.version = (START.0 + limits::CLOCK_SKEW_MS + 60_000) << 16;
    let record = world.nodes[1].signed("k", future, Terms::default());
    let signer = world.nodes[1].id.clone();
    assert!(is_forbidden(&world.serve(0, &signer, put_of("k", &record)).await));
    let arrive = Ask::Arrive { key: key("k"), record: Arc::new(record), caused: 0 };
    assert!(is_forbidden(&world.serve(0, &signer, arrive).await));
    world.put(0, "own", "v").await.unwrap();
    let own = world.nodes[0].record("own").unwrap();
    assert!(own.version >> 16 < START.0 + 60_000, "this node's clock was not carried along");
}

#[actix::test]
async fn what_a_node_stored_while_its_clock_was_an_hour_ahead_gives_way_to_what_is_put_now() {
    let world = World::of(8).await;
    let near = world.near(&key("k"));
    let (holder, asker) = (near[0], near[7]);
    let ahead = || world.nodes[holder].signed("k", |record| record.version += 3_600_000 << 16, Terms::default());
    for (number, writer) in [asker, holder].into_iter().enumerate() {
        let value = format!("put {number}");
        world.nodes[holder].hold("k", ahead());
        world.put(writer, "k", &value).await.unwrap();
        world.until(|| world.holders("k", &text(&value)) == 5).await;
        assert_eq!(world.get(holder, "k").await, Some(text(&value)));
    }
    let copy = world.nodes[near[1]].record("k").unwrap();
    world.nodes[holder].hold("k", ahead());
    let arrive = Ask::Arrive { key: key("k"), record: copy, caused: 0 };
    let arrived = world.serve(holder, &world.nodes[near[1]].id, arrive).await;
    assert!(matches!(arrived, Answer::Arrived(Arrived::Taken)), "{arrived:?}");
}

#[actix::test]
async fn a_tombstone_says_that_it_is_one_and_does_not_stay_for_ever() {
    let world = World::of(3).await;
    let signer = world.nodes[1].id.clone();
    let tombstone = |seconds: u64, removed| {
        let change = |record: &mut Record| {
            record.value = Value::Nil;
            record.expires = Some(UnixMillis(START.0 + seconds * 1_000));
        };
        let record = world.nodes[1].signed("k", change, Terms { removed, ..Terms::default() });
        Ask::Remove { key: key("k"), stamp: stamp_of(&record), asker: Asker::default() }
    };
    let day = limits::TOMBSTONE_SECONDS;
    assert!(is_forbidden(&world.serve(0, &signer, tombstone(day, None)).await));
    assert!(is_forbidden(&world.serve(0, &signer, tombstone(day, Some(Removal::Here))).await));
    assert!(is_forbidden(&world.serve(0, &signer, tombstone(10 * day, Some(Removal::Everywhere))).await));
    let good = tombstone(day, Some(Removal::Everywhere));
    assert!(matches!(world.serve(0, &signer, good).await, Answer::Removed { .. }));
}

#[actix::test]
async fn the_tombstone_of_one_copy_is_shown_to_nobody_and_taken_from_nobody() {
    let world = World::of(3).await;
    let here = |node: usize| {
        let change = |record: &mut Record| record.value = Value::Nil;
        world.nodes[node].signed("k", change, Terms { removed: Some(Removal::Here), ..Terms::default() })
    };
    world.nodes[0].hold("k", here(0));
    let peer = world.nodes[1].id.clone();
    assert_eq!(world.serve(0, &peer, Ask::Copy { key: key("k") }).await, Answer::Absent);
    assert_eq!(world.serve(0, &peer, get(Asker::default())).await, Answer::Absent);
    let arrive = Ask::Arrive { key: key("k"), record: Arc::new(here(1)), caused: 0 };
    assert!(is_forbidden(&world.serve(2, &peer, arrive).await));
}

#[actix::test]
async fn a_revision_comes_from_who_made_it_only() {
    let world = World::of(3).await;
    let base = world.nodes[1].signed("k", |_| (), Terms::default());
    world.nodes[0].hold("k", base.clone());
    let next = world.nodes[1].signed("k", |record| record.version += 1, Terms::default());
    let revise = || Ask::Revise {
        key: key("k"),
        base: base.version,
        value: Some(text("signed")),
        stamp: stamp_of(&next),
        asker: Asker::default(),
    };
    assert!(is_forbidden(&world.serve(0, &world.nodes[2].id, revise()).await));
    assert!(matches!(world.serve(0, &world.nodes[1].id, revise()).await, Answer::Stored { .. }));
    let again = world.serve(0, &world.nodes[1].id, revise()).await;
    assert_eq!(again, Answer::Stored { former: None }, "it has happened before");
}

#[actix::test]
async fn a_copy_is_taken_if_it_was_put_as_it_says() {
    let world = World::of(4).await;
    let record = world.nodes[1].signed("k", |_| (), Terms::default());
    let peer = world.nodes[2].id.clone();
    let arrive = |record: Record| Ask::Arrive { key: key("k"), record: Arc::new(record), caused: 0 };
    let longer = Record { expires: Some(UnixMillis(START.0 + 9_000_000)), ..record.clone() };
    for forged in [longer, Record { value: text("w"), ..record.clone() }, Record { provenance: None, ..record.clone() }]
    {
        assert!(is_forbidden(&world.serve(0, &peer, arrive(forged)).await));
    }
    assert_eq!(world.nodes[0].refused(), 3);
    assert_eq!(world.serve(0, &peer, arrive(record.clone())).await, Answer::Arrived(Arrived::Taken));
    assert_eq!(world.serve(0, &peer, arrive(record)).await, Answer::Arrived(Arrived::Same));
    assert_eq!(world.nodes[0].env.tally.copies_taken.read(), 1);
}

#[actix::test]
async fn too_long_a_chain_of_objects_is_refused() {
    let world = World::of(2).await;
    let peer = world.nodes[1].id.clone();
    let asker = |caused| Asker { caused, ..Asker::default() };
    assert_eq!(world.serve(0, &peer, get(asker(limits::SIGNED_CAUSATION))).await, Answer::Absent);
    assert!(is_forbidden(&world.serve(0, &peer, get(asker(limits::SIGNED_CAUSATION + 1))).await));
    let seen = || lock(&world.nodes[0].shelf).calls.last().unwrap().request.caused;
    assert_eq!(seen(), limits::SIGNED_CAUSATION);
    let record = Arc::new(world.nodes[1].signed("k", |_| (), Terms::default()));
    let arrive = |caused| Ask::Arrive { key: key("k"), record: record.clone(), caused };
    assert!(is_forbidden(&world.serve(0, &peer, arrive(limits::SIGNED_CAUSATION + 1)).await));
    assert_eq!(world.serve(0, &peer, arrive(1)).await, Answer::Arrived(Arrived::Taken));
    assert_eq!(seen(), 1, "who takes a copy knows whether an object has sent it");
}

#[actix::test]
async fn a_request_that_comes_too_late_is_not_carried_out() {
    let world = World::of(2).await;
    let from = Arc::new(Caller::node(&world.nodes[1].id));
    world.clock.advance(Duration::from_secs(1));
    let deadline = world.clock.now();
    let serve = Serve { from, ask: get(Asker::default()), deadline };
    let answer = world.run(world.nodes[0].env.serve.call(serve)).await.unwrap();
    assert!(matches!(answer, Answer::Refused(Refusal::Unavailable(_))));
    assert!(lock(&world.nodes[0].shelf).calls.is_empty());
}

/// Asks a node as a peer that waits for a minute, and may give up before.
pub(super) fn ask(world: &World, node: usize, from: usize, ask: Ask) -> Pending<Answer> {
    let from = Arc::new(Caller::node(&world.nodes[from].id));
    let deadline = world.clock.now() + Duration::from_secs(60);
    world.nodes[node].env.serve.ask(Serve { from, ask, deadline }).unwrap()
}

#[actix::test]
async fn one_peer_takes_no_room_from_others_and_what_it_gives_up_makes_room_again() {
    let world = World::of(3).await;
    let refused = |answer: &Answer| matches!(answer, Answer::Refused(Refusal::Unavailable(_)));
    lock(&world.nodes[0].shelf).hung = true;
    let parked: Vec<_> = (0..SERVED_OF_ONE).map(|_| ask(&world, 0, 1, get(Asker::default()))).collect();
    world.until(|| lock(&world.nodes[0].shelf).held.len() == SERVED_OF_ONE).await;
    lock(&world.nodes[0].shelf).hung = false;
    let (greedy, modest) = (world.nodes[1].id.clone(), world.nodes[2].id.clone());
    assert!(refused(&world.serve(0, &greedy, get(Asker::default())).await));
    assert_eq!(world.serve(0, &modest, get(Asker::default())).await, Answer::Absent);
    assert_eq!(world.get(0, "k").await, None, "this node's own clients are served");
    drop(parked);
    world.idle().await;
    assert_eq!(world.serve(0, &greedy, get(Asker::default())).await, Answer::Absent);
}

#[actix::test]
async fn a_node_tells_its_neighbours_and_its_scripts() {
    let world = World::of(30).await;
    let peer = world.nodes[1].id.clone();
    let Answer::Nodes(nodes) = world.serve(0, &peer, Ask::Nearest { place: Place(key("k").place()), n: 4 }).await
    else {
        panic!("nodes");
    };
    let near: Vec<NodeId> = world.near(&key("k"))[..4].iter().map(|node| world.nodes[*node].id.clone()).collect();
    assert_eq!(nodes.iter().map(|node| NodeId::from_text(&node.id)).collect::<Vec<_>>(), near);
    let many = world.serve(0, &peer, Ask::Nearest { place: Place([0; 32]), n: 255 }).await;
    assert!(matches!(many, Answer::Nodes(nodes) if nodes.len() == 20));
    lock(&world.nodes[0].library).push("source".into());
    let known = world.serve(0, &peer, Ask::Script { hash: ScriptHash::of("source") }).await;
    assert_eq!(known, Answer::Source(Some("source".into())));
    assert_eq!(world.serve(0, &peer, Ask::Script { hash: ScriptHash::of("x") }).await, Answer::Source(None));
}

#[actix::test]
async fn a_comparison_goes_to_the_replicator() {
    let world = World::of(2).await;
    let items = vec![Item { key: key("k"), version: 1, state: 0 }];
    let answer = world.serve(0, &world.nodes[1].id, Ask::Compare { items }).await;
    assert_eq!(answer, Answer::Compared { wanted: vec![key("k")], newer: Vec::new(), declined: Vec::new() });
}
