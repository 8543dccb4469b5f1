//! The segment that grows: encoding, one write and one sync for many groups, and what happens when that fails.

mod buffer;

use crate::commit::Shared;
use crate::format::{
    self, Kind, Position, RecordHeader, SECTOR, SEGMENT_HEADER_BYTES, SegmentHeader, record_bytes, sectors,
};
use crate::index::Segment;
use crate::log::segment_name;
use crate::options::Error;
use crate::reader::Record;
use crate::ticket::{Group, Receipt, lock};
use crate::vfs::{Mode, VfsFile, write_all};
use buffer::Buffer;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Debug)]
struct Active {
    header: SegmentHeader,
    path: PathBuf,
    file: Arc<dyn VfsFile>,
    /// What has been committed ends here.
    offset: u64,
    capacity: u64,
    /// Its header is not written yet: it goes out with the first commit.
    fresh: bool,
}

/// The end of the log. One thread at a time has it.
#[derive(Debug)]
pub(crate) struct Writer {
    active: Option<Active>,
    next: Position,
    /// Everything below is as durable as the options ask.
    durable: u64,
    next_index: u64,
    buffer: Buffer,
}

impl Writer {
    pub(crate) fn new(next: Position, durable: u64, next_index: u64) -> Self {
        Self { active: None, next, durable, next_index, buffer: Buffer::default() }
    }

    /// Bytes that groups may have in the next commit, of which the first needs `need`. Ends the active segment if that does
    /// not fit; the flag says so.
    pub(crate) fn room(&mut self, shared: &Shared, need: u64) -> (u64, bool) {
        if let Some(active) = &self.active {
            // The last sector is for a mark.
            let room = active.capacity.saturating_sub(active.offset.saturating_add(SECTOR));
            if need <= room {
                return (room, false);
            }
            self.close(shared, true);
            return (0, true);
        }
        let carried = carried_bytes(&lock(&shared.index).checkpoints);
        let used = SEGMENT_HEADER_BYTES.saturating_add(SECTOR).saturating_add(carried);
        (shared.options.segment_bytes.saturating_sub(used).max(need), false)
    }

    /// Writes and syncs groups as one commit. A failed write or sync gives the segment up and tries once in a new one: after
    /// a failed sync nobody knows what of the segment is on the disk, and asking again would be answered with a lie.
    pub(crate) fn write(&mut self, shared: &Shared, groups: &[&Group]) -> Result<Vec<Receipt>, Error> {
        match self.try_write(shared, groups) {
            Ok(receipts) => Ok(receipts),
            Err(first) => {
                self.abandon(shared);
                if first.is_disk_full() {
                    shared.maintain();
                }
                self.try_write(shared, groups).inspect_err(|_| self.abandon(shared))
            }
        }
    }

    fn try_write(&mut self, shared: &Shared, groups: &[&Group]) -> Result<Vec<Receipt>, Error> {
        let now = shared.options.now();
        let need = groups.iter().map(|g| g.encoded_bytes()).fold(0, u64::saturating_add);
        if self.active.is_none() {
            self.active = Some(self.begin(shared, need, now)?);
        }
        let (mut next, durable) = (self.next, self.durable);
        let Some(active) = self.active.as_mut() else { return Err(Error::Closed) };
        let salt = active.header.salt;
        let mut carried = Group::default();
        if active.fresh {
            let index = lock(&shared.index);
            carried.checkpoints =
                index.checkpoints.iter().map(|(slot, blob)| (*slot, blob.clone())).collect();
        }
        let around = carried.encoded_bytes().saturating_add(SEGMENT_HEADER_BYTES);
        let buffer = self.buffer.begin(need.saturating_add(around));
        if active.fresh {
            active.header.encode(buffer);
            encode_group(&carried, &mut next, durable, now, salt, buffer, &mut |_| {});
        }
        let mut receipts = Vec::with_capacity(groups.len());
        let mut recent = Vec::new();
        let keep = shared.options.recent_bytes > 0;
        for group in groups {
            let first = next;
            encode_group(group, &mut next, durable, now, salt, buffer, &mut |record| {
                if keep {
                    recent.push(record);
                }
            });
            receipts.push(Receipt { first, end: next });
        }
        let bytes = self.buffer.end();
        let len = bytes.len() as u64;
        let start = if active.fresh { 0 } else { active.offset };
        let written = shared.write_segment(&*active.file, &active.path, active.fresh, bytes, start);
        self.buffer.give_up_if_large();
        written?;
        active.offset = start.saturating_add(len);
        active.fresh = false;
        self.next = next;
        self.durable = next.lsn;
        publish(shared, active, next, groups, len, now, recent);
        Ok(receipts)
    }

    fn begin(&mut self, shared: &Shared, need: u64, now: u64) -> Result<Active, Error> {
        let (carried, carry) = {
            let index = lock(&shared.index);
            (index.checkpoints.len() as u32, carried_bytes(&index.checkpoints))
        };
        let least =
            sectors(SEGMENT_HEADER_BYTES.saturating_add(carry).saturating_add(need)).saturating_add(SECTOR);
        let index = self.next_index;
        self.next_index = index.saturating_add(1);
        let path = shared.dir.join(segment_name(index));
        let file = shared
            .vfs
            .open(&path, Mode::Create)
            .map_err(|error| Error::io("begin a segment", &path, error))?;
        let wanted = shared.options.segment_bytes.max(least);
        let mut capacity = wanted;
        let mut reserved = file.allocate(capacity);
        // A disk that has no room for a segment may have room for this commit.
        if wanted > least && reserved.as_ref().is_err_and(is_full) {
            capacity = least;
            reserved = file.set_len(0).and_then(|()| file.allocate(capacity));
        }
        if let Err(error) = reserved {
            let _ = shared.vfs.remove(&path);
            return Err(Error::io("reserve space for a segment", path, error));
        }
        let salt = (shared.options.salt)();
        let header =
            SegmentHeader { index, salt, created_ms: now, first: self.next, durable: self.durable, carried };
        Ok(Active { header, path, file, offset: SEGMENT_HEADER_BYTES, capacity, fresh: true })
    }

