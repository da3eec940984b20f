//! The node's configuration: every field once, with its default, range and meaning.
//!
//! Layered: defaults, a file in TOML, `COMET_*` variables of the environment, flags; each layer overrides those before
//! it. The kernel does no I/O: it is handed the file's text and the variables.

mod durability;
mod list;
mod whole;

use std::collections::HashMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::identity::NodeId;

pub use self::durability::Durability;
pub use self::list::List;

/// Declares the sections, their defaults, their checks and their annotated text from one source.
macro_rules! settings {
    ($(
        $(#[doc = $about:literal])+
        $section:ident: $Section:ident {
            $(
                $(#[doc = $doc:literal])+
                $field:ident: $kind:ty = $default:expr $(, $range:expr)?;
            )+
        }
    )+) => {
        /// The node's configuration.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct Settings {
            $( $(#[doc = $about])+ pub $section: $Section, )+
        }

        $(
            $(#[doc = $about])+
            #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
            #[serde(deny_unknown_fields, default)]
            pub struct $Section {
                $(
                    $(#[doc = $doc])+
                    $(
                        #[doc = concat!("\n Range: `", stringify!($range), "`.")]
                        #[serde(deserialize_with = "whole::read")]
                    )?
                    pub $field: $kind,
                )+
            }

            impl Default for $Section {
                fn default() -> Self {
                    $Section { $( $field: $default, )+ }
                }
            }
        )+

        impl Settings {
            fn check_ranges(&self) -> Result<(), SettingsError> {
                $( $( $(
                    let (range, value) = ($range, self.$section.$field);
                    if !range.contains(&value) {
                        return Err(SettingsError::OutOfRange {
                            field: concat!(stringify!($section), ".", stringify!($field)),
                            value: value.to_string(),
                            range: format!("{} to {}", range.start(), range.end()),
                        });
                    }
                )? )+ )+
                Ok(())
            }

            /// An annotated file with every field at its default.
            pub fn annotated() -> String {
                let mut text = String::from(PREAMBLE);
                let defaults = Settings::default();
                $(
                    text.push('\n');
                    $( comment(&mut text, $about); )+
                    let _infallible = writeln!(text, "[{}]", stringify!($section));
                    $(
                        $( comment(&mut text, $doc); )+
                        $( comment(&mut text, &format!(" Range: {} to {}.", $range.start(), $range.end())); )?
                        let default = defaults.$section.$field.toml();
                        let _infallible = writeln!(text, "{} = {default}", stringify!($field));
                    )+
                )+
                text
            }

            /// Every field, as `section.field`.
            pub const FIELDS: &'static [&'static str] = &[
                $( $( concat!(stringify!($section), ".", stringify!($field)), )+ )+
            ];
        }
    };
}

const PREAMBLE: &str = "\
# The configuration of a Comet node. Every field stands here with its default: a file needs only those that differ.
# `comet node --config FILE` reads it; COMET_SECTION__FIELD in the environment overrides it; flags override both.
";

settings! {
    /// The database.
    storage: Storage {
        /// What an acknowledged write survives. `always`: a crash and the loss of power. `interval`: a crash; the loss of
        /// power costs what came after the last flush. `none`: either may cost what came after the last flush.
        durability: Durability = Durability::Always;
        /// Milliseconds between flushes of what handlers changed, and of everything under `interval` and `none`.
        flush_interval_ms: u64 = 100_u64, 1..=60_000_u64;
        /// MiB of memory for the database's cache of blocks.
        cache_mib: u64 = 32_u64, 1..=65_536_u64;
        /// MiB of journal on the disk. A start replays it, so that more makes writes steadier and starts slower.
        journal_mib: u64 = 64_u64, 64..=4_096_u64;
        /// MiB that must stay free on the disk. With less the node takes no writes.
        min_free_mib: u64 = 256_u64, 1..=1_048_576_u64;
    }
    /// The hosting of objects.
    aso: Aso {
        /// Threads that host objects; 0 is one fewer than the processor has cores, and at least one.
        shards: u64 = 0_u64, 0..=256_u64;
        /// MiB that values and active objects may take in memory before those not used for longest leave it.
        memory_mib: u64 = 256_u64, 1..=1_048_576_u64;
        /// Seconds without use after which an object leaves memory.
        idle_seconds: u64 = 300_u64, 1..=86_400_u64;
        /// Longest life in seconds of an object that is put through this node; 0 is no limit.
        max_ttl_seconds: u64 = 0_u64, 0..=3_162_240_000_u64;
        /// Operations of one handler call.
        operations: u64 = 100_000_u64, 1_000..=10_000_000_u64;
        /// Milliseconds of processor time of one handler call.
        cpu_ms: u64 = 20_u64, 1..=1_000_u64;
        /// KiB that one handler call may hold at once.
        memory_kib: u64 = 1_024_u64, 64..=4_096_u64;
        /// Bytes of one string in a script.
        string_bytes: u64 = 32_768_u64, 256..=65_536_u64;
        /// Items of one array or map in a script.
        items: u64 = 1_000_u64, 16..=1_000_u64;
        /// Bytes of an object's serialized state.
        state_bytes: u64 = 65_536_u64, 1_024..=1_048_576_u64;
        /// Depth of calls in a script.
        call_depth: u64 = 32_u64, 4..=32_u64;
        /// Requests that one object may park with `comet.later()`.
        parked: u64 = 64_u64, 0..=1_024_u64;
        /// Seconds after which a parked request ends with a time-out.
        parked_seconds: u64 = 30_u64, 1..=3_600_u64;
        /// Milliseconds of processor time that one object may use in each second, averaged over ten.
        cpu_share_ms: u64 = 100_u64, 1..=1_000_u64;
        /// Gets, puts and removals of one object with a script in each second, by everyone; 0 is no limit.
        calls_per_second: u64 = 0_u64, 0..=1_000_000_000_u64;
        /// Gets, puts and removals of one object with a script in each second, by one caller; 0 is no limit.
        caller_calls_per_second: u64 = 0_u64, 0..=1_000_000_000_u64;
        /// Failures after which an object is quarantined.
        quarantine_failures: u64 = 5_u64, 1..=1_000_u64;
        /// Seconds within which they count.
        quarantine_seconds: u64 = 60_u64, 1..=86_400_u64;
        /// Requests to other nodes that one event of an object may cause.
        actions: u64 = 2_u64, 0..=16_u64;
        /// Requests to other nodes in each second that one object may cause; twice as many at once.
        actions_per_second: u64 = 2_u64, 1..=1_000_u64;
        /// Publishers whose signed scripts may use any key and cause requests in a chain: what `comet keys show` prints.
        publishers: List = List::default();
    }
    /// The network of nodes.
    network: Network {
        /// Where to listen for other nodes: multiaddresses such as `/ip4/0.0.0.0/tcp/7380` and
        /// `/ip4/0.0.0.0/udp/7380/quic-v1`. None: the node stays alone.
        listen: List = List::default();
        /// Nodes to join: multiaddresses that end in `/p2p/` and a peer id. None: this node starts a network.
        bootstrap: List = List::default();
        /// Addresses to tell others, if they cannot reach this node on those that it listens on.
        external: List = List::default();
        /// Whether nodes of the same local network find each other by multicast DNS.
        mdns: bool = false;
        /// A file with a pre-shared key of 64 hexadecimal digits: only nodes that hold it can connect, over TCP alone.
        key_file: String = String::new();
        /// Peer ids that may connect. Empty: everyone.
        allow: List = List::default();
        /// Peer ids that may not connect.
        block: List = List::default();
        /// Connections at once; more are refused. Fewer, and the node says so, if it may not open so many files.
        max_connections: u64 = 512_u64, 4..=65_536_u64;
        /// MiB of resident memory above which no new connections are taken; 0 is no limit.
        max_memory_mib: u64 = 0_u64, 0..=1_048_576_u64;
        /// Peers of one address group (/24 of IPv4, /48 of IPv6) in a bucket of the routing table, and one more than that
        /// in the table: whoever holds a few address ranges cannot fill it. Of a group as many addresses are dialled in
        /// a minute where nobody is known yet.
        group_peers: u64 = 2_u64, 1..=1_000_u64;
        /// Whether that holds for loopback and private addresses too.
        group_private: bool = false;
        /// Requests in each second of one peer; more are refused.
        peer_requests_per_second: u64 = 50_000_u64, 10..=10_000_000_u64;
        /// KiB in each second of one peer; reading slows down past it.
        peer_kib_per_second: u64 = 262_144_u64, 64..=16_777_216_u64;
        /// Milliseconds that one request to one peer may take.
        request_timeout_ms: u64 = 2_000_u64, 50..=60_000_u64;
    }
    /// How objects are kept in the network.
    dht: Dht {
        /// Nodes that hold an object, unless its put says otherwise.
        replication: u64 = 8_u64, 1..=20_u64;
        /// How many of them must have stored a put before it is acknowledged; all, if there are fewer nodes.
        write_quorum: u64 = 3_u64, 1..=20_u64;
        /// How many nodes are asked at once for an object that this node does not hold.
        read_parallel: u64 = 3_u64, 1..=20_u64;
        /// Seconds between comparisons of what this node stores with the nodes that should store it.
        replicate_interval_seconds: u64 = 1_800_u64, 1..=86_400_u64;
        /// Milliseconds after a change among the neighbours before the objects that it concerns are compared.
        neighbour_delay_ms: u64 = 3_000_u64, 10..=600_000_u64;
        /// Seconds that a node which stops spends at most on handing its objects over.
        drain_seconds: u64 = 20_u64, 0..=3_600_u64;
        /// MiB that the objects put by one node may take here; 0 is no limit.
        quota_mib: u64 = 4_096_u64, 0..=1_048_576_u64;
    }
    /// The library of named scripts.
    scripts: Scripts {
        /// A folder to watch: `NAME.rhai` becomes the script NAME when it is saved. Empty: none.
        dir: String = String::new();
    }
    /// Timers.
    timer: Timer {
        /// By up to this part of its interval, in percent, a tick comes later by chance, so that timers set together
        /// drift apart.
        jitter_percent: u64 = 5_u64, 0..=50_u64;
    }
    /// The Redis protocol.
    gateway: Gateway {
        /// Address and port to listen on; port 0 picks a free one.
        listen: String = String::from("127.0.0.1:7379");
        /// Connections at once; more are refused. Fewer, and the node says so, if it may not open so many files.
        max_connections: u64 = 10_000_u64, 1..=100_000_u64;
        /// Threads for connections; 0 shares the threads that host objects.
        threads: u64 = 0_u64, 0..=256_u64;
        /// Milliseconds after which a request that has no answer ends with an error.
        request_timeout_ms: u64 = 35_000_u64, 100..=3_600_000_u64;
        /// Seconds without a byte from a client or to it after which its connection is closed; 0 is never.
        idle_seconds: u64 = 0_u64, 0..=86_400_u64;
        /// Requests in each second of one client address; 0 is no limit.
        requests_per_second: u64 = 0_u64, 0..=1_000_000_000_u64;
        /// Who may log in with `AUTH`: a list of tables with `name`, `password_sha256` (hexadecimal) and `operator`
        /// (true or false). With none, every client is the user `default`, and an operator if it is on this machine.
        users: Vec<User> = Vec::new();
    }
    /// The admin socket.
    admin: Admin {
        /// Path of the Unix socket. Empty: `admin.sock` in the data directory.
        socket: String = String::new();
        /// Connections at once; more are refused.
        max_connections: u64 = 32_u64, 1..=1_024_u64;
    }
    /// What the node tells about itself on its standard error.
    log: Log {
        /// `error`, `warn`, `info`, `debug` or `trace`, or directives such as `info,comet_storage=debug`.
        filter: String = String::from("info");
    }
}

/// Who may log in at the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// The name.
    pub name: String,
    /// SHA-256 of the password, 64 hexadecimal digits.
    pub password_sha256: String,
    /// Whether the user may do what changes the node: `FLUSHDB`, loading scripts.
    #[serde(default)]
    pub operator: bool,
}

/// What is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// It cannot be read: syntax, an unknown field, a wrong type.
    #[error("{origin}: {reason}")]
    Unreadable {
        /// The file, or the environment.
        origin: String,
        /// What is wrong, with line or field.
        reason: String,
    },
    /// A field lies outside its range.
    #[error("{field} is {value}; it must be {range}")]
    OutOfRange {
        /// The field.
        field: &'static str,
        /// What it is.
        value: String,
        /// What it may be.
        range: String,
    },
    /// A field has a form that cannot be right.
    #[error("{field}: {reason}")]
    Malformed {
        /// The field.
        field: String,
        /// What is wrong, and what would be right.
        reason: String,
    },
}

/// A file's name and text.
#[derive(Clone, Copy, Debug)]
pub struct File<'a> {
    /// The name, for errors.
    pub name: &'a str,
    /// What it holds.
    pub text: &'a str,
}

impl Settings {
    /// Puts the layers together and checks the outcome. `flags` are pairs of `section.field` and text.
    pub fn layered(
        file: Option<File<'_>>,
        environment: HashMap<String, String>,
        flags: &[(&str, String)],
    ) -> Result<Self, SettingsError> {
        let mut settings = Settings::default();
        if let Some(file) = file {
            let source = config::File::from_str(file.text, config::FileFormat::Toml);
            settings = overlay(file.name, config::Config::builder().add_source(source))?;
            // Field names are checked by `deny_unknown_fields`; ranges below, where the file can still be named.
            settings.check().map_err(|error| SettingsError::Unreadable {
                origin: file.name.to_owned(),
                reason: error.to_string(),
            })?;
        }
        let known = environment.keys().filter(|name| name.starts_with("COMET_")).count();
        if known > 0 || !flags.is_empty() {
            let environment = config::Environment::with_prefix("COMET")
                .prefix_separator("_")
                .separator("__")
                .source(Some(environment));
            let base = config::Config::try_from(&settings).map_err(|error| unreadable("defaults", &error))?;
            let mut builder = config::Config::builder().add_source(base).add_source(environment);
            for (field, text) in flags {
                builder = builder.set_override(field, text.as_str()).map_err(|error| unreadable("flags", &error))?;
            }
            settings = overlay("environment and flags", builder)?;
        }
        settings.check()?;
        Ok(settings)
    }

    /// Whether every field lies in its range and has a form that can be right.
    pub fn check(&self) -> Result<(), SettingsError> {
        self.check_ranges()?;
        for (number, user) in self.gateway.users.iter().enumerate() {
            let malformed = |reason: &str| SettingsError::Malformed {
                field: format!("gateway.users[{number}]"),
                reason: reason.to_owned(),
            };
            let digest = &user.password_sha256;
            if digest.len() != 64 || !digest.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(malformed("password_sha256 must be 64 hexadecimal digits, as `sha256sum` prints them"));
            }
            if user.name.is_empty() {
                return Err(malformed("name must not be empty"));
            }
            if self.gateway.users[..number].iter().any(|other| other.name == user.name) {
                return Err(malformed(&format!(
                    "a user before it is called {:?} too; each needs a name of its own",
                    user.name
                )));
            }
        }
        for (number, publisher) in self.aso.publishers.iter().enumerate() {
            if NodeId::from_text(publisher).public_key().is_none() {
                return Err(SettingsError::Malformed {
                    field: format!("aso.publishers[{number}]"),
                    reason: format!("{publisher:?} is no publisher's key; `comet keys show` prints it"),
                });
            }
        }
        self.gateway.listen.parse::<std::net::SocketAddr>().map_err(|_| SettingsError::Malformed {
            field: "gateway.listen".to_owned(),
            reason: format!("{:?} is no address with a port, such as 127.0.0.1:7379", self.gateway.listen),
        })?;
        if self.dht.write_quorum > self.dht.replication {
            return Err(SettingsError::Malformed {
                field: "dht.write_quorum".to_owned(),
                reason: format!(
                    "is {}, more than dht.replication, which is {}: no put could be acknowledged",
                    self.dht.write_quorum, self.dht.replication
                ),
            });
        }
        Ok(())
    }
}

