//! The writer: commits everything that waits in its mailbox as one batch, and answers after the commit.
//!
//! A message adds to the batch that gathers; the batch is committed when the mailbox has been emptied. While a commit
//! blocks this thread the mailbox fills with the next batch, so that the load sets the size of the batches and nobody
//! waits for a timer.
//!
//! When the disk is full, or a commit fails, the store is read-only: the gate is shut, writes are refused with the
//! reason, and reads go on. It stays so for [`PENANCE`] at least, so that whoever built on a refused write learns of it.
//! Then the writer tries again, and opens the database anew if that is what it takes. It makes no new one: what stands in
//! a database whose folder has gone must not be answered for by an empty one.
//!
//! A database that fails again soon after it was opened again, as one does that cannot merge a damaged file, is read-only
//! for twice as long each time, up to [`LONGEST`], and the reason says what a person can do.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use comet_kernel::contract::storage::{Clear, DropSources, Former, Gate, Service, Write, WriteError, WriteScript};
use comet_kernel::events::Kind;
use comet_kernel::meter::Meter;
use comet_kernel::settings::Durability;
use comet_kernel::{Actor, Context, Handler, Kernel, Key, Message, Moment, Responder, ScriptHash, Work};
use fjall::UserKey;

use crate::changes::Changes;
use crate::codec;
use crate::gathered::{Answer, Gathered};
use crate::shared::Shared;
use crate::space::mib;
use crate::store::Persist;
use crate::table::{Table, unreadable_key};

/// How long the store stays read-only at least.
pub(crate) const PENANCE: Duration = Duration::from_secs(1);
/// How long it stays so at most after a failure, if opening the database again is all it takes. One that fails within this
/// time after it was opened again fails again.
const LONGEST: Duration = Duration::from_secs(60);
/// How long one look at the free space holds.
const GLANCE: Duration = Duration::from_millis(100);
/// How long a commit waits for files of earlier writes to be made, in pauses.
const CONGESTION_PAUSES: usize = 1_000;
/// One such pause.
const CONGESTION_PAUSE: Duration = Duration::from_millis(5);
/// Turns of the mailbox that a batch may take to gather.
const TURNS: usize = 64;
/// How long closing may take to make files.
const CLOSING: Duration = Duration::from_secs(5);
/// Keys set aside or refused whose next write is counted with care; past that the count of objects may drift by the rest.
const CAREFUL: usize = 65_536;

/// Moves what cannot be read out of the way, unless it was replaced meanwhile. From the reader.
#[derive(Debug)]
pub(crate) struct SetAside {
    /// Where it stands.
    pub(crate) table: Table,
    /// Under which key.
    pub(crate) key: UserKey,
    /// Why it cannot be read.
    pub(crate) reason: String,
}

impl Message for SetAside {
    type Reply = ();
    const NAME: &'static str = "storage::SetAside";
}

/// The writer.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    kernel: Kernel,
    gate: Gate,
    /// Counts the writes in the mailbox.
    waiting: Arc<Meter>,
    life: u64,
    gathered: Gathered,
    commit_scheduled: bool,
    flush_scheduled: bool,
    /// Whether something was committed since everything was last brought to the disk.
    unsynced: bool,
    glanced: Option<Moment>,
    /// Why the store is read-only, if it is.
    trouble: Option<WriteError>,
    /// How long the store stays read-only after a failure.
    pause: Duration,
    /// When it was made writable after a failure.
    recovered: Option<Moment>,
    /// Keys of records set aside that were not written since: their former record is no longer counted, whatever the
    /// next write believes.
    aside: HashSet<Key>,
    /// Keys of writes that were refused and that were not written since: whoever sent the next one may not have known,
    /// and be mistaken about what stands there.
    refused: HashSet<Key>,
}

impl Writer {
    /// The writer of this store in its present life.
    pub(crate) fn new(shared: Arc<Shared>, kernel: Kernel, service: &Service, life: u64) -> Self {
        Writer {
            shared,
            kernel,
            gate: service.gate.clone(),
            waiting: service.write.meter().clone(),
            life,
            gathered: Gathered::default(),
            commit_scheduled: false,
            flush_scheduled: false,
            unsynced: false,
            glanced: None,
            trouble: None,
            pause: PENANCE,
            recovered: None,
            aside: HashSet::new(),
            refused: HashSet::new(),
        }
    }

