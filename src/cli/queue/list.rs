//! What is on the disk. Takes no lock and changes nothing: the bridge may run meanwhile.

use super::{disk, failed, logs, plural, size};
use crate::cli::Failure;
use crate::pipeline::dead;
use crate::pipeline::journal::DEAD_LETTERS;
use crate::pipeline::tail::{backlog_of, owner, until_of};
use muxbridge_seglog::{CursorSurvey, survey};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

pub(super) fn list(directory: &Path, check: bool) -> Result<String, Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    let mut out = format!("{}\n", directory.display());
    for (name, path) in logs(directory) {
        let found = survey(&disk(), &path, check).map_err(failed)?;
        let bytes: u64 = found.segments.iter().map(|s| s.bytes).sum();
        let corrupt: u64 = found.segments.iter().map(|s| s.corrupt_records).sum();
        let segments = plural(found.segments.len() as u64, "segment");
        let _ = write!(out, "\n{name}: {segments}, {}", size(bytes));
        if corrupt > 0 {
            let _ = write!(out, ", {} cannot be read", plural(corrupt, "record"));
        }
        if found.unreadable_segments > 0 {
            let _ = write!(out, ", {} put aside or unreadable", plural(found.unreadable_segments, "segment"));
        }
        out.push('\n');
        for cursor in found.cursors.iter().filter(|cursor| owner(&cursor.name).is_none()) {
            let name = if cursor.name == "replay" { "open traces" } else { &cursor.name };
            waiting(&mut out, name, cursor, now);
            if let Some(backlog) = backlog(&found.cursors, &cursor.name) {
                waiting(&mut out, &format!("{name}, backlog of an outage"), &backlog, now);
            }
        }
        if check {
            for s in found.segments.iter().filter(|s| s.corrupt_records > 0) {
                let _ = writeln!(
                    out,
                    "  segment {:016x}: {} cannot be read",
                    s.number,
                    plural(s.corrupt_records, "record")
                );
            }
        }
    }
    dead_letters(&mut out, &directory.join(DEAD_LETTERS));
    Ok(out)
}

/// What was set apart for a destination and is not delivered.
fn backlog(cursors: &[CursorSurvey], id: &str) -> Option<CursorSurvey> {
    let find = |name: String| cursors.iter().find(|cursor| cursor.name == name);
    let mut from = find(backlog_of(id))?.clone();
    let until = find(until_of(id))?;
    // Each says what is between it and the end of the log.
    from.items = from.items.saturating_sub(until.items);
    from.records = from.records.saturating_sub(until.records);
    from.bytes = from.bytes.saturating_sub(until.bytes);
    Some(from)
}

fn waiting(out: &mut String, name: &str, cursor: &CursorSurvey, now: u64) {
    let items = plural(cursor.items, "item");
    let _ = write!(out, "  {name}: {items} in {}, {}", plural(cursor.records, "record"), size(cursor.bytes));
    if let Some(oldest) = cursor.oldest_ms.filter(|_| cursor.records > 0) {
        let _ = write!(out, ", the oldest {} old", age(now.saturating_sub(oldest)));
    }
    out.push('\n');
}

fn age(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// By destination, signal and reason.
fn dead_letters(out: &mut String, directory: &Path) {
    let mut files: Vec<String> = disk().list(directory).unwrap_or_default();
    files.retain(|name| dead::number(name).is_some());
    if files.is_empty() {
        return;
    }
    files.sort();
    let (mut bytes, mut counts) = (0, BTreeMap::<(String, String, String), (u64, u64)>::new());
    for name in &files {
        // A bridge that runs may delete one meanwhile.
        let Ok(text) = std::fs::read_to_string(directory.join(name)) else { continue };
        bytes += text.len() as u64;
        for about in text.lines().filter_map(dead::about) {
            let count = counts.entry((about.exporter, about.signal, about.reason)).or_default();
            (count.0, count.1) = (count.0 + 1, count.1 + about.items);
        }
    }
    let _ = writeln!(out, "\n{DEAD_LETTERS}: {}, {}", plural(files.len() as u64, "file"), size(bytes));
    for ((exporter, signal, reason), (requests, items)) in counts {
        let (requests, items) = (plural(requests, "request"), plural(items, "item"));
        let _ = writeln!(out, "  {exporter}, {signal}, {reason}: {items} in {requests}");
    }
}
