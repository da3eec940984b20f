//! The applications of `scripts/`, each driven through a client as its header says, and what holds for all of them.

#![allow(clippy::unwrap_used, reason = "a test that unwraps in vain fails, as it should")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use comet_integration::node::{Node, comet};
use comet_integration::wait::eventually;
use comet_kernel::Clock;
use redis::{Connection, RedisError, Value, cmd};
use serde_json::{Value as Json, json};

/// Longer than any timer that a test sets, on the busiest machine.
const SOON: Duration = Duration::from_secs(20);

/// One node for all tests that run at the same time; none of them touches a key of another. It ends with the last.
fn node() -> Arc<Node> {
    static SHARED: Mutex<Weak<Node>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap();
    shared.upgrade().unwrap_or_else(|| {
        let node = Arc::new(Node::start());
        *shared = Arc::downgrade(&node);
        node
    })
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts")
}

fn scripts() -> Vec<PathBuf> {
    let files = folder().read_dir().unwrap().map(|entry| entry.unwrap().path());
    let mut scripts: Vec<_> = files.filter(|path| !path.ends_with("comet.d.rhai")).collect();
    scripts.sort();
    scripts
}

fn put(
    connection: &mut Connection,
    key: &str,
    value: &str,
    script: &str,
    options: &[&str],
) -> Result<Value, RedisError> {
    cmd("ASO.PUT").arg(key).arg(value).arg("SCRIPT").arg(script).arg(options).query(connection)
}

fn get<T: redis::FromRedisValue>(connection: &mut Connection, key: &str) -> Result<T, RedisError> {
    cmd("GET").arg(key).query(connection)
}

fn aso_get<T: redis::FromRedisValue>(connection: &mut Connection, words: &[&str]) -> Result<T, RedisError> {
    cmd("ASO.GET").arg(words).query(connection)
}

/// The error of a refusal, as the client sees it.
fn refusal<T: std::fmt::Debug>(outcome: Result<T, RedisError>) -> String {
    let error = outcome.expect_err("it is refused");
    format!("{} {}", error.code().unwrap_or_default(), error.detail().unwrap_or_default())
}

#[test]
fn access_log_remembers_who_read_and_when() {
    let node = node();
    let mut client = node.connect();
    put(&mut client, "diary", "dear diary", "access_log", &["OWNED"]).unwrap();
    for _ in 0..2 {
        assert_eq!(get::<String>(&mut client, "diary").unwrap(), "dear diary");
    }
    let log: String = aso_get(&mut client, &["diary", "\"log\"", "JSON"]).unwrap();
    let log: Vec<Json> = serde_json::from_str(&log).unwrap();
    assert_eq!(log.len(), 2);
    for read in &log {
        assert!(read["client"].as_str().unwrap().starts_with("127.0.0.1:"), "{read}");
        assert!(read["at"].as_i64().unwrap() > 1_700_000_000_000, "{read}");
        assert!(!read["who"].as_str().unwrap().is_empty(), "{read}");
    }
}

#[test]
fn access_log_keeps_the_last_fifty_reads() {
    let node = node();
    let mut client = node.connect();
    put(&mut client, "long diary", "x", "access_log", &[]).unwrap();
    for _ in 0..60 {
        let _: String = get(&mut client, "long diary").unwrap();
    }
    let log: Vec<Value> = aso_get(&mut client, &["long diary", "log"]).unwrap();
    assert_eq!(log.len(), 50);
}

#[test]
fn delayed_get_waits_for_the_first_update() {
    let node = node();
    let mut client = node.connect();
    put(&mut client, "door", "", "delayed_get", &[]).unwrap();
    let mut other = node.connect();
    let waiting = std::thread::spawn(move || get::<String>(&mut other, "door").unwrap());
    let calls = |client: &mut Connection| info(client, "door")["calls"].as_i64().unwrap();
    eventually(SOON, "somebody waits", || calls(&mut client) > 0);
    assert!(!waiting.is_finished());
    let () = cmd("SET").arg("door").arg("open").query(&mut client).unwrap_or_default();
    assert_eq!(waiting.join().unwrap(), "open");
    assert_eq!(get::<String>(&mut client, "door").unwrap(), "open");
}

