//! `comet put`, `get`, `del` and `info`: objects, through the Redis protocol as any client would.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use comet_kernel::{Key, limits};
use redis::{Cmd, Connection, ErrorKind, IntoConnectionInfo, ProtocolVersion, RedisError, Value};
use serde_json::{Value as Json, json};

use super::failure::Failure;
use super::json;
use super::output::Output;
use super::table::Table;

/// How long a node may take to take a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a node may take over an answer: longer than `gateway.request_timeout_ms` by default.
const ANSWER: Duration = Duration::from_secs(60);

/// Which node, and as whom.
#[derive(Debug, clap::Args)]
struct Server {
    /// Where the node listens for Redis clients.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:7379", env = "COMET_NODE")]
    node: String,
    /// The user to log in as.
    #[arg(long, env = "COMET_USER", requires = "password")]
    user: Option<String>,
    /// The user's password; better given in the environment, where other users do not see it.
    #[arg(long, env = "COMET_PASSWORD", hide_env_values = true)]
    password: Option<String>,
}

/// Keys are taken byte for byte. Without a script the object is a plain value, as Redis's SET makes it.
#[derive(Debug, clap::Args)]
pub(super) struct Put {
    /// The object's key: 1 to 1,024 bytes.
    key: OsString,
    /// The value; `-` reads it from standard input. With --json it is parsed as JSON.
    #[arg(allow_hyphen_values = true)]
    value: OsString,
    /// The script that runs in the object: the name of one that the node has, or the hash of one that it knows.
    #[arg(long, value_name = "NAME|HASH", conflicts_with = "source")]
    script: Option<String>,
    /// A file with the source of the script that runs in the object.
    #[arg(long, value_name = "FILE")]
    source: Option<PathBuf>,
    /// How long the object lives; for ever unless told.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    ttl: Option<u64>,
    /// Only the same user may replace or remove the object.
    #[arg(long)]
    owned: bool,
    /// Stay with the present version of the named script when a newer one is loaded.
    #[arg(long, requires = "script")]
    pin: bool,
    /// Only if nothing is there.
    #[arg(long, conflicts_with = "xx")]
    nx: bool,
    /// Only if something is there.
    #[arg(long)]
    xx: bool,
    /// How many nodes of the network are to hold the object, if not as many as the node's configuration says.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=i64::from(limits::REPLICAS)))]
    replicas: Option<u8>,
    #[command(flatten)]
    server: Server,
}

/// Prints the value byte for byte into a file or pipe; on a terminal what could act on it is escaped. Arrays and maps are
/// printed as JSON.
#[derive(Debug, clap::Args)]
pub(super) struct Get {
    /// The object's key.
    key: OsString,
    /// What the object's `onGet` receives with the get. With --json it is parsed as JSON.
    #[arg(long, allow_hyphen_values = true)]
    payload: Option<OsString>,
    /// Asks several nodes that hold the object, and prints up to so many answers as a list.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=i64::from(limits::REPLICAS)))]
    answers: Option<u8>,
    #[command(flatten)]
    server: Server,
}

/// Ends with code 1 if one of the keys was not there.
#[derive(Debug, clap::Args)]
pub(super) struct Del {
    /// The objects' keys.
    #[arg(required = true)]
    keys: Vec<OsString>,
    #[command(flatten)]
    server: Server,
}

/// Script, version, size, owner, time to live, timer, calls and failures of an object.
#[derive(Debug, clap::Args)]
pub(super) struct Info {
    /// The object's key.
    key: OsString,
    #[command(flatten)]
    server: Server,
}

/// `comet put`.
pub(super) fn put(put: Put, output: &mut Output) -> Result<(), Failure> {
    let command = put.command(output.json)?;
    let reply = put.server.ask(&command)?;
    if reply == Value::Nil {
        let why = match (put.nx, put.xx) {
            (true, _) => "something is there already",
            (_, true) => "nothing is there",
            _ => "the object that is there kept its place",
        };
        return Err(Failure::Refused(format!("{} was not put: {why}", shown(&put.key))));
    }
    if output.json { output.json(&json!({ "reply": json::reply(&reply) })) } else { output.line(&json::words(&reply)) }
}

