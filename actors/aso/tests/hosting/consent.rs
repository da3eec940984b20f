//! What an object is asked before it changes or ends, and what it asks for when it agrees.

use comet_kernel::Value;
use comet_kernel::contract::aso::{Lifetime, Op, Refusal, Reply};

use super::world::{SECOND, START, World, add, answer, applied, expire, int, kept, put, set, stored, text, value};

async fn log(world: &World, name: &str) -> Vec<String> {
    match world.ask(name, Op::Log).await {
        Ok(Reply::Log(lines)) => lines.iter().map(ToString::to_string).collect(),
        other => panic!("it has a log: {other:?}"),
    }
}

#[actix::test]
async fn who_may_not_remove_an_object_may_not_bring_its_end_nearer_either() {
    let world = World::new().await;
    world.put("a", "v", r#"fn onRemove(caller) { caller.id == "friend" }"#).await;
    for lifetime in [Lifetime::For(SECOND), Lifetime::At(START)] {
        assert!(matches!(world.refused("a", expire(lifetime)).await, Refusal::Thrown(_)));
    }
    assert_eq!(world.info("a").await.ttl_ms, None);
    assert!(applied(world.ask_as("friend", "a", expire(Lifetime::For(10 * SECOND))).await));
    assert!(applied(world.ask("a", expire(Lifetime::For(20 * SECOND))).await), "nobody minds a longer life");
    assert!(matches!(world.refused("a", expire(Lifetime::For(15 * SECOND))).await, Refusal::Thrown(_)));
    assert!(applied(world.ask_as("friend", "a", expire(Lifetime::At(START))).await));
    assert_eq!(world.get("a").await, Value::Nil);
}

#[actix::test]
async fn an_object_in_quarantine_is_neither_removed_nor_ended() {
    let world = World::new().await;
    world.put("a", "v", "fn onRemove() { true }").await;
    world.ask("a", Op::Quarantine(true)).await.expect("it is there");
    for op in [Op::Remove, expire(Lifetime::For(SECOND)), expire(Lifetime::At(START))] {
        assert_eq!(world.refused("a", op).await, Refusal::Quarantined);
    }
}

#[actix::test]
async fn what_an_object_asks_for_when_it_agrees_to_an_edit_is_done_and_its_changes_stay() {
    let world = World::new().await;
    let source = r#"let n = 0; fn onUpdate() { this.n += 1; this.value = 99; comet.log("edited"); true }"#;
    world.put("a", 1, source).await;
    assert_eq!(value(world.ask("a", add(2)).await.expect("a number")), int(3), "the value is the edit's");
    assert_eq!(world.stored_field("a", "n"), int(1), "it is durable when it is answered");
    assert_eq!(log(&world, "a").await, ["edited"]);
    let leaver = "fn onUpdate() { comet.deleteSelf(); true }";
    world.put("b", 1, leaver).await;
    assert!(world.ask("b", add(2)).await.is_ok());
    assert_eq!(world.get("b").await, Value::Nil);
}

#[actix::test]
async fn an_object_that_lets_itself_be_replaced_replies_to_those_who_wait_before_it_goes() {
    let world = World::new().await;
    let source =
        r#"fn onGet() { comet.later() } fn onUpdate(caller, incoming) { comet.reply(caller, "at last"); true }"#;
    for (name, op) in [("a", set("new")), ("b", put("new", "fn onGet() { this.value }"))] {
        world.put(name, "old", source).await;
        let waits = world.send_as("bob", name, Op::Get { payload: Value::Nil });
        stored(world.ask_as("bob", name, op).await);
        assert_eq!(value(answer(waits).await.expect("replied")), text("at last"));
        assert_eq!(world.get(name).await, text("new"));
    }
}

#[actix::test]
async fn an_object_whose_successor_is_refused_has_asked_for_nothing() {
    let world = World::new().await;
    world.put("a", "old", r#"fn onUpdate() { comet.log("replaced"); true }"#).await;
    assert!(matches!(world.refused("a", put("new", "fn onPut() { false }")).await, Refusal::Thrown(_)));
    assert_eq!(log(&world, "a").await, Vec::<String>::new());
    assert_eq!(world.get("a").await, text("old"));
    world.put("b", "old", r#"fn onUpdate() { comet.log("kept"); false }"#).await;
    kept(world.ask("b", set("new")).await);
    assert_eq!(log(&world, "b").await, ["kept"]);
}
