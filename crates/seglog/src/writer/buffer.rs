//! Where a commit is put together: memory that begins where a disk can take it from, kept between commits.

use crate::format::{SECTOR, sectors};

/// Memory that is kept: a whole commit with what stands around it.
const KEPT: usize = 17 << 20;
/// Room is made in steps, so that a commit that is a little larger than the last one finds it.
const STEP: usize = 1 << 20;

#[derive(Debug, Default)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    /// The commit begins here.
    start: usize,
}

impl Buffer {
    /// Begins a commit of about `need` bytes. One that is larger is only not where a disk can take it from.
    pub(super) fn begin(&mut self, need: u64) -> &mut Vec<u8> {
        let sector = SECTOR as usize;
        let room = usize::try_from(need).unwrap_or(0).saturating_add(2 * sector);
        self.bytes.clear();
        self.bytes.reserve_exact(room.checked_next_multiple_of(STEP).unwrap_or(room));
        // Records count on a multiple of eight.
        self.start = self.bytes.as_ptr().align_offset(sector);
        if self.start >= sector || !self.start.is_multiple_of(8) {
            self.start = 0;
        }
        self.bytes.resize(self.start, 0);
        &mut self.bytes
    }

    /// The commit, in whole sectors.
    pub(super) fn end(&mut self) -> &[u8] {
        let len = sectors(self.bytes.len().saturating_sub(self.start) as u64);
        self.bytes.resize(self.start.saturating_add(len as usize), 0);
        self.bytes.get(self.start..).unwrap_or_default()
    }

    /// A large commit must not hold its memory for ever.
    pub(super) fn give_up_if_large(&mut self) {
        if self.bytes.capacity() > KEPT {
            self.bytes = Vec::new();
        }
    }
}
