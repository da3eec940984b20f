//! What the sandbox costs: calls, states, and the sources that take longest to compile.
//!
//! `cargo bench -p comet-aso --bench sandbox`

use std::hint::black_box;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use comet_aso::sandbox::{Args, Budgets, Event, Handler, Node, Sandbox, State};
use comet_kernel::clock::Clock;
use comet_kernel::identity::{Caller, NodeId};
use comet_kernel::neighbours::Neighbours;
use comet_kernel::value::Value;
use comet_kernel::{Key, limits};

fn main() {
    let bench = Bench::new();
    bench.calls();
    bench.compile_times();
}

struct Bench {
    clock: Clock,
    sandbox: Sandbox,
    key: Key,
    caller: Caller,
}

impl Bench {
    fn new() -> Self {
        let clock = Clock::machine();
        let node = Node {
            id: NodeId::from_public_key(&[7; 32]),
            ip: IpAddr::from([127, 0, 0, 1]),
            neighbours: Neighbours::none(),
        };
        let caller = Caller { id: "somebody".into(), ip: node.ip, port: 4_711, client: "127.0.0.1:9".into() };
        let sandbox = Sandbox::new(Budgets::default(), node, clock.clone());
        Bench { clock, sandbox, key: Key::new(b"key").expect("short"), caller }
    }

    fn calls(&self) {
        let text = "a value of some length";
        let get = Args::Get { caller: &self.caller, payload: &Value::Nil };
        self.call(
            "read counter",
            "let getCount = 0; fn onGet() { this.getCount += 1; [this.value, this.getCount] }",
            text,
            get,
        );
        self.call("nothing", "fn onGet() { }", text, get);
        self.call("the value", "fn onGet() { this.value }", text, get);
        self.call("the value, 32 KiB", "fn onGet() { this.value }", &"x".repeat(32 << 10), get);
        self.call("caller's id", "fn onGet(caller) { caller.id }", text, get);
        self.call("loop of 100", "fn onGet() { let sum = 0; for i in 0..100 { sum += i; } sum }", text, get);
        self.call(
            "20 constants read",
            "const C = 5; fn onGet() { C+C+C+C+C+C+C+C+C+C+C+C+C+C+C+C+C+C+C+C }",
            text,
            get,
        );
        self.call("host", "fn onGet() { comet.getSystemTime() }", text, get);
        self.call("100 records", "let l = (|n| { let a = []; for i in 0..n { a.push(#{ id: `n${i}`, at: i }); } a }).call(100); fn onGet() { this.l.len() }", text, get);
        self.call(
            "1000 numbers",
            "let l = []; fn onGet() { if this.l.is_empty() { for i in 0..1000 { this.l.push(i); } } this.l.len() }",
            text,
            get,
        );
    }

    fn call(&self, name: &str, source: &str, value: &str, args: Args<'_>) {
        let script = self.sandbox.compile(source).expect("compiles");
        let event = Event { key: &self.key, parked: &[], seed: 1 };
        let mut state = self.sandbox.create(&script, &Value::from(value), &event).expect("creates");
        let mut best = Duration::MAX;
        let mut operations = 0;
        for _ in 0..40 {
            let start = self.clock.now();
            for _ in 0..2_000 {
                let outcome = self.sandbox.call(&script, &state, Handler::Get, args, &event).expect("answers");
                operations = outcome.operations;
                if let Some(new) = outcome.state {
                    state = new;
                }
                black_box(&outcome.reply);
            }
            best = best.min(self.clock.now().since(start) / 2_000);
        }
        let bytes = memory_of(&state);
        println!("{name:<24} {:>9} ns a call {operations:>6} operations   state {bytes} bytes", best.as_nanos());
    }

    fn compile_times(&self) {
        let mut slowest: Vec<(Duration, bool, String)> = Vec::new();
        for (name, source) in sources() {
            let mut best = Duration::MAX;
            let mut accepted = false;
            for _ in 0..3 {
                let start = self.clock.now();
                accepted = self.sandbox.compile(&source).is_ok();
                best = best.min(self.clock.now().since(start));
            }
            slowest.push((best, accepted, name));
        }
        slowest.sort();
        for (time, accepted, name) in slowest.iter().rev().take(40) {
            println!(
                "compile {:>8.2} ms  {}  {name}",
                time.as_secs_f64() * 1e3,
                if *accepted { "accepted" } else { "refused " }
            );
        }
    }
}

