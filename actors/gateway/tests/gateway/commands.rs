//! What each command answers.

use comet_kernel::{Clock, UnixMillis, settings};

use crate::fake::Node;

const SECRET: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

#[actix::test]
async fn values_come_back_as_they_were_put() {
    let node = Node::start(|_| ()).await;
    let mut client = node.client().await;
    client.says("PING\n ECHO \"a b\"\n PING x", "+PONG\r\n$3\r\na b\r\n$1\r\nx\r\n").await;
    client.says("GET k\n SET k v\n get k", "$-1\r\n+OK\r\n$1\r\nv\r\n").await;
    client.says("SET k \"\\xff\\r\\n\"\n STRLEN k\n TYPE k", "+OK\r\n:3\r\n+string\r\n").await;
    client
        .says("MSET a 1 b 2\n MGET a none b\n EXISTS a a b none", "+OK\r\n*3\r\n$1\r\n1\r\n$-1\r\n$1\r\n2\r\n:3\r\n")
        .await;
    client.says("GETSET a 3\n GETDEL a\n GETDEL a", "$1\r\n1\r\n$1\r\n3\r\n$-1\r\n").await;
    client.says("DEL a b\n UNLINK b k\n GET k", ":1\r\n:1\r\n$-1\r\n").await;
    node.stop().await;
}

#[actix::test]
async fn set_has_the_options_that_redis_has() {
    let node = Node::start(|_| ()).await;
    let mut client = node.client().await;
    client.says("SET k 1 XX\n SET k 1 NX\n SET k 2 NX\n SET k 3 XX GET", "$-1\r\n+OK\r\n$-1\r\n$1\r\n1\r\n").await;
    client.says("SET k 4 NX GET\n GET k\n SETNX k 5\n SETNX l 5", "$1\r\n3\r\n$1\r\n3\r\n:0\r\n:1\r\n").await;
    client.says("SET k 1 EX 100\n TTL k\n SET k 2 KEEPTTL\n TTL k", "+OK\r\n:100\r\n+OK\r\n:100\r\n").await;
    client.says("SET k 1\n TTL k\n TTL none\n PTTL none", "+OK\r\n:-1\r\n:-2\r\n:-2\r\n").await;
    client.says("SETEX k 50 v\n TTL k\n PSETEX k 50000 v\n TTL k", "+OK\r\n:50\r\n+OK\r\n:50\r\n").await;
    client
        .says("SET k 1 PXAT 4102444800000\n EXPIRETIME k\n PEXPIRETIME k", "+OK\r\n:4102444800\r\n:4102444800000\r\n")
        .await;
    for wrong in ["SET k 1 NX XX", "SET k 1 EX", "SET k 1 EX 1 PX 1", "SET k 1 EX 1 KEEPTTL", "SET k 1 YY"] {
        client.says(wrong, "-ERR syntax error\r\n").await;
    }
    client.says("SET k 1 EX 0", "-ERR invalid expire time in 'set' command\r\n").await;
    client.says("SETEX k -1 v", "-ERR invalid expire time in 'setex' command\r\n").await;
    client.says("SET k 1 EX x", "-ERR value is not an integer or out of range\r\n").await;
    client.says("SET k 1 EX 9223372036854775807", "-ERR invalid expire time in 'set' command\r\n").await;
    node.stop().await;
}

