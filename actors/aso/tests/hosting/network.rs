//! What objects ask of the network: when it leaves, what goes with it, and what its answer does.

use std::time::Duration;

use comet_aso::sandbox::signature;
use comet_kernel::contract::aso::{Call, Op, Refusal, Reply};
use comet_kernel::contract::limiter::Leased;
use comet_kernel::contract::routing::{Act, Action, Data, Targets};
use comet_kernel::directory::Asked;
use comet_kernel::{NodeId, Pending, Request, Value, limits};
use ed25519_dalek::SigningKey;

use super::store::Stage;
use super::world::*;

/// Asks its neighbours what they hold, and answers whoever waits with that.
const ASKS: &str = "
    let waiting = [];
    let got = [];
    fn got(values) {
        this.got = values;
        for asker in this.waiting { comet.reply(asker, values); }
        this.waiting = [];
    }
    fn onGet(caller, payload) {
        if payload == \"seen\" { return this.got; }
        comet.get(comet.getASOKey(), 3, \"got\");
        this.waiting.push(caller);
        comet.later()
    }";

impl World {
    /// Waits for what was asked of the network, and takes it.
    async fn act(&self) -> (Act, impl FnOnce(Result<Vec<Value>, Refusal>) + use<>) {
        self.until("an object asks the network", || !self.stage.lock().acts.is_empty()).await;
        let (act, responder) = self.stage.lock().acts.remove(0);
        (act, move |answer| responder.answer(answer))
    }

    fn acts(&self) -> usize {
        self.stage.lock().acts.len()
    }

    /// Sends a get with so many objects behind it.
    fn caused(&self, name: &str, objects: u8) -> Pending<Answer> {
        let now = self.clock.now();
        let request = Request::until(now + SECOND).caused_by(objects);
        let call = Call { key: key(name), request, caller: caller("somebody"), op: get(), stamp: None };
        match self.service.directory.ask(call, now, false) {
            Asked::Later(pending) => pending,
            Asked::Done(answer) => panic!("done at once: {answer:?}"),
        }
    }

    async fn log(&self, name: &str) -> Vec<String> {
        match self.ask(name, Op::Log).await {
            Ok(Reply::Log(lines)) => lines,
            other => panic!("no log: {other:?}"),
        }
    }

    async fn seen(&self, name: &str) -> Value {
        self.get_with(name, text("seen")).await
    }
}

fn array(values: &[Value]) -> Value {
    Value::Array(values.to_vec())
}

fn nothing() -> Value {
    array(&[])
}

#[actix::test]
async fn an_answer_is_called_back_and_answers_who_was_parked() {
    let world = World::networked().await;
    world.put("a", "v", ASKS).await;
    let parked = world.send("a", get());
    let (act, answer_act) = world.act().await;
    assert_eq!(act.object, key("a"));
    assert_eq!(act.action, Action::Get { key: key("a"), nodes: Targets::Nearest(3) });
    assert_eq!((act.request.caused, act.publisher), (0, None));
    assert!(act.request.deadline > world.clock.now());
    answer_act(Ok(vec![int(1), text("x")]));
    assert_eq!(value(answer(parked).await.expect("it is answered")), array(&[int(1), text("x")]));
    assert_eq!(world.seen("a").await, array(&[int(1), text("x")]));
    world.flush().await;
    assert_eq!(world.stored_field("a", "got"), array(&[int(1), text("x")]), "what a callback changes is kept");
}

#[actix::test]
async fn an_action_leaves_only_if_its_handler_came_to_its_end() {
    let world = World::networked().await;
    let source = "fn onGet(caller, payload) { comet.put(comet.getASOKey(1), 1, 1); if payload == 1 { throw \"no\" } }";
    world.put("a", "v", source).await;
    assert!(world.ask("a", Op::Get { payload: int(1) }).await.is_err());
    world.rest().await;
    assert_eq!(world.acts(), 0);
    world.get("a").await;
    let (act, _) = world.act().await;
    assert_eq!(
        act.action,
        Action::Put { key: key("a").child(1), data: Data::Value(int(1)), nodes: Targets::Nearest(1) }
    );
}

#[actix::test]
async fn every_handler_may_act() {
    let world = World::networked().await;
    let act = "comet.put(comet.getASOKey(), this, 2);";
    let source = format!(
        "fn onPut() {{ {act} comet.setTimer(1); }} fn onUpdate() {{ {act} }} fn onTimer() {{ {act} }} \
         fn onRemove() {{ {act} }}"
    );
    world.put("a", "v", &source).await;
    let itself = Action::Put { key: key("a"), data: Data::Itself, nodes: Targets::Nearest(2) };
    assert_eq!(world.act().await.0.action, itself, "onPut");
    kept(world.ask("a", set("w")).await);
    assert_eq!(world.act().await.0.action, itself, "onUpdate");
    world.clock.advance(SECOND);
    world.tick("a").await;
    assert_eq!(world.act().await.0.action, itself, "onTimer");
    removed(world.ask("a", Op::Remove).await);
    assert_eq!(world.act().await.0.action, itself, "onRemove");
}

#[actix::test]
async fn a_failed_action_calls_back_with_nothing_and_tells_the_log() {
    let world = World::networked().await;
    world.put("a", "v", ASKS).await;
    let parked = world.send("a", get());
    let (_, answer_act) = world.act().await;
    answer_act(Err(Refusal::Forbidden("not a neighbour".into())));
    assert_eq!(value(answer(parked).await.expect("it is answered")), nothing());
    assert_eq!(world.log("a").await, ["comet.get failed: not a neighbour"]);
}

#[actix::test]
async fn a_router_that_does_not_answer_fails_the_action() {
    let world = World::networked().await;
    world.put("a", "v", ASKS).await;
    let parked = world.send("a", get());
    let held = world.act().await;
    world.clock.advance(Duration::from_secs(10));
    assert_eq!(value(answer(parked).await.expect("it is answered")), nothing());
    drop(held);
}

#[actix::test]
async fn a_node_in_no_network_answers_with_nothing() {
    let world = World::new().await;
    world.put("a", "v", ASKS).await;
    assert_eq!(world.get("a").await, nothing());
    assert_eq!(world.log("a").await, ["comet.get failed: this node is in no network"]);
}

#[actix::test]
async fn an_action_on_nobody_succeeds_at_once() {
    let world = World::new().await;
    let source = ASKS.replace("comet.getASOKey(), 3,", "comet.getASOKey(), comet.lookup(),");
    world.put("a", "v", &source).await;
    assert_eq!(world.get("a").await, nothing());
    assert_eq!(world.log("a").await, Vec::<String>::new());
}

#[actix::test]
async fn an_action_past_the_rate_fails_when_the_next_would_succeed() {
    let world = World::networked().await;
    world.put("a", "v", ASKS).await;
    world.stage.lock().network_lease = Some(Leased::Refused { retry_after_ms: 500 });
    let parked = world.send("a", get());
    world.rest().await;
    world.clock.advance(Duration::from_millis(499));
    world.rest().await;
    assert_eq!(world.seen("a").await, nothing());
    assert!(world.log("a").await.is_empty());
    world.clock.advance(Duration::from_millis(1));
    assert_eq!(value(answer(parked).await.expect("it is answered")), nothing());
    assert_eq!(world.log("a").await, ["comet.get failed: retry after 500 ms"]);
    assert_eq!(world.acts(), 0);
}

#[actix::test]
async fn what_an_object_caused_may_cause_nothing_more() {
    let world = World::networked().await;
    world.put("a", "v", ASKS).await;
    let parked = world.caused("a", 1);
    assert_eq!(value(answer(parked).await.expect("it is answered")), nothing());
    assert!(world.log("a").await[0].contains("an object caused this event"));
    assert_eq!(world.acts(), 0);
}

#[actix::test]
async fn a_signed_script_may_use_other_keys_and_pass_on_what_an_object_caused() {
    let publisher = SigningKey::from_bytes(&[5; 32]);
    let name = NodeId::from_public_key(publisher.verifying_key().as_bytes()).to_string();
    let trusted = name.clone();
    let shape = Shape { shards: 1, networked: true, apart: false };
    let world = World::of(Stage::default(), shape, move |settings| settings.aso.publishers.0 = vec![trusted]).await;
    let source = ASKS.replace("comet.get(comet.getASOKey()", "comet.get(\"elsewhere\"");
    world.put("signed", "v", &signature::sign(&source, &publisher)).await;
    for depth in 0..limits::SIGNED_CAUSATION {
        let parked = world.caused("signed", depth);
        let (act, answer_act) = world.act().await;
        assert_eq!((act.request.caused, act.publisher.as_deref()), (depth, Some(&*name)));
        assert_eq!(act.action, Action::Get { key: key("elsewhere"), nodes: Targets::Nearest(3) });
        answer_act(Ok(vec![int(1)]));
        assert_eq!(value(answer(parked).await.expect("it is answered")), array(&[int(1)]));
    }
    let parked = world.caused("signed", limits::SIGNED_CAUSATION);
    assert_eq!(value(answer(parked).await.expect("it is answered")), nothing());
    assert_eq!(world.acts(), 0);
    world.put("unsigned", "v", &source).await;
    assert!(matches!(world.refused("unsigned", get()).await, Refusal::Failed(text) if text.contains("child keys")));
    let forged = signature::sign(&source, &publisher).replace("elsewhere", "elsewhen");
    assert!(
        matches!(world.refused("forged", put("v", &forged)).await, Refusal::BadScript(text) if text.contains("sign"))
    );
}

#[actix::test]
async fn a_callback_is_an_event_with_as_many_objects_behind_it_and_budgets_of_its_own() {
    let world = World::networked().await;
    let source = "
        let rounds = 0;
        fn got(values) { this.rounds += 1; comet.get(comet.getASOKey(), 1, \"got\"); }
        fn onGet(caller, payload) {
            if payload == () { comet.get(comet.getASOKey(), 1, \"got\"); }
            this.rounds
        }";
    world.put("a", "v", source).await;
    world.get("a").await;
    for _ in 0..3 {
        let (act, answer_act) = world.act().await;
        assert_eq!(act.request.caused, 0);
        answer_act(Ok(vec![]));
    }
    let (_act, _answer) = world.act().await;
    assert_eq!(world.get_with("a", int(0)).await, int(3));
    let endless = "fn got(values) { loop { } } fn onGet() { comet.get(comet.getASOKey(), 1, \"got\"); }";
    world.put("endless", "v", endless).await;
    world.get("endless").await;
    world.act().await.1(Ok(vec![]));
    world.rest().await;
    let log = world.log("endless").await;
    assert!(log.len() == 1 && log[0].starts_with("got failed: Budget("), "{log:?}");
    let failures = world.info("endless").await.failures;
    assert_eq!(failures, 1);
}

#[actix::test]
async fn more_actions_than_may_be_under_way_fail_without_a_callback() {
    let world = World::networked().await;
    let source = "
        let failed = 0;
        fn got(values) { this.failed += 1; }
        fn onGet(caller, payload) { comet.get(comet.getASOKey(), 1, \"got\"); this.failed }";
    world.put("a", "v", source).await;
    for _ in 0..=limits::ACTIONS_UNDER_WAY {
        assert_eq!(world.get("a").await, int(0));
    }
    world.rest().await;
    assert_eq!(world.acts(), limits::ACTIONS_UNDER_WAY);
    assert!(world.log("a").await[0].contains("16 are under way already"));
    world.act().await.1(Ok(vec![]));
    world.rest().await;
    assert_eq!(world.get("a").await, int(1));
    world.rest().await;
    assert_eq!(world.acts(), limits::ACTIONS_UNDER_WAY, "there is room for one again");
}

#[actix::test]
async fn an_answer_to_an_object_that_was_replaced_or_removed_is_dropped() {
    let world = World::networked().await;
    let other = format!("{ASKS} fn onUpdate() {{ true }}");
    world.put("a", "v", &other).await;
    let first = world.send("a", get());
    let (_, answer_act) = world.act().await;
    world.put("a", "w", ASKS).await;
    assert!(answer(first).await.is_err(), "who was parked is told");
    answer_act(Ok(vec![int(1)]));
    world.rest().await;
    assert_eq!(world.seen("a").await, nothing());

    let second = world.send("a", get());
    let (_, answer_act) = world.act().await;
    removed(world.ask("a", Op::Remove).await);
    assert!(answer(second).await.is_err());
    answer_act(Ok(vec![int(2)]));
    world.rest().await;
    assert_eq!(world.get("a").await, Value::Nil);
}

#[actix::test]
async fn a_callback_that_a_new_version_of_the_script_lacks_is_told_to_the_log() {
    let world = World::networked().await;
    world.load("asks", ASKS).await;
    stored(world.ask("a", put_named("v", "asks")).await);
    let _parked = world.send("a", get());
    let (_, answer_act) = world.act().await;
    world.load("asks", "fn onGet() { 1 }").await;
    answer_act(Ok(vec![int(1)]));
    world.rest().await;
    let log = world.log("a").await;
    assert!(log.len() == 1 && log[0].contains("has no function \\\"got\\\""), "{log:?}");
}

#[actix::test]
async fn who_called_lately_goes_with_an_action() {
    let world = World::networked().await;
    let source = "fn onGet(caller, payload) { if payload == 1 { comet.put(comet.getASOKey(), 1, 1); } }";
    world.put("a", "v", source).await;
    for number in 0..40 {
        world.ask_as(&format!("node{number}/user"), "a", get()).await.expect("it answers");
    }
    world.ask_as("node20", "a", Op::Get { payload: int(1) }).await.expect("it answers");
    let (act, _) = world.act().await;
    assert_eq!(act.callers.len(), limits::REMEMBERED_CALLERS);
    assert_eq!(act.callers.last(), Some(&NodeId::from_text("node20")), "the latest");
    assert_eq!(act.callers.first(), Some(&NodeId::from_text("node8")), "the oldest that is remembered");
}

#[actix::test]
async fn an_object_in_quarantine_is_not_called_back() {
    let world = World::networked().await;
    world.put("a", "v", ASKS).await;
    let _parked = world.send("a", get());
    let (_, answer_act) = world.act().await;
    world.ask("a", Op::Quarantine(true)).await.expect("by order");
    answer_act(Ok(vec![int(1)]));
    world.rest().await;
    world.ask("a", Op::Quarantine(false)).await.expect("by order");
    assert_eq!(world.seen("a").await, nothing());
}
