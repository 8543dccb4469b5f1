//! Writes that leave the page cache out, on the real file system. Where it does not have them, they are made the usual way and
//! these tests hold, too.

use muxbridge_seglog::vfs::disk::Disk;
use muxbridge_seglog::vfs::{Mode, Vfs, read_full, write_all, write_all_through};
use muxbridge_seglog::{Append, Log, Options, Read, Start};
use std::sync::Arc;

/// Random bytes that begin `skew` bytes after a multiple of 512 in memory.
fn bytes(rng: &mut fastrand::Rng, skew: usize, len: usize) -> (Vec<u8>, std::ops::Range<usize>) {
    let mut bytes = vec![0; len + 1024];
    bytes.iter_mut().for_each(|byte| *byte = rng.u8(..));
    let start = bytes.as_ptr().align_offset(512) + skew;
    (bytes, start..start + len)
}

#[test]
fn large_and_small_writes_past_the_page_cache_and_through_it_are_read_as_one_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = Disk.open(&dir.path().join("file"), Mode::Create).expect("a file");
    let reader = Disk.open(&dir.path().join("file"), Mode::Read).expect("a reader");
    let size = 2 << 20;
    file.allocate(size as u64).expect("room");
    let mut expected = vec![0; size];
    let mut rng = fastrand::Rng::with_seed(7);
    for round in 0..300 {
        // Whole sectors mostly, aligned in memory mostly, and now and then neither.
        let odd = if rng.u32(..8) == 0 { rng.usize(1..512) } else { 0 };
        let skew = if rng.u32(..8) == 0 { rng.usize(1..512) } else { 0 };
        let most = if rng.bool() { 8 } else { 600 };
        let len = rng.usize(1..most) * 512 + odd;
        let at = rng.usize(..(size - len) / 512) * 512;
        let (bytes, range) = bytes(&mut rng, skew, len);
        let through = rng.u32(..4) > 0;
        let write = if through { write_all_through } else { write_all };
        write(&*file, &bytes[range.clone()], at as u64).expect("writes");
        expected[at..at + len].copy_from_slice(&bytes[range]);
        if rng.bool() {
            file.sync_data().expect("syncs");
        }
        // A part of it is in the page cache then, as a reader that is behind leaves it there.
        let (from, length) = (rng.usize(..size), rng.usize(1..100_000));
        let mut read = vec![0; length.min(size - from)];
        assert_eq!(read_full(&*reader, &mut read, from as u64).expect("reads"), read.len());
        assert!(read == expected[from..from + read.len()], "round {round}: {from}");
    }
    let mut read = vec![0; size];
    read_full(&*reader, &mut read, 0).expect("reads");
    assert!(read == expected);
}

#[test]
fn a_log_of_large_and_small_commits_is_read_while_it_grows_and_after_it_was_closed() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = Options { segment_bytes: 4 << 20, ..Options::default() };
    let (log, _) = Log::open(Arc::new(Disk), dir.path(), options.clone()).expect("opens");
    log.cursor("c", Start::Oldest).expect("a cursor");
    let mut reader = log.reader("c").expect("a reader");
    let mut rng = fastrand::Rng::with_seed(3);
    let mut expected = Vec::new();
    for round in 0..200 {
        let len = if rng.bool() { rng.usize(..5_000) } else { rng.usize(60_000..400_000) };
        let payload: bytes::Bytes = std::iter::repeat_with(|| rng.u8(..)).take(len).collect();
        let append = Append { head: bytes::Bytes::new(), payload: payload.clone(), items: 1, tag: 0 };
        let ticket = log.append(append).expect("room");
        if rng.u32(..3) > 0 {
            ticket.wait().expect("commits");
        }
        expected.push(payload);
        if round % 50 == 49 {
            // Says on the disk that it is idle, through the page cache.
            log.sync();
            log.sync();
            let Ok(Some(Read::Record(record))) = reader.next() else { panic!("not read") };
            assert!(record.payload == expected[round / 50], "{round}");
        }
    }
    drop((reader, log));
    let (log, recovery) = Log::open(Arc::new(Disk), dir.path(), options).expect("opens");
    assert_eq!(recovery.torn_bytes, 0, "{recovery:?}");
    let mut reader = log.reader("c").expect("a reader");
    for (number, payload) in expected.iter().enumerate() {
        let Ok(Some(Read::Record(record))) = reader.next() else { panic!("{number} is not read") };
        assert!(record.payload == payload, "{number}");
    }
    assert_eq!(reader.next().expect("reads"), None);
}
