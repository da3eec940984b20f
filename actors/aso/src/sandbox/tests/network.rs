//! The functions that reach other nodes: what they note down, what they refuse, and what comes back.

use comet_kernel::contract::routing::{Action, Data, Targets};
use comet_kernel::neighbours::{Neighbour, Neighbours};
use ed25519_dalek::SigningKey;

use super::*;
use crate::sandbox::{Actions, Asked, signature};

/// A node whose id and place come from a number. The object's key is nearest to number 0, then 1, and so on.
fn neighbour(number: u8) -> Neighbour {
    let mut place = Key::new(b"key").expect("short").place();
    place[31] ^= number;
    let id = NodeId::from_public_key(&[number; 32]);
    Neighbour { id, ip: [10, 1, 0, number].into(), port: 7_380, place }
}

/// A bench whose node, number 3, knows so many nodes, itself included.
fn among(nodes: u8) -> Bench {
    let bench = Bench::new();
    let neighbours = Neighbours::none();
    neighbours.publish(neighbour(3), (0..nodes).map(|number| Arc::new(neighbour(number))));
    let node = Node { id: neighbour(3).id, ip: [10, 1, 0, 3].into(), neighbours };
    Bench { sandbox: Sandbox::new(Budgets::default(), node, bench.clock.clone()), ..bench }
}

fn asked(source: &str) -> Vec<Asked> {
    Bench::new().run(source).expect("it runs").actions.network
}

/// What the call in `onGet` of a script with the callback `got(values)` complains of.
fn complaint(call: &str) -> String {
    let source = format!("fn got(values) {{ }} fn onGet() {{ {call}; \"done\" }}");
    match Bench::new().run(&source) {
        Err(Failure::Error(text)) => text,
        other => panic!("{call}: {other:?}"),
    }
}

fn key() -> Key {
    Key::new(b"key").expect("short")
}

#[test]
fn lookup_gives_the_others_nearest_first() {
    let source = "fn onGet() { comet.lookup().map(|node| `${node.id} ${node.ip} ${node.port}`) }";
    let found = |nodes| match among(nodes).run(source).expect("it runs").reply {
        Value::Array(found) => found,
        other => panic!("no array: {other:?}"),
    };
    let expected: Vec<Value> = [0, 1, 2, 4]
        .map(|number| Value::from(format!("{} 10.1.0.{number} 7380", neighbour(number).id).as_str()))
        .into();
    assert_eq!(found(5), expected);
    assert_eq!(found(60).len(), 20);
}

#[test]
fn a_node_of_a_network_has_the_address_that_others_know() {
    let neighbours = Neighbours::none();
    let bench = Bench::new();
    let node = Node { id: neighbour(3).id, ip: [127, 0, 0, 1].into(), neighbours: neighbours.clone() };
    let bench = Bench { sandbox: Sandbox::new(Budgets::default(), node, bench.clock.clone()), ..bench };
    assert_eq!(bench.reply("comet.getNodeIP()"), Ok(Value::from("127.0.0.1")));
    neighbours.publish(neighbour(3), []);
    assert_eq!(bench.reply("comet.getNodeIP()"), Ok(Value::from("10.1.0.3")));
}

#[test]
fn lookup_of_a_node_that_is_alone_gives_nobody() {
    let body = "[comet.lookup(), comet.lookup(comet.getASOKey()), comet.lookup(comet.getASOKey(5))]";
    let nobody = Value::Array(Vec::new());
    let expected = Value::Array(vec![nobody.clone(), nobody.clone(), nobody]);
    assert_eq!(Bench::new().reply(body), Ok(expected.clone()));
    assert_eq!(
        among(4).run(&format!("fn onGet() {{ {body} }}")).map(|outcome| outcome.reply.encoded_size() > 99),
        Ok(true)
    );
    let alone = Neighbours::none();
    alone.publish(neighbour(3), []);
    let bench = Bench::new();
    let node = Node { id: neighbour(3).id, ip: [10, 1, 0, 3].into(), neighbours: alone };
    let bench = Bench { sandbox: Sandbox::new(Budgets::default(), node, bench.clock.clone()), ..bench };
    assert_eq!(bench.reply(body), Ok(expected));
}