impl Put {
    fn command(&self, json: bool) -> Result<Cmd, Failure> {
        let mut command = redis::cmd("ASO.PUT");
        command.arg(checked(&self.key)?).arg(self.read_value()?);
        if json {
            command.arg("JSON");
        }
        if let Some(script) = &self.script {
            command.arg("SCRIPT").arg(script);
        }
        if let Some(path) = &self.source {
            command.arg("SOURCE").arg(read_script(path)?);
        }
        if let Some(ttl) = self.ttl {
            command.arg("TTL").arg(ttl);
        }
        if let Some(replicas) = self.replicas {
            command.arg("REPLICAS").arg(replicas);
        }
        for (wanted, word) in [(self.owned, "OWNED"), (self.pin, "PIN"), (self.nx, "NX"), (self.xx, "XX")] {
            if wanted {
                command.arg(word);
            }
        }
        Ok(command)
    }

    fn read_value(&self) -> Result<Vec<u8>, Failure> {
        if self.value != "-" {
            return Ok(self.value.as_bytes().to_vec());
        }
        let mut bytes = Vec::new();
        // One byte more than a value may have shows that it is too long.
        let most = limits::VALUE_BYTES as u64 + 1;
        let read = std::io::stdin().lock().take(most).read_to_end(&mut bytes);
        read.map_err(|error| Failure::Usage(format!("cannot read the value from standard input: {error}")))?;
        if bytes.len() > limits::VALUE_BYTES {
            let text = format!("the value has more than {} bytes, which is the most", limits::VALUE_BYTES);
            return Err(Failure::Refused(text));
        }
        Ok(bytes)
    }
}

/// `comet get`.
pub(super) fn get(get: Get, output: &mut Output) -> Result<(), Failure> {
    let mut command = redis::cmd("ASO.GET");
    command.arg(checked(&get.key)?);
    match &get.payload {
        Some(payload) => command.arg(payload.as_bytes()),
        // In JSON this is the payload of a get without one.
        None if output.json => command.arg("null"),
        None => &mut command,
    };
    if output.json {
        command.arg("JSON");
    }
    if let Some(answers) = get.answers {
        command.arg("ANSWERS").arg(answers);
    }
    let reply = get.server.ask(&command)?;
    if get.answers.is_some() {
        return several(&get.key, &reply, output);
    }
    if output.json {
        // The node writes JSON text; a null is nothing.
        let document = match reply {
            Value::Nil => Json::Null,
            text => serde_json::from_str(&json::words(&text)).unwrap_or_else(|_| json::reply(&text)),
        };
        output.json(&document)?;
        return if document.is_null() { Err(nothing(&get.key)) } else { Ok(()) };
    }
    match reply {
        Value::Nil => Err(nothing(&get.key)),
        Value::BulkString(bytes) => output.value(&bytes),
        list @ (Value::Array(_) | Value::Map(_) | Value::Set(_)) => output.text(&format!("{:#}\n", json::reply(&list))),
        Value::Okay => output.value(b"OK"),
        scalar => output.value(json::words(&scalar).as_bytes()),
    }
}

/// What several nodes answered: a list, even of one.
fn several(key: &OsStr, reply: &Value, output: &mut Output) -> Result<(), Failure> {
    let Value::Array(answers) = reply else { return Err(unexpected(reply)) };
    if output.json {
        // The node writes each answer as JSON text.
        let answer = |text: &Value| serde_json::from_str(&json::words(text)).unwrap_or_else(|_| json::reply(text));
        output.json(&answers.iter().map(answer).collect::<Json>())?;
    } else {
        output.text(&format!("{:#}\n", json::reply(reply)))?;
    }
    if answers.is_empty() { Err(nothing(key)) } else { Ok(()) }
}

fn nothing(key: &OsStr) -> Failure {
    Failure::Refused(format!("there is nothing under {}", shown(key)))
}

