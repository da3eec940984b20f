//! Objects with a script: how they come to be, what their handlers decide, and that what fails leaves no trace.

use comet_kernel::contract::aso::{Budget, Call, Condition, Lifetime, Op, Put, Refusal, ScriptChoice};
use comet_kernel::{Request, ScriptHash, Value};

use super::world::{
    SECOND, World, add, answer, applied, caller, expire, get, int, kept, key, put, put_by, put_named, removed, set,
    set_if, stored, text, value,
};

pub const COUNTER: &str = "let n = 0; fn onGet() { this.n += 1; this.n }";
/// Keeps itself whatever is put, and takes over the value.
const KEEPER: &str = "fn onUpdate(caller, incoming) { this.value = incoming.value; }";
const WAITER: &str = r#"
    fn onGet(caller, payload) {
        if payload == "later" { return comet.later(); }
        this.value
    }
    fn onUpdate(caller, incoming) { this.value = incoming.value; comet.reply(caller, incoming.value); false }
"#;

#[actix::test]
async fn an_object_is_put_by_name_by_hash_and_by_source() {
    let world = World::new().await;
    let hash = world.load("counter", COUNTER).await;
    stored(world.ask("named", put_named("v", "counter")).await);
    stored(world.ask("hashed", put_by("v", ScriptChoice::Hash(hash))).await);
    world.put("sourced", "v", COUNTER).await;
    for name in ["named", "hashed", "sourced"] {
        assert_eq!((world.get(name).await, world.get(name).await), (int(1), int(2)));
        assert_eq!(world.info(name).await.hash, Some(hash.to_string()));
    }
    assert_eq!(world.info("named").await.script.as_deref(), Some("counter"));
    assert_eq!(world.info("hashed").await.script, None);
}

#[actix::test]
async fn a_script_that_nobody_knows_or_that_does_not_compile_leaves_what_is_there() {
    let world = World::new().await;
    world.set("a", "old").await;
    world.put("b", "old", COUNTER).await;
    let unknown = ScriptHash::of("never seen");
    for name in ["a", "b", "c"] {
        let by_name = put_by(1, ScriptChoice::Named { name: "nobody".into(), pin: false });
        assert_eq!(world.refused(name, by_name).await, Refusal::NoScript("nobody".to_owned()));
        let by_hash = put_by(1, ScriptChoice::Hash(unknown));
        assert_eq!(world.refused(name, by_hash).await, Refusal::NoScript(unknown.to_string()));
        assert!(matches!(world.refused(name, put(1, "fn onGet( {")).await, Refusal::BadScript(_)));
    }
    assert_eq!(world.get("b").await, int(1));
    assert_eq!((world.get("a").await, world.get("c").await), (text("old"), Value::Nil));
}

#[actix::test]
async fn a_put_that_on_put_refuses_leaves_what_was_there() {
    let world = World::new().await;
    world.set("plain", "old").await;
    world.put("object", "old", COUNTER).await;
    for refuser in ["fn onPut() { false }", r#"fn onPut() { throw "no" }"#] {
        for name in ["plain", "object", "nothing"] {
            assert!(matches!(world.refused(name, put("new", refuser)).await, Refusal::Thrown(_)));
        }
    }
    assert_eq!((world.get("plain").await, world.get("nothing").await), (text("old"), Value::Nil));
    assert_eq!(world.get("object").await, int(1));
    assert!(world.stored("nothing").is_none());
}

#[actix::test]
async fn calls_on_one_key_are_answered_in_the_order_of_sending_whatever_happens_to_it() {
    let world = World::new().await;
    world.set("a", 5).await;
    world.passivate("a").await;
    world.stage.lock().hold = true;
    let answers = vec![
        world.send("a", get()),
        world.send("a", add(1)),
        world.send("a", get()),
        world.send("a", put(100, COUNTER)),
        world.send("a", get()),
        world.send("a", get()),
        world.send("a", set("plain")),
        world.send("a", get()),
        world.send("a", Op::Remove),
        world.send("a", get()),
        world.send("a", put(1, COUNTER)),
        world.send("a", get()),
    ];
    for _ in 0..20 {
        world.rest().await;
        if world.stage.held() > 0 {
            world.stage.release(1);
        }
    }
    world.stage.let_go();
    let mut seen = Vec::new();
    for (number, pending) in answers.into_iter().enumerate() {
        let reply = answer(pending).await.expect("nothing is refused");
        if ![3, 6, 8, 10].contains(&number) {
            seen.push(value(reply));
        }
    }
    let expected = [int(5), int(6), int(6), int(1), int(2), text("plain"), Value::Nil, int(1)];
    assert_eq!(seen, expected);
}

