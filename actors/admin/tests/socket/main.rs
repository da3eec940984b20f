//! The admin actor as its clients meet it: through the socket.
#![expect(clippy::unwrap_used, reason = "a step that fails ends the test there")]

mod node;

use std::sync::atomic::Ordering;
use std::time::Duration;

use comet_admin::{Client, ClientError};
use comet_kernel::clock::UnixMillis;
use comet_kernel::contract::admin::{Answer, Command, Figures, Frame, Hello, ObjectRow};
use comet_kernel::contract::aso::{Call, Op};
use comet_kernel::directory::Asked;
use comet_kernel::events::{Event, Kind};
use comet_kernel::registry::Action;
use comet_kernel::{Clock, Request, Value, limits};
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use self::node::{Node, key};

fn run(test: impl Future<Output = ()>) {
    actix::System::new().block_on(test);
}

async fn objects(node: &Node, command: Command) -> Vec<ObjectRow> {
    let mut client = node.client().await;
    client.send(command).await.unwrap();
    let mut all = Vec::new();
    loop {
        match client.next().await.unwrap() {
            Answer::Objects(page) => all.extend(page.rows),
            Answer::End => return all,
            other => panic!("{other:?}"),
        }
    }
}

fn list(pattern: Option<&str>, limit: u64) -> Command {
    Command::Objects { pattern: pattern.map(str::to_owned), limit }
}

fn path(path: &str) -> String {
    path.to_owned()
}

/// Events of one kind that have happened since the receiver began to follow.
fn happened(events: &mut tokio::sync::broadcast::Receiver<Event>, kind: Kind) -> Vec<(String, String)> {
    std::iter::from_fn(|| events.try_recv().ok())
        .filter(|event| event.kind == kind)
        .map(|event| (event.subject, event.text))
        .collect()
}

#[test]
fn the_tree_and_every_actor_are_shown_within_100_ms_while_the_shard_is_blocked() {
    run(async {
        let node = Node::start().await;
        node.block.set(true);
        let now = node.kernel.clock.now();
        let caller = std::sync::Arc::new(comet_kernel::Caller::node(&comet_kernel::NodeId::from_public_key(&[1; 32])));
        let op = Op::Get { payload: Value::Nil };
        let call = Call { key: key("x"), request: Request::until(now), caller, op, stamp: None };
        let Asked::Later(get) = node.aso.directory.ask(call, now, false) else { panic!("the shard took no call") };
        for command in [
            Command::Actors,
            Command::Inspect { path: path("comet/aso") },
            Command::Inspect { path: path("comet/storage") },
        ] {
            // A machine that is busy with something else delays one or the other, and not most.
            let mut waits = Vec::new();
            for _ in 0..9 {
                let began = node.kernel.clock.now();
                let answer = node.ask(command.clone()).await;
                waits.push(node.kernel.clock.now().since(began));
                assert!(matches!(answer, Answer::Actors(_) | Answer::Actor(..)), "{answer:?}");
            }
            waits.sort();
            assert!(waits[waits.len() / 2] < Duration::from_millis(100), "{command:?} took {waits:?}");
        }
        node.block.set(false);
        get.await.unwrap().unwrap();
    });
}

#[test]
fn an_actor_shows_its_own_figures_and_one_that_is_silent_is_said_to_be() {
    run(async {
        let node = Node::start().await;
        let (row, figures) = node.figures("comet/storage").await;
        assert_eq!((row.path.as_str(), row.status.as_str()), ("comet/storage", "running"));
        assert!(matches!(&figures[..], [Figures::Storage(status)] if status.objects == 203), "{figures:?}");
        let Answer::Done = node.ask(Command::Suspend { path: path("comet/storage") }).await else { panic!() };
        let Answer::Actor(row, figures) = node.ask(Command::Inspect { path: path("comet/storage") }).await else {
            panic!("no actor");
        };
        assert_eq!(row.status, "suspended");
        assert!(matches!(&figures[..], [Figures::Silent(_)]), "{figures:?}");
        assert_eq!(node.ask(Command::Resume { path: path("comet/storage") }).await, Answer::Done);
        let answer = node.ask(Command::Inspect { path: path("comet/stories") }).await;
        assert!(matches!(&answer, Answer::Refused(text) if text.contains("comet ctl tree")), "{answer:?}");
    });
}

