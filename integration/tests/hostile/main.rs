//! Every hostile script against one whole node: the verdict, the time, the memory, the neighbours. Those that are about
//! copies from other nodes have a node of a network for their victim, whose neighbour hands the copies over.
//!
//! The node's processor account is wide open, so that it does not answer for the sandbox; quarantine is as it is by
//! default, because some cases are about it. What is slow is run again, twice at most: a machine that was busy with
//! something else cannot be told from an overrun by one look, and an overrun comes back.

#![allow(clippy::unwrap_used, reason = "a test that unwraps in vain fails, as it should")]

mod driver;
mod line;
mod neighbour;

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use comet_integration::corpus::{self, Case, Observed, Op, Verdict};
use comet_integration::node::{self, Node};
use comet_integration::wait::eventually;
use comet_kernel::contract::admin::{Answer, Command};
use serde_json::Value as Json;

use self::driver::{Driver, Run};
use self::neighbour::Neighbour;

/// The most that the node's resident memory may grow in one case.
const GROWTH: u64 = 16 << 20;
/// By how much the resident memory may differ after a thousand runs: what the allocator and the database's caches do by
/// themselves. Four kilobytes left behind by each run would show.
const FLAT: u64 = 4 << 20;
/// How often a case is run before it counts as too slow.
const TRIES: usize = 3;

fn start() -> Node {
    Node::builder().set("aso.cpu_share_ms", 1_000).set("storage.durability", "none").start()
}

#[test]
fn every_hostile_script_gets_its_verdict_and_harms_nobody() {
    let cases: Vec<Case> =
        corpus::all().into_iter().filter(|case| !case.needs_network() && !case.needs_timer()).collect();
    let node = start();
    let ended = Ended::follow(&node);
    let mut driver = Driver::new(&node);
    let problems: Vec<String> = cases.iter().flat_map(|case| judge(&mut driver, case)).collect();
    assert!(problems.is_empty(), "{} problems in {} cases:\n{}", problems.len(), cases.len(), problems.join("\n"));
    assert_unharmed(&node, ended);
}

#[test]
fn every_hostile_copy_gets_its_verdict_and_harms_nobody() {
    let cases: Vec<Case> = corpus::all().into_iter().filter(Case::needs_network).collect();
    assert!(cases.len() >= 11, "{} cases", cases.len());
    let node = Node::builder()
        .set("aso.cpu_share_ms", 1_000)
        .set("storage.durability", "none")
        .set("network.listen", "/ip4/127.0.0.1/tcp/0")
        // Both nodes hold everything; what the one under attack has is enough for a put.
        .set("dht.replication", 2)
        .set("dht.write_quorum", 1)
        .start();
    let ended = Ended::follow(&node);
    let neighbour = Neighbour::of(&node);
    eventually(Duration::from_secs(30), "the two are a network", || {
        let Ok(Answer::Network(status)) = node.ask(Command::Network) else { return false };
        status.known == 2 && status.settled
    });
    let mut driver = Driver::in_network(&node, neighbour);
    let problems: Vec<String> = cases.iter().flat_map(|case| judge(&mut driver, case)).collect();
    assert!(problems.is_empty(), "{} problems in {} cases:\n{}", problems.len(), cases.len(), problems.join("\n"));
    drop(driver);
    assert_unharmed(&node, ended);
}

#[test]
fn every_hostile_timer_gets_its_verdict_and_harms_nobody() {
    let cases: Vec<Case> = corpus::all().into_iter().filter(Case::needs_timer).collect();
    let node = start();
    let ended = Ended::follow(&node);
    // Each waits for seconds: all at once, each on connections of its own.
    let problems: Vec<String> = std::thread::scope(|scope| {
        let mut driver = Driver::new(&node);
        let alone = |case| look_again(|| of_run(&Driver::beside(&node).run(case), case));
        let threads: Vec<_> = cases.iter().map(|case| scope.spawn(move || alone(case))).collect();
        let problems = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        let told: Vec<_> = (0..TRIES).map_while(|_| driver.neighbours()).collect();
        assert!(told.len() < TRIES, "{told:?}");
        problems
    });
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert_unharmed(&node, ended);
}

#[test]
fn a_thousand_runs_of_one_script_leave_the_memory_flat() {
    const SAMPLE: usize = 24;
    let node = start();
    let mut driver = Driver::new(&node);
    // Those that take long end by a budget; they have their turn in the mixed runs.
    let quick = |case: &Case, driver: &mut Driver<'_>| {
        let run = driver.run(case);
        run.wall < Duration::from_millis(5) && !matches!(run.verdict, Observed::Parked)
    };
    let cases = corpus::all().into_iter().filter(|case| case.drive == [Op::Get] && !case.may_park());
    let quick: Vec<Case> = cases.filter(|case| quick(case, &mut driver)).collect();
    assert!(!quick.is_empty(), "no case is quick");
    for case in quick.iter().step_by((quick.len() / SAMPLE).max(1)) {
        driver.hammer(case, 100);
        let mut grew = Vec::new();
        // What the node does by itself may grow once; a leak goes on.
        while grew.len() < TRIES && grew.iter().all(|growth| *growth >= FLAT) {
            let warm = node.rss();
            driver.hammer(case, 1_000);
            grew.push(node.rss().saturating_sub(warm));
        }
        assert!(grew.iter().any(|growth| *growth < FLAT), "{}: resident memory grew by {grew:?}", case.name);
        driver.settle();
    }
}

