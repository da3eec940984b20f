//! A whole node under supervision: it answers its operator when it answers nobody else, and whatever actor is stopped,
//! restarted or held back under load, nothing acknowledged is lost.

#![allow(clippy::unwrap_used, reason = "a test that unwraps in vain fails, as it should")]

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use comet_admin::Client;
use comet_integration::node::{Builder, Node};
use comet_integration::wait::{eventually, look};
use comet_kernel::Clock;
use comet_kernel::contract::admin::{Answer, Command};
use redis::{Commands as _, Connection};

const PATIENCE: Duration = Duration::from_secs(60);
const ENDLESS: &str = "fn onGet() { loop { } }";

fn put(connection: &mut Connection, key: &str, how: &str, script: &str) {
    let () = redis::cmd("ASO.PUT").arg(&[key, "v", how, script]).query(connection).unwrap();
}

/// What a read counter answers: how often it was read.
fn count(connection: &mut Connection, key: &str) -> u64 {
    let (_value, count): (String, u64) = connection.get(key).unwrap();
    count
}

#[test]
fn the_admin_socket_answers_within_100_ms_while_every_shard_is_blocked() {
    const BLOCKERS: usize = 8;
    let node = Node::builder().set("aso.cpu_ms", 1_000).set("aso.operations", 10_000_000).set("aso.shards", 2).start();
    let mut connection = node.connect();
    for number in 0..BLOCKERS * 4 {
        put(&mut connection, &format!("endless:{number}"), "SOURCE", ENDLESS);
    }
    let stop = AtomicBool::new(false);
    let waits = std::thread::scope(|scope| {
        for blocker in 0..BLOCKERS {
            let (node, stop) = (&node, &stop);
            scope.spawn(move || {
                let mut connection = node.connect();
                for number in (0..4).cycle().take_while(|_| !stop.load(Ordering::Relaxed)) {
                    let _ended = connection.get::<_, String>(format!("endless:{}", blocker * 4 + number));
                }
            });
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let waits = runtime.block_on(ask_the_admin(&node));
        stop.store(true, Ordering::Relaxed);
        waits
    });
    let late = waits.iter().filter(|wait| **wait > Duration::from_millis(100)).count();
    // A machine that is busy with something else may delay one or two.
    assert!(late * 10 < waits.len(), "{late} of {} answers were late: {waits:?}", waits.len());
}

/// How long answers of the admin actor take.
async fn ask_the_admin(node: &Node) -> Vec<Duration> {
    let clock = Clock::machine();
    let mut waits = Vec::new();
    for _ in 0..30 {
        for command in [Command::Actors, Command::Inspect { path: "node/store/aso/shard-0".to_owned() }] {
            let before = clock.now();
            let mut client = Client::connect(&node.socket()).await.unwrap();
            let answer = client.ask(command).await.unwrap();
            waits.push(clock.now().since(before));
            assert!(matches!(answer, Answer::Actors(_) | Answer::Actor(..)), "{answer:?}");
        }
        clock.sleep(Duration::from_millis(20)).await;
    }
    waits
}

/// What one client was told, and what it was not told.
#[derive(Debug, Default)]
struct Account {
    acknowledged: u64,
    open: u64,
    written: Option<u64>,
    counted: u64,
}

/// A connection as soon as the gateway takes one.
fn connect_patiently(node: &Node) -> Connection {
    look(PATIENCE, || node.client().get_connection().ok()).expect("the gateway comes back")
}

/// Writes and reads on keys of its own until it is told to stop. Tells when the first round is done.
fn work(node: &Node, name: usize, stop: &AtomicBool, started: &Barrier) -> Account {
    let mut account = Account::default();
    let mut connection = node.connect();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        match connection.incr::<_, _, u64>(format!("count:{name}"), 1) {
            Ok(_) => account.acknowledged += 1,
            Err(_) => account.open += 1,
        }
        if connection.set::<_, _, ()>(format!("latest:{name}"), number).is_ok() {
            account.written = Some(number);
        }
        match connection.get::<_, (String, u64)>(format!("reads:{name}")) {
            Ok((_, count)) => {
                assert!(count > account.counted, "a count of reads goes up: {count} after {}", account.counted);
                account.counted = count;
            }
            Err(error) if error.is_io_error() || error.is_connection_dropped() => connection = connect_patiently(node),
            Err(_) => {}
        }
        if number == 1 {
            started.wait();
        }
    }
    account
}

