//! Nested values: however a script builds them, the deepest that the memory budget allows is dropped, cloned, hashed,
//! compared and printed on a 2 MiB stack. A stack overflow aborts the process, so these tests pass or take all
//! others down with them.

use super::*;

/// Runs on a thread of the stack size that threads get by default, whatever the test runner was told.
fn on_a_small_stack(act: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(2 << 20).spawn_scoped(scope, act).expect("a thread starts");
        thread.join().expect("the thread ends well");
    });
}

/// Statements that nest `a` one or several levels deeper.
const DEEPEN: &[&str] = &[
    "a = [a];",
    "a = [[[[a]]]];",
    "a = #{ m: a };",
    "a = #{ m: [a] };",
    "let b = []; b.push(a); a = b;",
    "let b = [0]; b[0] = a; a = b;",
    "let b = #{}; b[\"k\"] = a; a = b;",
    "let b = #{}; b.k = a; a = b;",
    "let b = []; b += [a]; a = b;",
    "a = [1].map(|x| x); a = [a];",
    "a = [a].filter(|x| true);",
    "a = [a].reduce(|r, x| [x], 0);",
    "let b = []; b.insert(0, a); a = b;",
    "let b = []; b.pad(1, a); a = b;",
    "let b = #{}; b.set(\"k\", a); a = b;",
    "let b = #{}; b.mixin(#{ k: a }); a = b;",
    "a = #{ k: a }.values();",
    "a = [a] + [];",
    "let b = [[]]; b[0] += [a]; a = b;",
    "let b = [[[]]]; b[0][0].push(a); a = b;",
    "this.a = [this.a]; a = 0;",
    "this.a = #{ a: this.a }; a = 0;",
    "a = switch 1 { 1 => [a], _ => a };",
    "a = if true { [a] };",
    // These move the value instead of copying it, so memory ends them and not time.
    "a.push([a.pop()]);",
    "a.push([[[[a.pop()]]]]);",
    "a.push(#{ k: a.pop() });",
    "a.set(\"k\", #{ k: a.remove(\"k\") });",
    "a.set(\"k\", [a.remove(\"k\")]);",
];

/// What `a` is before it is deepened.
fn start(deepen: &str) -> &'static str {
    match deepen.as_bytes() {
        [b'a', b'.', b'p', ..] => "let a = [1];",
        [b'a', b'.', b's', ..] => "let a = #{ k: 1 };",
        _ => "let a = 1;",
    }
}

/// What is done with the deepest value. `depth` is how deep it is built before.
const USES: &[&str] = &[
    "",
    "let b = a; b",
    "a == a",
    "a != [1]",
    "a.to_string()",
    "`${a}`",
    "\"\" + a",
    "switch a { 1 => 1, _ => 2 }",
    "let b = [a, 1]; b.contains(a)",
    "let b = [a, 1]; b.index_of(a)",
    "[a].sort(); 1",
    "[a, a].sort(|x, y| 0)",
    "throw a",
    "return a",
    "this.kept = a",
    "a.clear()",
    "a.reverse()",
    "[a].join(\",\")",
    "comet.log(a)",
    "comet.sha256(a)",
    "comet.setTimer(a)",
    "comet.reply(#{ a: a }, a)",
    "try { a.nothing() } catch (e) { e }",
    "try { throw a } catch (e) { throw e }",
    "try { let m = #{}; m[a] } catch (e) { e }",
    "try { 1 + a } catch (e) { e }",
    "a.len()",
];

#[test]
fn the_deepest_value_of_every_making_can_be_dropped() {
    on_a_small_stack(|| {
        let bench = Bench::new();
        for deepen in DEEPEN {
            let end = bench.reply(&format!("{} loop {{ {deepen} }}", start(deepen))).expect_err(deepen);
            assert!(matches!(end, Failure::Budget(_)), "{deepen}: {end:?}");
        }
    });
}

#[test]
fn the_deepest_value_can_be_used_in_every_way() {
    on_a_small_stack(|| {
        let bench = Bench::new();
        for (index, deepen) in DEEPEN.iter().enumerate() {
            let deepest = deepest(&bench, deepen);
            // Those that move the value get deepest by far; of the others each gets its share of the uses.
            let uses = USES.iter().skip(index % 9).step_by(if deepen.starts_with("a.") { 1 } else { 9 });
            for (usage, depth) in uses.flat_map(|usage| [(usage, deepest), (usage, deepest * 49 / 100)]) {
                // Whatever the verdict is: the process lives, and nothing deep comes out.
                let body = format!("{} for i in 0..{depth} {{ {deepen} }} {usage}", start(deepen));
                if let Ok(outcome) = bench.run(&format!("fn onGet() {{ {body} }}")) {
                    assert!(outcome.reply.depth() <= comet_kernel::limits::VALUE_DEPTH, "{body}");
                    assert!(
                        outcome.state.is_none_or(|state| state.fields().depth() <= comet_kernel::limits::VALUE_DEPTH),
                        "{body}"
                    );
                }
            }
        }
    });
}

