//! What a directory holds after a crash: which segments count, where the log ends, and which state is the newest.

use crate::format::{BadHeader, Kind, Position, RecordHeader, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::index::Segment;
use crate::log::segment_name;
use crate::options::Error;
use crate::scan::Scanner;
use crate::vfs::{Mode, Vfs, VfsFile, read_full};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// The device failed. Anything else that opening a file may answer says nothing about its contents.
const EIO: i32 = 5;

/// What was found and repaired when the log was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Segments that can be read.
    pub segments: u64,
    /// Segments that could not be read and were renamed to `*.bad`.
    pub quarantined: u64,
    /// Whole records at the end that were dropped because their commit was cut off.
    pub torn_records: u64,
    /// Bytes at the end that are no whole record.
    pub torn_bytes: u64,
    /// Checkpoints that were stored and cannot be read; an older one of the same slot stands in, if there is one.
    pub checkpoints_lost: u64,
    /// The cursors could not be read: every cursor begins at the oldest record.
    pub cursors_reset: bool,
    /// Where the log goes on.
    pub next: Position,
}

#[derive(Debug, Default)]
pub(crate) struct Recovered {
    pub(crate) segments: BTreeMap<u64, Segment>,
    pub(crate) checkpoints: BTreeMap<u16, Bytes>,
    pub(crate) next_index: u64,
    /// The oldest segment that a checkpoint was taken from.
    pub(crate) checkpoints_from: u64,
    pub(crate) report: Recovery,
    /// A file that could not be opened for a reason that is not damage: no descriptors, no permission.
    pub(crate) refused: Option<Error>,
}

/// Reads the directory. Nothing in it is an error: what cannot be used is put aside and counted.
pub(crate) fn recover(vfs: &dyn Vfs, dir: &Path, names: &[String], max_quarantined: usize) -> Recovered {
    let mut out = Recovered::default();
    let mut bad: Vec<&String> = names.iter().filter(|n| n.ends_with(".bad")).collect();
    let mut numbers: Vec<u64> = names.iter().filter_map(|n| parse_name(n)).collect();
    numbers.sort_unstable();
    let aside = bad.iter().filter_map(|n| parse_name(n.strip_suffix(".bad")?)).max();
    out.next_index = numbers.last().copied().max(aside).map_or(1, |n| n.saturating_add(1));
    for &number in &numbers {
        let path = dir.join(segment_name(number));
        let file = match vfs.open(&path, Mode::Write) {
            Ok(file) => Ok(file),
            Err(error) if error.raw_os_error() == Some(EIO) => Err(BadHeader::Damaged),
            Err(error) => {
                out.refused = Some(Error::io("open a segment", path, error));
                return out;
            }
        };
        match file.and_then(|file| read_header(&file, number)) {
            Ok((header, bytes)) => add(&mut out.segments, header, bytes),
            Err(BadHeader::Blank) => drop(vfs.remove(&path)),
            Err(_) => {
                out.report.quarantined = out.report.quarantined.saturating_add(1);
                let _ = vfs.rename(&path, &dir.join(format!("{}.bad", segment_name(number))));
            }
        }
    }
    let keep = max_quarantined.saturating_sub(out.report.quarantined as usize);
    bad.sort_unstable();
    bad.iter().rev().skip(keep).for_each(|name| drop(vfs.remove(&dir.join(name))));
    for number in numbers.iter().filter(|n| !out.segments.contains_key(n)) {
        // Blank, put aside, or replaced by a later segment.
        let _ = vfs.remove(&dir.join(segment_name(*number)));
    }
    end_of_log(vfs, dir, &mut out);
    collect_checkpoints(vfs, dir, &mut out);
    out.report.segments = out.segments.len() as u64;
    out
}

pub(crate) fn parse_name(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("seg-")?.strip_suffix(".log")?;
    (digits.len() == 16).then(|| u64::from_str_radix(digits, 16).ok())?
}

pub(crate) fn read_header(file: &Arc<dyn VfsFile>, number: u64) -> Result<(SegmentHeader, u64), BadHeader> {
    let mut bytes = vec![0; SEGMENT_HEADER_BYTES as usize];
    let mut read = read_full(&**file, &mut bytes, 0);
    if read.is_err() {
        // One copy may still be readable.
        let second = bytes.len() / 2;
        bytes.fill(0);
        read = read_full(&**file, bytes.get_mut(second..).unwrap_or_default(), second as u64);
    }
    read.map_err(|_| BadHeader::Damaged)?;
    let len = file.len().map_err(|_| BadHeader::Damaged)?;
    match SegmentHeader::decode(&bytes) {
        Ok(header) if header.index == number => Ok((header, len)),
        Ok(_) => Err(BadHeader::Damaged),
        // The file is only blank if the rest of it is: a header may also have been wiped.
        Err(BadHeader::Blank) if !is_blank(file, len) => Err(BadHeader::Damaged),
        Err(problem) => Err(problem),
    }
}

fn is_blank(file: &Arc<dyn VfsFile>, len: u64) -> bool {
    let mut piece = vec![0; 64 << 10];
    let mut at = SEGMENT_HEADER_BYTES;
    while at < len {
        match read_full(&**file, &mut piece, at) {
            Ok(0) => return true,
            Ok(n) if piece.iter().take(n).all(|&b| b == 0) => at = at.saturating_add(n as u64),
            _ => return false,
        }
    }
    true
}

