//! The node of the tests itself: it starts, answers, survives its end in every form.

#![allow(clippy::unwrap_used, reason = "a test that unwraps in vain fails, as it should")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use comet_integration::node::{Node, comet};
use comet_integration::random::Random;
use comet_integration::wait::eventually;
use redis::Commands as _;

#[test]
fn a_node_serves_both_versions_of_the_protocol() {
    let node = Node::start();
    let () = node.connect().set("k", "v").unwrap();
    let read: String = node.connect_resp2().get("k").unwrap();
    assert_eq!(read, "v");
    assert!(node.socket().exists());
    assert!(node.comet(&["ctl", "ps"]).contains("storage"));
    assert!(node.rss() > 1 << 20 && node.peak_rss() >= node.rss());
}

#[test]
fn a_node_with_little_to_store_takes_no_huge_pages() {
    let node = Node::start();
    let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", node.pid())).unwrap();
    let huge = rollup.lines().find_map(|line| line.strip_prefix("AnonHugePages:")).unwrap();
    assert_eq!(huge.trim(), "0 kB", "{rollup}");
}

#[test]
fn a_node_ends_when_it_is_asked_to_and_starts_again_with_what_it_had() {
    let mut node = Node::start();
    let () = node.connect().set("k", "v").unwrap();
    node.terminate();
    assert!(!node.lives());
    node.restart();
    let read: String = node.connect().get("k").unwrap();
    assert_eq!(read, "v");
}

#[test]
fn a_node_that_is_killed_keeps_what_it_acknowledged() {
    let mut node = Node::start();
    let () = node.connect().set("k", "v").unwrap();
    node.kill9();
    node.restart();
    let read: String = node.connect().get("k").unwrap();
    assert_eq!(read, "v");
}

#[test]
fn a_node_that_cannot_start_says_why_and_ends() {
    let node = Node::start();
    let (status, stderr) = Node::builder().data(node.data()).start_in_vain();
    assert!(!status.success());
    assert!(stderr.contains("another node uses"), "{stderr}");
}

#[test]
fn a_node_that_is_told_to_shut_down_ends() {
    let mut node = Node::start();
    node.comet(&["ctl", "shutdown"]);
    eventually(Duration::from_secs(30), "the node has ended", || !node.lives());
}

/// So many clients that connect and say nothing, or those before the first that does not get through.
fn crowd(node: &Node, count: usize) -> Vec<TcpStream> {
    let connect = |_| TcpStream::connect_timeout(&node.resp(), Duration::from_secs(10)).ok();
    (0..count).map_while(connect).collect()
}

/// The first bytes that each is told, up to the first that is told nothing.
fn told(crowd: &mut [TcpStream]) -> Vec<[u8; 4]> {
    let told = crowd.iter_mut().map_while(|client| {
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut bytes = [0; 4];
        client.read_exact(&mut bytes).ok().map(|()| bytes)
    });
    told.collect()
}

#[test]
fn more_clients_than_there_are_files_neither_lock_the_operator_out_nor_stop_writes() {
    let node = Node::builder().ulimit("-n 500").set("storage.journal_mib", 64).start();
    let mut connection = node.connect();
    let mut crowd = crowd(&node, 600);
    let last = crowd.len() - 1;
    assert_eq!(told(&mut crowd[last..]), [*b"-ERR"], "the last of {last} is refused");
    assert!(node.comet(&["ctl", "ps"]).contains("storage"));
    // More than the database keeps in memory, so that it has to make files.
    let mut random = Random::new(7);
    for number in 0..200 {
        let noise: Vec<u8> = (0..1 << 16).flat_map(|_| random.number().to_le_bytes()).collect();
        let () = connection.set(format!("k{number}"), noise).unwrap();
    }
    assert_eq!(node.figure("reader", "Storage", "read_only"), serde_json::Value::Null);
    let stderr = node.stderr();
    assert!(stderr.contains("may open 500 files") && stderr.contains("gateway.max_connections is 10000"), "{stderr}");
}

#[test]
fn a_node_takes_more_clients_than_the_soft_limit_of_open_files_if_the_hard_one_lets_it() {
    let node = Node::builder().ulimit("-Sn 256").start();
    let mut crowd = crowd(&node, 400);
    for client in &mut crowd {
        client.write_all(b"PING\r\n").unwrap();
    }
    assert_eq!(told(&mut crowd), vec![*b"+PON"; 400]);
}

