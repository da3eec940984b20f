//! What clients and their tools ask of a server: its commands, its configuration, how it is.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use comet_kernel::contract::storage::{ReadStatus, Status};
use comet_kernel::{Pattern, Value};

use super::connection::REDIS_VERSION;
use super::{Command, Start, all, help, named, subcommand};
use crate::answers::Started;
use crate::error_line::ErrorLine;
use crate::frame::Frame;
use crate::gateway::Common;
use crate::session::Session;
use crate::words::{Words, is};

pub(super) const COMMANDS: &[Command] = &[
    Command::keyless("command", -1, command, "server", "Tells about the commands."),
    Command::keyless("config", -2, config, "server", "Tells about the configuration."),
    Command::keyless("info", -1, info, "server", "Tells how the node is."),
];

const COMMAND: &[(&str, i32, Start)] = &[
    ("count", 2, |_, _| Ok(Started::Done(Frame::count(all().count())))),
    ("docs", -2, docs),
    ("info", -2, command_info),
    ("list", 2, |_, _| Ok(Started::Done(Frame::Array(all().map(|it| Frame::text(it.name)).collect())))),
    ("help", 2, |_, words| Ok(help(words, COMMAND))),
];

fn command(session: &mut Session, words: Words<'_>) -> Result<Started, ErrorLine> {
    if words.count() == 1 { command_info(session, words) } else { subcommand(session, words, COMMAND) }
}

/// The commands named from place 2 on, or all; none at the place of a name that is no command's.
fn asked(words: Words<'_>) -> Vec<Option<&'static Command>> {
    if words.count() <= 2 { all().map(Some).collect() } else { words.from(2).iter().map(named).collect() }
}

fn command_info(_: &mut Session, words: Words<'_>) -> Result<Started, ErrorLine> {
    let tell = |command: Option<&'static Command>| command.map_or(Frame::NULL, described);
    Ok(Started::Done(Frame::Array(asked(words).into_iter().map(tell).collect())))
}

/// One command in the form of `COMMAND INFO`.
fn described(command: &'static Command) -> Frame {
    let (first, last, step) = command.keys;
    let mut flags = vec![Frame::Status(if command.writes { "write" } else { "readonly" })];
    if command.open {
        flags.push(Frame::Status("no_auth"));
    }
    let number = |number: i32| Frame::Value(Value::Int(i64::from(number)));
    let nothing = || Frame::Array(Vec::new());
    Frame::Array(vec![
        Frame::text(command.name),
        number(command.arity),
        Frame::Array(flags),
        number(first),
        number(last),
        number(step),
        nothing(),
        nothing(),
        nothing(),
        nothing(),
    ])
}

fn docs(_: &mut Session, words: Words<'_>) -> Result<Started, ErrorLine> {
    let doc = |command: &'static Command| {
        let fields = [
            ("summary", command.summary),
            ("since", env!("CARGO_PKG_VERSION")),
            ("group", command.group),
            ("complexity", "O(N) in the keys named"),
        ];
        (command.name.into(), map(fields.into_iter().map(|(name, text)| (name, Value::from(text)))))
    };
    let docs = asked(words).into_iter().flatten().map(doc).collect();
    Ok(Started::Done(Frame::Value(Value::Map(docs))))
}

fn map<'a>(fields: impl Iterator<Item = (&'a str, Value)>) -> Value {
    Value::Map(fields.map(|(name, value)| (name.into(), value)).collect())
}

const CONFIG: &[(&str, i32, Start)] = &[("get", -3, config_get), ("help", 2, |_, words| Ok(help(words, CONFIG)))];

fn config(session: &mut Session, words: Words<'_>) -> Result<Started, ErrorLine> {
    subcommand(session, words, CONFIG)
}