/// A later segment takes the place of everything at or after its first record.
fn add(segments: &mut BTreeMap<u64, Segment>, header: SegmentHeader, bytes: u64) {
    while let Some(mut last) = segments.last_entry() {
        if last.get().first.lsn < header.first.lsn {
            let segment = last.get_mut();
            segment.end = header.first;
            segment.last_ms = header.created_ms;
            break;
        }
        last.remove();
    }
    let SegmentHeader { index, salt, created_ms, first, durable, carried } = header;
    let segment =
        Segment { salt, first, end: first, limit: bytes, bytes, last_ms: created_ms, durable, carried };
    segments.insert(index, segment);
}

/// Finds the end in the newest segment that has one.
fn end_of_log(vfs: &dyn Vfs, dir: &Path, out: &mut Recovered) {
    let Some((&number, &segment)) = out.segments.last_key_value() else { return };
    let path = dir.join(segment_name(number));
    let file = match vfs.open(&path, Mode::Write) {
        Ok(file) => file,
        Err(error) => {
            out.refused = Some(Error::io("open a segment", path, error));
            return;
        }
    };
    // What an earlier process left to the operating system may be read now and lost later.
    let _ = file.sync_data();
    let tail = tail(&file, &segment);
    out.report.torn_records = tail.torn_records;
    out.report.torn_bytes = tail.torn_bytes;
    out.report.next = tail.end;
    if tail.end.lsn > segment.first.lsn || out.segments.len() == 1 {
        if let Some(last) = out.segments.get_mut(&number) {
            last.end = tail.end;
            last.last_ms = last.last_ms.max(tail.last_ms);
        }
        return;
    }
    // It was begun and its first commit did not complete; the one before ends where it began.
    out.segments.remove(&number);
    let _ = vfs.remove(&path);
}

#[derive(Debug)]
struct Tail {
    end: Position,
    last_ms: u64,
    torn_records: u64,
    torn_bytes: u64,
}

/// Follows the groups up to the first one that is damaged and was not known to be durable. Such a group belongs to a commit
/// that a crash cut off, and what follows it may build on it, so the log ends before it. Damage before that point is a
/// fault of the disk and costs what is damaged.
fn tail(file: &Arc<dyn VfsFile>, segment: &Segment) -> Tail {
    let mut durable = segment.durable;
    let mut scanner = Scanner::new(Arc::clone(file), segment.salt, segment.limit);
    while let Some(found) = scanner.next(false) {
        durable = durable.max(found.header.durable);
    }
    let mut scanner = Scanner::new(Arc::clone(file), segment.salt, segment.limit);
    let mut tail = Tail { end: segment.first, last_ms: 0, torn_records: 0, torn_bytes: 0 };
    let mut expected = segment.first;
    let mut cut = false;
    // `tail.end` is the start of the group that is being read.
    while let Some(found) = scanner.next(true) {
        let header: RecordHeader = found.header;
        if cut || header.at.lsn < expected.lsn {
            tail.torn_records += u64::from(cut && header.kind == Kind::Data);
            continue;
        }
        let gap = header.at.lsn > expected.lsn;
        let broken = gap || (header.kind != Kind::Mark && found.payload.is_none());
        let group_start = header.at.lsn.saturating_sub(u64::from(header.group_index));
        let torn = header.kind != Kind::Mark && group_start >= durable;
        if broken && (torn || tail.end.lsn >= durable) {
            cut = true;
            tail.torn_records += u64::from(header.kind == Kind::Data);
            continue;
        }
        expected = header.after();
        tail.last_ms = tail.last_ms.max(header.time_ms);
        let last = header.kind == Kind::Mark || header.group_index.saturating_add(1) >= header.group_count;
        // Below the durable point nothing is cut, so a group need not be whole.
        if last || expected.lsn <= durable {
            tail.end = expected;
        }
    }
    tail.torn_bytes = scanner.garbage;
    if expected.lsn > tail.end.lsn && !cut {
        tail.torn_records =
            tail.torn_records.saturating_add(expected.records.saturating_sub(tail.end.records));
    }
    tail
}

/// The newest checkpoint of each slot. A segment begins with those that it inherits, so usually one segment is read.
fn collect_checkpoints(vfs: &dyn Vfs, dir: &Path, out: &mut Recovered) {
    let mut missing = 0;
    for (&number, segment) in out.segments.iter().rev() {
        let Ok(file) = vfs.open(&dir.join(segment_name(number)), Mode::Read) else { continue };
        let mut scanner = Scanner::new(file, segment.salt, segment.limit);
        let mut here = BTreeMap::new();
        let mut inherited = 0;
        while let Some(found) = scanner.next(true) {
            let at = found.header.at.lsn;
            if found.header.kind != Kind::Checkpoint || at >= segment.end.lsn {
                continue;
            }
            let repeated = at.saturating_sub(segment.first.lsn) < u64::from(segment.carried);
            match found.payload {
                Some(blob) => {
                    inherited += u32::from(repeated);
                    here.insert(found.header.tag, blob);
                }
                None if !repeated => {
                    out.report.checkpoints_lost = out.report.checkpoints_lost.saturating_add(1);
                }
                None => {}
            }
        }
        for (slot, blob) in here {
            out.checkpoints.entry(slot).or_insert(blob);
        }
        out.checkpoints_from = number;
        missing = segment.carried.saturating_sub(inherited);
        if missing == 0 {
            break;
        }
    }
    out.report.checkpoints_lost = out.report.checkpoints_lost.saturating_add(u64::from(missing));
}
