//! Changes whose version, end, owner and origin another node has said; removals that leave tombstones.

use std::sync::Arc;

use comet_kernel::contract::aso::{Arrived, Condition, Lifetime, Op, Refusal, Reply, Revision, Stamp};
use comet_kernel::provenance::{Provenance, Removal, Signature};
use comet_kernel::{Record, UnixMillis, Value, limits};

use super::scripted::COUNTER;
use super::world::{
    Answer, SECOND, START, World, add, get, int, kept, put, removed, set, set_for, set_if, stored, text, value,
};

/// A version that is so many milliseconds younger than the beginning of the test.
pub fn version(milliseconds: u64) -> u64 {
    (START.0 + milliseconds) << 16
}

pub fn provenance() -> Provenance {
    Provenance { by: "12D3A".into(), signature: Signature([7; 64]), script: None, replicas: Some(3), removed: None }
}

pub fn stamp(milliseconds: u64) -> Stamp {
    Stamp { version: version(milliseconds), provenance: provenance(), expires: None, owner: None }
}

pub fn revise(base: u64, value: Option<Value>) -> Op {
    Op::Revise(Box::new(Revision { base, value }))
}

/// The version that the record here has, tombstones included.
pub async fn copied(world: &World, name: &str) -> Option<comet_kernel::Record> {
    match world.ask(name, Op::Copy).await.expect("answered") {
        Reply::Plain(record) => Some((*record).clone()),
        Reply::Absent => None,
        other => panic!("no copy: {other:?}"),
    }
}

fn after(seconds: u64) -> UnixMillis {
    UnixMillis(START.0 + seconds * 1_000)
}

#[actix::test]
async fn a_stamped_put_gets_exactly_what_its_stamp_says() {
    for world in [World::networked().await, World::sharded().await] {
        for (name, op) in [("plain", set("v")), ("object", put("v", COUNTER))] {
            let stamp = Stamp { expires: Some(after(60)), owner: Some("12D3A/me".into()), ..stamp(5) };
            assert_eq!(stored(world.ask_stamped(name, op, stamp.clone()).await), None);
            let record = world.stored(name).expect("stored");
            assert_eq!((record.version, record.expires), (stamp.version, stamp.expires), "{name}");
            assert_eq!((record.owner.clone(), record.provenance.as_deref()), (stamp.owner, Some(&stamp.provenance)));
            assert_eq!(world.armed(name), Some(after(60)));
        }
        assert_eq!(world.get("object").await, int(1));
        world.flush().await;
        let record = world.stored("object").expect("stored");
        assert_eq!((record.version, record.provenance.as_deref()), (version(5), Some(&provenance())));
    }
}

#[actix::test]
async fn an_objects_provenance_outlives_its_sleep() {
    let world = World::networked().await;
    stored(world.ask_stamped("a", put("v", COUNTER), stamp(5)).await);
    world.passivate("a").await;
    assert_eq!(world.get("a").await, int(1));
    let record = copied(&world, "a").await.expect("there");
    assert_eq!((record.version, record.provenance.as_deref()), (version(5), Some(&provenance())));
}

#[actix::test]
async fn a_stamp_that_is_not_newer_changes_nothing_and_is_answered_as_done() {
    let world = World::sharded().await;
    for (name, op) in [("plain", set("new")), ("object", put("new", "fn onGet() { this.value }"))] {
        stored(world.ask_stamped(name, op, stamp(5)).await);
        let again = set_if("old", Condition::IfAbsent);
        assert_eq!(stored(world.ask_stamped(name, again, stamp(5)).await), None, "it has happened before");
        assert_eq!(removed(world.ask_stamped(name, Op::Remove, stamp(5)).await), None);
        let revision = || revise(version(5), Some(text("old")));
        assert_eq!(stored(world.ask_stamped(name, revision(), stamp(5)).await), None);
        // Whoever comes too late learns what is there; a script alone shows its value.
        let there = Some(if name == "plain" { text("new") } else { Value::Nil });
        assert_eq!(stored(world.ask_stamped(name, set("old"), stamp(4)).await), there);
        assert_eq!(stored(world.ask_stamped(name, put("old", COUNTER), stamp(4)).await), there);
        assert_eq!(stored(world.ask_stamped(name, set_if("old", Condition::IfAbsent), stamp(4)).await), there);
        assert_eq!(removed(world.ask_stamped(name, Op::Remove, stamp(4)).await), there);
        assert_eq!(kept(world.ask_stamped(name, revision(), stamp(4)).await), there);
        assert_eq!(world.get(name).await, text("new"));
    }
}

