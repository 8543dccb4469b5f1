//! The newest records, in memory for readers that keep up.

use crate::format::Position;
use crate::reader::Record;
use std::collections::VecDeque;

/// Committed records without a gap up to the end of the log, as many as there is room for.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    records: VecDeque<Record>,
    bytes: usize,
}

impl Recent {
    /// Adds what was committed. What stands below `floor` is not needed, and no more than `limit` bytes stay.
    pub(crate) fn add(&mut self, records: Vec<Record>, floor: u64, limit: usize) {
        self.bytes = records.iter().map(|r| r.payload.len()).fold(self.bytes, usize::saturating_add);
        self.records.extend(records);
        self.pass(floor);
        while self.bytes > limit && self.forget_oldest() {}
    }

    /// Nobody needs what stands below `floor`.
    pub(crate) fn pass(&mut self, floor: u64) {
        while self.records.front().is_some_and(|r| r.at.lsn < floor) {
            self.forget_oldest();
        }
        if self.records.is_empty() {
            self.records.shrink_to(64);
        }
    }

    fn forget_oldest(&mut self) -> bool {
        let oldest = self.records.pop_front();
        self.bytes = self.bytes.saturating_sub(oldest.as_ref().map_or(0, |r| r.payload.len()));
        oldest.is_some()
    }

    /// The first record at or after a position, if no other one stands between.
    pub(crate) fn at(&self, position: Position) -> Option<&Record> {
        let first = self.records.partition_point(|r| r.at.lsn < position.lsn);
        self.records.get(first).filter(|r| r.at.records == position.records)
    }
}
