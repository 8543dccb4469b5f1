//! What is in the file, whatever happens to it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed"
)]

use bytes::Bytes;
use muxbridge_core::{Batch, BuildContext, Clock, Counters, ExportError, Exporter, ExporterKind, Signal};
use muxbridge_exporter_file::{Config, File, FileExporter};
use muxbridge_testkit::{batch, contract, corpus, corpus_traces, oracle};
use serde_json::json;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const SECOND: u64 = 1_000_000_000;
/// 2026-01-01 00:00:00 UTC.
const NEW_YEAR: u64 = 1_767_225_600 * SECOND;

fn build(config: serde_json::Value) -> FileExporter {
    contract::build::<File>(config, &contract::context::<File>())
}

fn traces() -> Batch {
    contract::any_traces()
}

/// The lines of a file; every one must be whole.
fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "{}: ends in half a line", path.display());
    text.lines().map(str::to_owned).collect()
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn it_keeps_the_contract_of_exporters() {
    let directory = tempfile::tempdir().unwrap();
    contract::exporter_contract::<File>(json!({ "path": directory.path().join("otlp.json") })).await;
}

#[tokio::test]
async fn every_mistake_is_reported_with_its_key() {
    let found = |config| contract::problems::<File>(&config);
    assert!(found(json!({}))[0].starts_with("path: is required"));
    assert!(found(json!({ "path": "/var/log/" }))[0].starts_with("path: \"/var/log/\" is a directory"));
    let found = found(json!({ "path": "x", "rotation": { "max_megabytes": 0 }, "append": false }));
    assert!(found[0].starts_with("rotation.max_megabytes: 0 is not"), "{found:?}");
    assert!(found[1].starts_with("append: false"), "{found:?}");
}

#[tokio::test]
async fn a_directory_that_is_missing_is_an_error_at_start_that_names_the_path() {
    let config = Config { path: "/no/such/directory/otlp.json".to_owned(), ..Config::default() };
    let error = File::build(config, &contract::context::<File>()).err().expect("an error").to_string();
    assert!(
        error.starts_with("/no/such/directory/otlp.json: cannot open it for writing: No such"),
        "{error}"
    );
}

#[tokio::test]
async fn each_request_is_one_line_of_otlp_json_that_holds_all_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("otlp.json");
    let exporter = build(json!({ "path": path }));
    let sent = corpus_traces("run1");
    for batch in &sent {
        exporter.export(batch).await.unwrap();
    }
    exporter.shutdown().await;
    let lines = lines(&path);
    assert_eq!(lines.len(), sent.len());
    for (line, batch) in lines.iter().zip(&sent) {
        assert!(line.starts_with("{\"resourceSpans\":["), "the first key tells the signal");
        let read = muxbridge_pdata::json::decode(Signal::Traces, line.as_bytes()).unwrap();
        assert_eq!(oracle::decode_traces(&read), oracle::decode_traces(batch.otlp()));
    }
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "others cannot read it");
}

#[test]
fn the_line_of_a_small_request_is_as_the_specification_writes_it() {
    // resource_logs { scope_logs { log_records { body { string_value: "a\nb" } severity_number: 9 } } }
    let log = [&[0x10, 9, 0x2a, 5, 0x0a, 3][..], b"a\nb"].concat();
    let scope = [&[0x12, log.len() as u8][..], &log].concat();
    let resource = [&[0x12, scope.len() as u8][..], &scope].concat();
    let request = [&[0x0a, resource.len() as u8][..], &resource].concat();
    let line = muxbridge_exporter_file::encode::line(&batch(Signal::Logs, Bytes::from(request)));
    let expected = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"severityNumber":9,"body":{"stringValue":"a\nb"}}]}]}]}"#;
    assert_eq!(line, format!("{expected}\n"));
}

#[tokio::test]
async fn a_file_that_is_there_is_continued_or_emptied_as_configured() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("otlp.json");
    for _ in 0..2 {
        build(json!({ "path": path })).export(&traces()).await.unwrap();
    }
    assert_eq!(lines(&path).len(), 2, "appended by default");
    build(json!({ "path": path, "append": false })).export(&traces()).await.unwrap();
    assert_eq!(lines(&path).len(), 1);
}

#[tokio::test]
async fn half_a_line_left_by_a_crash_is_not_glued_to_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("otlp.json");
    std::fs::write(&path, "{\"resourceSpans\":[{").unwrap();
    build(json!({ "path": path })).export(&traces()).await.unwrap();
    let lines = lines(&path);
    assert!(lines[0] == "{\"resourceSpans\":[{", "what is there stays, and nothing is glued to it");
    assert!(muxbridge_pdata::json::decode(Signal::Traces, lines[1].as_bytes()).is_ok());
    assert_eq!(lines.len(), 2);
}

#[tokio::test]
async fn a_full_disk_is_retryable_and_names_the_path() {
    let exporter = build(json!({ "path": "/dev/full" }));
    let Err(ExportError::Retryable { after: None, source }) = exporter.export(&traces()).await else {
        panic!("not retryable")
    };
    assert!(source.to_string().starts_with("/dev/full: cannot write: No space left"), "{source}");
}