/// Has clients work while `trouble` is made; nothing that they were told may be untrue afterwards.
fn lose_nothing(node: &Node, trouble: impl FnOnce()) {
    const CLIENTS: usize = 3;
    let mut connection = connect_patiently(node);
    for name in 0..CLIENTS {
        let () = connection.del(format!("count:{name}")).unwrap();
        put(&mut connection, &format!("reads:{name}"), "SCRIPT", "read_counter");
    }
    let (stop, started) = (AtomicBool::new(false), Barrier::new(CLIENTS + 1));
    let accounts: Vec<Account> = std::thread::scope(|scope| {
        let (stop, started) = (&stop, &started);
        let start = |name| scope.spawn(move || work(node, name, stop, started));
        let clients: Vec<_> = (0..CLIENTS).map(start).collect();
        started.wait();
        let made = catch_unwind(AssertUnwindSafe(trouble));
        stop.store(true, Ordering::Relaxed);
        let accounts = clients.into_iter().map(|client| client.join().unwrap()).collect();
        made.unwrap_or_else(|panic| resume_unwind(panic));
        accounts
    });
    let mut connection = connect_patiently(node);
    for (name, account) in accounts.iter().enumerate() {
        let counted: Option<u64> = connection.get(format!("count:{name}")).unwrap();
        let possible = account.acknowledged..=account.acknowledged + account.open;
        assert!(possible.contains(&counted.unwrap_or(0)), "{counted:?} counted: {account:?}");
        let latest: Option<u64> = connection.get(format!("latest:{name}")).unwrap();
        assert!(latest >= account.written, "{latest:?} is the latest: {account:?}");
        assert!(count(&mut connection, &format!("reads:{name}")) > account.counted, "{account:?}");
        assert!(account.acknowledged > 0, "the clients got something done: {account:?}");
    }
}

/// The paths of all actors that are no supervisors.
fn actors(node: &Node) -> Vec<String> {
    let listed = node.comet(&["ctl", "ps", "--json"]);
    let rows = listed.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let actors = rows.filter(|row| row["supervisor"] == false);
    actors.map(|row| row["path"].as_str().unwrap().to_owned()).collect()
}

fn all_run(node: &Node) -> bool {
    let listed = node.try_comet(&["ctl", "ps", "--json"]);
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    let mut rows = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    listed.status.success() && rows.all(|row| row["status"] == "running")
}

#[test]
fn any_actor_can_be_restarted_under_load_and_nothing_acknowledged_is_lost() {
    let node = Node::start();
    let actors = actors(&node);
    assert!(actors.len() >= 8, "{actors:?}");
    for actor in actors {
        lose_nothing(&node, || {
            for _ in 0..2 {
                let output = node.try_comet(&["ctl", "restart", &actor]);
                // Who restarts the admin actor takes away what would answer.
                assert!(output.status.success() || actor.ends_with("/admin"), "{actor}: {output:?}");
                eventually(PATIENCE, &format!("all run after a restart of {actor}"), || all_run(&node));
            }
        });
    }
    for supervisor in ["node/store/storage", "node/store/aso", "node/store"] {
        lose_nothing(&node, || {
            node.comet(&["ctl", "restart", supervisor]);
            eventually(PATIENCE, &format!("all run after a restart of {supervisor}"), || all_run(&node));
        });
    }
}

