//! Disks that are full or fail, budgets, segments that cannot be read.

use crate::model::{Faults, Model};
use crate::support::{dir, drain, file_name, number, open, record, segments, small};
use bytes::Bytes;
use muxbridge_seglog::{Error, Group, Log, Options, Start};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

#[test]
fn after_a_failed_sync_the_data_is_written_again_to_a_new_segment_before_it_is_acknowledged() {
    for seed in 0..50 {
        let mut model = Model::new(seed);
        let log = open(&model, &small());
        log.cursor("c", Start::Oldest).expect("a cursor");
        log.append(record(0, 100)).expect("room").wait().expect("commits");
        model.faults(Faults { sync_eio: 500, ..Faults::default() });
        let mut acked = vec![0];
        for id in 1..20 {
            match log.append(record(id, 100)).expect("room").wait() {
                Ok(_) => acked.push(id),
                Err(Error::Io { what: "sync", .. }) => {}
                Err(other) => panic!("{other}"),
            }
        }
        model.faults(Faults::default());
        let (_, failed) = model.syncs();
        assert!(failed > 0 && log.stats().abandoned_segments >= failed, "no segment is synced twice");
        std::mem::forget(log);
        model.power_cut();
        let log = open(&model, &small());
        let (ids, lost, _) = drain(&log, "c");
        assert!(acked.iter().all(|id| ids.contains(id)) && lost == 0, "seed {seed}: {acked:?} {ids:?}");
    }
}