#[actix::test]
async fn what_was_stored_while_the_clock_was_an_hour_ahead_gives_way_to_what_comes_now() {
    let world = World::sharded().await;
    for (name, op) in [("plain", set("ahead")), ("object", put("ahead", "fn onGet() { this.value }"))] {
        let ahead = async || stored(world.ask_stamped(name, op.clone(), stamp(3_600_000)).await);
        ahead().await;
        assert!(stored(world.ask_stamped(name, set("new"), stamp(5)).await).is_some(), "{name}");
        assert_eq!(world.get(name).await, text("new"));
        ahead().await;
        removed(world.ask_stamped(name, Op::Remove, stamp(6)).await);
        assert_eq!(world.get(name).await, Value::Nil, "{name}");
        ahead().await;
        let copy = Record { provenance: Some(Box::new(provenance())), ..Record::plain(version(7), text("copy")) };
        let arrived = world.ask_as("12D3peer", name, Op::Arrive(Arc::new(copy))).await;
        assert!(matches!(arrived, Ok(Reply::Arrived(Arrived::Taken))), "{name}: {arrived:?}");
        assert_eq!(world.get(name).await, text("copy"));
    }
}

#[actix::test]
async fn what_a_tombstone_or_an_ended_life_was_newer_than_stays_away() {
    let world = World::networked().await;
    removed(world.ask_stamped("removed", Op::Remove, stamp(5)).await);
    let short = Stamp { expires: Some(after(1)), ..stamp(5) };
    stored(world.ask_stamped("ended", set("v"), short).await);
    world.pass(2).await;
    for name in ["removed", "ended"] {
        stored(world.ask_stamped(name, set("late"), stamp(4)).await);
        stored(world.ask_stamped(name, put("late", COUNTER), stamp(4)).await);
        assert_eq!(world.get(name).await, Value::Nil, "{name}");
        stored(world.ask_stamped(name, set("new"), stamp(6)).await);
        assert_eq!(world.get(name).await, text("new"));
    }
}

#[actix::test]
async fn the_end_of_a_life_leaves_a_mark_where_something_older_may_outlive_it() {
    let world = World::networked().await;
    let ends = |seconds, milliseconds| Stamp { expires: Some(after(seconds)), ..stamp(milliseconds) };
    for (name, new) in [("plain", set("new")), ("object", put("new", COUNTER)), ("revised", revise(version(5), None))] {
        stored(world.ask_stamped(name, set("old"), stamp(5)).await);
        stored(world.ask_stamped(name, new, ends(10, 6)).await);
        stored(world.ask_stamped(name, set("newest"), ends(10, 7)).await);
        stored(world.ask_stamped(name, put("last", COUNTER), ends(10, 8)).await);
    }
    for name in ["plain", "object", "revised"] {
        stored(world.ask_stamped(&format!("{name}, later"), set("old"), ends(9, 5)).await);
        stored(world.ask_stamped(&format!("{name}, later"), set("new"), ends(10, 6)).await);
    }
    world.pass(10).await;
    for name in ["plain", "object", "revised"] {
        let day = after(10 + limits::TOMBSTONE_SECONDS);
        assert_eq!(world.tick(name).await.or(Some(day)), Some(day), "{name}");
        world.flush().await;
        assert_eq!(world.get(name).await, Value::Nil);
        let mark = world.stored(name).expect("it is marked");
        assert_eq!((mark.version, mark.removed()), (version(8), Some(Removal::Ended)));
        assert_eq!(world.armed(name), Some(day));
        world.tick(&format!("{name}, later")).await;
        assert!(world.stored(&format!("{name}, later")).is_none(), "what was there has ended sooner");
    }
    world.clock.advance(SECOND * limits::TOMBSTONE_SECONDS as u32);
    for name in ["plain", "object", "revised"] {
        assert_eq!(world.tick(name).await, None);
        world.flush().await;
        assert!(world.stored(name).is_none());
    }
}