    /// Sees to it that what gathers is committed.
    fn gather(&mut self, context: &mut Context<Self>) {
        if self.gathered.is_full() {
            self.commit(context);
        } else if !self.commit_scheduled {
            self.commit_scheduled = true;
            Self::commit_after_turn(context, TURNS);
        }
    }

    /// Commits once no write waits in the mailbox, or after so many turns. A turn ends when the mailbox is empty, or
    /// earlier if the kernel lets others have theirs.
    fn commit_after_turn(context: &mut Context<Self>, turns: usize) {
        context.then(std::future::ready(()), move |writer, (), context| {
            let more = writer.waiting.read().depth > 0 && !writer.gathered.is_empty();
            if more && turns > 1 {
                return Self::commit_after_turn(context, turns - 1);
            }
            writer.commit_scheduled = false;
            writer.commit(context);
        });
    }

    /// Commits what has gathered and answers everyone.
    fn commit(&mut self, context: &mut Context<Self>) {
        let gathered = std::mem::take(&mut self.gathered);
        if gathered.is_empty() {
            return;
        }
        let outcome = self.try_commit(&gathered.changes, gathered.awaited, context);
        if outcome.is_err() {
            gathered.changes.keys().for_each(|key| self.note_refused(key));
        }
        gathered.answer(&outcome);
    }

    fn try_commit(&mut self, changes: &Changes, awaited: bool, context: &mut Context<Self>) -> Result<(), WriteError> {
        self.check(context)?;
        let persist = match self.shared.settings.durability {
            Durability::Always if awaited => Persist::Disk,
            Durability::Always | Durability::Interval => Persist::System,
            Durability::None => Persist::Memory,
        };
        if let Err(reason) = self.shared.commit(self.life, changes, persist) {
            return Err(self.fail(&reason, context));
        }
        self.unsynced = persist != Persist::Disk;
        if self.unsynced {
            self.schedule_flush(context);
        }
        Ok(())
    }

    /// Whether a commit may be tried.
    fn check(&mut self, context: &mut Context<Self>) -> Result<(), WriteError> {
        if let Some(trouble) = &self.trouble {
            return Err(trouble.clone());
        }
        if let Err(error) = self.glance() {
            return Err(self.shut(error, PENANCE, context));
        }
        for _ in 0..CONGESTION_PAUSES {
            if !self.shared.with(|store| Ok(store.is_congested())).unwrap_or(false) {
                break;
            }
            // Waiting here and not in the database, which would wait for ever if its threads had died.
            std::thread::sleep(CONGESTION_PAUSE);
        }
        Ok(())
    }

    /// Whether there is room, by a look that may be a moment old.
    fn glance(&mut self) -> Result<(), WriteError> {
        let now = self.kernel.clock.now();
        if self.glanced.is_some_and(|glanced| now.since(glanced) < GLANCE) {
            return Ok(());
        }
        self.check_room()?;
        self.glanced = Some(now);
        Ok(())
    }

    fn check_room(&self) -> Result<(), WriteError> {
        let (free, needed) = (self.shared.free(), self.shared.settings.min_free_mib << 20);
        if free >= needed {
            return Ok(());
        }
        Err(WriteError::ReadOnly(format!(
            "read-only: {} are free on the disk of {}, and {} must stay free (storage.min_free_mib); make room, and \
             writes go on by themselves",
            mib(free),
            self.shared.directory.display(),
            mib(needed)
        )))
    }

    fn fail(&mut self, reason: &str, context: &mut Context<Self>) -> WriteError {
        let now = self.kernel.clock.now();
        let again = self.recovered.is_some_and(|recovered| now.since(recovered) < LONGEST);
        self.pause = if again { LONGEST.min(self.pause * 2) } else { PENANCE };
        let directory = self.shared.directory.display();
        let outlook = if again {
            format!(
                "it fails again and again: if its disk is sound and has room, a file in {directory}/store is damaged; then \
                 stop the node once others hold its objects, move that folder away, and start it empty"
            )
        } else {
            "writes go on by themselves when it accepts them again".to_owned()
        };
        let error = WriteError::Failed(format!("read-only: the database in {directory} failed: {reason}; {outlook}"));
        self.shut(error, self.pause, context)
    }

