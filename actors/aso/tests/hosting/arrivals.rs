//! Copies that come from other nodes, and copies that leave.

use std::sync::Arc;

use comet_kernel::contract::aso::{Arrived, Op, Refusal, Reply};
use comet_kernel::contract::library::{Describe, KeepSource, LibraryError};
use comet_kernel::provenance::{Provenance, Removal};
use comet_kernel::record::{Active, Interval, ScriptRef};
use comet_kernel::{Record, ScriptHash, UnixMillis, Value, limits};

use super::scripted::COUNTER;
use super::stamps::{copied, provenance, stamp, version};
use super::world::{SECOND, START, World, add, answer, get, int, put, put_named, removed, set, stored, text, value};

/// A plain value as another node would send it.
fn plain(milliseconds: u64, value: impl Into<Value>) -> Record {
    Record { provenance: Some(Box::new(provenance())), ..Record::plain(version(milliseconds), value.into()) }
}

fn tombstone(milliseconds: u64) -> Record {
    let provenance = Provenance { removed: Some(Removal::Everywhere), ..provenance() };
    let day = START.0 + limits::TOMBSTONE_SECONDS * 1_000;
    Record {
        expires: Some(UnixMillis(day)),
        provenance: Some(Box::new(provenance)),
        ..Record::plain(version(milliseconds), Value::Nil)
    }
}

fn fields(fields: &[(&str, i64)]) -> Value {
    Value::Map(fields.iter().map(|(name, number)| ((*name).into(), int(*number))).collect())
}

/// An object with a script and this state.
fn object(milliseconds: u64, value: impl Into<Value>, source: &str, state: Value) -> Record {
    let script = ScriptRef { hash: ScriptHash::of(source), follows: None };
    let provenance = Provenance { script: Some(script.hash), ..provenance() };
    Record {
        active: Some(Box::new(Active { script, state, timer: None, quarantined: false })),
        provenance: Some(Box::new(provenance)),
        ..plain(milliseconds, value)
    }
}

fn with_active(mut record: Record, change: impl FnOnce(&mut Active)) -> Record {
    change(record.active.as_deref_mut().expect("it has a script"));
    record
}

async fn try_arrive(world: &World, name: &str, record: Record) -> Result<Arrived, Refusal> {
    world.ask_as("12D3peer", name, Op::Arrive(Arc::new(record))).await.map(|reply| match reply {
        Reply::Arrived(arrived) => arrived,
        other => panic!("it has not arrived: {other:?}"),
    })
}

async fn arrive(world: &World, name: &str, record: Record) -> Arrived {
    try_arrive(world, name, record).await.expect("answered")
}

async fn keep(world: &World, source: &str) -> ScriptHash {
    let keep = KeepSource { source: source.into() };
    world.service.keep_source.call(keep).await.expect("there").expect("kept")
}

async fn drop_copy(world: &World, name: &str, version: u64) -> bool {
    value(world.ask(name, Op::Drop { version }).await.expect("answered")) == Value::Bool(true)
}

#[actix::test]
async fn a_copy_is_taken_as_it_is_if_nothing_or_something_older_is_there() {
    let world = World::sharded().await;
    for source in [COUNTER, "fn onUpdate() { false }"] {
        keep(&world, source).await;
    }
    for (name, op) in [("nothing", None), ("plain", Some(set(1))), ("object", Some(put(1, "fn onUpdate() { false }")))]
    {
        if let Some(op) = op {
            stored(world.ask_stamped(name, op, stamp(1)).await);
        }
        for record in [plain(5, "a"), object(6, "b", COUNTER, fields(&[("n", 40)])), tombstone(7), plain(8, "c")] {
            assert_eq!(arrive(&world, name, record.clone()).await, Arrived::Taken, "{name}");
            assert_eq!(world.stored(name).as_deref(), Some(&record), "it is durable");
            assert_eq!(copied(&world, name).await, Some(record));
        }
        assert_eq!(world.get(name).await, text("c"));
    }
}

