//! Rates beside Redis's: the same load in turn, medians of several rounds.

use std::path::Path;

use tempfile::TempDir;

use crate::Bench;
use crate::load::{KEYS, Load, key, send, value};
use crate::report::{Row, median};
use crate::server::Server;

/// What Redis runs in the place of the scripts.
const FUNCTIONS: &str = "#!lua name=bench
redis.register_function('hello', function(keys, args) return 'hello' end)
redis.register_function('count', function(keys, args)
  local count = redis.call('HINCRBY', keys[1], 'count', 1)
  return {redis.call('HGET', keys[1], 'value'), count}
end)";
/// The object that answers the same without a look at itself.
const HELLO: &str = "fn onGet() { \"hello\" }";
/// Redis without any persistence.
const VOLATILE: &[&str] = &["--appendonly", "no"];

/// Both servers, side by side.
struct Pair {
    comet: Server,
    redis: Server,
    _folder: TempDir,
}

/// A load for each of the two that does the same.
struct Workload<'a> {
    what: &'a str,
    pipeline: usize,
    comet: &'a [&'a str],
    redis: &'a [&'a str],
    target: Option<f64>,
}

impl Pair {
    fn start(bench: &Bench, settings: &[&str], redis: &[&str]) -> anyhow::Result<Self> {
        let folder = TempDir::with_prefix("comet-bench-")?;
        let comet = Server::comet(bench, &folder.path().join("comet"), settings)?;
        let redis = Server::redis(made(&folder.path().join("redis"))?, redis)?;
        Ok(Pair { comet, redis, _folder: folder })
    }

    /// The medians of several rounds. Each server is the first in every other round.
    fn compare(&self, bench: &Bench, workload: &Workload<'_>, requests: usize) -> anyhow::Result<Row> {
        let load = |words| Load { requests, pipeline: workload.pipeline, words };
        let (comet, redis) = (load(workload.comet), load(workload.redis));
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for round in 0..if bench.quick { 3 } else { 5 } {
            if round % 2 == 0 {
                ours.push(comet.rate(self.comet.port())?);
            }
            theirs.push(redis.rate(self.redis.port())?);
            if round % 2 == 1 {
                ours.push(comet.rate(self.comet.port())?);
            }
        }
        Ok(Row::ratio(workload.what, median(&mut ours), median(&mut theirs), workload.target))
    }

    fn compare_all(&self, bench: &Bench, workloads: &[Workload<'_>]) -> anyhow::Result<Vec<Row>> {
        let requests = |pipeline| match (bench.quick, pipeline) {
            (true, 1) => 50_000,
            (true, _) => 200_000,
            (false, 1) => 200_000,
            (false, _) => 1_000_000,
        };
        workloads.iter().map(|workload| self.compare(bench, workload, requests(workload.pipeline))).collect()
    }
}

fn made(folder: &Path) -> std::io::Result<&Path> {
    std::fs::create_dir_all(folder)?;
    Ok(folder)
}

/// Comet beside a Redis that never writes to the disk: it flushes every ten seconds, and promises nothing.
const FORGETFUL: [&str; 2] = ["storage.durability=none", "storage.flush_interval_ms=10000"];

/// Plain values.
pub(crate) fn plain(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let pair = Pair::start(bench, &FORGETFUL, VOLATILE)?;
    let value = value();
    for server in [&pair.comet, &pair.redis] {
        send(server.port(), KEYS, |number| words(&["SET", &key(number), &value]))?;
    }
    let get: &[&str] = &["GET", "key:__rand_int__"];
    let set: &[&str] = &["SET", "key:__rand_int__", &value];
    let workload = |what, pipeline, words, target| Workload { what, pipeline, comet: words, redis: words, target };
    pair.compare_all(
        bench,
        &[
            workload("GET", 1, get, Some(1.0)),
            workload("SET", 1, set, Some(1.0)),
            workload("GET, pipeline 16", 16, get, Some(0.8)),
            workload("SET, pipeline 16", 16, set, None),
        ],
    )
}

/// Objects whose handler does nothing but answer.
pub(crate) fn hello(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    // One object that has all the load to itself would soon use up the share of the processor that one may have.
    let pair = Pair::start(bench, &[&FORGETFUL[..], &["aso.cpu_share_ms=1000"]].concat(), VOLATILE)?;
    load_functions(&pair.redis)?;
    let load = words(&["ASO.SCRIPT", "LOAD", "hello", HELLO]);
    let () = redis::cmd(&load[0]).arg(&load[1..]).query(&mut pair.comet.connect()?)?;
    let put = |key: &str| words(&["ASO.PUT", key, &value(), "SCRIPT", "hello"]);
    send(pair.comet.port(), 1, |_| put("one"))?;
    send(pair.comet.port(), KEYS, |number| put(&key(number)))?;
    let one: &[&str] = &["GET", "one"];
    let many: &[&str] = &["GET", "key:__rand_int__"];
    let call: &[&str] = &["FCALL", "hello", "1", "one"];
    let call_many: &[&str] = &["FCALL", "hello", "1", "key:__rand_int__"];
    let workload = |what, pipeline, comet, redis, target| Workload { what, pipeline, comet, redis, target };
    pair.compare_all(
        bench,
        &[
            workload("hello, one object", 1, one, call, None),
            workload("hello, one object, pipeline 16", 16, one, call, Some(1.0)),
            workload("hello, 100,000 objects", 1, many, call_many, None),
            workload("hello, 100,000 objects, pipeline 16", 16, many, call_many, Some(1.0)),
        ],
    )
}

/// Objects that count their reads.
pub(crate) fn counter(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let pair = Pair::start(bench, &FORGETFUL, VOLATILE)?;
    load_functions(&pair.redis)?;
    let value = value();
    let put = |number| words(&["ASO.PUT", &key(number), &value, "SCRIPT", "read_counter"]);
    send(pair.comet.port(), KEYS, put)?;
    send(pair.redis.port(), KEYS, |number| words(&["HSET", &key(number), "value", &value]))?;
    let get: &[&str] = &["GET", "key:__rand_int__"];
    let call: &[&str] = &["FCALL", "count", "1", "key:__rand_int__"];
    let workload = |what, pipeline, target| Workload { what, pipeline, comet: get, redis: call, target };
    pair.compare_all(
        bench,
        &[
            workload("read counter, 100,000 objects", 1, Some(1.0)),
            workload("read counter, 100,000 objects, pipeline 16", 16, Some(2.0)),
        ],
    )
}

/// Writes that survive the loss of power.
pub(crate) fn durable(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let redis = ["--appendonly", "yes", "--appendfsync", "always"];
    let pair = Pair::start(bench, &["storage.durability=always"], &redis)?;
    let value = value();
    let set: &[&str] = &["SET", "key:__rand_int__", &value];
    let requests = if bench.quick { 10_000 } else { 50_000 };
    let workload = |what, pipeline, target| Workload { what, pipeline, comet: set, redis: set, target };
    let workloads = [workload("durable SET", 1, Some(1.0)), workload("durable SET, pipeline 16", 16, None)];
    workloads.iter().map(|workload| pair.compare(bench, workload, requests)).collect()
}

fn load_functions(redis: &Server) -> anyhow::Result<()> {
    let _name: String = redis::cmd("FUNCTION").arg(&["LOAD", "REPLACE", FUNCTIONS]).query(&mut redis.connect()?)?;
    Ok(())
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}
