//! What no object may do, tried from outside.

use std::collections::BTreeSet;

use comet_integration::wait::eventually;
use comet_kernel::{Clock, Key};
use redis::Commands as _;

use super::world::*;

/// Keys with the scripts that try to reach a key which is none of theirs, by each function of the network.
const FOREIGN: [(&str, &str); 4] = [
    ("get", "comet.get(\"victim\", 3, \"got\")"),
    ("put", "comet.put(\"victim\", \"spoilt\", 3)"),
    ("itself", "comet.put(\"victim\", this, 3)"),
    ("lookup", "comet.lookup(\"victim\")"),
];

#[test]
fn an_unsigned_script_reaches_no_key_of_others() {
    let world = world();
    set(&mut world.client(0), "victim", "untouched");
    for (name, action) in FOREIGN {
        let source = format!("fn got(values) {{ }} fn onGet() {{ {action}; \"done\" }} fn onUpdate() {{ {action}; }}");
        let key = format!("foreign/{name}");
        put_source(&mut world.client(1), &key, "x", &source, &[]);
        let mut client = world.client(2);
        let refused = refusal(get::<String>(&mut client, &[&key]));
        assert!(refused.starts_with("FAILED") && refused.contains("only a script signed"), "{name}: {refused}");
        let refused = refusal(client.set::<_, _, ()>(&key, "y"));
        assert!(refused.contains("only a script signed"), "{name}: {refused}");
    }
    assert_eq!(get::<String>(&mut world.client(3), &["victim"]).unwrap(), "untouched");
}