#[actix::test]
async fn an_object_that_arrived_goes_on_with_its_state() {
    let world = World::networked().await;
    keep(&world, COUNTER).await;
    assert_eq!(arrive(&world, "a", object(5, "v", COUNTER, fields(&[("n", 40)]))).await, Arrived::Taken);
    assert!(world.is_active("a"));
    assert_eq!(world.get("a").await, int(41));
    let copy = copied(&world, "a").await.expect("there");
    assert_eq!(copy.active.map(|active| active.state), Some(fields(&[("n", 41)])), "what is not flushed yet");
    world.passivate("a").await;
    assert_eq!(world.get("a").await, int(42));
}

#[actix::test]
async fn a_copy_is_not_answered_before_it_is_durable() {
    let world = World::networked().await;
    keep(&world, COUNTER).await;
    world.stage.lock().hold = true;
    for (name, record) in [("plain", plain(5, 1)), ("object", object(5, 1, COUNTER, fields(&[("n", 0)])))] {
        let mut arriving = world.send(name, Op::Arrive(Arc::new(record)));
        world.rest().await;
        assert!(arriving.try_take().expect("it lives").is_none(), "{name}");
        world.stage.release(1);
        assert!(matches!(answer(arriving).await, Ok(Reply::Arrived(Arrived::Taken))));
    }
    world.stage.let_go();
}

#[actix::test]
async fn a_copy_that_the_store_does_not_take_leaves_what_was_there() {
    let world = World::networked().await;
    keep(&world, COUNTER).await;
    world.set("a", "old").await;
    world.stage.lock().refuse = true;
    let ahead = 60_000;
    for record in [plain(ahead, "new"), object(ahead, "new", COUNTER, fields(&[("n", 0)]))] {
        assert!(matches!(try_arrive(&world, "a", record).await, Err(Refusal::Unavailable(_))));
        // An object that could not be written ends; on another thread it may be about to.
        world.rest().await;
    }
    world.stage.lock().refuse = false;
    assert_eq!(world.get("a").await, text("old"));
}

#[actix::test]
async fn an_older_copy_is_outdated_and_the_same_version_is_the_same() {
    let world = World::sharded().await;
    for source in [COUNTER, "let n = 0;"] {
        keep(&world, source).await;
    }
    let records = [plain(5, "v"), object(5, "v", "let n = 0;", fields(&[("n", 1)])), tombstone(5)];
    for (name, record) in ["plain", "object", "removed"].into_iter().zip(records) {
        assert_eq!(arrive(&world, name, record.clone()).await, Arrived::Taken);
        for older in [plain(4, "old"), object(4, "old", COUNTER, fields(&[("n", 9)])), tombstone(4)] {
            assert_eq!(arrive(&world, name, older).await, Arrived::Outdated(version(5)), "{name}");
        }
        assert_eq!(arrive(&world, name, record.clone()).await, Arrived::Same);
        world.passivate(name).await;
        assert_eq!(arrive(&world, name, record.clone()).await, Arrived::Same, "asleep");
        assert_eq!(world.stored(name).as_deref(), Some(&record));
    }
}

#[actix::test]
async fn a_copy_whose_life_has_ended_is_not_taken() {
    let world = World::networked().await;
    let ended = Record { expires: Some(START), ..plain(5, "v") };
    assert_eq!(arrive(&world, "a", ended).await, Arrived::Same);
    assert!(world.stored("a").is_none());
}

#[actix::test]
async fn what_an_object_deleted_here_does_not_come_back_in_that_version() {
    let world = World::networked().await;
    let source = "fn onGet() { comet.deleteSelf(); this.value }";
    keep(&world, source).await;
    let record = object(5, "v", source, fields(&[]));
    assert_eq!(arrive(&world, "a", record.clone()).await, Arrived::Taken);
    assert_eq!(world.get("a").await, text("v"));
    assert_eq!(arrive(&world, "a", record.clone()).await, Arrived::Same);
    assert_eq!(world.get("a").await, Value::Nil);
    assert_eq!(arrive(&world, "a", Record { version: version(6), ..record }).await, Arrived::Taken);
    assert_eq!(world.get("a").await, text("v"));
}

#[actix::test]
async fn a_tombstone_of_one_node_alone_is_no_copy() {
    let world = World::networked().await;
    let mut record = tombstone(5);
    record.provenance.as_mut().expect("signed").removed = Some(Removal::Here);
    assert!(matches!(try_arrive(&world, "a", record).await, Err(Refusal::Forbidden(_))));
}