/// The process itself, started again under a limit of the size of files: the kernel then writes a part of a line and
/// fails, as on a disk that fills up.
#[test]
fn a_write_that_fails_halfway_leaves_nothing_of_its_line() {
    if let Ok(path) = std::env::var("MUXBRIDGE_TEST_LIMITED_FILE") {
        return limited(Path::new(&path));
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("otlp.json");
    let test = "a_write_that_fails_halfway_leaves_nothing_of_its_line";
    // 512-byte units in dash, 1024 in bash: either way less than three lines of 40 kB.
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -S -f 100; exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env("MUXBRIDGE_TEST_LIMITED_FILE", &path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let before = lines(&path);
    assert!((1..3).contains(&before.len()), "{} lines", before.len());
    // The disk has room again.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async { build(json!({ "path": path })).export(&traces()).await.unwrap() });
    let after = lines(&path);
    assert_eq!(after.len(), before.len() + 1);
    for line in after {
        assert!(muxbridge_pdata::json::decode(Signal::Traces, line.as_bytes()).is_ok(), "a broken line");
    }
}

fn limited(path: &Path) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let exporter = build(json!({ "path": path }));
        let mut sent = 0;
        let error = loop {
            match exporter.export(&traces()).await {
                Ok(_) => sent += 1,
                Err(error) => break error,
            }
            assert!(sent < 10, "there is no limit");
        };
        assert!(matches!(error, ExportError::Retryable { .. }), "{error}");
        assert_eq!(lines(path).len(), sent, "nothing of the failed line is left");
    });
}

#[tokio::test]
async fn a_file_that_was_moved_away_is_made_again() {
    let directory = tempfile::tempdir().unwrap();
    let (path, moved) = (directory.path().join("otlp.json"), directory.path().join("moved"));
    let exporter = build(json!({ "path": path }));
    exporter.export(&traces()).await.unwrap();
    std::fs::rename(&path, &moved).unwrap();
    exporter.export(&traces()).await.unwrap();
    assert_eq!((lines(&moved).len(), lines(&path).len()), (1, 1));
    // And emptied in place, as `copytruncate` does.
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
    exporter.export(&traces()).await.unwrap();
    assert_eq!(lines(&path).len(), 1);
}

/// An exporter with a clock that goes on by a second each time somebody looks.
fn ticking(config: serde_json::Value) -> FileExporter {
    let now = Arc::new(AtomicU64::new(NEW_YEAR));
    let clock = Clock::from_fn(move || now.fetch_add(SECOND, Ordering::Relaxed));
    contract::build::<File>(config, &BuildContext::new("file", Counters::new(), clock))
}

#[tokio::test]
async fn rotation_loses_no_line_and_keeps_files_below_the_limit() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("otlp.json");
    let exporter = ticking(json!({ "path": path, "rotation": { "max_megabytes": 1 } }));
    let batches = corpus_traces("run1");
    let mut sent: BTreeMap<String, usize> = BTreeMap::new();
    for batch in batches.iter().cycle().take(60) {
        exporter.export(batch).await.unwrap();
        *sent.entry(muxbridge_exporter_file::encode::line(batch).trim_end().to_owned()).or_default() += 1;
    }
    let names = names(directory.path());
    assert!(names.len() > 3, "{names:?}");
    assert_eq!(names[0], "otlp-2026-01-01T00-00-00.000.json");
    assert_eq!(names[1], "otlp-2026-01-01T00-00-01.000.json");
    assert_eq!(names.last().unwrap(), "otlp.json");
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    for name in names {
        let file = directory.path().join(name);
        assert!(file.metadata().unwrap().len() <= 1 << 20);
        for line in lines(&file) {
            *found.entry(line).or_default() += 1;
        }
    }
    assert!(found == sent, "lines were lost or doubled");
}

#[tokio::test]
async fn two_files_of_the_same_moment_do_not_overwrite_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("otlp.json");
    // The clock of the context stands still.
    let exporter = build(json!({ "path": path, "rotation": { "max_megabytes": 1 } }));
    let batch = batch(Signal::Traces, corpus("run1/trace-0003.pb").into());
    for _ in 0..12 {
        exporter.export(&batch).await.unwrap();
    }
    let names = names(directory.path());
    assert_eq!(names[..2], ["otlp-2026-01-01T00-00-00.000-001.json", "otlp-2026-01-01T00-00-00.000.json"]);
    let total: usize = names.iter().map(|n| lines(&directory.path().join(n)).len()).sum();
    assert_eq!(total, 12);
}

#[tokio::test]
async fn only_closed_files_over_the_number_and_the_age_to_keep_are_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("otlp.json");
    let exists = |name: &str| directory.path().join(name).exists();
    let make = |name: &str| std::fs::write(directory.path().join(name), "{}\n").unwrap();
    let (old, young) = ("otlp-2025-12-20T00-00-00.000.json", "otlp-2025-12-31T00-00-00.000.json");
    let others =
        ["otlp-2020.json", "other-2020-01-01T00-00-00.000.json", "otlp-2020-01-01T00-00-00.000.json.gz"];
    others.into_iter().chain([old, young]).for_each(make);
    let batch = batch(Signal::Traces, corpus("run1/trace-0003.pb").into());
    let fill = |config| {
        let (batch, exporter) = (batch.clone(), ticking(config));
        async move {
            for _ in 0..5 {
                exporter.export(&batch).await.unwrap();
            }
        }
    };
    fill(json!({ "path": path, "rotation": { "max_megabytes": 1, "max_days": 7 } })).await;
    assert!(!exists(old) && exists(young), "{:?}", names(directory.path()));
    fill(json!({ "path": path, "rotation": { "max_megabytes": 1, "max_backups": 1 } })).await;
    assert!(
        !exists(young) && exists("otlp-2026-01-01T00-00-00.000.json")
            || exists("otlp-2026-01-01T00-00-00.000-001.json")
    );
    assert!(others.into_iter().all(exists), "files of others stay");
}
