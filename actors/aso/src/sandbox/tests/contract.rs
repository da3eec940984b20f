//! What script authors are promised: handlers, state, host functions, and one test for each budget.

use super::*;
use comet_kernel::identity::ScriptHash;
use comet_kernel::limits;

const COUNTER: &str = "let getCount = 0; fn onGet() { this.getCount += 1; [this.value, this.getCount] }";

#[test]
fn a_read_counter_counts() {
    let bench = Bench::new();
    let script = bench.script(COUNTER);
    let mut state = bench.create(&script, &Value::from("v"));
    for count in 1..4 {
        let outcome = bench.get(&script, &state).expect("answers");
        assert_eq!(outcome.reply, Value::Array(vec![Value::from("v"), Value::Int(count)]));
        state = outcome.state.expect("the count changed");
    }
    assert_eq!(state.fields(), map(&[("getCount", Value::Int(3))]));
    let again = State::new(&state.value(), &state.fields()).expect("what comes out goes in");
    assert_eq!((again.value(), again.fields()), (state.value(), state.fields()));
}

#[test]
fn a_handler_that_changes_nothing_leaves_no_new_state() {
    let bench = Bench::new();
    assert!(
        bench
            .run("let a = [1, #{ b: 2.5 }]; fn onGet() { this.a[1].b = 2.5; this.value }")
            .expect("answers")
            .state
            .is_none()
    );
    assert!(bench.run("let a = 1; fn onGet() { this.a = 1.0; }").expect("answers").state.is_some());
    assert!(bench.run("let a = 1; fn onGet() { this.remove(\"a\"); }").expect("answers").state.is_some());
}