#[test]
fn every_change_is_on_record_with_the_user_who_made_it() {
    run(async {
        let node = Node::start().await;
        let mut events = node.kernel.events.follow();
        let user = rustix::process::geteuid().as_raw();
        assert_eq!(node.ask(Command::Restart { path: path("comet/library") }).await, Answer::Done);
        assert!(matches!(node.ask(Command::Suspend { path: path("comet") }).await, Answer::Refused(_)));
        assert_eq!(node.ask(Command::Isolate { key: key("active:1") }).await, Answer::Done);
        assert!(matches!(node.ask(Command::Object { key: key("active:1") }).await, Answer::Object(..)));
        let audit = happened(&mut events, Kind::Audit);
        let begun = |verb: &str, subject: &str| (subject.to_owned(), format!("{verb} by user {user}"));
        assert_eq!(audit[..2], [begun("restart", "comet/library"), begun("suspend", "comet")]);
        assert!(audit[2].1.contains("failed: comet is a supervisor"), "{audit:?}");
        assert_eq!(audit[3..], [begun("isolate", "active:1")]);
    });
}

#[test]
fn a_restart_of_the_admin_actor_is_answered_through_its_own_socket() {
    run(async {
        let node = Node::start().await;
        let mut client = node.client().await;
        assert_eq!(client.ask(Command::Restart { path: path("comet/admin") }).await.unwrap(), Answer::Done);
        assert!(matches!(client.ask(Command::Actors).await, Err(ClientError::HungUp | ClientError::Wire(_))));
        assert!(matches!(node.ask(Command::Actors).await, Answer::Actors(_)));
        // Storage stands before everything else, which is restarted with it.
        assert_eq!(node.ask(Command::Restart { path: path("comet/storage") }).await, Answer::Done);
        assert!(matches!(node.ask(Command::Actors).await, Answer::Actors(_)));
    });
}

#[test]
fn a_socket_that_cannot_be_opened_again_ends_nothing_and_is_opened_once_it_can() {
    run(async {
        let node = Node::start().await;
        let mut client = node.client().await;
        std::fs::remove_file(&node.socket).unwrap();
        std::fs::write(&node.socket, "precious").unwrap();
        assert_eq!(client.ask(Command::Restart { path: path("comet/admin") }).await.unwrap(), Answer::Done);
        let running = || node.kernel.registry.find("comet/admin").unwrap().status.to_string();
        assert_eq!((running().as_str(), std::fs::read(&node.socket).unwrap()), ("running", b"precious".to_vec()));
        std::fs::remove_file(&node.socket).unwrap();
        let deadline = node.kernel.clock.now() + Duration::from_secs(20);
        let mut again = Client::connect(&node.socket).await;
        while again.is_err() && node.kernel.clock.now() < deadline {
            node.kernel.clock.sleep(Duration::from_millis(20)).await;
            again = Client::connect(&node.socket).await;
        }
        assert!(matches!(again.unwrap().ask(Command::Actors).await, Ok(Answer::Actors(_))));
    });
}

#[test]
fn a_node_of_a_network_tells_about_it() {
    run(async {
        let node = Node::networked().await;
        assert!(matches!(node.ask(Command::Peers).await, Answer::Peers(peers) if peers[0].id == "other"));
        assert!(matches!(node.ask(Command::Buckets).await, Answer::Buckets(buckets) if buckets[0].shared_bits == 3));
        assert!(matches!(node.ask(Command::LookUp { key: key("k") }).await, Answer::Path(path) if path.took_us == 1));
        assert!(matches!(node.ask(Command::Network).await, Answer::Network(status) if status.known == 2));
        let mut events = node.kernel.events.follow();
        assert_eq!(node.ask(Command::Replicate).await, Answer::Done);
        assert_eq!(happened(&mut events, Kind::Audit).len(), 1, "it is work that somebody asked for");
        let (_, figures) = node.figures("comet/routing").await;
        assert!(matches!(&figures[..], [Figures::Network(status)] if status.known == 2), "{figures:?}");
    });
}

