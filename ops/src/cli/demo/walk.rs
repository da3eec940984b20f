//! The walk through three objects: each command as a person would type it, and what the node answers.

use std::fmt::Write as _;
use std::time::Duration;

use redis::{RedisError, Value};
use serde_json::json;

use super::End;
use super::cluster::Cluster;
use super::interrupt::Interrupt;
use crate::cli::json as documents;
use crate::cli::output::Output;

/// How long a node may take over an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The time between two commands: a glance.
const GLANCE: Duration = Duration::from_millis(50);

/// Shows three objects, each on more than one node.
pub(super) fn walk(cluster: &mut Cluster, interrupt: &Interrupt, output: &mut Output) -> Result<(), End> {
    let last = cluster.members.len();
    let mut guide = Guide { cluster, interrupt, output };
    guide.says(
        "1. An object that counts its reads. It is put through one node and read through others; each node that",
    )?;
    guide.says("   holds a copy counts the reads that it served itself.")?;
    guide.asks(1, &["ASO.PUT", "greet", "Hello world!", "SCRIPT", "read_counter"])?;
    guide.asks(2, &["GET", "greet"])?;
    guide.asks(2, &["GET", "greet"])?;
    guide.asks(last, &["GET", "greet"])?;
    guide.says("2. An object that answers whoever knows its password, on every node.")?;
    guide.asks(
        2,
        &[
            "ASO.PUT",
            "safe",
            r#"{"secret":"the comet returns in 2061","password":"sesame"}"#,
            "JSON",
            "SCRIPT",
            "password",
        ],
    )?;
    guide.asks(1, &["GET", "safe"])?;
    guide.asks(last, &["ASO.GET", "safe", "sesame"])?;
    guide.says("3. A value that outlives the node which took it.")?;
    guide.asks(last, &["SET", "note", "still here"])?;
    guide.asks(1, &["ASO.GET", "note", "ANSWERS", "2"])?;
    guide.kills(last)?;
    guide.asks(1, &["GET", "note"])
}

struct Guide<'a> {
    cluster: &'a mut Cluster,
    interrupt: &'a Interrupt,
    output: &'a mut Output,
}

impl Guide<'_> {
    fn says(&mut self, text: &str) -> Result<(), End> {
        if !self.output.json {
            self.output.line(text)?;
        }
        Ok(())
    }

    /// Asks a node, and shows the command and the answer.
    fn asks(&mut self, node: usize, words: &[&str]) -> Result<(), End> {
        self.interrupt.pause(GLANCE)?;
        let port = self.cluster.members[node - 1].resp.port();
        let answer = ask(port, words);
        if self.output.json {
            let answer = answer.map_or_else(|error| json!({ "error": told(&error) }), |value| documents::reply(&value));
            return Ok(self.output.json(&json!({ "node": node, "command": words, "answer": answer }))?);
        }
        let words: Vec<_> = words.iter().map(|word| quoted(word)).collect();
        self.output.line(&format!("   $ redis-cli -p {port} {}", words.join(" ")))?;
        let text = answer.map_or_else(|error| format!("(error) {}", told(&error)), |value| shown(&value, 0));
        Ok(text.lines().try_for_each(|line| self.output.line(&format!("   {line}")))?)
    }

    /// Kills a node.
    fn kills(&mut self, node: usize) -> Result<(), End> {
        self.interrupt.pause(GLANCE)?;
        let id = self.cluster.members[node - 1].kill();
        if self.output.json {
            return Ok(self.output.json(&json!({ "node": node, "killed": id }))?);
        }
        Ok(self.output.line(&format!("   $ kill -9 {id}          # node {node} is gone"))?)
    }
}

fn ask(port: u16, words: &[&str]) -> Result<Value, RedisError> {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}/"))?;
    let mut connection = client.get_connection_with_timeout(PATIENCE)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    let mut command = redis::cmd(words[0]);
    words[1..].iter().for_each(|word| {
        command.arg(word);
    });
    command.query(&mut connection)
}

/// An error as the node said it.
fn told(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(word), Some(detail)) => format!("{word} {detail}"),
        _ => error.to_string(),
    }
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    if word.chars().all(plain) { word.to_owned() } else { format!("'{word}'") }
}

/// An answer as `redis-cli` shows it.
fn shown(value: &Value, depth: usize) -> String {
    match value {
        Value::Nil => "(nil)".to_owned(),
        Value::Int(number) => format!("(integer) {number}"),
        Value::Array(items) if items.is_empty() => "(empty array)".to_owned(),
        Value::Array(items) => items.iter().enumerate().fold(String::new(), |mut text, (place, item)| {
            // The first line stands behind the number of what it is part of.
            let indent = if place == 0 { String::new() } else { "   ".repeat(depth) };
            let _infallible = writeln!(text, "{indent}{}) {}", place + 1, shown(item, depth + 1).trim_end());
            text
        }),
        Value::BulkString(_) => format!("{:?}", documents::words(value)),
        other => documents::words(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_look_as_redis_cli_shows_them() {
        let text = |text: &str| Value::BulkString(text.into());
        assert_eq!(shown(&Value::Nil, 0), "(nil)");
        assert_eq!(shown(&text("a\"b"), 0), "\"a\\\"b\"");
        let nested = Value::Array(vec![Value::Array(vec![text("x"), Value::Int(1)]), Value::Okay]);
        assert_eq!(shown(&nested, 0), "1) 1) \"x\"\n   2) (integer) 1\n2) OK\n");
    }

    #[test]
    fn a_word_that_a_shell_would_take_apart_is_quoted() {
        assert_eq!((quoted("read_counter").as_str(), quoted("a b").as_str()), ("read_counter", "'a b'"));
    }
}