#[test]
fn a_state_that_has_slept_is_to_its_script_what_it_was() {
    let bench = Bench::new();
    let script = bench.script(
        "let w = (); let deep = (); let one = ();
         fn onPut() { this.w = this.value.to_chars(); this.one = this.w[0]; this.deep = [#{ a: [this.w[0]] }]; }
         fn onGet() {
             let answers = [];
             for x in [this.value.sub_string(0, 1), this.value.to_chars()[0]] {
                 answers.push([this.w.contains(x), this.one == x, this.deep[0].a[0] == x, type_of(this.one)]);
             }
             answers
         }",
    );
    let created = bench.create(&script, &Value::from("äbc"));
    let args = Args::Caller(&bench.caller);
    let put = bench.sandbox.call(&script, &created, Handler::Put, args, &bench.event()).expect("accepted");
    let awake = put.state.expect("it has changed");
    let slept = State::new(&awake.value(), &awake.fields()).expect("what comes out goes in");
    let reply = |state: &State| bench.get(&script, state).expect("answers").reply;
    assert_eq!(reply(&awake), reply(&slept));
    assert_eq!(awake.encoded_size(), slept.encoded_size());
    let again = bench.sandbox.call(&script, &awake, Handler::Put, Args::Caller(&bench.caller), &bench.event());
    assert!(again.expect("accepted").state.is_none(), "the same letters once more are no change");
}

#[test]
fn every_type_of_value_passes_through_a_handler_as_it_was() {
    let bench = Bench::new();
    let script = bench.script("fn onGet(caller, payload) { this.kept = payload; [this.value, payload] }");
    let bytes = Value::Bytes(vec![255; 50_000].into());
    let deep = (0..20).fold(Value::Int(1), |inner, _| Value::Array(vec![inner]));
    for value in [
        Value::Nil,
        Value::Bool(true),
        Value::Int(i64::MIN),
        Value::Float(0.5),
        Value::from("ä"),
        bytes,
        deep,
        Value::Text("x".repeat(500_000).into()),
        map(&[("a", ints(&[1, 2]))]),
    ] {
        let state = bench.create(&script, &value);
        assert_eq!(state.value(), value);
        let payload = if value.encoded_size() > 30_000 { Value::Nil } else { value.clone() };
        let args = Args::Get { caller: &bench.caller, payload: &payload };
        let outcome = bench.sandbox.call(&script, &state, Handler::Get, args, &bench.event()).expect("answers");
        assert_eq!(outcome.reply, Value::Array(vec![value.clone(), payload.clone()]));
        assert_eq!(outcome.state.expect("a field is new").fields(), map(&[("kept", payload)]));
    }
}

#[test]
fn a_refusal_carries_what_was_thrown() {
    let bench = Bench::new();
    assert_eq!(bench.reply("throw \"no\""), Err(Failure::Thrown("no".to_owned())));
    assert_eq!(bench.reply("throw #{ code: 7 }"), Err(Failure::Thrown("#{\"code\": 7}".to_owned())));
    assert_eq!(
        bench.run("fn f() { throw \"deep\" } fn onGet() { f() }").map(|_| ()),
        Err(Failure::Thrown("deep".to_owned()))
    );
    let long = bench.reply("let s = \"ä\"; s.pad(15000, \"ä\"); throw s").expect_err("throws");
    assert!(matches!(long, Failure::Thrown(text) if text.len() <= limits::REFUSAL_BYTES && text.starts_with('ä')));
}

#[test]
fn errors_tell_line_and_column() {
    let bench = Bench::new();
    let error = bench.run("fn onGet() {\n  this.value.nothing(1)\n}").expect_err("no such function");
    assert!(
        matches!(&error, Failure::Error(text) if text.starts_with("line 2, column 14: Function not found: nothing")),
        "{error}"
    );
    let error = bench.reply("let a = 1 / 0;").expect_err("a division by zero");
    assert!(
        matches!(&error, Failure::Error(text) if text.contains("column") && text.contains("Division by zero")),
        "{error}"
    );
}

#[test]
fn nothing_remains_of_a_handler_that_fails() {
    let bench = Bench::new();
    for end in
        ["throw 1", "loop {}", "1 / 0", "let a = []; loop { a.push(a) }", "nothing()", "this = 5", "this.f = |x| x"]
    {
        let script = bench.script(&format!("let n = [1]; fn onGet() {{ this.n.push(2); this.value = 9; comet.deleteSelf(); comet.log(1); {end} }} fn onTimer() {{ comet.log(this.n) }}"));
        let state = bench.create(&script, &Value::from("v"));
        assert!(bench.get(&script, &state).is_err(), "{end}");
        assert_eq!((state.value(), state.fields()), (Value::from("v"), map(&[("n", ints(&[1]))])));
        let next = bench.sandbox.call(&script, &state, Handler::Timer, Args::None, &bench.event()).expect("works");
        assert_eq!(next.actions, super::super::Actions { log: vec!["[1]".to_owned()], ..Default::default() });
    }
}

#[test]
fn handlers_may_declare_fewer_parameters_than_they_are_offered() {
    let bench = Bench::new();
    for (source, reply) in [
        ("fn onGet() { 0 }", 0),
        ("fn onGet(c) { c.port }", 4_711),
        ("fn onGet(c, p) { p ?? 7 }", 7),
        ("fn onGet() { 1 } fn onGet(a) { 2 }", 2),
    ] {
        assert_eq!(bench.run(source).map(|outcome| outcome.reply), Ok(Value::Int(reply)), "{source}");
    }
    let error = bench.sandbox.compile("\nfn onTimer(a) { }").expect_err("onTimer has no parameter");
    assert_eq!((error.line, error.message.as_str()), (2, "onTimer is called with at most 0 arguments"));
}

#[test]
fn every_handler_gets_what_it_is_promised() {
    let bench = Bench::new();
    let script = bench.script(
        "let n = 1;
         fn onPut(caller) { caller.id }
         fn onUpdate(caller, incoming) { [incoming.value, incoming.script] }
         fn onRemove(caller) { caller.ip }
         fn onTimer() { this.n }
         fn onArrive(from) { from.client }
         fn onMerge(other) { this.n = max(this.n, other.n); other.value }
         fn onUpgrade(old) { old }",
    );
    let state = bench.create(&script, &Value::from("v"));
    let hash = ScriptHash::of("other");
    let caller = &bench.caller;
    let other = State::new(&Value::Int(5), &map(&[("n", Value::Int(9))])).expect("a state");
    let text = |hash: ScriptHash| Value::from(hash.to_string().as_str());
    for (handler, args, reply) in [
        (Handler::Put, Args::Caller(caller), Value::from("somebody")),
        (
            Handler::Update,
            Args::Update { caller, value: &Value::Int(3), script: Some(hash) },
            Value::Array(vec![Value::Int(3), text(hash)]),
        ),
        (
            Handler::Update,
            Args::Update { caller, value: &Value::Int(3), script: None },
            Value::Array(vec![Value::Int(3), Value::Nil]),
        ),
        (Handler::Remove, Args::Caller(caller), Value::from("10.0.0.2")),
        (Handler::Timer, Args::None, Value::Int(1)),
        (Handler::Arrive, Args::Caller(caller), Value::from("")),
        (Handler::Merge, Args::Merge { other: &other }, Value::Int(5)),
        (Handler::Upgrade, Args::Upgrade { old: hash }, text(hash)),
    ] {
        assert!(script.handles(handler));
        let outcome = bench.sandbox.call(&script, &state, handler, args, &bench.event()).expect("answers");
        assert_eq!(outcome.reply, reply, "{handler:?}");
        assert_eq!(outcome.state.is_some(), handler == Handler::Merge);
    }
    assert_eq!(script.handlers(), ["onPut", "onUpdate", "onRemove", "onTimer", "onArrive", "onMerge", "onUpgrade"]);
}

#[test]
fn constants_can_be_read_in_every_function_and_changed_in_none() {
    let bench = Bench::new();
    let source = "const A = 2; const B = [A, f(3)]; fn f(x) { x * A } fn g() { B.map(|x| x + A) } fn onGet() { g() }";
    assert_eq!(bench.run(source).map(|outcome| outcome.reply), Ok(ints(&[4, 8])));
    for change in ["A = 3", "A += 1", "B.push(1)", "B[0] = 9", "comet = 1"] {
        let source = format!("const A = 2; const B = [1]; fn onGet() {{ {change}; }}");
        assert!(matches!(bench.run(&source), Err(Failure::Error(_))), "{change}");
    }
    let kept = bench.run("const B = [1]; let kept = 0; fn onGet() { this.kept = [B]; this.kept[0].push(2); let c = B; c.push(3); [this.kept, c] }");
    assert_eq!(
        kept.map(|outcome| outcome.reply),
        Ok(Value::Array(vec![Value::Array(vec![ints(&[1, 2])]), ints(&[1, 3])]))
    );
    let error = bench.sandbox.compile("let a = 1;\nconst B = a + 1; fn onGet() { B }").expect_err("depends on a field");
    assert_eq!((error.line, error.column), (2, 11));
    for source in
        ["const A = loop {}; fn onGet() { A }", "const A = comet.getSystemTime();", "const A = f(); fn f() { f() }"]
    {
        assert!(bench.sandbox.compile(source).is_err(), "{source}");
    }
}

#[test]
fn only_declarations_may_stand_at_top_level() {
    let bench = Bench::new();
    for source in [
        "1",
        "f(); fn f() {}",
        "let a = 1;\nloop {}",
        "if true {}",
        "{}",
        "let value = 1;",
        "let comet = 1;",
        "return 1;",
        "throw 1;",
        "const comet = 1;",
    ] {
        let error = bench.sandbox.compile(source).expect_err(source);
        assert!(error.line >= 1 && error.column >= 1, "{error}");
    }
    assert_eq!(
        bench.sandbox.compile("let a = 1;\n  loop {}").expect_err("a loop").to_string(),
        "line 2, column 3: only `let`, `const` and `fn` may stand at top level; move this into a handler"
    );
    assert_eq!(bench.sandbox.compile("fn onGet() {\n  let = 1;\n}").expect_err("bad syntax").line, 2);
}

#[test]
fn the_node_tells_what_it_promises() {
    let bench = Bench::new();
    assert_eq!(bench.reply("[comet.getSystemTime(), comet.getSystemTime()]"), Ok(ints(&[1_700_000_000_123; 2])));
    bench.clock.advance(std::time::Duration::from_millis(1));
    assert_eq!(bench.reply("comet.getSystemTime()"), Ok(Value::Int(1_700_000_000_124)));
    assert_eq!(bench.reply("comet.getNodeIP()"), Ok(Value::from("10.0.0.1")));
    assert_eq!(bench.reply("comet.getNodeID().starts_with(\"12D3KooW\")"), Ok(Value::Bool(true)));
    assert_eq!(bench.reply("comet.getASOKey()"), Ok(Value::from("key")));
    assert_eq!(bench.reply("comet.getASOKey(2)"), Ok(Value::Bytes(bench.key.child(2).as_bytes().into())));
    assert_eq!(
        bench.reply("comet.sha256(\"abc\")"),
        Ok(Value::from("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"))
    );
    assert_eq!(
        bench.reply("let a = comet.random(); let b = comet.random(); a != b && a >= 0.0 && a < 1.0"),
        Ok(Value::Bool(true))
    );
    assert_eq!(bench.reply("comet.random()"), bench.reply("comet.random()"));
}

#[test]
fn a_signature_is_verified() {
    use ed25519_dalek::{Signer, SigningKey};
    let key = SigningKey::from_bytes(&[3; 32]);
    let hex = super::super::blob::hex;
    let (public, signature) = (hex(key.verifying_key().as_bytes()), hex(&key.sign(b"message").to_bytes()));
    let bench = Bench::new();
    let verify = |key: &str, message: &str, signature: &str| {
        bench.reply(&format!("comet.verify({key}, {message}, {signature})"))
    };
    let (public, signature) = (format!("\"{public}\""), format!("\"{signature}\""));
    assert_eq!(verify(&public, "\"message\"", &signature), Ok(Value::Bool(true)));
    assert_eq!(
        verify(&format!("parse_hex({public})"), "to_blob(\"message\")", &format!("parse_hex({signature})")),
        Ok(Value::Bool(true))
    );
    for (key, message, signature) in [
        (&*public, "\"other\"", &*signature),
        ("\"\"", "\"message\"", &signature),
        (&public, "\"message\"", "1"),
        (&signature, "\"message\"", &public),
        ("[]", "\"\"", "()"),
    ] {
        assert_eq!(verify(key, message, signature), Ok(Value::Bool(false)));
    }
}

#[test]
fn actions_are_handed_out_when_the_handler_returned() {
    let bench = Bench::new();
    let outcome = bench.run("fn onGet() { comet.deleteSelf(); comet.setTimer(60); comet.log(\"a\\x1b[2J\\n\\u202eb\"); comet.log([1]); }").expect("answers");
    assert!(outcome.actions.delete_self);
    assert_eq!(outcome.actions.timer, Some(60));
    assert_eq!(outcome.actions.log, ["a[2Jb", "[1]"]);
    let lines = bench.run("fn onGet() { for i in 0..100 { comet.log(i); } }").expect("answers").actions.log;
    assert_eq!((lines.len(), lines[0].as_str()), (limits::LOG_LINES, "36"));
    let line = bench
        .run("fn onGet() { let s = \"ä\"; s.pad(5000, s); comet.log(s); }")
        .expect("answers")
        .actions
        .log
        .remove(0);
    assert_eq!(line.len(), limits::LOG_LINE_BYTES);
}

#[test]
fn the_timer_takes_whole_seconds_in_its_bounds() {
    let bench = Bench::new();
    for seconds in ["0", "1", "31622400"] {
        assert!(bench.reply(&format!("comet.setTimer({seconds})")).is_ok(), "{seconds}");
    }
    for seconds in ["-1", "0.5", "31622401", "9223372036854775807", "\"1\"", "()", "[]"] {
        assert!(matches!(bench.reply(&format!("comet.setTimer({seconds})")), Err(Failure::Error(_))), "{seconds}");
    }
}

#[test]
fn a_request_is_parked_and_answered() {
    let bench = Bench::new();
    let script = bench.script(
        "let waiting = []; fn onGet(caller) { this.waiting.push(caller); comet.later() }
         fn onPut() { comet.later() }
         fn onTimer() { this.waiting.map(|caller| comet.reply(caller, \"now\")) }",
    );
    let state = bench.create(&script, &Value::Nil);
    let parked = bench.get(&script, &state).expect("parks");
    assert!(parked.parked && parked.reply == Value::Nil);
    let state = parked.state.expect("somebody waits");
    let somebody = Arc::new(bench.caller.clone());
    let other = Arc::new(Caller { port: 1, ..bench.caller.clone() });
    let waiting = [other, somebody.clone(), somebody];
    let event = Event { parked: &waiting, ..bench.event() };
    let outcome = bench.sandbox.call(&script, &state, Handler::Timer, Args::None, &event).expect("answers");
    assert_eq!(outcome.reply, Value::Array(vec![Value::Bool(true)]));
    assert_eq!(outcome.actions.replies, [(1, Value::from("now"))]);
    let full = vec![waiting[0].clone(); 64];
    let event = Event { parked: &full, ..bench.event() };
    let args = Args::Get { caller: &bench.caller, payload: &Value::Nil };
    assert_eq!(bench.sandbox.call(&script, &state, Handler::Get, args, &event).map(|_| ()), budget(Budget::Parked));
    let args = Args::Caller(&bench.caller);
    assert!(matches!(bench.sandbox.call(&script, &state, Handler::Put, args, &bench.event()), Err(Failure::Error(_))));
}

#[test]
fn each_budget_ends_a_handler_under_its_own_name() {
    let bench = Bench::new();
    for (body, end) in [
        ("loop {}", Budget::Operations),
        (
            "let a = []; for i in 0..1000 { a.push([i, \"abcdefghijklmnopqrstuvwxyz\" + i, #{ k: i }]); } a",
            Budget::Memory,
        ),
        ("let s = \"x\"; loop { s += s; }", Budget::Size),
        ("let s = \"x\"; s.pad(32769, \"x\")", Budget::Size),
        ("let a = []; loop { a.push(1); }", Budget::Size),
        ("let m = #{}; for i in 0..1001 { m.set(`${i}`, 1); }", Budget::Size),
        ("this.m = #{}; for i in 0..1001 { this.m[`${i}`] = 1; }", Budget::Size),
        ("let a = []; for i in 0..40 { a = [a]; } a", Budget::Size),
        ("let s = \"0123456789abcdef\"; s.pad(30000, s); this.a = s; this.b = s; this.c = s", Budget::State),
        ("let s = \"0123456789abcdef\"; s.pad(30000, s); this.value = [s, s, s]", Budget::State),
    ] {
        assert_eq!(bench.reply(body), budget(end), "{body}");
    }
    assert_eq!(bench.run("fn f(n) { f(n + 1) } fn onGet() { f(0) }").map(|_| ()), budget(Budget::Depth));
    let brief = Bench::with(Budgets { cpu: std::time::Duration::from_micros(50), ..Budgets::default() });
    assert_eq!(brief.reply("loop {}"), budget(Budget::Time));
}

#[test]
fn what_fits_into_the_budgets_is_let_through() {
    let bench = Bench::new();
    for body in [
        "let s = \"\"; for i in 0..4096 { s += \"12345678\"; } s.len",
        "let s = \"x\"; s.pad(32768, \"x\"); s.len",
        "let a = []; for i in 0..1000 { a.push(i); } a.len",
        "let a = []; a.pad(1000, \"text\"); a.sort(); a.len",
        "let m = #{}; for i in 0..1000 { m[`${i}`] = i; } m.len()",
        "for i in 0..10000 { let x = i * 2; } 1",
        "let a = []; for i in 0..500 { a.push(#{ id: i }); } a.filter(|x| x.id % 2 == 0).map(|x| x.id).len",
    ] {
        assert!(bench.reply(body).is_ok(), "{body}: {:?}", bench.reply(body));
    }
    let source = "fn f(n) { if n == 0 { 0 } else { 1 + (1 + (1 + f(n - 1))) } } fn onGet() { f(30) }";
    assert_eq!(bench.run(source).map(|outcome| outcome.reply), Ok(Value::Int(90)));
}

#[test]
fn what_a_call_used_is_known_also_if_it_failed() {
    let bench = Bench::new();
    let (outcome, used) = Sandbox::account(|| bench.run("fn onGet() { for i in 0..1000 { let x = i; } }"));
    assert!(outcome.expect("answers").operations > 1_000);
    assert!(used.operations > 1_000 && used.cpu.as_nanos() > 0);
    let (outcome, used) = Sandbox::account(|| bench.reply("loop {}"));
    assert!(outcome.is_err() && used.operations >= 100_000 && used.cpu.as_micros() > 100);
    assert_eq!(Sandbox::account(|| ()).1, Usage::default());
}

/// Nanoseconds of processor time that `act` takes.
fn processor_nanos(act: impl FnOnce()) -> i64 {
    let now = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        time.tv_sec * 1_000_000_000 + time.tv_nsec
    };
    let start = now();
    act();
    now() - start
}

#[test]
fn what_values_cost_on_their_way_in_and_out_is_accounted_as_well() {
    let bench = Bench::new();
    let (one, many) = (Value::Int(1), Value::Array(vec![ints(&[7; 1_000]); 16]));
    for (body, value, payload) in [
        ("0", &many, &one),
        ("0", &one, &many),
        ("payload", &one, &many),
        ("this.value", &many, &one),
        ("let a = []; a.pad(1000, 1); let b = []; b.pad(30, a); b", &one, &one),
        ("this.value[0][0] = 2; throw this", &many, &one),
    ] {
        let script = bench.script(&format!("fn onGet(caller, payload) {{ {body} }}"));
        let state = bench.create(&script, value);
        let args = Args::Get { caller: &bench.caller, payload };
        let mut called = None;
        let took = processor_nanos(|| {
            let call = || bench.sandbox.call(&script, &state, Handler::Get, args, &bench.event());
            called = Some(Sandbox::account(call));
        });
        let accounted = called.expect("it was called").1.cpu.as_nanos() as i64;
        assert!(accounted * 4 > took * 3, "{body}: {accounted} of {took} ns");
    }
}

#[test]
fn no_more_of_what_is_thrown_is_written_than_a_client_reads() {
    let bench = Bench::new();
    let script = bench.script("fn onGet() { throw [this.value] }");
    let state = bench.create(&script, &Value::from("\u{1}".repeat(1_000_000).as_str()));
    let before = crate::sandbox::allocator::total();
    let thrown = bench.get(&script, &state).expect_err("it throws").to_string();
    let written = crate::sandbox::allocator::total() - before;
    assert!(written < 100_000, "{written} bytes");
    assert!(thrown.len() <= limits::REFUSAL_BYTES && thrown.starts_with("[\"\\u{1}\\u{1}"), "{thrown}");
}

#[test]
fn what_a_script_may_not_see_is_refused_before_it_runs_and_uses_nothing() {
    let bench = Bench::new();
    let script = bench.script("fn onGet(caller, payload) { loop {} } fn onUpdate(caller, incoming) { loop {} }");
    let state = bench.create(&script, &Value::Nil);
    let (caller, wide) = (&bench.caller, ints(&[7; 1_001]));
    let many = Value::Array(vec![ints(&[7; 1_000]); 17]);
    for (value, most) in [(&wide, 1_000), (&many, 16_383)] {
        let get = (Handler::Get, Args::Get { caller, payload: value });
        let update = (Handler::Update, Args::Update { caller, value, script: None });
        for (handler, args) in [get, update] {
            let call = || bench.sandbox.call(&script, &state, handler, args, &bench.event()).map(|_| ());
            let (refused, used) = Sandbox::account(call);
            assert!(matches!(refused, Err(Failure::Given { limit, .. }) if limit == most), "{refused:?}");
            assert_eq!(used, Usage::default());
        }
        let refused = bench.sandbox.create(&script, value, &bench.event()).map(|_| ());
        assert!(matches!(refused, Err(Failure::Given { .. })), "{refused:?}");
    }
}

#[test]
fn a_state_is_compact() {
    let bench = Bench::new();
    let script = bench.script(COUNTER);
    let outcome = bench.get(&script, &bench.create(&script, &Value::from("a short text"))).expect("answers");
    let state = outcome.state.expect("changed");
    let before = super::super::live_bytes();
    let copies: Vec<State> = (0..100).map(|_| state.clone()).collect();
    let bytes = (super::super::live_bytes() - before) / 100;
    assert!(bytes < 300, "{bytes} bytes for {} states each", copies.len());
}
