//! The format of version 1 as files that never change. `SEGLOG_BLESS=1` writes them anew, which only a new version may do.

use crate::model::Model;
use crate::support::{dir, small};
use bytes::Bytes;
use muxbridge_seglog::{Append, Group, Log, Options, Position, Read, Start};
use std::path::PathBuf;
use std::sync::Arc;

const SEGMENT: &str = "seg-0000000000000001.log";

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1").join(name)
}

fn options() -> Options {
    Options { clock: Arc::new(|| 1_700_000_000_000), salt: Arc::new(|| 0x0123_4567_89ab_cdef), ..small() }
}

fn append(payload: &'static [u8], items: u32, tag: u16) -> Append {
    Append { head: Bytes::new(), payload: Bytes::from_static(payload), items, tag }
}

/// The files as this version writes them, without the zeros at their ends.
fn written() -> Vec<(&'static str, Vec<u8>)> {
    let model = Model::new(1);
    let (log, _) = Log::open(Arc::new(model.clone()), &dir(), options()).expect("opens");
    log.cursor("otlp/main", Start::Oldest).expect("a cursor");
    let first = log.append(append(b"hello", 3, 2)).expect("room").wait().expect("commits");
    let group = Group {
        records: vec![append(b"", 0, 0), append(b"metrics", 70_000, 513)],
        checkpoints: vec![(1, Bytes::from_static(b"state"))],
    };
    log.append(group).expect("room").wait().expect("commits");
    log.advance("otlp/main", first.end).expect("advances");
    log.maintain();
    drop(log);
    [SEGMENT, "cursors.0", "cursors.1"]
        .map(|name| {
            let mut bytes = model.read(&dir().join(name));
            bytes.truncate(bytes.iter().rposition(|&b| b != 0).map_or(0, |last| last + 1));
            (name, bytes)
        })
        .into()
}

#[test]
fn this_version_writes_the_golden_files() {
    for (name, bytes) in written() {
        if std::env::var_os("SEGLOG_BLESS").is_some() {
            std::fs::create_dir_all(golden("")).expect("a directory");
            std::fs::write(golden(name), &bytes).expect("writes");
        }
        assert_eq!(std::fs::read(golden(name)).expect("a golden file"), bytes, "{name}");
    }
}

#[test]
fn the_golden_files_are_read() {
    let model = Model::new(1);
    for name in [SEGMENT, "cursors.0", "cursors.1"] {
        model.put(&dir().join(name), std::fs::read(golden(name)).expect("a golden file"));
    }
    let (log, recovery) = Log::open(Arc::new(model), &dir(), options()).expect("opens");
    let end = Position { lsn: 4, records: 3, items: 70_003 };
    assert_eq!((recovery.next, recovery.segments, recovery.torn_bytes), (end, 1, 0));
    assert_eq!(log.checkpoint(1).as_deref(), Some(&b"state"[..]));
    assert_eq!(log.cursors()[0].position, Position { lsn: 1, records: 1, items: 3 });
    log.cursor("all", Start::Oldest).expect("a cursor");
    let mut reader = log.reader("all").expect("a reader");
    let mut found = Vec::new();
    while let Some(Read::Record(r)) = reader.next().expect("reads") {
        assert_eq!(r.time_ms, 1_700_000_000_000);
        found.push((r.at.lsn, r.payload, r.items, r.tag));
    }
    let expected = [(0, &b"hello"[..], 3, 2), (1, &b""[..], 0, 0), (2, &b"metrics"[..], 70_000, 513)];
    assert_eq!(found, expected.map(|(lsn, bytes, items, tag)| (lsn, Bytes::from_static(bytes), items, tag)));
}

/// The table of the README, byte by byte.
#[test]
fn the_fields_stand_where_the_readme_says() {
    let bytes = std::fs::read(golden(SEGMENT)).expect("a golden file");
    let u16_at = |at: usize| u16::from_le_bytes(bytes[at..at + 2].try_into().expect("2 bytes"));
    let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
    let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
    assert_eq!(&bytes[..8], b"MUXSEGL\n");
    assert_eq!((u16_at(8), u16_at(10), u32_at(12)), (1, 80, 0), "version, length, checkpoints repeated");
    assert_eq!((u64_at(16), u64_at(24), u64_at(32)), (1, 0x0123_4567_89ab_cdef, 1_700_000_000_000));
    assert_eq!((u64_at(40), u64_at(48), u64_at(56), u64_at(64)), (0, 0, 0, 0), "first position, durable");
    assert_eq!(u32_at(72), crc32fast::hash(&bytes[..72]));
    assert_eq!(bytes[..80], bytes[2048..2128], "the second copy");
    // The last record of the second group: a checkpoint. Commits begin at 4096 and 4608.
    let at = 4608 + 72 + 80;
    assert_eq!(&bytes[at..at + 4], b"\xb5mxR");
    assert_eq!((u32_at(at + 4), bytes[at + 8], u16_at(at + 10), u32_at(at + 12)), (5, 2, 1, 0));
    assert_eq!((u64_at(at + 16), u64_at(at + 24), u64_at(at + 32)), (3, 3, 70_003), "lsn, records, items");
    assert_eq!((u64_at(at + 40), u64_at(at + 48)), (1, 1_700_000_000_000), "durable, time");
    assert_eq!((u32_at(at + 56), u32_at(at + 60)), (2, 3), "third of three");
    let salted = |number: u64, data: &[u8]| {
        crc32fast::hash(&[&0x0123_4567_89ab_cdef_u64.to_le_bytes(), &number.to_le_bytes(), data].concat())
    };
    assert_eq!(u32_at(at + 64), salted(3, b"state"));
    assert_eq!(u32_at(at + 68), salted(0, &bytes[at..at + 68]));
    assert_eq!(&bytes[at + 72..at + 80], b"state\0\0\0");
    assert_eq!(bytes[5120 + 8], 3, "the mark");
}

#[test]
fn a_segment_of_a_later_version_is_put_aside_and_not_destroyed() {
    let mut bytes = std::fs::read(golden(SEGMENT)).expect("a golden file");
    for copy in [0, 2048] {
        bytes[copy + 8] = 2;
        let crc = crc32fast::hash(&bytes[copy..copy + 72]);
        bytes[copy + 72..copy + 76].copy_from_slice(&crc.to_le_bytes());
    }
    let model = Model::new(1);
    model.put(&dir().join(SEGMENT), bytes.clone());
    let (_, recovery) = Log::open(Arc::new(model.clone()), &dir(), options()).expect("opens");
    assert_eq!(recovery.quarantined, 1);
    assert_eq!(model.read(&dir().join(format!("{SEGMENT}.bad"))), bytes);
}
