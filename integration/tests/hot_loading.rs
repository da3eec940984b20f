//! Scripts that change under objects in use: no read is lost and no state, a bad version goes by itself, a broken one never
//! comes.

#![allow(clippy::unwrap_used, reason = "a test that unwraps in vain fails, as it should")]

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use comet_integration::node::{Node, comet};
use comet_integration::wait::{eventually, look};
use redis::{Commands as _, Connection};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);
/// Objects that are read while their script changes.
const OBJECTS: usize = 10_000;
/// Clients that read them, each its own part.
const READERS: usize = 2;

/// A script that counts its reads and says which version it is.
fn version(number: u64) -> String {
    format!("let reads = 0;\nfn onGet() {{ this.reads += 1; [{number}, this.reads] }}\n")
}

/// A file with a script, for the command line.
struct Script(PathBuf, #[expect(dead_code, reason = "removes the folder when it is dropped")] TempDir);

impl Script {
    fn new(name: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join(name).with_extension("rhai");
        Script(path, folder)
    }

    fn load(&self, node: &Node, name: &str, source: &str) {
        std::fs::write(&self.0, source).unwrap();
        let told = node.comet(&["script", "load", name, self.path()]);
        assert!(told.starts_with(&format!("{name} is ")), "{told}");
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

fn put(connection: &mut Connection, key: &str, script: &str, more: &[&str]) {
    let () = redis::cmd("ASO.PUT").arg(&[key, "v", "SCRIPT", script]).arg(more).query(connection).unwrap();
}

/// The version that answers, and how many reads it has counted.
fn read(connection: &mut Connection, key: &str) -> (u64, u64) {
    connection.get(key).unwrap()
}

#[test]
fn objects_that_are_read_at_full_speed_lose_no_read_and_no_state_when_their_script_is_loaded_again() {
    let node = Node::builder().set("storage.durability", "none").start();
    let script = Script::new("tally");
    script.load(&node, "tally", &version(1));
    let mut pipe = redis::pipe();
    for number in 0..OBJECTS {
        pipe.cmd("ASO.PUT").arg(&[format!("o{number}"), "v".into(), "SCRIPT".into(), "tally".into()]).ignore();
    }
    let () = pipe.query(&mut node.connect()).unwrap();

    let stop = AtomicBool::new(false);
    let (rounds, loaded) = (AtomicU64::new(0), AtomicU64::new(1));
    std::thread::scope(|scope| {
        for reader in 0..READERS {
            let (node, stop, rounds, loaded) = (&node, &stop, &rounds, &loaded);
            scope.spawn(move || read_on(node, reader, stop, rounds, loaded));
        }
        let further = |rounds_to_come: u64| {
            let before = rounds.load(Ordering::Relaxed);
            let reached = || rounds.load(Ordering::Relaxed) >= before + rounds_to_come;
            look(PATIENCE, || (stop.load(Ordering::Relaxed) || reached()).then_some(())).expect("reading goes on");
        };
        for number in 2..=6 {
            further(READERS as u64);
            script.load(&node, "tally", &version(number));
            loaded.store(number, Ordering::SeqCst);
        }
        further(2 * READERS as u64);
        stop.store(true, Ordering::Relaxed);
    });
}

/// Reads a part of the objects, round after round: each count follows the one before, and once a version has been loaded
/// no read sees an earlier one.
fn read_on(node: &Node, reader: usize, stop: &AtomicBool, rounds: &AtomicU64, loaded: &AtomicU64) {
    let own: Vec<usize> = (0..OBJECTS).filter(|number| number % READERS == reader).collect();
    let mut connection = node.connect();
    let mut round = 0;
    while !stop.load(Ordering::Relaxed) {
        round += 1;
        for part in own.chunks(500) {
            let at_least = loaded.load(Ordering::SeqCst);
            let mut pipe = redis::pipe();
            for number in part {
                pipe.get(format!("o{number}"));
            }
            let answers: Vec<(u64, u64)> = pipe.query(&mut connection).unwrap_or_else(|error| {
                stop.store(true, Ordering::Relaxed);
                panic!("a read was lost: {error}");
            });
            for (number, (version, reads)) in part.iter().zip(answers) {
                if reads != round || version < at_least {
                    stop.store(true, Ordering::Relaxed);
                    panic!("o{number}: version {version} counts {reads} in round {round}; {at_least} was loaded");
                }
            }
        }
        rounds.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_version_that_fails_too_often_is_rolled_back_by_itself_and_the_operator_is_told() {
    let node = Node::start();
    let script = Script::new("tally");
    script.load(&node, "tally", &version(1));
    let mut connection = node.connect();
    for number in 0..50 {
        put(&mut connection, &format!("o{number}"), "tally", &[]);
        assert_eq!(read(&mut connection, &format!("o{number}")), (1, 1));
    }
    let events = Events::follow(&node);
    script.load(&node, "tally", "let reads = 0;\nfn onGet() { this.reads += 1; [2, this.reads / 0] }");
    let mut failures = 0;
    let one_after_the_other = (0..50).cycle();
    let back = one_after_the_other.take(5_000).any(|number| {
        let answer = connection.get::<_, (u64, u64)>(format!("o{number}"));
        failures += usize::from(answer.is_err());
        answer.is_ok()
    });
    assert!(back && failures > 10, "after {failures} failures");
    let shown = node.comet(&["script", "show", "tally"]);
    assert!(shown.contains("[1, this.reads]"), "{shown}");
    eventually(PATIENCE, "every object is back, with the state it had", || {
        (0..50).all(|number| read(&mut connection, &format!("o{number}")).0 == 1)
    });
    events.tell("tally", "rolled back to version");
}

/// `comet ctl events`, read as it writes.
struct Events {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Events {
    fn follow(node: &Node) -> Self {
        let mut command = comet();
        command.args(["ctl", "events", "--count", "1000", "--json"]).env("COMET_DATA", node.data());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut events = Events { child, lines };
        // What happens before the command follows is not told: something is made to happen until it is.
        std::thread::scope(|scope| {
            let heard = scope.spawn(|| events.next());
            let made_to_happen = || node.comet(&["ctl", "resume", "timer"]);
            eventually(PATIENCE, "events are told", || heard.is_finished() || made_to_happen().is_empty());
            assert!(!heard.join().unwrap().is_empty());
        });
        events
    }

    fn next(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line
    }

    /// Reads until an event about `subject` says this.
    fn tell(mut self, subject: &str, text: &str) {
        loop {
            let line = self.next();
            assert!(!line.is_empty(), "the events ended without telling of {subject}: {text}");
            if line.contains(subject) && line.contains(text) {
                return;
            }
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
fn a_broken_version_is_refused_with_its_place_and_the_good_one_stays() {
    let node = Node::start();
    let script = Script::new("tally");
    script.load(&node, "tally", &version(1));
    let mut connection = node.connect();
    put(&mut connection, "o", "tally", &[]);
    for broken in ["let reads = 0;\nfn onGet() { [2, this.reads\n", "let reads = 0;\nprint(1);\n"] {
        std::fs::write(script.path(), broken).unwrap();
        let output = node.try_comet(&["script", "load", "tally", script.path()]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains("tally:2:") || error.contains("tally:3:"), "{error}");
    }
    assert_eq!(read(&mut connection, "o"), (1, 1));
    script.load(&node, "tally", &version(2));
    assert_eq!(read(&mut connection, "o"), (2, 2));
}

#[test]
fn a_file_saved_in_the_watched_folder_is_soon_live() {
    let folder = TempDir::new().unwrap();
    let save = |source: &str| {
        // As editors do it: written beside, then renamed.
        let draft = folder.path().join("watched.draft");
        std::fs::write(&draft, source).unwrap();
        std::fs::rename(draft, folder.path().join("watched.rhai")).unwrap();
    };
    save(&version(1));
    let node = Node::builder().set("scripts.dir", folder.path().display()).start();
    let mut connection = node.connect();
    put(&mut connection, "o", "watched", &[]);
    let mut reads = 1;
    assert_eq!(read(&mut connection, "o"), (1, reads));
    for number in 2..=4 {
        save(&version(number));
        // How soon it must be is shown on a clock that no busy machine delays, where objects are hosted.
        eventually(PATIENCE, "the saved version answers", || {
            reads += 1;
            let (version, counted) = read(&mut connection, "o");
            assert_eq!(counted, reads, "no state is lost");
            version == number
        });
    }
    save("fn onGet() { oops");
    eventually(PATIENCE, "the broken file is reported", || node.stderr().contains("watched:1:"));
    assert_eq!(read(&mut connection, "o"), (4, reads + 1));
    std::fs::remove_file(folder.path().join("watched.rhai")).unwrap();
    save(&version(5));
    eventually(PATIENCE, "a file that was removed and saved again is live", || read(&mut connection, "o").0 == 5);
}

#[test]
fn pinned_objects_stay_where_they_are_and_the_others_follow_back_and_forth() {
    let mut node = Node::start();
    let script = Script::new("tally");
    script.load(&node, "tally", &version(1));
    let mut connection = node.connect();
    put(&mut connection, "follows", "tally", &[]);
    put(&mut connection, "pinned", "tally", &["PIN"]);
    let info: serde_json::Value = serde_json::from_str(&node.comet(&["info", "follows", "--json"])).unwrap();
    put(&mut connection, "by-hash", info["hash"].as_str().unwrap(), &[]);
    let all = |connection: &mut Connection| ["follows", "pinned", "by-hash"].map(|key| read(connection, key).0);
    assert_eq!(all(&mut connection), [1, 1, 1]);
    script.load(&node, "tally", &version(2));
    assert_eq!(all(&mut connection), [2, 1, 1]);
    script.load(&node, "tally", &version(3));
    assert_eq!(all(&mut connection), [3, 1, 1]);
    node.comet(&["script", "rollback", "tally"]);
    assert_eq!(all(&mut connection), [2, 1, 1]);
    node.terminate();
    node.restart();
    let mut connection = node.connect();
    assert_eq!(all(&mut connection), [2, 1, 1], "names and pins outlast a restart");
    node.comet(&["script", "rollback", "tally"]);
    let refused = node.try_comet(&["script", "rollback", "tally"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("no former version"), "{refused:?}");
    assert_eq!(all(&mut connection), [1, 1, 1]);
    assert_eq!(read(&mut connection, "follows"), (1, 7), "every read was counted through all versions");
}

#[test]
fn a_dropped_name_is_gone_and_its_objects_go_on_with_what_they_have() {
    let node = Node::start();
    let script = Script::new("tally");
    script.load(&node, "tally", &version(1));
    let mut connection = node.connect();
    put(&mut connection, "o", "tally", &[]);
    assert_eq!(read(&mut connection, "o"), (1, 1));
    node.comet(&["script", "drop", "tally"]);
    assert_eq!(read(&mut connection, "o"), (1, 2));
    let refused = redis::cmd("ASO.PUT").arg(&["new", "v", "SCRIPT", "tally"]).query::<()>(&mut connection);
    assert_eq!(refused.unwrap_err().code(), Some("NOSCRIPT"));
    assert!(!node.comet(&["script", "list"]).contains("tally"));

    // A built-in name that was replaced and is dropped comes back as it was built in.
    script.load(&node, "read_counter", &version(9));
    put(&mut connection, "c", "read_counter", &[]);
    assert_eq!(read(&mut connection, "c"), (9, 1));
    node.comet(&["script", "drop", "read_counter"]);
    put(&mut connection, "d", "read_counter", &[]);
    assert_eq!(connection.get::<_, (String, u64)>("d").unwrap(), ("v".to_owned(), 1));
}

#[test]
fn a_whole_folder_is_loaded_as_far_as_it_can_be() {
    let node = Node::start();
    let folder = TempDir::new().unwrap();
    let write = |name: &str, source: &str| std::fs::write(Path::new(folder.path()).join(name), source).unwrap();
    write("a.rhai", &version(1));
    write("b.rhai", "fn onGet( {");
    write("c.rhai", &version(3));
    let output = node.try_comet(&["script", "load", "--all", folder.path().to_str().unwrap(), "--json"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("1 of 3 scripts"), "{output:?}");
    let listed = node.comet(&["script", "list", "--json"]);
    let names: BTreeSet<String> = listed
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["name"].as_str().unwrap().to_owned())
        .collect();
    assert!(names.contains("a") && names.contains("c") && !names.contains("b"), "{names:?}");
}
