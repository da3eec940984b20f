//! Nodes that lie: what they may not get away with, rule by rule.

use std::sync::Arc;

use comet_kernel::contract::aso::{Op, Put, Refusal, Reply};
use comet_kernel::provenance::{Removal, Signature};
use comet_kernel::record::{Active, ScriptRef};
use comet_kernel::{Record, ScriptHash, UnixMillis, Value};

use super::swarm::Behaviour;
use super::world::{START, World, key, settings, stamp_of, text};
use crate::router::sign::{Signer, Terms};
use crate::router::trial::liar::{Liar, Lie};
use crate::router::trial::{Shared, lock};
use crate::wire::{Answer, Ask};

/// Nine nodes; an object has five copies, and three nodes are asked at once.
async fn world() -> World {
    let mut settings = settings();
    settings.dht.read_parallel = 3;
    World::with(9, &settings).await
}

/// Has a node answer gets and copies with a record.
fn tells(world: &World, node: usize, record: &Record) {
    answers(world, node, Answer::Record(Arc::new(record.clone())));
}

fn answers(world: &World, node: usize, answer: Answer) {
    let lie = move |ask: &Ask| matches!(ask, Ask::Get { .. } | Ask::Copy { .. }).then(|| answer.clone());
    world.behave(node, Behaviour::Lying(Arc::new(lie)));
}

/// A record of a node, so much newer than the first.
fn newer(world: &World, node: usize, by: u64, change: impl FnOnce(&mut Record), removed: Option<Removal>) -> Record {
    let change = |record: &mut Record| {
        record.version += by;
        change(record);
        if removed.is_some() {
            record.value = Value::Nil;
            record.expires = Some(UnixMillis(START.0 + 1_000_000));
        }
    };
    world.nodes[node].signed("k", change, Terms { removed, ..Terms::default() })
}

/// The same in the name of another node.
fn in_the_name_of(world: &World, victim: usize, mut record: Record) -> Record {
    record.provenance.as_mut().unwrap().by = world.nodes[victim].id.as_str().into();
    record
}

/// Puts an owned object through a node that neither stores it nor lies, and answers the nodes of the key.
async fn owned(world: &World) -> (Vec<usize>, usize) {
    let near = world.near(&key("k"));
    let writer = near[8];
    let put = Put { owned: true, ..Put::plain(text("mine")) };
    world.route(writer, "k", Op::Put(Box::new(put))).await.unwrap();
    world.until(|| world.holders("k", &text("mine")) == 5).await;
    (near, writer)
}

#[actix::test]
async fn an_old_version_under_a_good_signature_does_not_outdo_the_newest() {
    let world = world().await;
    let near = world.near(&key("k"));
    let (old, new) =
        (newer(&world, near[8], 0, |_| (), None), newer(&world, near[8], 1, |it| it.value = text("new"), None));
    near[..5].iter().for_each(|node| world.nodes[*node].hold("k", new.clone()));
    for liar in &near[..2] {
        tells(&world, *liar, &old);
        assert_eq!(world.get(near[7], "k").await, Some(text("new")));
    }
    assert_eq!(world.nodes[near[7]].refused(), 0, "an old version is no forgery");
    world.until(|| world.nodes[near[7]].mended() == 1).await;
}

#[actix::test]
async fn a_newer_version_in_the_name_of_another_is_refused_and_counted() {
    let world = world().await;
    world.put(0, "k", "v").await.unwrap();
    world.until(|| world.holders("k", &text("v")) == 5).await;
    let near = world.near(&key("k"));
    let (asker, liar) = (near[7], near[1]);
    let record = newer(&world, liar, 9 << 20, |_| (), None);
    tells(&world, liar, &in_the_name_of(&world, near[8], record));
    assert_eq!(world.get(asker, "k").await, Some(text("v")));
    assert_eq!(world.nodes[asker].refused(), 1);
}

#[actix::test]
async fn a_removal_that_two_nodes_can_show_is_believed_whatever_the_other_three_refuse() {
    let world = world().await;
    let near = world.near(&key("k"));
    let tombstone = newer(&world, near[8], 9 << 20, |_| (), Some(Removal::Everywhere));
    near[..3].iter().for_each(|node| answers(&world, *node, Answer::Refused(Refusal::Thrown("forged".to_owned()))));
    near[3..5].iter().for_each(|node| world.nodes[*node].hold("k", tombstone.clone()));
    assert_eq!(world.get(near[7], "k").await, None);
}

