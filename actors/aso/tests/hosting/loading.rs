//! Hot loading: a new version is taken over before an object's next event.

use comet_kernel::contract::aso::{Op, Put, ScriptChoice};
use comet_kernel::contract::library::{DropScript, KeepSource, RollbackScript};
use comet_kernel::contract::routing::TravellingScript;
use comet_kernel::{ScriptHash, Value};

use super::scripted::COUNTER;
use super::stamps::stamp;
use super::world::{World, int, put, put_by, put_named, stored, text};

const TENFOLD: &str = "let n = 0; let extra = 5; fn onGet() { this.n += 10; this.n + this.extra }";

async fn present(world: &World, name: &str) -> ScriptHash {
    let hash = world.info(name).await.hash.expect("it has a script");
    ScriptHash::parse(&hash).expect("a hash")
}

#[actix::test]
async fn a_new_version_keeps_the_state_and_adds_its_own_fields() {
    let world = World::new().await;
    world.load("s", COUNTER).await;
    stored(world.ask("awake", put_named("v", "s")).await);
    stored(world.ask("asleep", put_named("v", "s")).await);
    for name in ["awake", "asleep"] {
        assert_eq!(world.get(name).await, int(1));
    }
    world.passivate("asleep").await;
    let new = world.load("s", TENFOLD).await;
    for name in ["awake", "asleep"] {
        assert_eq!(world.get(name).await, int(16));
        assert_eq!(present(&world, name).await, new);
    }
    world.flush().await;
    assert_eq!(world.stored_field("awake", "extra"), int(5));
}

#[actix::test]
async fn objects_that_were_pinned_or_put_by_hash_or_source_stay() {
    let world = World::new().await;
    let old = world.load("s", COUNTER).await;
    stored(world.ask("pinned", put_by("v", ScriptChoice::Named { name: "s".into(), pin: true })).await);
    stored(world.ask("hashed", put_by("v", ScriptChoice::Hash(old))).await);
    stored(world.ask("sourced", put("v", COUNTER)).await);
    world.load("s", TENFOLD).await;
    for name in ["pinned", "hashed", "sourced"] {
        assert_eq!(world.get(name).await, int(1));
        world.passivate(name).await;
        assert_eq!((world.get(name).await, present(&world, name).await), (int(2), old));
    }
}

#[actix::test]
async fn an_object_of_another_node_keeps_its_version_of_a_name_that_means_another_script_here() {
    let world = World::networked().await;
    world.load("counter", "fn onGet() { \"another script\" }").await;
    let keep = KeepSource { source: COUNTER.into() };
    let hash = world.service.keep_source.call(keep).await.expect("there").expect("kept");
    let there = ScriptChoice::Travelled(TravellingScript { hash, follows: Some("counter".into()) });
    stored(world.ask_stamped("a", put_by("v", there), stamp(5)).await);
    assert_eq!(world.get("a").await, int(1));
    world.passivate("a").await;
    assert_eq!(world.get("a").await, int(2), "nor does it change when it comes back from the disk");
    world.load("counter", "fn onGet() { this.n + 100 }").await;
    assert_eq!(world.get("a").await, int(102), "what is loaded later takes it over");
}

#[actix::test]
async fn on_upgrade_may_change_the_state_and_may_refuse() {
    let world = World::new().await;
    let old = world.load("s", COUNTER).await;
    stored(world.ask("a", put_named("v", "s")).await);
    let refuser = "let n = 0; fn onGet() { -1 } fn onUpgrade(old) { comet.log(\"asked\"); false }";
    world.load("s", refuser).await;
    assert_eq!((world.get("a").await, world.get("a").await), (int(1), int(2)));
    assert_eq!(present(&world, "a").await, old);
    world.load("s", "let n = 0; fn onGet() { this.n } fn onUpgrade(old) { this.n = old; comet.setTimer(5); }").await;
    assert_eq!(world.get("a").await, text(&old.to_string()));
    world.rest().await;
    assert!(world.armed("a").is_some());
}

#[actix::test]
async fn an_upgrade_that_fails_leaves_the_version_and_the_state() {
    let world = World::new().await;
    let old = world.load("s", COUNTER).await;
    stored(world.ask("a", put_named("v", "s")).await);
    world.load("s", "let n = 0; fn onGet() { -1 } fn onUpgrade() { this.n = 50; 1 / 0 }").await;
    assert_eq!((world.get("a").await, present(&world, "a").await), (int(1), old));
}

#[actix::test]
async fn a_version_whose_upgrades_fail_is_rolled_back() {
    let world = World::new().await;
    let old = world.load("s", COUNTER).await;
    let names: Vec<_> = (0..11).map(|number| format!("object {number}")).collect();
    for name in &names {
        stored(world.ask(name, put_named("v", "s")).await);
    }
    world.load("s", "let n = 0; fn onUpgrade() { 1 / 0 }").await;
    let shown = || async {
        let show = comet_kernel::contract::library::ShowScript { name: "s".into() };
        world.service.show_script.call(show).await.expect("there").expect("known")
    };
    for name in &names[..10] {
        assert_eq!(world.get(name).await, int(1));
    }
    world.rest().await;
    assert_ne!(shown().await.hash, old.to_string(), "a tenth is tolerated");
    assert_eq!(world.get(&names[10]).await, int(1));
    for _ in 0..1_000 {
        if shown().await.hash == old.to_string() {
            return;
        }
        world.rest().await;
    }
    panic!("it was not rolled back");
}

