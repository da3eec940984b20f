//! What a node writes, read as it comes so that it never waits for its reader, and kept within bounds.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use comet_kernel::Clock;

/// Bytes of standard error that are kept: the last.
const KEPT: usize = 1 << 20;
/// Lines of standard output that may wait for somebody to look at them; more are dropped.
const LINES: usize = 64;

/// Standard output, line by line.
pub(super) struct Lines(Receiver<String>);

impl Lines {
    /// Reads until the end, on a thread of its own.
    pub(super) fn follow(from: impl Read + Send + 'static) -> Self {
        let (sender, receiver) = sync_channel(LINES);
        std::thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                let _nobody_looks_any_more = sender.try_send(line);
            }
        });
        Lines(receiver)
    }

    /// The first line in which there is something to find, until the deadline or the end.
    pub(super) fn find<T>(&self, deadline: Duration, mut find: impl FnMut(&str) -> Option<T>) -> Option<T> {
        let clock = Clock::machine();
        loop {
            let left = deadline.checked_sub(clock.now().elapsed())?;
            let line = self.0.recv_timeout(left).ok()?;
            if let Some(found) = find(&line) {
                return Some(found);
            }
        }
    }
}

/// The last of what was written to standard error.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    bytes: Arc<Mutex<VecDeque<u8>>>,
    reader: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Kept {
    /// Reads until the end, on a thread of its own.
    pub(super) fn follow(mut from: impl Read + Send + 'static) -> Self {
        let bytes: Arc<Mutex<VecDeque<u8>>> = Arc::default();
        let kept = bytes.clone();
        let reader = std::thread::spawn(move || {
            let mut part = [0; 4_096];
            while let Ok(length @ 1..) = from.read(&mut part) {
                let mut bytes = bytes.lock().unwrap_or_else(PoisonError::into_inner);
                bytes.extend(&part[..length]);
                let surplus = bytes.len().saturating_sub(KEPT);
                bytes.drain(..surplus);
            }
        });
        Kept { bytes: kept, reader: Arc::new(Mutex::new(Some(reader))) }
    }

    /// What is there once the node has ended and all that it wrote was read.
    pub(super) fn last_words(&self) -> String {
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(reader) = reader {
            reader.join().expect("reading does not panic");
        }
        self.text()
    }

    /// What is there now.
    pub(super) fn text(&self) -> String {
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(bytes.make_contiguous()).into_owned()
    }
}
