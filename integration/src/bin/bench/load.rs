//! Loads: putting many objects in quickly, and `redis-benchmark`.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::ops::Range;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};

/// Keys of every workload over many objects.
pub(crate) const KEYS: usize = 100_000;
/// Connections that load at once.
const LOADERS: usize = 4;
/// Commands that a loader sends before it reads the answers.
const BATCH: usize = 1_000;
/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The value of every workload: 100 bytes.
pub(crate) fn value() -> String {
    "v".repeat(100)
}

/// The key of this number, as `redis-benchmark` writes it in the place of `key:__rand_int__`.
pub(crate) fn key(number: usize) -> String {
    format!("key:{number:012}")
}

/// Sends `count` commands, pipelined, over several connections. `words` says the command of each number; its answer must
/// be one line and no error.
pub(crate) fn send(port: u16, count: usize, words: impl Fn(usize) -> Vec<String> + Sync) -> anyhow::Result<()> {
    let share = count.div_ceil(LOADERS);
    std::thread::scope(|scope| {
        let parts = (0..LOADERS).map(|loader| (loader * share).min(count)..((loader + 1) * share).min(count));
        let loaders: Vec<_> = parts.map(|part| scope.spawn(|| send_part(port, part, &words))).collect();
        loaders.into_iter().try_for_each(|loader| loader.join().expect("a loader does not panic"))
    })
}

fn send_part(port: u16, part: Range<usize>, words: impl Fn(usize) -> Vec<String>) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let numbers: Vec<usize> = part.collect();
    for batch in numbers.chunks(BATCH) {
        let mut request = Vec::new();
        for &number in batch {
            encode(&words(number), &mut request);
        }
        stream.write_all(&request)?;
        read_lines(&mut stream, batch.len())?;
    }
    Ok(())
}

fn encode(words: &[String], request: &mut Vec<u8>) {
    request.extend(format!("*{}\r\n", words.len()).bytes());
    for word in words {
        request.extend(format!("${}\r\n{word}\r\n", word.len()).bytes());
    }
}

fn read_lines(stream: &mut TcpStream, lines: usize) -> anyhow::Result<()> {
    let (mut answers, mut part) = (Vec::new(), [0; 16 << 10]);
    let mut ends = 0;
    while ends < lines {
        let read = stream.read(&mut part)?;
        if read == 0 {
            bail!("the server hung up");
        }
        ends += part[..read].split(|byte| *byte == b'\n').count() - 1;
        answers.extend_from_slice(&part[..read]);
    }
    let answers = String::from_utf8_lossy(&answers);
    answers.lines().find(|line| line.starts_with('-')).map_or(Ok(()), |error| bail!("while loading: {error}"))
}

/// A load of `redis-benchmark`: 50 clients, random keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load<'a> {
    /// How many requests.
    pub(crate) requests: usize,
    /// How many a client sends before it reads the answers.
    pub(crate) pipeline: usize,
    /// The command; `__rand_int__` stands for a random number.
    pub(crate) words: &'a [&'a str],
}

impl Load<'_> {
    /// Requests a second.
    pub(crate) fn rate(&self, port: u16) -> anyhow::Result<f64> {
        let Load { requests, pipeline, words } = *self;
        let numbers = [("-p", usize::from(port)), ("-n", requests), ("-P", pipeline), ("-r", KEYS)];
        let mut command = Command::new("redis-benchmark");
        command.args(["-h", "127.0.0.1", "-c", "50", "--csv"]);
        for (flag, number) in numbers {
            command.args([flag, &number.to_string()]);
        }
        let output = command.args(words).output().context("redis-benchmark cannot be run; is it installed?")?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            bail!("redis-benchmark {words:?}: {} {}", text.trim(), String::from_utf8_lossy(&output.stderr).trim());
        }
        let rate = text.lines().last().and_then(|line| line.rsplit("\",\"").nth(6)?.parse().ok());
        rate.with_context(|| format!("redis-benchmark printed {text:?}"))
    }
}
