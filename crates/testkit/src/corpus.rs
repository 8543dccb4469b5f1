//! The recorded telemetry below `tests/corpus`, and batches made of it.

use bytes::Bytes;
use muxbridge_core::{Batch, Limits, Origin, Signal};
use std::path::PathBuf;
use std::sync::Arc;

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/corpus");

/// The contents of a file below `tests/corpus`, for example `scenario/traces.otlp.pb`.
///
/// # Panics
/// If it cannot be read.
pub fn corpus(path: &str) -> Vec<u8> {
    let file = PathBuf::from(CORPUS).join(path);
    std::fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

/// A batch of these bytes, from a receiver called `test`.
///
/// # Panics
/// If they are not valid.
pub fn batch(signal: Signal, otlp: Bytes) -> Batch {
    let origin = Arc::new(Origin { receiver: "test".into() });
    Batch::new(signal, otlp, origin, Limits::default()).unwrap_or_else(|e| panic!("not a valid request: {e}"))
}

/// All OTLP requests with spans of one run (`run1`, `workers2`), in the order in which they came.
///
/// # Panics
/// If the directory cannot be read.
pub fn corpus_traces(dir: &str) -> Vec<Batch> {
    let path = PathBuf::from(CORPUS).join(dir);
    let mut names: Vec<String> = std::fs::read_dir(&path)
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .filter(|name| name.starts_with("trace-") && name.ends_with(".pb"))
        .collect();
    names.sort();
    assert!(!names.is_empty(), "{}: no trace-*.pb", path.display());
    names.iter().map(|name| batch(Signal::Traces, corpus(&format!("{dir}/{name}")).into())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_corpus_is_there_and_valid() {
        assert_eq!(corpus_traces("run1").len(), 14);
        assert!(corpus_traces("workers2").iter().all(|b| b.items() > 0));
    }
}