#[test]
fn any_actor_can_be_held_back_under_load_and_nothing_acknowledged_is_lost() {
    let node = Node::start();
    for actor in actors(&node).into_iter().filter(|actor| !actor.ends_with("/admin")) {
        lose_nothing(&node, || {
            node.comet(&["ctl", "suspend", &actor]);
            assert!(node.comet(&["ctl", "tree"]).contains("suspended"), "the tree shows that {actor} is held back");
            // Long enough for every client to run into it.
            let _looked = look(Duration::from_millis(300), || None::<()>);
            node.comet(&["ctl", "resume", &actor]);
            eventually(PATIENCE, &format!("{actor} goes on"), || all_run(&node));
        });
    }
}

/// Gets an object until its handler has run out of a budget so many times; other refusals do not count.
fn exhaust(connection: &mut Connection, key: &str, times: usize) {
    for _ in 0..times {
        let code = look(PATIENCE, || {
            let error = connection.get::<_, String>(key).expect_err("the handler never returns");
            error.code().filter(|code| *code != "LIMITED").map(str::to_owned)
        });
        assert_eq!(code.as_deref(), Some("BUDGET"));
    }
}

#[test]
fn five_failures_turn_the_handlers_of_an_object_off_until_the_operator_releases_it() {
    let mut node = Node::start();
    let mut connection = node.connect();
    put(&mut connection, "endless", "SOURCE", ENDLESS);
    put(&mut connection, "other", "SCRIPT", "read_counter");
    exhaust(&mut connection, "endless", 5);
    assert_eq!(connection.get::<_, String>("endless").unwrap(), "v", "a plain get of the value works");
    let refused = connection.set::<_, _, ()>("endless", "w").unwrap_err();
    assert_eq!(refused.code(), Some("QUARANTINED"), "{refused}");
    assert_eq!(count(&mut connection, "other"), 1, "nobody else is touched");
    // The list is read from the disk, which follows what handlers do within the flush interval.
    eventually(PATIENCE, "the operator sees it", || node.comet(&["ctl", "quarantine"]).contains("endless"));
    assert!(!node.comet(&["ctl", "quarantine"]).contains("other"));

    node.kill9();
    node.restart();
    let mut connection = node.connect();
    assert_eq!(connection.get::<_, String>("endless").unwrap(), "v", "a restart does not release it");
    node.comet(&["ctl", "release", "endless"]);
    exhaust(&mut connection, "endless", 1);
    node.comet(&["ctl", "isolate", "endless"]);
    assert_eq!(connection.get::<_, String>("endless").unwrap(), "v", "the operator may do it too");
}

#[test]
fn under_interval_an_acknowledged_write_outlives_the_process_and_under_none_an_orderly_end() {
    let mut node = Node::builder().set("storage.durability", "interval").start();
    let mut connection = node.connect();
    put(&mut connection, "page", "SCRIPT", "read_counter");
    for number in 0..200 {
        let () = connection.set(format!("k{number}"), number).unwrap();
    }
    node.kill9();
    node.restart();
    let mut connection = node.connect();
    for number in 0..200 {
        assert_eq!(connection.get::<_, u32>(format!("k{number}")).unwrap(), number);
    }
    assert_eq!(count(&mut connection, "page"), 1);

    let mut node = Node::builder().set("storage.durability", "none").start();
    let mut connection = node.connect();
    for number in 0..200 {
        let () = connection.set(format!("k{number}"), number).unwrap();
    }
    node.terminate();
    node.restart();
    let mut connection = node.connect();
    for number in 0..200 {
        assert_eq!(connection.get::<_, u32>(format!("k{number}")).unwrap(), number);
        let () = connection.set(format!("k{number}"), "later").unwrap();
    }
    node.kill9();
    node.restart();
    let mut connection = node.connect();
    for number in 0..200 {
        let read: String = connection.get(format!("k{number}")).unwrap();
        assert!(read == "later" || read == number.to_string(), "one of the two is there, and whole: {read}");
    }
    assert_eq!(node.figure("writer", "Storage", "unreadable"), 0);
}

