//! The node of the tests itself: it starts, answers, survives its end in every form.

use std::time::Duration;

use comet_integration::node::Node;
use comet_integration::wait::eventually;
use redis::Commands as _;

#[test]
fn a_node_serves_both_versions_of_the_protocol() {
    let node = Node::start();
    let () = node.connect().set("k", "v").unwrap();
    let read: String = node.connect_resp2().get("k").unwrap();
    assert_eq!(read, "v");
    assert!(node.socket().exists());
    assert!(node.comet(&["ctl", "ps"]).contains("storage"));
    assert!(node.rss() > 1 << 20 && node.peak_rss() >= node.rss());
}

#[test]
fn a_node_ends_when_it_is_asked_to_and_starts_again_with_what_it_had() {
    let mut node = Node::start();
    let () = node.connect().set("k", "v").unwrap();
    node.terminate();
    assert!(!node.lives());
    node.restart();
    let read: String = node.connect().get("k").unwrap();
    assert_eq!(read, "v");
}

#[test]
fn a_node_that_is_killed_keeps_what_it_acknowledged() {
    let mut node = Node::start();
    let () = node.connect().set("k", "v").unwrap();
    node.kill9();
    node.restart();
    let read: String = node.connect().get("k").unwrap();
    assert_eq!(read, "v");
}

#[test]
fn a_node_that_cannot_start_says_why_and_ends() {
    let node = Node::start();
    let (status, stderr) = Node::builder().data(node.data()).start_in_vain();
    assert!(!status.success());
    assert!(stderr.contains("another node uses"), "{stderr}");
}

#[test]
fn a_node_that_is_told_to_shut_down_ends() {
    let mut node = Node::start();
    node.comet(&["ctl", "shutdown"]);
    eventually(Duration::from_secs(30), "the node has ended", || !node.lives());
}