#[actix::test]
async fn a_forged_tombstone_buries_nothing() {
    let world = world().await;
    world.put(0, "k", "v").await.unwrap();
    world.until(|| world.holders("k", &text("v")) == 5).await;
    let near = world.near(&key("k"));
    let tombstone = newer(&world, near[0], 9 << 20, |_| (), Some(Removal::Everywhere));
    tells(&world, near[0], &in_the_name_of(&world, near[8], tombstone));
    assert_eq!(world.get(near[7], "k").await, Some(text("v")));
    assert_eq!(world.nodes[near[7]].refused(), 1);
}

#[actix::test]
async fn an_owned_object_gives_way_to_its_owner_alone() {
    let world = world().await;
    let (near, writer) = owned(&world).await;
    let (asker, liar) = (near[7], near[0]);
    let itself: Arc<str> = world.nodes[liar].id.as_str().into();
    let lies = [
        newer(&world, liar, 9 << 20, |_| (), None),
        newer(&world, liar, 9 << 20, |record| record.owner = Some(itself.clone()), None),
        newer(&world, liar, 9 << 20, |record| record.owner = Some(itself.clone()), Some(Removal::Everywhere)),
        Record { version: 1, ..newer(&world, liar, 0, |record| record.owner = Some(itself.clone()), None) },
    ];
    for lie in &lies {
        tells(&world, liar, lie);
        assert_eq!(world.get(asker, "k").await, Some(text("mine")), "{lie:?}");
        assert_eq!(world.get(writer, "k").await, Some(text("mine")), "{lie:?}");
    }
    // Two that agree are still fewer than three.
    tells(&world, near[1], &lies[1]);
    tells(&world, liar, &lies[1]);
    assert_eq!(world.get(asker, "k").await, Some(text("mine")));
    world.route(writer, "k", Op::Remove).await.unwrap();
    assert_eq!(world.get(near[6], "k").await, None, "the owner may remove it");
}

#[actix::test]
async fn what_a_single_node_says_of_its_own_put_counts_only_if_it_may_have_been_acknowledged() {
    let world = world().await;
    world.put(0, "k", "v").await.unwrap();
    world.until(|| world.holders("k", &text("v")) == 5).await;
    let near = world.near(&key("k"));
    tells(&world, near[1], &newer(&world, near[1], 9 << 20, |_| (), None));
    assert_eq!(world.get(near[7], "k").await, Some(text("v")), "the others have never heard of it");
    near[2..5].iter().for_each(|node| world.behave(*node, Behaviour::Dead));
    assert_eq!(world.get(near[7], "k").await, Some(text("signed")), "it may be on those");
    let other = world.near(&key("lonely"));
    let change = |record: &mut Record| record.value = text("alone");
    let terms = Terms { replicas: Some(1), ..Terms::default() };
    world.nodes[other[0]].hold("lonely", world.nodes[other[0]].signed("lonely", change, terms));
    near[2..5].iter().for_each(|node| world.behave(*node, Behaviour::Slow(std::time::Duration::ZERO)));
    assert_eq!(world.get(other[7], "lonely").await, Some(text("alone")), "one copy was all that was wanted");
}

#[actix::test]
async fn one_node_that_always_claims_something_newer_does_not_keep_others_from_putting() {
    let world = world().await;
    let near = world.near(&key("k"));
    let liar = near[0];
    let secret = world.nodes[liar].secret;
    let lie = move |ask: &Ask| {
        let Ask::Put { key, stamp, .. } = ask else { return None };
        let mut former = Record::plain(stamp.version + 9, text("forged"));
        former.provenance = Some(Box::new(Signer::new(&secret).sign(key, &former, Terms::default())));
        Some(Answer::Stored { former: Some(Arc::new(former)) })
    };
    world.behave(liar, Behaviour::Lying(Arc::new(lie)));
    assert!(matches!(world.put(near[8], "k", "v").await, Ok(Reply::Stored { .. })));
    assert_eq!(world.get(near[7], "k").await, Some(text("v")));
}

