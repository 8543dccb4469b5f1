//! The bytes on disk: the header of a segment and the header of a record. Everything is little-endian.

use crc32fast::Hasher;

/// What a disk writes or loses as a whole. A commit starts at such a boundary, so it never rewrites bytes that an earlier
/// sync covered.
pub const SECTOR: u64 = 512;
/// Bytes before the first record of a segment.
pub const SEGMENT_HEADER_BYTES: u64 = 4096;
/// Where the second copy of the segment's header stands.
pub const SECOND_COPY: u64 = 2048;
/// Bytes of one copy of a segment's header.
pub(crate) const SEGMENT_HEADER_LEN: usize = 80;
/// Bytes before the payload of a record.
pub const RECORD_HEADER_BYTES: usize = 72;
/// The version that this code writes and the only one that it reads.
pub const VERSION: u16 = 1;

const SEGMENT_MAGIC: [u8; 8] = *b"MUXSEGL\n";
pub(crate) const RECORD_MAGIC: [u8; 4] = *b"\xb5mxR";

/// A place between two records, with what stands before it since the log began. Differences of two positions are exact
/// counts, also where the records between them cannot be read any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Number of the next record, checkpoints included.
    pub lsn: u64,
    /// Data records before it.
    pub records: u64,
    /// Items in the data records before it.
    pub items: u64,
}

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Appended by the user.
    Data,
    /// State of the user, stored with the data of its group. `tag` is the slot.
    Checkpoint,
    /// Says that everything before it is durable. Takes no number and is overwritten by the next commit.
    Mark,
}

/// The fixed part of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    pub(crate) kind: Kind,
    pub(crate) tag: u16,
    pub(crate) len: u32,
    pub(crate) items: u32,
    /// The place of this record.
    pub(crate) at: Position,
    /// Everything below this number was durable when the record was written.
    pub(crate) durable: u64,
    /// Milliseconds since 1970.
    pub(crate) time_ms: u64,
    pub(crate) group_index: u32,
    pub(crate) group_count: u32,
    pub(crate) payload_crc: u32,
}

impl RecordHeader {
    /// The place after this record.
    pub(crate) fn after(&self) -> Position {
        match self.kind {
            Kind::Data => Position {
                lsn: self.at.lsn.saturating_add(1),
                records: self.at.records.saturating_add(1),
                items: self.at.items.saturating_add(u64::from(self.items)),
            },
            Kind::Checkpoint => Position { lsn: self.at.lsn.saturating_add(1), ..self.at },
            Kind::Mark => self.at,
        }
    }

    pub(crate) fn encode(&self, salt: u64, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&RECORD_MAGIC);
        out.extend_from_slice(&self.len.to_le_bytes());
        out.push(match self.kind {
            Kind::Data => 1,
            Kind::Checkpoint => 2,
            Kind::Mark => 3,
        });
        out.push(0);
        out.extend_from_slice(&self.tag.to_le_bytes());
        out.extend_from_slice(&self.items.to_le_bytes());
        for number in [self.at.lsn, self.at.records, self.at.items, self.durable, self.time_ms] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for number in [self.group_index, self.group_count, self.payload_crc] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let crc = salted(salt, 0, out.get(start..).unwrap_or_default());
        out.extend_from_slice(&crc.to_le_bytes());
    }

    /// `None` where no header stands: wrong magic, checksum or kind.
    pub(crate) fn decode(bytes: &[u8], salt: u64) -> Option<Self> {
        let bytes = bytes.get(..RECORD_HEADER_BYTES)?;
        if !bytes.starts_with(&RECORD_MAGIC) || u32_at(bytes, 68)? != salted(salt, 0, bytes.get(..68)?) {
            return None;
        }
        let kind = match bytes.get(8)? {
            1 => Kind::Data,
            2 => Kind::Checkpoint,
            3 => Kind::Mark,
            _ => return None,
        };
        Some(Self {
            kind,
            len: u32_at(bytes, 4)?,
            tag: u16::from_le_bytes(bytes.get(10..12)?.try_into().ok()?),
            items: u32_at(bytes, 12)?,
            at: Position { lsn: u64_at(bytes, 16)?, records: u64_at(bytes, 24)?, items: u64_at(bytes, 32)? },
            durable: u64_at(bytes, 40)?,
            time_ms: u64_at(bytes, 48)?,
            group_index: u32_at(bytes, 56)?,
            group_count: u32_at(bytes, 60)?,
            payload_crc: u32_at(bytes, 64)?,
        })
    }
}

