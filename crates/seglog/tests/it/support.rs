//! What the tests share: small options, records that say who they are, reading everything.

use crate::model::Model;
use bytes::Bytes;
use muxbridge_seglog::{Append, Committer, Log, Numbers, Options, Read, Record};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) fn dir() -> PathBuf {
    PathBuf::from("/log")
}

/// A number that a test sets and the log reads.
pub(crate) fn number(value: u64) -> (Arc<AtomicU64>, Numbers) {
    let shared = Arc::new(AtomicU64::new(value));
    let read = Arc::clone(&shared);
    (shared, Arc::new(move || read.load(Ordering::Relaxed)))
}

/// Segments of 8 KiB, no thread, a clock that stands still, salts that count.
pub(crate) fn small() -> Options {
    let salt = AtomicU64::new(0x5a17);
    Options {
        committer: Committer::Caller,
        segment_bytes: 8 << 10,
        max_bytes: 16 << 20,
        max_commit_bytes: 4 << 10,
        clock: Arc::new(|| 1_000),
        salt: Arc::new(move || salt.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed)),
        ..Options::default()
    }
}

pub(crate) fn open(model: &Model, options: &Options) -> Log {
    Log::open(Arc::new(model.clone()), &dir(), options.clone()).expect("opens").0
}

/// A record whose payload is its number and as many bytes as asked, all derived from the number.
pub(crate) fn record(id: u64, len: usize) -> Append {
    let mut payload = id.to_le_bytes().to_vec();
    payload.extend((0..len).map(|n| (id as usize).wrapping_mul(31).wrapping_add(n) as u8));
    Append { payload: Bytes::from(payload), items: (id % 7) as u32 + 1, tag: (id % 5) as u16 }
}

/// The number of a record, after checking that it is what [`record`] made.
pub(crate) fn id(read: &Record) -> u64 {
    let id = u64::from_le_bytes(read.payload[..8].try_into().expect("8 bytes"));
    let expected = record(id, read.payload.len() - 8);
    assert_eq!((&read.payload, read.items, read.tag), (&expected.payload, expected.items, expected.tag));
    id
}

/// Everything from a cursor on: numbers, and records and items lost.
pub(crate) fn drain(log: &Log, cursor: &str) -> (Vec<u64>, u64, u64) {
    let (mut ids, mut lost, mut lost_items) = (Vec::new(), 0, 0);
    let mut reader = log.reader(cursor).expect("a reader");
    while let Some(read) = reader.next().expect("reads") {
        match read {
            Read::Record(record) => ids.push(id(&record)),
            Read::Lost { records, items, .. } => {
                lost += records;
                lost_items += items;
            }
        }
    }
    (ids, lost, lost_items)
}

pub(crate) fn segments(model: &Model) -> Vec<PathBuf> {
    model.names().iter().filter(|n| n.ends_with(".log")).map(|n| dir().join(n)).collect()
}

pub(crate) fn file_name(path: &Path) -> String {
    path.file_name().expect("a name").to_string_lossy().into_owned()
}