#[actix::test]
async fn a_change_that_no_node_took_is_acknowledged_by_none_whatever_they_have_that_is_newer() {
    for removes in [false, true] {
        let world = world().await;
        let near = world.near(&key("k"));
        // Four minutes ahead, and nobody has signed it.
        let mut forged = newer(&world, near[8], 240_000 << 16, |_| (), None);
        forged.provenance.as_mut().unwrap().signature = Signature([0; 64]);
        near[..5].iter().for_each(|node| world.nodes[*node].hold("k", forged.clone()));
        let op = if removes { Op::Remove } else { Op::Put(Box::new(Put::plain(text("v")))) };
        let reply = world.route(near[7], "k", op).await;
        assert!(matches!(reply, Ok(Reply::Stored { .. } | Reply::Removed { .. })), "it goes past it: {reply:?}");
        let value = if removes { Value::Nil } else { text("v") };
        assert!(world.holders("k", &value) >= 3, "what was acknowledged is there");
    }
}

#[actix::test]
async fn one_that_makes_up_a_newest_version_does_not_hide_that_others_have_something_newer() {
    let world = world().await;
    let near = world.near(&key("k"));
    let ahead = newer(&world, near[8], 60_000 << 16, |_| (), None);
    near[1..3].iter().for_each(|node| world.nodes[*node].hold("k", ahead.clone()));
    let lie = |ask: &Ask| {
        let former = Some(Arc::new(Record::plain(u64::MAX, text("forged"))));
        matches!(ask, Ask::Put { .. }).then_some(Answer::Stored { former })
    };
    world.behave(near[0], Behaviour::Lying(Arc::new(lie)));
    near[3..5].iter().for_each(|node| world.behave(*node, Behaviour::Dead));
    // Two can store it, and three should.
    let refused = world.put(near[7], "k", "v").await;
    assert!(refused.is_err(), "{refused:?}");
    world.behave(near[3], Behaviour::Slow(std::time::Duration::ZERO));
    world.put(near[7], "k", "w").await.unwrap();
    assert_eq!(world.holders("k", &text("w")), 3);
}

#[actix::test]
async fn the_answer_of_a_script_needs_proof_that_there_is_a_script() {
    let world = world().await;
    world.put(0, "k", "v").await.unwrap();
    world.until(|| world.holders("k", &text("v")) == 5).await;
    let near = world.near(&key("k"));
    let plain = world.nodes[near[1]].record("k").unwrap();
    let scripted = Terms { script: Some(ScriptHash::of("x")), ..Terms::default() };
    let other = world.nodes[near[8]].signed("other", |record| record.version = plain.version + 9, scripted);
    let handled = |record: &Record| Answer::Handled { stamp: stamp_of(record), outcome: Ok(text("forged")) };
    for lie in [Answer::Value(text("forged")), handled(&plain), handled(&other)] {
        answers(&world, near[0], lie.clone());
        assert_eq!(world.get(near[7], "k").await, Some(text("v")), "{lie:?}");
    }
}

#[actix::test]
async fn the_answer_of_a_script_that_was_replaced_since_does_not_count() {
    let world = world().await;
    let near = world.near(&key("k"));
    let terms = || Terms { script: Some(ScriptHash::of("x")), ..Terms::default() };
    let record = |by: u64, value: &str| {
        let active = ScriptRef { hash: ScriptHash::of("x"), follows: None };
        let active = Some(Box::new(Active { script: active, state: Value::Nil, timer: None, quarantined: false }));
        let change = |record: &mut Record| {
            record.version += by;
            (record.value, record.active) = (text(value), active);
        };
        world.nodes[near[8]].signed("k", change, terms())
    };
    world.nodes[near[0]].hold("k", record(0, "old"));
    near[1..5].iter().for_each(|node| world.nodes[*node].hold("k", record(1, "new")));
    assert_eq!(world.get(near[7], "k").await, Some(text("new")));
    near[1..5].iter().for_each(|node| world.nodes[*node].hold("k", newer(&world, near[8], 2, |_| (), None)));
    assert_eq!(world.get(near[7], "k").await, Some(text("signed")), "nor against a plain value");
}