/// What tools ask for before they begin. Comet's own configuration is the operator's, not the clients'.
fn config_get(session: &mut Session, words: Words<'_>) -> Result<Started, ErrorLine> {
    let settings = &session.common.settings;
    let known = [
        ("appendonly", "yes".to_owned()),
        ("databases", "1".to_owned()),
        ("maxclients", settings.max_connections.to_string()),
        ("maxmemory", "0".to_owned()),
        ("maxmemory-policy", "noeviction".to_owned()),
        ("proto-max-bulk-len", comet_kernel::limits::VALUE_BYTES.to_string()),
        ("save", String::new()),
        ("timeout", settings.idle_seconds.to_string()),
    ];
    let mut found: BTreeMap<Arc<str>, Value> = BTreeMap::new();
    // No name is as long as the patterns that are refused here.
    for pattern in words.from(2).iter().filter_map(|word| Pattern::new(&word.to_ascii_lowercase())) {
        let wanted = known.iter().filter(|(name, _)| pattern.matches(name.as_bytes()));
        found.extend(wanted.map(|(name, value)| ((*name).into(), Value::from(value.as_str()))));
    }
    Ok(Started::Done(Frame::Value(Value::Map(found))))
}

type Section = (&'static str, fn(&Common, &Status) -> String);

const SECTIONS: &[Section] =
    &[("Server", server), ("Clients", clients), ("Persistence", persistence), ("Stats", stats), ("Keyspace", keyspace)];

fn info(session: &mut Session, words: Words<'_>) -> Result<Started, ErrorLine> {
    let everything = ["all", "default", "everything"];
    let wanted = |section: &&Section| {
        let named = |word: &[u8]| is(word, section.0) || everything.iter().any(|all| is(word, all));
        words.count() == 1 || words.from(1).iter().any(named)
    };
    let sections: Vec<&'static Section> = SECTIONS.iter().filter(wanted).collect();
    let common = session.common.clone();
    Ok(Started::Task(Box::pin(async move {
        // A node whose storage does not answer still tells the rest.
        let status = common.storage.read_status.call(ReadStatus).await.unwrap_or_default();
        let text = sections.iter().map(|(name, fields)| format!("# {name}\r\n{}", fields(&common, &status)));
        Frame::text(&text.collect::<Vec<_>>().join("\r\n"))
    })))
}

fn server(common: &Common, _: &Status) -> String {
    let uptime = common.kernel.clock.now().since(common.started).as_secs();
    let port = common.socket.bound.address().map_or(0, |address| address.port());
    lines(&[
        ("redis_version", &REDIS_VERSION),
        ("redis_mode", &if common.objects.is_networked() { "network" } else { "standalone" }),
        ("comet_version", &env!("CARGO_PKG_VERSION")),
        ("os", &std::env::consts::OS),
        ("arch_bits", &usize::BITS),
        ("process_id", &std::process::id()),
        ("run_id", &common.node),
        ("tcp_port", &port),
        ("uptime_in_seconds", &uptime),
        ("uptime_in_days", &(uptime / 86_400)),
    ])
}

fn clients(common: &Common, _: &Status) -> String {
    lines(&[("connected_clients", &common.tally.open()), ("maxclients", &common.settings.max_connections)])
}

fn persistence(_: &Common, status: &Status) -> String {
    lines(&[
        ("loading", &0),
        ("read_only", &u8::from(status.read_only.is_some())),
        ("disk_used_bytes", &status.disk_used),
        ("disk_free_bytes", &status.disk_free),
        ("unreadable_records", &status.unreadable),
    ])
}

fn stats(common: &Common, status: &Status) -> String {
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let tally = &common.tally;
    let memory = common.objects.directory().size();
    lines(&[
        ("total_connections_received", &count(&tally.accepted)),
        ("rejected_connections", &count(&tally.rejected)),
        ("total_commands_processed", &count(&tally.requests)),
        ("total_net_input_bytes", &count(&tally.read)),
        ("total_net_output_bytes", &count(&tally.written)),
        ("keys_in_memory", &memory.keys),
        ("active_objects", &memory.active),
        ("bytes_in_memory", &memory.bytes),
        ("total_writes", &status.writes),
        ("total_commits", &status.commits),
    ])
}

fn keyspace(_: &Common, status: &Status) -> String {
    if status.objects == 0 { String::new() } else { lines(&[("db0", &format_args!("keys={}", status.objects))]) }
}

fn lines(fields: &[(&str, &dyn std::fmt::Display)]) -> String {
    fields.iter().fold(String::new(), |mut lines, (name, value)| {
        let _a_string_takes_everything = write!(lines, "{name}:{value}\r\n");
        lines
    })
}