#[test]
fn a_full_disk_refuses_keeps_what_it_has_and_goes_on_when_there_is_room() {
    let model = Model::new(1);
    let log = open(&model, &small());
    log.cursor("c", Start::Oldest).expect("a cursor");
    model.faults(Faults { capacity: Some(400 << 10), ..Faults::default() });
    let mut acked = Vec::new();
    let mut refused = 0;
    for id in 0..400 {
        match log.append(record(id, 1000)).expect("room").wait() {
            Ok(_) => acked.push(id),
            Err(error) => {
                assert!(error.is_disk_full() && error.to_string().contains("/log/seg-"), "{error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 100 && acked.len() > 40, "{refused} refused, {} accepted", acked.len());
    assert_eq!(drain(&log, "c").0, acked);
    // Passing records makes room, although cursors have to be written for it.
    let end = log.end();
    log.advance("c", end).expect("advances");
    log.maintain();
    log.append(record(1000, 1000)).expect("room").wait().expect("commits again");
    assert_eq!(drain(&log, "c").0, [1000]);
    assert_eq!(log.stats().failed_groups, refused);
}

#[test]
fn a_budget_of_bytes_expires_the_oldest_and_counts_exactly_what_each_cursor_lost() {
    let model = Model::new(1);
    let options = Options { max_bytes: 64 << 10, ..small() };
    let log = open(&model, &options);
    log.cursor("stuck", Start::Oldest).expect("a cursor");
    log.cursor("ahead", Start::Oldest).expect("a cursor");
    for id in 0..300 {
        log.append(record(id, 700)).expect("room").wait().expect("commits");
        if id % 10 == 9 {
            let end = log.end();
            log.advance("ahead", end).expect("advances");
        }
        assert!(log.stats().disk_bytes <= 64 << 10, "{:?}", log.stats());
    }
    let (ids, lost, _) = drain(&log, "stuck");
    let gone = 300 - ids.len() as u64;
    let items: u64 = (0..gone).map(|id| u64::from(record(id, 0).items)).sum();
    let status = log.cursors();
    assert_eq!((ids[0], lost), (gone, 0), "the oldest are gone and nothing is corrupt");
    assert_eq!(status[1].name, "stuck");
    assert_eq!((status[1].losses.expired_records, status[1].losses.expired_items), (gone, items));
    assert_eq!(status[0].losses, Default::default(), "who has passed them loses nothing");
    assert_eq!(status[1].backlog_records, ids.len() as u64);
}

#[test]
fn records_expire_by_age_to_the_precision_of_a_segment() {
    let model = Model::new(1);
    let (now, clock) = number(1_000_000);
    let options = Options { max_age: Some(Duration::from_secs(10)), clock, ..small() };
    let log = open(&model, &options);
    log.cursor("c", Start::Oldest).expect("a cursor");
    for id in 0..30 {
        now.fetch_add(1000, Ordering::Relaxed);
        log.append(record(id, 3000)).expect("room").wait().expect("commits");
        log.maintain();
    }
    // Two records stand in a segment, and one of them may be too old.
    let (ids, ..) = drain(&log, "c");
    assert!(ids[0] >= 18 && ids[0] <= 20 && ids.last() == Some(&29), "{ids:?}");
    assert_eq!(log.cursors()[0].losses.expired_records, ids[0]);
    now.fetch_add(60_000, Ordering::Relaxed);
    log.maintain();
    assert_eq!(drain(&log, "c").0, [0; 0]);
    assert_eq!(log.cursors()[0].losses.expired_records, 30);
}

#[test]
fn a_segment_without_a_readable_header_is_put_aside_and_its_records_are_counted() {
    let model = Model::new(1);
    let log = open(&model, &small());
    log.cursor("c", Start::Oldest).expect("a cursor");
    for id in 0..40 {
        log.append(record(id, 900)).expect("room").wait().expect("commits");
    }
    drop(log);
    let second = segments(&model)[1].clone();
    let mut bytes = model.read(&second);
    bytes[..4096].fill(0xff);
    model.put(&second, bytes);
    let (log, recovery) = Log::open(Arc::new(model.clone()), &dir(), small()).expect("opens");
    assert_eq!(recovery.quarantined, 1);
    assert!(model.names().contains(&format!("{}.bad", file_name(&second))));
    let (ids, lost, items) = drain(&log, "c");
    let missing: Vec<u64> = (0..40).filter(|id| !ids.contains(id)).collect();
    assert!(!missing.is_empty());
    assert_eq!(lost, missing.len() as u64);
    assert_eq!(items, missing.iter().map(|id| u64::from(record(*id, 0).items)).sum());
}

#[test]
fn reads_that_fail_are_counted_and_end_nothing() {
    for seed in 0..100 {
        let model = Model::new(seed);
        let log = open(&model, &small());
        log.cursor("c", Start::Oldest).expect("a cursor");
        for id in 0..40 {
            log.append(record(id, 900)).expect("room").wait().expect("commits");
        }
        model.faults(Faults { read_eio: 300, ..Faults::default() });
        let (ids, lost, _) = drain(&log, "c");
        assert_eq!(ids.len() as u64 + lost, 40, "every record is read or counted");
        drop(log);
        let log = open(&model, &small());
        model.faults(Faults::default());
        log.append(record(99, 9)).expect("room").wait().expect("commits");
    }
}

#[test]
fn the_newest_checkpoint_outlives_the_segments_that_it_was_written_to() {
    let model = Model::new(1);
    let options = Options { max_bytes: 64 << 10, ..small() };
    let log = open(&model, &options);
    let state = |text: &'static str| vec![(3, Bytes::from(text)), (4, Bytes::from_static(b"other"))];
    for checkpoints in [state("old"), state("new")] {
        log.append(Group { records: vec![record(0, 9)], checkpoints })
            .expect("room")
            .wait()
            .expect("commits");
    }
    for id in 1..300 {
        log.append(record(id, 900)).expect("room").wait().expect("commits");
    }
    assert!(log.stats().expired_segments > 10);
    drop(log);
    let log = open(&model, &options);
    assert_eq!(log.checkpoint(3).as_deref(), Some(&b"new"[..]));
    assert_eq!(log.checkpoint(4).as_deref(), Some(&b"other"[..]));
    assert_eq!(log.checkpoint(5), None);
}