#[actix::test]
async fn an_object_ends_when_it_was_told_to() {
    let node = Node::start(|_| ()).await;
    let mut client = node.client().await;
    client
        .says(
            "SET k v\n EXPIRE k 100\n TTL k\n PERSIST k\n PERSIST k\n TTL k",
            "+OK\r\n:1\r\n:100\r\n:1\r\n:0\r\n:-1\r\n",
        )
        .await;
    client
        .says("EXPIRE none 1\n PERSIST none\n PEXPIREAT k 4102444800000\n PERSIST k", ":0\r\n:0\r\n:1\r\n:1\r\n")
        .await;
    client.says("EXPIRE k -1\n GET k", ":1\r\n$-1\r\n").await;
    client
        .says("SET c v\n EXPIRE c 9 XX\n EXPIRE c 9 gt\n EXPIRE c 9 XX LT\n TTL c", "+OK\r\n:0\r\n:0\r\n:0\r\n:-1\r\n")
        .await;
    client.says("EXPIRE c 9 LT\n EXPIRE c 20 NX\n EXPIRE c 20 LT\n TTL c", ":1\r\n:0\r\n:0\r\n:9\r\n").await;
    client.says("EXPIRE c 20 XX GT\n EXPIRE c 10 GT\n TTL c", ":1\r\n:0\r\n:20\r\n").await;
    client.says("PEXPIRE c 5000 XX LT\n TTL c\n EXPIRE none 9 NX", ":1\r\n:5\r\n:0\r\n").await;
    let incompatible = "-ERR NX and XX, GT or LT options at the same time are not compatible\r\n";
    client.says("EXPIRE c 1 NX LT", incompatible).await;
    client.says("EXPIRE c 1 GT LT", "-ERR GT and LT options at the same time are not compatible\r\n").await;
    client.says("EXPIRE k 1 NO", "-ERR Unsupported option NO\r\n").await;
    client.says("EXPIRE k 9223372036854775807", "-ERR invalid expire time in 'expire' command\r\n").await;
    node.stop().await;
}

#[actix::test]
async fn numbers_are_counted_by_their_object() {
    let node = Node::start(|_| ()).await;
    let mut client = node.client().await;
    client.says("INCR n\n INCRBY n 9\n DECR n\n DECRBY n 4\n GET n", ":1\r\n:10\r\n:9\r\n:5\r\n:5\r\n").await;
    client
        .says(
            "INCRBYFLOAT f 10.5\n INCRBYFLOAT f -0.5\n GET f\n STRLEN f",
            "$4\r\n10.5\r\n$2\r\n10\r\n$2\r\n10\r\n:2\r\n",
        )
        .await;
    client.says("INCRBY n x", "-ERR value is not an integer or out of range\r\n").await;
    client.says("SET t text\n INCR t", "+OK\r\n-ERR value is not an integer or out of range\r\n").await;
    client.says("DECRBY n -9223372036854775808", "-ERR decrement would overflow\r\n").await;
    client.says("INCRBYFLOAT n nan", "-ERR value is not a valid float\r\n").await;
    client.says("INCRBYFLOAT n inf", "-ERR increment would produce NaN or Infinity\r\n").await;
    client.says("INCR f\n GET f", ":11\r\n:11\r\n").await;
    for spelling in ["007", "+5", "-0"] {
        let refused = "+OK\r\n-ERR value is not an integer or out of range\r\n";
        client.says(&format!("SET t {spelling}\n INCR t"), refused).await;
    }
    node.stop().await;
}

#[actix::test]
async fn keys_are_listed_some_at_a_time() {
    // Cursors begin with the microseconds of the time.
    let node = Node::try_start(Clock::manual(UnixMillis(1)), |_| ()).await.expect("starts");
    let mut client = node.client().await;
    client.says("MSET a 1 b 2 c 3\n DBSIZE", "+OK\r\n:3\r\n").await;
    client.says("SCAN 0 COUNT 2", "*2\r\n$4\r\n1000\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n").await;
    let mut other = node.client().await;
    other.says("SCAN 1000 COUNT 2", "*2\r\n$1\r\n0\r\n*1\r\n$1\r\nc\r\n").await;
    client.says("SCAN 0 MATCH [bc] TYPE string COUNT 100000", "*2\r\n$1\r\n0\r\n*2\r\n$1\r\nb\r\n$1\r\nc\r\n").await;
    client.says("SET buried x\n SCAN 0 MATCH b*", "+OK\r\n*2\r\n$1\r\n0\r\n*1\r\n$1\r\nb\r\n").await;
    client.says("SCAN x", "-ERR invalid cursor\r\n").await;
    client.says("SCAN 99", "-ERR invalid cursor: it is too old or never was one; start again with SCAN 0\r\n").await;
    client.says("SCAN 0 COUNT 0", "-ERR syntax error\r\n").await;
    let pattern = "*a".repeat(129);
    client
        .says(&format!("SCAN 0 MATCH {pattern}"), "-TOOBIG the pattern has 258 bytes; at most 256 are allowed\r\n")
        .await;
    client.says("SET d 4\n FLUSHDB\n GET d\n DBSIZE", "+OK\r\n+OK\r\n$-1\r\n:0\r\n").await;
    node.stop().await;
}