#[actix::test]
async fn of_two_changes_of_one_version_every_node_keeps_the_same() {
    let forged = |mut record: Record| {
        record.provenance.as_mut().expect("signed").by = "12D3B".into();
        record
    };
    let pairs = [
        (plain(5, "longer"), forged(plain(5, "short"))),
        (plain(5, "b"), forged(plain(5, "a"))),
        (tombstone(5), forged(plain(5, "v"))),
        (object(5, "v", COUNTER, fields(&[("n", 1)])), forged(plain(5, "longer than anything else"))),
        (object(5, "v", COUNTER, fields(&[("n", 1)])), forged(object(5, "v", "let m = 0;", fields(&[("m", 1)])))),
    ];
    for (a, b) in pairs {
        let mut ends = Vec::new();
        for (first, second) in [(&a, &b), (&b, &a)] {
            let world = World::networked().await;
            for source in [COUNTER, "let m = 0;"] {
                keep(&world, source).await;
            }
            assert_eq!(arrive(&world, "x", first.clone()).await, Arrived::Taken);
            let arrived = arrive(&world, "x", second.clone()).await;
            assert!(matches!(arrived, Arrived::Taken | Arrived::Outdated(_)), "{arrived:?}");
            ends.push(copied(&world, "x").await.expect("there"));
        }
        assert_eq!(ends[0], ends[1], "in whatever order they arrive");
    }
    // The larger one has won.
    let world = World::networked().await;
    arrive(&world, "x", forged(plain(5, "short"))).await;
    assert_eq!(arrive(&world, "x", plain(5, "longer")).await, Arrived::Taken);
    assert_eq!(arrive(&world, "x", forged(plain(5, "short"))).await, Arrived::Outdated(version(5)));
}

const MERGING: &str = r"
    let n = 0;
    fn onGet() { this.n += 1; this.n }
    fn onMerge(other) {
        if other.n < 0 { throw `negative`; }
        if other.n > this.n { this.n = other.n }
        if other.value > this.value { this.value = other.value }
    }
";

#[actix::test]
async fn two_states_of_one_version_are_merged_if_the_script_knows_how() {
    let world = World::sharded().await;
    keep(&world, MERGING).await;
    arrive(&world, "a", object(5, 1, MERGING, fields(&[("n", 3)]))).await;
    world.passivate("a").await;
    assert_eq!(arrive(&world, "a", object(5, 7, MERGING, fields(&[("n", 10)]))).await, Arrived::Merged);
    let record = world.stored("a").expect("durable");
    assert_eq!((&record.value, world.stored_field("a", "n")), (&int(7), int(10)));
    assert_eq!(record.version, version(5));
    let writes = world.stage.lock().writes;
    assert_eq!(arrive(&world, "a", object(5, 1, MERGING, fields(&[("n", 4)]))).await, Arrived::Merged);
    assert_eq!(world.stage.lock().writes, writes, "there was nothing to add");
    assert_eq!(arrive(&world, "a", object(5, 7, MERGING, fields(&[("n", 10)]))).await, Arrived::Same);
    assert_eq!(world.get("a").await, int(11));
}

#[actix::test]
async fn a_merge_that_fails_or_cannot_be_stored_leaves_the_state() {
    let world = World::networked().await;
    keep(&world, MERGING).await;
    arrive(&world, "a", object(5, 1, MERGING, fields(&[("n", 3)]))).await;
    let refused = try_arrive(&world, "a", object(5, 1, MERGING, fields(&[("n", -1)]))).await;
    assert_eq!(refused, Err(Refusal::Thrown("negative".to_owned())));
    world.stage.lock().refuse = true;
    let refused = try_arrive(&world, "a", object(5, 1, MERGING, fields(&[("n", 30)]))).await;
    assert!(matches!(refused, Err(Refusal::Unavailable(_))));
    world.stage.lock().refuse = false;
    assert_eq!(world.get("a").await, int(4));
}

#[actix::test]
async fn without_on_merge_and_in_quarantine_each_copy_keeps_its_own_state() {
    let world = World::networked().await;
    for source in [COUNTER, MERGING] {
        keep(&world, source).await;
    }
    arrive(&world, "a", object(5, "v", COUNTER, fields(&[("n", 3)]))).await;
    assert_eq!(arrive(&world, "a", object(5, "v", COUNTER, fields(&[("n", 30)]))).await, Arrived::Same);
    assert_eq!(world.get("a").await, int(4));
    arrive(&world, "b", object(5, 1, MERGING, fields(&[("n", 3)]))).await;
    world.ask("b", Op::Quarantine(true)).await.expect("done");
    assert_eq!(arrive(&world, "b", object(5, 1, MERGING, fields(&[("n", 30)]))).await, Arrived::Same);
}

