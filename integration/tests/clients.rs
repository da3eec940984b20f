//! The clients that people have: redis-cli, redis-benchmark, redis-py and the Rust `redis` crate find what they expect.

#![allow(clippy::unwrap_used, reason = "a test that unwraps in vain fails, as it should")]

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use comet_integration::client::available;
use comet_integration::node::Node;
use comet_integration::wait::look;
use redis::{Commands as _, Connection, Value};

const PATIENCE: Duration = Duration::from_secs(30);

fn run(program: &str, node: &Node, words: &[&str], input: &str) -> String {
    let mut command = Command::new(program);
    command.args(["-h", "127.0.0.1", "-p", &node.resp().port().to_string()]).args(words);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&stdout).into_owned();
    assert!(status.success(), "{program} {words:?}: {status} {text} {}", String::from_utf8_lossy(&stderr));
    text
}

#[test]
fn redis_cli_shows_what_the_first_steps_promise() {
    if !available("redis-cli", &["--version"]) {
        return;
    }
    let node = Node::start();
    let steps = [
        (r#"ASO.PUT greet "Hello world!" SCRIPT read_counter"#, "OK"),
        ("GET greet", "1) \"Hello world!\"\n2) (integer) 1"),
        ("GET greet", "1) \"Hello world!\"\n2) (integer) 2"),
        ("SET plain value EX 100", "OK"),
        ("GET plain", "\"value\""),
        ("GET nothing", "(nil)"),
        ("INCR hits", "(integer) 1"),
        ("DEL greet hits nothing", "(integer) 2"),
        ("NONSENSE", "(error) ERR unknown command 'NONSENSE', with args beginning with: "),
        ("ASO.PUT greet hello SCRIPT nonsense", "(error) NOSCRIPT no script nonsense; ASO.SCRIPT LIST shows the names"),
    ];
    for protocol in ["-2", "-3"] {
        let show = |step: &str| {
            let shown = run("redis-cli", &node, &[protocol, "--no-raw"], &format!("{step}\n"));
            shown.trim_end_matches('\n').to_owned()
        };
        for (step, answer) in steps {
            assert_eq!(show(step), answer, "{step} {protocol}");
        }
        // Time passes between two steps, the more the busier the machine is.
        let left = show("TTL plain");
        let seconds: Option<u64> = left.strip_prefix("(integer) ").and_then(|seconds| seconds.parse().ok());
        assert!(seconds.is_some_and(|seconds| (1..=100).contains(&seconds)), "{left}");
        assert_eq!(show("DEL plain"), "(integer) 1");
    }
}

#[test]
fn redis_benchmark_runs_its_own_workloads() {
    if !available("redis-benchmark", &["--version"]) {
        return;
    }
    let node = Node::start();
    for pipeline in ["1", "16"] {
        let words =
            ["-t", "ping,set,get,incr,mset", "-n", "2000", "-c", "20", "-r", "500", "-d", "100", "-P", pipeline, "-q"];
        let shown = run("redis-benchmark", &node, &words, "");
        for workload in ["PING_INLINE", "PING_MBULK", "SET", "GET", "INCR", "MSET"] {
            assert!(shown.contains(workload), "{shown}");
        }
        assert!(!shown.to_lowercase().contains("error"), "{shown}");
    }
}

#[test]
fn redis_py_finds_what_it_expects_in_both_versions_of_the_protocol() {
    if !available("python3", &["-c", "import redis"]) {
        return;
    }
    let node = Node::start();
    let port = node.resp().port().to_string();
    let output = Command::new("python3").args(["-c", include_str!("clients/session.py"), &port]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.stdout, b"done\n");
}

#[test]
fn the_redis_crate_finds_what_it_expects_in_both_versions_of_the_protocol() {
    let node = Node::start();
    for connection in [&mut node.connect_resp2(), &mut node.connect()] {
        strings_and_numbers(connection);
        times_and_listings(connection);
        objects(connection);
    }
    let in_two: Value = redis::cmd("ASO.GET").arg("typed").query(&mut node.connect_resp2()).unwrap();
    let in_three: Value = redis::cmd("ASO.GET").arg("typed").query(&mut node.connect()).unwrap();
    assert_eq!(in_three.as_map_iter().map(Iterator::count), Some(4), "{in_three:?}");
    assert!(matches!(&in_two, Value::Array(items) if items.len() == 8), "{in_two:?}");
}

fn strings_and_numbers(connection: &mut Connection) {
    let () = connection.set("k", b"\0\xff\r\n").unwrap();
    assert_eq!(connection.get::<_, Vec<u8>>("k").unwrap(), b"\0\xff\r\n");
    assert_eq!(connection.get::<_, Option<String>>("nothing").unwrap(), None);
    let () = connection.mset(&[("a", "1"), ("b", "2")]).unwrap();
    assert_eq!(connection.mget::<_, Vec<Option<u64>>>(&["a", "nothing", "b"]).unwrap(), [Some(1), None, Some(2)]);
    assert_eq!(connection.incr::<_, _, i64>("a", 41).unwrap(), 42);
    assert!((connection.incr::<_, _, f64>("b", 0.5).unwrap() - 2.5).abs() < f64::EPSILON);
    assert!(!connection.set_nx::<_, _, bool>("a", "taken").unwrap());
    assert_eq!(connection.del::<_, u64>(&["a", "b", "nothing"]).unwrap(), 2);
}

fn times_and_listings(connection: &mut Connection) {
    let () = connection.set_ex("short", "v", 100).unwrap();
    let left: i64 = connection.ttl("short").unwrap();
    assert!((1..=100).contains(&left), "{left}");
    assert!(connection.persist::<_, bool>("short").unwrap());
    assert_eq!(connection.ttl::<_, i64>("short").unwrap(), -1);
    let mut pipe = redis::pipe();
    for number in 0..100 {
        pipe.set(format!("list:{number}"), number).ignore().get(format!("list:{number}"));
    }
    assert_eq!(pipe.query::<Vec<u32>>(connection).unwrap(), (0..100).collect::<Vec<_>>());
    let found: Vec<String> = connection.scan_match("list:*").unwrap().map(Result::unwrap).collect();
    assert_eq!(found.len(), 100);
    assert_eq!(connection.del::<_, u64>(found).unwrap(), 100);
}

fn objects(connection: &mut Connection) {
    let mut put = redis::cmd("ASO.PUT");
    let () = put.arg(&["page", "hello", "SCRIPT", "read_counter"]).query(connection).unwrap();
    assert_eq!(connection.get::<_, (String, u64)>("page").unwrap(), ("hello".to_owned(), 1));
    let info: BTreeMap<String, Value> = redis::cmd("ASO.INFO").arg("page").query(connection).unwrap();
    assert_eq!(info["calls"], Value::Int(1));
    let typed = r#"{"text":"x","number":1.5,"flag":true,"nothing":null}"#;
    let () = redis::cmd("ASO.PUT").arg(&["typed", typed, "JSON"]).query(connection).unwrap();
    let json: String = redis::cmd("ASO.GET").arg(&["typed", "JSON"]).query(connection).unwrap();
    let (back, put): (serde_json::Value, serde_json::Value) =
        (serde_json::from_str(&json).unwrap(), serde_json::from_str(typed).unwrap());
    assert_eq!(back, put);
}

/// What is wrong, as bytes of the protocol or words of a command; Redis's answer is the measure.
const BAD_COMMANDS: &[&[&str]] = &[
    &["NOSUCH"],
    &["NOSUCH", "one", "two"],
    &["GET"],
    &["GET", "a", "b"],
    &["SET", "k"],
    &["SET", "k", "v", "EX"],
    &["SET", "k", "v", "EX", "0"],
    &["SET", "k", "v", "EX", "-1"],
    &["SET", "k", "v", "EX", "soon"],
    &["SET", "k", "v", "EX", "9223372036854775807"],
    &["SET", "k", "v", "PX", "0"],
    &["SET", "k", "v", "NX", "XX"],
    &["SET", "k", "v", "EX", "5", "PX", "5"],
    &["SET", "k", "v", "KEEPTTL", "EX", "5"],
    &["SET", "k", "v", "PERHAPS"],
    &["SETEX", "k", "0", "v"],
    &["SETEX", "k", "soon", "v"],
    &["PSETEX", "k", "-1", "v"],
    &["SETNX", "k"],
    &["GETSET", "k"],
    &["GETDEL"],
    &["MGET"],
    &["MSET", "a"],
    &["MSET", "a", "1", "b"],
    &["STRLEN"],
    &["INCR", "text"],
    &["INCR"],
    &["INCRBY", "five", "much"],
    &["INCRBY", "five", "9223372036854775808"],
    &["INCRBY", "five", "9223372036854775807"],
    &["DECRBY", "five", "-9223372036854775808"],
    &["DECRBY", "five", "much"],
    &["INCRBYFLOAT", "text", "1"],
    &["INCRBYFLOAT", "five", "much"],
    &["EXPIRE", "text", "soon"],
    &["EXPIRE", "text", "9223372036854775807"],
    &["EXPIRE", "text"],
    &["EXPIRE", "text", "9", "NX", "GT"],
    &["EXPIRE", "text", "9", "LT", "gt"],
    &["EXPIRE", "text", "soon", "PERHAPS"],
    &["PEXPIRE", "text", "soon"],
    &["EXPIREAT", "text", "soon"],
    &["TTL"],
    &["PERSIST"],
    &["TYPE"],
    &["DEL"],
    &["UNLINK"],
    &["EXISTS"],
    &["SCAN"],
    &["SCAN", "here"],
    &["SCAN", "0", "COUNT", "0"],
    &["SCAN", "0", "COUNT", "many"],
    &["SCAN", "0", "COUNT"],
    &["SCAN", "0", "PERHAPS", "x"],
    &["DBSIZE", "all"],
    &["FLUSHDB", "PERHAPS"],
    &["SELECT", "one"],
    &["SELECT", "99"],
    &["SELECT"],
    &["PING", "a", "b"],
    &["ECHO"],
    &["HELLO", "9"],
    &["HELLO", "two"],
    &["HELLO", "3", "PERHAPS"],
    &["HELLO", "3", "AUTH", "x"],
    &["HELLO", "3", "AUTH", "nobody", "x"],
    &["AUTH"],
    &["AUTH", "x"],
    &["AUTH", "nobody", "x"],
    &["AUTH", "a", "b", "c"],
    &["CLIENT"],
    &["CLIENT", "PERHAPS"],
    &["CLIENT", "SETNAME", "a b"],
    &["CLIENT", "SETNAME"],
    &["CONFIG"],
    &["CONFIG", "PERHAPS"],
    &["CONFIG", "GET"],
    &["COMMAND", "PERHAPS"],
];

/// Bytes that no request begins with.
const BAD_BYTES: &[&str] = &[
    "*many\r\n",
    "*99999999999\r\n",
    "*1\r\nGET\r\n",
    "*1\r\n$many\r\n",
    "*1\r\n$-5\r\n",
    "*2\r\n$3\r\nGET\r\n:5\r\n",
    "GET \"open\r\n",
];

#[test]
fn errors_read_as_those_of_redis() {
    if !available("redis-server", &["--version"]) {
        return;
    }
    let node = Node::start();
    let redis = Redis::start();
    let mut differences = Vec::new();
    for address in [node.resp(), redis.address] {
        for words in [["SET", "text", "abc"], ["SET", "five", "5"]] {
            assert_eq!(answer(address, &encoded(&words)), "+OK");
        }
    }
    let commands = BAD_COMMANDS.iter().map(|words| encoded(words));
    for request in commands.chain(BAD_BYTES.iter().map(|&bytes| bytes.to_owned())) {
        let [ours, theirs] = [node.resp(), redis.address].map(|address| answer(address, &request));
        assert!(theirs.starts_with('-'), "Redis finds nothing wrong with {request:?}: {theirs}");
        if ours != theirs {
            differences.push(format!("{request:?}\n   comet {ours}\n   redis {theirs}"));
        }
    }
    assert!(differences.is_empty(), "{} answers differ:\n{}", differences.len(), differences.join("\n"));
}

/// A `redis-server` beside the node, killed when it is dropped.
struct Redis {
    child: Child,
    address: SocketAddr,
}

impl Redis {
    fn start() -> Self {
        (0..10).find_map(|_| Redis::try_start()).expect("one of ten ports stays free until redis-server listens on it")
    }

    /// Starts it on a port that is free at the moment; none if somebody else took that meanwhile.
    fn try_start() -> Option<Self> {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--port", &address.port().to_string()]);
        let child = command.stdout(Stdio::null()).spawn().unwrap();
        let mut redis = Redis { child, address };
        let serves = look(PATIENCE, || match redis.child.try_wait().unwrap() {
            Some(_ended) => Some(false),
            None => redis.answers().then_some(true),
        });
        serves.expect("redis-server serves or ends").then_some(redis)
    }

    /// Whether it is this one that answers on the port.
    fn answers(&self) -> bool {
        let told = redis::Client::open(format!("redis://{}/", self.address))
            .unwrap()
            .get_connection()
            .and_then(|mut connection| redis::cmd("INFO").arg("server").query::<String>(&mut connection));
        told.is_ok_and(|told| told.lines().any(|line| line == format!("process_id:{}", self.child.id())))
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn encoded(words: &[&str]) -> String {
    let bulks = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
    format!("*{}\r\n{}", words.len(), bulks.collect::<String>())
}

/// The first line of the answer to a request on a connection of its own.
fn answer(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\r\n") && stream.read(&mut byte).unwrap() == 1 {
        answer.push(byte[0]);
    }
    String::from_utf8_lossy(&answer).trim_end().to_owned()
}
