//! What a directory holds, read without the lock and without changing anything: also while a process appends.

use crate::cursors::CursorFiles;
use crate::format::{Kind, Position, SegmentHeader};
use crate::log::segment_name;
use crate::options::Error;
use crate::recover::{parse_name, read_header};
use crate::scan::Scanner;
use crate::vfs::{Mode, Vfs, VfsFile};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// One segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentSurvey {
    /// Its number.
    pub number: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Before its first record.
    pub first: Position,
    /// After its last record that counts.
    pub end: Position,
    /// When it was begun, in milliseconds since 1970.
    pub created_ms: u64,
    /// Records that cannot be read. Only the newest segment is looked at unless everything was to be checked.
    pub corrupt_records: u64,
}

/// One cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CursorSurvey {
    /// Its name.
    pub name: String,
    /// Where it was when it was stored last.
    pub position: Position,
    /// Records it has yet to pass.
    pub records: u64,
    /// Items in them.
    pub items: u64,
    /// Bytes from there to the end of the log, headers and padding included.
    pub bytes: u64,
    /// When the first of them was appended, in milliseconds since 1970.
    pub oldest_ms: Option<u64>,
}

/// What [`survey`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// The segments that can be read, oldest first.
    pub segments: Vec<SegmentSurvey>,
    /// All cursors, by name.
    pub cursors: Vec<CursorSurvey>,
    /// Segments whose header cannot be read, and those that were put aside as `*.bad`.
    pub unreadable_segments: u64,
    /// Where the log ends.
    pub end: Position,
}

struct Opened {
    file: Arc<dyn VfsFile>,
    header: SegmentHeader,
    bytes: u64,
}

/// Looks at a log that may be in use. With `check` every record is read and its checksum compared. A segment that is deleted
/// meanwhile is left out.
///
/// # Errors
/// The directory cannot be listed.
pub fn survey(vfs: &Arc<dyn Vfs>, dir: &Path, check: bool) -> Result<Survey, Error> {
    let names = vfs.list(dir).map_err(|error| Error::io("list the directory", dir, error))?;
    let aside = names.iter().filter(|name| name.ends_with(".bad")).count() as u64;
    let mut survey = Survey { unreadable_segments: aside, ..Survey::default() };
    let positions = CursorFiles::read(vfs, dir);
    let mut opened: BTreeMap<u64, Opened> = BTreeMap::new();
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| parse_name(name)).collect();
    numbers.sort_unstable();
    for number in numbers {
        let Ok(file) = vfs.open(&dir.join(segment_name(number)), Mode::Read) else { continue };
        match read_header(&file, number) {
            Ok((header, bytes)) => {
                // As when the log is opened: a later segment takes the place of what it begins before.
                opened.retain(|_, before| before.header.first.lsn < header.first.lsn);
                opened.insert(number, Opened { file, header, bytes });
            }
            Err(crate::format::BadHeader::Blank) => {}
            Err(_) => survey.unreadable_segments = survey.unreadable_segments.saturating_add(1),
        }
    }
    let ends: Vec<Option<Position>> =
        opened.values().skip(1).map(|next| Some(next.header.first)).chain([None]).collect();
    for ((number, segment), end) in opened.iter().zip(ends) {
        let scanned = (check || end.is_none()).then(|| scan(segment, end, check));
        let (end, corrupt_records) = match (scanned, end) {
            (Some(scanned), end) => (end.unwrap_or(scanned.0), scanned.1),
            (None, Some(end)) => (end, 0),
            (None, None) => (segment.header.first, 0),
        };
        let SegmentHeader { first, created_ms, .. } = segment.header;
        survey.segments.push(SegmentSurvey {
            number: *number,
            bytes: segment.bytes,
            first,
            end,
            created_ms,
            corrupt_records,
        });
        survey.end = end;
    }
    survey.cursors =
        positions.into_iter().map(|(name, position)| cursor(&survey, &opened, name, position)).collect();
    Ok(survey)
}

/// The end of a segment, and how many of its records cannot be read.
fn scan(segment: &Opened, end: Option<Position>, payloads: bool) -> (Position, u64) {
    let mut scanner = Scanner::new(Arc::clone(&segment.file), segment.header.salt, segment.bytes);
    let (mut expected, mut corrupt) = (segment.header.first, 0u64);
    while let Some(found) = scanner.next(payloads) {
        let at = found.header.at;
        if at.lsn < expected.lsn || end.is_some_and(|end| at.lsn >= end.lsn) {
            continue;
        }
        corrupt = corrupt.saturating_add(at.records.saturating_sub(expected.records));
        if found.header.kind == Kind::Mark {
            continue;
        }
        let damaged = payloads && found.payload.is_none() && found.header.kind == Kind::Data;
        corrupt = corrupt.saturating_add(u64::from(damaged));
        expected = found.header.after();
    }
    let rest = end.map_or(0, |end| end.records.saturating_sub(expected.records));
    (expected, corrupt.saturating_add(rest))
}

fn cursor(survey: &Survey, opened: &BTreeMap<u64, Opened>, name: String, position: Position) -> CursorSurvey {
    let ahead = |s: &&SegmentSurvey| s.end.lsn > position.lsn;
    let (mut bytes, mut oldest_ms) = (0u64, None);
    for segment in survey.segments.iter().filter(ahead) {
        let Some(Opened { file, header, bytes: size }) = opened.get(&segment.number) else { continue };
        if segment.first.lsn >= position.lsn
            && segment.number != survey.segments.last().map_or(0, |s| s.number)
        {
            oldest_ms = oldest_ms.or(Some(segment.created_ms));
            bytes = bytes.saturating_add(segment.bytes);
            continue;
        }
        // The one that it stands in, and the one that grows and is longer than what it holds.
        let mut scanner = Scanner::new(Arc::clone(file), header.salt, *size);
        while let Some(found) = scanner.next(false) {
            let data = found.header.kind == Kind::Data;
            if data && found.header.at.lsn >= position.lsn && found.header.at.lsn < segment.end.lsn {
                oldest_ms = oldest_ms.or(Some(found.header.time_ms));
                bytes = bytes.saturating_add(crate::format::record_bytes(found.header.len as usize));
            }
        }
    }
    CursorSurvey {
        name,
        position,
        records: survey.end.records.saturating_sub(position.records),
        items: survey.end.items.saturating_sub(position.items),
        bytes,
        oldest_ms,
    }
}