#[test]
fn a_log_that_cannot_be_written_ends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = comet();
    command.args(["--json", "node", "--until-stdin-closes", "--resp", "127.0.0.1:0", "--data"]).arg(folder.path());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(full).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let place: serde_json::Value = serde_json::from_str(&line).expect(&line);
    // What is logged of this is lost.
    let restart = comet().args(["ctl", "restart", "timer", "--data"]).arg(folder.path()).output().unwrap();
    assert!(restart.status.success(), "{restart:?}");
    let mut client = TcpStream::connect(place["resp"].as_str().unwrap()).unwrap();
    client.write_all(b"PING\r\n").unwrap();
    let mut pong = [0; 7];
    client.read_exact(&mut pong).unwrap();
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

/// Ticks of processor time, of which a hundred are a second.
fn worked(node: &Node) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", node.pid())).unwrap();
    let fields = stat.rsplit(')').next().unwrap().split_whitespace();
    fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

#[test]
fn a_client_that_stops_reading_keeps_no_processor_busy() {
    let node = Node::builder().set("gateway.request_timeout_ms", 100).start();
    let mut connection = node.connect();
    for number in 0..40 {
        let () = connection.set(format!("k{number}"), vec![7_u8; 1 << 20]).unwrap();
    }
    let all: Vec<_> = (0..40).map(|number| format!("k{number}")).collect();
    let mut client = TcpStream::connect(node.resp()).unwrap();
    client.write_all(format!("MGET {}\r\n", all.join(" ")).repeat(2).as_bytes()).unwrap();
    client.read_exact(&mut [0; 5]).unwrap();
    let mut before = worked(&node);
    // Far past the time that a request has.
    eventually(Duration::from_secs(30), "the node rests", || {
        // What it takes over a while is looked at, not whether something has come.
        std::thread::sleep(Duration::from_millis(500));
        let spent = worked(&node) - std::mem::replace(&mut before, worked(&node));
        spent < 5
    });
}

#[test]
fn a_node_that_serves_everyone_says_so() {
    let node = Node::builder().set("gateway.listen", "0.0.0.0:0").start();
    let stderr = node.stderr();
    assert!(stderr.contains("WARN") && stderr.contains("gateway.users is empty"), "{stderr}");
    let stderr = Node::start().stderr();
    assert!(!stderr.contains("gateway.users"), "{stderr}");
}

#[test]
fn a_program_is_told_in_one_document_where_a_node_serves() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = comet();
    command.args(["--json", "node", "--until-stdin-closes", "--resp", "127.0.0.1:0", "--p2p", "/ip4/127.0.0.1/tcp/0"]);
    command.arg("--data").arg(folder.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    drop(child.stdin.take());
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert!(child.wait().unwrap().success());
    let place: serde_json::Value = serde_json::from_str(&line).expect(&line);
    assert_eq!(rest, "");
    assert_eq!(place["data"], folder.path().to_str().unwrap());
    assert_eq!(place["socket"], folder.path().join("admin.sock").to_str().unwrap());
    assert!(place["joins_at"][0].as_str().unwrap().starts_with("/ip4/127.0.0.1/tcp/"), "{place}");
    assert!(place["resp"].as_str().unwrap().starts_with("127.0.0.1:"), "{place}");
}

#[test]
fn a_list_of_objects_says_that_there_are_more_only_if_there_are() {
    let node = Node::start();
    let mut connection = node.connect();
    for number in 0..3 {
        let () = connection.set(format!("k{number}"), "v").unwrap();
    }
    let list = |limit: &str| node.comet(&["ctl", "objects", "k*", "--limit", limit]);
    for (limit, shown, more) in [("4", 3, false), ("3", 3, false), ("2", 2, true), ("0", 0, true)] {
        let text = list(limit);
        assert_eq!(text.lines().filter(|line| line.starts_with('k')).count(), shown, "{text}");
        assert_eq!(text.contains(&format!("the first {limit}; --limit shows more")), more, "{text}");
    }
    assert_eq!(node.comet(&["--json", "ctl", "objects", "--limit", "2"]).lines().count(), 2);
}
