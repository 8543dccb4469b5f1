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

/// A record of its number and as many bytes as asked, all derived from the number. In some of them the first bytes stand in
/// the head.
pub(crate) fn record(id: u64, len: usize) -> Append {
    let mut payload = id.to_le_bytes().to_vec();
    payload.extend((0..len).map(|n| (id as usize).wrapping_mul(31).wrapping_add(n) as u8));
    let mut payload = Bytes::from(payload);
    let head = payload.split_to((id % 3) as usize * 4);
    Append { head, payload, items: (id % 7) as u32 + 1, tag: (id % 5) as u16 }
}

/// The number of a record, after checking that it is what [`record`] made.
pub(crate) fn id(read: &Record) -> u64 {
    let bytes = whole(read);
    let id = u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes"));
    let expected = record(id, bytes.len() - 8);
    let expected_bytes = [expected.head, expected.payload].concat();
    assert_eq!((bytes, read.items, read.tag), (expected_bytes, expected.items, expected.tag));
    id
}

/// The bytes of a record as they stand on the disk.
pub(crate) fn whole(read: &Record) -> Vec<u8> {
    [&read.head[..], &read.payload].concat()
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