#[actix::test]
async fn objects_follow_a_name_again_that_was_dropped_and_comes_back() {
    let world = World::new().await;
    world.load("s", COUNTER).await;
    for name in ["awake", "asleep"] {
        stored(world.ask(name, put_named("v", "s")).await);
    }
    world.passivate("asleep").await;
    world.get("awake").await;
    world.service.drop_script.call(DropScript { name: "s".into() }).await.expect("there").expect("dropped");
    assert_eq!(world.get("awake").await, int(2));
    world.load("s", TENFOLD).await;
    assert_eq!((world.get("awake").await, world.get("asleep").await), (int(17), int(15)));
    world.load("s", "fn onGet() { `newer` }").await;
    assert_eq!(world.get("awake").await, text("newer"));
}

#[actix::test]
async fn an_object_that_deletes_itself_when_it_is_upgraded_is_gone() {
    let world = World::new().await;
    world.load("s", COUNTER).await;
    for name in ["got", "set", "removed", "ticked"] {
        stored(world.ask(name, put_named("v", "s")).await);
    }
    world.load("s", "fn onUpgrade() { comet.deleteSelf(); }").await;
    assert_eq!(world.get("got").await, Value::Nil);
    assert_eq!(stored(world.ask("set", Op::Put(Box::new(Put::plain(int(1))))).await), None);
    assert_eq!(super::world::removed(world.ask("removed", Op::Remove).await), None);
    assert_eq!(world.tick("ticked").await, None);
    assert!(["got", "removed", "ticked"].iter().all(|name| world.stored(name).is_none()));
}

#[actix::test]
async fn a_name_that_is_dropped_leaves_its_objects_running() {
    let world = World::new().await;
    let hash = world.load("s", COUNTER).await;
    stored(world.ask("a", put_named("v", "s")).await);
    world.get("a").await;
    world.service.drop_script.call(DropScript { name: "s".into() }).await.expect("there").expect("dropped");
    assert_eq!(world.get("a").await, int(2));
    world.passivate("a").await;
    assert_eq!((world.get("a").await, present(&world, "a").await), (int(3), hash));
}

#[actix::test]
async fn a_version_can_be_rolled_back_by_hand() {
    let world = World::new().await;
    let old = world.load("s", COUNTER).await;
    stored(world.ask("a", put_named("v", "s")).await);
    world.load("s", TENFOLD).await;
    assert_eq!(world.get("a").await, int(15));
    let rollback = RollbackScript { name: "s".into() };
    assert_eq!(world.service.rollback_script.call(rollback).await.expect("there"), Ok(old));
    assert_eq!(world.get("a").await, int(11));
}

const BAD: &str = "fn onGet(caller, payload) { if payload == () { 1 / 0 } else { payload } }";

#[actix::test]
async fn a_version_that_fails_in_more_than_a_tenth_of_its_first_calls_is_rolled_back() {
    let world = World::new().await;
    let old = world.load("s", COUNTER).await;
    stored(world.ask("a", put_named("v", "s")).await);
    world.load("s", BAD).await;
    let mut events = world.kernel.events.follow();
    for _ in 0..50 {
        assert_eq!(world.get_with("a", int(7)).await, int(7));
    }
    for _ in 0..10 {
        world.refused("a", super::world::get()).await;
    }
    world.rest().await;
    assert!(events.try_recv().is_err(), "a tenth is tolerated");
    world.refused("a", super::world::get()).await;
    let name = world.service.show_script.clone();
    for _ in 0..1_000 {
        let shown = name.call(comet_kernel::contract::library::ShowScript { name: "s".into() }).await.expect("there");
        if shown.expect("known").hash == old.to_string() {
            break;
        }
        world.rest().await;
    }
    assert_eq!(world.get("a").await, int(1));
    assert!(events.try_recv().is_ok_and(|event| event.text.contains("rolled back")));
}

#[actix::test]
async fn a_version_that_fails_late_stays() {
    let world = World::new().await;
    world.load("s", COUNTER).await;
    stored(world.ask("a", put_named("v", "s")).await);
    let bad = world.load("s", BAD).await;
    for _ in 0..100 {
        world.get_with("a", int(7)).await;
    }
    for _ in 0..30 {
        world.refused("a", super::world::get()).await;
    }
    world.rest().await;
    assert_eq!(present(&world, "a").await, bad);
}

#[actix::test]
async fn a_good_version_that_comes_before_the_word_about_a_bad_one_stays() {
    let world = World::new().await;
    world.load("s", COUNTER).await;
    stored(world.ask("a", put_named("v", "s")).await);
    world.load("s", BAD).await;
    world.stage.lock().hold = true;
    let load = comet_kernel::contract::library::LoadScript {
        name: "s".into(),
        source: TENFOLD.into(),
        by: "a test".to_owned(),
    };
    let loaded = world.service.load_script.ask(load).expect("it is there");
    world.until("it is being stored", || world.stage.held() == 1).await;
    for _ in 0..11 {
        world.refused("a", super::world::get()).await;
    }
    world.stage.let_go();
    let good = loaded.await.expect("it lives").expect("loaded");
    for _ in 0..20 {
        world.rest().await;
        assert_eq!(world.get("a").await.type_name(), "integer");
    }
    assert_eq!(present(&world, "a").await, good);
}