#[test]
fn a_thousand_runs_leave_the_memory_flat() {
    const SAMPLE: usize = 50;
    const ROUNDS: usize = 20;
    let cases: Vec<Case> = corpus::all();
    let calm = |case: &&Case| !case.needs_network() && !case.needs_timer() && !case.clean && case.repeat < 10;
    let cases: Vec<&Case> = cases.iter().filter(calm).collect();
    let sample: Vec<&Case> = cases.iter().step_by(cases.len() / SAMPLE).copied().take(SAMPLE).collect();
    let node = start();
    let mut driver = Driver::new(&node);
    let mut round = || {
        for case in &sample {
            driver.run(case);
        }
        driver.settle();
        assert_eq!(driver.neighbours(), None);
        node.rss()
    };
    // The first rounds fill caches and the allocator's pages.
    let warm = (0..ROUNDS / 4).map(|_| round()).max().expect("there are some");
    let last = (0..ROUNDS * 3 / 4).map(|_| round()).last().expect("there are some");
    assert!(last < warm + FLAT, "resident memory grew from {warm} to {last} bytes");
}

/// What is wrong with a case and with its neighbours afterwards.
fn judge(driver: &mut Driver<'_>, case: &Case) -> Vec<String> {
    look_again(|| {
        let (mut problems, grown) = of_run(&driver.run(case), case);
        problems.extend(driver.neighbours().map(|problem| format!("{}: neighbour {problem}", case.name)));
        (problems, grown)
    })
}

/// What is wrong with a run, and whether memory grew too much in it.
fn of_run(run: &Run, case: &Case) -> (Vec<String>, bool) {
    (wrong(run, case), run.growth > GROWTH)
}

/// Looks as often as it takes to know, and says what is wrong. What has grown is there already at the next look.
fn look_again(mut look: impl FnMut() -> (Vec<String>, bool)) -> Vec<String> {
    let mut problems = Vec::new();
    for _ in 0..TRIES {
        let grown;
        (problems, grown) = look();
        if problems.is_empty() || grown {
            break;
        }
        println!("tried again: {}", problems.join("; "));
    }
    problems
}

fn wrong(run: &Run, case: &Case) -> Vec<String> {
    let mut problems = Vec::new();
    let mut note = |problem: String| problems.push(format!("{}: {problem}", case.name));
    if !is_right(&run.verdict, &case.expect) {
        note(format!("observed {}; expected {:?}", run.verdict, case.expect));
    }
    let refused = run.verdict.is_bad_script();
    if let (Some(after), Some(expected)) = (&run.after, &case.after)
        && !refused
        && !is_right(after, expected)
    {
        note(format!("observed {after} afterwards; expected {expected:?}"));
    }
    if run.wall > Duration::from_millis(case.wall_ms) {
        note(format!("took {:?}", run.wall));
    }
    if run.growth > GROWTH {
        note(format!("memory grew by {} KiB", run.growth >> 10));
    }
    for text in &run.dirt {
        note(format!("shows {:?}", text.chars().take(200).collect::<String>()));
    }
    problems
}

fn is_right(observed: &Observed, expected: &[Verdict]) -> bool {
    // A debug build runs scripts several times slower, so that the time may be up before another budget is.
    let slow = cfg!(debug_assertions) && *observed == Observed::error("BUDGET time");
    let budget = |verdict: &Verdict| matches!(verdict, Verdict::Error { word, .. } if word == "BUDGET");
    expected.iter().any(|verdict| verdict.allows(observed) || (slow && budget(verdict)))
}

/// Every actor runs, none has been restarted, and none ended but as it should.
fn assert_unharmed(node: &Node, ended: Ended) {
    let mut actors = 0;
    for line in node.comet(&["ctl", "ps", "--json"]).lines() {
        let actor: Json = serde_json::from_str(line).unwrap();
        assert_eq!((&actor["restarts"], &actor["status"]), (&Json::from(0), &Json::from("running")), "{line}");
        actors += 1;
    }
    assert!(actors >= 8, "{actors} actors");
    let ended = ended.stop(node);
    assert!(ended.is_empty(), "actors ended: {ended:#?}");
    assert!(!node.stderr().contains("panicked"), "{}", node.stderr());
}

/// Actors that end while a test runs, told by the node's events.
struct Ended {
    child: std::process::Child,
    lines: std::sync::mpsc::Receiver<String>,
}

impl Ended {
    fn follow(node: &Node) -> Ended {
        let mut command = node::comet();
        command.args(["ctl", "events", "--json", "--data"]).arg(node.data());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = sync_channel(10_000);
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _the_test_is_over = sender.send(line);
            }
        });
        let ended = Ended { child, lines };
        // Whoever follows hears what happens from now on: something has to happen until it hears.
        eventually(Duration::from_secs(30), "events are followed", || {
            load(node, "begun");
            ended.lines.recv_timeout(Duration::from_millis(100)).is_ok()
        });
        ended
    }

    /// What ended until now.
    fn stop(mut self, node: &Node) -> Vec<String> {
        load(node, "over");
        let mut heard = Vec::new();
        while !heard.last().is_some_and(|line: &String| line.contains("\"over\"")) {
            heard.push(self.lines.recv_timeout(Duration::from_secs(30)).expect("every event is told"));
        }
        let _ended = self.child.kill();
        let _status = self.child.wait();
        assert!(!heard.iter().any(|line| line.contains("\"missed\"")), "events were missed");
        heard.retain(|line| ["\"ended\"", "\"escalated\""].iter().any(|kind| line.contains(kind)));
        heard
    }
}

/// Makes something happen that the events tell of.
fn load(node: &Node, name: &str) {
    // Another source each time: to load what is loaded already is no event.
    static LOADED: AtomicUsize = AtomicUsize::new(0);
    let source = format!("fn onGet() {{ {} }}", LOADED.fetch_add(1, Ordering::Relaxed));
    let mut command = redis::cmd("ASO.SCRIPT");
    let () = command.arg("LOAD").arg(name).arg(source).query(&mut node.connect()).unwrap();
}
