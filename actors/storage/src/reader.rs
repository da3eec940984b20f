//! The reader: answers from the database on a thread of its own, so that no read waits for an `fsync`.
//!
//! It has no state. What it cannot read it reports to the writer, which sets it aside.

use std::ops::Bound;
use std::sync::Arc;

use comet_kernel::contract::storage::{
    NamedVersion, Page, Read, ReadDues, ReadError, ReadNames, ReadScript, ReadSources, ReadStatus, Scan, Status,
};
use comet_kernel::events::{Events, Kind};
use comet_kernel::{Actor, Context, Handle, Handler, Key, Message, Responder, ScriptHash, UnixMillis, Work, limits};
use fjall::UserKey;

use crate::codec::{self, Unreadable};
use crate::shared::Shared;
use crate::store::{Found, Store, words};
use crate::table::{Table, due_key, parse_due};
use crate::walk::Walk;
use crate::writer::SetAside;

type Answer<M> = Responder<<M as Message>::Reply>;
type Names = Vec<(Arc<str>, Vec<NamedVersion>)>;

/// The reader.
pub(crate) struct Reader {
    shared: Arc<Shared>,
    events: Events,
    set_aside: Handle<SetAside>,
}

impl Reader {
    /// A reader of this store that reports to the writer behind `set_aside`.
    pub(crate) fn new(shared: Arc<Shared>, events: Events, set_aside: Handle<SetAside>) -> Self {
        Reader { shared, events, set_aside }
    }

    /// Has an entry set aside, and answers once that is done.
    fn refuse<T: 'static>(
        &self,
        table: Table,
        key: &[u8],
        reason: &Unreadable,
        responder: Responder<Result<T, ReadError>>,
        context: &mut Context<Self>,
    ) {
        let reason = reason.to_string();
        let error = ReadError::Unreadable { key: key.escape_ascii().to_string(), reason: reason.clone() };
        match self.set_aside.ask(SetAside { table, key: key.into(), reason }) {
            Ok(pending) => context.then(pending, |_, _, _| responder.answer(Err(error))),
            // The next read will report it again.
            Err(_) => responder.answer(Err(error)),
        }
    }

    /// Has an entry set aside that nobody asked for by name.
    fn report(&self, table: Table, key: UserKey, reason: &Unreadable) {
        let _the_next_scan_will = self.set_aside.tell(SetAside { table, key, reason: reason.to_string() });
    }

    fn page(&self, store: &Store, scan: &Scan) -> Result<Page, String> {
        let limit = scan.limit.clamp(1, limits::PAGE_ITEMS);
        let mut entries = Walk::new(store, Table::Objects, scan.after.as_ref().map(Key::as_bytes));
        let mut page = Page::default();
        let (mut seen, mut bytes) = (0, 0);
        loop {
            let Some(entry) = entries.next() else {
                page.next = None;
                break;
            };
            if seen == limit || bytes >= limits::PAGE_BYTES {
                break;
            }
            let (key, value) = entry?;
            let name = Key::new(&key).map_err(|error| format!("the database holds a key that is none: {error}"))?;
            seen += 1;
            bytes += value.len();
            page.next = Some(name.clone());
            match codec::record(&value) {
                Ok(record) => page.items.push((name, Arc::new(record))),
                Err(reason) => self.report(Table::Objects, key, &reason),
            }
        }
        self.note_gaps(Table::Objects, entries);
        Ok(page)
    }

    fn dues(&self, store: &Store, message: &ReadDues) -> Result<Vec<(UnixMillis, Key)>, String> {
        let after = message.after.as_ref().map(|(due, key)| due_key(*due, key));
        let mut entries = Walk::new(store, Table::Due, after.as_deref());
        let parsed = entries.by_ref().take(message.limit).map(|entry| {
            let (key, _) = entry?;
            parse_due(&key).ok_or_else(|| format!("the index of what is due holds {}", key.escape_ascii()))
        });
        let dues = parsed.collect();
        self.note_gaps(Table::Due, entries);
        dues
    }

    /// Reports what was passed over, each place once.
    fn note_gaps(&self, table: Table, entries: Walk<'_>) {
        for after in entries.into_gaps() {
            if self.shared.note_gap(table, &after) {
                let after = after.escape_ascii();
                let text = format!(
                    "a damaged place in the table {table:?}, behind {after}, is passed over by listings; restore the data \
                     directory from a copy, or put what is missing anew"
                );
                self.events.publish(Kind::Storage, "storage", text);
            }
        }
    }

    fn names(&self, store: &Store) -> Result<Names, String> {
        let mut names = Vec::new();
        // A name that is passed over would be taken for a built-in one, so that nothing is.
        for entry in store.range(Table::Names, Bound::Unbounded) {
            let (key, value) = entry.map_err(words)?;
            match codec::versions(&key, &value) {
                Ok(name) => names.push(name),
                Err(reason) => self.report(Table::Names, key, &reason),
            }
        }
        Ok(names)
    }
}

