//! What an operator sees of a backlog that was set apart, and dropping it.

use super::{drop, list, open};
use crate::pipeline::tail::{backlog_of, until_of};
use bytes::Bytes;
use muxbridge_seglog::{Append, Start};

#[test]
fn a_backlog_has_a_line_of_its_own_and_is_dropped_with_its_destination() {
    let data = tempfile::tempdir().expect("a directory");
    let path = data.path().join("outbound/traces");
    std::fs::create_dir_all(&path).expect("a directory");
    let (log, _) = open(&path).expect("opens");
    let mut ends = Vec::new();
    for items in [1, 10, 100, 1000] {
        let append = Append { head: Bytes::new(), payload: vec![7; 50].into(), items, tag: 1 };
        ends.push(log.append(append).expect("room").wait().expect("commits").end);
    }
    for (name, at) in
        [("otlp", ends[2]), ("file", ends[3]), (&backlog_of("otlp"), ends[0]), (&until_of("otlp"), ends[2])]
    {
        log.cursor(name, Start::At(at)).expect("a cursor");
    }
    std::mem::drop(log);

    let text = list::list(data.path(), false).expect("lists");
    let lines: Vec<_> = text.lines().filter(|line| line.starts_with("  ")).collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[0].starts_with("  file: 0 items in 0 records"), "{text}");
    assert!(lines[1].starts_with("  otlp: 1000 items in 1 record"), "{text}");
    assert!(lines[2].starts_with("  otlp, backlog of an outage: 110 items in 2 records"), "{text}");

    let text = drop::drop(data.path(), "otlp", None).expect("drops");
    assert_eq!(text, "outbound/traces: 1110 items in 3 records dropped\n");
    let (log, _) = open(&path).expect("opens");
    let left: Vec<_> = log.cursors().into_iter().map(|c| (c.name, c.backlog_records)).collect();
    assert_eq!(left, [("file".to_owned(), 0), ("otlp".to_owned(), 0)]);
}