const GREETING: &str = r"
    let from = ``;
    fn onGet() { this.from }
    fn onArrive(from) { this.from = from.id; comet.log(`hello`); comet.setTimer(10) }
";

#[actix::test]
async fn on_arrive_runs_and_what_it_changes_is_stored_with_the_copy() {
    let world = World::sharded().await;
    keep(&world, GREETING).await;
    let record = object(5, "v", GREETING, Value::Map([("from".into(), text(""))].into_iter().collect()));
    assert_eq!(arrive(&world, "a", record.clone()).await, Arrived::Taken);
    assert_eq!(world.stored_field("a", "from"), text("12D3peer"));
    assert_eq!(world.armed("a"), Some(UnixMillis(START.0 + 10_000)));
    assert!(matches!(world.ask("a", Op::Log).await, Ok(Reply::Log(lines)) if lines == ["hello"]));
    world.put("active", 1, COUNTER).await;
    let later = Record { version: version(60_000), ..record };
    assert_eq!(arrive(&world, "active", later).await, Arrived::Taken);
    assert_eq!(world.get("active").await, text("12D3peer"));
}

#[actix::test]
async fn an_on_arrive_that_fails_does_not_refuse_the_copy_and_is_in_the_log() {
    let world = World::networked().await;
    let source = "let n = 0; fn onArrive(from) { this.n = 9; throw `not here` } fn onGet() { this.n }";
    keep(&world, source).await;
    assert_eq!(arrive(&world, "a", object(5, "v", source, fields(&[("n", 3)]))).await, Arrived::Taken);
    assert_eq!(world.get("a").await, int(3));
    let Ok(Reply::Log(lines)) = world.ask("a", Op::Log).await else { panic!("no log") };
    assert!(lines.len() == 1 && lines[0].contains("onArrive") && lines[0].contains("not here"), "{lines:?}");
}

#[actix::test]
async fn an_object_that_does_not_want_to_be_here_leaves_when_it_arrives() {
    let world = World::networked().await;
    let source = "fn onArrive() { comet.deleteSelf() }";
    keep(&world, source).await;
    let record = object(5, "v", source, fields(&[]));
    assert_eq!(arrive(&world, "a", record.clone()).await, Arrived::Taken);
    assert_eq!(world.get("a").await, Value::Nil);
    assert_eq!(arrive(&world, "a", record).await, Arrived::Same, "and need not come again");
}

#[actix::test]
async fn timers_of_a_copy_are_armed_and_one_that_is_late_fires_now() {
    let world = World::networked().await;
    let source = "let n = 0; fn onTimer() { this.n += 1 } fn onGet() { this.n }";
    keep(&world, source).await;
    let timed = |due: u64| {
        let timer = Some(Interval { seconds: 10, due: UnixMillis(due) });
        with_active(object(5, "v", source, fields(&[("n", 0)])), |active| active.timer = timer)
    };
    arrive(&world, "future", timed(START.0 + 4_000)).await;
    assert_eq!(world.armed("future"), Some(UnixMillis(START.0 + 4_000)));
    arrive(&world, "late", timed(START.0 - 90_000)).await;
    assert_eq!(world.armed("late"), Some(START));
    assert_eq!(world.tick("late").await, Some(UnixMillis(START.0 + 10_000)));
    assert_eq!(world.get("late").await, int(1));
    arrive(&world, "far", timed(u64::MAX)).await;
    assert_eq!(world.armed("far"), Some(UnixMillis(START.0 + 10_000)), "no later than a timer set now");
}

#[actix::test]
async fn a_copy_does_not_bring_a_quarantine_with_it() {
    let world = World::networked().await;
    keep(&world, COUNTER).await;
    let record = object(5, "v", COUNTER, fields(&[("n", 0)]));
    arrive(&world, "a", with_active(record, |active| active.quarantined = true)).await;
    assert_eq!(world.get("a").await, int(1));
}