#[test]
fn a_node_that_is_alone_says_how_it_would_not_be() {
    run(async {
        let node = Node::start().await;
        let look_up = Command::LookUp { key: key("k") };
        for command in [Command::Peers, Command::Buckets, look_up, Command::Network, Command::Replicate] {
            let answer = node.ask(command).await;
            assert!(matches!(&answer, Answer::Refused(text) if text.contains("--p2p")), "{answer:?}");
        }
    });
}

#[test]
fn objects_are_listed_page_by_page_by_pattern_and_up_to_a_limit() {
    run(async {
        let node = Node::start().await;
        let all = objects(&node, list(None, u64::MAX)).await;
        assert_eq!(all.len(), 202, "all but the one whose life has ended");
        assert_eq!(objects(&node, list(Some("plain:?9*"), u64::MAX)).await.len(), 20);
        assert_eq!(objects(&node, list(Some("plain:*"), 70)).await.len(), 70);
        assert_eq!(objects(&node, list(None, 0)).await, []);
        let active = &objects(&node, list(Some("active:1"), 9)).await[0];
        assert_eq!(
            (active.script.as_deref(), active.timer_seconds, active.quarantined),
            (Some("clock"), Some(5), false)
        );
        let long = "*".repeat(limits::PATTERN_BYTES + 1);
        assert!(matches!(node.ask(list(Some(&long), 1)).await, Answer::Refused(_)));
    });
}

#[test]
fn pages_tell_how_far_the_search_has_come() {
    run(async {
        let node = Node::start().await;
        let mut client = node.client().await;
        client.send(list(Some("nothing"), 1)).await.unwrap();
        let mut last = (0, 0);
        while let Answer::Objects(page) = client.next().await.unwrap() {
            assert!(page.scanned > last.0 && page.rows.is_empty());
            last = (page.scanned, page.total);
        }
        assert_eq!(last, (203, 203));
    });
}

#[test]
fn the_quarantine_shows_objects_whose_handlers_are_off() {
    run(async {
        let node = Node::start().await;
        let keys: Vec<_> = objects(&node, Command::Quarantine).await.into_iter().map(|row| row.key).collect();
        assert_eq!(keys, [key("active:2")]);
    });
}

#[test]
fn an_object_is_shown_isolated_and_released() {
    run(async {
        let node = Node::start().await;
        let Answer::Object(info, log) = node.ask(Command::Object { key: key("active:1") }).await else { panic!() };
        assert!(!info.quarantined);
        assert_eq!(log, ["first", "second"]);
        for _ in 0..2 {
            assert_eq!(node.ask(Command::Isolate { key: key("active:1") }).await, Answer::Done);
        }
        let Answer::Object(info, _) = node.ask(Command::Object { key: key("active:1") }).await else { panic!() };
        assert!(info.quarantined);
        assert_eq!(node.ask(Command::Release { key: key("active:1") }).await, Answer::Done);
        for (name, reason) in
            [("plain:000", "has no handlers"), ("nobody", "no object nobody"), ("ill", "handlers are")]
        {
            let answer = node.ask(Command::Release { key: key(name) }).await;
            assert!(matches!(&answer, Answer::Refused(text) if text.contains(reason)), "{answer:?}");
        }
    });
}