#[actix::test]
async fn a_handler_that_fails_leaves_no_trace() {
    let world = World::new().await;
    let script = r#"
        let n = 0;
        fn onGet(caller, payload) {
            if payload == () { return this.n; }
            this.n += 1;
            comet.log("seen"); comet.setTimer(5); comet.deleteSelf();
            if payload == "throw" { throw "no"; }
            if payload == "fail" { return 1 / 0; }
            loop { this.n += 1; }
        }
        fn onUpdate() { this.n += 1; throw "no" }
        fn onRemove() { this.n += 1; comet.log("removed"); false }
    "#;
    world.put("a", "v", script).await;
    let get = |payload: &str| Op::Get { payload: text(payload) };
    assert_eq!(world.refused("a", get("throw")).await, Refusal::Thrown("no".to_owned()));
    assert!(matches!(world.refused("a", get("fail")).await, Refusal::Failed(_)));
    let refusal = world.refused("a", get("spin")).await;
    assert!(matches!(refusal, Refusal::Budget(Budget::Operations | Budget::Time)), "{refusal:?}");
    assert!(matches!(world.refused("a", set("new")).await, Refusal::Thrown(_)));
    assert!(matches!(world.refused("a", add(1)).await, Refusal::NotANumber(_)));
    assert!(matches!(world.refused("a", Op::Remove).await, Refusal::Thrown(_)));
    assert_eq!(world.get("a").await, int(0));
    assert!(
        matches!(world.ask("a", Op::Log).await, Ok(comet_kernel::contract::aso::Reply::Log(log)) if log.is_empty())
    );
    assert_eq!(world.armed("a"), None);
    let info = world.info("a").await;
    assert_eq!((info.calls, info.failures, info.timer_seconds), (6, 2, None));
}

#[actix::test]
async fn on_update_decides_whether_the_incoming_object_takes_the_place() {
    let world = World::new().await;
    let chooser = r#"let n = 0; fn onUpdate(caller, incoming) { this.n += 1; incoming.value == "take" }"#;
    world.put("a", "first", chooser).await;
    assert_eq!(kept(world.ask("a", set("other")).await), Some(Value::Nil), "a script alone shows its value");
    assert_eq!(world.stored_field("a", "n"), int(1), "an update is durable when it is answered");
    assert_eq!(world.get("a").await, text("first"));
    stored(world.ask("a", set("take")).await);
    assert_eq!(world.get("a").await, text("take"));
    world.put("a", "second", KEEPER).await;
    assert_eq!(value(world.ask("a", add(0)).await.unwrap_or(comet_kernel::contract::aso::Reply::Absent)), Value::Nil);
    kept(world.ask("a", set(5)).await);
    let edited = value(world.ask("a", add(2)).await.expect("a number"));
    assert_eq!((edited, world.get("a").await), (int(7), int(7)));
}

#[actix::test]
async fn conditions_and_owners_hold_for_objects_too() {
    let world = World::new().await;
    let op = Op::Put(Box::new(Put {
        script: Some(ScriptChoice::Source(COUNTER.into())),
        owned: true,
        lifetime: Lifetime::For(60 * SECOND),
        ..Put::plain(text("v"))
    }));
    stored(world.ask_as("alice", "a", op).await);
    let owned = Err(Refusal::Owned("alice".to_owned()));
    for op in [set("mine"), add(1), Op::Remove, expire(Lifetime::Endless)] {
        assert_eq!(world.ask_as("bob", "a", op).await.map(|_| ()), owned);
    }
    assert_eq!(kept(world.ask("a", set_if(1, Condition::IfAbsent)).await), Some(Value::Nil));
    let end = world.info("a").await.ttl_ms;
    assert_eq!(end, Some(60_000));
    assert_eq!(world.armed("a").map(|due| due.0 - super::world::START.0), end);
    removed(world.ask_as("alice", "a", Op::Remove).await);
    assert_eq!((world.get("a").await, world.armed("a")), (Value::Nil, None));
}

#[actix::test]
async fn an_object_that_deletes_itself_is_off_the_disk_before_it_answers() {
    let world = World::new().await;
    world.put("a", "once", "fn onGet() { comet.deleteSelf(); this.value }").await;
    world.stage.lock().hold = true;
    let mut first = world.send("a", get());
    let mut second = world.send("a", get());
    world.rest().await;
    assert!(first.try_take().expect("it lives").is_none() && second.try_take().expect("it lives").is_none());
    world.stage.let_go();
    assert_eq!(value(answer(first).await.expect("once")), text("once"));
    assert_eq!(value(answer(second).await.expect("answered")), Value::Nil);
    assert!(world.stored("a").is_none());
    world.until("its actor ends", || !world.is_active("a")).await;
    assert_eq!(world.get("a").await, Value::Nil);
}

#[actix::test]
async fn an_object_ends_when_its_time_has_come() {
    let world = World::new().await;
    world.put("a", "v", COUNTER).await;
    assert!(applied(world.ask("a", expire(Lifetime::For(5 * SECOND))).await));
    world.pass(4).await;
    assert_eq!(world.get("a").await, int(1));
    world.pass(1).await;
    assert_eq!(world.get("a").await, Value::Nil);
    world.flush().await;
    assert!(world.stored("a").is_none());
    world.set("a", "new").await;
    assert_eq!(world.get("a").await, text("new"));
}

