//! Sources without a name: how many may come, and which of them stay.

use comet_kernel::contract::aso::{Refusal, ScriptChoice};
use comet_kernel::contract::library::{KeepSource, LibraryError};
use comet_kernel::{ScriptHash, limits};

use super::scripted::COUNTER;
use super::store::Stage;
use super::world::{World, int, put, put_by, stored, text};

/// A source that no other equals.
fn source(number: usize) -> String {
    format!("fn onGet() {{ `{number}` }}")
}

fn hash(number: usize) -> ScriptHash {
    ScriptHash::of(&source(number))
}

/// A disk on which peers have left this many sources.
fn littered(stage: Stage, sources: usize) -> Stage {
    stage.lock().scripts.extend((0..sources).map(|number| (hash(number), source(number).into())));
    stage
}

fn has(world: &World, number: usize) -> bool {
    world.stage.lock().scripts.contains_key(&hash(number))
}

async fn keep(world: &World, number: usize) -> Result<ScriptHash, LibraryError> {
    let keep = KeepSource { source: source(number).into() };
    world.service.keep_source.call(keep).await.expect("it is there")
}

#[actix::test]
async fn sources_that_nothing_uses_are_removed_once_there_are_many() {
    let mut world = World::new().await;
    world.load("mine", &source(1)).await;
    world.load("mine", COUNTER).await;
    world.put("a", "v", &source(2)).await;
    let stage = littered(world.stop().await, limits::SOURCES_SWEPT + 20);
    let world = World::on(stage, |_| {}).await;
    world.until("the sweep", || !has(&world, 0)).await;
    let left = (0..limits::SOURCES_SWEPT + 20).filter(|number| has(&world, *number)).collect::<Vec<_>>();
    assert_eq!(left, [1, 2], "a named version, and what an object runs");
    assert_eq!(world.get("a").await, text("2"));
    world.put("c", 1, COUNTER).await;
    assert_eq!(world.get("c").await, int(1));
}

#[actix::test]
async fn few_sources_stay() {
    let stage = littered(Stage::default(), limits::SOURCES_SWEPT);
    let world = World::on(stage, |_| {}).await;
    world.rest().await;
    assert!(has(&world, 0));
    assert_eq!(stored(world.ask("a", put_by("v", ScriptChoice::Hash(hash(0)))).await), None);
    assert_eq!(world.get("a").await, text("0"));
}

#[actix::test]
async fn a_source_that_comes_into_use_during_a_sweep_stays() {
    let stage = littered(Stage::default(), limits::SOURCES_SWEPT + 20);
    stage.lock().hold_scans = true;
    let world = World::on(stage, |_| {}).await;
    world.until("a sweep", || world.stage.scans() == 1).await;
    // By hash, by a peer that has an object which runs it, by source.
    stored(world.ask("a", put_by("v", ScriptChoice::Hash(hash(1)))).await);
    keep(&world, 2).await.expect("kept");
    stored(world.ask("c", put("v", &source(3))).await);
    // The scan had passed these keys before.
    let records = std::mem::take(&mut world.stage.lock().records);
    world.stage.let_scans_go();
    world.until("the sweep", || !has(&world, 0)).await;
    world.stage.lock().records = records;
    let left = (0..limits::SOURCES_SWEPT + 20).filter(|number| has(&world, *number)).collect::<Vec<_>>();
    assert_eq!(left, [1, 2, 3]);
}

#[actix::test]
async fn past_the_bound_sources_are_refused_until_a_sweep_has_made_room() {
    let stage = littered(Stage::default(), limits::SOURCES);
    stage.lock().hold_scans = true;
    let world = World::on(stage, |_| {}).await;
    match keep(&world, limits::SOURCES).await {
        Err(LibraryError::Unavailable(text)) => assert!(text.contains("as many scripts without a name"), "{text}"),
        other => panic!("not refused: {other:?}"),
    }
    let refused = world.refused("a", put("v", &source(limits::SOURCES))).await;
    assert!(matches!(refused, Refusal::Unavailable(_)), "{refused}");
    keep(&world, 1).await.expect("what is stored already costs nothing");
    world.load("mine", &source(limits::SOURCES + 1)).await;
    world.stage.let_scans_go();
    world.until("the sweep", || !has(&world, 0)).await;
    keep(&world, limits::SOURCES).await.expect("there is room");
}

#[actix::test]
async fn a_sweep_that_cannot_write_removes_nothing() {
    let stage = littered(Stage::default(), limits::SOURCES_SWEPT + 20);
    stage.lock().hold_scans = true;
    let world = World::on(stage, |_| {}).await;
    world.until("a sweep", || world.stage.scans() == 1).await;
    world.stage.lock().hold = true;
    world.stage.let_scans_go();
    world.until("the sweep's write", || world.stage.held() == 1).await;
    world.stage.fail_one();
    world.stage.let_go();
    assert!(has(&world, 0));
    stored(world.ask("a", put_by("v", ScriptChoice::Hash(hash(0)))).await);
    assert_eq!(world.get("a").await, text("0"));
}

#[actix::test]
async fn a_sweep_that_passes_over_a_damaged_place_removes_nothing() {
    let stage = littered(Stage::default(), limits::SOURCES_SWEPT + 20);
    stage.lock().hold_scans = true;
    let world = World::on(stage, |_| {}).await;
    world.until("a sweep", || world.stage.scans() == 1).await;
    world.stage.lock().damaged_places = 1;
    let mut events = world.kernel.events.follow();
    world.stage.let_scans_go();
    let told = events.recv().await.expect("it says so");
    assert!(told.text.contains("places of the database are damaged"), "{}", told.text);
    assert!(has(&world, 0));
}