/// What a segment says about itself, stored twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) index: u64,
    /// Part of every checksum in this segment, so that bytes of another segment or of a sender never pass for a record.
    pub(crate) salt: u64,
    pub(crate) created_ms: u64,
    /// The place of the first record. Records of earlier segments at or after it do not count.
    pub(crate) first: Position,
    /// Everything below this number was durable when the segment was begun.
    pub(crate) durable: u64,
    /// How many checkpoints of earlier segments are repeated as the first records.
    pub(crate) carried: u32,
}

/// Why a segment's header could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadHeader {
    /// Nothing but zeros: the segment was created and never written.
    Blank,
    /// Not a header, or one that a disk damaged twice.
    Damaged,
    /// Written by a later version.
    Version,
}

impl SegmentHeader {
    /// The whole first [`SEGMENT_HEADER_BYTES`] of a segment.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let mut copy = Vec::with_capacity(SEGMENT_HEADER_LEN);
        copy.extend_from_slice(&SEGMENT_MAGIC);
        copy.extend_from_slice(&VERSION.to_le_bytes());
        copy.extend_from_slice(&(SEGMENT_HEADER_LEN as u16).to_le_bytes());
        copy.extend_from_slice(&self.carried.to_le_bytes());
        let Position { lsn, records, items } = self.first;
        for number in [self.index, self.salt, self.created_ms, lsn, records, items, self.durable] {
            copy.extend_from_slice(&number.to_le_bytes());
        }
        let crc = crc32fast::hash(&copy);
        copy.extend_from_slice(&crc.to_le_bytes());
        copy.resize(SEGMENT_HEADER_LEN, 0);
        let start = out.len();
        out.extend_from_slice(&copy);
        out.resize(start + SECOND_COPY as usize, 0);
        out.extend_from_slice(&copy);
        out.resize(start + SEGMENT_HEADER_BYTES as usize, 0);
    }

    /// From the first [`SEGMENT_HEADER_BYTES`]: the first copy that is whole.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, BadHeader> {
        if bytes.iter().all(|&b| b == 0) {
            return Err(BadHeader::Blank);
        }
        let second = bytes.get(SECOND_COPY as usize..).unwrap_or_default();
        match Self::decode_copy(bytes) {
            Err(BadHeader::Damaged) => Self::decode_copy(second).or(Err(BadHeader::Damaged)),
            other => other,
        }
    }

    fn decode_copy(bytes: &[u8]) -> Result<Self, BadHeader> {
        let read = || -> Option<(u16, Self)> {
            if !bytes.starts_with(&SEGMENT_MAGIC) || u32_at(bytes, 72)? != crc32fast::hash(bytes.get(..72)?) {
                return None;
            }
            let version = u16::from_le_bytes(bytes.get(8..10)?.try_into().ok()?);
            let first =
                Position { lsn: u64_at(bytes, 40)?, records: u64_at(bytes, 48)?, items: u64_at(bytes, 56)? };
            Some((
                version,
                Self {
                    index: u64_at(bytes, 16)?,
                    salt: u64_at(bytes, 24)?,
                    created_ms: u64_at(bytes, 32)?,
                    first,
                    durable: u64_at(bytes, 64)?,
                    carried: u32_at(bytes, 12)?,
                },
            ))
        };
        match read() {
            Some((VERSION, header)) => Ok(header),
            Some(_) => Err(BadHeader::Version),
            None => Err(BadHeader::Damaged),
        }
    }
}

/// CRC-32 (IEEE) over the salt, a number and the bytes.
pub(crate) fn salted(salt: u64, number: u64, bytes: &[u8]) -> u32 {
    salted_parts(salt, number, [bytes, &[]])
}

/// The same over bytes in two parts.
pub(crate) fn salted_parts(salt: u64, number: u64, parts: [&[u8]; 2]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&salt.to_le_bytes());
    hasher.update(&number.to_le_bytes());
    parts.into_iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

/// Bytes of a record with a payload of `len` bytes, padding included.
pub(crate) fn record_bytes(len: usize) -> u64 {
    (RECORD_HEADER_BYTES as u64).saturating_add(len as u64).saturating_add(7) & !7
}

/// `n` rounded up to whole sectors.
pub(crate) fn sectors(n: u64) -> u64 {
    n.saturating_add(SECTOR - 1) & !(SECTOR - 1)
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}
