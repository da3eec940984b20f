//! Deep pipelines: whatever is sent without waiting behaves as if each command were carried out before the next, as a model
//! of a few lines does it.

#![allow(clippy::unwrap_used, reason = "a test that unwraps in vain fails, as it should")]

use std::collections::HashMap;

use comet_integration::node::Node;
use redis::{Connection, Value};

/// Connections at once, each with keys of its own.
const CONNECTIONS: u64 = 4;
/// Few keys, so that commands on one key follow each other closely.
const KEYS: u64 = 3;
/// Pipelines of each connection.
const PIPELINES: usize = 40;
/// Commands of the longest pipeline.
const DEEPEST: u64 = 400;

/// What one connection's keys hold, by Redis's rules.
#[derive(Debug, Default)]
struct Model {
    values: HashMap<String, String>,
    ends: HashMap<String, bool>,
}

/// Numbers by chance, the same for the same seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % end
    }
}

/// What a command should be answered.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Okay,
    Nothing,
    Text(String),
    Number(i64),
    Error,
}

impl Model {
    /// Carries a command out.
    fn answer(&mut self, words: &[String]) -> Answer {
        let key = &words[1];
        match words[0].as_str() {
            "SET" => {
                self.values.insert(key.clone(), words[2].clone());
                self.ends.insert(key.clone(), words.len() > 3);
                Answer::Okay
            }
            "SETNX" if self.values.contains_key(key) => Answer::Number(0),
            "SETNX" => {
                self.answer(&["SET".to_owned(), key.clone(), words[2].clone()]);
                Answer::Number(1)
            }
            "GET" => self.values.get(key).map_or(Answer::Nothing, |value| Answer::Text(value.clone())),
            "GETDEL" => self.values.remove(key).map_or(Answer::Nothing, Answer::Text),
            "DEL" => Answer::Number(i64::from(self.values.remove(key).is_some())),
            "EXISTS" => Answer::Number(i64::from(self.values.contains_key(key))),
            "STRLEN" => Answer::Number(self.values.get(key).map_or(0, String::len) as i64),
            "EXPIRE" => {
                self.ends.insert(key.clone(), true);
                Answer::Number(i64::from(self.values.contains_key(key)))
            }
            "PERSIST" => {
                let had_one = self.values.contains_key(key) && self.ends.insert(key.clone(), false) == Some(true);
                Answer::Number(i64::from(had_one))
            }
            "INCR" => self.add(key),
            other => unreachable!("{other} is not among the commands"),
        }
    }

    fn add(&mut self, key: &str) -> Answer {
        if !self.values.contains_key(key) {
            self.ends.insert(key.to_owned(), false);
        }
        let present = self.values.get(key).map_or("0", String::as_str);
        let Ok(number) = present.parse::<i64>() else { return Answer::Error };
        self.values.insert(key.to_owned(), (number + 1).to_string());
        Answer::Number(number + 1)
    }
}

fn command(chance: &mut Chance, connection: u64) -> Vec<String> {
    let key = format!("{connection}:{}", chance.below(KEYS));
    let value = match chance.below(3) {
        0 => format!("word-{}", chance.below(1_000)),
        _ => chance.below(1_000_000).to_string(),
    };
    let words: &[&str] = match chance.below(16) {
        0..=2 => &["SET", &key, &value],
        3 => &["SET", &key, &value, "EX", "1000"],
        4 => &["SETNX", &key, &value],
        5..=8 => &["GET", &key],
        9..=10 => &["INCR", &key],
        11 => &["DEL", &key],
        12 => &["EXPIRE", &key, "1000"],
        13 => &["PERSIST", &key],
        14 => &["STRLEN", &key],
        _ => &[["EXISTS", "GETDEL"][chance.below(2) as usize], &key],
    };
    words.iter().map(|&word| word.to_owned()).collect()
}