#[actix::test]
async fn an_object_follows_the_name_it_came_with_if_this_node_knows_the_name() {
    let world = World::networked().await;
    world.load("known", COUNTER).await;
    for (key, name) in [("a", "known"), ("b", "unknown")] {
        let record = object(5, "v", COUNTER, fields(&[("n", 0)]));
        arrive(&world, key, with_active(record, |active| active.script.follows = Some(name.into()))).await;
        assert_eq!(world.get(key).await, int(1));
    }
    world.pass(1).await;
    world.load("known", "fn onGet() { this.n + 100 }").await;
    assert_eq!((world.get("a").await, world.get("b").await), (int(101), int(2)));
}

#[actix::test]
async fn a_copy_whose_script_is_not_here_is_refused_and_changes_nothing() {
    let world = World::networked().await;
    world.set("plain", "old").await;
    world.put("object", "old", "fn onGet() { this.value }").await;
    for name in ["nothing", "plain", "object"] {
        let record = object(60_000, "v", COUNTER, fields(&[("n", 0)]));
        assert!(matches!(try_arrive(&world, name, record).await, Err(Refusal::NoScript(_))), "{name}");
    }
    assert_eq!((world.get("plain").await, world.get("object").await), (text("old"), text("old")));
    assert!(world.stored("nothing").is_none());
}

#[actix::test]
async fn an_owned_object_gives_way_only_to_what_its_owners_node_has_signed() {
    let world = World::networked().await;
    keep(&world, COUNTER).await;
    let owned = |mut record: Record, owner: Option<&str>, by: &str| {
        record.owner = owner.map(Into::into);
        record.provenance.as_mut().expect("signed").by = by.into();
        record
    };
    for (name, first) in [("plain", plain(5, 1)), ("object", object(5, 1, COUNTER, fields(&[("n", 0)])))] {
        arrive(&world, name, owned(first, Some("12D3A/me"), "12D3A")).await;
        for (owner, by) in [(None, "12D3B"), (Some("12D3B"), "12D3B"), (Some("12D3A"), "12D3A")] {
            for record in [plain(6, 2), tombstone(6)] {
                let refused = try_arrive(&world, name, owned(record, owner, by)).await;
                assert_eq!(refused, Err(Refusal::Owned("12D3A/me".to_owned())), "{name} {owner:?}");
            }
        }
        assert_eq!(arrive(&world, name, owned(plain(6, 2), Some("12D3A/me"), "12D3A")).await, Arrived::Taken);
        assert_eq!(arrive(&world, name, owned(tombstone(7), None, "12D3A")).await, Arrived::Taken);
        assert_eq!(arrive(&world, name, owned(plain(8, 3), Some("12D3B"), "12D3B")).await, Arrived::Taken);
    }
}

#[actix::test]
async fn a_copy_that_no_node_could_have_stored_is_refused() {
    let world = World::networked().await;
    keep(&world, COUNTER).await;
    let large = Value::Bytes(vec![0; limits::VALUE_BYTES + 100].into());
    let deep = (0..40).fold(Value::Nil, |inner, _| Value::Array(vec![inner]));
    assert!(matches!(try_arrive(&world, "a", plain(5, large)).await, Err(Refusal::TooBig { .. })));
    let record = object(5, 1, COUNTER, Value::Map([("n".into(), deep)].into_iter().collect()));
    assert!(matches!(try_arrive(&world, "a", record).await, Err(Refusal::WrongType(_))));
    let long = Value::Map([("n".into(), Value::Bytes(vec![0; 70_000].into()))].into_iter().collect());
    assert!(matches!(try_arrive(&world, "a", object(5, 1, COUNTER, long)).await, Err(Refusal::TooBig { .. })));
    let record = object(5, 1, COUNTER, fields(&[("n", 0)]));
    let silly = with_active(record, |active| active.timer = Some(Interval { seconds: 0, due: START }));
    assert_eq!(arrive(&world, "a", silly).await, Arrived::Taken);
    assert_eq!(world.armed("a"), None, "a timer without an interval is none");
}

#[actix::test]
async fn requests_parked_at_what_a_copy_replaces_end() {
    let world = World::networked().await;
    world.put("a", "v", "fn onGet() { comet.later() }").await;
    let parked = world.send("a", get());
    world.rest().await;
    assert_eq!(arrive(&world, "a", plain(60_000, "new")).await, Arrived::Taken);
    assert!(matches!(answer(parked).await, Err(Refusal::Unavailable(_))));
    assert_eq!(world.get("a").await, text("new"));
}

