//! `kill -9` in the middle of everything, again and again: what was acknowledged is there afterwards, what was not is there
//! whole or not at all, and timers go on.

#![allow(clippy::unwrap_used, reason = "a test that unwraps in vain fails, as it should")]

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use comet_integration::node::Node;
use comet_integration::wait::{eventually, look};
use redis::{Commands as _, Connection, RedisResult};

/// Times that the node is killed.
const CRASHES: usize = 50;
/// Clients at once, each with keys of its own.
const CLIENTS: usize = 4;
/// Keys of each client, for each kind of write.
const KEYS: u64 = 12;
/// Acknowledged writes between a start and a kill, at least.
const WRITES: u64 = 150;
const PATIENCE: Duration = Duration::from_secs(60);

const TICKER: &str = "
let ticks = 0;
fn onPut() { comet.setTimer(1); }
fn onTimer() { this.ticks += 1; }
fn onGet() { this.ticks }
";

/// What is under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Absent,
    Text(String),
    Number(i64),
    /// A read counter's value.
    Object(String),
}

/// A client that keeps account of what it was told.
struct Client {
    name: usize,
    seed: u64,
    /// What may be under each key: one state, or two if a write was under way when the node died.
    possible: HashMap<String, Vec<State>>,
}

impl Client {
    fn new(name: usize) -> Self {
        Client { name, seed: 0x9e37_79b9_7f4a_7c15 ^ (name as u64 + 1), possible: HashMap::new() }
    }

    fn random(&mut self, below: u64) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        (self.seed >> 16) % below
    }

    /// Writes until the node dies.
    fn write(&mut self, mut connection: Connection, acknowledged: &AtomicU64) {
        while self.write_once(&mut connection) {
            acknowledged.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One write; whether it was acknowledged.
    fn write_once(&mut self, connection: &mut Connection) -> bool {
        let (kind, number, text) = (self.random(4), self.random(KEYS), format!("{:x}", self.random(u64::MAX)));
        let key = format!("{}:{kind}:{number}", self.name);
        let known = self.possible.entry(key.clone()).or_insert_with(|| vec![State::Absent]);
        let [present] = &known[..] else { panic!("{key} was looked at after the last crash: {known:?}") };
        let removes = *present != State::Absent && self.seed.is_multiple_of(4);
        let next = match (kind, present) {
            _ if removes => State::Absent,
            (0, State::Number(count)) => State::Number(count + 1),
            (0, _) => State::Number(1),
            (1, _) => State::Object(text),
            _ => State::Text(text),
        };
        let result = carry_out(connection, &key, &next);
        self.possible.get_mut(&key).expect("it has just been made").push(next.clone());
        match result {
            Ok(()) => {
                self.possible.insert(key, vec![next]);
                true
            }
            Err(error) if error.is_io_error() || error.is_connection_dropped() => false,
            Err(error) => panic!("{key}: {error}"),
        }
    }

    /// Compares the node with what it told.
    fn check(&mut self, connection: &mut Connection) {
        for (key, possible) in &mut self.possible {
            let found = look_up(connection, key);
            assert!(possible.contains(&found), "{key} is {found:?}; it may be {possible:?}");
            *possible = vec![found];
        }
    }
}

fn carry_out(connection: &mut Connection, key: &str, next: &State) -> RedisResult<()> {
    match next {
        State::Absent => connection.del(key),
        State::Text(text) => connection.set(key, text),
        State::Number(_) => connection.incr(key, 1),
        State::Object(text) => redis::cmd("ASO.PUT").arg(&[key, text, "SCRIPT", "read_counter"]).query(connection),
    }
}

fn look_up(connection: &mut Connection, key: &str) -> State {
    let kind = key.split(':').nth(1).expect("keys are written so");
    match kind {
        "0" => connection.get::<_, Option<i64>>(key).unwrap().map_or(State::Absent, State::Number),
        "1" => {
            let answer: Option<(String, u64)> = connection.get(key).unwrap();
            answer.map_or(State::Absent, |(value, _count)| State::Object(value))
        }
        _ => connection.get::<_, Option<String>>(key).unwrap().map_or(State::Absent, State::Text),
    }
}

fn ticks(connection: &mut Connection) -> u64 {
    connection.get("ticker").unwrap()
}

#[test]
fn fifty_kills_in_the_middle_of_writes_lose_nothing_that_was_acknowledged() {
    let mut node = Node::builder().set("log.filter", "warn").start();
    let mut clients: Vec<Client> = (0..CLIENTS).map(Client::new).collect();
    let put = ["ASO.PUT", "ticker", "v", "SOURCE", TICKER];
    let () = redis::cmd(put[0]).arg(&put[1..]).query(&mut node.connect()).unwrap();
    for crash in 0..CRASHES {
        let () = node.connect().set_ex(format!("short:{crash}"), "v", 1).unwrap();
        let acknowledged = AtomicU64::new(0);
        // The moment of the kill wanders through the node's work.
        let enough = WRITES + (crash as u64 * 37) % 100;
        std::thread::scope(|scope| {
            for client in &mut clients {
                let connection = node.connect();
                scope.spawn(|| client.write(connection, &acknowledged));
            }
            let reached = look(PATIENCE, || (acknowledged.load(Ordering::Relaxed) >= enough).then_some(()));
            node.kill9();
            assert!(reached.is_some(), "the node takes writes after crash {crash}");
        });
        node.restart();
        let mut connection = node.connect();
        for client in &mut clients {
            client.check(&mut connection);
        }
    }
    assert_eq!(node.figure("storage/writer", "Storage", "unreadable"), 0);
    let mut connection = node.connect();
    let before = ticks(&mut connection);
    eventually(PATIENCE, "the timer fires", || ticks(&mut connection) > before);
    eventually(PATIENCE, "what was to live a second has ended", || {
        connection.scan_match::<_, String>("short:*").unwrap().next().is_none()
    });
}

#[test]
fn a_count_of_objects_is_right_after_a_crash() {
    let mut node = Node::start();
    let mut connection = node.connect();
    for number in 0..300 {
        let () = connection.set(format!("k{number}"), "v").unwrap();
        if number % 3 == 0 {
            let () = connection.del(format!("k{number}")).unwrap();
        }
    }
    node.kill9();
    node.restart();
    let mut connection = node.connect();
    let counted: u64 = redis::cmd("DBSIZE").query(&mut connection).unwrap();
    let found = connection.scan::<String>().unwrap().count();
    assert_eq!((counted, found), (200, 200));
}