fn is(answer: &Answer, got: &Value) -> bool {
    match (answer, got) {
        (Answer::Okay, Value::Okay) | (Answer::Nothing, Value::Nil) | (Answer::Error, Value::ServerError(_)) => true,
        (Answer::Text(text), Value::BulkString(bytes)) => text.as_bytes() == bytes,
        (Answer::Number(number), Value::Int(got)) => number == got,
        // A number that was counted keeps its type.
        (Answer::Text(text), Value::Int(got)) => *text == got.to_string(),
        _ => false,
    }
}

/// Sends the commands in one go; their answers in order, errors among them.
fn send(connection: &mut Connection, commands: &[Vec<String>]) -> Vec<Value> {
    let mut pipe = redis::pipe();
    pipe.ignore_errors();
    for words in commands {
        pipe.cmd(&words[0]).arg(&words[1..]);
    }
    pipe.query(connection).unwrap()
}

fn work(node: &Node, number: u64, seed: u64) {
    let (mut chance, mut model) = (Chance(seed ^ (number + 1)), Model::default());
    let mut connection = node.connect();
    for pipeline in 0..PIPELINES {
        let depth = 1 + chance.below(DEEPEST);
        let commands: Vec<_> = (0..depth).map(|_| command(&mut chance, number)).collect();
        let answers = send(&mut connection, &commands);
        assert_eq!(answers.len(), commands.len());
        for (place, (words, got)) in commands.iter().zip(&answers).enumerate() {
            let right = model.answer(words);
            assert!(
                is(&right, got),
                "seed {seed}, connection {number}, pipeline {pipeline}, command {place} of {depth}: {words:?} is {right:?} \
                 and not {got:?}; on this key before it: {:?}",
                commands[..place].iter().filter(|before| before[1] == words[1]).collect::<Vec<_>>()
            );
        }
    }
}

fn behaves_as_the_model(durability: &str) {
    let node = Node::builder().set("storage.durability", durability).set("aso.shards", 2).start();
    for seed in [0x5eed, 0xc0_ffee, 0x1234_5678_9abc] {
        std::thread::scope(|scope| {
            for number in 0..CONNECTIONS {
                let node = &node;
                scope.spawn(move || work(node, number, seed));
            }
        });
        let () = redis::cmd("FLUSHDB").query(&mut node.connect()).unwrap();
    }
}

#[test]
fn pipelines_behave_as_the_model_with_durable_writes() {
    behaves_as_the_model("always");
}

#[test]
fn pipelines_behave_as_the_model_with_writes_behind() {
    behaves_as_the_model("none");
}

#[test]
fn a_get_behind_a_set_of_the_same_pipeline_sees_it() {
    let node = Node::start();
    let mut connection = node.connect();
    for round in 0..20 {
        let mut pipe = redis::pipe();
        for number in 0..500 {
            pipe.set("k", round * 1_000 + number).ignore().get("k");
        }
        let read: Vec<u64> = pipe.query(&mut connection).unwrap();
        assert!(read.into_iter().eq((0..500).map(|number| round * 1_000 + number)));
    }
}

#[test]
fn a_get_behind_a_put_of_an_object_runs_its_handler() {
    let node = Node::start();
    let mut connection = node.connect();
    for round in 0..20 {
        let mut pipe = redis::pipe();
        for number in 0..50 {
            let value = format!("{round}.{number}");
            pipe.set("k", &value).ignore().get("k");
            pipe.cmd("ASO.PUT").arg(&["k", &value, "SCRIPT", "read_counter"]).ignore();
            pipe.cmd("ASO.GET").arg("k").get("k").del("k").exists("k");
        }
        let answers: Vec<Value> = pipe.query(&mut connection).unwrap();
        for (number, answers) in answers.chunks(5).enumerate() {
            let value = Value::BulkString(format!("{round}.{number}").into_bytes());
            let counted = |count| Value::Array(vec![value.clone(), Value::Int(count)]);
            assert_eq!(answers, [value.clone(), counted(1), counted(2), Value::Int(1), Value::Int(0)]);
        }
    }
}
