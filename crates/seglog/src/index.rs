//! What is known in memory: segments, cursors, checkpoints and counts.

use crate::cursors::Positions;
use crate::format::Position;
use crate::recent::Recent;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::task::Waker;

/// One segment that can be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub(crate) salt: u64,
    pub(crate) first: Position,
    /// Records at or after it do not count.
    pub(crate) end: Position,
    /// Bytes that may be read.
    pub(crate) limit: u64,
    /// Bytes on the disk.
    pub(crate) bytes: u64,
    /// When its last record was appended, or later.
    pub(crate) last_ms: u64,
    pub(crate) durable: u64,
    pub(crate) carried: u32,
}

/// Records that a cursor will not see, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Records of segments that the budget removed before the cursor passed them.
    pub expired_records: u64,
    /// Items in them.
    pub expired_items: u64,
    /// Records that were stored and cannot be read any more.
    pub corrupt_records: u64,
    /// Items in them.
    pub corrupt_items: u64,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cursor {
    pub(crate) at: Position,
    pub(crate) losses: Losses,
    /// Damage below this number has been counted.
    pub(crate) counted: u64,
}

/// One cursor, for display and counters. Counts begin with this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CursorStatus {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub position: Position,
    /// Records it has yet to pass.
    pub backlog_records: u64,
    /// Items in them.
    pub backlog_items: u64,
    /// What it lost.
    pub losses: Losses,
}

/// Counts since the log was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Writes that were acknowledged, each of one or many groups.
    pub commits: u64,
    /// Groups that were refused because they could not be written or synced.
    pub failed_groups: u64,
    /// Segments given up after a failed write or sync.
    pub abandoned_segments: u64,
    /// Bytes written, headers and padding included.
    pub written_bytes: u64,
    /// Segments deleted because every cursor had passed them.
    pub deleted_segments: u64,
    /// Segments deleted by the budget.
    pub expired_segments: u64,
    /// Times that cursors could not be stored.
    pub failed_cursor_writes: u64,
    /// Segments on the disk now.
    pub segments: u64,
    /// Bytes of them, as counted against the budget.
    pub disk_bytes: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Index {
    pub(crate) segments: BTreeMap<u64, Segment>,
    /// What has been committed.
    pub(crate) end: Position,
    pub(crate) cursors: BTreeMap<String, Cursor>,
    pub(crate) dirty: bool,
    pub(crate) checkpoints: BTreeMap<u16, Bytes>,
    /// The newest checkpoints stand in this segment and later ones. Also the one that grows is among them.
    pub(crate) keep_from: u64,
    /// Segments to delete once the cursors are stored.
    pub(crate) doomed: Vec<u64>,
    pub(crate) wakers: Vec<Waker>,
    pub(crate) recent: Recent,
    pub(crate) stats: Stats,
}

impl Index {
    pub(crate) fn positions(&self) -> Positions {
        self.cursors.iter().map(|(name, cursor)| (name.clone(), cursor.at)).collect()
    }

    /// Keeps in memory what readers that keep up are about to read.
    pub(crate) fn trim_recent(&mut self, limit: usize) {
        self.recent.trim(self.cursors.values().map(|cursor| cursor.at), limit);
    }

    /// Where a reader at `next` goes on: its cursor may have been moved past what has expired.
    pub(crate) fn passed(&self, cursor: &str, next: Position) -> Position {
        self.cursors.get(cursor).map(|c| c.at).filter(|at| at.lsn > next.lsn).unwrap_or(next)
    }

    pub(crate) fn disk_bytes(&self) -> u64 {
        self.segments.values().map(|s| s.bytes).fold(0, u64::saturating_add)
    }

    /// Moves every cursor that stands before `to`, and counts what it has not seen.
    fn lose_until(&mut self, to: Position) {
        for cursor in self.cursors.values_mut().filter(|c| c.at.lsn < to.lsn) {
            let losses = &mut cursor.losses;
            let records = to.records.saturating_sub(cursor.at.records);
            losses.expired_records = losses.expired_records.saturating_add(records);
            let items = to.items.saturating_sub(cursor.at.items);
            losses.expired_items = losses.expired_items.saturating_add(items);
            cursor.at = to;
            self.dirty = true;
        }
    }

    /// Cursors that stand before the oldest segment have lost what is between.
    pub(crate) fn lose_what_is_gone(&mut self) {
        let oldest = self.segments.values().next().map_or(self.end, |s| s.first);
        self.lose_until(oldest);
    }

    /// Applies the budgets: bytes with room for the next segment, and age in milliseconds.
    pub(crate) fn expire(&mut self, max_bytes: u64, next_segment: u64, oldest_ms: Option<u64>) {
        while let Some((&number, &segment)) = self.segments.first_key_value() {
            let over = self.disk_bytes().saturating_add(next_segment) > max_bytes;
            let old = oldest_ms.is_some_and(|oldest| segment.last_ms <= oldest);
            let last = self.segments.len() == 1;
            if old && last {
                // The file stays, because it holds the checkpoints; its records do not.
                self.lose_until(segment.end);
            }
            let kept = number >= self.keep_from;
            if last || kept || !(over || old) {
                return;
            }
            self.lose_until(segment.end);
            self.segments.remove(&number);
            self.doomed.push(number);
            self.stats.expired_segments = self.stats.expired_segments.saturating_add(1);
        }
    }

    /// Removes segments that no stored cursor needs.
    pub(crate) fn free(&mut self, floor: u64) {
        while self.segments.len() > 1 {
            let Some((&number, segment)) = self.segments.first_key_value() else { return };
            let kept = number >= self.keep_from;
            if segment.end.lsn > floor || kept {
                return;
            }
            self.segments.remove(&number);
            self.doomed.push(number);
            self.stats.deleted_segments = self.stats.deleted_segments.saturating_add(1);
        }
    }

    pub(crate) fn wake(&mut self) {
        self.wakers.drain(..).for_each(Waker::wake);
    }
}
