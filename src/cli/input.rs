//! Reads recorded telemetry: OTLP as protobuf, JSON or JSON lines, and Prometheus pages; plain or gzipped.

use super::{Failure, exit};
use bytes::Bytes;
use clap::ValueEnum;
use muxbridge_core::{Limits, Signal, WireError};
use muxbridge_pdata::{json, validate};
use std::io::Read;
use std::path::{Path, PathBuf};

/// More than any recording holds, and little enough to fail before memory does.
const FILE_LIMIT: u64 = 1 << 30;

/// What the files hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum From {
    /// Told by their content.
    #[default]
    Auto,
    /// One protobuf request in each file.
    Otlp,
    /// OTLP/JSON: one document, or one in each line.
    OtlpJson,
    /// Each file is a Prometheus page.
    Prometheus,
}

/// One thing read.
pub(super) enum Input {
    /// A valid request.
    Otlp(Signal, Bytes),
    /// A page, and the name of its file for messages.
    Page(String, Vec<u8>),
}

/// Reads files, and the files of directories in the order of their names.
pub(super) fn read(paths: &[PathBuf], from: From) -> Result<Vec<Input>, Failure> {
    let mut inputs = Vec::new();
    for path in paths {
        if path.is_dir() {
            let entries = std::fs::read_dir(path).and_then(|dir| dir.collect::<Result<Vec<_>, _>>());
            let entries = entries.map_err(|e| data(path, e))?;
            let mut files: Vec<PathBuf> = entries.into_iter().map(|e| e.path()).filter(|p| p.is_file()).collect();
            files.sort();
            files.iter().try_for_each(|file| one(file, from, &mut inputs))?;
        } else {
            one(path, from, &mut inputs)?;
        }
    }
    Ok(inputs)
}

fn data(path: &Path, problem: impl std::fmt::Display) -> Failure {
    Failure::new(exit::DATA, format!("{}: {problem}", path.display()))
}

fn one(path: &Path, from: From, inputs: &mut Vec<Input>) -> Result<(), Failure> {
    let file = std::fs::File::open(path).map_err(|e| data(path, e))?;
    let mut content = Vec::new();
    file.take(FILE_LIMIT).read_to_end(&mut content).map_err(|e| data(path, e))?;
    if content.starts_with(&[0x1f, 0x8b]) {
        let mut plain = Vec::new();
        let gunzip = flate2::read::MultiGzDecoder::new(&content[..]);
        gunzip.take(FILE_LIMIT).read_to_end(&mut plain).map_err(|e| data(path, format!("gzip: {e}")))?;
        content = plain;
    }
    let from = if from == From::Auto { detect(&content) } else { from };
    match from {
        From::Otlp | From::Auto => inputs.push(protobuf(path, content)?),
        From::OtlpJson => json_lines(path, &content, inputs)?,
        From::Prometheus => inputs.push(Input::Page(path.display().to_string(), content)),
    }
    Ok(())
}

fn detect(content: &[u8]) -> From {
    match content.iter().find(|b| !b.is_ascii_whitespace()) {
        Some(b'{') => From::OtlpJson,
        // A request begins with the tag and length of its first resource, which is a line feed and a length.
        _ if content.first() == Some(&b'\n') && validate_any(content).is_ok() => From::Otlp,
        Some(b'#' | b'"' | b'a'..=b'z' | b'A'..=b'Z' | b'_' | b':') => From::Prometheus,
        _ => From::Otlp,
    }
}

/// The signal that the bytes are a request of, or the error of the signal whose walk came furthest: the one meant.
fn validate_any(content: &[u8]) -> Result<Signal, WireError> {
    let mut errors = Vec::new();
    for signal in Signal::ALL {
        match validate(signal, content, Limits::default()) {
            // A request without items fits every signal; traces are as good as any.
            Ok(_) => return Ok(signal),
            Err(error) => errors.push(error),
        }
    }
    match errors.into_iter().max_by_key(|e| e.offset) {
        Some(error) => Err(error),
        None => Ok(Signal::Traces),
    }
}

fn protobuf(path: &Path, content: Vec<u8>) -> Result<Input, Failure> {
    let signal = validate_any(&content).map_err(|e| data(path, format!("not an OTLP request: {e}")))?;
    Ok(Input::Otlp(signal, Bytes::from(content)))
}

fn json_lines(path: &Path, content: &[u8], inputs: &mut Vec<Input>) -> Result<(), Failure> {
    // One document may stand on many lines, many documents on one line each.
    if let Some(signal) = json_signal(content) {
        let otlp = json::decode(signal, content).map_err(|e| data(path, e))?;
        inputs.push(Input::Otlp(signal, otlp));
        return Ok(());
    }
    let mut offset = 0;
    for line in content.split(|b| *b == b'\n') {
        if !line.trim_ascii().is_empty() {
            let at = |e: &dyn std::fmt::Display| data(path, format!("offset {offset}: {e}"));
            let signal = json_signal(line).ok_or_else(|| {
                at(&"not a JSON object with resourceSpans, resourceMetrics or resourceLogs")
            })?;
            inputs.push(Input::Otlp(signal, json::decode(signal, line).map_err(|e| at(&e))?));
        }
        offset += line.len() + 1;
    }
    Ok(())
}

/// Which signal a JSON document holds; `None` if it is not one JSON document, or not OTLP.
fn json_signal(document: &[u8]) -> Option<Signal> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Head {
        resource_spans: Option<serde::de::IgnoredAny>,
        resource_metrics: Option<serde::de::IgnoredAny>,
        resource_logs: Option<serde::de::IgnoredAny>,
    }
    let head: Head = serde_json::from_slice(document).ok()?;
    match head {
        Head { resource_spans: Some(_), .. } => Some(Signal::Traces),
        Head { resource_metrics: Some(_), .. } => Some(Signal::Metrics),
        Head { resource_logs: Some(_), .. } => Some(Signal::Logs),
        _ => None,
    }
}
