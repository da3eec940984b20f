//! How connections live: order, bounds, failures, the end.

use std::time::Duration;

use comet_kernel::registry::Action;
use comet_kernel::{Clock, UnixMillis};

use tokio::io::AsyncReadExt as _;

use crate::fake::{Client, Node};

#[actix::test]
async fn requests_sent_at_once_behave_as_if_each_came_after_the_other() {
    let node = Node::start(|_| ()).await;
    let mut clients = [node.client().await, node.client().await];
    for round in 0..100 {
        let client = &mut clients[round % 2];
        // What is in memory could be answered at once, and must not be while a write of it is under way.
        client.says("MSET k 0 a 0 b 0", "+OK\r\n").await;
        client.ask("SET k 1\n GET k\n SET k 2\n GET k\n INCR k\n GET k\n DEL k\n GET k\n EXISTS k").await;
        client.expect("+OK\r\n$1\r\n1\r\n+OK\r\n$1\r\n2\r\n:3\r\n:3\r\n:1\r\n$-1\r\n:0\r\n").await;
        client.ask("MSET a 1 b 2\n MGET a b\n SET b 3\n MGET a b\n FLUSHDB\n MGET a b\n DBSIZE").await;
        client.expect("+OK\r\n*2\r\n$1\r\n1\r\n$1\r\n2\r\n+OK\r\n*2\r\n$1\r\n1\r\n$1\r\n3\r\n").await;
        client.expect("+OK\r\n*2\r\n$-1\r\n$-1\r\n:0\r\n").await;
    }
    node.stop().await;
}

#[actix::test]
async fn a_command_of_thousands_of_keys_is_answered_in_order() {
    let node = Node::start(|_| ()).await;
    let mut client = node.client().await;
    let keys: Vec<String> = (0..1_000).map(|number| format!("key{number}")).collect();
    let pairs = keys.iter().map(|key| format!(" {key} {key}")).collect::<Vec<_>>().concat();
    let values = keys.iter().map(|key| format!("${}\r\n{key}\r\n", key.len())).collect::<Vec<_>>().concat();
    client.ask(&format!("MSET{pairs}\n GET key999\n MGET {}", keys.join(" "))).await;
    client.expect(&format!("+OK\r\n$6\r\nkey999\r\n*1000\r\n{values}")).await;
    node.stop().await;
}

#[actix::test]
async fn ten_thousand_requests_sent_at_once_are_all_answered() {
    let node = Node::start(|_| ()).await;
    let mut client = node.client().await;
    client.says("SET k v", "+OK\r\n").await;
    let requests = "GET k\r\nASO.GET echo x\r\nPING\r\n".repeat(10_000);
    let (mut reader, mut writer) = client.0.into_split();
    let writing = actix::spawn(async move {
        tokio::io::AsyncWriteExt::write_all(&mut writer, requests.as_bytes()).await.expect("the gateway reads");
        writer
    });
    let expected = "$1\r\nv\r\n$1\r\nx\r\n+PONG\r\n".repeat(10_000);
    let mut got = vec![0; expected.len()];
    tokio::io::AsyncReadExt::read_exact(&mut reader, &mut got).await.expect("all answers come");
    assert!(got == expected.as_bytes(), "in order and complete");
    drop(writing.await);
    node.stop().await;
}

#[actix::test]
async fn a_client_that_reads_nothing_is_not_read_from_either() {
    let node = Node::start(|_| ()).await;
    let mut client = node.client().await;
    let value = "v".repeat(1 << 20);
    client.send(format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n{value}\r\n", value.len())).await;
    client.expect("+OK\r\n").await;
    // 1,000 answers of a MiB each: they are made as they are read, and not all at once.
    client.send("GET k\r\n".repeat(1_000)).await;
    let mut other = node.client().await;
    let counted = |info: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix("total_commands_processed:")).map(str::parse::<u64>);
        line.expect("it is counted").expect("a number")
    };
    let requests = counted(&other.text("INFO stats").await);
    assert!(requests < 100, "{requests} requests were started");
    for _ in 0..3 {
        client.expect(&format!("$1048576\r\n{value}\r\n")).await;
    }
    drop(client);
    node.stop().await;
}

