//! The applications that use the network: each does through any node what its header says.

use std::collections::BTreeSet;

use comet_integration::wait::eventually;
use redis::Commands as _;
use serde_json::json;

use super::world::*;

#[test]
fn recursive_get_answers_with_what_the_network_has_under_the_key_that_it_stands_for() {
    let world = world();
    set(&mut world.client(1), "files/linux.iso", "the file");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("recursive_get.rhai");
    std::fs::write(&file, world.signed("recursive_get")).unwrap();
    world.cluster[0].comet(&["script", "load", "recursive_get", file.to_str().unwrap()]);
    put(&mut world.client(0), "latest", "files/linux.iso", "recursive_get", &[]);
    for node in 0..NODES {
        eventually(SOON, "it is followed", || {
            get::<Option<String>>(&mut world.client(node), &["latest"]).unwrap().as_deref() == Some("the file")
        });
    }
    put(&mut world.client(0), "newest", "files/none.iso", "recursive_get", &[]);
    assert_eq!(get::<Option<String>>(&mut world.client(3), &["newest"]).unwrap(), None);
}

#[test]
fn pubsub_readers_at_every_node_hear_what_is_published_at_one() {
    let world = world();
    put(&mut world.client(0), "news", "", "pubsub", &[]);
    // They name the last number, so that one who comes late hears the message as well: a request that is put again looks
    // like the next reader.
    let readers: Vec<_> = (0..NODES).map(|node| world.parked(node, &["news", "0", "JSON"])).collect();
    set(&mut world.client(3), "news", "it rains");
    for reader in readers {
        let heard: serde_json::Value = serde_json::from_str(&reader.join().unwrap()).unwrap();
        assert_eq!(heard, json!({ "number": 1, "message": "it rains" }));
    }
    let late = world.parked(5, &["news", "1", "JSON"]);
    set(&mut world.client(1), "news", "it snows");
    let heard: serde_json::Value = serde_json::from_str(&late.join().unwrap()).unwrap();
    assert_eq!(heard, json!({ "number": 2, "message": "it snows" }));
    for node in 0..NODES {
        eventually(SOON, "who missed it hears it at once", || {
            json(&mut world.client(node), &["news", "1"]) == json!({ "number": 2, "message": "it snows" })
        });
    }
}

#[test]
fn a_reader_at_another_node_may_wait_for_longer_than_one_request_between_nodes_takes() {
    let world = world();
    put(&mut world.client(0), "slow news", "", "pubsub", &[]);
    let stranger = world.stranger_to("slow news");
    let reader = world.parked(stranger, &["slow news", "null", "JSON"]);
    let first = world.calls("slow news");
    // Nodes ask again when a request has taken two seconds.
    eventually(SOON, "the copies are asked again", || world.calls("slow news") >= first + 2);
    set(&mut world.client(stranger), "slow news", "at last");
    let heard: serde_json::Value = serde_json::from_str(&reader.join().unwrap()).unwrap();
    assert_eq!(heard["message"], "at last");
}

#[test]
fn pubsub_tree_carries_a_message_from_the_root_to_the_readers_of_every_branch() {
    let world = world();
    let (source, mut client) = (world.signed("pubsub_tree"), world.client(0));
    for (key, branches) in [
        ("feed", "[\"feed/eu\",\"feed/us\"]"),
        ("feed/eu", "[\"feed/eu/de\"]"),
        ("feed/us", "[]"),
        ("feed/eu/de", "[]"),
    ] {
        put_source(&mut client, key, branches, &source, &["JSON"]);
    }
    let readers = [(2, "feed/eu/de"), (4, "feed/eu"), (5, "feed/us")].map(|(node, key)| world.parked(node, &[key]));
    set(&mut world.client(6), "feed", "it rains");
    for reader in readers {
        assert_eq!(reader.join().unwrap(), "it rains");
    }
    for key in ["feed/eu/de", "feed/eu", "feed/us"] {
        assert_eq!(get::<String>(&mut world.client(1), &[key, "last"]).unwrap(), "it rains");
    }
    put(&mut client, "unsigned feed", "[\"feed/us\"]", "pubsub_tree", &["JSON"]);
    let refused = refusal(client.set::<_, _, ()>("unsigned feed", "spam"));
    assert!(refused.contains("signed by a trusted publisher"), "{refused}");
    assert_eq!(get::<String>(&mut client, &["feed/us", "last"]).unwrap(), "it rains");
}

#[test]
fn delayed_get_lets_readers_at_every_node_wait_for_the_first_update() {
    let world = world();
    put(&mut world.client(0), "door", "", "delayed_get", &[]);
    let readers: Vec<_> = (0..NODES).map(|node| world.parked(node, &["door"])).collect();
    set(&mut world.client(2), "door", "open");
    for reader in readers {
        assert_eq!(reader.join().unwrap(), "open");
    }
    assert_eq!(get::<String>(&mut world.client(6), &["door"]).unwrap(), "open");
}