fn sources(store: &Store, message: &ReadSources) -> Result<Vec<ScriptHash>, String> {
    let after = message.after.as_ref().map(|hash| &hash.as_bytes()[..]);
    let hashes = store.range(Table::Scripts, after.map_or(Bound::Unbounded, Bound::Excluded)).take(message.limit);
    let hashes = hashes.map(|entry| {
        let (hash, _) = entry.map_err(words)?;
        ScriptHash::from_bytes(&hash).ok_or_else(|| format!("the table of scripts holds {}", hash.escape_ascii()))
    });
    hashes.collect()
}

impl Actor for Reader {}

impl Handler<Read> for Reader {
    fn handle(&mut self, message: Read, responder: Answer<Read>, context: &mut Context<Self>) {
        let key = message.key.as_bytes();
        match self.shared.with(|store| store.find(Table::Objects, key)) {
            Err(reason) => responder.answer(Err(ReadError::Failed(reason))),
            Ok(Found::Nothing) => responder.answer(Ok(None)),
            Ok(Found::Damage(reason)) => {
                responder.answer(Err(ReadError::Damaged { key: message.key.to_string(), reason }));
            }
            Ok(Found::Value(bytes)) => match codec::record(&bytes) {
                Ok(record) => responder.answer(Ok(Some(Arc::new(record)))),
                Err(reason) => self.refuse(Table::Objects, key, &reason, responder, context),
            },
        }
    }
}

impl Handler<Scan> for Reader {
    fn handle(&mut self, message: Scan, responder: Answer<Scan>, _: &mut Context<Self>) {
        let page = self.shared.with(|store| self.page(store, &message));
        responder.answer(page.map_err(ReadError::Failed));
    }
}

impl Handler<ReadDues> for Reader {
    fn handle(&mut self, message: ReadDues, responder: Answer<ReadDues>, _: &mut Context<Self>) {
        let dues = self.shared.with(|store| self.dues(store, &message));
        responder.answer(dues.map_err(ReadError::Failed));
    }
}

impl Handler<ReadScript> for Reader {
    fn handle(&mut self, message: ReadScript, responder: Answer<ReadScript>, context: &mut Context<Self>) {
        let hash = message.hash.as_bytes();
        match self.shared.with(|store| store.find(Table::Scripts, hash)) {
            Err(reason) => responder.answer(Err(ReadError::Failed(reason))),
            Ok(Found::Nothing) => responder.answer(Ok(None)),
            Ok(Found::Damage(reason)) => {
                responder.answer(Err(ReadError::Damaged { key: message.hash.to_string(), reason }));
            }
            Ok(Found::Value(bytes)) => match codec::source(hash, &bytes) {
                Ok(source) => responder.answer(Ok(Some(source))),
                Err(reason) => self.refuse(Table::Scripts, hash, &reason, responder, context),
            },
        }
    }
}

impl Handler<ReadSources> for Reader {
    fn handle(&mut self, message: ReadSources, responder: Answer<ReadSources>, _: &mut Context<Self>) {
        let sources = self.shared.with(|store| sources(store, &message));
        responder.answer(sources.map_err(ReadError::Failed));
    }
}

impl Handler<ReadNames> for Reader {
    fn handle(&mut self, _: ReadNames, responder: Answer<ReadNames>, _: &mut Context<Self>) {
        let names = self.shared.with(|store| self.names(store));
        responder.answer(names.map_err(ReadError::Failed));
    }
}

impl Handler<ReadStatus> for Reader {
    fn handle(&mut self, _: ReadStatus, responder: Responder<Status>, _: &mut Context<Self>) {
        responder.answer(self.shared.status());
    }
}