#[actix::test]
async fn replies_keep_their_type_in_version_3() {
    let node = Node::start(|_| ()).await;
    let mut client = node.client().await;
    client.says("GET typed", "*6\r\n$4\r\nhalf\r\n$3\r\n0.5\r\n$4\r\nnone\r\n$-1\r\n$3\r\nyes\r\n:1\r\n").await;
    client.says("HELLO 4", "-NOPROTO unsupported protocol version\r\n").await;
    client.ask("HELLO 3 SETNAME me").await;
    client.expect("%7\r\n$2\r\nid\r\n:").await;
    let mut client = node.client().await;
    client.ask("HELLO 3").await;
    client.expect("%7\r\n").await;
    let mut client = node.client().await;
    client.send("HELLO 3\r\nGET typed\r\nGET none\r\nRESET\r\nGET none\r\nQUIT\r\nPING\r\n").await;
    let rest = client.rest().await;
    let expected = "%3\r\n$4\r\nhalf\r\n,0.5\r\n$4\r\nnone\r\n_\r\n$3\r\nyes\r\n#t\r\n_\r\n+RESET\r\n$-1\r\n+OK\r\n";
    assert!(rest.ends_with(expected), "{rest:?}");
    node.stop().await;
}

#[actix::test]
async fn refusals_begin_with_a_stable_word_and_stay_on_their_line() {
    let node = Node::start(|_| ()).await;
    let mut client = node.client().await;
    client.says("GET throws", "-REFUSED no  +OK ?[2J\r\n").await;
    client.says("GET spins", "-BUDGET operations\r\n").await;
    client.says("GET limited", "-LIMITED retry after 7 ms\r\n").await;
    client.says("GET panics", "-UNAVAILABLE the actor ended before it answered; try again\r\n").await;
    node.stop().await;
}