#[test]
fn nodes_that_are_near_or_have_called_are_reached_and_others_are_not() {
    const REACHES: &str = "
        fn onGet(caller, payload) {
            switch payload {
                () => (),
                \"caller\" => comet.put(comet.getASOKey(), this, [caller]),
                \"near\" => comet.put(comet.getASOKey(), this, comet.lookup()),
                _ => comet.put(comet.getASOKey(), this, [#{ id: payload }]),
            }
            caller.id
        }";
    let world = world();
    put_source(&mut world.client(0), "reaches", "x", REACHES, &["REPLICAS", "1"]);
    let holder = world.holders("reaches")[0];
    let mut client = world.client(holder);
    // As a peer id, the publisher's is right; but there is no such node.
    let _own: String = get(&mut client, &["reaches", &world.publisher_id]).unwrap();
    world.wait_for_log(holder, "reaches", "its neighbours and its callers only");
    let caller = world.stranger_to("reaches");
    let named: String = get(&mut world.client(caller), &["reaches", "caller"]).unwrap();
    assert_eq!(named, world.id(caller), "who calls is proven, and told to the script");
    eventually(SOON, "the caller has a copy", || world.copy(caller, "reaches").is_some());
    let mut seen = BTreeSet::new();
    eventually(SOON, "every node near has had a copy", || {
        let _own: String = get(&mut client, &["reaches", "near"]).unwrap();
        seen.extend(world.copies("reaches"));
        seen.len() == NODES
    });
}

#[test]
fn a_third_action_in_one_event_ends_it_and_none_of_the_three_is_carried_out() {
    const GREEDY: &str = "
        fn onGet(caller, payload) {
            comet.put(comet.getASOKey(1), 1, 5);
            comet.put(comet.getASOKey(2), 2, 5);
            if payload == \"greedy\" { comet.put(comet.getASOKey(3), 3, 5); }
            \"done\"
        }";
    let world = world();
    put_source(&mut world.client(0), "actions", "x", GREEDY, &[]);
    let mut client = world.client(world.holders("actions")[0]);
    assert!(refusal(get::<String>(&mut client, &["actions", "greedy"])).starts_with("BUDGET actions"));
    let own = Key::new(b"actions").unwrap();
    let children = [1, 2, 3].map(|n| own.child(n).as_bytes().to_vec());
    let mut children = || children.clone().map(|key| client.get::<_, Option<u64>>(key).unwrap());
    assert_eq!(children(), [None; 3]);
    assert_eq!(get::<String>(&mut world.client(world.holders("actions")[0]), &["actions"]).unwrap(), "done");
    eventually(SOON, "two actions are carried out", || children() == [Some(1), Some(2), None]);
}

/// Asks its copies at other nodes, which ask theirs in turn.
const PING_PONG: &str = "
    let calls = 0;
    let values = ();
    fn got(values) { this.values = values.len(); }
    fn onGet(caller, payload) {
        if payload == \"seen\" { return [this.calls, this.values]; }
        this.calls += 1;
        comet.get(comet.getASOKey(), 5, \"got\");
        this.calls
    }";

#[test]
fn an_object_that_an_object_asked_asks_nobody() {
    let world = world();
    put_source(&mut world.client(0), "ping", "x", PING_PONG, &[]);
    let holders = world.holders("ping");
    assert_eq!(get::<u64>(&mut world.client(holders[0]), &["ping"]).unwrap(), 1);
    for node in &holders[1..] {
        world.wait_for_log(*node, "ping", "only a signed script may pass it on");
    }
    let seen = |node: usize| get::<(u64, Option<u64>)>(&mut world.client(node), &["ping", "seen"]).unwrap();
    eventually(SOON, "both have answered", || seen(holders[0]) == (1, Some(2)));
    for node in &holders[1..] {
        eventually(SOON, "its own question fails", || seen(*node) == (1, Some(0)));
    }
    assert_eq!(seen(holders[0]), (1, Some(2)), "nobody has asked it back");
}

#[test]
fn actions_past_the_rate_fail_and_their_callbacks_are_told() {
    // As many as may be under way. A busy machine does not take the seconds over them that would let all pass.
    const ASKS: usize = 16;
    const HASTY: &str = "
        let seen = [];
        fn got(values) { this.seen.push(values.len()); }
        fn onGet(caller, payload) {
            if payload == \"go\" { comet.get(comet.getASOKey(), 1, \"got\"); }
            if payload == \"seen\" { this.seen } else { \"here\" }
        }";
    let (world, clock) = (world(), Clock::machine());
    put_source(&mut world.client(0), "hasty", "x", HASTY, &[]);
    let holder = world.holders("hasty")[0];
    let mut client = world.client(holder);
    let before = clock.now();
    let mut pipeline = redis::pipe();
    (0..ASKS).for_each(|_| {
        pipeline.cmd("ASO.GET").arg("hasty").arg("go").ignore();
    });
    let () = pipeline.query(&mut client).unwrap();
    let mut seen: Vec<usize> = Vec::new();
    eventually(SOON, "every question is called back", || {
        seen = get(&mut client, &["hasty", "seen"]).unwrap();
        seen.len() == ASKS
    });
    let answered = seen.iter().filter(|values| **values == 1).count();
    let allowed = 4 + 2 * (1 + clock.now().since(before).as_secs() as usize);
    assert!((4..=allowed).contains(&answered) && answered < ASKS, "{answered} of {seen:?}, of {allowed} allowed");
    world.wait_for_log(holder, "hasty", "comet.get failed: retry after");
}

#[test]
fn what_is_parked_and_never_answered_times_out_wherever_it_was_asked() {
    let world = world();
    put_source(&mut world.client(0), "silence", "x", "fn onGet() { comet.later() }", &[]);
    let ask = |node: usize| {
        let (clock, mut client) = (Clock::machine(), world.client(node));
        std::thread::spawn(move || (refusal(get::<String>(&mut client, &["silence"])), clock.now().elapsed().as_secs()))
    };
    let (here, elsewhere) = (ask(world.holders("silence")[0]), ask(world.stranger_to("silence")));
    let (refused, after) = here.join().unwrap();
    assert!(refused.starts_with(&format!("TIMEOUT no answer within {} ms", PARKED * 1_000)), "{refused}");
    assert!(after >= PARKED, "after {after} s");
    let (refused, after) = elsewhere.join().unwrap();
    // The gateway and the router of a node that holds nothing both see to it that the client's time ends.
    let over = refused.starts_with("TIMEOUT") || refused.contains("did not answer in time");
    assert!(over && after >= PARKED, "after {after} s: {refused}");
}

#[test]
fn a_node_puts_no_more_on_others_than_its_quota() {
    const GREEDY: usize = NODES - 1;
    let world = world();
    let (mut greedy, mut modest) = (world.client(GREEDY), world.client(0));
    let large = "x".repeat(300_000);
    let refused = (0..100).find_map(|number| {
        let key = format!("greedy/{number}");
        greedy.set::<_, _, ()>(&key, &large).err().map(|error| (key, error))
    });
    let (key, error) = refused.expect("all nodes together have room for less than that");
    let text = refusal::<()>(Err(error));
    assert!(text.starts_with("FORBIDDEN") && text.contains("dht.quota_mib"), "{text}");
    set(&mut modest, &key, "small");
    assert_eq!(modest.get::<_, String>(&key).unwrap(), "small");
    // What is removed makes room again.
    let _removed: u64 = greedy.del(vec!["greedy/0", "greedy/1", "greedy/2"]).unwrap();
    eventually(SOON, "there is room", || greedy.set::<_, _, ()>("greedy/0", &large).is_ok());
}