/// `comet del`.
pub(super) fn del(del: Del, output: &mut Output) -> Result<(), Failure> {
    let mut command = redis::cmd("DEL");
    for key in &del.keys {
        command.arg(checked(key)?);
    }
    let reply = del.server.ask(&command)?;
    let Value::Int(removed) = reply else { return Err(unexpected(&reply)) };
    if output.json {
        output.json(&json!({ "removed": removed }))?;
    } else {
        output.line(&format!("removed {removed}"))?;
    }
    let missing = (del.keys.len() as i64).saturating_sub(removed);
    match missing {
        0 => Ok(()),
        _ if del.keys.len() == 1 => Err(Failure::Refused(format!("there is nothing under {}", shown(&del.keys[0])))),
        _ => Err(Failure::Refused(format!("there was nothing under {missing} of {} keys", del.keys.len()))),
    }
}

/// `comet info`.
pub(super) fn info(info: Info, output: &mut Output) -> Result<(), Failure> {
    let mut command = redis::cmd("ASO.INFO");
    command.arg(checked(&info.key)?);
    let reply = info.server.ask(&command)?;
    let Value::Map(fields) = &reply else {
        return Err(match reply {
            Value::Nil => Failure::Refused(format!("there is nothing under {}", shown(&info.key))),
            other => unexpected(&other),
        });
    };
    if output.json {
        return output.json(&json::reply(&reply));
    }
    let mut table = Table::new(&[]);
    for (name, value) in fields {
        let value = if *value == Value::Nil { "-".to_owned() } else { json::words(value) };
        table.row([json::words(name), value]);
    }
    output.text(&table.to_string())
}

impl Server {
    fn ask(&self, command: &Cmd) -> Result<Value, Failure> {
        let mut connection = self.connect()?;
        let settled = connection.set_read_timeout(Some(ANSWER)).and(connection.set_write_timeout(Some(ANSWER)));
        settled.and_then(|()| command.query(&mut connection)).map_err(|error| self.failure(&error))
    }

    fn connect(&self) -> Result<Connection, Failure> {
        let wrong = |error: RedisError| {
            let text = format!("{:?} is no address of a node ({error}); one is 127.0.0.1:7379", self.node);
            Failure::Usage(text)
        };
        let info = format!("redis://{}", self.node).into_connection_info().map_err(wrong)?;
        let mut settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3).set_skip_set_lib_name();
        if let Some(user) = &self.user {
            settings = settings.set_username(user);
        }
        if let Some(password) = &self.password {
            settings = settings.set_password(password);
        }
        let client = redis::Client::open(info.set_redis_settings(settings)).map_err(wrong)?;
        client.get_connection_with_timeout(CONNECT).map_err(|error| {
            if error.is_io_error() {
                return Failure::NoNode(format!(
                    "no node at {}: {error}; start one with `comet node`, or name its address with --node",
                    self.node
                ));
            }
            self.failure(&error)
        })
    }

    fn failure(&self, error: &RedisError) -> Failure {
        if error.is_timeout() || error.is_io_error() {
            return Failure::Unavailable(format!("the connection to {} broke: {error}; try again", self.node));
        }
        let (word, detail) = (error.code().unwrap_or_default(), error.detail().unwrap_or_default());
        let text = format!("{word} {detail}").trim().to_owned();
        match word {
            "UNAVAILABLE" | "LIMITED" | "TIMEOUT" | "NOQUORUM" | "LOADING" | "TRYAGAIN" | "BUSY" => {
                Failure::Unavailable(text)
            }
            "NOAUTH" | "WRONGPASS" => {
                Failure::Refused(format!("{text}; log in with --user and COMET_PASSWORD in the environment"))
            }
            "" if error.kind() == ErrorKind::AuthenticationFailed => {
                Failure::Refused(format!("{error}; log in with --user and COMET_PASSWORD in the environment"))
            }
            "" => Failure::Refused(error.to_string()),
            _ => Failure::Refused(text),
        }
    }
}

