//! The library of named scripts.

use comet_kernel::ScriptHash;
use comet_kernel::contract::library::{
    DropScript, LibraryError, ListScripts, LoadScript, RollbackScript, ScriptSummary, ShowScript,
};

use super::scripted::COUNTER;
use super::world::{World, int, put_named, stored};

async fn show(world: &World, name: &str) -> Result<ScriptSummary, LibraryError> {
    world.service.show_script.call(ShowScript { name: name.into() }).await.expect("it is there")
}

async fn try_load(world: &World, name: &str, source: &str) -> Result<ScriptHash, LibraryError> {
    let load = LoadScript { name: name.into(), source: source.into(), by: "a test".to_owned() };
    world.service.load_script.call(load).await.expect("it is there")
}

#[actix::test]
async fn a_loaded_script_is_listed_shown_and_dropped() {
    let world = World::new().await;
    let hash = world.load("mine", COUNTER).await;
    let shown = show(&world, "mine").await.expect("known");
    assert_eq!((shown.hash, shown.source.as_deref()), (hash.to_string(), Some(COUNTER)));
    assert_eq!((shown.versions, shown.origin.as_str(), shown.handlers), (1, "a test", vec!["onGet".to_owned()]));
    let names = world.service.list_scripts.call(ListScripts).await.expect("it is there").expect("listed");
    assert!(names.iter().any(|script| script.name == "mine") && names.is_sorted_by_key(|script| script.name.clone()));
    world.service.drop_script.call(DropScript { name: "mine".into() }).await.expect("there").expect("dropped");
    assert_eq!(show(&world, "mine").await, Err(LibraryError::NoScript("mine".to_owned())));
    assert!(world.stage.lock().names.is_empty());
}

#[actix::test]
async fn names_that_are_none_and_sources_that_do_not_compile_replace_nothing() {
    let world = World::new().await;
    let hash = world.load("mine", COUNTER).await;
    for name in ["", "two words", &"x".repeat(129), &hash.to_string()] {
        assert!(matches!(try_load(&world, name, COUNTER).await, Err(LibraryError::BadName(_))));
    }
    match try_load(&world, "mine", "let n = 0;\nfn onGet( {").await {
        Err(LibraryError::BadScript(text)) => assert!(text.starts_with("mine:2:"), "{text}"),
        other => panic!("it is bad: {other:?}"),
    }
    world.stage.lock().refuse = true;
    assert!(matches!(try_load(&world, "mine", "fn onGet() { 1 }").await, Err(LibraryError::Unavailable(_))));
    world.stage.lock().refuse = false;
    assert_eq!(show(&world, "mine").await.expect("known").hash, hash.to_string());
}

#[actix::test]
async fn the_same_version_loaded_again_is_no_new_version() {
    let world = World::new().await;
    let first = world.load("mine", "fn onGet() { 1 }").await;
    for _ in 0..20 {
        world.load("mine", COUNTER).await;
    }
    assert_eq!(show(&world, "mine").await.expect("known").versions, 2);
    let rollback = RollbackScript { name: "mine".into() };
    assert_eq!(world.service.rollback_script.call(rollback).await.expect("there"), Ok(first));
}

#[actix::test]
async fn a_built_in_script_can_be_replaced_and_comes_back() {
    let world = World::new().await;
    let built_in = show(&world, "read_counter").await.expect("built in");
    assert_eq!(built_in.origin, "built-in");
    world.load("read_counter", "fn onGet() { 7 }").await;
    stored(world.ask("a", put_named("v", "read_counter")).await);
    assert_eq!(world.get("a").await, int(7));
    let rollback = RollbackScript { name: "read_counter".into() };
    world.service.rollback_script.call(rollback.clone()).await.expect("there").expect("rolled back");
    assert_eq!(show(&world, "read_counter").await.expect("known").hash, built_in.hash);
    let further = world.service.rollback_script.call(rollback).await.expect("there");
    assert_eq!(further, Err(LibraryError::NoFormerVersion("read_counter".to_owned())));
    let drop = || world.service.drop_script.call(DropScript { name: "read_counter".into() });
    drop().await.expect("there").expect("what was loaded is dropped");
    assert_eq!(drop().await.expect("there"), Err(LibraryError::BuiltIn("read_counter".to_owned())));
    assert_eq!(show(&world, "read_counter").await.expect("known").hash, built_in.hash);
}