#[test]
fn dynamic_value_is_filled_in_for_each_reader() {
    let node = node();
    let mut client = node.connect();
    let template = "Hello {payload}, you are {caller} and it is {time}";
    put(&mut client, "greeting", template, "dynamic_value", &[]).unwrap();
    let text: String = aso_get(&mut client, &["greeting", "Ada"]).unwrap();
    let rest = text.strip_prefix("Hello Ada, you are ").expect(&text);
    let (caller, time) = rest.split_once(" and it is ").expect(&text);
    assert!(!caller.is_empty() && !caller.contains('{'), "{text}");
    assert!(time.parse::<i64>().unwrap() > 1_700_000_000_000, "{text}");
}

#[test]
fn one_time_value_is_read_once() {
    let node = node();
    let mut client = node.connect();
    put(&mut client, "ticket", "admit one", "one_time", &["REPLICAS", "1"]).unwrap();
    assert_eq!(get::<String>(&mut client, "ticket").unwrap(), "admit one");
    assert_eq!(get::<Option<String>>(&mut client, "ticket").unwrap(), None);
}

#[test]
fn password_guards_reading_replacing_and_removing() {
    let node = node();
    let mut client = node.connect();
    let safe = |secret: &str, password: &str| json!({ "secret": secret, "password": password }).to_string();
    put(&mut client, "safe", &safe("42", "sesame"), "password", &["JSON"]).unwrap();
    assert_eq!(aso_get::<String>(&mut client, &["safe", "sesame"]).unwrap(), "42");
    assert_eq!(refusal(get::<String>(&mut client, "safe")), "REFUSED wrong password");
    assert_eq!(refusal(aso_get::<String>(&mut client, &["safe", "guess"])), "REFUSED wrong password");
    put(&mut client, "safe", &safe("43", "guess"), "password", &["JSON"]).unwrap();
    assert_eq!(aso_get::<String>(&mut client, &["safe", "sesame"]).unwrap(), "42");
    put(&mut client, "safe", &safe("44", "sesame"), "password", &["JSON"]).unwrap();
    assert_eq!(aso_get::<String>(&mut client, &["safe", "sesame"]).unwrap(), "44");
    assert!(refusal(cmd("DEL").arg("safe").query::<i64>(&mut client)).starts_with("REFUSED"));
    // The way out that its header names.
    let _: Value = cmd("ASO.PUT").arg("safe").arg("{\"password\":\"sesame\"}").arg("JSON").query(&mut client).unwrap();
    assert_eq!(cmd("DEL").arg("safe").query::<i64>(&mut client).unwrap(), 1);
}

#[test]
fn read_counter_counts_its_reads() {
    let node = node();
    let mut client = node.connect();
    put(&mut client, "page", "hello", "read_counter", &[]).unwrap();
    for count in 1..=3 {
        assert_eq!(get::<(String, i64)>(&mut client, "page").unwrap(), ("hello".to_owned(), count));
    }
}

#[test]
fn read_only_value_stays_until_it_ends() {
    let node = node();
    let mut client = node.connect();
    put(&mut client, "pi", "3.14159", "read_only", &["TTL", "6"]).unwrap();
    assert_eq!(refusal(cmd("SET").arg("pi").arg("3").query::<Value>(&mut client)), "REFUSED read-only");
    assert_eq!(refusal(cmd("DEL").arg("pi").query::<Value>(&mut client)), "REFUSED read-only");
    assert_eq!(get::<String>(&mut client, "pi").unwrap(), "3.14159");
    eventually(SOON, "its life is over", || get::<Option<String>>(&mut client, "pi").unwrap().is_none());
}

#[test]
fn time_out_ends_the_value_whether_it_is_read_or_not() {
    let node = node();
    let mut client = node.connect();
    put(&mut client, "brief", "{\"value\":\"alice\",\"seconds\":5}", "time_out", &["JSON"]).unwrap();
    assert_eq!(get::<String>(&mut client, "brief").unwrap(), "alice");
    eventually(SOON, "the time is out", || get::<Option<String>>(&mut client, "brief").unwrap().is_none());
}

