//! What needs the lock: the bridge must be stopped.

use super::{failed, logs, open, plural};
use crate::cli::{Failure, exit};
use crate::pipeline::tail::{backlog_of, owner, until_of};
use muxbridge_core::Signal;
use muxbridge_seglog::{Read, Start};
use std::fmt::Write;
use std::path::Path;

/// A cursor for the time of the check.
const CHECK: &str = "check";

/// Opens every log, which repairs it, and reads all of it.
pub(super) fn repair(directory: &Path) -> Result<String, Failure> {
    let mut out = String::new();
    for (name, path) in logs(directory) {
        let (log, found) = open(&path)?;
        let _ = write!(out, "{name}: {}", plural(found.segments, "segment"));
        if found.quarantined > 0 {
            let _ = write!(out, ", {} put aside as *.bad", plural(found.quarantined, "segment"));
        }
        if found.torn_records > 0 || found.torn_bytes > 0 {
            let _ = write!(out, ", an interrupted write of {} cut off", plural(found.torn_records, "record"));
        }
        if found.cursors_reset {
            out.push_str(", cursors were unreadable: everything is delivered again");
        }
        log.cursor(CHECK, Start::Oldest).map_err(failed)?;
        let mut reader = log.reader(CHECK).map_err(failed)?;
        let (mut records, mut lost, mut items) = (0, 0, 0);
        while let Some(read) = reader.next().map_err(failed)? {
            match read {
                Read::Record(_) => records += 1,
                Read::Lost { records, items: gone, .. } => (lost, items) = (lost + records, items + gone),
            }
        }
        log.remove_cursor(CHECK).map_err(failed)?;
        let _ =
            writeln!(out, ", {} good, {lost} lost with {}", plural(records, "record"), plural(items, "item"));
    }
    Ok(out)
}

/// Moves the cursors of one destination to the end.
pub(super) fn drop(directory: &Path, destination: &str, signal: Option<Signal>) -> Result<String, Failure> {
    let wanted = |name: &str| signal.is_none_or(|s| name == format!("outbound/{s}"));
    let (mut out, mut others) = (String::new(), Vec::new());
    for (name, path) in logs(directory).into_iter().filter(|(name, _)| name != "intake" && wanted(name)) {
        let (log, _) = open(&path)?;
        let cursors = log.cursors();
        let Some(cursor) = cursors.iter().find(|c| c.name == destination) else {
            others.extend(cursors.into_iter().map(|c| c.name).filter(|name| owner(name).is_none()));
            continue;
        };
        let (mut items, mut records) = (cursor.backlog_items, cursor.backlog_records);
        let find = |name: &str| cursors.iter().find(|c| c.name == name);
        let (backlog, until) = (backlog_of(destination), until_of(destination));
        if let Some(from) = find(&backlog) {
            let end = find(&until).map_or(cursor.position, |until| until.position);
            items += end.items.saturating_sub(from.position.items);
            records += end.records.saturating_sub(from.position.records);
            log.remove_cursor(&backlog).map_err(failed)?;
        }
        if find(&until).is_some() {
            log.remove_cursor(&until).map_err(failed)?;
        }
        log.advance(destination, log.end()).map_err(failed)?;
        log.maintain();
        let _ = writeln!(out, "{name}: {} in {} dropped", plural(items, "item"), plural(records, "record"));
    }
    if out.is_empty() {
        others.sort();
        others.dedup();
        let known = if others.is_empty() { "none".to_owned() } else { others.join(", ") };
        let text =
            format!("--destination {destination}: nothing is queued under this name; there is: {known}");
        return Err(Failure::new(exit::USAGE, text));
    }
    Ok(out)
}