/// How often a value can be deepened before the budgets end it.
fn deepest(bench: &Bench, deepen: &str) -> usize {
    let fits = |count: usize| {
        let end = bench.reply(&format!("{} for i in 0..{count} {{ {deepen} }} a = 0; throw \"fits\"", start(deepen)));
        end == Err(Failure::Thrown("fits".to_owned()))
    };
    let (mut low, mut high) = (0_usize, 8_192_usize);
    while high - low > 16 {
        let middle = low.midpoint(high);
        if fits(middle) { low = middle } else { high = middle }
    }
    low
}

/// Nests `a` so many levels deep, and keeps it in `field` of `this`.
fn nested(levels: usize, field: &str) -> String {
    format!("let a = 1; for i in 0..{levels} {{ a = [a]; }} this.{field} = a;")
}

#[test]
fn what_a_handler_leaves_in_this_can_be_read_back_however_deep_it_is() {
    let bench = Bench::new();
    let most = comet_kernel::limits::VALUE_DEPTH;
    // The fields stand inside one more map where they are stored; the value does not.
    for (field, deepest) in [("a", most - 1), ("value", most)] {
        let state = bench.run(&format!("fn onGet() {{ {} 0 }}", nested(deepest, field))).expect("it fits").state;
        let state = state.expect("changed");
        let (value, fields) = (state.value(), state.fields());
        assert_eq!(value.depth().max(fields.depth()), most);
        let back = State::new(&value, &fields).expect("it can be read back");
        assert_eq!((back.value(), back.fields()), (value, fields));
        assert_eq!(bench.reply(&nested(deepest + 1, field)), budget(Budget::Size));
    }
}

#[test]
fn the_deepest_value_can_be_dropped_and_cloned_at_the_deepest_call() {
    on_a_small_stack(|| {
        let bench = Bench::new();
        for nest in [
            "f(n + 1, a)",
            "[[[[[[f(n + 1, a)]]]]]]",
            "#{a: #{a: #{a: f(n + 1, a)}}}",
            "if true { if true { if true { f(n + 1, a) } } }",
            "switch 1 { 1 => { switch 1 { 1 => { f(n + 1, a) } } } }",
            "[n].map(|n| f(n + 1, 1))",
            "f(f(n + 1, a), a)",
            "1 + (2 + (3 + (4 + f(n + 1, a))))",
            "`${`${`${f(n + 1, a)}`}`}`",
            "for i in 0..1 { for j in 0..1 { f(n + 1, a); } }",
        ] {
            for last in 20..34 {
                let source = format!(
                    "fn deep() {{ let a = [1]; for i in 0..2200 {{ a.push([a.pop()]); }} let b = a; b.pop(); b }}
                     fn f(n, a) {{ if n == {last} {{ deep(); let x = deep(); x }} else {{ {nest} }} }}
                     fn onGet() {{ f(0, 1) }}"
                );
                let _ = bench.run(&source);
            }
        }
    });
}

#[test]
fn sources_that_nest_are_refused_and_not_run_into() {
    on_a_small_stack(|| {
        let bench = Bench::new();
        for (open, close) in [
            ("[", "]"),
            ("(", ")"),
            ("{", "}"),
            ("#{a:", "}"),
            ("-", ""),
            ("!", ""),
            ("if x {", "}"),
            ("|x| ", ""),
            ("`${", "}`"),
            ("switch x { 1 => ", "}"),
            ("loop {", "}"),
            ("a[", "]"),
            ("f(", ")"),
            ("a.f(", ")"),
            ("1+(", ")"),
            ("/*", "*/"),
            ("try {", "} catch {}"),
            ("while x {", "}"),
            ("do {", "} while x;"),
            ("for i in x {", "}"),
            ("a ?? (", ")"),
            ("a=", "1"),
            ("return ", ""),
            ("let a=", "1"),
            ("2**", "1"),
            ("a.b[", "]"),
        ] {
            for count in [10, 31, 40, 200, 2_000] {
                let mut count = count;
                while (open.len() + close.len()) * count > 8_000 {
                    count /= 2;
                }
                for core in ["1", "", "x"] {
                    let source = format!("fn onGet() {{ {}{core}{} }}", open.repeat(count), close.repeat(count));
                    if let Ok(script) = bench.sandbox.compile(&source) {
                        let state = bench.create(&script, &Value::Nil);
                        let _ = bench.get(&script, &state);
                    }
                }
            }
        }
    });
}
