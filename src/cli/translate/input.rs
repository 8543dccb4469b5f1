//! Files to batches: OTLP as protobuf or JSON, and Prometheus pages, told apart by what is in them.

use super::pages::Pages;
use crate::cli::{Failure, exit};
use bytes::Bytes;
use clap::ValueEnum;
use muxbridge_core::{Batch, Limits, Origin, Signal};
use muxbridge_pdata::json;
use serde_json::{Map, Value};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// What is in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Whatever it looks like.
    Auto,
    /// OTLP requests as protobuf.
    Otlp,
    /// OTLP requests as JSON: one, or several one after the other.
    OtlpJson,
    /// A Prometheus or OpenMetrics page, or a JSON string that holds one.
    Prometheus,
}

/// Reads all files, in their order. A directory stands for the files in it, by name.
pub(super) fn read(inputs: &[PathBuf], from: Format, interval: Duration) -> Result<Vec<Batch>, Failure> {
    let mut batches = Vec::new();
    let mut pages = Pages::new(interval);
    for file in files(inputs)? {
        let name = if is_stdin(&file) { "standard input".to_owned() } else { file.display().to_string() };
        let bytes = contents(&file).map_err(|e| Failure::new(exit::NO_INPUT, format!("{name}: {e}")))?;
        let bad = |problem: String| Failure::new(exit::DATA, format!("{name}: {problem}"));
        match if from == Format::Auto { detect(&bytes) } else { from } {
            Format::OtlpJson => {
                requests(&bytes, &mut batches).map_err(|e| bad(format!("read as OTLP/JSON: {e}")))?
            }
            Format::Prometheus => {
                batches.push(pages.read(&bytes).map_err(|e| bad(format!("read as a Prometheus page: {e}")))?)
            }
            Format::Auto | Format::Otlp => batches.push(protobuf(bytes.into()).map_err(bad)?),
        }
    }
    Ok(batches)
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn contents(path: &Path) -> std::io::Result<Vec<u8>> {
    if !is_stdin(path) {
        return std::fs::read(path);
    }
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn files(inputs: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for input in inputs {
        if !input.is_dir() {
            files.push(input.clone());
            continue;
        }
        let missing = |e| Failure::new(exit::NO_INPUT, format!("{}: {e}", input.display()));
        let mut inside = Vec::new();
        for entry in std::fs::read_dir(input).map_err(missing)? {
            let path = entry.map_err(missing)?.path();
            let hidden = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'));
            if path.is_file() && !hidden {
                inside.push(path);
            }
        }
        inside.sort();
        files.append(&mut inside);
    }
    Ok(files)
}

/// What the bytes look like. Text that is no JSON object is a page; what is no text is protobuf.
fn detect(bytes: &[u8]) -> Format {
    let control = |b: &u8| (*b < b' ' && !matches!(b, b'\n' | b'\r' | b'\t')) || *b == 0x7f;
    match bytes.iter().find(|b| !b.is_ascii_whitespace()) {
        // A request begins with the tag of its only field, which is a line feed to those who read text. So the first
        // bytes decide nothing: a length or a tag below it is never printable.
        _ if bytes.iter().any(control) || std::str::from_utf8(bytes).is_err() => Format::Otlp,
        Some(b'{') => Format::OtlpJson,
        Some(_) => Format::Prometheus,
        None => Format::Otlp,
    }
}

fn batch(signal: Signal, otlp: Bytes) -> Result<Batch, muxbridge_core::WireError> {
    let origin = Arc::new(Origin { receiver: "translate".to_owned() });
    // The file is there already: nobody can make it larger from outside.
    Batch::new(signal, otlp, origin, Limits { items: usize::MAX })
}

/// The three requests have no name in their bytes. Of those signals as which they can be read the one that knows the most
/// of the bytes is right: what it does not know does not come through the JSON. Of several the last one is: the ids of a
/// span are no text, so that spans are hardly ever taken for metrics, but a metric may look like a span.
fn protobuf(otlp: Bytes) -> Result<Batch, String> {
    let known = |batch: &Batch| {
        let text = json::encode(batch.signal(), batch.otlp());
        json::decode(batch.signal(), text.as_bytes()).map_or(0, |bytes| bytes.len())
    };
    let read = Signal::ALL.map(|signal| batch(signal, otlp.clone()));
    if let Some(best) = read.iter().flatten().filter(|b| b.items() > 0).max_by_key(|b| known(b)) {
        return Ok(best.clone());
    }
    let mut errors = Vec::new();
    for (signal, result) in Signal::ALL.into_iter().zip(read) {
        match result {
            Ok(empty) if otlp.is_empty() => return Ok(empty),
            Ok(_) => errors.push(format!("as {signal} it holds nothing")),
            Err(error) => errors.push(format!("as {signal}: {error}")),
        }
    }
    Err(format!("is no OTLP request ({})", errors.join("; ")))
}

/// JSON objects, each a request, on lines of their own or over many.
fn requests(text: &[u8], batches: &mut Vec<Batch>) -> Result<(), String> {
    let line = |at: usize| 1 + text.iter().take(at).filter(|b| **b == b'\n').count();
    let mut values = serde_json::Deserializer::from_slice(text).into_iter::<Map<String, Value>>();
    loop {
        let rest = text.get(values.byte_offset()..).unwrap_or_default();
        let start =
            values.byte_offset() + rest.iter().position(|b| !b.is_ascii_whitespace()).unwrap_or(rest.len());
        let keys: Vec<String> = match values.next() {
            None => return Ok(()),
            Some(Ok(object)) => object.into_iter().map(|(key, _)| key).collect(),
            // The position in the error is that in the file.
            Some(Err(error)) => return Err(format!("{error}")),
        };
        let request = text.get(start..values.byte_offset()).unwrap_or_default();
        let place = || format!("request at line {}, byte {start}", line(start));
        let signals: Vec<Signal> =
            Signal::ALL.into_iter().filter(|s| keys.iter().any(|key| key == top_key(*s))).collect();
        if signals.is_empty() {
            return Err(format!("{}: holds no resourceSpans, resourceMetrics or resourceLogs", place()));
        }
        for signal in signals {
            let otlp = json::decode(signal, request).map_err(|e| format!("{}: {e}", place()))?;
            batches.push(batch(signal, otlp).map_err(|e| format!("{}: {e}", place()))?);
        }
    }
}

fn top_key(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "resourceSpans",
        Signal::Metrics => "resourceMetrics",
        Signal::Logs => "resourceLogs",
    }
}
