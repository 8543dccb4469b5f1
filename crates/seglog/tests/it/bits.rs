//! One flipped bit, anywhere: at most one record is lost, and it is reported.

use crate::model::Model;
use crate::support::{dir, drain, open, record, segments, small};
use bytes::Bytes;
use muxbridge_seglog::{Group, Log, Start};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

/// Groups of one and of three records and checkpoints, each its own commit, until there are so many segments.
fn filled(wanted: usize) -> (Model, u64) {
    let model = Model::new(1);
    let log = open(&model, &small());
    log.cursor("c", Start::Oldest).expect("a cursor");
    let mut next = 0;
    while segments(&model).len() < wanted {
        let count = if next % 4 == 0 { 3 } else { 1 };
        let records = (next..next + count).map(|id| record(id, (id as usize * 37) % 200)).collect();
        let state = (next % 4 == 0).then(|| (1, Bytes::from(vec![9; 50])));
        log.append(Group { records, checkpoints: state.into_iter().collect() })
            .expect("room")
            .wait()
            .expect("commits");
        next += count;
    }
    std::mem::forget(log);
    (model, next)
}

fn flip_each_bit(model: &Model, path: &Path, all: u64) {
    let mut bytes = model.read(path);
    let expected: BTreeSet<u64> = (0..all).collect();
    let mut losses = 0;
    for bit in 0..bytes.len() * 8 {
        // The zeros between and after records are all alike.
        let zeros = bytes[(bit / 8) & !63..bytes.len().min(((bit / 8) & !63) + 64)].iter().all(|&b| b == 0);
        if zeros && bit % 97 != 0 {
            continue;
        }
        bytes[bit / 8] ^= 1 << (bit % 8);
        let copy = model.copy();
        copy.put(path, bytes.clone());
        let (log, recovery) = Log::open(Arc::new(copy), &dir(), small()).expect("opens");
        let (ids, lost, items) = drain(&log, "c");
        let missing: Vec<u64> = expected.iter().filter(|id| !ids.contains(id)).copied().collect();
        assert!(missing.len() <= 1, "bit {bit}: lost {missing:?}");
        assert!(ids.windows(2).all(|w| w[0] < w[1]), "bit {bit}: {ids:?}");
        assert_eq!(recovery.quarantined, 0, "bit {bit}");
        assert_eq!((lost, recovery.torn_records), (missing.len() as u64, 0), "bit {bit}: what is reported");
        assert_eq!(items, missing.iter().map(|id| u64::from(record(*id, 0).items)).sum(), "bit {bit}");
        let status = &log.cursors()[0];
        assert_eq!((status.losses.corrupt_records, status.losses.corrupt_items), (lost, items), "bit {bit}");
        losses += lost;
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    assert!(losses > 100, "most bits belong to records");
}

#[test]
fn a_flipped_bit_in_a_closed_segment_loses_at_most_one_record_and_reports_it() {
    let (model, all) = filled(2);
    flip_each_bit(&model, &segments(&model)[0], all);
}

#[test]
fn a_flipped_bit_in_the_segment_that_was_open_when_the_process_died_loses_at_most_one_record() {
    let model = Model::new(2);
    let log = open(&model, &muxbridge_seglog::Options { segment_bytes: 16 << 10, ..small() });
    log.cursor("c", Start::Oldest).expect("a cursor");
    let ids = 0..20;
    for id in ids.clone() {
        log.append(record(id, 60)).expect("room").wait().expect("commits");
    }
    // The process is killed: nothing is closed.
    std::mem::forget(log);
    assert_eq!(segments(&model).len(), 1);
    flip_each_bit(&model, &segments(&model)[0], ids.end);
}

#[test]
fn a_flipped_bit_in_a_cursor_file_repeats_records_and_loses_none() {
    let (model, all) = filled(4);
    let model = model.copy();
    let log = open(&model, &small());
    let mut reader = log.reader("c").expect("a reader");
    for _ in 0..all - 5 {
        reader.next().expect("reads");
        log.advance("c", reader.position()).expect("advances");
        log.maintain();
    }
    log.append(record(all, 9)).expect("room").wait().expect("commits");
    log.maintain();
    let at = log.cursors()[0].position;
    assert!(segments(&model).len() < 4, "what was passed is deleted");
    std::mem::forget(log);
    for name in ["cursors.0", "cursors.1"] {
        let mut bytes = model.read(&dir().join(name));
        for bit in 0..80 * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            let copy = model.copy();
            copy.put(&dir().join(name), bytes.clone());
            let log = open(&copy, &small());
            let status = &log.cursors()[0];
            assert!(status.position <= at, "bit {bit}");
            assert_eq!(status.losses, Default::default(), "bit {bit} of {name}");
            let (ids, lost, _) = drain(&log, "c");
            assert_eq!((ids.last(), lost), (Some(&all), 0), "bit {bit} of {name}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

#[test]
fn cursors_that_cannot_be_read_begin_at_the_oldest_record() {
    let (model, all) = filled(2);
    let model = model.copy();
    for name in ["cursors.0", "cursors.1"] {
        model.put(&dir().join(name), vec![0xa5; 100]);
    }
    let (log, recovery) = Log::open(Arc::new(model), &dir(), small()).expect("opens");
    assert!(recovery.cursors_reset);
    log.cursor("c", Start::Newest).expect("a cursor");
    assert_eq!(drain(&log, "c").0, (0..all).collect::<Vec<_>>());
}

#[test]
fn rubbish_in_the_directory_never_stops_the_log() {
    let mut rng = fastrand::Rng::with_seed(7);
    for round in 0..400 {
        let (model, _) = (Model::new(round), ());
        let log = open(&model, &small());
        log.cursor("c", Start::Oldest).expect("a cursor");
        for id in 0..10 {
            log.append(record(id, 900)).expect("room").wait().expect("commits");
        }
        drop(log);
        let names: Vec<String> = model.names();
        for name in names.iter().chain(&["seg-zz.log".to_owned(), "seg-00000000000000ff.log".to_owned()]) {
            if rng.u32(..3) > 0 {
                continue;
            }
            let path = dir().join(name);
            let mut bytes = if names.contains(name) { model.read(&path) } else { Vec::new() };
            match rng.u32(..4) {
                0 => bytes.clear(),
                1 => bytes.truncate(rng.usize(..=bytes.len())),
                2 => bytes = (0..rng.usize(..9000)).map(|_| rng.u8(..)).collect(),
                _ => {
                    let (from, len) = (rng.usize(..=bytes.len()), rng.usize(..2000));
                    bytes.iter_mut().skip(from).take(len).for_each(|b| *b = rng.u8(..));
                }
            }
            model.put(&path, bytes);
        }
        let log = open(&model, &small());
        log.cursor("c", Start::Oldest).expect("a cursor");
        drain(&log, "c");
        log.append(record(99, 9)).expect("room").wait().expect("commits");
        drop(log);
        // What is written on top of rubbish is read.
        let log = open(&model, &small());
        let (ids, ..) = drain(&log, "c");
        assert_eq!(ids.last(), Some(&99), "round {round}");
    }
}