    /// Makes the store read-only for this reason, and for so long at least.
    fn shut(&mut self, error: WriteError, pause: Duration, context: &mut Context<Self>) -> WriteError {
        if !self.shared.is_present(self.life) {
            // The store is its successor's now.
            return error;
        }
        self.trouble = Some(error.clone());
        self.gate.set_shut(true);
        self.shared.set_read_only(Some(error.to_string()));
        self.kernel.events.publish(Kind::Storage, "storage", error.to_string());
        context.after(&self.kernel.clock, pause, Self::retry);
        error
    }

    /// Makes the store writable again if it can be.
    fn retry(&mut self, context: &mut Context<Self>) {
        if !self.shared.is_present(self.life) {
            return;
        }
        let recovered = self.recover();
        if !self.shared.is_present(self.life) {
            // It took too long; the store, and what is said of it, are its successor's now.
            return;
        }
        match recovered {
            Ok(()) => {
                if let Some(WriteError::Failed(_)) = self.trouble.take() {
                    self.recovered = Some(self.kernel.clock.now());
                }
                self.shared.set_read_only(None);
                self.gate.set_shut(false);
                self.kernel.events.publish(Kind::Storage, "storage", "writable again");
                self.report_news();
            }
            Err(error) => {
                self.shared.set_read_only(Some(error.to_string()));
                self.trouble = Some(error);
                context.after(&self.kernel.clock, PENANCE, Self::retry);
            }
        }
    }

    fn recover(&self) -> Result<(), WriteError> {
        self.check_room()?;
        self.shared.recover(self.life).map_err(|reason| WriteError::Failed(format!("read-only: {reason}")))
    }

    fn report_news(&self) {
        for text in self.shared.with(|store| Ok(store.take_news())).unwrap_or_default() {
            self.kernel.events.publish(Kind::Storage, "storage", text);
        }
    }

    /// Sees to it that what was committed but not synced is, within the flush interval.
    fn schedule_flush(&mut self, context: &mut Context<Self>) {
        if std::mem::replace(&mut self.flush_scheduled, true) {
            return;
        }
        let interval = Duration::from_millis(self.shared.settings.flush_interval_ms);
        context.after(&self.kernel.clock, interval, |writer, context| {
            writer.flush_scheduled = false;
            writer.flush(context);
        });
    }

    fn flush(&mut self, context: &mut Context<Self>) {
        let persist = match self.shared.settings.durability {
            Durability::Always | Durability::Interval => Persist::Disk,
            Durability::None => Persist::System,
        };
        if self.trouble.is_some() || !std::mem::take(&mut self.unsynced) {
            return;
        }
        if let Err(reason) = self.shared.change(self.life, |store| store.persist(persist)) {
            self.fail(&reason, context);
        }
    }

    fn note_refused(&mut self, key: Key) {
        if self.refused.len() < CAREFUL {
            self.refused.insert(key);
        }
    }

    /// What stands under a key now, if the last write of it was refused. Nothing that gathers has changed it since.
    fn look_up(&mut self, key: &Key) -> Option<Former> {
        if self.refused.is_empty() || !self.refused.remove(key) {
            return None;
        }
        let bytes = self.shared.with(|store| store.get(Table::Objects, key.as_bytes())).ok()?;
        let record = bytes.map(|bytes| codec::record(&bytes)).transpose().ok()?;
        Some(Former::of(record.as_ref()))
    }

    /// Counts and reports a record that nobody can read and that is written over.
    fn replace_unread(&mut self, key: &Key) {
        self.gathered.changes.unreadable += 1;
        let text = format!("the record of {key} stood in a damaged file, and what was put or removed takes its place");
        self.kernel.events.publish(Kind::Storage, "storage", text);
    }

    /// Refuses a write while the store is read-only.
    fn admit(&self, answer: Answer) -> Option<Answer> {
        match &self.trouble {
            None => Some(answer),
            Some(trouble) => {
                answer.answer(Err(trouble.clone()));
                None
            }
        }
    }

    fn set_aside(&mut self, message: &SetAside, context: &mut Context<Self>) {
        let SetAside { table, key, reason } = message;
        // What waits may replace it.
        self.commit(context);
        let Ok(Some(bytes)) = self.shared.with(|store| store.get(*table, key)) else { return };
        if is_readable(*table, key, &bytes) {
            return;
        }
        let mut changes = Changes::default();
        let aside = unreadable_key(*table, key, self.kernel.clock.unix());
        changes.set(Table::Unreadable, aside.into(), Some(bytes));
        changes.set(*table, key.clone(), None);
        changes.objects = -i64::from(*table == Table::Objects);
        changes.unreadable = 1;
        changes.writes = 1;
        if self.try_commit(&changes, true, context).is_ok() {
            if let (Table::Objects, Ok(key), true) = (table, Key::new(key), self.aside.len() < CAREFUL) {
                self.aside.insert(key);
            }
            let text = format!("the entry {} in {table:?} was set aside: {reason}", key.escape_ascii());
            self.kernel.events.publish(Kind::Storage, "storage", text);
        }
    }
}