#[test]
fn an_object_that_does_not_answer_is_given_up_after_a_while() {
    run(async {
        let node = Node::with(Clock::manual(UnixMillis(1_000)), 8).await;
        let mut client = node.client().await;
        client.send(Command::Object { key: key("stuck") }).await.unwrap();
        let clock = node.kernel.clock.clone();
        // Small steps, so that the supervisor's probes are not late for their own deadline.
        let moving = tokio::spawn(async move {
            loop {
                clock.advance(Duration::from_millis(50));
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        let answer = client.next().await.unwrap();
        moving.abort();
        assert!(matches!(&answer, Answer::Unavailable(text) if text.contains("within 5 s")), "{answer:?}");
    });
}

#[test]
fn events_are_followed_until_the_next_request() {
    run(async {
        let node = Node::start().await;
        let mut client = node.client().await;
        client.send(Command::Events).await.unwrap();
        // The command may arrive after the first of these.
        let kernel = node.kernel.clone();
        let telling = tokio::spawn(async move {
            loop {
                kernel.events.publish(Kind::Script, "greeter", "loaded");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        let Answer::Event(event) = client.next().await.unwrap() else { panic!("no event") };
        assert_eq!((event.kind, event.subject.as_str()), (Kind::Script, "greeter"));
        let answer = client.ask(Command::Actors).await.unwrap();
        assert!(matches!(answer, Answer::Actors(_)), "{answer:?}");
        telling.abort();
    });
}

#[test]
fn a_follower_that_takes_nothing_costs_a_bounded_backlog_and_is_told_what_it_missed() {
    run(async {
        let node = Node::start().await;
        let mut client = node.client().await;
        client.send(Command::Events).await.unwrap();
        let text = "x".repeat(1_000);
        let mut missed = None;
        while missed.is_none() {
            (0..5_000).for_each(|_| node.kernel.events.publish(Kind::Started, "actor", text.clone()));
            for _ in 0..5_000 {
                let next = tokio::time::timeout(Duration::from_millis(200), client.next()).await;
                match next {
                    Ok(Ok(Answer::Missed(count))) => missed = Some(count),
                    Ok(Ok(Answer::Event(_))) => {}
                    Ok(other) => panic!("{other:?}"),
                    // Nothing more is on its way.
                    Err(_) => break,
                }
                if missed.is_some() {
                    break;
                }
            }
        }
        assert!(missed.is_some_and(|count| count > 0));
    });
}

#[test]
fn scripts_are_loaded_listed_shown_and_dropped() {
    run(async {
        let node = Node::start().await;
        let name = || "greeter".to_owned();
        let load = Command::LoadScript { name: name(), source: "fn onGet() { 1 }".to_owned() };
        assert!(matches!(node.ask(load).await, Answer::Hash(hash) if hash.len() == 64));
        assert!(matches!(node.ask(Command::ListScripts).await, Answer::Scripts(all) if all.len() == 1));
        let answer = node.ask(Command::ShowScript { name: name() }).await;
        assert!(matches!(answer, Answer::Scripts(one) if one[0].source.as_deref() == Some("fn onGet() { 1 }")));
        let answer = node.ask(Command::RollbackScript { name: name() }).await;
        assert!(matches!(answer, Answer::Refused(text) if text.contains("no former version")));
        assert_eq!(node.ask(Command::DropScript { name: name() }).await, Answer::Done);
        let answer = node.ask(Command::ShowScript { name: name() }).await;
        assert!(matches!(answer, Answer::Refused(text) if text.contains("`comet script list`")));
        let long = Command::LoadScript { name: name(), source: " ".repeat(limits::SCRIPT_BYTES + 1) };
        assert!(matches!(node.ask(long).await, Answer::Refused(text) if text.contains("at most 8192")));
    });
}

#[test]
fn a_shutdown_is_answered_before_the_node_is_told() {
    run(async {
        let node = Node::start().await;
        assert_eq!(node.ask(Command::Shutdown).await, Answer::Done);
        node.shutdown.notified().await;
        assert!(node.tree.stop().await.is_normal());
        assert!(!node.socket.exists());
    });
}

#[test]
fn connections_past_the_bound_are_refused_with_the_reason() {
    run(async {
        let node = Node::with(Clock::machine(), 2).await;
        let (first, _second) = (node.client().await, node.client().await);
        let error = Client::connect(&node.socket).await.unwrap_err();
        assert!(matches!(&error, ClientError::Refused(text) if text.contains("admin.max_connections")), "{error}");
        drop(first);
        let deadline = node.kernel.clock.now() + Duration::from_secs(5);
        while Client::connect(&node.socket).await.is_err() {
            assert!(node.kernel.clock.now() < deadline, "the place was not given back");
        }
    });
}

#[test]
fn a_suspended_admin_actor_still_counts_its_connections_down() {
    run(async {
        let node = Node::with(Clock::machine(), 2).await;
        node.kernel.registry.order("comet/admin", Action::Suspend).await.unwrap();
        let deadline = node.kernel.clock.now() + Duration::from_secs(5);
        for _ in 0..10 {
            // A connection counts until the node has noticed that its client is gone.
            while Client::connect(&node.socket).await.is_err() {
                assert!(node.kernel.clock.now() < deadline, "nobody gets in any more");
            }
        }
    });
}

#[test]
fn the_admin_actor_cannot_be_told_to_hold_back_its_own_messages() {
    run(async {
        let node = Node::start().await;
        let answer = node.ask(Command::Suspend { path: path("comet/admin") }).await;
        assert!(matches!(&answer, Answer::Refused(text) if text.contains("comet/admin")), "{answer:?}");
        assert_eq!(node.kernel.registry.find("comet/admin").unwrap().status.to_string(), "running");
        assert_eq!(node.ask(Command::Resume { path: path("comet/admin") }).await, Answer::Done);
    });
}

#[test]
fn a_restart_after_which_nothing_runs_is_unavailable_with_the_reason() {
    run(async {
        let node = Node::start().await;
        node.library_fails.store(true, Ordering::Relaxed);
        let answer = node.ask(Command::Restart { path: path("comet/library") }).await;
        assert!(matches!(&answer, Answer::Unavailable(text) if text.contains("no shelf")), "{answer:?}");
    });
}

/// What a node answers to these bytes before it hangs up.
async fn answer_to(node: &Node, bytes: &[u8]) -> Vec<u8> {
    let mut stream = UnixStream::connect(&node.socket).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let _a_node_that_leaves_bytes_unread_resets = stream.read_to_end(&mut answer).await;
    answer
}

fn frame(body: &impl Serialize) -> Vec<u8> {
    let bytes = rmp_serde::to_vec_named(body).unwrap();
    [&(bytes.len() as u32).to_be_bytes()[..], &bytes].concat()
}

fn refusal(answer: &[u8]) -> String {
    rmp_serde::from_slice::<Hello>(&answer[4..]).unwrap().refusal.unwrap()
}

#[test]
fn strangers_are_told_why_they_are_not_served() {
    run(async {
        let node = Node::start().await;
        let newer = frame(&Hello { version: 99, ..Hello::own() });
        assert!(refusal(&answer_to(&node, &newer).await).contains("version 99"));
        let other = frame(&Hello { protocol: "other".to_owned(), ..Hello::own() });
        assert!(refusal(&answer_to(&node, &other).await).contains("another program"));
        assert!(refusal(&answer_to(&node, b"GET / HTTP/1.1\r\n\r\n").await).contains("at most"));
        assert!(refusal(&answer_to(&node, &[0, 0, 0, 2, 0xc1, 0xc1]).await).contains("cannot be read"));
    });
}

#[test]
fn frames_that_lie_end_their_connection_and_no_other() {
    run(async {
        let node = Node::start().await;
        let hello = frame(&Hello::own());
        // A length past the cap; nesting past any stack; a map that claims 2^32 items; a command that does not exist.
        let nested = [&100_000u32.to_be_bytes()[..], &vec![0x91; 100_000]].concat();
        let claims = [&5u32.to_be_bytes()[..], &[0xdf, 0xff, 0xff, 0xff, 0xff]].concat();
        let unknown = frame(&Frame { id: 1, body: "Abracadabra" });
        for lie in [u32::MAX.to_be_bytes().to_vec(), nested, claims, unknown] {
            answer_to(&node, &[&hello[..], &lie].concat()).await;
        }
        assert!(matches!(node.ask(Command::Actors).await, Answer::Actors(_)));
    });
}
