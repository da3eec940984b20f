//! The store as a whole: listing, counting and emptying it.
//!
//! Listings read the database of this node, page by page, and neither what is in memory nor other nodes: they see each
//! object that is there from the first page to the last at least once, unless its place in the database is damaged.

use comet_kernel::change::integer;
use comet_kernel::contract::{aso, storage};
use comet_kernel::{Key, Pattern, UnixMillis, Value, limits};

use super::keys::type_of;
use super::put::within;
use super::{Command, text};
use crate::answers::Started;
use crate::cursors::Cursors;
use crate::error_line::ErrorLine;
use crate::frame::Frame;
use crate::session::Session;
use crate::words::{Words, is};

pub(super) const COMMANDS: &[Command] = &[
    Command::keyless("scan", -2, scan, "generic", "Lists the keys of this node, some at a time."),
    Command::keyless("dbsize", 1, dbsize, "server", "Counts the objects of this node."),
    Command::keyless("flushdb", -1, flush, "server", "Removes all objects of a node that is alone. For operators."),
    Command::keyless("flushall", -1, flush, "server", "Removes all objects of a node that is alone. For operators."),
];

/// Keys looked at by one `SCAN` that does not say how many.
const PAGE: usize = 10;

fn scan(session: &mut Session, words: Words<'_>) -> Result<Started, ErrorLine> {
    let filter = Filter::read(words.from(2), session.unix)?;
    let (cursor, after) = start(words.at(1), &session.common.cursors)?;
    let scan = storage::Scan { after, limit: filter.limit };
    let common = session.common.clone();
    Ok(Started::Task(Box::pin(async move {
        let page = common.storage.scan.call(scan).await.map_err(ErrorLine::from);
        let page = page.and_then(|page| page.map_err(|error| ErrorLine::new(format!("UNAVAILABLE {error}"))));
        Frame::of(page.map(|page| filter.listing(page, cursor, &common.cursors)))
    })))
}

/// A cursor, and the key that it stands for; none for the start.
fn start(word: &[u8], cursors: &Cursors) -> Result<(u64, Option<Key>), ErrorLine> {
    let invalid = || ErrorLine::fixed("ERR invalid cursor");
    let cursor = std::str::from_utf8(word).ok().and_then(|word| word.parse::<u64>().ok()).ok_or_else(invalid)?;
    if cursor == 0 {
        return Ok((0, None));
    }
    let forgotten = || ErrorLine::fixed("ERR invalid cursor: it is too old or never was one; start again with SCAN 0");
    cursors.find(cursor).ok_or_else(forgotten).map(|key| (cursor, Some(key)))
}

struct Filter {
    pattern: Option<Pattern>,
    kind: Option<Vec<u8>>,
    limit: usize,
    unix: UnixMillis,
}

impl Filter {
    fn read(words: Words<'_>, unix: UnixMillis) -> Result<Self, ErrorLine> {
        let mut filter = Filter { pattern: None, kind: None, limit: PAGE, unix };
        let mut words = words.iter();
        while let Some(option) = words.next() {
            let argument = words.next().ok_or(ErrorLine::SYNTAX)?;
            if is(option, "MATCH") {
                within("the pattern", argument.len(), limits::PATTERN_BYTES)?;
                filter.pattern = Pattern::new(argument);
            } else if is(option, "COUNT") {
                let count = integer(argument).ok_or(ErrorLine::NOT_AN_INTEGER)?;
                let count = usize::try_from(count).ok().filter(|count| *count > 0).ok_or(ErrorLine::SYNTAX)?;
                filter.limit = count.min(limits::PAGE_ITEMS);
            } else if is(option, "TYPE") {
                within("the type", argument.len(), limits::PATTERN_BYTES)?;
                filter.kind = Some(argument.to_ascii_lowercase());
            } else {
                return Err(ErrorLine::SYNTAX);
            }
        }
        Ok(filter)
    }

    fn listing(&self, page: storage::Page, cursor: u64, cursors: &Cursors) -> Frame {
        let next = page.next.map_or(0, |key| cursors.put(key, cursor));
        let wanted = page.items.into_iter().filter(|(key, record)| {
            record.is_live(self.unix)
                && self.pattern.as_ref().is_none_or(|pattern| pattern.matches(key.as_bytes()))
                && self.kind.as_ref().is_none_or(|kind| kind == type_of(record).as_bytes())
        });
        let keys = wanted.map(|(key, _)| Value::Bytes(key.as_bytes().into())).collect();
        Frame::Array(vec![Frame::text(&next.to_string()), Frame::Value(Value::Array(keys))])
    }
}

fn dbsize(session: &mut Session, _: Words<'_>) -> Result<Started, ErrorLine> {
    let common = session.common.clone();
    Ok(Started::Task(Box::pin(async move {
        let status = common.storage.read_status.call(storage::ReadStatus).await.map_err(ErrorLine::from);
        Frame::of(status.map(|status| Value::Int(status.objects as i64)))
    })))
}

fn flush(session: &mut Session, words: Words<'_>) -> Result<Started, ErrorLine> {
    let known = |word: &[u8]| is(word, "SYNC") || is(word, "ASYNC");
    if words.count() > 2 || words.find(1).is_some_and(|word| !known(word)) {
        return Err(ErrorLine::SYNTAX);
    }
    session.must_be_operator(&text(words.at(0)).to_lowercase())?;
    let common = session.common.clone();
    if common.objects.is_networked() {
        // The other nodes that hold its objects would bring them back.
        let command = text(words.at(0)).to_uppercase();
        return Err(ErrorLine::new(format!("ERR {command} is for a node alone; remove keys with DEL")));
    }
    Ok(Started::Task(Box::pin(async move {
        let cleared = common.aso.clear.call(aso::Clear).await.map_err(ErrorLine::from);
        let cleared = cleared.and_then(|cleared| cleared.map_err(ErrorLine::from));
        cleared.map_or_else(Frame::Error, |()| Frame::OK)
    })))
}