#[actix::test]
async fn calls_behind_a_copy_wait_for_it_and_see_it() {
    let world = World::sharded().await;
    keep(&world, COUNTER).await;
    world.stage.lock().hold = true;
    let record = object(5, "v", COUNTER, fields(&[("n", 40)]));
    let first = world.send("a", set("before"));
    let arriving = world.send("a", Op::Arrive(Arc::new(Record { version: version(60_000), ..record })));
    let behind = world.send("a", get());
    world.rest().await;
    world.stage.let_go();
    stored(answer(first).await);
    assert!(matches!(answer(arriving).await, Ok(Reply::Arrived(Arrived::Taken))));
    assert_eq!(value(answer(behind).await.expect("there")), int(41));
}

#[actix::test]
async fn a_copy_is_dropped_without_a_trace_if_it_is_still_of_that_version() {
    let world = World::sharded().await;
    let source = "fn onRemove() { false } fn onGet() { this.value }";
    for (name, op) in [("plain", set(1)), ("object", put(1, source))] {
        stored(world.ask_stamped(name, op, stamp(5)).await);
        assert!(!drop_copy(&world, name, version(4)).await && !drop_copy(&world, name, version(6)).await);
        assert_eq!(world.get(name).await, int(1));
        assert!(drop_copy(&world, name, version(5)).await, "{name}");
        assert!(world.stored(name).is_none());
        assert_eq!(world.get(name).await, Value::Nil);
        assert!(!drop_copy(&world, name, version(5)).await);
    }
    removed(world.ask_stamped("removed", Op::Remove, stamp(5)).await);
    assert!(drop_copy(&world, "removed", version(5)).await, "a tombstone is a copy as well");
    assert!(world.stored("removed").is_none());
}

#[actix::test]
async fn a_copy_that_somebody_waits_at_is_not_dropped() {
    let world = World::networked().await;
    stored(world.ask_stamped("a", put(1, "fn onGet() { comet.later() }"), stamp(5)).await);
    let _parked = world.send("a", get());
    world.rest().await;
    assert!(!drop_copy(&world, "a", version(5)).await);
    world.clock.advance(31 * SECOND);
    world.rest().await;
    assert!(drop_copy(&world, "a", version(5)).await);
}

#[actix::test]
async fn a_copy_of_nothing_is_none() {
    let world = World::networked().await;
    assert_eq!(copied(&world, "a").await, None);
    world.set("a", 1).await;
    world.ask("a", add(1)).await.expect("a number");
    assert_eq!(copied(&world, "a").await.map(|record| record.value), Some(int(2)));
}

#[actix::test]
async fn a_source_that_was_kept_is_durable_and_described() {
    let world = World::networked().await;
    let describe = |hash| world.service.describe.call(Describe { hash });
    assert_eq!(describe(ScriptHash::of(MERGING)).await.expect("there"), Ok(None));
    let hash = keep(&world, MERGING).await;
    assert!(world.stage.lock().scripts.contains_key(&hash));
    let described = describe(hash).await.expect("there").expect("readable").expect("known");
    assert_eq!((&*described.source, described.merges, described.publisher), (MERGING, true, None));
    let counter = keep(&world, COUNTER).await;
    assert!(!describe(counter).await.expect("there").expect("readable").expect("known").merges);
    let built_in = world.service.describe.call(Describe { hash: built_in(&world).await }).await.expect("there");
    assert!(built_in.expect("readable").is_some());
    let bad = KeepSource { source: "fn onGet( {".into() };
    let refused = world.service.keep_source.call(bad).await.expect("there");
    assert!(matches!(refused, Err(LibraryError::BadScript(_))));
    world.stage.lock().refuse = true;
    let refused = world.service.keep_source.call(KeepSource { source: "let m = 0;".into() }).await.expect("there");
    assert!(matches!(refused, Err(LibraryError::Unavailable(_))));
}

async fn built_in(world: &World) -> ScriptHash {
    stored(world.ask("built-in", put_named(1, "read_only")).await);
    ScriptHash::parse(&world.info("built-in").await.hash.expect("it has a script")).expect("a hash")
}