#[test]
fn a_get_is_noted_down_with_its_callback() {
    let source = "
        fn got(values) { }
        fn onGet() {
            comet.get(comet.getASOKey(), 3, \"got\");
            comet.get(comet.getASOKey(2), [#{ id: \"a\" }, #{ id: \"b/user\" }, #{ id: \"a\" }], Fn(\"got\"));
        }";
    let these = Targets::These(vec![NodeId::from_text("a"), NodeId::from_text("b")]);
    let expected =
        [Action::Get { key: key(), nodes: Targets::Nearest(3) }, Action::Get { key: key().child(2), nodes: these }];
    let expected = expected.map(|action| Asked { action, callback: Some("got".into()), publisher: None });
    assert_eq!(asked(source), expected);
}

#[test]
fn a_closure_can_take_the_answer() {
    let asked = asked("fn onGet() { comet.get(comet.getASOKey(), 1, |values| values.len()); }");
    assert!(asked[0].callback.is_some(), "{asked:?}");
}

#[test]
fn a_put_is_noted_down_with_a_value_or_the_object_itself() {
    let source = "
        fn stored() { }
        fn onGet() {
            comet.put(comet.getASOKey(), this, 20);
            comet.put(comet.getASOKey(1), [1, \"x\"], [], \"stored\");
        }";
    let put = |key, data, nodes| Action::Put { key, data, nodes };
    let value = Value::Array(vec![Value::Int(1), Value::from("x")]);
    let expected = [
        (put(key(), Data::Itself, Targets::Nearest(20)), None),
        (put(key().child(1), Data::Value(value), Targets::These(Vec::new())), Some("stored".into())),
    ];
    let expected = expected.map(|(action, callback)| Asked { action, callback, publisher: None });
    assert_eq!(asked(source), expected);
}

#[test]
fn the_object_itself_is_meant_only_where_this_is_written() {
    let itself = |body: &str| {
        let asked = asked(&format!("fn done() {{ }} fn onGet() {{ {body} }}"));
        matches!(asked[0].action, Action::Put { data: Data::Itself, .. })
    };
    assert!(itself("comet.put(comet.getASOKey(), this, 1);"));
    assert!(itself("comet.put(comet.getASOKey(), this, 1, \"done\");"));
    assert!(itself("put(comet, comet.getASOKey(), this, 1);"));
    assert!(itself("if true { for n in 0..1 { comet.put(comet.getASOKey(), this, 1) } }"));
    assert!(!itself("let state = this; comet.put(comet.getASOKey(), state, 1);"));
    assert!(!itself("comet.put(comet.getASOKey(), this.value, 1);"));
    assert!(!itself("let f = Fn(\"put\"); f.call(comet, comet.getASOKey(), this, 1);"));
    assert!(itself("comet.put(comet.getASOKey(1), this, 1);"));
}

#[test]
fn wrong_arguments_are_named() {
    for (call, part) in [
        ("comet.get(1, 1, \"got\")", "comet.get: key is 1; it must be text or a blob"),
        ("comet.get(\"\", 1, \"got\")", "comet.get: the key is empty"),
        ("comet.get(\"other\", 1, \"got\")", "comet.get: key is neither this object's nor one of its child keys"),
        ("comet.lookup(\"other\")", "comet.lookup: key is neither"),
        ("comet.lookup(())", "comet.lookup: key is ()"),
        ("comet.put(\"other\", 1, 1)", "comet.put: key is neither"),
        ("comet.get(comet.getASOKey(), 0, \"got\")", "comet.get: nodes is 0; it must be a number from 1 to 20"),
        ("comet.get(comet.getASOKey(), 21, \"got\")", "nodes is 21"),
        ("comet.get(comet.getASOKey(), -1, \"got\")", "nodes is -1"),
        ("comet.get(comet.getASOKey(), 9223372036854775807, \"got\")", "nodes is 9223372036854775807"),
        ("comet.get(comet.getASOKey(), 1.0, \"got\")", "nodes is 1.0"),
        ("comet.get(comet.getASOKey(), (), \"got\")", "nodes is ()"),
        ("comet.get(comet.getASOKey(), [1], \"got\")", "nodes[0] is 1; it must be a map with an id"),
        ("comet.get(comet.getASOKey(), [#{ id: \"a\" }, #{ id: 7 }], \"got\")", "nodes[1] is #{\"id\": 7}"),
        ("comet.get(comet.getASOKey(), [#{ id: \"\" }], \"got\")", "nodes[0] is"),
        ("comet.get(comet.getASOKey(), [#{ id: \"/user\" }], \"got\")", "nodes[0] is"),
        ("let a = []; a.pad(21, #{ id: \"a\" }); comet.get(comet.getASOKey(), a, \"got\")", "nodes is an array of 21"),
        ("comet.get(comet.getASOKey(), 1, \"gone\")", "comet.get: callback is \"gone\"; the script must define"),
        ("comet.get(comet.getASOKey(), 1, ())", "comet.get: callback is (); it must be the name of a function"),
        ("comet.get(comet.getASOKey(), 1, |a, b| a)", "with one parameter or none"),
        ("comet.put(comet.getASOKey(), 1, 1, \"log\")", "callback is \"log\""),
        ("comet.put(comet.getASOKey(), comet, 1)", "comet.put: data must be a value that can be sent"),
        ("comet.put(comet.getASOKey(), [|x| x], 1)", "comet.put: data must be a value"),
        ("comet.put(comet.getASOKey(), 1, \"x\")", "comet.put: nodes is \"x\""),
    ] {
        let text = complaint(call);
        assert!(text.contains(part), "{call}: {text}");
    }
}

#[test]
fn a_script_can_catch_its_mistakes_and_nothing_is_noted_down() {
    let source = "fn onGet() { try { comet.put(\"other\", 1, 1); } catch { } \"done\" }";
    assert!(asked(source).is_empty());
}

#[test]
fn more_actions_than_an_event_may_ask_for_end_it() {
    for body in [
        "for n in 0..3 { comet.put(comet.getASOKey(), n, 1); }",
        "loop { try { comet.put(comet.getASOKey(), 1, 1); } catch { } }",
    ] {
        assert_eq!(
            Bench::new().run(&format!("fn onGet() {{ {body} }}")).map(|_| ()),
            budget(Budget::Actions),
            "{body}"
        );
    }
    assert_eq!(asked("fn onGet() { for n in 0..2 { comet.put(comet.getASOKey(), n, 1); } }").len(), 2);
}

#[test]
fn an_event_that_fails_asks_for_nothing() {
    let bench = Bench::new();
    assert!(bench.run("fn onGet() { comet.put(comet.getASOKey(), 1, 1); throw \"no\" }").is_err());
    let outcome = bench.run("fn onGet() { }").expect("it runs");
    assert!(outcome.actions.network.is_empty());
}

#[test]
fn constants_cannot_reach_the_network() {
    let sandbox = Bench::new().sandbox;
    for call in ["comet.lookup()", "comet.lookup(\"key\")", "comet.put(\"key\", 1, 1)"] {
        let error = sandbox.compile(&format!("const x = {call};")).expect_err("there is no object yet").to_string();
        assert!(error.contains("works in handlers"), "{error}");
    }
}

#[test]
fn an_answer_runs_its_function_on_the_state() {
    let bench = Bench::new();
    let script = bench.script(
        "let seen = 0; fn got(values) { this.seen = values; } fn ping() { this.seen += 1; } \
         fn onGet() { comet.get(comet.getASOKey(), 1, \"got\"); }",
    );
    let state = bench.create(&script, &Value::Nil);
    let seen = |function: &str, values: &[Value]| {
        let outcome = bench.sandbox.call_back(&script, &state, function, values, &bench.event()).expect("it runs");
        assert_eq!(outcome.reply, Value::Nil);
        let Value::Map(mut fields) = outcome.state.expect("it changed").fields() else { panic!("fields are a map") };
        fields.remove("seen").expect("declared")
    };
    assert_eq!(seen("got", &[Value::Int(1), Value::from("x")]), Value::Array(vec![Value::Int(1), Value::from("x")]));
    assert_eq!(seen("got", &[]), Value::Array(Vec::new()));
    assert_eq!(seen("ping", &[Value::Int(1)]), Value::Int(1));
    let unfit = [Value::Array(vec![Value::Nil; 2_000]), Value::from("y"), Value::Bytes(vec![0; 2 << 20].into())];
    assert_eq!(seen("got", &unfit), Value::Array(vec![Value::from("y")]));
    let gone = bench.sandbox.call_back(&script, &state, "gone", &[], &bench.event());
    assert!(matches!(gone, Err(Failure::Error(_))), "{gone:?}");
}

#[test]
fn an_answer_has_the_budgets_of_a_handler() {
    let bench = Bench::new();
    let script = bench.script("fn got(values) { loop { } } fn onGet() { comet.get(comet.getASOKey(), 1, \"got\"); }");
    let state = bench.create(&script, &Value::Nil);
    let ended = bench.sandbox.call_back(&script, &state, "got", &[], &bench.event()).map(|_| ());
    assert!(matches!(ended, Err(Failure::Budget(Budget::Operations | Budget::Time))), "{ended:?}");
}

/// A publisher, and a sandbox that trusts it.
fn publisher() -> (SigningKey, String, Bench) {
    let key = SigningKey::from_bytes(&[5; 32]);
    let name = NodeId::from_public_key(key.verifying_key().as_bytes()).to_string();
    let bench = Bench::new();
    let node = Node { id: neighbour(3).id, ip: [10, 1, 0, 3].into(), neighbours: Neighbours::none() };
    let sandbox = Sandbox::new(Budgets::default(), node, bench.clock.clone()).trusting([&name]);
    (key, name, Bench { sandbox, ..bench })
}

const FAR: &str = "fn onGet() { comet.put(\"other\", 1, 1); comet.lookup(\"another\"); }";

#[test]
fn a_signed_script_may_use_other_keys() {
    let (key, name, bench) = publisher();
    let outcome = bench.run(&signature::sign(FAR, &key)).expect("it may");
    assert_eq!(outcome.actions.network[0].publisher.as_deref(), Some(&*name));
    assert!(bench.run(FAR).is_err(), "unsigned");
    assert!(Bench::new().run(&signature::sign(FAR, &key)).is_err(), "signed by nobody who is trusted here");
}

#[test]
fn a_signature_fits_one_source_only() {
    let (key, name, bench) = publisher();
    let signed = signature::sign(FAR, &key);
    assert_eq!(bench.script(&signed).publisher().map(|name| &**name), Some(&*name));
    assert_eq!(signature::read(&signed), signature::Signed::By(&name));
    assert_eq!(signature::sign(&signed, &key), signed, "signing again replaces the line");
    let other = signature::sign(&signed, &SigningKey::from_bytes(&[6; 32]));
    assert_eq!(other.matches("comet-signature").count(), 1);
    assert_eq!(bench.script(&other).publisher(), None, "an unknown publisher is none");
    let changed = signed.replace("another", "anothe7");
    let error = bench.sandbox.compile(&changed).expect_err("changed");
    assert_eq!((error.line, error.column), (2, 1));
    assert!(error.message.contains("changed after") && error.message.contains("comet script sign"), "{error}");
    assert!(Bench::new().sandbox.compile(&changed).is_ok(), "nobody trusts that name here");
    for line in ["", " x", " 12D3 00", &format!(" {name} 00"), &format!(" {name} {} x", "0".repeat(128))] {
        let error = bench.sandbox.compile(&format!("fn onGet() {{ 1 }}\n// comet-signature:{line}\n")).expect_err(line);
        assert!(error.line == 2 && error.message.contains("PUBLISHER SIGNATURE"), "{error}");
    }
    let inside = format!("{signed}fn more() {{ }}\n");
    assert_eq!(bench.script(&inside).publisher(), None, "only the last line counts");
}

/// What clients put may be larger than what a script may make.
fn large() -> Value {
    Value::from("x".repeat(1_000_000).as_str())
}

#[test]
fn a_large_value_can_be_put_elsewhere_as_well_as_it_can_be_returned() {
    let bench = Bench::new();
    let script = bench.script("fn onGet(caller, payload) { comet.put(comet.getASOKey(1), payload, 3); this.value }");
    let args = Args::Get { caller: &bench.caller, payload: &large() };
    let state = bench.create(&script, &large());
    let outcome = bench.sandbox.call(&script, &state, Handler::Get, args, &bench.event()).expect("it fits");
    assert_eq!(outcome.reply, large());
    let data = match &outcome.actions.network[..] {
        [Asked { action: Action::Put { data: Data::Value(data), .. }, .. }] => data,
        other => panic!("one put: {other:?}"),
    };
    assert_eq!(*data, large());
}

#[test]
fn everyone_who_waits_can_be_answered_with_one_large_value_which_is_there_once() {
    let bench = Bench::new();
    let source = "fn onUpdate(caller, incoming) {
        for i in 0..64 { if !comet.reply(caller, [incoming.value, i]) { throw i; } }
        comet.reply(caller, 0)
    }";
    let script = bench.script(source);
    let parked: Vec<Arc<Caller>> = (0..64).map(|_| Arc::new(bench.caller.clone())).collect();
    let event = Event { parked: &parked, ..bench.event() };
    let args = Args::Update { caller: &bench.caller, value: &large(), script: None };
    let outcome = bench.sandbox.call(&script, &bench.create(&script, &Value::Nil), Handler::Update, args, &event);
    let outcome = outcome.expect("it fits");
    assert_eq!((outcome.reply, outcome.actions.replies.len()), (Value::Bool(false), 64));
    let texts = outcome.actions.replies.iter().enumerate().map(|(number, (index, value))| match value {
        Value::Array(items) if *index == number && items[1] == Value::Int(number as i64) => match &items[0] {
            Value::Text(text) => text.clone(),
            other => panic!("no text: {other:?}"),
        },
        other => panic!("no answer to {number}: {other:?}"),
    });
    let texts: Vec<Arc<str>> = texts.collect();
    assert!(texts.iter().all(|text| text.len() == 1_000_000 && Arc::ptr_eq(text, &texts[0])));
}

#[test]
fn what_is_too_large_to_be_sent_is_refused_where_it_is_handed_over() {
    let bench = Bench::new();
    for call in ["comet.put(comet.getASOKey(), [payload, payload], 1)", "comet.reply(caller, [payload, payload])"] {
        let script =
            bench.script(&format!("fn onGet(caller, payload) {{ let x = 0; try {{ {call}; }} catch {{ x = 7; }} x }}"));
        let args = Args::Get { caller: &bench.caller, payload: &large() };
        let parked = [Arc::new(bench.caller.clone())];
        let event = Event { parked: &parked, ..bench.event() };
        let state = bench.create(&script, &Value::Nil);
        let outcome = bench.sandbox.call(&script, &state, Handler::Get, args, &event).expect("it is caught");
        assert_eq!((outcome.reply, outcome.actions), (Value::Int(7), Actions::default()));
    }
}
