//! Scripts that mean ill. Each has to end by itself or by a budget: quickly, without taking much memory, and without
//! a trace for the next call.

use super::*;
use comet_kernel::limits;
use rustix::time::{ClockId, clock_gettime};

/// Longest processor time of one call, in a debug build. What a machine that is busy with something else adds to the wall
/// time is not the script's; scripts have nothing to wait for.
const LONGEST: std::time::Duration = std::time::Duration::from_millis(250);

/// The processor time of this thread so far.
fn processor_time() -> std::time::Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().expect("it is positive")
}

/// Bodies of `onGet` that try to use more than they may.
const GREEDY: &[&str] = &[
    // Endless.
    "loop {}",
    "while true {}",
    "do {} while true",
    "for i in 0..9223372036854775807 {}",
    "for i in range(0, 9223372036854775807, 1) { let x = i; }",
    "let x = 0; loop { x += 1; }",
    "f()",
    "g(0)",
    "let f = |x| x; loop { f.call(1); }",
    "loop { try { throw 1 } catch {} }",
    "loop { try { loop {} } catch {} }",
    "for i in 0..100 { try { loop {} } catch { loop {} } }",
    "try { f() } catch { f() }",
    "loop { try { nothing(); } catch (e) { e.message; } }",
    "loop { try { let a = []; loop { a.push([1]); } } catch {} }",
    // Callbacks.
    "loop { many().filter(|x| true); }",
    "many().map(|x| many().map(|y| many().map(|z| z)))",
    "many().for_each(|x| loop {})",
    "let a = many(); a.sort(|x, y| { let z = 0; loop { z += 1; } })",
    "let a = many(); loop { a.sort(|x, y| y - x); }",
    "let a = many(); loop { a.sort(|x, y| 1); }",
    "many().some(|x| many().some(|y| many().all(|z| true) == false))",
    "loop { many().reduce(|r, x| x); }",
    "many().find(|x| many().find(|y| many().find_index(|z| false) > 0))",
    "let m = fields(); loop { m.filter(|k, v| true); }",
    "many().map(|x| { try { loop {} } catch { x } })",
    // Native work on the largest data.
    "let a = many(); loop { a.sort(); a.reverse(); }",
    "let a = many(); loop { a.index_of(-1); }",
    "let a = many(); let b = a; loop { a == b; }",
    "let a = many(); loop { let b = a; }",
    "let a = many(); loop { a.contains(a); }",
    "let a = many(); loop { a.extract(0); }",
    "let a = many(); loop { a.join(\"\"); }",
    "let a = many(); loop { a.shift(); a.insert(0, 1); }",
    "let a = many(); loop { for x in a { break; } }",
    "let a = many(); loop { a.to_string(); }",
    "let a = many(); loop { `${a}`; }",
    "let a = many(); loop { switch a { 1 => 1, _ => 2 } }",
    "let m = fields(); loop { m.keys(); m.values(); }",
    "let m = fields(); loop { m == m; }",
    "let m = fields(); loop { let n = m; n.mixin(m); }",
    "let m = fields(); let n = fields(); loop { m + n; }",
    "let s = long(); loop { s.contains(\"xy\"); }",
    "let s = long(); let t = s + \"\"; loop { s == t; }",
    "let s = long(); loop { s.replace(\"x\", \"y\"); s.replace(\"y\", \"x\"); }",
    "let s = long(); loop { s.split(\"y\"); }",
    "let s = long(); loop { s.to_upper(); }",
    "let s = long(); loop { s.len; }",
    "let s = long(); loop { s[30000]; }",
    "let s = long(); loop { s[-1] = 'y'; }",
    "let s = long(); loop { s.sub_string(1, 30000); }",
    "let s = long(); loop { s - \"y\"; }",
    "let s = long(); loop { s += \"y\"; s.truncate(32000); }",
    "let s = long(); let p = s.sub_string(0, 16000) + \"y\"; loop { s.contains(p); s.index_of(p); }",
    "let s = long(); loop { for c in s { break; } }",
    "let s = long(); loop { comet.sha256(s); }",
    "let s = long(); loop { comet.log(s); }",
    "let s = long(); loop { comet.verify(s, s, s); }",
    "loop { comet.verify(\"aa\", \"\", \"\"); }",
    "let k = \"d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a\"; let s = k + k; loop { comet.verify(k, long(), s); }",
    "let s = long(); loop { to_blob(s).to_hex(); }",
    "let s = long(); loop { parse_hex(s); }",
    "let s = long(); loop { s.trim(); s.parse_int(); parse_float(s); }",
    "loop { comet.getASOKey(5); }",
    "let a = many(); loop { comet.reply(#{}, a); }",
    "let s = long(); loop { s.pad(32768, s); s.crop(16000); }",
    "let s = long(); loop { let m = #{}; m[s] = s; }",
    "let s = long(); loop { try { Fn(s).call() } catch {} }",
    "let s = long(); loop { is_def_fn(s, 1); is_def_var(s); }",
    // Memory.
    "let s = \"x\"; loop { s += s; }",
    "let s = \"x\"; loop { s = s + s; }",
    "let s = \"x\"; loop { s = `${s}${s}`; }",
    "let a = [1]; loop { a += a; }",
    "let a = [1]; loop { a = a + a; }",
    "let a = [1]; loop { a.append(a); }",
    "let a = [1]; loop { a = [a, a]; }",
    "let a = [1]; loop { a.push(a); }",
    "let m = #{}; loop { m = #{ a: m, b: m }; }",
    "let m = #{}; let i = 0; loop { m[`k${i}`] = i; i += 1; }",
    "let m = #{}; let i = 0; loop { m.set(`k${i}`, m); i += 1; }",
    "let s = \"x\"; s.pad(9223372036854775807, s)",
    "let a = []; a.pad(9223372036854775807, 1)",
    "let a = []; loop { a.pad(1000, many()); a = [a]; }",
    "let s = long(); s.replace(\"x\", s)",
    "let s = long(); s.to_chars()",
    "let s = long(); let a = []; loop { a.push(s.to_upper()); }",
    "let a = [many(), many(), many()]; let b = []; loop { b.push(a); }",
    "let m = #{ a: many() }; loop { m.a = [m.a, m.a]; }",
    "this.a = [this]; loop { this.a.push(this); }",
    "loop { this[`k${this.len()}`] = long() + \"y\"; }",
    "h(many())",
    "let s = long(); throw [s, s, s, s, s, s, s, s, s]",
    "let x = [long(), long()]; loop { x = [x, x]; }",
    "let a = many(); loop { let b = a.map(|x| long()); }",
    "let a = many(); a.map(|x| many())",
    "loop { let f = |x| x; this.f = f; }",
    "let a = []; loop { a.push(|x| x); }",
];