#[actix::test]
async fn a_version_that_a_shard_gives_is_newer_than_every_version_it_has_heard_of() {
    let world = World::networked().await;
    let ahead = 60_000;
    stored(world.ask_stamped("a", set("v"), stamp(ahead)).await);
    world.set("another", "v").await;
    assert!(world.stored("another").expect("stored").version > version(ahead));
    removed(world.ask_stamped("b", Op::Remove, stamp(2 * ahead)).await);
    world.set("b", "v").await;
    assert!(world.stored("b").expect("stored").version > version(2 * ahead), "than a tombstone's");
}

#[actix::test]
async fn a_put_that_has_ended_already_leaves_nothing_that_older_versions_could_replace() {
    let world = World::networked().await;
    stored(world.ask_stamped("a", set("v"), stamp(1)).await);
    let over = Stamp { expires: Some(START), ..stamp(5) };
    assert_eq!(stored(world.ask_stamped("a", set("w"), over).await), Some(text("v")));
    assert_eq!(world.get("a").await, Value::Nil);
    stored(world.ask_stamped("a", set("late"), stamp(4)).await);
    assert_eq!(world.get("a").await, Value::Nil);
}

async fn assert_absent(world: &World, name: &str) {
    let absent = |answer: Answer| assert!(matches!(answer, Ok(Reply::Absent)), "{answer:?}");
    for op in [get(), Op::Peek, Op::Info, Op::Log] {
        absent(world.ask(name, op).await);
    }
    assert_eq!(kept(world.ask(name, set_if(1, Condition::IfPresent)).await), None);
    let directory = &world.service.directory;
    assert!(directory.plain(name.as_bytes(), world.clock.now(), world.clock.unix()).is_none());
}

#[actix::test]
async fn a_stamped_removal_leaves_a_tombstone_for_a_day() {
    let world = World::sharded().await;
    stored(world.ask_stamped("plain", set("v"), stamp(1)).await);
    stored(world.ask_stamped("object", put("v", "fn onRemove() { comet.log(`gone`) }"), stamp(1)).await);
    for (name, former) in [("plain", Some(text("v"))), ("object", Some(Value::Nil)), ("nothing", None)] {
        assert_eq!(removed(world.ask_stamped(name, Op::Remove, stamp(5)).await), former, "{name}");
        let tombstone = world.stored(name).expect("a tombstone");
        let day = UnixMillis(START.0 + limits::TOMBSTONE_SECONDS * 1_000);
        assert_eq!((tombstone.version, tombstone.expires), (version(5), Some(day)));
        assert_eq!((&tombstone.value, tombstone.removed()), (&Value::Nil, Some(Removal::Everywhere)));
        assert!(tombstone.active.is_none());
        assert_absent(&world, name).await;
        assert_eq!(copied(&world, name).await.as_ref(), Some(&*tombstone));
        assert_eq!(world.tick(name).await, Some(day), "an early tick does not end it");
        assert_eq!(stored(world.ask(name, set_if("new", Condition::IfAbsent)).await), None);
        assert_eq!(world.get(name).await, text("new"));
        assert!(world.stored(name).expect("stored").version > version(5));
    }
}

#[actix::test]
async fn a_tombstone_sleeps_and_ends_when_its_day_is_over() {
    let world = World::networked().await;
    stored(world.ask_stamped("a", put("v", COUNTER), stamp(1)).await);
    removed(world.ask_stamped("a", Op::Remove, stamp(5)).await);
    world.passivate("a").await;
    assert_absent(&world, "a").await;
    assert_eq!(removed(world.ask("a", Op::Remove).await), None);
    world.clock.advance(SECOND * limits::TOMBSTONE_SECONDS as u32);
    world.rest().await;
    assert_eq!(world.tick("a").await, None);
    assert!(world.stored("a").is_none());
}