fn overlay(
    origin: &str,
    builder: config::ConfigBuilder<config::builder::DefaultState>,
) -> Result<Settings, SettingsError> {
    let layers = builder.build().map_err(|error| unreadable(origin, &error))?;
    layers.try_deserialize().map_err(|error| unreadable(origin, &error))
}

/// Of an error that draws the place in the file, which takes several lines, the first says where and the last says what.
fn unreadable(origin: &str, error: &config::ConfigError) -> SettingsError {
    let text = error.to_string();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default();
    let reason = lines.next_back().map_or_else(|| first.to_owned(), |last| format!("{first}: {last}"));
    SettingsError::Unreadable { origin: origin.to_owned(), reason }
}

fn comment(text: &mut String, line: &str) {
    let _infallible = writeln!(text, "#{line}");
}

/// A default as TOML writes it.
trait Toml {
    fn toml(&self) -> String;
}

impl Toml for u64 {
    fn toml(&self) -> String {
        self.to_string()
    }
}

impl Toml for String {
    fn toml(&self) -> String {
        format!("{self:?}")
    }
}

impl Toml for Durability {
    fn toml(&self) -> String {
        format!("{self:?}").to_lowercase().toml()
    }
}

impl Toml for bool {
    fn toml(&self) -> String {
        self.to_string()
    }
}

impl Toml for List {
    fn toml(&self) -> String {
        format!("{:?}", self.0)
    }
}

impl Toml for Vec<User> {
    fn toml(&self) -> String {
        assert!(self.is_empty(), "no user is there by default");
        "[]".to_owned()
    }
}

#[cfg(test)]
mod tests;