#[actix::test]
async fn a_library_that_is_restarted_knows_every_name_again() {
    let world = World::new().await;
    let hash = world.load("mine", COUNTER).await;
    stored(world.ask("a", put_named("v", "mine")).await);
    assert_eq!(world.get("a").await, int(1));
    world.restart("aso/library").await;
    let shown = show(&world, "mine").await.expect("known");
    assert_eq!((shown.hash, shown.calls), (hash.to_string(), 1));
    assert_eq!(world.get("a").await, int(2));
    world.load("mine", "fn onGet() { 100 }").await;
    assert_eq!((world.get("a").await, show(&world, "mine").await.expect("known").versions), (int(100), 2));
}

#[actix::test]
async fn a_node_that_starts_again_knows_its_scripts_and_its_objects_follow_them() {
    let mut world = World::new().await;
    world.load("mine", COUNTER).await;
    stored(world.ask("a", put_named("v", "mine")).await);
    world.get("a").await;
    let stage = world.stop().await;
    let world = World::on(stage, |_| {}).await;
    assert_eq!(world.get("a").await, int(2));
    world.load("mine", "fn onGet() { this.n + 100 }").await;
    assert_eq!(world.get("a").await, int(102));
}

#[actix::test]
async fn until_the_names_are_read_every_message_waits() {
    let mut world = World::new().await;
    let first = world.load("mine", "fn onGet() { 1 }").await;
    world.load("mine", COUNTER).await;
    let stage = world.stop().await;
    stage.lock().names_broken = true;
    let world = World::on(stage, |_| {}).await;
    let load = LoadScript { name: "mine".into(), source: "fn onGet() { 3 }".into(), by: "a test".to_owned() };
    let mut loaded = world.service.load_script.ask(load).expect("it is there");
    world.pass(2).await;
    assert!(loaded.try_take().expect("it lives").is_none());
    world.stage.lock().names_broken = false;
    world.while_time_passes(loaded).await.expect("it lives").expect("loaded");
    let versions = world.stage.lock().names.get("mine").cloned().unwrap_or_default();
    assert_eq!((versions.len(), versions[0].hash), (3, first), "the former versions are still there");
}

#[actix::test]
async fn a_built_in_script_does_not_take_the_place_of_a_loaded_one_that_cannot_be_read_yet() {
    let mut world = World::new().await;
    let loaded = world.load("read_counter", "fn onGet() { 7 }").await;
    let stage = world.stop().await;
    stage.lock().scripts_broken = true;
    let world = World::on(stage, |_| {}).await;
    world.pass(2).await;
    world.stage.lock().scripts_broken = false;
    let shown = world.while_time_passes(show(&world, "read_counter")).await.expect("known");
    assert_eq!(shown.hash, loaded.to_string());
}

#[actix::test]
async fn a_saved_file_is_live_within_a_second() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().to_str().expect("a readable path").to_owned();
    let world = World::with(|settings| settings.scripts.dir = path).await;
    std::fs::write(folder.path().join("saved.rhai"), COUNTER).expect("writable");
    world.pass(1).await;
    let mut known = show(&world, "saved").await;
    for _ in 0..100 {
        if known.is_ok() {
            break;
        }
        world.rest().await;
        known = show(&world, "saved").await;
    }
    assert_eq!(known.map(|script| script.versions), Ok(1));
    std::fs::write(folder.path().join("saved.rhai"), "fn onGet( {").expect("writable");
    world.pass(2).await;
    assert_eq!(show(&world, "saved").await.expect("the good one stays").source.as_deref(), Some(COUNTER));
}

#[actix::test]
async fn a_file_that_is_saved_while_the_store_takes_no_writes_is_loaded_when_it_does() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().to_str().expect("a readable path").to_owned();
    let world = World::with(|settings| settings.scripts.dir = path).await;
    world.stage.lock().refuse = true;
    std::fs::write(folder.path().join("saved.rhai"), COUNTER).expect("writable");
    world.pass(2).await;
    assert!(show(&world, "saved").await.is_err());
    world.stage.lock().refuse = false;
    world.pass(2).await;
    assert_eq!(show(&world, "saved").await.expect("it is loaded").source.as_deref(), Some(COUNTER));
}