#[actix::test]
async fn a_refusal_that_no_script_stands_behind_hides_nothing() {
    let world = world().await;
    world.put(0, "k", "v").await.unwrap();
    world.until(|| world.holders("k", &text("v")) == 5).await;
    let near = world.near(&key("k"));
    let thrown = comet_kernel::contract::aso::Refusal::Thrown("no".to_owned());
    near[..2].iter().for_each(|liar| answers(&world, *liar, Answer::Refused(thrown.clone())));
    assert_eq!(world.get(near[7], "k").await, Some(text("v")));
}

#[actix::test]
async fn several_answers_hold_nothing_forged() {
    let world = world().await;
    world.put(0, "k", "v").await.unwrap();
    world.until(|| world.holders("k", &text("v")) == 5).await;
    let near = world.near(&key("k"));
    let node = &world.nodes[near[7]];
    let forged = newer(&world, near[1], 9 << 20, |_| (), None);
    near[1..3].iter().for_each(|liar| tells(&world, *liar, &in_the_name_of(&world, near[8], forged.clone())));
    let call = node.call(&world.clock, "k", Op::Get { payload: Value::Nil });
    let route = comet_kernel::contract::routing::Route { call, answers: 3 };
    let Reply::Several(replies) = world.run(node.send(route)).await.unwrap() else { panic!("several") };
    let good = |reply: &Reply| matches!(reply, Reply::Plain(record) if record.value == text("v"));
    assert!(replies.len() == 3 && replies.iter().all(good), "{replies:?}");
    assert_eq!(node.refused(), 2);
}

#[actix::test]
async fn an_acknowledged_put_is_readable_although_others_only_say_that_they_store_it() {
    let world = world().await;
    let near = world.near(&key("k"));
    let memory = Shared::default();
    for node in &near[..2] {
        let liar = Liar::new(Lie::Absence, &world.nodes[*node].secret, &memory);
        world.behave(*node, Behaviour::Lying(Arc::new(move |ask: &Ask| liar.answer(ask.clone()))));
    }
    world.put(near[8], "k", "v").await.unwrap();
    assert_eq!(world.get(near[7], "k").await, Some(text("v")));
    assert_eq!(lock(&memory).len(), 1, "they have acknowledged it");
    assert_eq!(world.holders("k", &text("v")), 3, "all the others have it");
}

#[actix::test]
async fn what_a_liar_sends_unasked_is_taken_by_nobody() {
    let world = world().await;
    let (near, _) = owned(&world).await;
    let liar = near[6];
    let memory = Shared::default();
    let lies = Liar::new(Lie::Usurpation, &world.nodes[liar].secret, &memory);
    let good = world.nodes[near[0]].record("k").unwrap();
    lies.answer(Ask::Arrive { key: key("k"), record: good.clone(), caused: 0 });
    for attack in lies.attacks(&key("k")) {
        world.serve(near[0], &world.nodes[liar].id, attack).await;
        assert_eq!(world.nodes[near[0]].record("k"), Some(good.clone()));
    }
    assert!(world.nodes[near[0]].refused() >= 3);
    assert_eq!(world.holders("k", &text("mine")), 5);
}

#[actix::test]
async fn nodes_that_do_not_exist_lead_a_look_up_by_hand_nowhere() {
    let world = world().await;
    world.put(0, "k", "v").await.unwrap();
    world.until(|| world.holders("k", &text("v")) == 5).await;
    let near = world.near(&key("k"));
    let lie = |ask: &Ask| {
        let strangers = (0..20).map(crate::router::trial::liar::nobody);
        matches!(ask, Ask::Nearest { .. }).then(|| Answer::Nodes(strangers.collect()))
    };
    near[..2].iter().for_each(|liar| world.behave(*liar, Behaviour::Lying(Arc::new(lie))));
    let asked = &world.nodes[near[7]];
    let look_up = comet_kernel::contract::routing::LookUp { key: key("k") };
    let path = world.run(asked.env.service.look_up.call(look_up)).await.unwrap();
    let holders: Vec<_> = path.holders.iter().map(|holder| (holder.id.clone(), holder.version.is_some())).collect();
    let right: Vec<_> = near[..5].iter().map(|node| (world.nodes[*node].id.to_string(), true)).collect();
    assert_eq!(holders, right);
}