#[actix::test]
async fn keys_and_values_past_their_limits_are_refused() {
    let node = Node::start(|_| ()).await;
    let mut client = node.client().await;
    client.says("GET \"\"", "-ERR the key is empty; a key has 1 to 1024 bytes\r\n").await;
    let key = "k".repeat(1_025);
    client.says(&format!("GET {key}"), "-TOOBIG the key has 1025 bytes; a key has 1 to 1024 bytes\r\n").await;
    client.says(&format!("DEL a {key}"), "-TOOBIG the key has 1025 bytes; a key has 1 to 1024 bytes\r\n").await;
    let value = "v".repeat((1 << 20) + 1);
    client.send(format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n{value}\r\n", value.len())).await;
    client.expect("-TOOBIG the value has 1048577 bytes; at most 1048576 are allowed\r\n").await;
    client.send(format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1048576\r\n{}\r\n", &value[1..])).await;
    client.says("STRLEN k", "+OK\r\n:1048576\r\n").await;
    node.stop().await;
}

#[actix::test]
async fn unknown_commands_and_wrong_numbers_of_words_get_the_texts_of_redis() {
    let node = Node::start(|_| ()).await;
    let mut client = node.client().await;
    client.says("nope a b", "-ERR unknown command 'nope', with args beginning with: 'a' 'b' \r\n").await;
    client.says("GET", "-ERR wrong number of arguments for 'get' command\r\n").await;
    client.says("MSET a", "-ERR wrong number of arguments for 'mset' command\r\n").await;
    client.says("MSET a 1 b", "-ERR wrong number of arguments for 'mset' command\r\n").await;
    client.says("CLIENT SETNAME", "-ERR wrong number of arguments for 'client|setname' command\r\n").await;
    client.says("CLIENT NOPE", "-ERR unknown subcommand 'NOPE'. Try CLIENT HELP.\r\n").await;
    client
        .says(
            "SELECT 1\n SELECT x",
            "-ERR DB index is out of range\r\n-ERR value is not an integer or out of range\r\n",
        )
        .await;
    node.stop().await;
}

#[actix::test]
async fn an_object_is_put_with_what_its_options_say() {
    let node = Node::start(|_| ()).await;
    let mut client = node.client().await;
    client.ask("ASO.PUT about v SCRIPT vanish/once PIN TTL 5 REPLICAS 3 OWNED").await;
    client.expect("+OK\r\n").await;
    let about = client.text("GET about").await;
    assert_eq!(about, "Some(Named { name: \"vanish/once\", pin: true }) For(5s) Some(3) true");
    client.says("ASO.PUT about v SOURCE \"fn onGet() { 1 }\"", "+OK\r\n").await;
    assert_eq!(client.text("GET about").await, "Some(Source(\"fn onGet() { 1 }\")) Endless None false");
    client.says(&format!("ASO.PUT about v SCRIPT {SECRET}"), "+OK\r\n").await;
    assert_eq!(client.text("GET about").await, "Some(Hash(ScriptHash(".to_owned() + SECRET + "))) Endless None false");
    client.says("ASO.PUT k v SCRIPT a SOURCE b", "-ERR syntax error\r\n").await;
    client.says("ASO.PUT k v TTL 0", "-ERR invalid expire time in 'aso.put' command\r\n").await;
    client.says("ASO.PUT k v REPLICAS 0", "-ERR REPLICAS must be 1 to 20\r\n").await;
    client.says("ASO.PUT new v XX\n ASO.PUT new v nx\n ASO.PUT new w NX", "$-1\r\n+OK\r\n$-1\r\n").await;
    client.says("ASO.PUT new w XX SCRIPT a\n GET new", "+OK\r\n$1\r\nw\r\n").await;
    client.says("ASO.PUT new v NX XX", "-ERR syntax error\r\n").await;
    client.says("SET keeper v", "+OK\r\n").await;
    node.stop().await;
}

#[actix::test]
async fn json_goes_in_and_comes_out() {
    let node = Node::start(|_| ()).await;
    let mut client = node.client().await;
    client.says("ASO.PUT k '{\"a\":[1,2.5,null,true,\"x\"]}' JSON", "+OK\r\n").await;
    assert_eq!(client.text("ASO.GET k JSON").await, "{\"a\":[1,2.5,null,true,\"x\"]}");
    client.says("GET k", "*2\r\n$1\r\na\r\n*5\r\n:1\r\n$3\r\n2.5\r\n$-1\r\n:1\r\n$1\r\nx\r\n").await;
    assert_eq!(client.text("ASO.GET echo '[1, {\"b\": 2}]' JSON").await, "[1,{\"b\":2}]");
    client.says("ASO.GET echo text\n ASO.GET echo", "$4\r\ntext\r\n$-1\r\n").await;
    let error = "-ERR the value is not JSON: expected `,` or `]` at line 1 column 4\r\n";
    client.says("ASO.PUT k '[1 2]' JSON", error).await;
    let deep = "[".repeat(10_000);
    let many = format!("[{}0]", "0,".repeat(65_536));
    client.send(format!("*4\r\n$7\r\nASO.PUT\r\n$1\r\nk\r\n${}\r\n{many}\r\n$4\r\nJSON\r\n", many.len())).await;
    client.expect("-TOOBIG the value has more than 65536 items in its arrays and maps, which is the most\r\n").await;
    client.send(format!("*4\r\n$7\r\nASO.PUT\r\n$1\r\nk\r\n$10000\r\n{deep}\r\n$4\r\nJSON\r\n")).await;
    client.expect("-ERR the value is not JSON: value nests deeper than 32 levels").await;
    node.stop().await;
}

#[actix::test]
async fn objects_and_scripts_can_be_looked_at() {
    let node = Node::start(|_| ()).await;
    let mut client = node.client().await;
    client.says("ASO.LOG k", "*2\r\n$3\r\none\r\n$4\r\ntwo?\r\n").await;
    client.says("ASO.INFO k", "$-1\r\n").await;
    client.says("SET k v", "+OK\r\n").await;
    client.ask("ASO.INFO k").await;
    client.expect("*26\r\n$6\r\nactive\r\n:0\r\n").await;
    let mut client = node.client().await;
    assert_eq!(client.text("ASO.SCRIPT LOAD a \"fn onGet() { 1 }\"").await.len(), 64);
    client.says("ASO.SCRIPT LOAD a x", "-BADSCRIPT a:1:1: not a script\r\n").await;
    client.says("ASO.SCRIPT SHOW a", "-NOSCRIPT no script a; ASO.SCRIPT LIST shows the names\r\n").await;
    client.says("ASO.SCRIPT DROP a", "+OK\r\n").await;
    client.says("ASO.SCRIPT ROLLBACK a", "-ERR script a has no former version to go back to\r\n").await;
    client.ask("ASO.SCRIPT LIST").await;
    client.expect("*1\r\n*16\r\n").await;
    node.stop().await;
}

#[actix::test]
async fn clients_and_their_tools_get_what_they_ask_for_at_the_start() {
    let node = Node::start(|_| ()).await;
    let mut client = node.client().await;
    client.says("CONFIG GET save", "*2\r\n$4\r\nsave\r\n$0\r\n\r\n").await;
    client.says("CONFIG GET appendonly", "*2\r\n$10\r\nappendonly\r\n$3\r\nyes\r\n").await;
    client
        .says("CLIENT SETINFO LIB-NAME redis-py\n CLIENT SETNAME me\n CLIENT GETNAME", "+OK\r\n+OK\r\n$2\r\nme\r\n")
        .await;
    client
        .says("CLIENT SETNAME \"a b\"", "-ERR Client names cannot contain spaces, newlines or special characters.\r\n")
        .await;
    client.says("COMMAND INFO nope", "*1\r\n$-1\r\n").await;
    client
        .says(
            "COMMAND INFO get",
            "*1\r\n*10\r\n$3\r\nget\r\n:2\r\n*1\r\n+readonly\r\n:1\r\n:1\r\n:1\r\n*0\r\n*0\r\n*0\r\n*0\r\n",
        )
        .await;
    client.says("COMMAND DOCS nope", "*0\r\n").await;
    let about = client.text("CLIENT INFO").await;
    assert!(about.contains("name=me") && about.contains("lib-name=redis-py"), "{about}");
    client.says("SET k v", "+OK\r\n").await;
    let info = client.text("INFO").await;
    for expected in ["# Server", "redis_version:7.0.0", "connected_clients:1", "db0:keys=1"] {
        assert!(info.contains(expected), "{expected} in {info}");
    }
    let port = format!("tcp_port:{}\r\n", node.bound.address().expect("bound").port());
    let server = client.text("INFO server").await;
    assert!(server.contains(&port) && !server.contains("# Clients"), "{server}");
    node.stop().await;
}

fn user(name: &str, operator: bool) -> settings::User {
    settings::User { name: name.to_owned(), password_sha256: SECRET.to_owned(), operator }
}

#[actix::test]
async fn with_users_configured_a_client_has_to_log_in() {
    let node = Node::start(|settings| settings.users = vec![user("ann", true), user("bob", false)]).await;
    let mut client = node.client().await;
    client.says("GET k\n PING", "-NOAUTH Authentication required.\r\n-NOAUTH Authentication required.\r\n").await;
    client.ask("HELLO 3").await;
    client.expect("-NOAUTH HELLO must be called").await;
    let mut client = node.client().await;
    let wrong = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";
    client.says("AUTH bob wrong\n GET k", &format!("{wrong}-NOAUTH Authentication required.\r\n")).await;
    client.says("AUTH bob secret\n GET k", "+OK\r\n$-1\r\n").await;
    client.says("FLUSHDB", "-NOPERM User bob has no permissions to run the 'flushdb' command\r\n").await;
    client.ask("ASO.SCRIPT LOAD a fn").await;
    client.expect("-NOPERM User bob").await;
    let mut client = node.client().await;
    client.ask("HELLO 2 AUTH ann secret").await;
    client.expect("*14\r\n").await;
    let mut client = node.client().await;
    client.says("AUTH ann secret\n FLUSHDB", "+OK\r\n+OK\r\n").await;
    let caller = client.text("GET caller").await;
    assert_eq!(caller, format!("ann {}", client.0.local_addr().expect("connected")));
    client.send("*11\r\n").await;
    let mut stranger = node.client().await;
    stranger.send("*11\r\n").await;
    assert_eq!(stranger.rest().await, "-ERR Protocol error: unauthenticated multibulk length\r\n");
    node.stop().await;
}

#[actix::test]
async fn a_wrong_password_is_told_so_however_little_time_a_request_has() {
    let change = |settings: &mut settings::Gateway| {
        settings.users = vec![user("ann", true)];
        settings.request_timeout_ms = 100;
    };
    let node = Node::start(change).await;
    let refusal = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";
    node.client().await.says("AUTH ann wrong", refusal).await;
    node.stop().await;
}

#[actix::test]
async fn without_users_there_is_no_password_to_give() {
    let node = Node::start(|_| ()).await;
    let mut client = node.client().await;
    client.ask("AUTH secret").await;
    client.expect("-ERR AUTH <password> called without any password configured for the default user.").await;
    node.stop().await;
}

#[actix::test]
async fn no_words_make_a_connection_fail() {
    let node = Node::start(|_| ()).await;
    let commands = "get set setnx setex psetex getset getdel mget mset strlen incr decr incrby decrby incrbyfloat del \
                    unlink exists type expire pexpire expireat pexpireat persist ttl pttl expiretime pexpiretime scan \
                    dbsize flushdb flushall aso.put aso.get aso.info aso.log aso.script ping echo select client \
                    command config info";
    let words = "k \"\" 0 -1 1 9223372036854775807 -9223372036854775808 18446744073709551615 nan inf 1e309 EX PX NX XX \
                 GET MATCH COUNT TYPE * [ \\xff \"\\xff\\r\\n\" JSON SCRIPT SOURCE TTL REPLICAS OWNED PIN LOAD LIST \
                 SHOW DROP ROLLBACK ID INFO SETNAME SETINFO HELP DOCS GET save {} [1,2] SYNC all";
    let words: Vec<&str> = words.split_whitespace().collect();
    let mut state = 0x2545_f491_4f6c_dd1d_usize;
    let mut random = |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % bound
    };
    for command in commands.split_whitespace() {
        let mut client = node.client().await;
        let line = |random: &mut dyn FnMut(usize) -> usize| {
            let arguments: Vec<&str> = (0..random(7)).map(|_| words[random(words.len())]).collect();
            format!("{command} {}", arguments.join(" "))
        };
        let lines: Vec<String> = (0..40).map(|_| line(&mut random)).collect();
        client.ask(&format!("{}\nECHO the-end\nQUIT", lines.join("\n"))).await;
        let rest = client.rest().await;
        assert!(rest.ends_with("$7\r\nthe-end\r\n+OK\r\n"), "{command}: {lines:?} ended with {rest:?}");
    }
    node.stop().await;
}