#[actix::test]
async fn a_removal_without_a_stamp_leaves_nothing() {
    let world = World::networked().await;
    world.set("a", "v").await;
    world.put("b", "v", COUNTER).await;
    for name in ["a", "b"] {
        removed(world.ask(name, Op::Remove).await);
        assert!(world.stored(name).is_none());
    }
}

const ONCE: &str = "fn onGet() { comet.deleteSelf(); this.value }";

#[actix::test]
async fn an_object_that_deletes_itself_in_a_network_stays_away_from_this_node_in_that_version() {
    let world = World::networked().await;
    stored(world.ask_stamped("a", put("v", ONCE), stamp(5)).await);
    assert_eq!(world.get("a").await, text("v"));
    let tombstone = world.stored("a").expect("a tombstone");
    assert_eq!((tombstone.version, tombstone.removed()), (version(5), Some(Removal::Here)));
    assert_absent(&world, "a").await;
    stored(world.ask_stamped("a", put("v", ONCE), stamp(5)).await);
    assert_absent(&world, "a").await;
    let newer = put("w", "fn onPut() { comet.deleteSelf() }");
    stored(world.ask_stamped("a", newer, stamp(6)).await);
    let tombstone = world.stored("a").expect("a tombstone");
    assert_eq!((tombstone.version, tombstone.removed()), (version(6), Some(Removal::Here)));
}

#[actix::test]
async fn an_object_that_deletes_itself_on_a_node_alone_leaves_nothing() {
    let world = World::new().await;
    world.put("a", "v", ONCE).await;
    assert_eq!(world.get("a").await, text("v"));
    assert!(world.stored("a").is_none());
}

#[actix::test]
async fn a_revision_changes_its_base_and_no_other_version() {
    let world = World::sharded().await;
    let script = "let n = 7; fn onGet() { [this.value, this.n] }";
    let shown =
        |name: &str, number| if name == "plain" { int(number) } else { Value::Array(vec![int(number), int(7)]) };
    for (name, op) in [("plain", set(1)), ("object", put(1, script))] {
        stored(world.ask_stamped(name, op, stamp(5)).await);
        let other = world.ask_stamped(name, revise(version(4), Some(int(9))), stamp(6)).await;
        assert!(matches!(other, Ok(Reply::Kept { present: Some(_) })), "{other:?}");
        let revision = Stamp { expires: Some(after(60)), ..stamp(7) };
        let done = world.ask_stamped(name, revise(version(5), Some(int(2))), revision).await;
        assert!(matches!(done, Ok(Reply::Stored { former: Some(_) })), "{done:?}");
        let record = world.stored(name).expect("stored");
        assert_eq!((record.version, &record.value, record.expires), (version(7), &int(2), Some(after(60))));
        assert_eq!(world.get(name).await, shown(name, 2));
        stored(world.ask_stamped(name, revise(version(7), None), stamp(8)).await);
        let record = world.stored(name).expect("stored");
        assert_eq!((record.version, &record.value, record.expires), (version(8), &int(2), None));
        assert_eq!(world.get(name).await, shown(name, 2));
    }
    assert_eq!(kept(world.ask_stamped("nothing", revise(version(1), None), stamp(8)).await), None);
}