/// Bytes that a state takes, the overhead that the allocator charges included.
fn memory_of(state: &State) -> isize {
    let before = comet_aso::sandbox::live_bytes();
    let copies: Vec<State> =
        (0..100).map(|_| State::new(&state.value(), &state.fields()).expect("what came out goes in")).collect();
    (comet_aso::sandbox::live_bytes() - before) / copies.len() as isize
}

/// Sources of the largest size that fill a function with as much as possible of one thing.
fn sources() -> Vec<(String, String)> {
    let units = [
        "1;",
        "{}",
        "{};",
        "();",
        "[];",
        "x;",
        "x=1;",
        "x+=3;",
        "let a=1;",
        "a;{}",
        "if x{}",
        "if 1{}else{}",
        "loop{}",
        "1,",
        "|x|x;",
        "||1;",
        "f();",
        "x.y;",
        "x[1];",
        "true&&true;",
        "1+1;",
        "const A=1;",
        "return;",
        "throw;",
        "try{}catch{}",
        "while x{}",
        "for i in x{}",
        "switch x{}",
        "/**/",
        "//\n",
        "/*/*",
        "\"\";",
        "`${1}`;",
        "'a';",
        ";",
        "1.5;",
        "this;",
        "do{}while x;",
        "#{};",
        "x??1;",
        "x?.y;",
        "a b",
        "fn f(){}",
        "-1;",
        "!x;",
        "1-",
        "x.",
        "x(",
        "f(",
        "[",
        "(",
        "{",
        "#{a:",
        "if x{",
        "!",
        "-",
        "`${",
        "|a|",
        "switch x{1=>",
        "x=",
        "1+",
        "2**",
        "x&&",
        "x??",
        "\"a\"+",
        "x[0]",
        ".f()",
        "else if x{}",
        "let a=",
        "x.y.",
    ];
    let mut sources = Vec::new();
    for unit in units {
        let count = (limits::SCRIPT_BYTES - 32) / unit.len();
        for (kind, open, close) in [
            ("fn", "fn onGet(){", "}"),
            ("top", "", ""),
            ("array", "fn onGet(){[", "]}"),
            ("switch", "fn onGet(){switch 1{", "}}"),
            ("block", "fn onGet(){loop{", "}}"),
        ] {
            sources
                .push((format!("{kind} of {}", unit.escape_debug()), format!("{open}{}{close}", unit.repeat(count))));
        }
    }
    let numbered = |open: &str, make: &dyn Fn(usize) -> String, close: &str| {
        let mut source = open.to_owned();
        for n in 0.. {
            let next = make(n);
            if source.len() + next.len() + close.len() > limits::SCRIPT_BYTES {
                break;
            }
            source.push_str(&next);
        }
        source + close
    };
    let mut add = |name: &str, source: String| sources.push((name.to_owned(), source));
    add("switch arms", numbered("fn onGet(){switch 1{", &|n| format!("{n}=>1,"), "}}"));
    add("switch arms, blocks", numbered("fn onGet(){switch 1{", &|n| format!("{n}=>{{}}"), "}}"));
    add("switch ranges", numbered("fn onGet(){switch 1{", &|n| format!("{n}..9=>1,"), "}}"));
    add("switch alternatives", numbered("fn onGet(){switch 1{1", &|n| format!("|{n}"), "=>1}}"));
    add("switch conditions", numbered("fn onGet(){switch 1{", &|n| format!("1 if {n}==x=>1,"), "}}"));
    add("map fields", numbered("fn onGet(){#{", &|n| format!("a{n}:1,"), "}}"));
    add("variables", numbered("fn onGet(){", &|n| format!("let a{n}=1;"), "}"));
    add("variables used", numbered("fn onGet(){let a=1;", &|n| format!("let a{n}=a;"), "}"));
    add("top variables", numbered("", &|n| format!("let a{n}=1;"), ""));
    add("top constants", numbered("", &|n| format!("const A{n}=1;"), ""));
    add("functions", numbered("", &|n| format!("fn f{n}(){{}}"), ""));
    add("functions of constants", numbered("const A=1;", &|n| format!("fn f{n}(){{A}}"), ""));
    add("long name", format!("fn onGet(){{let {}=1;}}", "a".repeat(8_000)));
    add("long text", format!("fn onGet(){{\"{}\"}}", "a".repeat(8_000)));
    add("long number", format!("fn onGet(){{{}}}", "9".repeat(8_000)));
    add("constant that counts", "fn f(){let a=[];loop{a.push(1)}} const A=f();".to_owned());
    let everyday: Arc<str> = "// Counts its own reads.\nlet getCount = 0;\n\nfn onGet() {\n    this.getCount += 1;\n    [this.value, this.getCount]\n}\n".into();
    add("read counter", everyday.to_string());
    sources
}