/// Stores a MiB under `k`.
async fn store_a_mebibyte(node: &Node, clock: &Clock) {
    let mut client = node.client().await;
    client.send(format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1048576\r\n{}\r\n", "v".repeat(1 << 20))).await;
    let stored = client.expect("+OK\r\n");
    tokio::pin!(stored);
    while tokio::time::timeout(Duration::from_millis(1), &mut stored).await.is_err() {
        clock.advance(Duration::from_millis(1));
    }
}

/// So many clients that ask for 63 MiB each and read nothing of that but the first byte.
async fn greedy(node: &Node, count: usize) -> (Vec<Client>, String) {
    let (mut clients, mut first) = (Vec::new(), String::new());
    for _ in 0..count {
        let mut client = node.client().await;
        client.send(format!("MGET{}\r\n", " k".repeat(63))).await;
        let byte = tokio::time::timeout(Duration::from_secs(20), client.0.read_u8()).await;
        first.push(byte.expect("an answer comes in time").expect("it is not closed").into());
        clients.push(client);
    }
    (clients, first)
}

#[actix::test]
async fn answers_that_nobody_reads_take_a_bounded_part_of_memory_whoever_asks_for_them() {
    let clock = Clock::manual(UnixMillis(1_000_000));
    let node = Node::try_start(clock.clone(), |_| ()).await.expect("starts");
    store_a_mebibyte(&node, &clock).await;
    let (mut clients, answers) = greedy(&node, 12).await;
    let served = answers.matches('*').count();
    assert!((2..=4).contains(&served) && answers.matches('-').count() == 12 - served, "{answers}");
    let refusal = "UNAVAILABLE answers that clients have not read yet take up 256 MiB of memory, which is all they may";
    clients[11].expect(&refusal[..60]).await;
    // Whoever asks for little, and reads, is served all the same.
    let mut honest = node.client().await;
    for _ in 0..100 {
        honest.says("STRLEN k", ":1048576\r\n").await;
    }
    // What is read makes room.
    let rest = 63 * (b"$1048576\r\n".len() + (1 << 20) + 2) + b"63\r\n".len();
    for (client, _) in clients.iter_mut().zip(answers.chars()).filter(|(_, first)| *first == '*') {
        let mut bytes = vec![0; rest];
        client.0.read_exact(&mut bytes).await.expect("all of it comes");
        assert!(bytes.ends_with(b"v\r\n"));
    }
    let (_, again) = greedy(&node, 1).await;
    assert_eq!(again, "*");
    node.stop().await;
}

#[actix::test]
async fn what_many_calls_of_one_connection_bring_counts_as_unread_before_it_is_their_turn() {
    let node = Node::start(|_| ()).await;
    let mut client = node.client().await;
    client.ask(&format!("GET parked\n{}", "GET big\n".repeat(600))).await;
    let mut other = node.client().await;
    let refusal = "-UNAVAILABLE answers that clients have not read yet take up 256 MiB of memory";
    let machine = Clock::machine();
    let deadline = machine.now() + Duration::from_secs(20);
    loop {
        other.ask("GET big").await;
        let mut first = [0; 1];
        other.0.read_exact(&mut first).await.expect("an answer comes");
        if first == *b"-" {
            other.expect(&refusal[1..]).await;
            break;
        }
        other.0.read_exact(&mut vec![0; "1048576\r\n".len() + (1 << 20) + 2]).await.expect("all of it comes");
        assert!(machine.now() < deadline, "what is owed to the first client does not count");
    }
    node.stop().await;
}

#[actix::test]
async fn clients_that_do_not_read_are_closed_when_unread_answers_take_much_memory_and_not_before() {
    let clock = Clock::manual(UnixMillis(1_000_000));
    let node = Node::try_start(clock.clone(), |_| ()).await.expect("starts");
    store_a_mebibyte(&node, &clock).await;
    let (mut patient, _) = greedy(&node, 1).await;
    let mut other = node.client().await;
    for _ in 0..10 {
        other.says("PING", "+PONG\r\n").await;
        clock.advance(Duration::from_secs(10));
    }
    let (mut more, answers) = greedy(&node, 8).await;
    assert!(answers.contains('-'), "{answers}");
    // Each is looked at once more than ten seconds later.
    let machine = Clock::machine();
    let deadline = machine.now() + Duration::from_secs(20);
    loop {
        clock.advance(Duration::from_secs(11));
        let (mut late, again) = greedy(&node, 1).await;
        if again == "*" {
            drop(late.pop());
            break;
        }
        assert!(machine.now() < deadline, "there is no room again");
    }
    let whole = 63 * (1 << 20);
    let mut closed = 0;
    for client in patient.iter_mut().chain(&mut more) {
        let mut bytes = Vec::new();
        // One whose answer was refused is still open, and says nothing more.
        let rest = tokio::time::timeout(Duration::from_millis(500), client.0.read_to_end(&mut bytes)).await;
        closed += usize::from(rest.is_ok() && bytes.len() < whole);
    }
    assert!(closed >= 2, "{closed} were closed");
    other.says("PING", "+PONG\r\n").await;
    node.stop().await;
}

#[actix::test]
async fn a_client_that_has_sent_its_last_byte_still_gets_its_answers() {
    let node = Node::start(|_| ()).await;
    let mut client = node.client().await;
    client.send("SET k v\r\nFLUSHDB\r\nGET k\r\nPI").await;
    tokio::io::AsyncWriteExt::shutdown(&mut client.0).await.expect("connected");
    assert_eq!(client.rest().await, "+OK\r\n+OK\r\n$-1\r\n");
    node.stop().await;
}

#[actix::test]
async fn a_protocol_error_is_told_after_the_answers_before_it_and_ends_the_connection() {
    let node = Node::start(|_| ()).await;
    let mut client = node.client().await;
    client.send("SET k v\r\n*1\r\n$104857600\r\n").await;
    assert_eq!(client.rest().await, "+OK\r\n-ERR Protocol error: invalid bulk length\r\n");
    node.client().await.says("GET k", "$1\r\nv\r\n").await;
    node.stop().await;
}

#[actix::test]
async fn a_request_by_http_is_never_taken_for_commands() {
    let node = Node::start(|_| ()).await;
    for first in ["POST / HTTP/1.1", "GET / HTTP/1.1\r\nHost: localhost"] {
        let mut client = node.client().await;
        client.send(format!("{first}\r\nX: y\r\n\r\nSET k v\r\n")).await;
        let rest = client.rest().await;
        assert!(!rest.contains("OK"), "{rest}");
    }
    node.client().await.says("GET k", "$-1\r\n").await;
    node.stop().await;
}

#[actix::test]
async fn more_connections_than_allowed_are_refused() {
    let node = Node::start(|settings| settings.max_connections = 2).await;
    let (mut first, mut second) = (node.client().await, node.client().await);
    first.says("PING", "+PONG\r\n").await;
    second.says("PING", "+PONG\r\n").await;
    assert_eq!(node.client().await.rest().await, "-ERR max number of clients reached\r\n");
    first.says("QUIT", "+OK\r\n").await;
    first.rest().await;
    // The gateway counts a connection out just after it has closed it.
    let deadline = node.kernel.clock.now() + Duration::from_secs(10);
    loop {
        let mut third = node.client().await;
        third.ask("QUIT").await;
        match third.rest().await.as_str() {
            "+OK\r\n" => break,
            _ => assert!(node.kernel.clock.now() < deadline, "there is room again"),
        }
    }
    node.stop().await;
}

#[actix::test]
async fn a_request_without_an_answer_ends_with_an_error_and_holds_up_nobody_after_it() {
    let clock = Clock::manual(UnixMillis(1_000_000));
    let node = Node::try_start(clock.clone(), |settings| settings.request_timeout_ms = 500).await.expect("starts");
    let mut client = node.client().await;
    client.ask("PING\n GET parked\n PING\n GET none").await;
    // The time of the second request has begun: it was read with the first.
    client.expect("+PONG\r\n").await;
    let mut other = node.client().await;
    other.says("PING", "+PONG\r\n").await;
    clock.advance(Duration::from_millis(499));
    other.says("PING", "+PONG\r\n").await;
    clock.advance(Duration::from_millis(1));
    client.expect("-TIMEOUT no answer within 500 ms\r\n+PONG\r\n$-1\r\n").await;
    node.stop().await;
}

#[actix::test]
async fn a_connection_that_says_nothing_for_too_long_is_closed() {
    let clock = Clock::manual(UnixMillis(1_000_000));
    let node = Node::try_start(clock.clone(), |settings| settings.idle_seconds = 60).await.expect("starts");
    let mut client = node.client().await;
    client.says("PING", "+PONG\r\n").await;
    clock.advance(Duration::from_secs(59));
    client.says("PING", "+PONG\r\n").await;
    clock.advance(Duration::from_secs(60));
    assert_eq!(client.rest().await, "");
    node.stop().await;
}

#[actix::test]
async fn a_client_past_its_rate_is_told_when_to_come_again() {
    // The fake grants twenty tokens.
    let clock = Clock::manual(UnixMillis(1_000_000));
    let node = Node::try_start(clock, |settings| settings.requests_per_second = 160).await.expect("starts");
    let mut client = node.client().await;
    client.ask(&"PING\n".repeat(22)).await;
    client.expect(&"+PONG\r\n".repeat(20)).await;
    client.expect(&"-LIMITED retry after 60000 ms\r\n".repeat(2)).await;
    node.stop().await;
}

#[actix::test]
async fn many_clients_of_one_address_have_as_many_requests_as_one() {
    let clock = Clock::manual(UnixMillis(1_000_000));
    let node = Node::try_start(clock, |settings| settings.requests_per_second = 160).await.expect("starts");
    for _ in 0..20 {
        node.client().await.says("PING", "+PONG\r\n").await;
    }
    node.client().await.says("PING", "-LIMITED retry after 60000 ms\r\n").await;
    node.stop().await;
}

#[actix::test]
async fn a_client_that_takes_its_time_to_read_is_not_idle() {
    let clock = Clock::manual(UnixMillis(1_000_000));
    let node = Node::try_start(clock.clone(), |settings| settings.idle_seconds = 60).await.expect("starts");
    let mut client = node.client().await;
    let value = "x".repeat(1 << 20);
    client.send(format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1048576\r\n{value}\r\n")).await;
    client.expect("+OK\r\n").await;
    client.ask(&"GET k\n".repeat(30)).await;
    let answer = format!("$1048576\r\n{value}\r\n");
    for _ in 0..3 {
        client.expect(&answer.repeat(10)).await;
        clock.advance(Duration::from_secs(59));
    }
    node.stop().await;
}

#[actix::test]
async fn a_node_that_stops_answers_what_is_under_way_and_takes_no_more() {
    let node = Node::start(|_| ()).await;
    let address = node.bound.address().expect("bound");
    let (mut busy, mut idle) = (node.client().await, node.client().await);
    idle.says("PING", "+PONG\r\n").await;
    busy.says("PING", "+PONG\r\n").await;
    busy.send("MSET".to_owned() + &" k v".repeat(200) + "\r\n").await;
    let (answer, nothing, ()) = tokio::join!(busy.rest(), idle.rest(), node.stop());
    // Whether the request had come when the node began to stop is a matter of luck, but half an answer is none.
    assert!(answer == "+OK\r\n" || answer.is_empty(), "{answer:?}");
    assert_eq!(nothing, "");
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

#[actix::test]
async fn a_restarted_listener_listens_where_it_did_before() {
    let node = Node::start(|_| ()).await;
    let address = node.bound.address();
    node.client().await.says("SET k v", "+OK\r\n").await;
    node.kernel.registry.order("node/gateway", Action::Restart).await.expect("it restarts");
    assert_eq!(node.bound.address(), address);
    node.client().await.says("GET k", "$1\r\nv\r\n").await;
    node.stop().await;
}

#[actix::test]
async fn a_busy_port_is_named_with_what_to_do() {
    let node = Node::start(|_| ()).await;
    let address = node.bound.address().expect("bound").to_string();
    let error = Node::try_start(Clock::machine(), |settings| settings.listen.clone_from(&address)).await.err();
    let error = error.expect("two cannot listen on one port");
    assert!(error.contains(&address) && error.contains("gateway.listen"), "{error}");
    node.stop().await;
}
