//! Reads the records of one segment in order and finds the next valid one after damage.

use crate::format::{self, Kind, RECORD_HEADER_BYTES, RECORD_MAGIC, RecordHeader};
use crate::vfs::{VfsFile, read_full};
use bytes::Bytes;
use std::sync::Arc;

/// Bytes read at once. A larger record is read whole.
const WINDOW: usize = 256 << 10;
/// A read that fails is tried again in pieces of this size, and a piece that cannot be read counts as damaged.
const PIECE: usize = 4096;

/// One record with a valid header.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) offset: u64,
    pub(crate) header: RecordHeader,
    /// `None` if its checksum is wrong or it was not asked for.
    pub(crate) payload: Option<Bytes>,
}

/// A place in a segment that moves forward.
#[derive(Debug)]
pub(crate) struct Scanner {
    file: Arc<dyn VfsFile>,
    salt: u64,
    offset: u64,
    limit: u64,
    window: Bytes,
    window_at: u64,
    /// Bytes that were neither records nor zeros.
    pub(crate) garbage: u64,
    /// Bytes that could not be read.
    pub(crate) unreadable: u64,
}

impl Scanner {
    pub(crate) fn new(file: Arc<dyn VfsFile>, salt: u64, limit: u64) -> Self {
        Self {
            file,
            salt,
            offset: format::SEGMENT_HEADER_BYTES,
            limit,
            window: Bytes::new(),
            window_at: 0,
            garbage: 0,
            unreadable: 0,
        }
    }

    /// Lets the scan go on to where the segment has grown.
    pub(crate) fn set_limit(&mut self, limit: u64) {
        self.limit = self.limit.max(limit);
    }

    /// Looks at a record again.
    pub(crate) fn rewind(&mut self, offset: u64) {
        self.offset = offset;
    }

    /// The next record with a valid header, `None` at the limit.
    pub(crate) fn next(&mut self, payloads: bool) -> Option<Found> {
        loop {
            let left = self.limit.checked_sub(self.offset)?;
            if left < RECORD_HEADER_BYTES as u64 {
                return None;
            }
            let offset = self.offset;
            let decoded = RecordHeader::decode(&self.bytes(offset, RECORD_HEADER_BYTES)?, self.salt)
                .filter(|header| format::record_bytes(header.len as usize) <= left);
            let Some(header) = decoded else {
                self.skip_to_magic()?;
                continue;
            };
            self.offset = offset.saturating_add(format::record_bytes(header.len as usize));
            let payload = if payloads { self.payload(offset, &header) } else { None };
            return Some(Found { offset, header, payload });
        }
    }

    fn payload(&mut self, offset: u64, header: &RecordHeader) -> Option<Bytes> {
        let len = header.len as usize;
        let payload = self.bytes(offset.saturating_add(RECORD_HEADER_BYTES as u64), len)?;
        if format::salted(self.salt, header.at.lsn, &payload) != header.payload_crc {
            return None;
        }
        // A small record must not keep the whole window in memory.
        let small = len < WINDOW / 4;
        Some(if small && header.kind == Kind::Data { Bytes::copy_from_slice(&payload) } else { payload })
    }

    /// Moves to the next aligned place where a record may begin.
    fn skip_to_magic(&mut self) -> Option<()> {
        self.offset = self.offset.saturating_add(8);
        loop {
            let left = usize::try_from(self.limit.checked_sub(self.offset)?).unwrap_or(usize::MAX);
            if left < RECORD_HEADER_BYTES {
                return None;
            }
            let chunk = self.bytes(self.offset, left.min(PIECE))?;
            for (number, word) in chunk.chunks_exact(8).enumerate() {
                if word.starts_with(&RECORD_MAGIC) {
                    self.offset = self.offset.saturating_add(number as u64 * 8);
                    return Some(());
                }
                if word != [0; 8] {
                    self.garbage = self.garbage.saturating_add(8);
                }
            }
            self.offset = self.offset.saturating_add((chunk.len() & !7).max(8) as u64);
        }
    }

    /// `len` bytes at `offset`, which lie below the limit; zeros where the file is shorter or cannot be read.
    fn bytes(&mut self, offset: u64, len: usize) -> Option<Bytes> {
        let inside = |window: &Bytes, at: u64| {
            let start = usize::try_from(offset.checked_sub(at)?).ok()?;
            let end = start.checked_add(len)?;
            (end <= window.len()).then(|| window.slice(start..end))
        };
        if let Some(found) = inside(&self.window, self.window_at) {
            return Some(found);
        }
        let left = usize::try_from(self.limit.checked_sub(offset)?).unwrap_or(usize::MAX);
        let mut buffer = vec![0; left.min(WINDOW.max(len))];
        self.fill(&mut buffer, offset);
        self.window = Bytes::from(buffer);
        self.window_at = offset;
        inside(&self.window, offset)
    }

    fn fill(&mut self, buffer: &mut [u8], offset: u64) {
        if read_full(&*self.file, buffer, offset).is_ok() {
            return;
        }
        let mut at = offset;
        for piece in buffer.chunks_mut(PIECE) {
            piece.fill(0);
            if read_full(&*self.file, piece, at).is_err() {
                piece.fill(0);
                self.unreadable = self.unreadable.saturating_add(piece.len() as u64);
            }
            at = at.saturating_add(piece.len() as u64);
        }
    }
}
