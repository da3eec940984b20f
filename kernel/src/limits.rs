//! Every fixed bound of the node in one place, with the checks between them.
//!
//! What an operator may change is in [`crate::settings`]; what stands here is part of the contract with clients and
//! script authors, or keeps a stack or a queue finite.

/// Longest key in bytes.
pub const KEY_BYTES: usize = 1_024;
/// Largest value in bytes, encoded.
pub const VALUE_BYTES: usize = 1 << 20;
/// How deeply a value may nest arrays and maps. Small enough for every recursive walk on a 2 MiB stack.
pub const VALUE_DEPTH: usize = 32;
/// Items in all arrays and maps of one value together. An item takes a byte to write, and 32 or more in memory.
pub const VALUE_ITEMS: usize = 1 << 16;
/// Largest script source in bytes.
pub const SCRIPT_BYTES: usize = 8 << 10;
/// Longest name of a script in bytes.
pub const SCRIPT_NAME_BYTES: usize = 128;
/// Versions that a node keeps of a named script.
pub const SCRIPT_VERSIONS: usize = 16;
/// Named scripts that a node keeps.
pub const SCRIPT_NAMES: usize = 4_096;
/// Sources that a node keeps besides those of named scripts.
pub const SOURCES: usize = 32_768;
/// After so many new sources those that nothing uses are removed.
pub const SOURCES_SWEPT: usize = 4_096;
/// Child keys of an object that its script may reach: `comet.getASOKey(n)`.
pub const CHILD_KEYS: usize = 5;
/// Nodes that one action of an object may name, and that `comet.lookup` gives at most.
pub const ACTION_NODES: usize = 20;
/// Actions of one object that may be under way; what it asks for beyond that fails without a callback.
pub const ACTIONS_UNDER_WAY: usize = 16;
/// Callers that an object which uses the network remembers, so that it can reach them.
pub const REMEMBERED_CALLERS: usize = 32;
/// Lines in an object's log ring.
pub const LOG_LINES: usize = 64;
/// Longest line in an object's log ring, in bytes; longer ones are cut.
pub const LOG_LINE_BYTES: usize = 256;
/// Longest text that a script's `throw` may carry to a client, in bytes; longer ones are cut.
pub const REFUSAL_BYTES: usize = 1_024;
/// Largest reply of a handler in bytes, encoded.
pub const REPLY_BYTES: usize = VALUE_BYTES + (64 << 10);
/// Largest RESP request in bytes: a value, a key, a script and room for the words.
pub const RESP_REQUEST_BYTES: usize = VALUE_BYTES + KEY_BYTES + SCRIPT_BYTES + (64 << 10);
/// Most words of one RESP request.
pub const RESP_REQUEST_WORDS: usize = 1 << 16;
/// Bytes of answers, of all RESP clients together, that may be in memory because they have not been read.
pub const UNREAD_BYTES: usize = 256 << 20;
/// Largest frame on the admin socket in bytes.
pub const ADMIN_FRAME_BYTES: usize = 4 << 20;
/// Answers in one page of a scan or list.
pub const PAGE_ITEMS: usize = 1_000;
/// Bytes of records in one page of a scan, past which the page ends early.
pub const PAGE_BYTES: usize = 4 << 20;
/// Longest pattern of a list or scan command, in bytes.
pub const PATTERN_BYTES: usize = 256;
/// Largest frame between nodes in bytes: a record with value and state, or a put with its script.
pub const PEER_FRAME_BYTES: usize = VALUE_BYTES + KEY_BYTES + SCRIPT_BYTES + (1_200 << 10);
/// Most nodes that may be asked to hold one object, or to answer for it: as many as Kademlia keeps in a bucket.
pub const REPLICAS: u8 = 20;
/// Requests under way on one lane to a peer; more are refused.
pub const LANE_REQUESTS: usize = 1_024;
/// Bytes that all lanes may hold together which peers have opened: requests, whole or begun, and answers that were not read
/// yet. Besides, each lane may hold 64 KiB.
pub const LANES_BYTES: usize = 256 << 20;
/// Nodes that this one remembers.
pub const KNOWN_NODES: usize = 8_192;
/// How much the clocks of two nodes may differ, in milliseconds. Versions from farther in the future are refused.
pub const CLOCK_SKEW_MS: u64 = 5 * 60 * 1_000;
/// How long a tombstone is kept, in seconds.
pub const TOMBSTONE_SECONDS: u64 = 24 * 3_600;
/// Objects that may stand behind one request if their scripts are signed by a trusted publisher.
pub const SIGNED_CAUSATION: u8 = 3;
/// Objects that may stand behind one request otherwise.
pub const CAUSATION: u8 = 1;
/// Messages in the mailbox of a system actor.
pub const SYSTEM_MAILBOX: usize = 4_096;
/// Messages in the mailbox of a shard or of the storage actor, which all requests share.
pub const SHARED_MAILBOX: usize = 65_536;
/// Messages in the mailbox of one object.
pub const OBJECT_MAILBOX: usize = 1_024;
/// Requests that may wait while one key is being activated, retired or committed.
pub const WAITING_PER_KEY: usize = OBJECT_MAILBOX;
/// Events that a slow follower may lag behind before it is told that it missed some.
pub const EVENT_BACKLOG: usize = 1_024;
/// Longest life of an object in seconds: 100 years. What clients ask for is clamped to it, and what peers put beyond it is
/// refused.
pub const LIFETIME_SECONDS: u64 = 100 * 366 * 86_400;
/// Longest interval of an object's timer in seconds.
pub const TIMER_SECONDS: i64 = 366 * 86_400;

const _: () = assert!(KEY_BYTES < VALUE_BYTES);
const _: () = assert!(SCRIPT_BYTES < VALUE_BYTES);
const _: () = assert!(VALUE_BYTES < REPLY_BYTES);
const _: () = assert!(SOURCES_SWEPT < SOURCES, "sources are swept before they are refused");
const _: () = assert!(RESP_REQUEST_BYTES > VALUE_BYTES + KEY_BYTES + SCRIPT_BYTES);
const _: () = assert!(ADMIN_FRAME_BYTES > REPLY_BYTES, "an object's value fits into an admin answer");
const _: () = assert!(LANES_BYTES >= 16 * PEER_FRAME_BYTES, "a few lanes with long frames leave room for others");
const _: () = assert!(OBJECT_MAILBOX <= SHARED_MAILBOX);
const _: () = assert!(PAGE_ITEMS * KEY_BYTES < ADMIN_FRAME_BYTES, "a page of the longest keys fits into a frame");