#[actix::test]
async fn an_object_past_its_end_is_not_served_even_if_the_store_is_away() {
    let mut world = World::new().await;
    world.put("a", "v", COUNTER).await;
    world.ask("a", expire(Lifetime::For(5 * SECOND))).await.expect("there");
    world.take_writer().await;
    world.pass(5).await;
    assert_eq!(world.get("a").await, Value::Nil);
    world.bring_writer().await;
    world.pass(1).await;
    world.until("it is removed", || world.stored("a").is_none()).await;
}

#[actix::test]
async fn what_the_store_cannot_take_leaves_no_trace_in_the_object() {
    let mut world = World::new().await;
    world
        .put(
            "a",
            1,
            "let n = 0; fn onUpdate(c, i) { if i.value > 50 { return true; } this.n += 1; this.value = i.value; }",
        )
        .await;
    world.put("b", 1, COUNTER).await;
    world.take_writer().await;
    for op in [set(7), add(1), put(100, COUNTER), expire(Lifetime::For(SECOND)), Op::Quarantine(true)] {
        assert!(matches!(world.refused("a", op).await, Refusal::Unavailable(_)));
    }
    for op in [add(1), set(9), Op::Remove] {
        assert!(matches!(world.refused("b", op).await, Refusal::Unavailable(_)));
    }
    world.bring_writer().await;
    assert_eq!(world.get("a").await, int(1));
    let info = world.info("a").await;
    assert_eq!((info.ttl_ms, info.quarantined), (None, false));
    world.pass(1).await;
    assert_eq!(
        (world.stored_field("a", "n"), world.stored("a").map(|record| record.value.clone())),
        (int(0), Some(int(1)))
    );
    let op = Op::Peek;
    assert_eq!(value(world.ask("b", op).await.expect("there")), int(1));
}

#[actix::test]
async fn a_parked_request_is_answered_by_a_reply() {
    let world = World::new().await;
    world.put("a", "old", WAITER).await;
    let later = || Op::Get { payload: text("later") };
    let mut bob = world.send_as("bob", "a", later());
    let mut alice = world.send_as("alice", "a", later());
    assert_eq!(world.get("a").await, text("old"));
    kept(world.ask_as("alice", "a", set("news")).await);
    assert_eq!(value(answer(alice).await.expect("replied")), text("news"));
    assert!(bob.try_take().expect("it lives").is_none());
    alice = world.send_as("alice", "a", later());
    world.pass(29).await;
    assert!(bob.try_take().expect("it lives").is_none());
    world.pass(1).await;
    assert_eq!(answer(bob).await.map(|_| ()), Err(Refusal::TimedOut(30_000)));
    world.pass(1).await;
    assert_eq!(answer(alice).await.map(|_| ()), Err(Refusal::TimedOut(30_000)));
}

#[actix::test]
async fn a_request_is_parked_no_longer_than_its_sender_waits() {
    let world = World::with(|settings| settings.aso.parked = 2).await;
    world.put("a", "old", WAITER).await;
    let later = |who: &str, seconds: u32| {
        let request = Request::until(world.clock.now() + SECOND * seconds);
        let op = Op::Get { payload: text("later") };
        world.send_call(Call { key: key("a"), request, caller: caller(who), op, stamp: None })
    };
    let mut patient = later("alice", 60);
    world.rest().await;
    // A node that gets no answer in two seconds asks again, as long as its client waits.
    for _ in 0..10 {
        let given_up = later("bob", 2);
        world.pass(2).await;
        assert_eq!(answer(given_up).await.map(|_| ()), Err(Refusal::TimedOut(30_000)));
    }
    assert!(patient.try_take().expect("it lives").is_none());
    let hasty = later("bob", 2);
    kept(world.ask_as("carol", "a", set("news")).await);
    kept(world.ask_as("bob", "a", set("news")).await);
    assert_eq!(value(answer(hasty).await.expect("replied")), text("news"));
    world.pass(10).await;
    assert_eq!(answer(patient).await.map(|_| ()), Err(Refusal::TimedOut(30_000)));
}

#[actix::test]
async fn parked_requests_are_answered_when_their_object_is_replaced_or_removed() {
    let world = World::new().await;
    for op in [Op::Remove, put("new", COUNTER)] {
        let script = "fn onGet() { comet.later() }";
        world.put("a", "old", script).await;
        let parked = world.send_as("bob", "a", get());
        world.rest().await;
        world.ask("a", op).await.expect("it goes");
        assert!(matches!(answer(parked).await, Err(Refusal::Unavailable(_))));
    }
}

#[actix::test]
async fn no_more_requests_are_parked_than_may_be_and_those_who_ask_do_not_cost_the_object_its_handlers() {
    let world = World::with(|settings| settings.aso.parked = 3).await;
    world.put("a", "v", "fn onGet() { comet.later() }").await;
    let parked: Vec<_> = (0..3).map(|_| world.send("a", get())).collect();
    for _ in 0..10 {
        assert_eq!(world.refused("a", get()).await, Refusal::Budget(Budget::Parked));
    }
    assert!(!world.info("a").await.quarantined);
    world.pass(30).await;
    for pending in parked {
        assert_eq!(answer(pending).await.map(|_| ()), Err(Refusal::TimedOut(30_000)));
    }
}