    /// Says on the disk that everything so far is durable, for a process that is killed while it is idle. Not synced: what
    /// it says is true already, and the next commit overwrites it.
    pub(crate) fn mark(&mut self, shared: &Shared) -> Option<Arc<dyn VfsFile>> {
        let active = self.active.as_ref().filter(|a| !a.fresh && self.durable == self.next.lsn)?;
        if active.offset.saturating_add(SECTOR) > active.capacity {
            return None;
        }
        let mut sector = Vec::with_capacity(SECTOR as usize);
        let salt = active.header.salt;
        let header = RecordHeader {
            kind: Kind::Mark,
            tag: 0,
            len: 0,
            items: 0,
            at: self.next,
            durable: self.next.lsn,
            time_ms: shared.options.now(),
            group_index: 0,
            group_count: 1,
            payload_crc: format::salted(salt, self.next.lsn, &[]),
        };
        header.encode(salt, &mut sector);
        sector.resize(SECTOR as usize, 0);
        write_all(&*active.file, &sector, active.offset).ok()?;
        Some(Arc::clone(&active.file))
    }

    /// Before the log is closed. Under [`crate::Durability::Os`] this is the only sync.
    pub(crate) fn finish(&mut self, shared: &Shared) {
        if let Some(file) = self.mark(shared) {
            let _ = file.sync_data();
        }
    }

    fn abandon(&mut self, shared: &Shared) {
        if self.active.is_some() {
            let mut index = lock(&shared.index);
            index.stats.abandoned_segments = index.stats.abandoned_segments.saturating_add(1);
        }
        self.close(shared, false);
    }

    fn close(&mut self, shared: &Shared, good: bool) {
        let Some(active) = self.active.take() else { return };
        if active.fresh {
            let _ = shared.vfs.remove(&active.path);
            return;
        }
        // Gives the reserved rest back. If that fails or is lost, the rest costs space and nothing else.
        let cut = active.file.set_len(active.offset).is_ok();
        let mut index = lock(&shared.index);
        if let Some(segment) = index.segments.get_mut(&active.header.index) {
            if cut {
                segment.bytes = active.offset;
            }
            // The last mark is gone with the rest; the next segment's header takes its place.
            segment.limit = active.offset;
            segment.durable = if good { self.durable } else { segment.durable };
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn carried_bytes(checkpoints: &BTreeMap<u16, Bytes>) -> u64 {
    checkpoints.values().map(|blob| record_bytes(blob.len())).fold(0, u64::saturating_add)
}

/// Makes a commit visible to readers.
fn publish(
    shared: &Shared,
    active: &Active,
    end: Position,
    groups: &[&Group],
    len: u64,
    now: u64,
    recent: Vec<Record>,
) {
    let mut index = lock(&shared.index);
    let SegmentHeader { index: number, salt, first, durable, carried, .. } = active.header;
    let (limit, bytes) = (active.offset, active.capacity);
    index.segments.insert(number, Segment { salt, first, end, limit, bytes, last_ms: now, durable, carried });
    index.keep_from = number;
    index.end = end;
    index.recent.add(recent);
    index.trim_recent(shared.options.recent_bytes);
    for (slot, blob) in groups.iter().flat_map(|g| &g.checkpoints) {
        index.checkpoints.insert(*slot, blob.clone());
    }
    index.stats.commits = index.stats.commits.saturating_add(1);
    index.stats.written_bytes = index.stats.written_bytes.saturating_add(len);
    index.wake();
}

fn encode_group(
    group: &Group,
    next: &mut Position,
    durable: u64,
    now: u64,
    salt: u64,
    out: &mut Vec<u8>,
    see: &mut impl FnMut(Record),
) {
    let records = group.records.iter().map(|r| (Kind::Data, r.tag, r.items, &r.head, &r.payload));
    let none = Bytes::new();
    let checkpoints = group.checkpoints.iter().map(|(slot, blob)| (Kind::Checkpoint, *slot, 0, &none, blob));
    let count = u32::try_from(group.len()).unwrap_or(u32::MAX);
    for (number, (kind, tag, items, head, payload)) in records.chain(checkpoints).enumerate() {
        let header = RecordHeader {
            kind,
            tag,
            len: u32::try_from(head.len().saturating_add(payload.len())).unwrap_or(u32::MAX),
            items,
            at: *next,
            durable,
            time_ms: now,
            group_index: u32::try_from(number).unwrap_or(u32::MAX),
            group_count: count,
            payload_crc: format::salted_parts(salt, next.lsn, [head, payload]),
        };
        header.encode(salt, out);
        out.extend_from_slice(head);
        out.extend_from_slice(payload);
        out.resize(out.len().saturating_add(7) & !7, 0);
        *next = header.after();
        if kind == Kind::Data {
            let (at, end, head, payload) = (header.at, *next, head.clone(), payload.clone());
            see(Record { at, end, head, payload, items, tag, time_ms: now, recent: true, own: true });
        }
    }
}
