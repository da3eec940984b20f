//! What a node stored while it was alone.

use std::sync::Arc;

use comet_kernel::contract::aso::{Op, Put};
use comet_kernel::{Record, UnixMillis, Value};

use super::world::{START, World, key, text};
use crate::messages::Adopt;
use crate::router::sign;

/// A node that neither stores the key nor is the last, and holds a record of its own from before.
async fn world() -> (World, usize) {
    let world = World::of(8).await;
    let near = world.near(&key("k"));
    (world, near[6])
}

fn hold(world: &World, node: usize, version: u64, owner: Option<&str>) {
    let owner = owner.map(Into::into);
    world.nodes[node].hold("k", Record { owner, ..Record::plain(version, text("old")) });
}

async fn adopt(world: &World, node: usize) -> Option<Arc<Record>> {
    world.run(world.nodes[node].env.adopt.call(Adopt { key: key("k") })).await.unwrap()
}

#[actix::test]
async fn what_a_node_stored_while_it_was_alone_is_signed_and_stays_as_old_as_it_is() {
    let (world, node) = world().await;
    for (owner, named) in [(None, None), (Some("default"), Some(String::new())), (Some("alice"), Some("/alice".into()))]
    {
        hold(&world, node, START.0 << 16, owner);
        let adopted = adopt(&world, node).await.unwrap();
        assert_eq!((adopted.version, &adopted.value), ((START.0 << 16) + 1, &text("old")));
        let named = named.map(|named: String| format!("{}{named}", world.nodes[node].id));
        assert_eq!(adopted.owner.as_deref(), named.as_deref());
        sign::check(&key("k"), &adopted, world.clock.unix()).unwrap();
        assert_eq!(world.nodes[node].record("k"), Some(adopted));
        assert_eq!(adopt(&world, node).await, None, "it is signed");
    }
}

#[actix::test]
async fn what_the_network_has_that_is_newer_or_owned_wins() {
    let (world, node) = world().await;
    world.put(node, "k", "new").await.unwrap();
    world.until(|| world.holders("k", &text("new")) == 5).await;
    hold(&world, node, START.0 << 15, None);
    assert_eq!((adopt(&world, node).await, world.nodes[node].record("k")), (None, None));
    let owned = Op::Put(Box::new(Put { owned: true, ..Put::plain(text("theirs")) }));
    let owner = world.near(&key("k"))[5];
    world.route(owner, "k", owned).await.unwrap();
    world.until(|| world.holders("k", &text("theirs")) == 5).await;
    hold(&world, node, (START.0 + 60_000) << 16, None);
    assert_eq!((adopt(&world, node).await, world.nodes[node].record("k")), (None, None));
    world.route(owner, "k", Op::Remove).await.unwrap();
    world.until(|| world.holders("k", &Value::Nil) == 5).await;
    hold(&world, node, START.0 << 15, None);
    assert_eq!((adopt(&world, node).await, world.nodes[node].record("k")), (None, None), "it was removed since");
    hold(&world, node, (START.0 + 60_000) << 16, None);
    assert!(adopt(&world, node).await.is_some(), "it was put since");
}

#[actix::test]
async fn a_node_that_is_alone_or_reaches_nobody_keeps_what_it_has() {
    let alone = World::of(1).await;
    hold(&alone, 0, START.0 << 16, None);
    assert_eq!(adopt(&alone, 0).await, None);
    assert!(alone.nodes[0].record("k").is_some());
    let (world, node) = world().await;
    hold(&world, node, START.0 << 16, None);
    (0..8).for_each(|other| world.behave(other, super::swarm::Behaviour::Dead));
    assert_eq!(adopt(&world, node).await, None);
    assert!(world.nodes[node].record("k").is_some_and(|record| record.provenance.is_none()));
    let ended = Record { expires: Some(UnixMillis(1)), ..Record::plain(1, text("old")) };
    world.nodes[node].hold("k", ended);
    assert_eq!(adopt(&world, node).await, None);
}