/// The key's bytes, if they are a key.
pub(super) fn checked(key: &OsStr) -> Result<&[u8], Failure> {
    Key::new(key.as_bytes()).map_err(|error| Failure::Usage(error.to_string()))?;
    Ok(key.as_bytes())
}

fn shown(key: &OsStr) -> String {
    key.as_bytes().escape_ascii().to_string()
}

fn unexpected(reply: &Value) -> Failure {
    Failure::Unavailable(format!("the node answered {}; is it a comet node?", json::reply(reply)))
}

/// The source in a file, or from standard input if the path is `-`. Larger ones than scripts may be are refused.
pub(super) fn read_script(path: &Path) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let most = limits::SCRIPT_BYTES as u64 + 1;
    let read = if path.as_os_str() == "-" {
        std::io::stdin().lock().take(most).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes))
    };
    let shown = path.display();
    read.map_err(|error| Failure::Usage(format!("cannot read the script {shown}: {error}")))?;
    if bytes.len() > limits::SCRIPT_BYTES {
        let most = limits::SCRIPT_BYTES;
        return Err(Failure::Refused(format!("the script {shown} has more than {most} bytes, which is the most")));
    }
    String::from_utf8(bytes).map_err(|error| Failure::Refused(format!("the script {shown} is no UTF-8 text: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line<A: clap::Args> {
        #[command(flatten)]
        args: A,
    }

    fn words(command: &Cmd) -> String {
        let words = command.args_iter().map(|word| match word {
            redis::Arg::Simple(bytes) => bytes.escape_ascii().to_string(),
            redis::Arg::Cursor => "0".to_owned(),
            _ => "?".to_owned(),
        });
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_put_says_what_the_flags_say() {
        let line = "put k -5 --script counter --ttl 7 --owned --pin";
        let put = Line::<Put>::try_parse_from(line.split(' ')).unwrap().args;
        assert_eq!(words(&put.command(true).unwrap()), "ASO.PUT k -5 JSON SCRIPT counter TTL 7 OWNED PIN");
        let plain = Line::<Put>::try_parse_from(["put", "k", "v"]).unwrap().args;
        assert_eq!(words(&plain.command(false).unwrap()), "ASO.PUT k v");
        let conditional = Line::<Put>::try_parse_from("put k v --nx --ttl 7".split(' ')).unwrap().args;
        assert_eq!(words(&conditional.command(false).unwrap()), "ASO.PUT k v TTL 7 NX");
        let wide = Line::<Put>::try_parse_from("put k v --script s --xx --replicas 3".split(' ')).unwrap().args;
        assert_eq!(words(&wide.command(false).unwrap()), "ASO.PUT k v SCRIPT s REPLICAS 3 XX");
    }

    #[test]
    fn keys_are_bytes_of_the_length_that_keys_have() {
        assert_eq!(checked(OsStr::from_bytes(b"\xff\0")), Ok(&b"\xff\0"[..]));
        assert_eq!(checked(OsStr::new("")).unwrap_err().code(), 2);
        assert_eq!(checked(OsStr::new(&"x".repeat(1_025))).unwrap_err().code(), 2);
    }

    #[test]
    fn a_script_that_is_missing_too_long_or_no_text_is_refused_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.rhai");
        assert!(read_script(&path).unwrap_err().to_string().contains("s.rhai"));
        for bytes in [vec![b' '; limits::SCRIPT_BYTES + 1], vec![0xff]] {
            std::fs::write(&path, bytes).unwrap();
            let failure = read_script(&path).unwrap_err();
            assert!(failure.code() == 1 && failure.to_string().contains("s.rhai"), "{failure}");
        }
    }

    #[test]
    fn without_a_node_the_code_is_3_and_the_error_says_what_to_do() {
        let get = Line::<Get>::try_parse_from(["get", "k", "--node", "127.0.0.1:1"]).unwrap().args;
        let failure = get.server.ask(&redis::cmd("PING")).unwrap_err();
        assert_eq!(failure.code(), 3);
        assert!(failure.to_string().contains("comet node"), "{failure}");
    }
}