#[test]
fn self_replicating_values_come_to_be_on_as_many_nodes_as_they_say() {
    let world = world();
    let value = json!({ "value": "la la", "copies": NODES - 1 }).to_string();
    put(&mut world.client(1), "song", &value, "self_replicating", &["JSON"]);
    // Those of them that are too many in the eyes of the nodes may go again.
    let mut seen = BTreeSet::new();
    eventually(SOON, "every node has had a copy", || {
        seen.extend(world.copies("song"));
        seen.len() == NODES
    });
    for node in 0..NODES {
        assert_eq!(get::<String>(&mut world.client(node), &["song"]).unwrap(), "la la");
    }
}

#[test]
fn smart_replication_makes_copies_on_nodes_that_it_has_known_for_a_while() {
    let world = world();
    let value = "{\"share\":\"c2VjcmV0\",\"seconds\":1}";
    put(&mut world.client(2), "share", value, "smart_replication", &["JSON", "REPLICAS", "3"]);
    let holder = world.holders("share")[0];
    let mut client = world.client(holder);
    eventually(SOON, "it counts its copies", || get::<u64>(&mut client, &["share", "copies"]).unwrap() == 3);
    // Three looks are needed before anybody is known for long enough.
    eventually(SOON, "there are at least as many as it wants", || {
        get::<u64>(&mut client, &["share", "copies"]).unwrap() >= 7
    });
    assert_eq!(get::<String>(&mut world.client(6), &["share"]).unwrap(), "c2VjcmV0");
}

#[test]
fn replica_monitor_counts_the_copies_that_the_network_holds() {
    let world = world();
    let often = source("replica_monitor").replace("setTimer(300)", "setTimer(1)");
    put_source(&mut world.client(3), "plans", "top secret", &often, &[]);
    for node in world.holders("plans") {
        let mut client = world.client(node);
        eventually(SOON, "all copies are counted", || {
            let told = json(&mut client, &["plans", "\"copies\""]);
            told.as_array().unwrap().last().is_some_and(|last| last["copies"] == COPIES)
        });
        assert_eq!(get::<String>(&mut client, &["plans"]).unwrap(), "top secret");
    }
}

#[test]
fn node_lifetimes_tell_how_long_a_node_was_there_that_has_gone() {
    let cluster = network(2, None);
    let mut client = cluster[0].connect();
    put(&mut client, "probe", "1", "node_lifetimes", &["JSON"]);
    let near = |client: &mut redis::Connection| figures(client, "probe")["near"];
    eventually(SOON, "the other is near", || near(&mut client) == Some(1));
    let mut passing = another(&cluster, None);
    eventually(SOON, "the new one is near", || near(&mut client) == Some(2));
    passing.kill9();
    eventually(SOON, "it is gone", || figures(&mut client, "probe")["gone"] == Some(1));
    let life = figures(&mut client, "probe");
    assert!(life["near"] == Some(1) && life["median"] == life["longest"], "{life:?}");
    let lives: Vec<i64> = get(&mut client, &["probe", "lifetimes"]).unwrap();
    assert_eq!(lives, [life["longest"].unwrap()]);
}

#[test]
fn tracker_tells_each_asker_of_the_peers_that_told_any_node() {
    let world = world();
    put(&mut world.client(0), "torrent", "linux.iso", "tracker", &[]);
    for (node, address, x) in [(1, "near:1", 3), (4, "far:1", 100)] {
        let peer = json!({ "address": address, "at": [x, 4, 0] }).to_string();
        let _kept: redis::Value =
            redis::cmd("ASO.PUT").arg("torrent").arg(peer).arg("JSON").query(&mut world.client(node)).unwrap();
    }
    for node in 0..NODES {
        let near = json(&mut world.client(node), &["torrent", "{\"at\":[0,0,0]}"]);
        let addresses: Vec<_> = near.as_array().unwrap().iter().map(|peer| peer["address"].clone()).collect();
        assert_eq!(addresses, ["near:1", "far:1"], "node {node}");
        assert_eq!(get::<String>(&mut world.client(node), &["torrent"]).unwrap(), "linux.iso");
    }
}

#[test]
fn merged_counter_knows_of_reads_at_other_nodes_after_the_copies_have_met() {
    let world = world();
    put(&mut world.client(0), "page", "hello", "merged_counter", &[]);
    let holders = world.holders("page");
    let count = |node: usize| get::<(String, u64)>(&mut world.client(node), &["page"]).unwrap().1;
    for node in &holders {
        // A copy answers for itself at the node that has it.
        assert_eq!((count(*node), count(*node)), (1, 2));
    }
    world.cluster.replicate();
    let read = 2 * COPIES as u64;
    eventually(SOON, "the sum is that of all copies", || {
        world.cluster.replicate();
        holders.iter().all(|node| count(*node) > read)
    });
}

#[test]
fn a_time_out_ends_the_value_at_every_node() {
    let world = world();
    put(&mut world.client(5), "session", "{\"value\":\"alice\",\"seconds\":6}", "time_out", &["JSON"]);
    assert_eq!(get::<String>(&mut world.client(1), &["session"]).unwrap(), "alice");
    for node in 0..NODES {
        let mut client = world.client(node);
        eventually(SOON, "it is over", || get::<Option<String>>(&mut client, &["session"]).unwrap().is_none());
    }
    world.cluster.replicate();
    assert_eq!(world.copies("session").count(), 0, "no copy is left, and none comes back");
}
