//! What stays in memory for readers, and how far behind they may be.

use crate::model::Model;
use crate::support::{drain, open, record, small, whole};
use muxbridge_seglog::{Log, Options, Read, Reader, Record, Start};
use std::ops::Range;

fn read(reader: &mut Reader) -> Record {
    match reader.next().expect("reads") {
        Some(Read::Record(record)) => record,
        other => panic!("{other:?}"),
    }
}

/// Appends records of 100 bytes with these numbers, one after the other.
fn append(log: &Log, numbers: Range<u64>) {
    for number in numbers {
        log.append(record(number, 92)).expect("room").wait().expect("commits");
    }
}

#[test]
fn a_reader_that_is_no_further_behind_than_fits_in_memory_knows_how_far_it_is_and_finds_all_of_it_there() {
    let log = open(&Model::new(1), &Options { recent_bytes: 1_000, ..small() });
    log.cursor("c", Start::Oldest).expect("a cursor");
    let mut reader = log.reader("c").expect("a reader");
    assert_eq!(reader.recent_bytes(), Some(0), "nothing is there");
    append(&log, 0..10);
    for left in (0..10).rev() {
        assert_eq!(reader.recent_bytes(), Some(100 * (left + 1)));
        let record = read(&mut reader);
        assert!(record.recent, "{left}");
        log.advance("c", record.end).expect("advances");
    }
    assert_eq!(reader.recent_bytes(), Some(0));
    append(&log, 10..20);
    assert_eq!(reader.recent_bytes(), Some(1_000));
    append(&log, 20..21);
    assert_eq!(reader.recent_bytes(), None, "its next record is on the disk alone");
    assert!(!read(&mut reader).recent);
}

#[test]
fn a_cursor_that_is_far_behind_keeps_half_as_much_in_memory_and_takes_nothing_from_one_that_keeps_up() {
    let log = open(&Model::new(1), &Options { recent_bytes: 1_000, ..small() });
    log.cursor("down", Start::Oldest).expect("a cursor");
    append(&log, 0..12);
    let mut reader = log.reader("down").expect("a reader");
    let recent = (0..12).filter(|_| read(&mut reader).recent).count();
    assert_eq!(recent, 5, "of twelve, ten of which would have room");
    // One that keeps up has the rest of the room, too.
    log.cursor("up", Start::Newest).expect("a cursor");
    let mut reader = log.reader("up").expect("a reader");
    append(&log, 12..22);
    assert_eq!(reader.recent_bytes(), Some(1_000));
    for _ in 12..22 {
        let record = read(&mut reader);
        assert!(record.recent);
        log.advance("up", record.end).expect("advances");
    }
    assert_eq!(drain(&log, "down").0, (0..22).collect::<Vec<_>>());
}

#[test]
fn a_record_says_whether_this_process_appended_it_wherever_it_comes_from() {
    let model = Model::new(1);
    let log = open(&model, &small());
    log.cursor("c", Start::Oldest).expect("a cursor");
    append(&log, 0..3);
    let mut reader = log.reader("c").expect("a reader");
    let first = read(&mut reader);
    assert!(first.own && !first.recent, "from the disk");
    drop((reader, log));
    let log = open(&model, &small());
    append(&log, 3..6);
    let mut reader = log.reader("c").expect("a reader");
    let own: Vec<bool> = (0..6).map(|_| read(&mut reader).own).collect();
    assert_eq!(own, [false, false, false, true, true, true]);
    assert_eq!(whole(&first).len(), 100);
}
