//! Looking at a log without its lock says what the log itself says.

use crate::model::Model;
use crate::support::{dir, open, record, segments, small};
use muxbridge_seglog::vfs::Vfs;
use muxbridge_seglog::{Start, survey};
use std::sync::Arc;

#[test]
fn a_survey_of_a_log_in_use_agrees_with_it_and_changes_nothing() {
    let model = Model::new(1);
    let vfs: Arc<dyn Vfs> = Arc::new(model.clone());
    let log = open(&model, &small());
    log.cursor("far", Start::Oldest).expect("a cursor");
    log.cursor("near", Start::Oldest).expect("a cursor");
    let mut middle = None;
    for id in 0..60 {
        let receipt = log.append(record(id, 900)).expect("room").wait().expect("commits");
        middle = if id == 39 { Some(receipt.end) } else { middle };
    }
    log.advance("near", middle.expect("a place")).expect("advances");
    log.maintain();
    let before: Vec<_> = model.names().iter().map(|name| model.read(&dir().join(name)).len()).collect();

    for check in [false, true] {
        let found = survey(&vfs, &dir(), check).expect("a directory");
        assert_eq!(found.end, log.end());
        assert_eq!(found.segments.len() as u64, log.stats().segments);
        assert_eq!(found.segments.iter().map(|s| s.corrupt_records).sum::<u64>(), 0);
        let expected = log.cursors();
        assert_eq!(found.cursors.len(), expected.len());
        for (a, b) in found.cursors.iter().zip(&expected) {
            assert_eq!(
                (&a.name, a.position, a.records, a.items),
                (&b.name, b.position, b.backlog_records, b.backlog_items)
            );
            assert_eq!(a.oldest_ms, Some(1_000));
        }
        assert!(found.cursors[0].bytes > 60 * 900 && found.cursors[1].bytes > 20 * 900, "{found:?}");
        assert!(found.cursors[1].bytes < found.cursors[0].bytes / 2, "{found:?}");
    }
    let after: Vec<_> = model.names().iter().map(|name| model.read(&dir().join(name)).len()).collect();
    assert_eq!(before, after);

    // One flipped bit is one record.
    let first = segments(&model)[0].clone();
    let mut bytes = model.read(&first);
    bytes[4096 + 200] ^= 1;
    model.put(&first, bytes);
    let found = survey(&vfs, &dir(), true).expect("a directory");
    assert_eq!(found.segments.iter().map(|s| s.corrupt_records).collect::<Vec<_>>()[0], 1);
    assert_eq!(found.segments.iter().map(|s| s.corrupt_records).sum::<u64>(), 1);
}
