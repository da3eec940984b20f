//! A node that has nothing but storage, and a disk that is as full as a test wants it.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use comet_kernel::contract::storage::{
    Former, Page, Read, ReadError, ReadStatus, Scan, Service, Status, Write, WriteError,
};
use comet_kernel::events::{Event, Kind};
use comet_kernel::settings::Storage;
use comet_kernel::supervisor::Tree;
use comet_kernel::{Clock, Kernel, Key, Record, UnixMillis, Value};
use comet_storage::Space;
use tokio::sync::broadcast::Receiver;

/// A disk.
#[derive(Debug)]
pub(crate) struct Disk {
    pub(crate) free: AtomicU64,
    pub(crate) breaks: AtomicBool,
    /// Whoever looks next has to wait.
    pub(crate) holds: AtomicBool,
    /// Until this is set.
    pub(crate) released: AtomicBool,
    /// It has gone on, and knows how much is free.
    pub(crate) went_on: AtomicBool,
}

impl Space for Disk {
    fn free(&self, _: &Path) -> io::Result<u64> {
        let held = self.holds.swap(false, Ordering::SeqCst);
        while held && !self.released.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(!self.breaks.swap(false, Ordering::SeqCst), "the disk breaks");
        let free = self.free.load(Ordering::SeqCst);
        self.went_on.fetch_or(held, Ordering::SeqCst);
        Ok(free)
    }
}

pub(crate) struct Node {
    pub(crate) service: Service,
    pub(crate) disk: Arc<Disk>,
    pub(crate) events: Receiver<Event>,
    tree: Tree,
}

impl Node {
    pub(crate) async fn start(directory: &Path) -> Node {
        Node::start_with(directory, &Storage::default(), Clock::machine()).await
    }

    pub(crate) async fn start_with(directory: &Path, settings: &Storage, clock: Clock) -> Node {
        Node::try_start(directory, settings, clock).await.expect("the directory is sound")
    }

    pub(crate) async fn try_start(directory: &Path, settings: &Storage, clock: Clock) -> Result<Node, String> {
        let kernel = Kernel::new(clock);
        let service = Service::vacant(&kernel.clock);
        let disk = Arc::new(Disk {
            free: (1 << 40).into(),
            breaks: false.into(),
            holds: false.into(),
            released: false.into(),
            went_on: false.into(),
        });
        let events = kernel.events.follow();
        let spec = comet_storage::spec_on(&kernel, settings, directory, &service, disk.clone());
        let tree = spec.start(&kernel).await?;
        Ok(Node { service, disk, events, tree })
    }

    pub(crate) async fn stop(self) {
        self.tree.stop().await;
    }

    pub(crate) async fn put(&self, key: &str, record: Record, former: Option<&Record>) -> Result<(), WriteError> {
        self.service.write.call(write(key, Some(record), former)).await.expect("the writer answers")
    }

    pub(crate) async fn remove(&self, key: &str, former: &Record) -> Result<(), WriteError> {
        self.service.write.call(write(key, None, Some(former))).await.expect("the writer answers")
    }

    pub(crate) async fn get(&self, name: &str) -> Result<Option<Record>, ReadError> {
        let record =
            self.service.read.call(Read { key: key(name), request: None }).await.expect("the reader answers")?;
        Ok(record.map(|record| (*record).clone()))
    }

    pub(crate) async fn scan(&self, after: Option<Key>, limit: usize) -> Page {
        let page = self.service.scan.call(Scan { after, limit }).await;
        page.expect("the reader answers").expect("the database reads")
    }

    /// Every key, listed by pages of so many.
    pub(crate) async fn list(&self, limit: usize) -> Vec<String> {
        let (mut names, mut after) = (Vec::new(), None);
        loop {
            let page = self.scan(after, limit).await;
            names.extend(page.items.iter().map(|(key, _)| key.to_string()));
            after = page.next;
            if after.is_none() {
                return names;
            }
        }
    }

    /// The next thing that storage reported.
    pub(crate) async fn report(&mut self) -> String {
        loop {
            let event = self.events.recv().await.expect("few things happen");
            if event.kind == Kind::Storage {
                return event.text;
            }
        }
    }

    pub(crate) async fn status(&self) -> Status {
        self.service.read_status.call(ReadStatus).await.expect("the reader answers")
    }

    /// Waits until an actor serves writes and takes this one.
    pub(crate) async fn put_when_possible(&self, name: &str, record: Record) {
        for _ in 0..1_000 {
            if let Ok(Ok(())) = self.service.write.call(write(name, Some(record.clone()), None)).await {
                return;
            }
            actix::clock::sleep(Duration::from_millis(5)).await;
        }
        panic!("nobody takes a write");
    }
}

pub(crate) fn key(name: &str) -> Key {
    Key::new(name.as_bytes()).expect("short")
}

pub(crate) fn plain(text: &str) -> Record {
    Record::plain(1, Value::from(text))
}

pub(crate) fn expiring(at: u64) -> Record {
    Record { expires: Some(UnixMillis(at)), ..plain("ends") }
}

pub(crate) fn write(name: &str, record: Option<Record>, former: Option<&Record>) -> Write {
    Write { key: key(name), record: record.map(Arc::new), former: Former::of(former), behind: false }
}

/// A directory of its own for a test, and for what lies beside the data.
pub(crate) fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("there is room for a test")
}