#[actix::test]
async fn on_update_is_asked_about_a_revision_of_the_value() {
    let world = World::networked().await;
    let script = "let asked = 0; fn onUpdate(caller, incoming) { this.asked += 1; incoming.value > 10 }";
    stored(world.ask_stamped("a", put(1, script), stamp(5)).await);
    let answer = world.ask_stamped("a", revise(version(5), Some(int(2))), stamp(6)).await;
    assert!(matches!(answer, Ok(Reply::Kept { .. })), "{answer:?}");
    let record = world.stored("a").expect("stored");
    assert_eq!((record.version, &record.value), (version(5), &int(1)));
    assert_eq!(world.stored_field("a", "asked"), int(1), "what it changed is kept");
    stored(world.ask_stamped("a", revise(version(5), Some(int(20))), stamp(7)).await);
    assert_eq!(world.get("a").await, int(20));
    stored(world.ask_stamped("a", revise(version(7), None), stamp(8)).await);
    assert_eq!(world.stored_field("a", "asked"), int(2), "it is not asked about the end of life");
}

#[actix::test]
async fn a_revision_to_an_end_in_the_past_ends_the_object() {
    let world = World::networked().await;
    for (name, op) in [("plain", set(1)), ("object", put(1, COUNTER))] {
        stored(world.ask_stamped(name, op, stamp(5)).await);
        let over = Stamp { expires: Some(START), ..stamp(6) };
        stored(world.ask_stamped(name, revise(version(5), None), over).await);
        assert_absent(&world, name).await;
        stored(world.ask_stamped(name, set("late"), stamp(5)).await);
        assert_absent(&world, name).await;
    }
}

#[actix::test]
async fn only_its_owner_revises_and_removes_what_is_owned() {
    let world = World::networked().await;
    let owned = |milliseconds| Stamp { owner: Some("12D3A".into()), ..stamp(milliseconds) };
    for (name, op) in [("plain", set(1)), ("object", put(1, COUNTER))] {
        stored(world.ask_stamped(name, op, owned(5)).await);
        for op in [revise(version(5), Some(int(2))), revise(version(5), None), Op::Remove, set(2)] {
            let refused = world.ask_stamped(name, op, stamp(6)).await;
            assert!(matches!(refused, Err(Refusal::Owned(_))), "{refused:?}");
        }
        let own = world.send_stamped("12D3A", name, Op::Remove, Some(owned(6)));
        removed(super::world::answer(own).await);
        assert_absent(&world, name).await;
    }
}

#[actix::test]
async fn a_change_without_a_stamp_gives_up_what_a_node_has_signed() {
    let world = World::networked().await;
    for (name, op) in [("plain", set(1)), ("object", put(1, "let n = 0;"))] {
        for change in [add(1), super::world::expire(Lifetime::For(SECOND))] {
            stored(world.ask_stamped(name, op.clone(), stamp(world.clock.unix().0 - START.0 + 5)).await);
            world.ask(name, change).await.expect("done");
            assert_eq!(world.stored(name).expect("stored").provenance, None);
            world.pass(1).await;
        }
    }
}

#[actix::test]
async fn without_durability_tombstones_reach_the_disk_with_the_next_flush() {
    let world = World::of(
        super::store::Stage::default(),
        super::world::Shape { shards: 2, networked: true, apart: false },
        |settings| {
            settings.storage.durability = comet_kernel::settings::Durability::None;
        },
    )
    .await;
    stored(world.ask_stamped("plain", set("v"), stamp(1)).await);
    stored(world.ask_stamped("object", put("v", COUNTER), stamp(1)).await);
    for name in ["plain", "object"] {
        removed(world.ask_stamped(name, Op::Remove, stamp(5)).await);
        assert_absent(&world, name).await;
    }
    world.flush().await;
    for name in ["plain", "object"] {
        assert_eq!(world.stored(name).and_then(|record| record.removed()), Some(Removal::Everywhere), "{name}");
    }
}

#[actix::test]
async fn clearing_the_store_takes_tombstones_with_it() {
    let world = World::sharded().await;
    removed(world.ask_stamped("a", Op::Remove, stamp(5)).await);
    world.service.clear.call(comet_kernel::contract::aso::Clear).await.expect("there").expect("cleared");
    assert_eq!(copied(&world, "a").await, None);
    stored(world.ask_stamped("a", set_for("v", Lifetime::Endless), stamp(4)).await);
    assert_eq!(value(world.ask("a", get()).await.expect("there")), text("v"));
}
