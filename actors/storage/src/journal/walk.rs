//! Which batches of a journal are whole.
//!
//! A batch is a start with the number of its entries, the entries, and an end with their checksum and four fixed bytes.
//! fjall gives up a database in which a checksum does not match, and cuts a journal off where an entry makes no sense; so
//! what a flipped bit has spoilt is looked for before fjall sees it. The forms are those of fjall's journals of format 3,
//! and fjall opens no other.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;

use xxhash_rust::xxh3::Xxh3;

use super::{CHUNK, end};

/// What begins a batch, before the number of its entries and its own number.
const START: u8 = 1;
/// What begins an entry that sets or removes a key.
const ITEM: u8 = 2;
/// What begins the end of a batch, before the checksum.
const END: u8 = 3;
/// What begins an entry that clears a table.
const CLEAR: u8 = 4;
/// What every batch ends with.
const TRAILER: &[u8] = b"FJL\x03";

/// A journal, taken apart. Neighbouring batches of one sort are one range.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Walk {
    /// Batches that are as they were written.
    pub(super) whole: Vec<Range<u64>>,
    /// What is none of those, but was: it holds an end of a batch. What an interrupted write left behind has none.
    pub(super) damaged: Vec<Range<u64>>,
}

impl Walk {
    /// Walks through a journal.
    pub(super) fn through(path: &Path) -> io::Result<Self> {
        let end = end(path)?;
        let mut reader = BufReader::with_capacity(CHUNK, File::open(path)?).take(end);
        let (mut walk, mut at) = (Walk::default(), 0);
        while let Some((length, sound)) = batch(&mut reader)? {
            push(if sound { &mut walk.whole } else { &mut walk.damaged }, at..at + length);
            at += length;
        }
        if holds_trailer(path, at..end)? {
            push(&mut walk.damaged, at..end);
        }
        Ok(walk)
    }
}

fn push(ranges: &mut Vec<Range<u64>>, range: Range<u64>) {
    match ranges.last_mut() {
        Some(last) if last.end == range.start => last.end = range.end,
        _ => ranges.push(range),
    }
}

/// The length of the next batch, and whether its checksum matches; none if what comes next is no batch.
fn batch(reader: &mut impl Read) -> io::Result<Option<(u64, bool)>> {
    let Some([START, count @ .., _, _, _, _, _, _, _, _]) = head::<13>(reader)? else { return Ok(None) };
    let mut checksum = Xxh3::new();
    let mut length = 13 + 13;
    for _ in 0..u32::from_le_bytes(count) {
        match entry(reader, &mut checksum)? {
            Some(bytes) => length += bytes,
            None => return Ok(None),
        }
    }
    let Some([END, rest @ ..]) = head::<13>(reader)? else { return Ok(None) };
    let (expected, trailer) = rest.split_first_chunk().expect("the array is longer");
    Ok((trailer == TRAILER).then_some((length, checksum.digest() == u64::from_le_bytes(*expected))))
}

/// The length of the next entry, which is added to the checksum; none if what comes next is no entry.
fn entry(reader: &mut impl Read, checksum: &mut Xxh3) -> io::Result<Option<u64>> {
    let Some(tag) = head::<1>(reader)? else { return Ok(None) };
    checksum.update(&tag);
    match tag[0] {
        CLEAR => Ok(head::<8>(reader)?.map(|table| {
            checksum.update(&table);
            9
        })),
        ITEM => {
            // Sort of change, compression, table, length of the key, length of the value, and of that as it is written.
            let Some(head) = head::<20>(reader)? else { return Ok(None) };
            checksum.update(&head);
            let (key, written) = ([head[10], head[11]], [head[16], head[17], head[18], head[19]]);
            let body = u64::from(u16::from_le_bytes(key)) + u64::from(u32::from_le_bytes(written));
            Ok(pass(reader, body, checksum)?.then_some(21 + body))
        }
        _ => Ok(None),
    }
}

/// Adds so many bytes to the checksum; whether there are so many.
fn pass(reader: &mut impl Read, mut bytes: u64, checksum: &mut Xxh3) -> io::Result<bool> {
    let mut chunk = [0; 4 << 10];
    while bytes > 0 {
        let most = bytes.min(chunk.len() as u64) as usize;
        let read = reader.read(&mut chunk[..most])?;
        if read == 0 {
            return Ok(false);
        }
        checksum.update(&chunk[..read]);
        bytes -= read as u64;
    }
    Ok(true)
}

/// The next bytes; none if there are fewer.
fn head<const N: usize>(reader: &mut impl Read) -> io::Result<Option<[u8; N]>> {
    let mut bytes = [0; N];
    match reader.read_exact(&mut bytes) {
        Ok(()) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether an end of a batch stands in this part of a file.
fn holds_trailer(path: &Path, part: Range<u64>) -> io::Result<bool> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(part.start))?;
    let mut reader = file.take(part.end.saturating_sub(part.start));
    let mut window = Vec::with_capacity(2 * CHUNK);
    while reader.by_ref().take(CHUNK as u64).read_to_end(&mut window)? > 0 {
        if window.windows(TRAILER.len()).any(|bytes| bytes == TRAILER) {
            return Ok(true);
        }
        // It may stand across the edge.
        window.drain(..window.len().saturating_sub(TRAILER.len() - 1));
    }
    Ok(false)
}
