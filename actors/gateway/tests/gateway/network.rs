//! A gateway whose node is part of a network.

use std::sync::atomic::Ordering;

use crate::fake::Node;

#[actix::test]
async fn a_node_answers_from_its_own_copy_once_that_is_known_to_be_up_to_date() {
    let node = Node::networked(|_| ()).await;
    let mut client = node.client().await;
    client.says("SET k v\n GET k\n GET k", "+OK\r\n$1\r\nv\r\n$1\r\nv\r\n").await;
    assert_eq!(node.routed.load(Ordering::Relaxed), 3, "everything goes to the router");
    node.settled.set(true);
    client.says("GET k\n EXISTS k\n TTL k", "$1\r\nv\r\n:1\r\n:-1\r\n").await;
    assert_eq!(node.routed.load(Ordering::Relaxed), 3, "reads of what is in memory do not");
    client.says("SET k w\n GET k\n DEL k", "+OK\r\n$1\r\nw\r\n:1\r\n").await;
    assert_eq!(node.routed.load(Ordering::Relaxed), 6, "writes do, and a read behind one that is not answered");
    client.says("GET absent", "$-1\r\n").await;
    assert_eq!(node.routed.load(Ordering::Relaxed), 7, "and what is not in memory");
    node.stop().await;
}

#[actix::test]
async fn several_nodes_answer_in_one_array() {
    let node = Node::networked(|_| ()).await;
    let mut client = node.client().await;
    client.says("ASO.GET several ANSWERS 2", "*3\r\n:1\r\n:2\r\n$-1\r\n").await;
    client.says("ASO.GET several 7 JSON ANSWERS 1", "*2\r\n$1\r\n1\r\n$-1\r\n").await;
    client.says("ASO.GET nothing ANSWERS 2", "*0\r\n").await;
    client.says("ASO.GET forbidden ANSWERS 2", "-FORBIDDEN the key is another object's\r\n").await;
    client.says("SET k 1\n ASO.GET k ANSWERS 20\n SET k 2", "+OK\r\n*1\r\n$1\r\n1\r\n+OK\r\n").await;
    for wrong in ["0", "21", "x", ""] {
        let line = format!("ASO.GET k payload ANSWERS {wrong}");
        let expected = if wrong.is_empty() { "syntax error" } else { "ANSWERS must be 1 to 20" };
        client.says(&line, &format!("-ERR {expected}\r\n")).await;
    }
    node.stop().await;
}

#[actix::test]
async fn a_node_alone_is_the_one_that_answers() {
    let node = Node::start(|_| ()).await;
    let mut client = node.client().await;
    client.says("SET k v\n ASO.GET k ANSWERS 3", "+OK\r\n*1\r\n$1\r\nv\r\n").await;
    client.says("ASO.GET nothing ANSWERS 3\n ASO.GET echo ANSWERS", "*0\r\n$7\r\nANSWERS\r\n").await;
    assert_eq!(node.routed.load(Ordering::Relaxed), 0);
    node.stop().await;
}

#[actix::test]
async fn a_put_that_too_few_nodes_have_stored_is_said_to_be_one() {
    let node = Node::networked(|_| ()).await;
    let mut client = node.client().await;
    client.says("SET lonely v", "-NOQUORUM 1 of 3 nodes have stored it; try again\r\n").await;
    node.stop().await;
}

#[actix::test]
async fn clients_in_no_name_of_their_own_are_the_node_to_objects() {
    let node = Node::networked(|_| ()).await;
    let mut client = node.client().await;
    let caller = client.text("GET caller").await;
    assert!(caller.starts_with("12D3KooW"), "{caller}");
    node.stop().await;
}

#[actix::test]
async fn a_store_that_other_nodes_would_bring_back_is_not_cleared() {
    let node = Node::networked(|_| ()).await;
    let mut client = node.client().await;
    client.says("SET k v\n FLUSHDB", "+OK\r\n-ERR FLUSHDB is for a node alone; remove keys with DEL\r\n").await;
    client.says("GET k", "$1\r\nv\r\n").await;
    node.stop().await;
}