#[test]
fn time_out_after_a_read_starts_again_with_each_read() {
    let (node, clock) = (node(), Clock::machine());
    let mut client = node.connect();
    let value = "{\"value\":\"alice\",\"seconds\":5,\"after\":\"read\"}";
    put(&mut client, "session", value, "time_out", &["JSON"]).unwrap();
    // Read on, it lives for longer than it would without. Who reads without a pause is told to wait now and then.
    while clock.now().elapsed() < Duration::from_secs(7) {
        match get::<String>(&mut client, "session") {
            Ok(value) => assert_eq!(value, "alice"),
            limited => assert!(refusal(limited).starts_with("LIMITED")),
        }
    }
    // A look that is no read.
    eventually(SOON, "the time is out", || info(&mut client, "session").is_null());
    assert_eq!(get::<Option<String>>(&mut client, "session").unwrap(), None);
}

#[test]
fn time_release_opens_when_its_time_has_come() {
    let (node, clock) = (node(), Clock::machine());
    let mut client = node.connect();
    let at = clock.unix().0 + 2_000;
    let value = json!({ "value": "we won", "at": at }).to_string();
    put(&mut client, "results", &value, "time_release", &["JSON"]).unwrap();
    assert_eq!(refusal(get::<String>(&mut client, "results")), format!("REFUSED not before {at}"));
    eventually(SOON, "its time has come", || get::<String>(&mut client, "results").is_ok());
    assert!(clock.unix().0 >= at);
    assert_eq!(get::<String>(&mut client, "results").unwrap(), "we won");
    let wrong = put(&mut client, "never", "{\"value\":1,\"at\":\"noon\"}", "time_release", &["JSON"]);
    assert!(refusal(wrong).starts_with("REFUSED"));
}

#[test]
fn tracker_tells_the_peers_that_are_near() {
    let node = node();
    let mut client = node.connect();
    put(&mut client, "torrent", "linux.iso", "tracker", &[]).unwrap();
    let peer = |client: &mut Connection, address: &str, at: Json| {
        let value = json!({ "address": address, "at": at }).to_string();
        cmd("ASO.PUT").arg("torrent").arg(value).arg("JSON").query::<Value>(client)
    };
    peer(&mut client, "far:1", json!([100, 0, 1])).unwrap();
    peer(&mut client, "near:1", json!([3, 4.0, 0.5])).unwrap();
    peer(&mut client, "near:1", json!([3, 4.0, 0])).unwrap();
    for (address, at) in [("x", json!("here")), ("x", json!([1, 2])), (&*"long".repeat(20), json!([0, 0, 0]))] {
        assert!(peer(&mut client, address, at.clone()).is_err(), "{address} {at}");
    }
    let near: String = aso_get(&mut client, &["torrent", "{\"at\":[0,0,0]}", "JSON"]).unwrap();
    let near: Json = serde_json::from_str(&near).unwrap();
    assert_eq!(near, json!([{ "address": "near:1", "far": 5.0 }, { "address": "far:1", "far": 101.0 }]));
    assert_eq!(get::<String>(&mut client, "torrent").unwrap(), "linux.iso");
    for number in 0..210 {
        peer(&mut client, &format!("{number}"), json!([number, 0, 0])).unwrap();
    }
    let near: String = aso_get(&mut client, &["torrent", "{\"at\":[205,0,0]}", "JSON"]).unwrap();
    let near: Json = serde_json::from_str(&near).unwrap();
    assert_eq!((near.as_array().unwrap().len(), &near[0]["address"]), (20, &json!("205")));
}

