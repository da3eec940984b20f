//! What each command answers.

use crate::fake::Node;

#[actix::test]
async fn values_come_back_as_they_were_put() {
    let node = Node::start(|_| ()).await;
    let mut client = node.client().await;
    client.says("PING", "+PONG\r\n").await;
    client.says("GET k", "$-1\r\n").await;
    client.says("SET k v", "+OK\r\n").await;
    client.says("get k", "$1\r\nv\r\n").await;
    client.says("ASO.PUT k w", "+OK\r\n").await;
    client.says("GET k", "$1\r\nw\r\n").await;
    client.send(b"*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$3\r\n\xff\r\n\r\n*2\r\n$3\r\nGET\r\n$1\r\nb\r\n").await;
    client.expect("+OK\r\n$3\r\n").await;
    node.stop().await;
}
