//! The log on the real file system, with its thread.

use crate::support::{drain, id, record, whole};
use muxbridge_seglog::vfs::disk::Disk;
use muxbridge_seglog::{Durability, Error, Group, Log, Options, Position, Read, Start};
use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

fn open(dir: &Path, options: Options) -> Log {
    Log::open(Arc::new(Disk), dir, options).expect("opens").0
}

fn options() -> Options {
    Options { segment_bytes: 64 << 10, ..Options::default() }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The smallest runtime there is.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[test]
fn many_appenders_share_commits_and_everything_is_there_after_reopening() {
    for durability in [Durability::Fsync, Durability::Os] {
        let dir = tempfile::tempdir().expect("a directory");
        let log = open(dir.path(), Options { durability, ..options() });
        log.cursor("c", Start::Oldest).expect("a cursor");
        std::thread::scope(|scope| {
            for thread in 0..8u64 {
                let log = &log;
                scope.spawn(move || {
                    for n in 0..50 {
                        let ticket = log.append(record(thread * 50 + n, 300)).expect("room");
                        if n % 2 == 0 {
                            ticket.wait().expect("commits");
                        } else {
                            block_on(ticket).expect("commits");
                        }
                    }
                });
            }
        });
        let stats = log.stats();
        assert!(stats.segments > 1 && stats.commits <= 400, "{stats:?}");
        drop(log);
        let log = open(dir.path(), options());
        let (mut ids, lost, _) = drain(&log, "c");
        ids.sort_unstable();
        assert_eq!((ids, lost), ((0..400).collect(), 0));
    }
}

#[test]
fn groups_that_wait_together_are_committed_by_one_sync() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = open(dir.path(), Options { committer: muxbridge_seglog::Committer::Caller, ..options() });
    let tickets: Vec<_> = (0..64).map(|id| log.append(record(id, 100)).expect("room")).collect();
    log.sync();
    let ends: Vec<u64> = tickets.into_iter().map(|t| t.wait().expect("committed").end.lsn).collect();
    assert_eq!(ends, (1..=64).collect::<Vec<_>>());
    assert_eq!(log.stats().commits, 1);
}

#[test]
fn a_reader_follows_what_is_committed() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = open(dir.path(), options());
    log.cursor("c", Start::Newest).expect("a cursor");
    let mut reader = log.reader("c").expect("a reader");
    let writer = log.clone();
    let thread = std::thread::spawn(move || {
        for id in 0..500 {
            writer.append(record(id, 600)).expect("room").wait().expect("commits");
        }
    });
    let mut seen = 0;
    while seen < 500 {
        let at = reader.position();
        match reader.next().expect("reads") {
            Some(Read::Record(record)) => {
                assert_eq!(id(&record), seen);
                seen += 1;
                log.advance("c", record.end).expect("advances");
            }
            Some(lost) => panic!("{lost:?}"),
            None => block_on(log.changed(at)),
        }
    }
    thread.join().expect("the writer");
    log.maintain();
    // One stands for the records to come.
    assert_eq!(log.stats().segments, 1, "what the only cursor has passed is deleted");
    assert!(log.stats().deleted_segments > 2);
}

#[test]
fn a_second_process_is_told_the_directory_and_who_has_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = open(dir.path(), options());
    let error = Log::open(Arc::new(Disk), dir.path(), options()).expect_err("it is taken").to_string();
    let pid = std::process::id().to_string();
    assert!(error.contains(&pid) && error.contains(&dir.path().display().to_string()), "{error}");
    drop(log);
    open(dir.path(), options());
}

#[test]
fn more_than_may_wait_or_than_a_group_may_have_is_refused_at_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let committer = muxbridge_seglog::Committer::Caller;
    let log =
        open(dir.path(), Options { committer, max_pending_bytes: 1000, max_group_bytes: 5000, ..options() });
    let first = log.append(record(0, 700)).expect("room");
    assert!(matches!(log.append(record(1, 700)), Err(Error::Busy { limit: 1000, .. })));
    first.wait().expect("commits");
    // Alone it may be larger than what may wait.
    log.append(record(1, 4000)).expect("room").wait().expect("commits");
    assert!(matches!(log.append(record(1, 6000)), Err(Error::TooLarge { bytes: 6008, limit: 5000 })));
    assert_eq!(log.pending_bytes(), 0);
}

#[test]
fn a_group_larger_than_a_segment_gets_one_of_its_own() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = open(dir.path(), options());
    log.cursor("c", Start::Oldest).expect("a cursor");
    for id in 0..6u64 {
        let group = Group { records: vec![record(id, 150_000 * (id as usize % 2))], ..Group::default() };
        log.append(group).expect("room").wait().expect("commits");
    }
    assert_eq!(drain(&log, "c").0, (0..6).collect::<Vec<_>>());
}

#[test]
fn only_the_owner_can_read_the_directory_and_the_files() {
    let parent = tempfile::tempdir().expect("a directory");
    let dir = parent.path().join("a/b");
    let log = open(&dir, options());
    log.cursor("c", Start::Oldest).expect("a cursor");
    log.append(record(0, 1)).expect("room").wait().expect("commits");
    let mode = |path: &Path| std::fs::metadata(path).expect("is there").permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    for entry in std::fs::read_dir(&dir).expect("a directory").flatten() {
        assert_eq!(mode(&entry.path()), 0o600, "{}", entry.path().display());
    }
}