/// Sends a get on a connection of its own, and waits until the object has parked it.
fn parked(node: &Arc<Node>, words: &[&'static str]) -> std::thread::JoinHandle<String> {
    let (mut client, mut other) = (node.connect(), node.connect());
    let (key, words) = (words[0], words.to_vec());
    let calls = |client: &mut Connection| info(client, key)["calls"].as_i64().unwrap();
    let before = calls(&mut client);
    let waiting = std::thread::spawn(move || cmd("ASO.GET").arg(words).query::<String>(&mut other).unwrap());
    eventually(SOON, "somebody waits", || calls(&mut client) > before);
    waiting
}

fn json_of(waiting: std::thread::JoinHandle<String>) -> Json {
    serde_json::from_str(&waiting.join().unwrap()).unwrap()
}

#[test]
fn pubsub_readers_hear_the_next_message_and_what_they_missed() {
    let node = node();
    let mut client = node.connect();
    put(&mut client, "news", "", "pubsub", &[]).unwrap();
    let waiting = parked(&node, &["news", "null", "JSON"]);
    let () = cmd("SET").arg("news").arg("it rains").query(&mut client).unwrap();
    assert_eq!(json_of(waiting), json!({ "number": 1, "message": "it rains" }));
    let waiting = parked(&node, &["news", "1", "JSON"]);
    let () = cmd("SET").arg("news").arg("it snows").query(&mut client).unwrap();
    assert_eq!(json_of(waiting), json!({ "number": 2, "message": "it snows" }));
    let missed: String = aso_get(&mut client, &["news", "1", "JSON"]).unwrap();
    assert_eq!(serde_json::from_str::<Json>(&missed).unwrap(), json!({ "number": 2, "message": "it snows" }));
}

#[test]
fn pubsub_tree_serves_its_readers_and_takes_no_message_twice() {
    let node = node();
    let mut client = node.connect();
    put(&mut client, "leaf", "[]", "pubsub_tree", &["JSON"]).unwrap();
    let waiting = parked(&node, &["leaf", "null", "JSON"]);
    let () = cmd("SET").arg("leaf").arg("it rains").query(&mut client).unwrap();
    assert_eq!(json_of(waiting), json!("it rains"));
    let waiting = parked(&node, &["leaf", "null", "JSON"]);
    for message in ["it rains", "it snows"] {
        let () = cmd("SET").arg("leaf").arg(message).query(&mut client).unwrap();
    }
    assert_eq!(json_of(waiting), json!("it snows"));
    assert_eq!(aso_get::<String>(&mut client, &["leaf", "last"]).unwrap(), "it snows");
    put(&mut client, "root", "[\"leaf\"]", "pubsub_tree", &["JSON"]).unwrap();
    assert!(
        refusal(cmd("SET").arg("root").arg("x").query::<Value>(&mut client)).contains("signed by a trusted publisher")
    );
}

#[test]
fn merged_counter_counts_the_reads_of_this_node() {
    let node = node();
    let mut client = node.connect();
    put(&mut client, "merged", "hello", "merged_counter", &[]).unwrap();
    for count in 1..=3 {
        assert_eq!(get::<(String, i64)>(&mut client, "merged").unwrap(), ("hello".to_owned(), count));
    }
}

/// On a node that is alone the applications of the network do what is left of them: they count themselves, and serve.
#[test]
fn without_a_network_the_applications_of_the_network_serve_their_values() {
    let node = node();
    let mut client = node.connect();
    put(&mut client, "plans", "top secret", "replica_monitor", &[]).unwrap();
    assert_eq!(get::<String>(&mut client, "plans").unwrap(), "top secret");
    assert_eq!(aso_get::<Vec<Value>>(&mut client, &["plans", "copies"]).unwrap(), []);
    put(&mut client, "song", "{\"value\":\"la la\",\"copies\":12}", "self_replicating", &["JSON"]).unwrap();
    assert_eq!(get::<String>(&mut client, "song").unwrap(), "la la");
    put(&mut client, "probe", "1", "node_lifetimes", &["JSON"]).unwrap();
    put(&mut client, "share", "{\"share\":\"c2Vj\",\"seconds\":1}", "smart_replication", &["JSON"]).unwrap();
    assert_eq!(get::<String>(&mut client, "share").unwrap(), "c2Vj");
    let copies = |client: &mut Connection| aso_get::<i64>(client, &["share", "copies"]).unwrap();
    eventually(SOON, "it counts itself", || copies(&mut client) == 1);
    let looked = |client: &mut Connection| info(client, "probe")["calls"].as_i64().unwrap() > 1;
    eventually(SOON, "it looks around", || looked(&mut client));
    let life: std::collections::HashMap<String, Option<i64>> = get(&mut client, "probe").unwrap();
    assert_eq!((life["near"], life["gone"], life["median"]), (Some(0), Some(0), None));
}

#[test]
fn recursive_get_needs_a_signature_that_the_node_trusts() {
    let folder = tempfile::tempdir().unwrap();
    let (key, script) = (folder.path().join("publisher.key"), folder.path().join("recursive_get.rhai"));
    let run = |words: &[&std::ffi::OsStr]| {
        let output = comet().args(words).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let publisher = run(&["keys".as_ref(), "new".as_ref(), key.as_ref()]);
    std::fs::copy(self::folder().join("recursive_get.rhai"), &script).unwrap();
    run(&["script".as_ref(), "sign".as_ref(), script.as_ref(), "--key".as_ref(), key.as_ref()]);
    let checked = run(&["script".as_ref(), "check".as_ref(), script.as_ref()]);
    assert!(checked.contains(&format!("signed by {publisher}")), "{checked}");
    let signed = std::fs::read_to_string(&script).unwrap();

    let node = Node::builder().set("aso.publishers", &publisher).start();
    let mut client = node.connect();
    put(&mut client, "unsigned", "elsewhere", "recursive_get", &[]).unwrap();
    assert!(refusal(get::<Value>(&mut client, "unsigned")).contains("signed by a trusted publisher"));
    let _: Value = cmd("ASO.PUT").arg("signed").arg("elsewhere").arg("SOURCE").arg(&signed).query(&mut client).unwrap();
    assert_eq!(get::<Option<String>>(&mut client, "signed").unwrap(), None, "nobody else is there to ask");
    let changed = signed.replace("this.value, 3", "this.value, 9");
    let outcome = cmd("ASO.PUT").arg("forged").arg("x").arg("SOURCE").arg(&changed).query::<Value>(&mut client);
    assert!(refusal(outcome).contains("sign it again"));
}

/// What `ASO.INFO` tells; null if there is no such object.
fn info(client: &mut Connection, key: &str) -> Json {
    let info: Option<std::collections::HashMap<String, Value>> = cmd("ASO.INFO").arg(key).query(client).unwrap();
    let Some(info) = info else { return Json::Null };
    info.into_iter()
        .filter_map(|(name, value)| redis::from_redis_value::<i64>(value).ok().map(|it| (name, it)))
        .collect()
}

#[test]
fn no_application_needs_more_lines_than_the_slides_allow() {
    let checked = check();
    for (name, most) in [
        ("smart_replication", 41),
        ("time_out", 15),
        ("one_time", 15),
        ("password", 11),
        ("access_log", 22),
        ("tracker", 43),
        ("recursive_get", 9),
        ("pubsub", 14),
        ("pubsub_tree", 20),
        ("node_lifetimes", 41),
        ("replica_monitor", 21),
    ] {
        let report = checked.iter().find(|report| report["file"].as_str().unwrap().ends_with(&format!("{name}.rhai")));
        let lines = report.expect(name)["code_lines"].as_i64().unwrap();
        assert!(lines <= most, "{name} has {lines} lines of code; the slides' has {most}");
    }
}

#[test]
fn every_application_is_right_in_the_eyes_of_the_checker() {
    let checked = check();
    assert_eq!(checked.len(), scripts().len());
    for report in &checked {
        assert_eq!((&report["ok"], &report["findings"]), (&json!(true), &json!([])), "{report}");
    }
}

#[test]
fn every_application_is_built_into_the_binary() {
    let node = node();
    for script in scripts() {
        let name = script.file_stem().unwrap().to_str().unwrap().to_owned();
        let shown = node.comet(&["script", "show", &name]);
        assert_eq!(shown, std::fs::read_to_string(&script).unwrap(), "{name}");
    }
}

#[test]
fn the_definition_file_is_current() {
    let printed = comet().args(["script", "definitions"]).output().unwrap();
    let printed = String::from_utf8(printed.stdout).unwrap();
    let current = std::fs::read_to_string(folder().join("comet.d.rhai")).unwrap_or_default();
    assert!(printed == current, "write it anew: comet script definitions > scripts/comet.d.rhai");
}

/// What `comet script check` finds in every application.
fn check() -> Vec<Json> {
    let output = comet().args(["--json", "script", "check"]).args(scripts()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
