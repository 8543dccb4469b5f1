//! Two files that are written in turn: the state of one destination, and the place in the log that it belongs to.
//!
//! `MUXSUMS\n | version (4): 2 | generation (8) | lsn (8) | records (8) | items (8) | bytes of the state (8) | CRC-32 of all
//! before and of the checksum of the state (4) | the state, which ends with a checksum of its own (4)`, numbers little-endian.
//! The readable file with the higher generation counts. In version 1 the first checksum is of what stands before it alone.

use super::super::tail::SUMS;
use muxbridge_seglog::vfs::{Mode, Vfs, read_full, write_all};
use muxbridge_seglog::{Error, Position};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"MUXSUMS\n";
const VERSION: u32 = 2;
const HEADER: usize = 56;
/// More than the most series with the longest histograms.
const MOST: u64 = 4 << 30;

/// See the module.
#[derive(Debug)]
pub(crate) struct SumsFile {
    vfs: Arc<dyn Vfs>,
    directory: PathBuf,
    id: String,
    /// Generation and place of each file that is known to be good.
    slots: [Option<(u64, Position)>; 2],
}

impl SumsFile {
    /// Of the destination `id`. Creates the directory.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn open(vfs: &Arc<dyn Vfs>, directory: &Path, id: &str) -> Result<Self, Error> {
        vfs.create_dir(directory).map_err(|e| Error::io("create the directory", directory, e))?;
        Ok(SumsFile {
            vfs: Arc::clone(vfs),
            directory: directory.to_owned(),
            id: id.to_owned(),
            slots: [None; 2],
        })
    }

    /// The name of the cursor that keeps the records from the older of the two places on.
    pub(crate) fn cursor(&self) -> String {
        format!("{SUMS}{}", self.id)
    }

    fn path(&self, slot: usize) -> PathBuf {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let name: String = self
            .id
            .chars()
            .map(|c| if plain(c) { c.to_string() } else { format!("%{:x}", u32::from(c)) })
            .collect();
        self.directory.join(format!("{name}.{slot}"))
    }

    /// The newest state that can be read, with its place.
    pub(crate) fn read(&mut self) -> Option<(Position, Vec<u8>)> {
        let mut newest: Option<(u64, Position, Vec<u8>)> = None;
        for slot in 0..self.slots.len() {
            let Some((generation, place, state)) = self.read_slot(slot) else { continue };
            self.slots[slot] = Some((generation, place));
            if newest.as_ref().is_none_or(|(other, ..)| *other < generation) {
                newest = Some((generation, place, state));
            }
        }
        newest.map(|(_, place, state)| (place, state))
    }

    fn read_slot(&self, slot: usize) -> Option<(u64, Position, Vec<u8>)> {
        let file = self.vfs.open(&self.path(slot), Mode::Read).ok()?;
        let mut header = [0; HEADER];
        (read_full(&*file, &mut header, 0).ok()? == HEADER).then_some(())?;
        let (head, crc) = header.split_last_chunk::<4>()?;
        let number = |at: usize| Some(u64::from_le_bytes(head.get(at..at + 8)?.try_into().ok()?));
        let version = u32::from_le_bytes(head.get(8..12)?.try_into().ok()?);
        if !head.starts_with(MAGIC) || !(1..=VERSION).contains(&version) {
            return None;
        }
        let (head_crc, generation, length) = (u32::from_le_bytes(*crc), number(12)?, number(44)?);
        let place = Position { lsn: number(20)?, records: number(28)?, items: number(36)? };
        let mut state = vec![0; usize::try_from(length.min(MOST).min(file.len().ok()?)).ok()?];
        let read = read_full(&*file, &mut state, HEADER as u64).ok()?;
        let (body, crc) = state.split_last_chunk::<4>()?;
        let expected = if version == 1 { crc32fast::hash(head) } else { checksum(head, *crc) };
        let whole = read as u64 == length && crc32fast::hash(body) == u32::from_le_bytes(*crc);
        (whole && head_crc == expected).then_some(())?;
        Some((generation, place, state))
    }

    /// Stores a state, durably, in place of the older of the two. Returns the place below which neither file needs a
    /// record.
    ///
    /// # Errors
    /// What the file system says. The other file is as it was.
    pub(crate) fn write(&mut self, place: Position, state: &[u8]) -> Result<Position, Error> {
        let generation_of = |slot: &Option<(u64, Position)>| slot.map_or(0, |(generation, _)| generation);
        let older = usize::from(generation_of(&self.slots[1]) < generation_of(&self.slots[0]));
        let generation = self.slots.iter().map(generation_of).max().unwrap_or_default() + 1;
        self.slots[older] = None;
        let path = self.path(older);
        self.write_file(&path, generation, place, state).map_err(|e| Error::io("store sums", &path, e))?;
        self.slots[older] = Some((generation, place));
        let other = self.slots[1 - older].map_or(place, |(_, place)| place);
        Ok(if other.lsn < place.lsn { other } else { place })
    }

    fn write_file(&self, path: &Path, generation: u64, place: Position, state: &[u8]) -> io::Result<()> {
        let mut header = MAGIC.to_vec();
        header.extend_from_slice(&VERSION.to_le_bytes());
        for number in [generation, place.lsn, place.records, place.items, state.len() as u64] {
            header.extend_from_slice(&number.to_le_bytes());
        }
        let end = state.last_chunk().copied().unwrap_or_default();
        header.extend_from_slice(&checksum(&header, end).to_le_bytes());
        let (file, fresh) = match self.vfs.open(path, Mode::Write) {
            Ok(file) => (file, false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                (self.vfs.open(path, Mode::Create)?, true)
            }
            Err(error) => return Err(error),
        };
        write_all(&*file, &header, 0)?;
        write_all(&*file, state, header.len() as u64)?;
        file.set_len((header.len() + state.len()) as u64)?;
        file.sync_data()?;
        if fresh {
            self.vfs.sync_dir(&self.directory)?;
        }
        Ok(())
    }
}

/// Of a header and the state that it was written with: a crash may leave the new header before an older state of the same
/// length, which is whole in itself and belongs to another place.
fn checksum(head: &[u8], state_crc: [u8; 4]) -> u32 {
    crc32fast::hash(&[head, &state_crc].concat())
}