/// What the bodies call: recursion, and the largest data.
const HELPERS: &str = "
    fn f() { f() } fn g(n) { let y = [[[[g(n + 1) + 1]]]]; y } fn h(a) { let b = a; let c = a; let d = a; h(a) }
    fn many() { let a = []; for i in 0..1000 { a.push(i * 7919 % 1009); } a }
    fn fields() { let m = #{}; for i in 0..1000 { m[`k${i}`] = i; } m }
    fn long() { let s = \"x\"; s.pad(32000, s); s }";

#[test]
fn no_greedy_script_gets_more_than_its_budgets() {
    let bench = Bench::new();
    for body in GREEDY {
        let script = bench.script(&format!("fn onGet() {{ {body} }} {HELPERS}"));
        let state = bench.create(&script, &Value::from("v"));
        let before = super::super::live_bytes();
        let start = processor_time();
        let end = bench.get(&script, &state).map(|_| ());
        let took = processor_time().saturating_sub(start);
        assert!(took < LONGEST, "{body} took {took:?}");
        assert!(
            matches!(end, Ok(()) | Err(Failure::Budget(_) | Failure::Thrown(_) | Failure::Error(_))),
            "{body}: {end:?}"
        );
        drop(end);
        assert_eq!(super::super::live_bytes(), before, "{body} left memory behind");
        assert_eq!(state.value(), Value::from("v"));
    }
    assert_eq!(bench.reply("1"), Ok(Value::Int(1)));
}

#[test]
fn one_comparison_of_what_is_shared_ends_within_its_budgets() {
    let bench = Bench::new();
    let wall = Clock::machine();
    // The same megabyte, three thousand times on each side: twelve million operations.
    let texts = (Value::from("x".repeat(1_000_000).as_str()), Value::from("x".repeat(1_000_000).as_str()));
    let blobs = (Value::Bytes(vec![7; 1_000_000].into()), Value::Bytes(vec![7; 1_000_000].into()));
    for (value, payload) in [&texts, &blobs] {
        for comparison in ["x == y", "x != y", "[x, x].contains(y)", "[x].index_of(y)", "#{ a: x } == #{ a: y }"] {
            let script = bench.script(&format!(
                "fn many(v) {{ let a = []; a.pad(1000, v); let x = []; x.pad(3, a); x }}
                 fn onGet(caller, payload) {{ let x = many(this.value); let y = many(payload); {comparison} }}"
            ));
            let state = bench.create(&script, value);
            let args = Args::Get { caller: &bench.caller, payload };
            let start = wall.now();
            let call = || bench.sandbox.call(&script, &state, Handler::Get, args, &bench.event()).map(|_| ());
            let (end, used) = Sandbox::account(call);
            let took = wall.now().since(start);
            assert!(matches!(end, Err(Failure::Budget(_))), "{comparison}: {end:?}");
            assert!(took < LONGEST, "{comparison} took {took:?}");
            assert!(used.operations < 2 * Budgets::default().operations, "{comparison} used {used:?}");
        }
    }
}

#[test]
fn endless_scripts_end_by_a_budget_whatever_they_catch() {
    let bench = Bench::new();
    for body in GREEDY.iter().filter(|body| body.contains("loop {") && !body.contains("break")) {
        let end = bench.run(&format!("fn onGet() {{ {body} }} {HELPERS}")).map(|_| ());
        assert!(matches!(end, Err(Failure::Budget(_) | Failure::Error(_))), "{body}: {end:?}");
        let caught = bench.run(&format!("fn onGet() {{ try {{ {body} }} catch {{ }} 1 }} {HELPERS}")).map(|_| ());
        assert!(matches!(caught, Err(Failure::Budget(_)) | Ok(())), "{body}: {caught:?}");
    }
}

#[test]
fn a_budget_that_ended_inside_a_callback_cannot_be_swallowed() {
    let bench = Bench::new();
    for body in [
        "try { [1, 2].sort(|a, b| { loop {} }); } catch { } 1",
        "try { [1].map(|x| f()) } catch { 1 }",
        "try { let s = \"x\"; s.pad(40000, s); } catch { } 1",
    ] {
        let end =
            bench.run(&format!("fn onGet() {{ {body} }} fn f() {{ try {{ loop {{}} }} catch {{ 2 }} }}")).map(|_| ());
        assert!(matches!(end, Err(Failure::Budget(_))), "{body}: {end:?}");
    }
}

#[test]
fn sources_that_mean_ill_are_refused_or_compiled_quickly() {
    let bench = Bench::new();
    let fill = |unit: &str| unit.repeat((limits::SCRIPT_BYTES - 40) / unit.len());
    let mut sources = vec![
        "\u{feff}fn onGet() { 1 }".to_owned(),
        "fn onGet() {\r\n 1 \r\n}".to_owned(),
        "let a = \0;".to_owned(),
        "/*".repeat(4_000),
        "\"".to_owned(),
        "`${".to_owned(),
        "#!".to_owned(),
        format!("fn {}() {{}}", "a".repeat(8_000)),
        format!("const A = {};", "9".repeat(8_000)),
        "fn onGet() { 1e99999999 }".to_owned(),
        "// ".repeat(2_000),
        "import \"a\"; export b;".to_owned(),
        "x".repeat(limits::SCRIPT_BYTES + 1),
        "fn onGet() { eval(\"1\") }".to_owned(),
        "fn onGet() { let f = |x| x; f.curry(1) }".to_owned(),
        "const A = \"x\" + \"x\" * 9; ".to_owned(),
    ];
    for unit in [
        "1;",
        "{}",
        "{{}}",
        "x+=3;",
        "let a=1;",
        "|x|x;",
        "true&&true;",
        "if x {} else ",
        "switch x { 1=>2 } ",
        "[",
        "(",
        "!",
        "x.y;",
        "\"a\";",
        "const A=1;",
        "fn f(){}",
        "1,",
        "//\n",
        "/**/",
        ";",
    ] {
        sources.push(format!("fn onGet() {{ {} }}", fill(unit)));
        sources.push(fill(unit));
    }
    sources.push(format!("fn onGet() {{ switch 1 {{ {} }} }}", ["0=>1,", "1=>1,"].concat().repeat(500)));
    for source in sources {
        let start = processor_time();
        if let Ok(script) = bench.sandbox.compile(&source) {
            let state = bench.create(&script, &Value::Nil);
            let _ = bench.get(&script, &state);
        }
        let took = processor_time().saturating_sub(start);
        assert!(took < LONGEST, "{} took {took:?}", &source[..40]);
        bench.sandbox.check(&source);
    }
}

#[test]
fn there_is_no_way_out_of_the_sandbox() {
    let bench = Bench::new();
    for body in [
        "eval(\"1\")",
        "import \"a\" as b; 1",
        "print(1)",
        "debug(1)",
        "sleep(5.0)",
        "timestamp()",
        "Fn(\"sleep\").call(1.0)",
        "Fn(\"print\").call(1)",
        "exit(1)",
        "comet.get(\"other\")",
        "comet.lookup(\"other\")",
        "open(\"/etc/passwd\")",
        "let f = |x| x; f.curry(1)",
        "curry(Fn(\"onGet\"), 1)",
        "global::A",
        "#{}.curry(1)",
        "this.tag = 5; this.value.tag = 1; this.value.tag",
        "parse_json(\"{}\")",
        "is_shared(1)",
        "exit",
    ] {
        let source = format!("fn onGet() {{ {body} }}");
        let Ok(script) = bench.sandbox.compile(&source) else { continue };
        let state = bench.create(&script, &Value::from("v"));
        assert!(matches!(bench.get(&script, &state), Err(Failure::Error(_))), "{body}");
    }
}

#[test]
fn redefining_what_the_host_uses_changes_nothing_for_others() {
    let bench = Bench::new();
    let before = bench.reply("`${[1]} ${comet.getNodeIP()} ${[2, 1].len()}`");
    let source = "fn to_string(x) { \"fake\" } fn getNodeIP() { \"fake\" } fn getNodeIP(x) { \"fake\" } fn len(x) { 99 } fn contains(a, b) { true } fn log(x) { 1 } fn onGet(comet) { let value = 1; let onGet = 2; comet.id }";
    assert_eq!(bench.run(source).map(|outcome| outcome.reply), Ok(Value::from("somebody")));
    assert_eq!(bench.reply("`${[1]} ${comet.getNodeIP()} ${[2, 1].len()}`"), before);
    assert_eq!(bench.reply("let comet = 1; comet + 1"), Ok(Value::Int(2)));
    for misuse in ["this = 1; 1", "this = []; 1", "this.clear(); this = (); 1", "this = |x| x; 1"] {
        assert!(bench.reply(misuse).is_err(), "{misuse}");
    }
    assert_eq!(
        bench.run("fn onGet() { this = #{ other: 1 }; 1 }").expect("a map is fine").state.expect("changed").value(),
        Value::Nil
    );
}

#[test]
fn what_cannot_be_stored_is_named() {
    let bench = Bench::new();
    for body in ["this.f = |x| x", "this.f = [comet]", "this.f = #{ a: 0..5 }", "this.f = comet.later()"] {
        let end = bench.reply(body);
        assert!(matches!(&end, Err(Failure::Error(text)) if text.starts_with("this.f holds")), "{body}: {end:?}");
    }
    assert!(
        matches!(bench.reply("[|x| x]"), Err(Failure::Error(text)) if text.starts_with("the reply holds a function"))
    );
    assert_eq!(
        bench
            .sandbox
            .compile("let f = |x| x; fn onGet() {}")
            .map(|script| bench.sandbox.create(&script, &Value::Nil, &bench.event()).is_err()),
        Ok(true)
    );
}

#[test]
fn the_sandbox_serves_many_threads_at_once() {
    let bench = Bench::new();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for body in GREEDY.iter().step_by(7) {
                    let _ = bench.run(&format!("fn onGet() {{ {body} }} {HELPERS}"));
                    assert_eq!(bench.reply("[1, 2].map(|x| x + 1)"), Ok(ints(&[2, 3])));
                }
            });
        }
    });
}