/// In pipelines: what `words` say of each object.
fn for_all<T: redis::FromRedisValue>(
    connection: &mut Connection,
    objects: usize,
    words: impl Fn(usize) -> Vec<String>,
) -> Vec<T> {
    let numbers: Vec<usize> = (0..objects).collect();
    let parts = numbers.chunks(1_000).flat_map(|part| {
        let mut pipe = redis::pipe();
        for &number in part {
            let words = words(number);
            pipe.cmd(&words[0]).arg(&words[1..]);
        }
        pipe.query::<Vec<T>>(connection).unwrap()
    });
    parts.collect()
}

#[test]
fn more_objects_than_fit_into_memory_leave_it_and_come_back_with_their_state() {
    const OBJECTS: usize = 100_000;
    let node = Node::builder().set("storage.durability", "none").set("aso.memory_mib", 16).start();
    let mut connection = node.connect();
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    let put = |number| words(&["ASO.PUT", &format!("o{number}"), "v", "SCRIPT", "read_counter"]);
    let get = |number| words(&["GET", &format!("o{number}")]);
    let stored: Vec<String> = for_all(&mut connection, OBJECTS, put);
    assert!(stored.iter().all(|answer| answer == "OK"));
    node.forget_peak();
    for round in 1..=2 {
        let answers: Vec<(String, u64)> = for_all(&mut connection, OBJECTS, get);
        let wrong = answers.iter().position(|(value, count)| value != "v" || *count != round);
        assert_eq!(wrong.map(|at| (at, &answers[at])), None, "in round {round}");
    }
    let resident = node.peak_rss() >> 20;
    assert!(resident < 200, "{resident} MiB for a memory of 16 MiB");
    eventually(PATIENCE, "what is in memory fits into it", || {
        node.figure("aso", "Memory", "bytes").as_u64().unwrap() <= 16 << 20
    });
}

#[test]
fn a_node_that_is_asked_to_end_writes_out_what_handlers_changed_and_ends_with_0() {
    const OBJECTS: usize = 200;
    // So long that only the end of the node writes.
    let builder: Builder = Node::builder().set("storage.flush_interval_ms", 60_000);
    let mut node = builder.start();
    let mut connection = node.connect();
    for number in 0..OBJECTS {
        put(&mut connection, &format!("o{number}"), "SCRIPT", "read_counter");
    }
    for round in 1..=3 {
        for number in 0..OBJECTS {
            assert_eq!(count(&mut connection, &format!("o{number}")), round);
        }
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let mut busy = node.connect();
        // Under load, too.
        let stop = &stop;
        scope.spawn(move || while !stop.load(Ordering::Relaxed) && busy.incr::<_, _, u64>("busy", 1).is_ok() {});
        node.terminate();
        stop.store(true, Ordering::Relaxed);
    });
    node.restart();
    let mut connection = node.connect();
    for number in 0..OBJECTS {
        assert_eq!(count(&mut connection, &format!("o{number}")), 4, "o{number}");
    }
}

#[test]
fn another_user_is_refused_at_the_admin_socket_even_if_its_file_lets_it_in() {
    const NOBODY: u32 = 65_534;
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root, to ask as another user");
        return;
    }
    let node = Node::start();
    let socket = node.socket();
    assert_eq!(socket.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    // Only this thread becomes another user, and it ends with its question.
    let ask = || {
        rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(NOBODY)).unwrap();
        node.ask(Command::Actors).expect_err("it is refused")
    };
    let refusal = || std::thread::scope(|scope| scope.spawn(ask).join().unwrap());
    let open = |path: &std::path::Path| std::fs::set_permissions(path, Permissions::from_mode(0o777)).unwrap();
    socket.ancestors().skip(1).take(2).for_each(open);
    assert!(refusal().contains("Permission denied"), "the file keeps others out");
    open(&socket);
    let refused = refusal();
    assert!(refused.contains(&format!("user {NOBODY} may not administer the node")), "{refused}");
    assert!(node.ask(Command::Actors).is_ok(), "its own user is served");
}