/// Whether what stands in a table can be read.
fn is_readable(table: Table, key: &[u8], bytes: &[u8]) -> bool {
    match table {
        Table::Objects => codec::record(bytes).is_ok(),
        Table::Scripts => codec::source(key, bytes).is_ok(),
        Table::Names => codec::versions(key, bytes).is_ok(),
        Table::Due | Table::Unreadable | Table::Meta => true,
    }
}

impl Actor for Writer {
    fn started(&mut self, context: &mut Context<Self>) {
        self.gate.set_shut(false);
        self.shared.set_read_only(None);
        self.report_news();
        // Not here: a disk that hangs would hold up the supervisor, which waits for the start.
        context.then(std::future::ready(()), |writer, (), context| {
            if writer.trouble.is_none()
                && let Err(error) = writer.glance()
            {
                writer.shut(error, PENANCE, context);
            }
        });
    }

    fn stopping(&mut self, done: Responder<()>, context: &mut Context<Self>) {
        self.commit(context);
        if let Err(reason) = self.shared.end(self.life, CLOSING) {
            tracing::error!(reason, "the database was not closed in order; the next start replays its journal");
        }
        done.answer(());
    }
}

impl Handler<Write> for Writer {
    fn handle(&mut self, message: Write, responder: Answer, context: &mut Context<Self>) {
        let Some(answer) = self.admit(responder) else { return self.note_refused(message.key) };
        let Write { key, record, mut former, behind } = message;
        former = self.look_up(&key).unwrap_or(former);
        if !self.aside.is_empty() && self.aside.remove(&key) {
            former = Former { present: false, unread: false, ..former };
        }
        if former.unread {
            self.replace_unread(&key);
        }
        self.gathered.changes.record(&key, record.as_deref(), former);
        self.gathered.add(answer, !behind);
        self.gather(context);
    }
}

impl Handler<WriteScript> for Writer {
    fn handle(&mut self, message: WriteScript, responder: Answer, context: &mut Context<Self>) {
        let Some(answer) = self.admit(responder) else { return };
        for source in &message.sources {
            let hash = ScriptHash::of(source);
            let stored = self.shared.with(|store| store.contains(Table::Scripts, hash.as_bytes()));
            // A source that is written twice stands once.
            if !stored.unwrap_or(false) {
                self.gathered.changes.set(Table::Scripts, hash.as_bytes().into(), Some(source.as_bytes().into()));
            }
        }
        match message.name {
            None => {}
            Some((name, versions)) if versions.is_empty() => {
                self.gathered.changes.set(Table::Names, name.as_bytes().into(), None);
            }
            Some((name, versions)) => self.gathered.changes.encode(Table::Names, name.as_bytes(), &versions),
        }
        self.gathered.add(answer, true);
        self.gather(context);
    }
}

impl Handler<DropSources> for Writer {
    fn handle(&mut self, message: DropSources, responder: Answer, context: &mut Context<Self>) {
        let Some(answer) = self.admit(responder) else { return };
        for hash in &message.hashes {
            self.gathered.changes.set(Table::Scripts, hash.as_bytes().into(), None);
        }
        self.gathered.add(answer, true);
        self.gather(context);
    }
}

impl Handler<Clear> for Writer {
    fn handle(&mut self, _: Clear, responder: Answer, context: &mut Context<Self>) {
        self.commit(context);
        let outcome = self.check(context).and_then(|()| {
            let cleared = self.shared.clear(self.life);
            cleared.map_err(|reason| self.fail(&reason, context))
        });
        if outcome.is_ok() {
            self.aside.clear();
            self.refused.clear();
        }
        responder.answer(outcome);
    }
}

impl Handler<SetAside> for Writer {
    fn handle(&mut self, message: SetAside, responder: Responder<()>, context: &mut Context<Self>) {
        self.set_aside(&message, context);
        responder.answer(());
    }
}