#[test]
fn cursors_are_found_again_removed_and_limited() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = open(dir.path(), Options { max_cursors: 2, ..options() });
    log.cursor("a", Start::Oldest).expect("a cursor");
    let end = log.append(record(0, 1)).expect("room").wait().expect("commits").end;
    assert_eq!(log.cursor("b", Start::Newest).expect("a cursor"), end);
    assert!(matches!(log.cursor("d", Start::Newest), Err(Error::Cursor { .. })));
    assert!(matches!(log.cursor(&"x".repeat(129), Start::Newest), Err(Error::Cursor { .. })));
    log.advance("a", end).expect("advances");
    log.remove_cursor("b").expect("removes");
    drop(log);
    let log = open(dir.path(), options());
    let names: Vec<_> = log.cursors().into_iter().map(|c| (c.name, c.position)).collect();
    assert_eq!(names, [("a".to_owned(), end)]);
    assert_eq!(log.cursor("a", Start::Oldest).expect("is there"), end);
}

#[test]
fn a_cursor_begins_where_another_stood_and_a_reader_goes_on_for_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = open(dir.path(), options());
    let oldest = log.cursor("a", Start::Oldest).expect("a cursor");
    let ends: Vec<_> =
        (0..3).map(|n| log.append(record(n, 1)).expect("room").wait().expect("commits").end).collect();
    assert_eq!(log.cursor("b", Start::At(ends[0])).expect("a cursor"), ends[0]);
    let beyond = Position { lsn: ends[2].lsn + 9, ..ends[2] };
    assert_eq!(log.cursor("c", Start::At(beyond)).expect("a cursor"), ends[2], "not what is not there yet");
    assert_eq!(log.cursor("d", Start::At(Position::default())).expect("a cursor"), oldest);
    let mut reader = log.reader("a").expect("a reader");
    assert!(matches!(reader.next(), Ok(Some(Read::Record(record))) if record.end == ends[0]));
    reader.follow("b");
    // A cursor that it does not follow any more takes it nowhere.
    log.advance("a", ends[2]).expect("advances");
    assert!(matches!(reader.next(), Ok(Some(Read::Record(record))) if record.end == ends[1]));
    log.advance("b", ends[2]).expect("advances");
    assert!(matches!(reader.next(), Ok(None)));
    drop((reader, log));
    let log = open(dir.path(), options());
    assert_eq!(log.cursor("b", Start::Oldest).expect("is there"), ends[2]);
}

#[test]
fn readers_that_keep_up_find_records_in_memory_and_others_the_same_ones_on_the_disk() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = open(dir.path(), Options { recent_bytes: 2_000, ..options() });
    log.cursor("slow", Start::Oldest).expect("a cursor");
    log.cursor("fast", Start::Oldest).expect("a cursor");
    let (mut fast, mut slow) = (log.reader("fast").expect("a reader"), log.reader("slow").expect("a reader"));
    let read = |reader: &mut muxbridge_seglog::Reader| match reader.next().expect("reads") {
        Some(Read::Record(record)) => record,
        other => panic!("{other:?}"),
    };
    let mut seen = Vec::new();
    for n in 0..60 {
        let group = Group {
            records: vec![record(2 * n, 200), record(2 * n + 1, 300)],
            checkpoints: vec![(0, n.to_le_bytes().to_vec().into())],
        };
        log.append(group).expect("room").wait().expect("commits");
        for record in [read(&mut fast), read(&mut fast)] {
            assert!(record.recent, "{n}");
            log.advance("fast", record.end).expect("advances");
            seen.push(record);
        }
        assert_eq!(fast.next().expect("reads"), None);
    }
    let again: Vec<_> = (0..120).map(|_| read(&mut slow)).collect();
    assert_eq!(slow.next().expect("reads"), None);
    let from_memory = again.iter().filter(|r| r.recent).count();
    assert!((1..120).contains(&from_memory), "only the newest of them stay in memory: {from_memory}");
    assert!(again.iter().skip(120 - from_memory).all(|r| r.recent), "the disk is left once");
    let kept: usize = again.iter().filter(|r| r.recent).map(|r| whole(r).len()).sum();
    assert!(kept <= 2_000, "{kept}");
    for (fast, slow) in seen.iter().zip(&again) {
        assert_eq!((fast.at, fast.end, fast.time_ms), (slow.at, slow.end, slow.time_ms));
        assert_eq!((whole(fast), fast.items, fast.tag), (whole(slow), slow.items, slow.tag));
    }
    // What every cursor has passed is not kept in memory. The log has one segment, so the disk still has all of it.
    log.advance("slow", log.end()).expect("advances");
    log.cursor("third", Start::Oldest).expect("a cursor");
    let mut third = log.reader("third").expect("a reader");
    assert!((0..120).all(|_| !read(&mut third).recent));
}
